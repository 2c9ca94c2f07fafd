//! CLIP's text encoder (Radford et al., 2021) on this crate's own operations: a transformer whose
//! tokens see those before them; the row of a text's end token, normalised and projected, is the
//! text's embedding.
//!
//! What a text gives depends on its own tokens alone, to the bit: not on the batch that it travels in,
//! nor on how far that is padded. So texts are sorted by length and each batch is as long as its
//! longest text.

mod config;
mod names;
mod tower;

use std::path::{Path, PathBuf};

use self::names::Names;
use self::tower::Tower;
use super::Tokens;
use super::tokenizer::CONTEXT;
use crate::checkpoint::Checkpoint;
use crate::device::Device;
use crate::ops::activation::Activation;
use crate::progress::{Progress, Silent};
use crate::tape::{Execution, ParamId, PlanKind, Weights};
use crate::{Error, Result};

pub use self::config::TowerConfig;
pub use self::names::Scheme;

/// Tokens of a batch on the CPU: enough for its products of matrices to run at full speed, and few
/// enough for its values to stay in the cache.
const CPU_BATCH: usize = 1024;
/// Tokens of a batch elsewhere.
const DEVICE_BATCH: usize = 1 << 14;

/// A text encoder with its weights on a device.
pub struct TextEncoder {
    path: PathBuf,
    config: TowerConfig,
    scheme: Scheme,
    weights: Weights,
    /// What ran last: texts of one length.
    running: Option<RunningTower>,
}

/// A tower of one length, with memory to run it.
struct RunningTower {
    length: usize,
    tower: Tower,
    execution: Execution,
}

impl TextEncoder {
    /// Reads the text tower of a CLIP checkpoint (`.pth`, `.bin` or safetensors) under the names of
    /// Hugging Face, OpenAI or OpenCLIP; the tower of pictures is passed over. Sizes are those of the
    /// tensors. Heads have 64 channels and the activation is told by the names, unless Hugging Face's
    /// `config.json` or OpenCLIP's `open_clip_config.json` lies beside the file and says otherwise.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`]; [`Error::File`] and [`Error::Shape`] that name file, key and
    /// expected shape of a tensor that is missing or of another shape; those of the device.
    pub fn open(checkpoint: &Path, device: &Device) -> Result<TextEncoder> {
        TextEncoder::open_as(checkpoint, device, None)
    }

    /// As [`open`](TextEncoder::open), with this activation, whatever names and configuration say.
    ///
    /// # Errors
    /// As [`open`](TextEncoder::open).
    pub fn open_as(
        checkpoint: &Path,
        device: &Device,
        activation: Option<Activation>,
    ) -> Result<TextEncoder> {
        let checkpoint = Checkpoint::open(checkpoint)?;
        let names = Names::of(&checkpoint)?;
        let config = TowerConfig::read(&checkpoint, &names, activation)?;
        let tape = Tower::record(&config, CONTEXT)?.tape;
        let mut weights = Weights::new(&tape, device, false)?;
        for (index, param) in tape.params().iter().enumerate() {
            weights.set(ParamId(index), &names.values(&checkpoint, param)?)?;
        }
        let path = checkpoint.path().to_path_buf();
        Ok(TextEncoder { path, config, scheme: names.scheme, weights, running: None })
    }

    /// Dimensions of an embedding.
    pub fn width(&self) -> usize {
        self.config.embedding
    }

    /// Sizes and choices of the tower.
    pub fn config(&self) -> &TowerConfig {
        &self.config
    }

