//! Parameters and state that an operation declares.

use std::sync::Arc;

use crate::tensor::DType;

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
    /// Calls `f(PyTorch's index, the stored index)` for every element.
    fn visit(self, shape: &[usize], mut f: impl FnMut(usize, usize)) {
        let inner = || shape[2..].iter().product();
        // PyTorch's index is (o·I + i)·S + s and the stored one (s·I + i)·O + o.
        let (outputs, inputs, taps) = match self {
            Layout::Plain => return (0..shape.iter().product()).for_each(|at| f(at, at)),
            Layout::GemmB => (shape[0], shape[1], inner()),
            Layout::Flattened { pixels } => (shape[0], shape[1] / pixels, pixels),
            Layout::Merged => (shape[0], shape[1], 1),
        };
        for o in 0..outputs {
            for i in 0..inputs {
                let row = if self == Layout::Merged { row_by_row(i, inputs / 4) } else { i };
                for s in 0..taps {
                    f((o * inputs + i) * taps + s, (s * inputs + row) * outputs + o);
                }
            }
        }
    }

    /// `values` in PyTorch's order, as they are stored.
    pub fn store<T: Copy + Default>(self, shape: &[usize], values: &[T]) -> Vec<T> {
        if self == Layout::Plain {
            return values.to_vec();
        }
        let mut stored = vec![T::default(); values.len()];
        self.visit(shape, |pytorch, ours| stored[ours] = values[pytorch]);
        stored
    }

    /// Stored `values` in PyTorch's order.
    pub fn load<T: Copy + Default>(self, shape: &[usize], values: &[T]) -> Vec<T> {
        if self == Layout::Plain {
            return values.to_vec();
        }
        let mut pytorch_order = vec![T::default(); values.len()];
        self.visit(shape, |pytorch, ours| pytorch_order[pytorch] = values[ours]);
        pytorch_order
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
            (Layout::Flattened { pixels: 6 }, vec![5, 18]),
            (Layout::Merged, vec![3, 12]),
        ] {
            let values: Vec<u32> = (0..shape.iter().product::<usize>() as u32).collect();
            let stored = layout.store(&shape, &values);
            assert_eq!(layout.load(&shape, &stored), values, "{layout:?}");
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
