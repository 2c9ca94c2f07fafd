//! Others' times for the same list, as `benches/kernels_vs_torch.py` writes them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What a peer took for one shape, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerTime {
    /// In true f32.
    pub forward_ms: f64,
    /// With TF32 where the peer's library likes it.
    #[serde(default)]
    pub forward_tf32_ms: Option<f64>,
    #[serde(default)]
    pub backward_ms: Option<f64>,
    /// Whether its kernels say that they are Winograd's, which multiply less and round otherwise.
    #[serde(default)]
    pub winograd: bool,
}

/// A peer's run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peers {
    /// Who: name and version, and on what.
    pub peer: String,
    /// Images of a batch.
    pub batch: usize,
    /// By the shape's id.
    pub times: BTreeMap<String, PeerTime>,
}

impl Peers {
    /// Reads a peer's file.
    ///
    /// # Errors
    /// Where the file can't be read or is no such JSON, where a time is none, and where its batch is another
    /// than `batch`.
    pub fn open(path: &Path, batch: usize) -> Result<Peers> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
        let peers: Peers = serde_json::from_str(&text)
            .map_err(|error| Error::file(path, format!("isn't a peer's times: {error}")))?;
        for (shape, time) in &peers.times {
            let times = [Some(time.forward_ms), time.forward_tf32_ms, time.backward_ms];
            if let Some(wrong) = times.into_iter().flatten().find(|ms| !(1e-9..1e9).contains(ms)) {
                let detail = format!("has a time of {wrong:e} ms for the shape {shape}");
                return Err(Error::file(path, detail));
            }
        }
        if peers.batch != batch {
            let detail = format!("was run with batches of {}, not of {batch}", peers.batch);
            return Err(Error::file(path, detail));
        }
        Ok(peers)
    }
}
