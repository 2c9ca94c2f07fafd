//! Checkpoints: `.pth` and `.npy` in, `.safetensors` in and out.
//!
//! A file's kind is told by its content, never by its name. Whatever the bytes, opening a file
//! ends in tensors or in one sentence that names the file and what is wrong with it; nothing in
//! a `.pth` file is ever executed, and no length in it is believed before it is checked.

mod archive;
pub(crate) mod atomic;
mod json_keys;
mod npy;
mod pickle;
mod pickled_dict;
mod safetensors;
mod search;
mod select;
mod state_dict;
mod stored;
mod suggest;
mod tensor;
mod torch_legacy;
mod torch_zip;
mod wanted;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::search::Choice;
use self::stored::{Bytes, Stored};
use crate::error::shorten;
use crate::{Error, Result};

pub(crate) use self::pickled_dict::PickledDict;
pub use self::safetensors::write_safetensors;
pub use self::tensor::{Dtype, HostTensor, TensorData, TensorView};
pub use self::wanted::{ModelFit, Wanted, WeightsKind};

/// What parsing gives, or half a sentence about the file that says what is wrong.
type Parsed<T> = std::result::Result<T, String>;

/// What a reader of one format found in a file.
#[derive(Clone, Debug, Default)]
struct Contents {
    tensors: Vec<(String, Stored)>,
    metadata: BTreeMap<String, String>,
    wrappers: Vec<String>,
    choice: Option<Choice>,
}

/// The named tensors of a file, in the file's order. The file stays mapped into memory; a tensor is
/// decoded when it is asked for.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    bytes: Arc<Bytes>,
    contents: Contents,
    places: HashMap<String, usize>,
}

