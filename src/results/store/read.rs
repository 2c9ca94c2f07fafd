//! A store's tables, read: manifest and shards.

use std::collections::HashSet;
use std::path::Path;

use rusqlite::Connection;

use crate::plan::{MOST_TEMPERATURES, Shard, Stratify};
use crate::results::layer::LayerRow;
use crate::results::manifest::{GoldenRow, Manifest};
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

    let (asked, known) = (manifest.plan.temperatures.len(), manifest.temperatures.len());
    if asked != known || known > MOST_TEMPERATURES {
        let detail = format!("{known} temperatures, where its plan asks for {asked}");
        return Err(Error::file(path, format!("isn't a store as it should be: it has {detail}")));
    }

    let mut query = connection.prepare("SELECT * FROM layers ORDER BY layer").map_err(failed)?;
    let mut rows = query.query([]).map_err(failed)?;
    let ranged = manifest.plan.needs_ranges();
    while let Some(row) = rows.next().map_err(failed)? {
        let text = |column: &str| row.get::<_, String>(column).map_err(failed);
        let shape = |column: &str| -> Result<Vec<usize>> {
            serde_json::from_str(&text(column)?).map_err(|error| bad("a shape", error))
        };
        let range: Option<f32> = row.get("range").map_err(failed)?;
        manifest.layers.push(LayerRow {
            name: text("name")?,
            pair_key: text("pair_key")?,
            kind: text("kind")?,
            part: serde_json::from_value(text("part")?.into())
                .map_err(|error| bad("a part", error))?,
            shape: shape("shape")?,
            input_shape: shape("input_shape")?,
            macs: row.get::<_, i64>("macs").map_err(failed)? as u64,
            range: if ranged { range.or(Some(f32::INFINITY)) } else { None },
            variant: text("variant")?,
        });
    }

    check_numbers(&manifest).map_err(|error| {
        Error::file(path, format!("isn't a store as it should be: its manifest: {error}"))
    })?;

    let mut query = connection.prepare("SELECT * FROM images ORDER BY place").map_err(failed)?;
    let rows = query.query_map([], |row| {
        Ok(GoldenRow {
            image: row.get::<_, i64>("image")? as usize,
            path: row.get("path")?,
            label: row.get("label")?,
            hash: row.get::<_, i64>("logits_hash")? as u64,
            top1: row.get::<_, i64>("top1")? as usize,
            loss: row.get("loss")?,
            p_label: row.get("p_label")?,
            top2diff: row.get("top2diff")?,
        })
    });
    manifest.images = rows.and_then(Iterator::collect).map_err(failed)?;
    Ok(manifest)
}

/// Refuses an allocation that can't weigh the layers' records, and temperatures that aren't those of the plan.
fn check_numbers(manifest: &Manifest) -> Result<()> {
    let Manifest { plan, temperatures, layers, .. } = manifest;
    if let Stratify::Allocated(allocation) = &plan.stratify {
        let bits = |layer: &LayerRow| layer.bits_at(plan.site);
        allocation.check(layers.iter().map(|layer| (layer.pair_key.as_str(), bits(layer))))?;
    }
    let is_one = |value: &f64| value.is_finite() && *value > 0.0;
    match temperatures.iter().find(|value| !is_one(value)) {
        Some(value) => Err(Error::usage(format!("it has a temperature of {value}"))),
        None => Ok(()),
    }
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
    let detail = format!(
        "isn't finished{which}: `flipside inject --resume {}` goes on with it, and `flipside report --partial` prints \
         what there is",
        path.display()
    );
    Err(Error::file(path, detail))
}
