//! `.safetensors` in and out.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::{Map, Value, json};

use super::atomic;
use super::json_keys;
use super::select::{self, Chosen, Group};
use super::stored::Stored;
use super::tensor::{Dtype, TensorView, element_count};
use super::wanted::Wanted;
use super::{Contents, Parsed, quote};
use crate::error::shorten;
use crate::{Error, Result};

/// The header's key for what isn't a tensor.
const METADATA_KEY: &str = "__metadata__";

/// The tensors of a safetensors file, in the order of their data.
pub(super) fn read(bytes: &[u8], wanted: Option<&Wanted<'_>>) -> Parsed<Contents> {
    // The crate's sentences quote the header, which may be all of the file.
    let broken = |e: safetensors::SafeTensorError| {
        format!("the safetensors file is broken: {}", shorten(&e.to_string(), 200))
    };
    if let Some(stated) = header_len(bytes)
        && stated > bytes.len() as u64 - 8
    {
        return Err(format!(
            "the safetensors file is truncated: its header takes {stated} bytes, {} are there",
            bytes.len() - 8
        ));
    }
    if let Some(key) = json_keys::repeated(header_bytes(bytes)) {
        return Err(format!("its header has the key {} twice", quote(&key)));
    }
    // Checks that the tensors fill the rest of the file, each with its own bytes.
    SafeTensors::deserialize(bytes).map_err(broken)?;
    let (header_len, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let data = 8 + header_len;
    let (mut names, mut tensors) = (Vec::new(), Vec::new());
    for name in header.offset_keys() {
        let shown = || quote(&name);
        let about = header.info(&name).ok_or_else(|| format!("tensor {} is missing", shown()))?;
        let dtype: Dtype = about.dtype.to_string().parse().map_err(|_| {
            format!("tensor {}: element type {:?} isn't supported", shown(), about.dtype)
        })?;
        let (start, end) = about.data_offsets;
        let stored = Stored::packed(dtype, about.shape.clone(), data + start..data + end)
            .ok_or_else(|| format!("tensor {}: its shape doesn't fit its data", shown()))?;
        names.push(name);
        tensors.push(stored);
    }
    let named = names.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
    let chosen = select::choose(&[Group { path: Vec::new(), tensors: named }], wanted)?;
    // The group at the top is always found.
    let Some(Chosen { wrappers, tensors: named, choice }) = chosen else {
        return Err("the safetensors file holds no tensors".into());
    };
    let mut tensors: Vec<Option<Stored>> = tensors.into_iter().map(Some).collect();
    let tensors = named
        .into_iter()
        .filter_map(|(name, place)| Some((name, tensors[place].take()?)))
        .collect();
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok(Contents { tensors, metadata, wrappers, choice })
}

/// The length of the JSON header, when the file starts as a safetensors file does.
pub(super) fn header_len(bytes: &[u8]) -> Option<u64> {
    let len = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    // 100 MB is the limit that the format itself sets.
    (bytes.get(8) == Some(&b'{') && len <= 100_000_000).then_some(len)
}

/// The header's bytes, none where it reaches beyond the file.
fn header_bytes(bytes: &[u8]) -> &[u8] {
    let end = header_len(bytes).and_then(|len| usize::try_from(len).ok()?.checked_add(8));
    end.and_then(|end| bytes.get(8..end)).unwrap_or_default()
}

/// Writes `tensors` and `metadata` as a safetensors file, readable by every other reader of the
/// format. The same input gives the same bytes.
///
/// The file appears whole or not at all: the bytes go to a temporary file in the same folder,
/// which is synced and then renamed over `path`. On any error a file that was there is untouched
/// and the temporary one is gone.
///
/// # Errors
///
/// [`Error::Shape`] when a view's shape doesn't fit its values, [`Error::Usage`] for a name that
/// is taken or reserved, [`Error::Io`] or [`Error::File`] when the disk refuses.
pub fn write_safetensors<'a, N, V>(
    path: &Path,
    tensors: impl IntoIterator<Item = (N, V)>,
    metadata: &BTreeMap<String, String>,
) -> Result<()>
where
    N: Into<String>,
    V: Into<TensorView<'a>>,
{
    let mut tensors: Vec<(String, TensorView<'a>)> =
        tensors.into_iter().map(|(name, view)| (name.into(), view.into())).collect();
    let mut names = HashSet::new();
    for (name, view) in &tensors {
        if name == METADATA_KEY || !names.insert(name) {
            let detail = format!("tensor name {} is taken or reserved", quote(name));
            return Err(Error::usage(format!("{}: {detail}", path.display())));
        }
        let len = element_count(&view.shape).and_then(|n| n.checked_mul(view.dtype.size()));
        if len != Some(view.bytes.len()) {
            let detail = format!("shape {:?} doesn't fit {} bytes", view.shape, view.bytes.len());
            return Err(Error::shape(format!("{}: {}", path.display(), quote(name)), detail));
        }
    }
    // Wide elements first, so that each tensor's data is aligned to its type.
    tensors.sort_by_key(|(_, view)| std::cmp::Reverse(view.dtype.size()));
    let header = header(&tensors, metadata);
    atomic::write(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        tensors.iter().try_for_each(|(_, view)| out.write_all(view.bytes))
    })
}

/// The JSON header, filled up with blanks to a multiple of eight bytes.
fn header(tensors: &[(String, TensorView<'_>)], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut fields = Map::new();
    if !metadata.is_empty() {
        fields.insert(METADATA_KEY.into(), json!(metadata));
    }
    let mut at = 0;
    for (name, view) in tensors {
        let end = at + view.bytes.len();
        let dtype: &str = view.dtype.into();
        let field = json!({"dtype": dtype, "shape": view.shape, "data_offsets": [at, end]});
        fields.insert(name.clone(), field);
        at = end;
    }
    let mut header = Value::Object(fields).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    header
}