impl Checkpoint {
    /// Reads a `.pth` file (zip, or the format before PyTorch 1.6), a `.safetensors` file or a `.npy`
    /// file (one array, named `tensor`).
    ///
    /// The object in a `.pth` file may be a bare tensor (it is then named `tensor`), a state dict,
    /// or a dict that holds one under `model`, `state_dict`, `module` or `model_ema`, in this
    /// order, or under a rarer name of the kind. A `module.` that every key starts with is dropped, in
    /// safetensors, too, and so is an `_orig_mod` anywhere. Parameters are tensors; what isn't a
    /// tensor is left out. Checksums are checked here, once.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the file can't be read, [`Error::File`] when it isn't a checkpoint, is
    /// damaged, or asks for a class or function beyond the few that describe tensors.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        Checkpoint::open_for(path, None)
    }

    /// Reads the weights that are wanted out of a file, wherever they stand: as
    /// [`open`](Checkpoint::open), but in whatever dicts and under whatever shared first parts of names
    /// they are. Where nothing fits, it gives what [`open`](Checkpoint::open) would, if anything.
    ///
    /// # Errors
    /// As [`open`](Checkpoint::open); and where several sets of tensors may be meant, with where they stand,
    /// or none of the kind that is asked for fits.
    pub fn open_fitting(path: &Path, wanted: &Wanted<'_>) -> Result<Checkpoint> {
        Checkpoint::open_for(path, Some(wanted))
    }

    fn open_for(path: &Path, wanted: Option<&Wanted<'_>>) -> Result<Checkpoint> {
        Checkpoint::over(path, map(path)?, wanted)
    }

    /// Reads a checkpoint that is in memory already; `path` is what errors call it.
    ///
    /// # Errors
    ///
    /// As [`open`](Checkpoint::open), less those of the file system.
    pub fn parse(path: &Path, bytes: impl Into<Vec<u8>>) -> Result<Checkpoint> {
        Checkpoint::over(path, Bytes::InMemory(bytes.into()), None)
    }

    /// As [`open_fitting`](Checkpoint::open_fitting), of bytes that are in memory already.
    ///
    /// # Errors
    /// As there, less those of the file system.
    pub fn parse_fitting(
        path: &Path,
        bytes: impl Into<Vec<u8>>,
        wanted: &Wanted<'_>,
    ) -> Result<Checkpoint> {
        Checkpoint::over(path, Bytes::InMemory(bytes.into()), Some(wanted))
    }

    /// Tensors that another reader has found; `path` is the file that they are of.
    ///
    /// # Errors
    /// A name that stands there twice.
    pub fn of_tensors(path: &Path, tensors: &[(String, HostTensor)]) -> Result<Checkpoint> {
        let mut bytes =
            Vec::with_capacity(tensors.iter().map(|(_, t)| t.data.as_bytes().len()).sum());
        let mut stored = Vec::with_capacity(tensors.len());
        let mut places = HashMap::new();
        for (at, (name, tensor)) in tensors.iter().enumerate() {
            let start = bytes.len();
            bytes.extend_from_slice(tensor.data.as_bytes());
            let packed = Stored::packed(tensor.dtype(), tensor.shape.clone(), start..bytes.len());
            let packed = packed.filter(|_| places.insert(name.clone(), at).is_none());
            let wrong =
                || Error::file(path, format!("the tensor {} stands there twice", quote(name)));
            stored.push((name.clone(), packed.ok_or_else(wrong)?));
        }
        Ok(Checkpoint {
            path: path.to_path_buf(),
            bytes: Arc::new(Bytes::InMemory(bytes)),
            contents: Contents { tensors: stored, ..Contents::default() },
            places,
        })
    }

    fn over(path: &Path, bytes: Bytes, wanted: Option<&Wanted<'_>>) -> Result<Checkpoint> {
        if bytes.is_empty() {
            return Err(Error::file(path, "the file is empty"));
        }
        let contents = read(&bytes, wanted).map_err(|detail| Error::file(path, detail))?;
        let names = contents.tensors.iter().map(|(name, _)| name.clone());
        let places = names.zip(0..).collect();
        Ok(Checkpoint { path: path.to_path_buf(), bytes: Arc::new(bytes), contents, places })
    }

    /// The file that this was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the tensors, in the file's order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.contents.tensors.iter().map(|(name, _)| name.as_str())
    }

    /// The tensors with their names, in the file's order, each decoded when its turn comes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, HostTensor)> {
        self.contents.tensors.iter().map(|(name, stored)| (name.as_str(), stored.read(&self.bytes)))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.contents.tensors.len()
    }

    /// Whether there are no tensors (a safetensors file may hold metadata alone).
    pub fn is_empty(&self) -> bool {
        self.contents.tensors.is_empty()
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// The strings that a safetensors file carries beside its tensors; empty for `.pth`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.contents.metadata
    }

    /// The entries of a `.pth` file, and the first parts of names, that were gone through to reach the
    /// tensors, `["model"]` say.
    pub fn wrappers(&self) -> &[String] {
        &self.contents.wrappers
    }

    /// A sentence on which weights these are, where the file holds a moving average of weights, or tensors
    /// that fit less well.
    pub fn note(&self) -> Option<String> {
        let choice = self.contents.choice.as_ref()?;
        Some(format!("{}: {}", self.path.display(), choice.note))
    }

    /// Which weights these are, where the file holds plain ones and their moving average.
    pub fn chosen_of_both(&self) -> Option<WeightsKind> {
        self.contents.choice.as_ref().filter(|choice| choice.has_both).map(|choice| choice.kind)
    }

    /// The tensor named `key`, contiguous and row-major; an [`Error::File`] that names the file, the
    /// key and the nearest ones when there is none.
    pub fn get(&self, key: &str) -> Result<HostTensor> {
        Ok(self.stored(key)?.read(&self.bytes))
    }

    /// The shape of the tensor named `key`, which isn't decoded for it; errors as
    /// [`get`](Checkpoint::get).
    pub fn shape(&self, key: &str) -> Result<&[usize]> {
        Ok(&self.stored(key)?.shape)
    }

    /// The element type of the tensor named `key`; errors as [`get`](Checkpoint::get).
    pub fn dtype(&self, key: &str) -> Result<Dtype> {
        Ok(self.stored(key)?.dtype)
    }

    /// The keys nearest to `key`, quoted, up to three.
    pub(crate) fn nearest(&self, key: &str) -> Vec<String> {
        suggest::nearest(key, self.keys())
    }

    /// Whether this is a safetensors file.
    pub fn is_safetensors(&self) -> bool {
        safetensors::header_len(&self.bytes).is_some()
    }

    fn find(&self, key: &str) -> Option<&Stored> {
        self.places.get(key).map(|&place| &self.contents.tensors[place].1)
    }

    fn stored(&self, key: &str) -> Result<&Stored> {
        self.find(key).ok_or_else(|| self.missing(key, ""))
    }

    /// There is no tensor `key`; `wanted` says more about it.
    pub(crate) fn missing(&self, key: &str, wanted: &str) -> Error {
        let near = self.nearest(key);
        let hint = match near.is_empty() {
            true => format!("none of its {} keys is like it", self.len()),
            false => format!("the nearest keys are {}", near.join(", ")),
        };
        Error::file(&self.path, format!("there is no tensor {}{wanted}; {hint}", quote(key)))
    }

    /// The values of the tensor named `key` as f32 in row-major order (see
    /// [`TensorData::to_f32`]); an [`Error::Shape`] that names the file, the key and both shapes
    /// when it isn't of `expected_shape`.
    pub fn f32(&self, key: &str, expected_shape: &[usize]) -> Result<Vec<f32>> {
        let wanted = || format!(" of shape {expected_shape:?}");
        let stored = self.find(key).ok_or_else(|| self.missing(key, &wanted()))?;
        if stored.shape != expected_shape {
            let what = format!("{}: {}", self.path.display(), quote(key));
            let detail = format!("expected shape {expected_shape:?}, found {:?}", stored.shape);
            return Err(Error::shape(what, detail));
        }
        Ok(stored.read(&self.bytes).data.into_f32())
    }

    /// The tensor of a file that holds exactly one, bare or named (text features, say).
    pub fn tensor_only(&self) -> Result<HostTensor> {
        match self.contents.tensors.as_slice() {
            [(_, stored)] => Ok(stored.read(&self.bytes)),
            tensors => {
                let names: Vec<_> = self.keys().take(3).map(quote).collect();
                let more = if tensors.len() > names.len() { ", ..." } else { "" };
                let detail = format!(
                    "a file with a single tensor is wanted, this one has {} ({}{more})",
                    tensors.len(),
                    names.join(", ")
                );
                Err(Error::file(&self.path, detail))
            }
        }
    }
}

