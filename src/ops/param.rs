//! Parameters and state that an operation declares.

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
    /// A table of position embeddings (`relative_position_bias_table`).
    PositionTable,
    /// State that is kept but not trained (running statistics).
    Buffer,
    /// A counter (u32) that is kept but not trained (`num_batches_tracked`).
    Counter,
}

impl Role {
    /// Whether gradients are taken of it.
    pub const fn is_trained(self) -> bool {
        !matches!(self, Role::Buffer | Role::Counter)
    }
}

/// How a parameter lies in memory, against PyTorch's row-major order of `shape`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The same.
    Plain,
    /// PyTorch's (O, I, H, W) or (O, I) is kept as (H, W, I, O): the B matrix of the GEMM view.
    GemmB,
}

/// How a parameter starts; random ones are keyed by (seed, parameter name).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    Constant(f32),
    /// Normal with this standard deviation.
    Normal(f32),
    /// Uniform in ± this bound.
    Uniform(f32),
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
        if self.role == Role::Counter { DType::U32 } else { DType::F32 }
    }
}

impl Layout {
    /// Sizes (outer, middle, inner) such that PyTorch's index is (o·I + i)·S + s and the stored
    /// one is (s·I + i)·O + o.
    fn factors(shape: &[usize]) -> (usize, usize, usize) {
        (shape[0], shape[1], shape[2..].iter().product())
    }

    /// `values` in PyTorch's order, as they are stored.
    pub fn store<T: Copy + Default>(self, shape: &[usize], values: &[T]) -> Vec<T> {
        match self {
            Layout::Plain => values.to_vec(),
            Layout::GemmB => {
                let mut stored = vec![T::default(); values.len()];
                Self::visit(shape, |pytorch, ours| stored[ours] = values[pytorch]);
                stored
            }
        }
    }

    /// Stored `values` in PyTorch's order.
    pub fn load<T: Copy + Default>(self, shape: &[usize], values: &[T]) -> Vec<T> {
        match self {
            Layout::Plain => values.to_vec(),
            Layout::GemmB => {
                let mut pytorch_order = vec![T::default(); values.len()];
                Self::visit(shape, |pytorch, ours| pytorch_order[pytorch] = values[ours]);
                pytorch_order
            }
        }
    }

    fn visit(shape: &[usize], mut f: impl FnMut(usize, usize)) {
        let (outputs, inputs, taps) = Self::factors(shape);
        for o in 0..outputs {
            for i in 0..inputs {
                for s in 0..taps {
                    f((o * inputs + i) * taps + s, (s * inputs + i) * outputs + o);
                }
            }
        }
    }
}
