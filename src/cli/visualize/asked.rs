//! A fault in an image, as it is asked for.

use std::path::PathBuf;

use crate::data::Image8;
use crate::fault::FaultSpec;
use crate::{Error, Result};

/// A fault in an image.
pub(in crate::cli) struct AskedFault {
    pub fault: FaultSpec,
    /// What the image is called.
    pub name: String,
    pub image: Image8,
    /// Name of the folder that the image lies in.
    pub folder: String,
    /// The image's row in the network that a campaign names so.
    pub label: Option<(String, usize)>,
    /// What a campaign knows of it.
    pub known: Option<Known>,
    /// Layer and number of the campaign's injection.
    pub injection: Option<serde_json::Value>,
}

/// A campaign's answers without and with the fault.
pub(in crate::cli) struct Known {
    /// What it calls the checkpoint that it ran.
    pub sha256: String,
    /// Hashes of its answers without and with the fault.
    pub clean: u64,
    pub faulty: u64,
    pub store: PathBuf,
}

impl Known {
    /// Refuses an image that the network answers otherwise than the campaign says.
    pub fn check(&self, image: &str, clean: u64, faulty: u64) -> Result<()> {
        let differs = |what: &str| {
            Err(Error::file(
                &self.store,
                format!(
                    "the answer to {image} {what} isn't the campaign's: the image, the preprocessing or how layers \
                     multiply is another"
                ),
            ))
        };
        match (clean == self.clean, faulty == self.faulty) {
            (false, _) => differs("without a fault"),
            (true, false) => differs("with the fault"),
            (true, true) => Ok(()),
        }
    }
}
