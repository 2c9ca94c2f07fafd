//! Multiplication: y = a · b, where b is a map like a, one value a channel (squeeze-and-excitation) or
//! one a pixel (gates). Of a, only some channels may be meant.

mod cpu;
mod cuda;

use super::product::{self, FactorPlace, Spread};
use super::{Cost, Op, PassBytes, SavedForBackward, passes};
use crate::tensor::{Map, Region, Span, Spec};
use crate::{Error, Result};

/// The product of two values. Inputs: a (height × width × channels), and b of the same shape,
/// 1×1×channels or height × width × 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Multiply {
    /// The channels of a that are read; `None` for all.
    a_channels: Option<Span>,
}

impl Multiply {
    /// a · b.
    pub const fn new() -> Multiply {
        Multiply { a_channels: None }
    }

    /// a\[.., channels\] · b, without a copy of those channels.
    pub const fn of_channels(channels: Span) -> Multiply {
        Multiply { a_channels: Some(channels) }
    }

    /// Where both factors lie, or nothing if they don't fit.
    fn places(&self, a: Map, b: Map) -> Option<(Map, [FactorPlace; 2])> {
        let channels = self.a_channels.unwrap_or(Span::all(a.channels));
        if channels.is_empty() || channels.end > a.channels {
            return None;
        }
        let output = Map { channels: channels.len(), ..a };
        let spread = Spread::of(b, b.channels, output)?;
        let a = FactorPlace { map: a, channel: channels.start, spread: Spread::Nowhere };
        Some((output, [a, FactorPlace { map: b, channel: 0, spread }]))
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for Multiply {
    passes!("multiply", op => op);

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let (a, b) = (inputs[0].map, inputs[1].map);
        let Some((output, _)) = self.places(a, b) else {
            let of = self.a_channels.map_or(String::new(), |channels| {
                format!("channels {}..{} of ", channels.start, channels.end)
            });
            return Err(Error::shape("multiply", format!("{of}{a} can't be multiplied by {b}")));
        };
        Ok(Spec::f32(output))
    }

    fn needs(&self) -> SavedForBackward {
        SavedForBackward { inputs: vec![true, true], output: false }
    }

    /// Partial sums of the gradient of one value a channel.
    fn bytes(&self, inputs: &[Spec], batch: usize, training: bool) -> PassBytes {
        let workspace = match self.places(inputs[0].map, inputs[1].map) {
            Some((output, [_, b])) if training && b.spread == Spread::OverPixels => {
                product::cuda::workspace_bytes(output, batch)
            }
            _ => 0,
        };
        PassBytes { saved: 0, workspace }
    }

    fn cost(&self, inputs: &[Spec]) -> Cost {
        let output = self.output(inputs).map_or(0, |spec| spec.image_bytes());
        Cost { macs: 0, bytes: (2 * output + inputs[1].image_bytes()) as u64 }
    }

    fn reach(&self, input: usize, region: Region, inputs: &[Spec], output: &Spec) -> Region {
        let Some((_, places)) = self.places(inputs[0].map, inputs[1].map) else { return region };
        places[input].reach(region, output.map)
    }
}

/// The tape has checked shapes, so that nobody sees this.
fn misfit(node: &str) -> Error {
    Error::shape(node, "factors that don't fit")
}
