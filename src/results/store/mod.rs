//! A campaign's store: one SQLite file.
//!
//! Records are written in batches inside transactions, so that whatever ends a run (a full disk, kill -9)
//! leaves a file that holds whole injections, and a later run goes on from them. The order in which they
//! come leaves no trace: rows lie in the order of layer, number and detector.

mod counted;
pub(crate) mod file;
mod grow;
mod merge;
mod partial;
mod read;
mod records;
pub(crate) mod schema;
mod verified;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

pub use file::is_store;
pub use merge::merge;
pub use verified::{note_verified, verified};

use self::file::{failed, failure};
use self::grow::write_config;
use self::read::{check_complete, read_manifest, read_shards};
use self::records::{insert, read_done, read_records};
use super::counted::Counted;
use super::manifest::Manifest;
use super::record::Record;
use super::run::Run;
use super::work::{Sink, Watched, Work};
use crate::plan::Shard;
use crate::{Error, Result};

/// How long records wait in memory where they come fast. Between the transactions that write them the file is at rest, so
/// that others can read it.
const WAIT: Duration = Duration::from_millis(100);

/// A store that is being written to.
pub struct Store {
    path: PathBuf,
    waiting: Mutex<Waiting>,
    writer: Mutex<Writer>,
}

/// Records that are to be written, and when others were last.
struct Waiting {
    records: Vec<Record>,
    written: Instant,
}

struct Writer {
    connection: Connection,
    /// At how many ΔLoss is kept beside as trained.
    temperatures: usize,
    /// Whether a transaction is open.
    is_open: bool,
    /// What the first write that failed said. Nothing is written after it: half of a batch may hold half of
    /// an injection.
    broken: Option<String>,
}

impl Run {
    /// Writes the run as a new store.
    ///
    /// # Errors
    /// Those of [`Store::create`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let store = Store::create(path, &self.manifest, Shard::WHOLE)?;
        store.take(&self.records)?;
        store.count(&self.counted)?;
        store.finish(true)
    }

    /// Reads a whole campaign.
    ///
    /// # Errors
    /// A file that isn't a store, or is damaged; one that lacks shards or was stopped.
    pub fn open(path: &Path) -> Result<Run> {
        let connection = file::open(path)?;
        check_complete(path, &connection)?;
        let manifest = read_manifest(path, &connection)?;
        let records = read_records(path, &connection, &manifest)?;
        let counted = counted::read(path, &connection, &manifest)?;
        Ok(Run { manifest, records, counted })
    }
}

impl Store {
    /// A new store for a part of a campaign.
    ///
    /// # Errors
    /// A file that is there already; what the disk says.
    pub fn create(path: &Path, manifest: &Manifest, shard: Shard) -> Result<Store> {
        Store::fill(path, file::create(path)?, manifest, shard)
    }

    /// Writes all but the records to a file that has nothing in it.
    fn fill(
        path: &Path,
        connection: Connection,
        manifest: &Manifest,
        shard: Shard,
    ) -> Result<Store> {
        let fill = || -> rusqlite::Result<()> {
            connection.execute_batch("BEGIN IMMEDIATE")?;
            connection.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
            connection.pragma_update(None, "user_version", schema::FORMAT)?;
            connection.execute_batch(schema::TABLES)?;
            connection.execute_batch(&schema::add_rescaled(manifest.temperatures.len()))?;
            write_manifest(&connection, manifest)?;
            connection.execute(
                "INSERT INTO shards VALUES (?1, ?2, 0)",
                params![shard.index as i64, shard.of as i64],
            )?;
            connection.execute_batch("COMMIT")
        };
        fill().map_err(|error| failed(path, error))?;
        Ok(Store::of(path, connection, manifest))
    }

    fn of(path: &Path, connection: Connection, manifest: &Manifest) -> Store {
        let temperatures = manifest.temperatures.len();
        let writer = Writer { connection, temperatures, is_open: false, broken: None };
        let waiting = Waiting { records: Vec::new(), written: Instant::now() };
        Store { path: path.into(), waiting: Mutex::new(waiting), writer: Mutex::new(writer) }
    }

