//! The records of a store: the table `injections`, written and read.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use rusqlite::types::{ToSqlOutput, Value};
use rusqlite::{Connection, params_from_iter};

use crate::detector::Detector;
use crate::fault::Site;
use crate::logits::Score;
use crate::plan::MOST_TEMPERATURES;
use crate::results::manifest::Manifest;
use crate::results::outcome::Effect;
use crate::results::record::{HitElement, Record, Values};
use crate::results::store::file::failed;
use crate::results::store::schema::rescaled;
use crate::{Error, Result};

/// A column of `injections`: its name, and what stands in it of a record.
type StoredColumn = (&'static str, fn(&Record) -> ToSqlOutput<'static>);

/// The columns of `injections`. [`super::schema`] has their types.
const COLUMNS: [StoredColumn; 19] = [
    ("layer", |record| int(record.layer as u64)),
    ("n", |record| int(record.n)),
    ("detector", |record| int(record.detector as u64)),
    ("site", |record| record.site.name().into()),
    ("image", |record| int(record.image as u64)),
    ("flips", |record| record.flips.into()),
    ("element", |record| maybe(record.place.map(|place| place.element as i64))),
    ("k", |record| maybe(record.place.map(|place| place.k))),
    ("mask", |record| maybe(record.mask())),
    ("before", |record| maybe(record.values().map(|values| values.before))),
    ("after", |record| maybe(record.values().map(|values| values.after))),
    ("seen", |record| maybe(record.values().map(|values| values.seen))),
    ("top1", |record| int(record.effect.score.top1 as u64)),
    ("loss", |record| record.effect.score.loss.into()),
    ("p_label", |record| record.effect.score.p_label.into()),
    ("top2diff", |record| record.effect.score.top2diff.into()),
    ("outcome", |record| record.effect.outcome.name().into()),
    ("sdc5", |record| record.effect.sdc5.into()),
    ("logits_hash", |record| int(record.effect.hash)),
];

/// SQLite's whole numbers have a sign: hashes above 2^63 are stored as their bits.
fn int(value: u64) -> ToSqlOutput<'static> {
    (value as i64).into()
}

fn maybe(value: Option<impl Into<Value>>) -> ToSqlOutput<'static> {
    ToSqlOutput::Owned(value.map_or(Value::Null, Into::into))
}

/// The names of the columns, as SQL lists them; behind the others those of so many temperatures.
fn names(temperatures: usize) -> String {
    let names = COLUMNS.iter().map(|(name, _)| name.to_string());
    names.chain((0..temperatures).map(rescaled)).collect::<Vec<_>>().join(", ")
}

/// The place of a column in [`names`].
fn place_of(column: &str) -> usize {
    // No row has that place, and SQLite says so.
    COLUMNS.iter().position(|(name, _)| *name == column).unwrap_or(usize::MAX)
}

pub(super) fn insert(
    connection: &Connection,
    temperatures: usize,
    records: &[Record],
) -> rusqlite::Result<()> {
    let marks = vec!["?"; COLUMNS.len() + temperatures].join(", ");
    let insert = format!("INSERT INTO injections ({}) VALUES ({marks})", names(temperatures));
    let mut insert = connection.prepare(&insert)?;
    for record in records {
        let values = COLUMNS.iter().map(|(_, value)| value(record));
        let at = (0..temperatures).map(|place| record.delta_loss_at(place).into());
        insert.execute(params_from_iter(values.chain(at)))?;
    }
    Ok(())
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
    let temperatures = manifest.temperatures.len();
    let names = names(temperatures);
    let query = format!("SELECT {names} FROM injections ORDER BY layer, n, detector");
    let mut query = connection.prepare(&query).map_err(failed)?;
    let mut rows = query.query([]).map_err(failed)?;
    let mut records = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let index =
            |column: &str| row.get::<_, i64>(place_of(column)).map(|v| v as u64).map_err(failed);
        let number = |column: &str| -> Result<f64> {
            let value: Option<f64> = row.get(place_of(column)).map_err(failed)?;
            Ok(value.unwrap_or(f64::NAN))
        };
        let bits = |column: &str| row.get::<_, Option<u32>>(place_of(column)).map_err(failed);
        let text = |column: &str| row.get::<_, String>(place_of(column)).map_err(failed);
        let (layer, image) = (index("layer")? as usize, index("image")? as usize);
        if layer >= manifest.layers.len() {
            return Err(bad(format!("there is no layer {layer}")));
        }
        let golden =
            *goldens.get(&image).ok_or_else(|| bad(format!("there is no image {image}")))?;
        let values = match (bits("before")?, bits("after")?, bits("seen")?) {
            (Some(before), Some(after), Some(seen)) => Some(Values { before, after, seen }),
            _ => None,
        };
        let element: Option<i64> = row.get(place_of("element")).map_err(failed)?;
        let place = match (element, bits("k")?, bits("mask")?) {
            (Some(element), Some(k), Some(mask)) => {
                Some(HitElement { element: element as u64, k, mask, values })
            }
            _ => None,
        };
        let mut rescaled = [None; MOST_TEMPERATURES];
        for (place, value) in rescaled.iter_mut().enumerate().take(temperatures) {
            let at: Option<f64> = row.get(COLUMNS.len() + place).map_err(failed)?;
            *value = Some(at.unwrap_or(f64::NAN));
        }
        let detector = index("detector")?;
        records.push(Record {
            layer,
            n: index("n")?,
            detector: Detector::of_number(detector)
                .ok_or_else(|| bad(format!("there is no detector {detector}")))?,
            site: Site::parse(&text("site")?).map_err(|error| bad(error.to_string()))?,
            image,
            flips: row.get(place_of("flips")).map_err(failed)?,
            place,
            golden,
            effect: Effect {
                score: Score {
                    top1: index("top1")? as usize,
                    loss: number("loss")?,
                    p_label: number("p_label")?,
                    top2diff: number("top2diff")?,
                },
                outcome: text("outcome")?.parse().map_err(|error: Error| bad(error.to_string()))?,
                sdc5: row.get(place_of("sdc5")).map_err(failed)?,
                hash: index("logits_hash")?,
                rescaled,
            },
        });
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::store::schema;

    /// The table has these columns, no others, in this order.
    #[test]
    fn columns_are_those_of_the_table() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(schema::TABLES).unwrap();
        let query = connection.prepare("SELECT * FROM injections").unwrap();
        let columns: Vec<&str> = query.column_names().collect();
        assert_eq!(columns, COLUMNS.map(|(name, _)| name));
        // Behind them, those of temperatures.
        connection.execute_batch(&schema::add_rescaled(2)).unwrap();
        let query = connection.prepare("SELECT * FROM injections").unwrap();
        assert_eq!(query.column_names().collect::<Vec<_>>().join(", "), names(2));
    }
}
