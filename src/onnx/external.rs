//! Values of constants that lie in files beside the model's.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use prost::bytes::Bytes;

use super::proto::StringStringEntry;
use crate::Result;
use crate::checkpoint::map_file;

/// The files beside a model, mapped into memory as they are asked for.
#[derive(Debug, Default)]
pub struct External {
    folder: PathBuf,
    files: Mutex<BTreeMap<String, Bytes>>,
}

impl External {
    /// Those beside the model at `path`.
    pub fn beside(path: &Path) -> External {
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        External { folder, files: Mutex::default() }
    }

    /// The bytes that a tensor's `external_data` names: a file within the model's folder, where they
    /// begin and how many there are.
    pub fn bytes(&self, data: &[StringStringEntry]) -> std::result::Result<Bytes, String> {
        let (mut location, mut offset, mut length) = (None, 0, None);
        for StringStringEntry { key, value } in data {
            let number = || {
                let wrong = || format!("has external data whose {key} is {value:?}");
                value.parse::<usize>().map_err(|_| wrong())
            };
            match key.as_str() {
                "location" => location = Some(value),
                "offset" => offset = number()?,
                "length" => length = Some(number()?),
                // Said of the whole file.
                "checksum" => {}
                other => return Err(format!("has external data with the unknown key {other:?}")),
            }
        }
        let location = location.ok_or("has external data that names no file")?;
        let file = self.file(location)?;
        let end = length.map_or(Some(file.len()), |length| offset.checked_add(length));
        match end.filter(|end| offset <= *end && *end <= file.len()) {
            Some(end) => Ok(file.slice(offset..end)),
            None => Err(format!(
                "should lie in {location} from byte {offset} on, which has {} bytes: is it whole?",
                file.len()
            )),
        }
    }

    /// Each file that has been asked for, in the order of their names.
    pub fn each(&self, mut of: impl FnMut(&Bytes)) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(&mut of);
    }

    fn file(&self, location: &str) -> std::result::Result<Bytes, String> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = files.get(location) {
            return Ok(bytes.clone());
        }
        // A file that comes from elsewhere opens none outside its own folder.
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if location.is_empty() || !Path::new(location).components().all(plain) {
            return Err(format!("lies in {location:?}, which isn't within the model's folder"));
        }
        let bytes = map(&self.folder.join(location)).map_err(|error| error.to_string())?;
        files.insert(location.into(), bytes.clone());
        Ok(bytes)
    }
}

/// The bytes of a file, mapped into memory.
///
/// # Errors
/// A file that can't be read, or isn't a regular one.
pub fn map(path: &Path) -> Result<Bytes> {
    Ok(Bytes::from_owner(map_file(path)?))
}
