//! A range of channels as a value of its own.

mod cpu;
mod cuda;

use super::{Backward, Cost, Forward, Op, SavedForBackward};
use crate::tensor::{Map, Region, Span, Spec};
use crate::{Error, Result};

pub use cuda::SliceArgs;

/// y = x\[.., channels\].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    pub channels: Span,
}

impl Op for Slice {
    fn kind(&self) -> &'static str {
        "slice"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let (map, Span { start, end }) = (inputs[0].map, self.channels);
        if self.channels.is_empty() || end > map.channels {
            return Err(Error::shape("slice", format!("{map} has no channels {start}..{end}")));
        }
        Ok(Spec { map: Map { channels: self.channels.len(), ..map }, ..inputs[0] })
    }

    fn needs(&self) -> SavedForBackward {
        SavedForBackward::default()
    }

    fn cost(&self, inputs: &[Spec]) -> Cost {
        let bytes = self.output(inputs).map_or(0, |spec| 2 * spec.image_bytes());
        Cost { macs: 0, bytes: bytes as u64 }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], _output: &Spec) -> Region {
        let Span { start, end } = self.channels;
        let of = |at: usize| at.clamp(start, end) - start;
        let channels = Span::new(of(region.channels.start), of(region.channels.end));
        Region { channels, ..region }
    }

    fn forward(&self, ctx: &mut Forward<'_>) -> Result<()> {
        if ctx.device.is_cpu() { cpu::forward(self, ctx) } else { cuda::forward(self, ctx) }
    }

    fn backward(&self, ctx: &mut Backward<'_>) -> Result<()> {
        if ctx.device.is_cpu() { cpu::backward(self, ctx) } else { cuda::backward(self, ctx) }
    }
}
