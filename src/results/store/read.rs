//! A store's tables, read: manifest, shards, records.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use rusqlite::Connection;

use crate::detector::Detector;
use crate::fault::Site;
use crate::logits::Score;
use crate::plan::Shard;
use crate::results::layer::LayerRow;
use crate::results::manifest::{GoldenRow, Manifest};
use crate::results::outcome::{Effect, Outcome};
use crate::results::record::{Place, Record, Values};
use crate::results::store::file::failed;
use crate::{Error, Result};

pub(super) fn read_manifest(path: &Path, connection: &Connection) -> Result<Manifest> {
    let failed = |error| failed(path, error);
    let bad = |what: &str, error: serde_json::Error| {
        Error::file(path, format!("isn't a store as it should be: {what}: {error}"))
    };
    let mut object = serde_json::Map::new();
    let mut query = connection.prepare("SELECT key, value FROM manifest").map_err(failed)?;
    let mut rows = query.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let key: String = row.get(0).map_err(failed)?;
        let text: String = row.get(1).map_err(failed)?;
        let value = serde_json::from_str(&text).map_err(|error| bad(&key, error))?;
        object.insert(key, value);
    }
    let mut manifest: Manifest =
        serde_json::from_value(object.into()).map_err(|error| bad("its manifest", error))?;

    let columns =
        "SELECT name, pair_key, kind, part, shape, input_shape, macs, range, variant FROM layers";
    let mut query = connection.prepare(&format!("{columns} ORDER BY layer")).map_err(failed)?;
    let mut rows = query.query([]).map_err(failed)?;
    let ranged = manifest.plan.needs_ranges();
    while let Some(row) = rows.next().map_err(failed)? {
        let text = |column: usize| row.get::<_, String>(column).map_err(failed);
        let shape = |column: usize| -> Result<Vec<usize>> {
            serde_json::from_str(&text(column)?).map_err(|error| bad("a shape", error))
        };
        let range: Option<f32> = row.get(7).map_err(failed)?;
        manifest.layers.push(LayerRow {
            name: text(0)?,
            pair_key: text(1)?,
            kind: text(2)?,
            part: serde_json::from_value(text(3)?.into()).map_err(|error| bad("a part", error))?,
            shape: shape(4)?,
            input_shape: shape(5)?,
            macs: row.get::<_, i64>(6).map_err(failed)? as u64,
            range: if ranged { range.or(Some(f32::INFINITY)) } else { None },
            variant: text(8)?,
        });
    }

    let columns =
        "SELECT image, path, label, logits_hash, top1, loss, p_label, top2diff FROM images";
    let mut query = connection.prepare(&format!("{columns} ORDER BY place")).map_err(failed)?;
    let rows = query.query_map([], |row| {
        Ok(GoldenRow {
            image: row.get::<_, i64>(0)? as usize,
            path: row.get(1)?,
            label: row.get(2)?,
            hash: row.get::<_, i64>(3)? as u64,
            top1: row.get::<_, i64>(4)? as usize,
            loss: row.get(5)?,
            p_label: row.get(6)?,
            top2diff: row.get(7)?,
        })
    });
    manifest.images = rows.and_then(Iterator::collect).map_err(failed)?;
    Ok(manifest)
}

/// The shards that a store holds, and whether each is whole.
///
/// # Errors
/// What the file says; a store that holds a census alone.
pub(super) fn read_shards(path: &Path, connection: &Connection) -> Result<Vec<(Shard, bool)>> {
    let read = || -> rusqlite::Result<Vec<(Shard, bool)>> {
        let mut query =
            connection.prepare("SELECT shard, shards, complete FROM shards ORDER BY shard")?;
        let rows = query.query_map([], |row| {
            let number = |column| row.get::<_, i64>(column).map(|value| value as u64);
            Ok((Shard { index: number(0)?, of: number(1)? }, row.get(2)?))
        })?;
        rows.collect()
    };
    let shards = read().map_err(|error| failed(path, error))?;
    if shards.is_empty() {
        return Err(Error::file(
            path,
            "holds no campaign, only what --exhaustive counted: `report --exhaustive MODE` prints it",
        ));
    }
    Ok(shards)
}

