//! A store's file: how it is made, opened, locked, and what is said when it can't be.
//!
//! Nothing else may open a store, but to copy one that another process has locked. On Unix a process that closes any descriptor of a file gives up every lock
//! that it holds on it, SQLite's too ("How To Corrupt An SQLite Database File", section 2.2).

use std::io::Read;
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
enum Access {
    Read,
    Write,
}

/// The path as SQLite takes it for one: it has other uses for `:memory:`, for no name at all and, where it is
/// asked to, for what begins with `file:`.
pub fn plain(path: &Path) -> PathBuf {
    Path::new(".").join(path)
}

/// Whether a file is an SQLite database, by its first bytes. Not while this process has it open.
pub fn is_store(path: &Path) -> bool {
    let mut first = [0; 15];
    let mut read = |path| std::fs::File::open(path)?.read_exact(&mut first);
    path.is_file() && read(path).is_ok() && &first == b"SQLite format 3"
}

/// Makes an empty file where there is none, locked. It is never removed again: another process may have
/// opened it meanwhile, and found it empty.
///
/// # Errors
/// A file that is there already, or that another process has filled in the meantime; what the disk says.
pub fn create(path: &Path) -> Result<Connection> {
    let is_there =
        || Error::usage(format!("{} is there already: --resume goes on with it", path.display()));
    match std::fs::File::create_new(path) {
        // Closed before SQLite opens and locks it.
        Ok(file) => drop(file),
        Err(_) if path.is_symlink() && !path.exists() => {
            return Err(Error::file(path, "is a symbolic link to a file that isn't there"));
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(is_there()),
        Err(error) => return Err(Error::io(path, error)),
    }
    let connection = lock(path)?;
    if is_new(path, &connection)? { Ok(connection) } else { Err(is_there()) }
}

/// Opens a file that is there, whatever is in it.
fn connect(path: &Path, access: Access) -> Result<Connection> {
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

/// Opens a file that is there and is a store, to read it.
pub fn open(path: &Path) -> Result<Connection> {
    require_file(path)?;
    let mut connection = connect(path, Access::Read)?;
    if count_tables(&connection).is_err_and(|error| needs_rollback(&error)) {
        connection = connect(path, Access::Write)?;
        if count_tables(&connection).is_err_and(|error| needs_rollback(&error)) {
            return Err(Error::file(
                path,
                "holds half a transaction of a run that was killed, and can't be written to, so that it can't \
                 be taken back",
            ));
        }
    }
    if is_new(path, &connection)? {
        return Err(Error::file(path, "is empty"));
    }
    check(path, &connection)?;
    Ok(connection)
}

/// Whether another process keeps a file to itself.
pub fn is_locked(path: &Path) -> bool {
    let is_busy = |error: rusqlite::Error| {
        let busy = [Some(ErrorCode::DatabaseBusy), Some(ErrorCode::DatabaseLocked)];
        busy.contains(&error.sqlite_error_code())
    };
    let connection = require_file(path).and_then(|()| connect(path, Access::Read));
    connection.is_ok_and(|connection| count_tables(&connection).is_err_and(is_busy))
}

/// Refuses what is no file by its name: SQLite says no more than that it can't open it, and to open and close it
/// here would end the locks that this process holds on it.
fn require_file(path: &Path) -> Result<()> {
    let about = std::fs::metadata(path).map_err(|source| Error::io(path, source))?;
    if about.is_file() {
        return Ok(());
    }
    let what = if about.is_dir() { "folder" } else { "device or pipe" };
    Err(Error::file(path, format!("is a {what}, not a campaign's store")))
}

/// Refuses a file with tables that is no store, or one of another version.
pub fn check(path: &Path, connection: &Connection) -> Result<()> {
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
    Ok(())
}

/// Whether a file holds no table: that of a run that was killed before it had written any.
pub fn is_new(path: &Path, connection: &Connection) -> Result<bool> {
    let tables = count_tables(connection).map_err(|error| failed(path, error))?;
    Ok(tables == 0)
}

fn count_tables(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
}

/// Whether a transaction that a killed run has left must be rolled back, for which the file has to be written.
fn needs_rollback(error: &rusqlite::Error) -> bool {
    let error = error.sqlite_error();
    let code = error.map(|error| error.extended_code);
    // Where not even the folder can be written, the second is what it says.
    code.is_some_and(|code| [ffi::SQLITE_READONLY_ROLLBACK, ffi::SQLITE_READONLY].contains(&code))
}

/// [`is_new`] of a file that isn't open.
pub fn is_empty(path: &Path) -> Result<bool> {
    require_file(path)?;
    // Whoever opens it next says what is wrong with it.
    let connection = connect(path, Access::Write);
    Ok(connection.is_ok_and(|connection| is_new(path, &connection).unwrap_or(false)))
}

/// Opens a file that is there, whatever is in it, to write to it, and keeps other processes out until the
/// connection is closed. What is in it is asked behind the lock.
pub fn lock(path: &Path) -> Result<Connection> {
    require_file(path)?;
    let connection = connect(path, Access::Write)?;
    let lock = || -> rusqlite::Result<()> {
        // The mode comes behind the lock: in it SQLite gives up no shared lock while it waits, so that two
        // who begin at once would keep each other out.
        connection.execute_batch(
            "PRAGMA synchronous = FULL; BEGIN EXCLUSIVE; PRAGMA locking_mode = EXCLUSIVE; COMMIT;",
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
        // Of a statement that doesn't fit the tables SQLite shows all lines.
        _ => {
            let error = error.to_string();
            let line = error.lines().next().unwrap_or_default();
            format!("isn't a campaign's store as it should be: {line}")
        }
    }
}
