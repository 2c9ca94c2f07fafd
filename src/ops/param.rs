//! Parameters and state that an operation declares.

use std::sync::Arc;

use rayon::prelude::*;

use crate::tensor::DType;

/// Height and width of what is transposed at a time: a cache line of f32, so that each line is read
/// and written once.
const TILE: usize = 16;

/// What a parameter is for; decides decay, initialisation and whether it is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A weight of a convolution or linear layer.
    Weight,
    Bias,
    /// Weight or bias of a normalisation layer.
    Norm,
    /// A scalar such as `logit_scale`.
    Scale,
    /// A trained table of relative position biases.
    Position,
    /// State that is kept but not trained (running statistics).
    Buffer,
    /// A counter (u32) that is kept but not trained (`num_batches_tracked`).
    Counter,
    /// A table of indices (u32) that follows from the architecture: kept in state dicts, equal in
    /// all of them.
    Index,
}

impl Role {
    /// Whether gradients are taken of it.
    pub const fn is_trained(self) -> bool {
        !matches!(self, Role::Buffer | Role::Counter | Role::Index)
    }
}

/// How a parameter lies in memory, against PyTorch's row-major order of `shape`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The same.
    Plain,
    /// PyTorch's (O, I, H, W) or (O, I) is kept as (H, W, I, O): the B matrix of the GEMM view.
    GemmB,
    /// PyTorch's (O, C · pixels), whose input was flattened from (C, H, W), is kept as
    /// (H, W, C, O): the B matrix for a channels-last map.
    Flattened {
        /// H · W
        pixels: usize,
    },
    /// PyTorch's (O, 4 · C), whose input is a 2×2 patch column by column, is kept as (2, 2, C, O):
    /// the B matrix for a patch row by row.
    Merged,
}

/// How a parameter starts; random ones are keyed by (seed, parameter name).
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    Constant(f32),
    /// Normal with this standard deviation.
    Normal(f32),
    /// Normal with this standard deviation, cut off at two of them.
    TruncatedNormal(f32),
    /// Uniform in ± this bound.
    Uniform(f32),
    /// These values, in PyTorch's order.
    Given(Arc<[f32]>),
}

/// How a convolution or linear layer starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// Normal with deviation √(2 / outputs a term), biases zero (He et al., 2015, fan out).
    HeNormal,
    /// Weights and biases uniform in ±1/√(terms of a sum): what PyTorch's modules do by themselves.
    PyTorch,
    /// Normal with this deviation, biases zero.
    Normal(f32),
    /// Normal with this deviation, cut off at two of them; biases zero.
    TruncatedNormal(f32),
}

impl Start {
    /// Starting values of weights and biases, for `terms` of a sum and `fan_out` outputs a term.
    pub fn inits(self, terms: usize, fan_out: usize) -> (Init, Init) {
        let zero = Init::Constant(0.0);
        match self {
            Start::HeNormal => (Init::Normal((2.0 / fan_out as f32).sqrt()), zero),
            Start::PyTorch => {
                let bound = Init::Uniform(1.0 / (terms as f32).sqrt());
                (bound.clone(), bound)
            }
            Start::Normal(std) => (Init::Normal(std), zero),
            Start::TruncatedNormal(std) => (Init::TruncatedNormal(std), zero),
        }
    }
}

/// A parameter as an operation declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Last part of the state-dict name (`weight`, `running_mean`).
    pub name: &'static str,
    /// PyTorch's shape; empty for a scalar.
    pub shape: Vec<usize>,
    pub role: Role,
    pub layout: Layout,
    pub init: Init,
}

impl ParamSpec {
    /// One that lies as PyTorch has it.
    pub fn plain(name: &'static str, shape: Vec<usize>, role: Role, init: Init) -> Self {
        ParamSpec { name, shape, role, layout: Layout::Plain, init }
    }

    /// Elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// How an element is stored.
    pub fn dtype(&self) -> DType {
        if matches!(self.role, Role::Counter | Role::Index) { DType::U32 } else { DType::F32 }
    }
}

impl Layout {
    /// The sizes of PyTorch's matrix (outputs × columns), whose transpose is stored, and which column
    /// a stored row is; `None` where values are stored in PyTorch's order.
    fn matrix(self, shape: &[usize]) -> Option<([usize; 2], impl Fn(usize) -> usize + Sync)> {
        let [outputs, columns] = match self {
            Layout::Plain => return None,
            _ => [shape[0], shape[1..].iter().product()],
        };
        let taps = match self {
            Layout::Plain | Layout::Merged => 1,
            Layout::GemmB => shape[2..].iter().product(),
            Layout::Flattened { pixels } => pixels,
        };
        let inputs = columns / taps.max(1);
        let column = move |row: usize| match self {
            Layout::Merged => row_by_row(row, inputs / 4),
            _ => row % inputs * taps + row / inputs,
        };
        Some(([outputs, columns], column))
    }

