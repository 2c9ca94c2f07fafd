//! How many records of a store were run again, whole and uncached, and came out with the same bits: a table that a store
//! has once that was done.

use std::path::Path;

use super::file::{self, failed};
use super::schema;
use crate::{Error, Result};

/// Keeps in a whole store that `records` of its records were run again, unless it is more already.
///
/// # Errors
/// What the file says.
pub fn note_verified(path: &Path, records: usize) -> Result<()> {
    let connection = file::lock(path)?;
    file::check(path, &connection)?;
    let write = || -> rusqlite::Result<()> {
        connection.execute_batch(schema::VERIFIED)?;
        connection.execute(
            "INSERT INTO verified SELECT ?1 WHERE ?1 > (SELECT coalesce(max(records), 0) FROM verified)",
            [records as i64],
        )?;
        Ok(())
    };
    write().map_err(|error| failed(path, error))
}

/// How many records of a store were; 0 where that isn't known.
///
/// # Errors
/// What the file says; a number that can't be.
pub fn verified(path: &Path) -> Result<u64> {
    let connection = file::open(path)?;
    let read = || -> rusqlite::Result<i64> {
        let has_any = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'verified'";
        match connection.query_row(has_any, [], |row| row.get(0))? {
            true => {
                connection.query_row("SELECT coalesce(max(records), 0) FROM verified", [], |row| {
                    row.get(0)
                })
            }
            false => Ok(0),
        }
    };
    let records = read().map_err(|error| failed(path, error))?;
    let bad = || {
        Error::file(path, format!("isn't a store as it should be: {records} records were verified"))
    };
    u64::try_from(records).map_err(|_| bad())
}
