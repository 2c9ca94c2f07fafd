//! What was counted of layers, in a table of a store that it has once there is something.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use rusqlite::{Connection, params};

use super::file::failed;
use super::schema;
use crate::results::{Counted, MOST_COUNTED, Manifest};
use crate::{Error, Result};

/// Whether a store has the table; `database` is its name where several are attached.
pub(super) fn has_any(database: &str, connection: &Connection) -> rusqlite::Result<bool> {
    let sql = format!("SELECT count(*) > 0 FROM {database}.sqlite_schema WHERE name = 'counted'");
    connection.query_row(&sql, [], |row| row.get(0))
}

/// Writes it in the place of what was there.
pub(super) fn write(connection: &Connection, counted: &Counted) -> rusqlite::Result<()> {
    if counted.is_empty() {
        return Ok(());
    }
    connection.execute_batch(schema::COUNTED)?;
    let mut insert =
        connection.prepare("INSERT OR REPLACE INTO counted VALUES (?1, ?2, ?3, ?4)")?;
    for ((layer, place), images) in counted.iter() {
        for (image, mean) in images {
            insert.execute(params![layer as i64, place as i64, *image as i64, mean])?;
        }
    }
    Ok(())
}

/// What there is.
///
/// # Errors
/// What the file says; layers or images that the campaign doesn't have.
pub(super) fn read(path: &Path, connection: &Connection, manifest: &Manifest) -> Result<Counted> {
    let failed = |error| failed(path, error);
    let mut counted = Counted::default();
    if !has_any("main", connection).map_err(failed)? {
        return Ok(counted);
    }
    let bad =
        |what: String| Error::file(path, format!("isn't a store as it should be: counted: {what}"));
    let images: HashSet<usize> = manifest.images.iter().map(|row| row.image).collect();
    let mut layers = BTreeMap::<(usize, usize), Vec<(usize, f64)>>::new();
    let sql = "SELECT layer, temperature, image, delta_loss FROM counted ORDER BY layer, temperature, image";
    let mut query = connection.prepare(sql).map_err(failed)?;
    let mut rows = query.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let number = |column| row.get::<_, i64>(column).map_err(failed);
        let (layer, place, image) = (number(0)?, number(1)?, number(2)?);
        let mean: Option<f64> = row.get(3).map_err(failed)?;
        let of_layer = usize::try_from(layer).ok().and_then(|layer| manifest.layers.get(layer));
        if !of_layer.is_some_and(|layer| manifest.is_counted(layer)) {
            return Err(bad(format!("layer {layer} isn't one that is counted")));
        }
        if !(0..=manifest.temperatures.len() as i64).contains(&place) {
            return Err(bad(format!("there is no temperature {place}")));
        }
        if !images.contains(&(image as usize)) {
            return Err(bad(format!("there is no image {image}")));
        }
        if let Some(mean) = mean.filter(|mean| !(*mean >= 0.0 && mean.is_finite())) {
            return Err(bad(format!("image {image} has a mean ΔLoss of {mean}")));
        }
        let (layer, place, image) = (layer as usize, place as usize, image as usize);
        layers.entry((layer, place)).or_default().push((image, mean.unwrap_or(f64::NAN)));
    }
    let (of_each, places) = (images.len().min(MOST_COUNTED), manifest.temperatures.len() + 1);
    let last: Vec<usize> =
        (0..manifest.layers.len()).filter(|i| manifest.is_counted(&manifest.layers[*i])).collect();
    if layers.len() != last.len() * places || layers.values().any(|of| of.len() != of_each) {
        return Err(bad(format!(
            "it takes {of_each} images of each of {} places, and of each temperature; without the table \
             `inject --resume` makes it anew",
            last.len()
        )));
    }
    layers.into_iter().for_each(|((layer, place), of)| counted.insert(layer, place, of));
    Ok(counted)
}
