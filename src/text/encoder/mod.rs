//! CLIP's text encoder (Radford et al., 2021) on this crate's own operations.

use std::path::Path;

use super::Tokens;
use crate::device::Device;
use crate::ops::activation::Activation;
use crate::progress::{Progress, Silent};
use crate::{Error, Result};

/// A text encoder with its weights on a device.
pub struct TextEncoder {
    width: usize,
}

impl TextEncoder {
    /// Reads the text tower of a CLIP checkpoint (`.pth`, `.bin` or safetensors) under the names of
    /// Hugging Face, OpenAI or OpenCLIP.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Shape`] that name file, key and expected shape.
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
        let _ = (checkpoint, device, activation);
        Err(Error::usage("text encoders can't be read yet"))
    }

    /// Dimensions of an embedding.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The embeddings of `texts`, texts × [`width`](TextEncoder::width), projected and not
    /// normalised.
    ///
    /// # Errors
    /// [`Error::Usage`] for a token beyond the vocabulary; those of the device.
    pub fn encode(&mut self, texts: &[Tokens]) -> Result<Vec<f32>> {
        self.encode_with(texts, &Silent)
    }

    /// As [`encode`](TextEncoder::encode), telling `progress` of each batch.
    ///
    /// # Errors
    /// As [`encode`](TextEncoder::encode).
    pub fn encode_with(&mut self, texts: &[Tokens], progress: &dyn Progress) -> Result<Vec<f32>> {
        progress.begin("encode", "texts", 0, texts.len() as u64);
        progress.end();
        Err(Error::usage("text encoders can't be run yet"))
    }
}
