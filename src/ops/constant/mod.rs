//! A table as a value: no inputs, one parameter, one map for all images.

mod cpu;
mod cuda;

use super::{Init, Layout, Op, ParamSpec, Role, passes};
use crate::tensor::{Map, Region, Spec};
use crate::{Error, Result};

/// A shared value that is its parameter. Record it with `Tape::record_shared` under the
/// parameter's full name, and that name as the parameter's.
#[derive(Clone, Debug)]
pub struct Constant {
    /// Its layout is [`Layout::Plain`]; PyTorch's shape may be another than the map's.
    pub param: ParamSpec,
    pub map: Map,
}

impl Constant {
    /// MaxViT's trained table of position biases for windows of `window` tokens: PyTorch's
    /// ((2h − 1)·(2w − 1), heads), a map of (2h − 1) × (2w − 1) × heads.
    pub fn position_bias(window: [usize; 2], heads: usize) -> Self {
        let [height, width] = window.map(|size| 2 * size - 1);
        let (shape, start) = (vec![height * width, heads], Init::TruncatedNormal(0.02));
        let param = ParamSpec::plain("relative_position_bias_table", shape, Role::Position, start);
        Constant { param, map: Map::new(height, width, heads) }
    }

    /// Swin V2's table of relative coordinates Δ of windows of `window` tokens (Liu et al., 2022,
    /// equation 4, to base 8): sign(Δ) · log₂(1 + 8·|Δ| / (size − 1)) / 3, for rows and for
    /// columns; PyTorch's (1, 2h − 1, 2w − 1, 2).
    pub fn log_coordinates(window: [usize; 2]) -> Self {
        let [height, width] = window.map(|size| 2 * size - 1);
        let coordinate = |at: usize, size: usize| {
            // One step at a time in f32, as PyTorch rounds.
            let offset = (at as f32 - (size - 1) as f32) / (size - 1) as f32 * 8.0;
            offset.signum() * (offset.abs() + 1.0).log2() / 3.0
        };
        let coordinates = |at: usize| {
            let (row, column) = (at / width, at % width);
            [coordinate(row, window[0]), coordinate(column, window[1])]
        };
        let (shape, table) = (vec![1, height, width, 2], (0..height * width).flat_map(coordinates));
        let table = Init::Given(table.collect());
        let param = ParamSpec::plain("relative_coords_table", shape, Role::Buffer, table);
        Constant { param, map: Map::new(height, width, 2) }
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for Constant {
    passes!("constant");

    fn output(&self, _inputs: &[Spec]) -> Result<Spec> {
        if self.param.elements() != self.map.elements() || self.param.layout != Layout::Plain {
            let detail = format!("a parameter of {:?} isn't a map {}", self.param.shape, self.map);
            return Err(Error::shape("constant", detail));
        }
        Ok(Spec::f32(self.map).shared())
    }

    fn params(&self) -> Vec<ParamSpec> {
        vec![self.param.clone()]
    }

    /// Never asked: there is no input.
    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], _output: &Spec) -> Region {
        region
    }
}