    /// Where element `index` of PyTorch's order is stored.
    pub fn stored_index(self, shape: &[usize], index: usize) -> usize {
        let Some(([outputs, columns], column)) = self.matrix(shape) else { return index };
        let row = (0..columns).find(|row| column(*row) == index % columns).unwrap_or(0);
        row * outputs + index / columns
    }

    /// `values` in PyTorch's order, as they are stored.
    pub fn store<T: Copy + Default + Send + Sync>(self, shape: &[usize], values: &[T]) -> Vec<T> {
        let Some(([outputs, columns], column)) = self.matrix(shape) else { return values.to_vec() };
        let mut stored = vec![T::default(); values.len()];
        if stored.is_empty() {
            return stored;
        }
        let of_rows = |(tile, rows): (usize, &mut [T])| {
            for start in (0..outputs).step_by(TILE) {
                for (row, stored) in rows.chunks_exact_mut(outputs).enumerate() {
                    let column = column(tile * TILE + row);
                    for output in start..outputs.min(start + TILE) {
                        stored[output] = values[output * columns + column];
                    }
                }
            }
        };
        stored.par_chunks_mut(TILE * outputs).enumerate().for_each(of_rows);
        stored
    }

    /// Stored `values` in PyTorch's order.
    pub fn load<T: Copy + Default + Send + Sync>(self, shape: &[usize], values: &[T]) -> Vec<T> {
        let Some(([outputs, columns], column)) = self.matrix(shape) else { return values.to_vec() };
        let mut loaded = vec![T::default(); values.len()];
        if loaded.is_empty() {
            return loaded;
        }
        let of_outputs = |(tile, outputs_here): (usize, &mut [T])| {
            for start in (0..columns).step_by(TILE) {
                for (output, loaded) in outputs_here.chunks_exact_mut(columns).enumerate() {
                    let output = tile * TILE + output;
                    for row in start..columns.min(start + TILE) {
                        loaded[column(row)] = values[row * outputs + output];
                    }
                }
            }
        };
        loaded.par_chunks_mut(TILE * columns).enumerate().for_each(of_outputs);
        loaded
    }
}

/// The place in a row-by-row 2×2 patch of `channels` of input `i` of a column-by-column one: the
/// two pixels off the diagonal change places.
fn row_by_row(i: usize, channels: usize) -> usize {
    let place = [0, 2, 1, 3][(i / channels).min(3)];
    place * channels + i % channels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_undone() {
        for (layout, shape) in [
            (Layout::Plain, vec![3, 4]),
            (Layout::GemmB, vec![3, 4, 2, 5]),
            (Layout::GemmB, vec![37, 5, 3, 3]),
            (Layout::GemmB, vec![16, 50]),
            (Layout::Flattened { pixels: 6 }, vec![5, 18]),
            (Layout::Flattened { pixels: 49 }, vec![33, 98]),
            (Layout::Merged, vec![3, 12]),
            (Layout::Merged, vec![21, 36]),
            (Layout::GemmB, vec![0, 4]),
        ] {
            let values: Vec<u32> = (0..shape.iter().product::<usize>() as u32).collect();
            let stored = layout.store(&shape, &values);
            assert_eq!(layout.load(&shape, &stored), values, "{layout:?} {shape:?}");
            for value in &values {
                let at = layout.stored_index(&shape, *value as usize);
                assert_eq!(stored[at], *value, "{layout:?} {shape:?}");
            }
        }
    }

    /// More than a tile of outputs and of rows: (o·I + i)·S + s lies at (s·I + i)·O + o.
    #[test]
    fn convolutions_are_stored_tap_by_tap() {
        let [outputs, inputs, taps] = [37, 5, 9];
        let values: Vec<u32> = (0..(outputs * inputs * taps) as u32).collect();
        let stored = Layout::GemmB.store(&[outputs, inputs, 3, 3], &values);
        for (at, value) in stored.into_iter().enumerate() {
            let (output, input, tap) = (at % outputs, at / outputs % inputs, at / outputs / inputs);
            assert_eq!(value as usize, (output * inputs + input) * taps + tap, "{at}");
        }
    }

    #[test]
    fn rows_follow_the_map() {
        // Two channels, three pixels: PyTorch's column 1·3 + 2 is channel 1 of pixel 2.
        let values: Vec<u32> = (0..6).collect();
        assert_eq!(Layout::Flattened { pixels: 3 }.store(&[1, 6], &values), [0, 3, 1, 4, 2, 5]);
        // One channel: PyTorch's columns are pixels (0,0), (1,0), (0,1), (1,1).
        assert_eq!(Layout::Merged.store(&[1, 4], &[0, 10, 1, 11]), [0, 1, 10, 11]);
    }
}
