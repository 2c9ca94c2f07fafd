//! A store that isn't complete, read: of a campaign that was stopped or that still runs, or of a shard.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::{Connection, MAIN_DB};

use super::counted;
use super::file::{self, failed};
use super::read::{read_manifest, read_shards};
use super::records::read_records;
use crate::plan::Shard;
use crate::results::Run;
use crate::{Error, Result};

/// How long to wait for a pause between two transactions that is long enough to copy a store.
const PATIENCE: Duration = Duration::from_secs(20);

/// Times of files are told apart from this on; they are those of the kernel's clock, which ticks more often.
const TICK: Duration = Duration::from_millis(20);

impl Run {
    /// Reads what a store holds of a campaign, and the shards that it is of, each with whether it is whole. Another
    /// process may be writing to the store; it doesn't notice. This process must not be: on Unix
    /// reading the file would end its locks.
    ///
    /// # Errors
    /// A file that isn't a store, or is damaged; one that is written to without a pause.
    pub fn open_partial(path: &Path) -> Result<(Run, Vec<(Shard, bool)>)> {
        let connection = match file::is_locked(path) {
            true => copy(path)?,
            // Meanwhile somebody may have begun to write.
            false => file::open(path).or_else(|error| match file::is_locked(path) {
                true => copy(path),
                false => Err(error),
            })?,
        };
        let shards = read_shards(path, &connection)?;
        let manifest = read_manifest(path, &connection)?;
        let records = read_records(path, &connection, &manifest)?;
        let counted = counted::read(path, &connection, &manifest)?;
        Ok((Run { manifest, records, counted }, shards))
    }
}

/// A copy, in memory, of a store that another process writes to, as its last transaction left it.
fn copy(path: &Path) -> Result<Connection> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(bytes) = still_bytes(path)? {
            let read = || -> rusqlite::Result<Connection> {
                let mut connection = Connection::open_in_memory()?;
                let size = bytes.len();
                connection.deserialize_read_exact(MAIN_DB, bytes.as_slice(), size, true)?;
                Ok(connection)
            };
            let connection = read().map_err(|error| failed(path, error))?;
            if file::is_new(path, &connection)? {
                return Err(Error::file(path, "is empty"));
            }
            file::check(path, &connection)?;
            return Ok(connection);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(Error::file(path, "is written to without a pause in which it could be read: try again"))
}

/// The bytes of a file, unless a transaction is being written to it.
///
/// SQLite writes to a database only while the journal beside it says in its first byte that it holds what was there
/// before. So the bytes are those of a whole number of transactions where the journal didn't say so, and the file wasn't
/// written to from before that was asked until after they were read.
fn still_bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    let failed = |source| Error::io(path, source);
    let state = || {
        let about = std::fs::metadata(path)?;
        Ok((about.modified()?, about.len()))
    };
    let before = state().map_err(failed)?;
    // What was written a moment ago may be written again without a sign of it.
    let is_old = SystemTime::now().duration_since(before.0).is_ok_and(|age| age > TICK);
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    if !is_old || begins(&PathBuf::from(journal)) {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    Ok((state().map_err(failed)? == before).then_some(bytes))
}

/// Whether there is a file that begins with anything but 0.
fn begins(journal: &Path) -> bool {
    let mut first = [0u8; 1];
    let read = File::open(journal).and_then(|mut file| file.read(&mut first));
    read.is_ok_and(|bytes| bytes > 0) && first[0] != 0
}