/// Refuses a store that isn't a whole campaign.
pub(super) fn check_complete(path: &Path, connection: &Connection) -> Result<()> {
    let shards = read_shards(path, connection)?;
    let of = shards.first().map_or(1, |(shard, _)| shard.of);
    let held: HashSet<u64> = shards.iter().map(|(shard, _)| shard.index).collect();
    let missing: Vec<String> =
        (1..=of).filter(|index| !held.contains(index)).map(|index| index.to_string()).collect();
    if !missing.is_empty() {
        return Err(Error::file(
            path,
            format!(
                "is a part of a campaign: of {of} shards it lacks {}; `flipside merge` puts them together",
                missing.join(", ")
            ),
        ));
    }
    let stopped = shards.iter().filter(|(_, complete)| !complete);
    let stopped: Vec<String> = stopped.map(|(shard, _)| shard.to_string()).collect();
    if stopped.is_empty() {
        return Ok(());
    }
    let which = if of == 1 { String::new() } else { format!(" (shard {})", stopped.join(", ")) };
    let detail = format!("isn't finished{which}: run the same command with --resume");
    Err(Error::file(path, detail))
}

pub(super) fn read_done(connection: &Connection) -> rusqlite::Result<HashSet<(usize, u64)>> {
    let mut query = connection.prepare("SELECT DISTINCT layer, n FROM injections")?;
    let rows = query
        .query_map([], |row| Ok((row.get::<_, i64>(0)? as usize, row.get::<_, i64>(1)? as u64)));
    rows?.collect()
}

pub(super) fn read_records(
    path: &Path,
    connection: &Connection,
    manifest: &Manifest,
) -> Result<Vec<Record>> {
    let goldens: HashMap<usize, Score> =
        manifest.images.iter().map(|row| (row.image, row.score())).collect();
    let bad = |what: String| Error::file(path, format!("isn't a store as it should be: {what}"));
    let failed = |error| failed(path, error);
    let mut query = connection
        .prepare("SELECT * FROM injections ORDER BY layer, n, detector")
        .map_err(failed)?;
    let mut rows = query.query([]).map_err(failed)?;
    let mut records = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let index = |column: usize| row.get::<_, i64>(column).map(|v| v as u64).map_err(failed);
        let number = |column: usize| -> Result<f64> {
            let value: Option<f64> = row.get(column).map_err(failed)?;
            Ok(value.unwrap_or(f64::NAN))
        };
        let bits = |column: usize| row.get::<_, Option<u32>>(column).map_err(failed);
        let text = |column: usize| row.get::<_, String>(column).map_err(failed);
        let (layer, image) = (index(0)? as usize, index(4)? as usize);
        if layer >= manifest.layers.len() {
            return Err(bad(format!("there is no layer {layer}")));
        }
        let golden =
            *goldens.get(&image).ok_or_else(|| bad(format!("there is no image {image}")))?;
        let outcome = text(16)?;
        let values = match (bits(9)?, bits(10)?, bits(11)?) {
            (Some(before), Some(after), Some(seen)) => Some(Values { before, after, seen }),
            _ => None,
        };
        let element: Option<i64> = row.get(6).map_err(failed)?;
        let place = match (element, bits(7)?, bits(8)?) {
            (Some(element), Some(k), Some(mask)) => {
                Some(Place { element: element as u64, k, mask, values })
            }
            _ => None,
        };
        let detector = index(2)?;
        records.push(Record {
            layer,
            n: index(1)?,
            detector: Detector::of_number(detector)
                .ok_or_else(|| bad(format!("there is no detector {detector}")))?,
            site: Site::parse(&text(3)?).map_err(|error| bad(error.to_string()))?,
            image,
            flips: row.get(5).map_err(failed)?,
            place,
            golden,
            effect: Effect {
                score: Score {
                    top1: index(12)? as usize,
                    loss: number(13)?,
                    p_label: number(14)?,
                    top2diff: number(15)?,
                },
                outcome: Outcome::parse(&outcome)
                    .ok_or_else(|| bad(format!("there is no outcome '{outcome}'")))?,
                sdc5: row.get(17).map_err(failed)?,
                hash: index(18)?,
            },
        });
    }
    Ok(records)
}
