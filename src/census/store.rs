//! A census in a store: histograms instead of rows, in tables of their own beside a campaign's, or alone.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use strum::IntoEnumIterator;

use super::histogram::{BITS, FaultCounts, Histogram, Sdc5, octave_edges};
use super::{Census, CensusRunner, Mode};
use crate::campaign::Experiment;
use crate::detector::Detector;
use crate::hex;
use crate::plan::Labels;
use crate::results::store::file::{self, failed};
use crate::results::store::{schema, to_sql};
use crate::results::{Config, Provenance, Setting};
use crate::{Error, Result};

/// What was counted on what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CensusManifest {
    #[serde(flatten)]
    pub setting: Setting,
    pub labels: Labels,
    pub detectors: Vec<Detector>,
    /// What the range detector clamps to, a number a place; `None` without that detector.
    pub ranges: Vec<Option<f32>>,
    pub images: usize,
    /// SHA-256 of the bits of their fault-free answers, in order.
    pub answers: String,
    /// What is counted as SDC-5.
    #[serde(default)]
    pub sdc5: Sdc5,
    /// The flags that it was begun with, as in a campaign's manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Config>,
}

impl CensusManifest {
    /// That of a census.
    pub fn new(census: &CensusRunner<'_>, labels: Labels) -> CensusManifest {
        let CensusRunner { experiment, mode, detectors, max, .. } = census;
        let Experiment { network, goldens, provenance, ranges, .. } = experiment;
        let ranged = Detector::needing_ranges(detectors).is_some();
        // A parameter's range is of its own entries.
        let over = ranges.over.clone().filter(|_| ranged && *mode != Mode::Weights);
        let mut answers = Sha256::new();
        for golden in goldens {
            answers.update(golden.hash.to_le_bytes());
        }
        CensusManifest {
            setting: Setting::new(
                &network.model,
                network.device(),
                goldens,
                provenance.clone(),
                over,
            ),
            labels,
            detectors: detectors.clone(),
            ranges: max.iter().map(|max| ranged.then_some(*max)).collect(),
            images: goldens.len(),
            answers: hex(&answers.finalize()),
            sdc5: Sdc5::OfSdc,
            config: None,
        }
    }

    /// Refuses to go on with the census of `self`, which `path` holds, as that of `other`. Flags, commits and
    /// instruction sets may differ: what they change in the answers shows in the fault-free ones.
    fn check_same(&self, other: &CensusManifest, path: &Path) -> Result<()> {
        if self.sdc5 != other.sdc5 {
            return Err(Error::usage(format!(
                "{} holds a census of another version of this program, which counted some nonfinite answers as \
                 SDC-5: it can be read, but not gone on with; count again into another file",
                path.display()
            )));
        }
        match self.difference(other) {
            None => Ok(()),
            Some(difference) => Err(Error::usage(format!(
                "{} holds another census than this one: {difference}",
                path.display()
            ))),
        }
    }

    /// The first thing in which `other` isn't the same census, in words; `None` if it is.
    pub fn difference(&self, other: &CensusManifest) -> Option<String> {
        let json = |manifest: &CensusManifest| {
            let mut alike = manifest.clone();
            alike.setting.commit.clear();
            alike.setting.instruction_set.clear();
            alike.config = None;
            serde_json::to_value(alike).unwrap_or_default()
        };
        let (a, b) = (json(self), json(other));
        let keys = a.as_object().into_iter().flat_map(|map| map.keys().map(String::as_str));
        // Other images have other answers: what is behind a difference is said first.
        let mut keys = ["images", "image_list"].into_iter().chain(keys);
        let key = keys.find(|key| a[*key] != b[*key])?;
        Some(format!("'{key}' differs ({} and {})", a[key], b[key]))
    }
}

impl Census {
    /// Refuses a file that [`Census::save`] would refuse, before anything is counted; with `resume` not for
    /// what it holds of this census.
    ///
    /// # Errors
    /// A file that isn't a store, holds this census already, or a campaign with another model's weights or
    /// data.
    pub fn check_store(
        mode: Mode,
        provenance: &Provenance,
        path: &Path,
        resume: bool,
    ) -> Result<()> {
        let Some(connection) = open_filled(path)? else { return Ok(()) };
        check(path, &connection, provenance)?;
        if !resume && holds(path, &connection, mode)? {
            return Err(Error::usage(format!(
                "{} holds a census of {} already: --resume goes on with it",
                path.display(),
                mode.name()
            )));
        }
        Ok(())
    }

