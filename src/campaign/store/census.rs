//! A census in a store: histograms instead of rows, in tables of their own beside a campaign's, or alone.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use serde::Serialize;

use super::manifest::{image_list, instruction_set};
use super::{Provenance, failed, is_empty, lock, open, schema, to_sql};
use crate::campaign::exhaustive::{BITS, Census, Exhaustive, Histogram, octave_edges};
use crate::campaign::plan::Labels;
use crate::campaign::ranges::Detector;
use crate::device::Compute;
use crate::{Error, Result};

/// What was counted on what.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CensusManifest {
    pub version: String,
    pub commit: String,
    pub provenance: Provenance,
    pub head: String,
    pub classes: usize,
    pub image_size: usize,
    pub labels: Labels,
    pub detectors: Vec<Detector>,
    /// What the range detector clamps to, a number a place; `None` without that detector.
    pub ranges: Vec<Option<f32>>,
    pub device: String,
    pub compute: Compute,
    pub instruction_set: String,
    pub images: usize,
    /// SHA-256 of the numbers and labels of the images, in order.
    pub image_list: String,
}

impl CensusManifest {
    /// That of a census.
    pub fn new(
        exhaustive: &Exhaustive<'_>,
        provenance: Provenance,
        labels: Labels,
    ) -> CensusManifest {
        let model = exhaustive.model;
        let device = exhaustive.weights.device();
        let ranged = exhaustive.detectors.contains(&Detector::Range);
        CensusManifest {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: env!("FLIPSIDE_COMMIT").into(),
            provenance,
            head: model.head.name().into(),
            classes: model.classes,
            image_size: model.image_size,
            labels,
            detectors: exhaustive.detectors.clone(),
            ranges: exhaustive.max.iter().map(|max| ranged.then_some(*max)).collect(),
            device: device.kind().to_string(),
            compute: device.compute(),
            instruction_set: instruction_set(),
            images: exhaustive.goldens.len(),
            image_list: image_list(exhaustive.goldens),
        }
    }
}

impl Census {
    /// Refuses a file that [`Census::save`] would refuse, before anything is counted.
    ///
    /// # Errors
    /// A file that isn't a store, holds this census already, or a campaign with another model's weights or
    /// data.
    pub fn check_store(mode: &str, provenance: &Provenance, path: &Path) -> Result<()> {
        if is_new(path)? {
            return Ok(());
        }
        let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        check(path, &connection, mode, provenance)
    }

    /// Keeps the census in the store `path`, which may be a campaign's on the same weights and data; a new
    /// file if there is none. All of it is there afterwards, or nothing.
    ///
    /// # Errors
    /// Those of [`Census::check_store`]; what the disk says.
    pub fn save(&self, path: &Path, manifest: &CensusManifest) -> Result<()> {
        let is_new = is_new(path)?;
        let connection = if is_new {
            Connection::open(path).map_err(|error| failed(path, error))?
        } else {
            open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?
        };
        lock(path, &connection)?;
        let written = self.write(path, connection, is_new, manifest);
        if written.is_err() && is_new {
            // Nothing is in it yet.
            let _ = std::fs::remove_file(path);
        }
        written
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
            check(path, &connection, mode, &manifest.provenance)?;
        }
        let mut fill = || -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            if is_new {
                transaction.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
                transaction.pragma_update(None, "user_version", schema::FORMAT)?;
                transaction.execute_batch(schema::TABLES)?;
            }
            transaction.execute_batch(schema::CENSUS)?;
            let value = serde_json::to_value(manifest).map_err(to_sql)?;
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

/// Whether there is no file, or one that a run left empty that was killed.
fn is_new(path: &Path) -> Result<bool> {
    Ok(!path.exists() || is_empty(path)?)
}

fn check(path: &Path, connection: &Connection, mode: &str, provenance: &Provenance) -> Result<()> {
    let failed = |error| failed(path, error);
    let count = |sql: &str, of: &str| -> Result<i64> {
        connection.query_row(sql, [of], |row| row.get(0)).map_err(failed)
    };
    let has_table = |name: &str| -> Result<bool> {
        Ok(count("SELECT count(*) FROM sqlite_schema WHERE name = ?1", name)? > 0)
    };
    let refuse = |detail: String| Err(Error::usage(format!("{} {detail}", path.display())));
    let same = |text: Option<String>| -> Result<bool> {
        let Some(text) = text else { return Ok(true) };
        let there: Provenance = serde_json::from_str(&text).map_err(|error| {
            Error::file(path, format!("isn't a store as it should be: its provenance: {error}"))
        })?;
        let key = |of: &Provenance| [of.model.clone(), of.checkpoint.clone(), of.data.clone()];
        Ok(key(&there) == key(provenance))
    };
    let provenances = ["manifest", "exhaustive_manifest"];
    for table in provenances {
        if !has_table(table)? {
            continue;
        }
        let sql = format!("SELECT value FROM {table} WHERE key = 'provenance' LIMIT 1");
        let text = connection.query_row(&sql, [], |row| row.get(0)).optional().map_err(failed)?;
        if !same(text)? {
            return refuse("is of another model, other weights or other data".into());
        }
    }
    if has_table("exhaustive_manifest")?
        && count("SELECT count(*) FROM exhaustive_manifest WHERE mode = ?1", mode)? > 0
    {
        return refuse(format!("holds a census of {mode} already"));
    }
    Ok(())
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
                    (*detector == Detector::Range).then_some(cell.delta_loss),
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
