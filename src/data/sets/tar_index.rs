//! Where the files in an unpacked tar archive lie.

use std::io::Cursor;

use crate::error::shorten;

/// A file in an archive.
pub(super) struct TarMember {
    pub path: String,
    pub start: usize,
    pub len: usize,
}

/// A block of an archive; one of zeros ends it.
const BLOCK: usize = 512;

/// The files of an archive in their order, folders left out, names of GNU's and of POSIX's long kind included. Errors are
/// half sentences about the archive.
pub(super) fn members(bytes: &[u8]) -> std::result::Result<Vec<TarMember>, String> {
    let broken = |error: std::io::Error| format!("is truncated or no tar archive ({error})");
    let mut archive = tar::Archive::new(Cursor::new(bytes));
    let mut found = Vec::new();
    let mut end = 0;
    for entry in archive.entries_with_seek().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path_bytes().into_owned();
        let shown = shorten(&String::from_utf8_lossy(&path), 80);
        let kind = entry.header().entry_type();
        let is_sparse = |key: &[u8]| key.starts_with(b"GNU.sparse");
        if let Some(extensions) = entry.pax_extensions().map_err(broken)? {
            for extension in extensions {
                if is_sparse(extension.map_err(broken)?.key_bytes()) {
                    return Err(format!("holds a sparse file, which isn't read: {shown}"));
                }
            }
        }
        let refused = |what: &str| Err(format!("holds {what}, which isn't read: {shown}"));
        if kind.is_gnu_sparse() {
            return refused("a sparse file");
        } else if kind.is_symlink() || kind.is_hard_link() {
            return refused("a link");
        }
        let start = usize::try_from(entry.raw_file_position()).unwrap_or(usize::MAX);
        let len = usize::try_from(entry.size()).unwrap_or(usize::MAX);
        let after = start.checked_add(len).filter(|&after| after <= bytes.len());
        let after = after.ok_or_else(|| format!("is truncated inside of {shown}"))?;
        end = after.next_multiple_of(BLOCK);
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        if !(kind.is_file() || kind.is_contiguous()) {
            return refused("something other than a file");
        }
        let path = String::from_utf8(path)
            .map_err(|_| format!("holds a file whose name isn't UTF-8: {shown}"))?;
        found.push(TarMember { path, start, len });
    }
    match bytes.get(end..end + BLOCK) {
        Some(block) if block.iter().all(|&byte| byte == 0) => Ok(found),
        _ => Err("is truncated: the blocks that end a tar archive are missing".into()),
    }
}