    /// Keeps the census in the store `path`, which may be a campaign's on the same weights and data; a new
    /// file if there is none. A part of the same census that is there gives way. All of it is there
    /// afterwards, or what was there before.
    ///
    /// # Errors
    /// Those of [`Census::check_store`]; a census there that is whole or another one; what the disk says.
    pub fn save(&self, path: &Path, manifest: &CensusManifest) -> Result<()> {
        // Beside a campaign that has come in the meantime, too.
        let connection = match file::create(path) {
            Err(_) if path.exists() => file::lock(path)?,
            made => made?,
        };
        let is_new = file::is_new(path, &connection)?;
        if !is_new {
            file::check(path, &connection)?;
        }
        self.write(path, connection, is_new, manifest)
    }

    /// What the store `path` holds of the census that `manifest` describes, to go on with; `None` if nothing.
    ///
    /// # Errors
    /// Those of [`Census::open`]; a part of another census, with what differs.
    pub fn resume(mode: Mode, manifest: &CensusManifest, path: &Path) -> Result<Option<Census>> {
        let Some(connection) = open_filled(path)? else { return Ok(None) };
        if !holds(path, &connection, mode)? {
            return Ok(None);
        }
        let (census, there) = read(path, &connection, mode)?;
        there.check_same(manifest, path)?;
        Ok(Some(census))
    }

    /// Reads the census of `mode` in the store `path`, whole or in part.
    ///
    /// # Errors
    /// A file that isn't a store, is damaged, or holds no such census.
    pub fn open(path: &Path, mode: Mode) -> Result<(Census, CensusManifest)> {
        let connection = file::open(path)?;
        if !holds(path, &connection, mode)? {
            let mode = mode.name();
            let detail =
                format!("holds no census of {mode}: `inject --exhaustive {mode}` makes one");
            return Err(Error::file(path, detail));
        }
        read(path, &connection, mode)
    }

    /// The populations that the store `path` holds a census of, whole or in part.
    ///
    /// # Errors
    /// A file that isn't a store.
    pub fn modes(path: &Path) -> Result<Vec<Mode>> {
        let connection = file::open(path)?;
        let modes = Mode::iter().map(|mode| Ok((mode, holds(path, &connection, mode)?)));
        let modes: Result<Vec<(Mode, bool)>> = modes.collect();
        Ok(modes?.into_iter().filter(|(_, holds)| *holds).map(|(mode, _)| mode).collect())
    }

    fn write(
        &self,
        path: &Path,
        mut connection: Connection,
        is_new: bool,
        manifest: &CensusManifest,
    ) -> Result<()> {
        let mode = self.mode.name();
        if !is_new {
            check(path, &connection, &manifest.setting.provenance)?;
            if holds(path, &connection, self.mode)? {
                let about = about(path, &connection, self.mode)?;
                if about.counted == about.manifest.images {
                    let path = path.display();
                    return Err(Error::usage(format!("{path} holds a census of {mode} already")));
                }
                about.manifest.check_same(manifest, path)?;
            }
        }
        let mut fill = || -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            if is_new {
                transaction.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
                transaction.pragma_update(None, "user_version", schema::FORMAT)?;
                transaction.execute_batch(schema::TABLES)?;
            }
            transaction.execute_batch(schema::CENSUS)?;
            for table in schema::CENSUS_TABLES {
                transaction.execute(&format!("DELETE FROM {table} WHERE mode = ?1"), [mode])?;
            }
            let places = self.histograms.iter().map(|histogram| histogram.place.clone()).collect();
            let about = About { manifest: manifest.clone(), counted: self.counted, places };
            let value = serde_json::to_value(about).map_err(to_sql)?;
            for (key, value) in value.as_object().into_iter().flatten() {
                let insert = "INSERT INTO exhaustive_manifest VALUES (?1, ?2, ?3)";
                transaction.execute(insert, params![mode, key, value.to_string()])?;
            }
            for histogram in &self.histograms {
                write_histogram(&transaction, mode, histogram)?;
            }
            transaction.commit()
        };
        fill().map_err(|error| failed(path, error))
    }
}