    /// A new store for a part of a campaign, or with `resume` the one that is there; says what of it is done.
    ///
    /// # Errors
    /// Those of [`Store::create`] and [`Store::resume`].
    pub fn begin(
        path: &Path,
        manifest: &Manifest,
        shard: Shard,
        resume: bool,
    ) -> Result<(Store, Work)> {
        match resume && path.exists() {
            true => Store::resume(path, manifest, shard),
            false => {
                let store = Store::create(path, manifest, shard)?;
                Ok((store, Work { shard, ..Work::whole() }))
            }
        }
    }

    /// What a store, or a part of one, is of.
    ///
    /// # Errors
    /// A file that isn't a store, or is damaged.
    pub fn manifest(path: &Path) -> Result<Manifest> {
        let connection = file::open(path)?;
        read_shards(path, &connection)?;
        read_manifest(path, &connection)
    }

    /// Opens a store to go on with the part `shard` of the campaign of `manifest`; says what of it is done.
    ///
    /// # Errors
    /// A file that isn't a store; one of another campaign or shard, or that another process writes to.
    pub fn resume(path: &Path, manifest: &Manifest, shard: Shard) -> Result<(Store, Work)> {
        let connection = file::lock(path)?;
        if file::is_new(path, &connection)? {
            let store = Store::fill(path, connection, manifest, shard)?;
            return Ok((store, Work { shard, ..Work::whole() }));
        }
        file::check(path, &connection)?;
        let shards = read_shards(path, &connection)?;
        let there = read_manifest(path, &connection)?;
        if let Some(difference) = there.difference(manifest) {
            return Err(Error::usage(format!(
                "{} holds another campaign than this one: {difference}",
                path.display()
            )));
        }
        if !matches!(shards[..], [(only, _)] if only == shard) {
            let held: Vec<String> = shards.iter().map(|(shard, _)| shard.to_string()).collect();
            return Err(Error::usage(format!(
                "{} holds shard {}, not {shard}",
                path.display(),
                held.join(", ")
            )));
        }
        if let (None, Some(found)) = (&there.fault_free, &manifest.fault_free) {
            // An older program's.
            let value = serde_json::to_string(found).unwrap_or_default();
            let insert = "INSERT INTO manifest VALUES ('fault_free', ?1)";
            connection.execute(insert, [value]).map_err(|error| failed(path, error))?;
        }
        if let (None, Some(config)) = (&there.config, &manifest.config) {
            // An older program's, too.
            write_config(&connection, config).map_err(|error| failed(path, error))?;
        }
        let done = read_done(&connection).map_err(|error| failed(path, error))?;
        let watched = match &manifest.plan.until {
            Some(_) => Watched::of(&manifest.plan, &read_records(path, &connection, manifest)?),
            None => Watched::default(),
        };
        Ok((Store::of(path, connection, manifest), Work { shard, done, watched }))
    }

    /// Ends the transaction that is open, and notes whether the shard is whole.
    ///
    /// # Errors
    /// What the disk says.
    pub fn finish(self, complete: bool) -> Result<()> {
        self.flush()?;
        self.write(|writer| {
            writer.connection.execute("UPDATE shards SET complete = ?1", [complete])?;
            writer.commit()
        })
    }

    /// Every record that was written, sorted.
    ///
    /// # Errors
    /// What the file says.
    pub fn records(&self, manifest: &Manifest) -> Result<Vec<Record>> {
        self.flush()?;
        read_records(&self.path, &self.writer().connection, manifest)
    }

    /// Writes what was counted of layers.
    ///
    /// # Errors
    /// What the disk says.
    pub fn count(&self, counted: &Counted) -> Result<()> {
        self.write(|writer| counted::write(&writer.connection, counted))
    }

