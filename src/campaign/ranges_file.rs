//! Ranges that an earlier campaign measured, kept in a file beside its store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::layers::Layer;
use super::ranges::Ranges;
use crate::checkpoint::atomic;
use crate::cpu::gemm;
use crate::models::Network;
use crate::results::RangesOver;
use crate::{Error, Result, hex};

/// What decides on the range of a layer. Where all of it is equal, ranges are equal to the bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RangesOf {
    /// Version of this crate, and SHA-256 of the program that runs: what computes differently is another program.
    pub version: String,
    pub program: String,
    /// What the network is, in words that differ where networks do.
    pub architecture: String,
    /// SHA-256 of its checkpoint.
    pub checkpoint: String,
    /// Height and width of the images, in pixels.
    pub image_size: usize,
    /// How images become the network's input, in words that differ where it does.
    pub preprocessing: String,
    /// Over which images: how many, the fingerprint of the set that they are of, and
    /// [its state](crate::data::Dataset::state).
    pub over: RangesOver,
    pub state: String,
    pub device: String,
    pub compute: String,
    pub instruction_set: String,
}

impl RangesOf {
    /// What is known of this crate, this processor, and a network on its device; the rest is empty.
    pub fn here(network: &Network) -> RangesOf {
        let device = network.device();
        RangesOf {
            version: env!("CARGO_PKG_VERSION").into(),
            program: String::new(),
            image_size: network.model.image_size,
            device: device.kind().to_string(),
            compute: device.compute().to_string(),
            instruction_set: gemm::instruction_set().into(),
            architecture: String::new(),
            checkpoint: String::new(),
            preprocessing: String::new(),
            over: RangesOver::default(),
            state: String::new(),
        }
    }
}

/// The file's content.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    of: RangesOf,
    /// By the layers' names.
    max: BTreeMap<String, f32>,
    /// Of `max`.
    sha256: String,
}

/// The file of ranges of one network over one set of images, whether it is there or not.
pub struct RangesFile {
    path: PathBuf,
    of: RangesOf,
}

impl RangesFile {
    /// The file in `folder` that is for ranges of `of`. Its name says of what, so that others may lie beside it.
    ///
    /// # Errors
    /// What can't be written as JSON.
    pub fn new(folder: &Path, of: RangesOf) -> Result<RangesFile> {
        let name = format!("ranges-{}.json", &digest(&of)?[..16]);
        Ok(RangesFile { path: folder.join(name), of })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The ranges of `layers`; `None` where the file isn't there, or lacks one of them.
    ///
    /// # Errors
    /// A file that can't be read, or is damaged.
    pub fn read(&self, layers: &[Layer]) -> Result<Option<Ranges>> {
        let Some(max) = self.all()? else { return Ok(None) };
        let of = |layer: &Layer| Some((layer.name.clone(), *max.get(&layer.name)?));
        let max: Option<BTreeMap<String, f32>> = layers.iter().map(of).collect();
        Ok(max.map(|max| Ranges { max, over: Some(self.of.over.clone()) }))
    }

    /// Adds ranges to what the file has. It has them all or stays as it was.
    ///
    /// # Errors
    /// What the disk says.
    pub fn add(&self, ranges: &Ranges) -> Result<()> {
        // What is damaged is written anew.
        let mut max = self.all().ok().flatten().unwrap_or_default();
        max.extend(ranges.max.iter().map(|(name, max)| (name.clone(), *max)));
        let kept = Kept { of: self.of.clone(), sha256: digest(&max)?, max };
        let text = serde_json::to_vec_pretty(&kept).map_err(|error| self.bad(error))?;
        atomic::write(&self.path, |out| out.write_all(&text))
    }

    /// Every range in it.
    fn all(&self) -> Result<Option<BTreeMap<String, f32>>> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io(&self.path, source)),
        };
        let kept: Kept = serde_json::from_slice(&text).map_err(|error| self.bad(error))?;
        if kept.sha256 != digest(&kept.max)? {
            return Err(self.bad("its ranges aren't those that were written"));
        }
        if kept.of != self.of {
            return Err(self.bad("it isn't of what its name says"));
        }
        Ok(Some(kept.max))
    }

    fn bad(&self, detail: impl std::fmt::Display) -> Error {
        Error::file(&self.path, format!("is damaged: {detail}"))
    }
}

/// SHA-256 of a value as JSON.
fn digest(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_vec(value)
        .map_err(|error| Error::usage(format!("ranges can't be written: {error}")))?;
    Ok(hex(&Sha256::digest(text)))
}
