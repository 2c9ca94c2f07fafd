//! Merging shards.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};

use super::{counted, file, schema};
use crate::plan::Shard;
use crate::results::store::Store;
use crate::results::store::file::failed;
use crate::results::store::read::{read_manifest, read_shards};
use crate::{Error, Result};

/// Copies the shards of one campaign, each of which may be several merged before, into the new store
/// `out`; says how many there are now, of how many. The order of `parts` leaves no trace.
///
/// # Errors
/// Stores that don't belong together, hold a shard twice, or aren't finished; a file that is there
/// already. Nothing is left of `out` then.
pub fn merge(parts: &[PathBuf], out: &Path) -> Result<(u64, u64)> {
    let refuse = |detail: String| Err(Error::usage(detail));
    let Some(first) = parts.first() else { return refuse("there is nothing to merge".into()) };
    let read = |path: &Path| -> Result<_> {
        let connection = file::open(path)?;
        let shards = read_shards(path, &connection)?;
        Ok((read_manifest(path, &connection)?, shards))
    };
    let (mut manifest, _) = read(first)?;
    let mut shards: Vec<(Shard, &Path)> = Vec::new();
    for path in parts {
        let (there, held) = read(path)?;
        if let Some(difference) = manifest.difference(&there) {
            return refuse(format!(
                "{} and {} can't be merged: {difference}",
                first.display(),
                path.display()
            ));
        }
        // Stores of older programs don't have it.
        manifest.fault_free = manifest.fault_free.or(there.fault_free);
        for (shard, complete) in held {
            if !complete {
                let detail = format!(
                    "isn't finished: `flipside inject --resume {}` goes on with it",
                    path.display()
                );
                return Err(Error::file(path, detail));
            }
            if let Some((other, at)) = shards.iter().find(|(known, _)| known.of != shard.of) {
                return refuse(format!(
                    "{} holds shard {shard}, {} shard {other}: they part the campaign differently",
                    path.display(),
                    at.display()
                ));
            }
            if let Some((_, at)) = shards.iter().find(|(known, _)| *known == shard) {
                return refuse(format!(
                    "{} and {} both hold shard {shard}",
                    at.display(),
                    path.display()
                ));
            }
            shards.push((shard, path));
        }
    }
    shards.sort_by_key(|(shard, _)| *shard);
    // Beside the target, so that what has its name is whole.
    let mut hidden = out.as_os_str().to_owned();
    hidden.push(format!(".{}.tmp", std::process::id()));
    let hidden = PathBuf::from(hidden);
    if out.exists() {
        return refuse(format!("{} is there already", out.display()));
    }
    let merged = write(&hidden, &manifest, &shards, parts)
        .and_then(|()| std::fs::rename(&hidden, out).map_err(|source| Error::io(out, source)));
    if merged.is_err() {
        let _ = std::fs::remove_file(&hidden);
    }
    merged?;
    Ok((shards.len() as u64, shards.first().map_or(1, |(shard, _)| shard.of)))
}

fn write(
    path: &Path,
    manifest: &super::Manifest,
    shards: &[(Shard, &Path)],
    parts: &[PathBuf],
) -> Result<()> {
    let Some((first, _)) = shards.first() else { return Err(Error::usage("nothing to merge")) };
    drop(Store::create(path, manifest, *first)?);
    let connection = file::lock(path)?;
    let run = |sql: &str| connection.execute_batch(sql).map_err(|error| failed(path, error));
    for part in parts {
        let name = file::plain(part);
        let name = name.to_str().ok_or_else(|| Error::file(part, "has a name that isn't text"))?;
        connection
            .execute("ATTACH DATABASE ?1 AS part", [name])
            .map_err(|error| failed(part, error))?;
        run("BEGIN; INSERT INTO injections SELECT * FROM part.injections; COMMIT;")?;
        copy_counted(path, &connection)?;
        copy_census(path, &connection, part)?;
        run("DETACH part;")?;
    }
    run("BEGIN; DELETE FROM shards;")?;
    for (shard, _) in shards {
        connection
            .execute(
                "INSERT INTO shards VALUES (?1, ?2, 1)",
                params![shard.index as i64, shard.of as i64],
            )
            .map_err(|error| failed(path, error))?;
    }
    // All of them are the whole.
    if shards.len() as u64 == first.of {
        run("DELETE FROM shards; INSERT INTO shards VALUES (1, 1, 1);")?;
    }
    run("COMMIT")
}

/// Copies what was counted of layers, the same in every part that has it, out of the store that is attached as `part`.
fn copy_counted(path: &Path, connection: &Connection) -> Result<()> {
    let copy = || -> rusqlite::Result<()> {
        if counted::has_any("part", connection)? {
            connection.execute_batch(schema::COUNTED)?;
            connection
                .execute("INSERT OR IGNORE INTO main.counted SELECT * FROM part.counted", [])?;
        }
        Ok(())
    };
    copy().map_err(|error| failed(path, error))
}

/// Copies what `--exhaustive` counted into the store, out of the one that is attached as `part`.
fn copy_census(path: &Path, connection: &Connection, part: &Path) -> Result<()> {
    let failed = |error| failed(path, error);
    let sql = "SELECT count(*) > 0 FROM part.sqlite_schema WHERE name = 'exhaustive_manifest'";
    if !connection.query_row(sql, [], |row| row.get::<_, bool>(0)).map_err(failed)? {
        return Ok(());
    }
    connection.execute_batch(schema::CENSUS).map_err(failed)?;
    let sql = "SELECT DISTINCT mode FROM part.exhaustive_manifest WHERE mode IN \
               (SELECT mode FROM main.exhaustive_manifest)";
    let twice: Option<String> =
        connection.query_row(sql, [], |row| row.get(0)).optional().map_err(failed)?;
    if let Some(mode) = twice {
        let part = part.display();
        return Err(Error::usage(format!("{part} and another one both hold a census of {mode}")));
    }
    connection.execute_batch("BEGIN").map_err(failed)?;
    for table in schema::CENSUS_TABLES {
        let copy = format!("INSERT INTO main.{table} SELECT * FROM part.{table}");
        connection.execute(&copy, []).map_err(failed)?;
    }
    connection.execute_batch("COMMIT").map_err(failed)
}