    /// Whose names the file has.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// SHA-256, in hex, of the weights, whichever file and names they came from.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sha256(&self) -> Result<String> {
        self.weights.sha256()
    }

    /// The embeddings of `texts`, texts × [`width`](TextEncoder::width), projected and not
    /// normalised. Many texts in one call are faster than many calls.
    ///
    /// # Errors
    /// [`Error::Usage`] for a token that the tower doesn't have; [`Error::File`] where an embedding
    /// isn't finite; those of the device.
    pub fn encode(&mut self, texts: &[Tokens]) -> Result<Vec<f32>> {
        self.encode_with(texts, &Silent)
    }

    /// As [`encode`](TextEncoder::encode), telling `progress` of each batch.
    ///
    /// # Errors
    /// As [`encode`](TextEncoder::encode).
    pub fn encode_with(&mut self, texts: &[Tokens], progress: &dyn Progress) -> Result<Vec<f32>> {
        let ends = texts.iter().enumerate().map(|(number, text)| self.end(number, text));
        let ends = ends.collect::<Result<Vec<u32>>>()?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|number| texts[*number].length);
        let room = if self.weights.device().is_cpu() { CPU_BATCH } else { DEVICE_BATCH };
        let width = self.width();
        let mut embeddings = vec![0f32; texts.len() * width];
        progress.begin("encode", "texts", 0, texts.len() as u64);
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let fits = |count: &usize| count * texts[rest[count - 1]].length <= room;
            let count = (1..=rest.len()).take_while(fits).last().unwrap_or(1);
            let (batch, behind) = rest.split_at(count);
            let rows = self.run(texts, &ends, batch)?;
            for (number, row) in batch.iter().zip(rows.chunks_exact(width)) {
                if row.iter().any(|value| !value.is_finite()) {
                    let detail = format!("its embedding of text {number} isn't finite");
                    return Err(Error::file(&self.path, detail));
                }
                embeddings[number * width..][..width].copy_from_slice(row);
            }
            progress.advance(count as u64, "");
            rest = behind;
        }
        progress.end();
        Ok(embeddings)
    }

    /// The place of the end token of text `number`, whose tokens are all in the tower's table.
    fn end(&self, number: usize, text: &Tokens) -> Result<u32> {
        let used = text.used();
        let vocabulary = self.config.vocabulary;
        if let Some(id) = used.iter().find(|id| **id as usize >= vocabulary) {
            return Err(Error::usage(format!(
                "text {number} has the token {id}, but {} knows {vocabulary}",
                self.path.display()
            )));
        }
        let end = match self.config.end_token {
            Some(end) => end,
            None => used.iter().copied().max().unwrap_or_default(),
        };
        used.iter().position(|id| *id == end).map(|place| place as u32).ok_or_else(|| {
            Error::usage(format!(
                "text {number} has no token {end}, with which texts end for {}",
                self.path.display()
            ))
        })
    }

    /// The embeddings of a batch, whose last text is its longest.
    fn run(&mut self, texts: &[Tokens], ends: &[u32], batch: &[usize]) -> Result<Vec<f32>> {
        let length = batch.last().map_or(0, |number| texts[*number].length);
        let fits = |running: &RunningTower| {
            running.length == length && running.execution.capacity() >= batch.len()
        };
        let running = match self.running.take().filter(fits) {
            Some(running) => running,
            None => RunningTower::new(&self.config, self.weights.device(), length, batch.len())?,
        };
        let RunningTower { tower, execution, .. } = self.running.insert(running);
        let ids: Vec<u32> =
            batch.iter().flat_map(|number| &texts[*number].ids[..length]).copied().collect();
        let places: Vec<u32> = batch.iter().flat_map(|_| 0..length as u32).collect();
        let ends: Vec<u32> = batch.iter().map(|number| ends[*number]).collect();
        execution.begin(batch.len())?;
        execution.write(tower.ids, &ids)?;
        execution.write(tower.places, &places)?;
        execution.write(tower.ends, &ends)?;
        execution.forward(&self.weights)?;
        execution.read(tower.output)
    }
}

impl RunningTower {
    fn new(
        config: &TowerConfig,
        device: &Device,
        length: usize,
        texts: usize,
    ) -> Result<RunningTower> {
        let tower = Tower::record(config, length)?;
        let outputs = [tower.output];
        let execution = Execution::new(&tower.tape, device, PlanKind::Infer, texts, &outputs)?;
        Ok(RunningTower { length, tower, execution })
    }
}