/// A census' rows of `exhaustive_manifest`.
#[derive(Serialize, Deserialize)]
struct About {
    #[serde(flatten)]
    manifest: CensusManifest,
    /// Images that are counted, the first of all.
    counted: usize,
    places: Vec<String>,
}

/// The store, unless there is no file, or one that a run left empty that was killed.
fn open_filled(path: &Path) -> Result<Option<Connection>> {
    if !path.exists() || file::is_empty(path)? { Ok(None) } else { file::open(path).map(Some) }
}

fn has_table(path: &Path, connection: &Connection, name: &str) -> Result<bool> {
    let sql = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = ?1";
    connection.query_row(sql, [name], |row| row.get(0)).map_err(|error| failed(path, error))
}

/// Whether there is a census of `mode`, whole or in part.
fn holds(path: &Path, connection: &Connection, mode: Mode) -> Result<bool> {
    if !has_table(path, connection, "exhaustive_manifest")? {
        return Ok(false);
    }
    let sql = "SELECT count(*) > 0 FROM exhaustive_manifest WHERE mode = ?1";
    connection.query_row(sql, [mode.name()], |row| row.get(0)).map_err(|error| failed(path, error))
}

/// Refuses a store of another model, other weights or other data.
fn check(path: &Path, connection: &Connection, provenance: &Provenance) -> Result<()> {
    for table in ["manifest", "exhaustive_manifest"] {
        if !has_table(path, connection, table)? {
            continue;
        }
        let sql = format!("SELECT value FROM {table} WHERE key = 'provenance' LIMIT 1");
        let text: Option<String> = connection
            .query_row(&sql, [], |row| row.get(0))
            .optional()
            .map_err(|error| failed(path, error))?;
        let Some(text) = text else { continue };
        let there: Provenance = serde_json::from_str(&text)
            .map_err(|error| bad(path, &format!("its provenance: {error}")))?;
        let key = |of: &Provenance| [of.model.clone(), of.checkpoint.clone(), of.data.clone()];
        if key(&there) != key(provenance) {
            let path = path.display();
            return Err(Error::usage(format!(
                "{path} is of another model, other weights or other data"
            )));
        }
    }
    Ok(())
}

fn bad(path: &Path, what: &str) -> Error {
    Error::file(path, format!("isn't a store as it should be: {what}"))
}

