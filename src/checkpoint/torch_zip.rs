//! `.pth` as PyTorch has written it since 1.6: a zip archive with a pickle and one entry a
//! storage.

use std::ops::Range;

use super::Parsed;
use super::archive::Archive;
use super::pickle::{self, Budget, StorageRef};
use super::state_dict::{self, Storages};
use super::wanted::Wanted;
use super::{Contents, quote};

/// The tensors of a zip `.pth` file. Errors are half sentences about the file.
pub(super) fn read(bytes: &[u8], wanted: Option<&Wanted<'_>>) -> Parsed<Contents> {
    let archive = Archive::parse(bytes)?;
    let folder = root_folder(&archive)?;
    let data = archive
        .read(&format!("{folder}/data.pkl"))?
        .ok_or_else(|| "the zip archive holds no data.pkl".to_string())?;
    let big_endian = match archive.read(&format!("{folder}/byteorder"))? {
        // Writers before PyTorch 2.0 don't state it; they ran on little-endian machines.
        None | Some(b"little") => false,
        Some(b"big") => true,
        Some(other) => {
            let other = quote(&String::from_utf8_lossy(other));
            return Err(format!("its byte order {other} is neither little nor big"));
        }
    };
    check_version(&archive, folder)?;
    let mut budget = Budget::for_file(bytes.len());
    let pickle = pickle::read(data, 0, &mut budget)?;
    let storages = Entries { archive: &archive, folder, big_endian };
    state_dict::contents(&pickle, &storages, bytes.len(), &mut budget, wanted)
}

/// The versions of the archive's format that PyTorch reads. Its other notes (`.format_version`,
/// `.storage_alignment`, `.data/serialization_id`) say nothing of values.
fn check_version(archive: &Archive<'_>, folder: &str) -> Parsed<()> {
    for name in [".data/version", "version"] {
        let Some(text) = archive.read(&format!("{folder}/{name}"))? else { continue };
        let text = String::from_utf8_lossy(text);
        if !text.trim().parse().is_ok_and(|version: u64| (1..=10).contains(&version)) {
            let version = quote(text.trim());
            return Err(format!("it is of version {version} of PyTorch's format, not 1 to 10"));
        }
    }
    Ok(())
}

/// The one folder that everything in the archive stands in.
fn root_folder<'a>(archive: &Archive<'a>) -> Parsed<&'a str> {
    if archive.names().any(|name| name.ends_with("/constants.pkl")) {
        return Err("it is a TorchScript program; save its state_dict() instead".into());
    }
    let mut folders: Vec<_> =
        archive.names().filter_map(|name| name.strip_suffix("/data.pkl")).collect();
    folders.sort_unstable();
    match folders[..] {
        [folder] => Ok(folder),
        [] => Err("it is a zip archive, but torch.save didn't write it (no data.pkl)".into()),
        [first, second, ..] => {
            let (first, second) = (quote(first), quote(second));
            Err(format!("the zip archive holds two checkpoints, in {first} and in {second}"))
        }
    }
}

struct Entries<'b, 'a> {
    archive: &'b Archive<'a>,
    folder: &'a str,
    big_endian: bool,
}

impl<'a> Storages<'a> for Entries<'_, 'a> {
    fn name_len(&self, storage: &StorageRef<'a>) -> usize {
        self.folder.len() + storage.key.len()
    }

    fn find(&self, storage: &StorageRef<'a>) -> Parsed<Range<usize>> {
        let key = quote(storage.key);
        if storage.view.is_some() {
            return Err(format!("its data {key} is a view as only older formats have it"));
        }
        let bytes = self.archive.find(&format!("{}/data/{}", self.folder, storage.key))?;
        let bytes = bytes.ok_or_else(|| format!("its data {key} is missing from the archive"))?;
        match storage.len.checked_mul(storage.dtype.size()) {
            Some(len) if len <= bytes.len() => Ok(bytes.start..bytes.start + len),
            _ => Err(format!(
                "its data {key} has {} bytes, too few for {} elements of type {:?}",
                bytes.len(),
                storage.len,
                storage.dtype
            )),
        }
    }

    fn big_endian(&self) -> bool {
        self.big_endian
    }
}