/// The bytes of a file.
fn map(path: &Path) -> Result<Bytes> {
    map_file(path).map(Bytes::Mapped)
}

/// A file, mapped into memory.
pub(crate) fn map_file(path: &Path) -> Result<memmap2::Mmap> {
    // Asked before opening: opening a pipe would wait for its writer.
    let about = fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if about.is_dir() {
        return Err(Error::file(path, "is a directory, not a file"));
    }
    if !about.is_file() {
        return Err(Error::file(path, "isn't a regular file"));
    }
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    // SAFETY: the mapping is private to this process and only read. What no reader of mapped
    // files can rule out is another process that rewrites this one meanwhile; writers here
    // rename whole files into place, which leaves a mapped one as it was.
    unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(path, e))
}

/// The strings that a safetensors file carries beside its tensors; none in files of other kinds, which aren't
/// looked into.
///
/// # Errors
/// As [`Checkpoint::open`].
pub fn metadata(path: &Path) -> Result<BTreeMap<String, String>> {
    let bytes = map(path)?;
    if safetensors::header_len(&bytes).is_none() {
        return Ok(BTreeMap::new());
    }
    let contents = safetensors::read(&bytes, None).map_err(|detail| Error::file(path, detail))?;
    Ok(contents.metadata)
}

/// Reads a file of any known format.
fn read(bytes: &[u8], wanted: Option<&Wanted<'_>>) -> Parsed<Contents> {
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return torch_zip::read(bytes, wanted);
    }
    if safetensors::header_len(bytes).is_some() {
        return safetensors::read(bytes, wanted);
    }
    if bytes.starts_with(npy::MAGIC) {
        return npy::read(bytes);
    }
    // Protocols from 2 on state themselves first.
    if let [0x80, 2..=5, ..] = bytes {
        return torch_legacy::read(bytes, wanted)
            .map_err(|e| format!("(format before PyTorch 1.6, or a bare pickle) {e}"));
    }
    Err(unknown_kind(bytes))
}

/// Says what a file looks like that is no checkpoint.
fn unknown_kind(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(256)];
    let wanted = "a .pth, .safetensors or .npy file is wanted";
    if bytes.get(257..262) == Some(b"ustar") {
        return format!("is a tar archive (or a .pth from before PyTorch 0.2); {wanted}");
    }
    if head.starts_with(b"version https://git-lfs") {
        return "is a Git LFS pointer, not the file it stands for: run `git lfs pull`".into();
    }
    let text = String::from_utf8_lossy(head);
    let printable = |c: char| !c.is_control() && c != char::REPLACEMENT_CHARACTER;
    // The cut at 256 bytes may have split the last character.
    let odd = text.chars().filter(|&c| !printable(c) && !c.is_ascii_whitespace()).count();
    if odd <= usize::from(bytes.len() > head.len()) {
        let line = quote(text.lines().next().unwrap_or_default());
        return format!("is a text file (it starts with {line}); {wanted}");
    }
    if head.len() < 16 {
        return format!("has only {} bytes; {wanted}", head.len());
    }
    format!("is of an unknown kind, truncated at its start or damaged; {wanted}")
}

/// Text from a file, made fit for an error: in backquotes, short, without control characters.
fn quote(text: &str) -> String {
    format!("`{}`", shorten(text, 80))
}