    /// What was counted of layers before.
    ///
    /// # Errors
    /// What the file says.
    pub fn counted(&self, manifest: &Manifest) -> Result<Counted> {
        counted::read(&self.path, &self.writer().connection, manifest)
    }

    /// Writes inside a transaction. After a write that failed every other one says the same.
    fn write(&self, write: impl FnOnce(&mut Writer) -> rusqlite::Result<()>) -> Result<()> {
        let mut writer = self.writer();
        self.require_whole(&writer)?;
        let written = match writer.begin() {
            Ok(()) => write(&mut writer),
            Err(error) => Err(error),
        };
        written.map_err(|error| {
            writer.is_open = false;
            // SQLite may have done so by itself; if not even this is possible, closing the file does it.
            let _ = writer.connection.execute_batch("ROLLBACK");
            let detail = failure(&error);
            writer.broken = Some(detail.clone());
            Error::file(&self.path, detail)
        })
    }

    /// Refuses to go on where a write failed.
    fn require_whole(&self, writer: &Writer) -> Result<()> {
        let broken = writer.broken.as_ref();
        broken.map_or(Ok(()), |detail| Err(Error::file(&self.path, detail.clone())))
    }

    /// Writes what waits, and ends the transaction that is open.
    fn flush(&self) -> Result<()> {
        // Other threads go on adding to what waits next.
        let next = Waiting { records: Vec::new(), written: Instant::now() };
        let Waiting { records, .. } = std::mem::replace(&mut *self.waiting(), next);
        if records.is_empty() && !self.writer().is_open {
            return Ok(());
        }
        self.write(|writer| {
            insert(&writer.connection, writer.temperatures, &records)?;
            writer.commit()
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Store {
    /// Keeps records in memory for a moment. What can't be written then is an error of whoever comes next, and of all
    /// after them.
    fn take(&self, records: &[Record]) -> Result<()> {
        // Who writes now will say so.
        if let Ok(writer) = self.writer.try_lock() {
            self.require_whole(&writer)?;
        }
        let is_due = {
            let mut waiting = self.waiting();
            waiting.records.extend_from_slice(records);
            waiting.written.elapsed() > WAIT
        };
        if is_due { self.flush() } else { Ok(()) }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // What can't be written now is run again by a later run.
        let _ = self.flush();
    }
}

impl Writer {
    fn begin(&mut self) -> rusqlite::Result<()> {
        if !self.is_open {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
            self.is_open = true;
        }
        Ok(())
    }

    fn commit(&mut self) -> rusqlite::Result<()> {
        if std::mem::take(&mut self.is_open) {
            self.connection.execute_batch("COMMIT")?;
        }
        Ok(())
    }
}

fn write_manifest(connection: &Connection, manifest: &Manifest) -> rusqlite::Result<()> {
    let value = serde_json::to_value(manifest).map_err(to_sql)?;
    for (key, value) in value.as_object().into_iter().flatten() {
        let insert = "INSERT INTO manifest VALUES (?1, ?2)";
        connection.execute(insert, params![key, value.to_string()])?;
    }
    let mut insert = connection
        .prepare("INSERT INTO layers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
    for (index, layer) in manifest.layers.iter().enumerate() {
        let part = serde_json::to_value(layer.part).map_err(to_sql)?;
        insert.execute(params![
            index as i64,
            layer.name,
            layer.pair_key,
            layer.kind,
            part.as_str(),
            serde_json::to_string(&layer.shape).map_err(to_sql)?,
            serde_json::to_string(&layer.input_shape).map_err(to_sql)?,
            layer.macs as i64,
            layer.range,
            layer.variant,
        ])?;
    }
    let mut insert =
        connection.prepare("INSERT INTO images VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
    for (place, row) in manifest.images.iter().enumerate() {
        insert.execute(params![
            place as i64,
            row.image as i64,
            row.path,
            row.label,
            row.hash as i64,
            row.top1 as i64,
            row.loss,
            row.p_label,
            row.top2diff,
        ])?;
    }
    Ok(())
}

pub(crate) fn to_sql(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}
