//! What can break: sites, fault models, and the fault table that a kernel reads.

mod spec;
mod table;

pub use spec::FaultSpec;
pub use table::{FaultEntry, FaultTable};

use crate::{Error, Result};

/// Where in a layer's computation a fault sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Site {
    /// The finished sum y\[m, n\], bias included, before batch norm and activation.
    Output,
}

impl Site {
    /// The number in a [`FaultEntry`].
    pub const fn code(self) -> u16 {
        match self {
            Site::Output => 0,
        }
    }

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Site::Output => "output",
        }
    }

    /// The site called `name`.
    pub fn parse(name: &str) -> Result<Site> {
        match name {
            "output" => Ok(Site::Output),
            other => Err(Error::usage(format!("unknown fault site '{other}'; known: output"))),
        }
    }
}

/// What a fault does to the 32 bits of an f32: v′ = ((v & and) | or) ^ xor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BitMasks {
    pub and: u32,
    pub or: u32,
    pub xor: u32,
}

impl BitMasks {
    /// Flips every bit of `mask`; bit 0 is the least significant.
    pub const fn flip(mask: u32) -> Self {
        BitMasks { and: u32::MAX, or: 0, xor: mask }
    }

    /// The faulty bits.
    pub const fn apply(&self, bits: u32) -> u32 {
        ((bits & self.and) | self.or) ^ self.xor
    }
}