fn about(path: &Path, connection: &Connection, mode: Mode) -> Result<About> {
    let read = || -> rusqlite::Result<Vec<(String, String)>> {
        let sql = "SELECT key, value FROM exhaustive_manifest WHERE mode = ?1";
        let mut query = connection.prepare(sql)?;
        query.query_map([mode.name()], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    };
    let mut object = serde_json::Map::new();
    for (key, value) in read().map_err(|error| failed(path, error))? {
        let value = serde_json::from_str(&value)
            .map_err(|error| bad(path, &format!("'{key}' of its census: {error}")))?;
        object.insert(key, value);
    }
    let about: About = serde_json::from_value(object.into())
        .map_err(|error| bad(path, &format!("its census: {error}")))?;
    if about.counted > about.manifest.images {
        return Err(bad(path, "its census counts more images than there are"));
    }
    if about.manifest.detectors.len() > Detector::ALL.len() {
        return Err(bad(path, "its census has more detectors than there are"));
    }
    Ok(about)
}

fn read(path: &Path, connection: &Connection, mode: Mode) -> Result<(Census, CensusManifest)> {
    let About { manifest, counted, places } = about(path, connection, mode)?;
    let mut histograms = Vec::new();
    for place in &places {
        let mut histogram = read_histogram(path, connection, mode, place, &manifest.detectors)?;
        histogram.sdc5 = manifest.sdc5;
        histograms.push(histogram);
    }
    Ok((Census { mode, images: manifest.images, counted, histograms }, manifest))
}

fn read_histogram(
    path: &Path,
    connection: &Connection,
    mode: Mode,
    place: &str,
    detectors: &[Detector],
) -> Result<Histogram> {
    let failed = |error| failed(path, error);
    let rows =
        |columns: &str, table: &str, each: &mut dyn FnMut(&Row<'_>) -> rusqlite::Result<()>| {
            let sql =
                format!("SELECT {columns} FROM exhaustive_{table} WHERE mode = ?1 AND place = ?2");
            let mut query = connection.prepare(&sql)?;
            let mut rows = query.query([mode.name(), place])?;
            while let Some(row) = rows.next()? {
                each(row)?;
            }
            Ok(())
        };
    let count = |row: &Row<'_>, column: usize| row.get::<_, i64>(column).map(|v| v as u64);
    let detector = |row: &Row<'_>, column: usize| -> rusqlite::Result<usize> {
        let code = count(row, column)?;
        let place = detectors.iter().position(|detector| *detector as u64 == code);
        Ok(place.unwrap_or(usize::MAX)) // which no histogram has
    };
    let mut units = 0;
    rows("count(DISTINCT unit)", "cells", &mut |row| {
        units = count(row, 0)? as usize;
        Ok(())
    })
    .map_err(failed)?;
    let mut histogram = Histogram::new(place, units, detectors);
    let mut fits = true;
    let columns = "unit, detector, bit, nonfinite, masked, sdc, benign, sdc5, measured, delta_loss, delta_p, \
                   top2diff";
    let cells = rows(columns, "cells", &mut |row| {
        let key = [count(row, 0)? as usize, detector(row, 1)?, count(row, 2)? as usize];
        let cell = FaultCounts {
            outcomes: [count(row, 3)?, count(row, 4)?, count(row, 5)?, count(row, 6)?],
            sdc5: count(row, 7)?,
            measured: count(row, 8)?,
            delta_loss: row.get::<_, Option<f64>>(9)?.unwrap_or(f64::NAN),
            delta_p: row.get(10)?,
            top2diff: row.get(11)?,
            octaves: Vec::new(),
        };
        fits &= histogram.put_cell(key, cell).is_some();
        Ok(())
    });
    cells.map_err(failed)?;
    let octaves = rows("unit, detector, bit, low, faults", "octaves", &mut |row| {
        let key = [count(row, 0)? as usize, detector(row, 1)?, count(row, 2)? as usize];
        fits &= histogram.put_octave(key, row.get(3)?, count(row, 4)?).is_some();
        Ok(())
    });
    octaves.map_err(failed)?;
    let bins = rows("detector, bit, low, faults", "bins", &mut |row| {
        let key = [detector(row, 0)?, count(row, 1)? as usize];
        fits &= histogram.put_bin(key, row.get(2)?, count(row, 3)?).is_some();
        Ok(())
    });
    bins.map_err(failed)?;
    if fits { Ok(histogram) } else { Err(bad(path, &format!("its census of '{place}'"))) }
}

fn write_histogram(
    connection: &Connection,
    mode: &str,
    histogram: &Histogram,
) -> rusqlite::Result<()> {
    let place = &histogram.place;
    let mut cell_row = connection.prepare(
        "INSERT INTO exhaustive_cells VALUES \
         (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?;
    let mut octave_row = connection
        .prepare("INSERT INTO exhaustive_octaves VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    for unit in 0..histogram.units {
        for (number, detector) in histogram.detectors.iter().enumerate() {
            for bit in 0..BITS {
                let cell = histogram.cell(unit, number, bit);
                let [nonfinite, masked, sdc, benign] = cell.outcomes.map(|count| count as i64);
                let keys = (unit as i64, *detector as i64, bit as i64);
                cell_row.execute(params![
                    mode,
                    place,
                    keys.0,
                    keys.1,
                    keys.2,
                    nonfinite,
                    masked,
                    sdc,
                    benign,
                    cell.sdc5 as i64,
                    cell.measured as i64,
                    detector.bounds_the_mean().then_some(cell.delta_loss),
                    cell.delta_p,
                    cell.top2diff,
                ])?;
                for (octave, count) in &cell.octaves {
                    let [low, high] = octave_edges(*octave);
                    let count = *count as i64;
                    octave_row
                        .execute(params![mode, place, keys.0, keys.1, keys.2, low, high, count])?;
                }
            }
        }
    }
    let mut bin_row =
        connection.prepare("INSERT INTO exhaustive_bins VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for (number, detector) in histogram.detectors.iter().enumerate() {
        for bit in 0..BITS {
            for ([low, high], count) in histogram.bins(number, bit) {
                let (detector, bit, count) = (*detector as i64, bit as i64, count as i64);
                bin_row.execute(params![mode, place, detector, bit, low, high, count])?;
            }
        }
    }
    Ok(())
}
