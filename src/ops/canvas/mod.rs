//! Another size of map: rows and columns are cut off, or added as zeros, at the bottom and on the right.
//! Swin transformers fill maps up to whole windows and cut them back afterwards.

mod cpu;
mod cuda;

use std::fmt;

use super::{Cost, Op, passes};
use crate::tensor::{Map, Region, Span, Spec};
use crate::{Error, Result};

/// y\[row, column\] = x\[row, column\] where x has it, otherwise 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PadCrop {
    pub height: usize,
    pub width: usize,
}

/// As `Canvas`, an earlier name: the identifiers of shapes in `bench kernels` are digests of this text.
impl fmt::Debug for PadCrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PadCrop { height, width } = self;
        f.debug_struct("Canvas").field("height", height).field("width", width).finish()
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for PadCrop {
    passes!("canvas");

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let PadCrop { height, width } = *self;
        if height == 0 || width == 0 {
            return Err(Error::shape("canvas", "no map has a side of 0"));
        }
        Ok(Spec { map: Map { height, width, ..inputs[0].map }, ..inputs[0] })
    }

    fn cost(&self, inputs: &[Spec]) -> Cost {
        let map = inputs[0].map;
        let read = map.height.min(self.height) * map.width.min(self.width);
        let pixels = read + self.height * self.width;
        Cost { macs: 0, bytes: (pixels * map.channels * size_of::<f32>()) as u64 }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], _output: &Spec) -> Region {
        let cut = |span: Span, size: usize| Span::new(span.start.min(size), span.end.min(size));
        Region {
            rows: cut(region.rows, self.height),
            columns: cut(region.columns, self.width),
            ..region
        }
    }
}
