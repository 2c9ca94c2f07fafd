//! A store whose campaign gets more injections than it was begun with.

use std::path::Path;

use rusqlite::{Connection, params};

use super::file::{self, failed};
use super::read::{read_manifest, read_shards};
use super::{Store, to_sql};
use crate::plan::Shard;
use crate::results::{Config, Manifest};
use crate::{Error, Result};

impl Store {
    /// The shards that a store holds, and whether each is whole.
    ///
    /// # Errors
    /// A file that isn't a store, or holds a census alone.
    pub fn shards(path: &Path) -> Result<Vec<(Shard, bool)>> {
        read_shards(path, &file::open(path)?)
    }

    /// Whether a store holds a campaign, or a part of one, and not a census alone.
    ///
    /// # Errors
    /// A file that isn't a store.
    pub fn has_campaign(path: &Path) -> Result<bool> {
        let count = "SELECT count(*) > 0 FROM shards";
        let connection = file::open(path)?;
        connection.query_row(count, [], |row| row.get(0)).map_err(|error| failed(path, error))
    }

    /// Makes the campaign of a store that of `manifest`, which is the same with more injections a layer. Those that it
    /// lacks then are what [`Store::resume`] says is left to do. All of that is one transaction: whatever ends it, the
    /// store is whole before or incomplete afterwards.
    ///
    /// # Errors
    /// A campaign that can't grow ([`Plan::check_growth`](crate::plan::Plan::check_growth)), or differs in more than
    /// its injections; a store that another process writes to.
    pub fn grow(path: &Path, manifest: &Manifest) -> Result<()> {
        let connection = file::lock(path)?;
        file::check(path, &connection)?;
        let there = read_manifest(path, &connection)?;
        let refuse = |why: String| Err(Error::usage(format!("{} {why}", path.display())));
        let shards = read_shards(path, &connection)?;
        let shard = shards.first().map_or(Shard::WHOLE, |(shard, _)| *shard);
        if let Err(why) = there.plan.check_growth(manifest.plan.injections.end, shard) {
            return refuse(why.to_string());
        }
        let mut grown = there;
        grown.plan.injections = manifest.plan.injections.clone();
        if let Some(difference) = grown.difference(manifest) {
            return refuse(format!("holds another campaign than this one: {difference}"));
        }
        let plan = json(&grown.plan).map_err(|error| failed(path, error))?;
        let write = || -> rusqlite::Result<()> {
            connection.execute_batch("BEGIN IMMEDIATE")?;
            connection.execute("UPDATE manifest SET value = ?1 WHERE key = 'plan'", [plan])?;
            if let Some(config) = &manifest.config {
                write_config(&connection, config)?;
            }
            connection.execute("UPDATE shards SET complete = 0", [])?;
            connection.execute_batch("COMMIT")
        };
        // Where it fails, closing the file takes it back.
        write().map_err(|error| failed(path, error))
    }
}

/// Writes the flags in the place of those that were there.
pub(super) fn write_config(connection: &Connection, config: &Config) -> rusqlite::Result<()> {
    let value = json(config)?;
    let insert = "INSERT OR REPLACE INTO manifest VALUES ('config', ?1)";
    connection.execute(insert, params![value]).map(|_| ())
}

/// A value as a new store has it, whose keys are sorted.
fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_value(value).map(|value| value.to_string()).map_err(to_sql)
}
