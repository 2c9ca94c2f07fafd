//! A range of channels as a value of its own.

mod cpu;
mod cuda;

use super::{Cost, Op, passes};
use crate::tensor::{Map, Region, Span, Spec};
use crate::{Error, Result};

/// y = x\[.., channels\].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    pub channels: Span,
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for Slice {
    passes!("slice", op => op);

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let (map, Span { start, end }) = (inputs[0].map, self.channels);
        if self.channels.is_empty() || end > map.channels {
            return Err(Error::shape("slice", format!("{map} has no channels {start}..{end}")));
        }
        Ok(Spec { map: Map { channels: self.channels.len(), ..map }, ..inputs[0] })
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
}
