//! A store's file: how it is made, opened, locked, and what is said when it can't be.
//!
//! Nothing else may open a store. On Unix a process that closes any descriptor of a file gives up every lock
//! that it holds on it, SQLite's too ("How To Corrupt An SQLite Database File", section 2.2).

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use super::schema;
use crate::{Error, Result};

/// How long to wait for another process: no longer than one that is about to end takes, since a campaign
/// keeps its store to itself until then.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// The path as SQLite takes it for one: it has other uses for `:memory:`, for no name at all and, where it is
/// asked to, for what begins with `file:`.
pub fn plain(path: &Path) -> PathBuf {
    Path::new(".").join(path)
}

/// Makes an empty file where there is none.
///
/// # Errors
/// A file that is there already; what the disk says.
pub fn create(path: &Path) -> Result<()> {
    match std::fs::File::create_new(path) {
        // Closed before SQLite opens and locks it.
        Ok(file) => drop(file),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::usage(format!(
                "{} is there already: --resume goes on with it",
                path.display()
            )));
        }
        Err(error) => return Err(Error::io(path, error)),
    }
    Ok(())
}

/// Opens a file that is there, whatever is in it.
pub fn connect(path: &Path, access: Access) -> Result<Connection> {
    let flags = match access {
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let connect = || {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(plain(path), flags)?;
        connection.busy_timeout(PATIENCE)?;
        Ok(connection)
    };
    connect().map_err(|error| failed(path, error))
}

/// Opens a file that is there and is a store.
pub fn open(path: &Path, access: Access) -> Result<Connection> {
    // SQLite says no more than that it can't open a file. To open and close it here would end the locks
    // that this process holds on it.
    let about = std::fs::metadata(path).map_err(|source| Error::io(path, source))?;
    if about.is_dir() {
        return Err(Error::file(path, "is a folder, not a campaign's store"));
    }
    let mut connection = connect(path, access)?;
    let mut tables = count_tables(&connection);
    if tables.as_ref().is_err_and(needs_rollback) {
        connection = connect(path, Access::Write)?;
        tables = count_tables(&connection);
    }
    if tables.map_err(|error| failed(path, error))? == 0 {
        return Err(Error::file(path, "is empty"));
    }
    let number = |name: &str| -> Result<i64> {
        connection
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(|error| failed(path, error))
    };
    if number("application_id")? != schema::APPLICATION_ID {
        return Err(Error::file(path, "isn't a campaign's store"));
    }
    let format = number("user_version")?;
    if format != schema::FORMAT {
        return Err(Error::file(
            path,
            format!("is a store of format {format}; this version reads format {}", schema::FORMAT),
        ));
    }
    Ok(connection)
}

fn count_tables(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
}

/// Whether a transaction that a killed run has left must be rolled back, for which the file has to be written.
fn needs_rollback(error: &rusqlite::Error) -> bool {
    let error = error.sqlite_error();
    error.is_some_and(|error| error.extended_code == ffi::SQLITE_READONLY_ROLLBACK)
}

/// Whether a file holds no table: that of a run that was killed before it had written any.
pub fn is_empty(path: &Path) -> Result<bool> {
    let about = std::fs::metadata(path).map_err(|source| Error::io(path, source))?;
    if about.is_dir() {
        return Ok(false);
    }
    // Whoever opens it next says what else is wrong with it.
    let tables = || count_tables(&connect(path, Access::Write).ok()?).ok();
    Ok(about.len() == 0 || tables() == Some(0))
}

/// Keeps other processes out until the connection is closed.
pub fn lock(path: &Path, connection: Result<Connection>) -> Result<Connection> {
    let connection = connection?;
    let lock = || -> rusqlite::Result<()> {
        connection.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL; BEGIN EXCLUSIVE; COMMIT;",
        )
    };
    lock().map_err(|error| failed(path, error))?;
    Ok(connection)
}

/// SQLite's error as one sentence about the file.
pub fn failed(path: &Path, error: rusqlite::Error) -> Error {
    Error::file(path, failure(&error))
}

/// What is wrong, in words that follow the file's name.
pub fn failure(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            "can't be written, the disk is full; what was in it before is whole, and --resume goes on from it"
                .to_string()
        }
        Some(ErrorCode::SystemIoFailure) => format!(
            "can't be read or written, as on a full or a broken disk ({error}); what was in it before is \
             whole, and --resume goes on from it"
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "is in use by another process".to_string()
        }
        Some(ErrorCode::NotADatabase) => "isn't a campaign's store".to_string(),
        Some(ErrorCode::DatabaseCorrupt) => format!("is damaged: {error}"),
        Some(ErrorCode::CannotOpen) => format!("can't be opened: {error}"),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            format!("can't be written to: {error}")
        }
        _ => format!("isn't a campaign's store as it should be: {error}"),
    }
}
