//! Files that appear whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// Writes a file through `fill` so that `path` has either its old bytes or all the new ones: a
/// temporary file beside it is written, synced and renamed. A symbolic link is followed.
pub(crate) fn write(
    path: &Path,
    fill: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>,
) -> Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    // Renaming over a device or a folder would do harm or fail late.
    if fs::metadata(&target).is_ok_and(|about| !about.is_file()) {
        return Err(Error::file(path, "can't be written: it exists and isn't a regular file"));
    }
    let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(Error::file(path, "can't be written: it names no file"));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let failed = |source: io::Error| match source.kind() {
        ErrorKind::NotFound => {
            let folder = folder.display();
            Error::file(path, format!("can't be written: there is no folder {folder}"))
        }
        _ if is_full(&source) => {
            let detail = format!("can't be written, the disk is full ({source}); nothing changed");
            Error::file(path, detail)
        }
        _ => Error::io(path, source),
    };

    let (file, temporary) = create_beside(folder, name).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    fill(&mut out).and_then(|()| out.flush()).map_err(failed)?;
    // The bytes must be on the disk before the name points at them.
    out.get_ref().sync_all().map_err(failed)?;
    drop(out);
    fs::rename(&temporary.0, &target).map_err(failed)?;
    std::mem::forget(temporary);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// Whether there is no room left.
fn is_full(source: &io::Error) -> bool {
    use ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Why a file that is written piece by piece can't be written further.
pub(crate) fn unwritable(path: &Path, source: io::Error) -> Error {
    match is_full(&source) {
        true => Error::file(path, format!("can't be written, the disk is full ({source})")),
        false => Error::io(path, source),
    }
}

/// A new, empty file that no one else has; it is removed unless its guard is forgotten.
fn create_beside(folder: &Path, name: &std::ffi::OsStr) -> io::Result<(File, Removed)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}-{count}.tmp", std::process::id()));
        let path = folder.join(hidden);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            // A left-over of a process that had this one's number and was killed.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
            Err(e) => return Err(e),
            Ok(file) => return Ok((file, Removed(path))),
        }
    }
}

struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // Nothing more can be done about a file that can't be removed.
        let _ = fs::remove_file(&self.0);
    }
}
