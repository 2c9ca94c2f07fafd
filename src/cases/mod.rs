//! Cases of operations: an operation, its inputs, a batch. Each is defined once, for the comparison of kernels with
//! the CPU, the gradient check and the benchmark.

mod attention;
mod heads;
mod norms;
mod places;
mod pointwise;
mod pools;
mod products;

use std::sync::Arc;

use crate::Result;
use crate::ops::Op;
use crate::rng::{self, Draw};
use crate::tape::{NodeId, Tape};
use crate::tensor::{DType, Map, Spec};

pub use attention::attention_inputs;

/// How an input of a case is filled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// Uniform in (−1, 1), kept 0.05 away from zero, where ReLU has its kink.
    Uniform,
    /// The same, and one map for all images.
    Shared,
    /// Uniform in (0.25, 2), where roots and logarithms are smooth.
    Positive,
    /// Distinct values in random order, at least 0.01 apart, so that a maximum is no tie.
    Distinct,
    /// Whole numbers below this.
    Labels(u32),
    /// Non-negative, each image's sum 1.
    Distribution,
}

/// An input of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CaseInput {
    pub map: Map,
    pub fill: Fill,
}

impl CaseInput {
    /// An input filled with [`Fill::Uniform`].
    pub const fn uniform(map: Map) -> Self {
        CaseInput { map, fill: Fill::Uniform }
    }

    /// An input filled with [`Fill::Shared`].
    pub const fn shared(map: Map) -> Self {
        CaseInput { map, fill: Fill::Shared }
    }

    /// Its spec.
    pub const fn spec(&self) -> Spec {
        match self.fill {
            Fill::Labels(_) => Spec::u32(self.map),
            Fill::Shared => Spec::f32(self.map).shared(),
            _ => Spec::f32(self.map),
        }
    }

    /// Values for `images` images as 32-bit words, from a stream called `label`.
    pub fn words(&self, images: usize, label: &str) -> Vec<u32> {
        let count = self.spec().maps(images) * self.map.elements();
        let mut draws = rng::stream(0, label);
        match self.fill {
            Fill::Labels(classes) => {
                (0..count).map(|_| draws.below(u64::from(classes)) as u32).collect()
            }
            Fill::Uniform | Fill::Shared => (0..count)
                .map(|_| {
                    let value = draws.between(-0.95, 0.95);
                    (value + 0.05f64.copysign(value)) as f32
                })
                .map(f32::to_bits)
                .collect(),
            Fill::Positive => {
                (0..count).map(|_| (draws.between(0.25, 2.0) as f32).to_bits()).collect()
            }
            Fill::Distinct => draws
                .permutation(count)
                .into_iter()
                .map(|rank| ((rank as f32 - count as f32 / 2.0) * 0.01).to_bits())
                .collect(),
            Fill::Distribution => {
                let raw: Vec<f64> = (0..count).map(|_| draws.unit()).collect();
                raw.chunks(self.map.elements())
                    .flat_map(|image| {
                        let sum: f64 = image.iter().sum();
                        image.iter().map(move |v| ((v / sum) as f32).to_bits())
                    })
                    .collect()
            }
        }
    }
}

/// An operation with inputs to try it on.
#[derive(Clone)]
pub struct OpCase {
    pub name: String,
    pub op: Arc<dyn Op>,
    pub inputs: Vec<CaseInput>,
    pub batch: usize,
    /// Bound of |kernel − CPU| relative to the largest |value| of the tensor; the chains of
    /// fused multiply-adds agree to the bit, other orders and transcendentals within this.
    pub tolerance: f32,
    /// Whether passes run in training mode.
    pub training: bool,
}

impl OpCase {
    /// A case with the tolerance of reordered f32 sums, in training mode.
    pub fn new(name: &str, op: impl Op + 'static, inputs: Vec<CaseInput>, batch: usize) -> Self {
        let name = format!("{} {name}", op.kind());
        OpCase { name, op: Arc::new(op), inputs, batch, tolerance: 2e-6, training: true }
    }

    /// The same in eval mode.
    pub fn eval(self) -> Self {
        OpCase { training: false, ..self }
    }

    /// It, and the same in eval mode under a name that says so.
    pub fn in_both_modes(self) -> [Self; 2] {
        let eval = OpCase { name: format!("{}, eval", self.name), ..self.clone() }.eval();
        [self, eval]
    }

    /// A tape of nothing but this operation: inputs (with gradients where they are floats), node.
    pub fn tape(&self) -> Result<(Arc<Tape>, Vec<NodeId>, NodeId)> {
        let mut tape = Tape::new();
        let mut inputs = Vec::new();
        for (index, input) in self.inputs.iter().enumerate() {
            let id = tape.input(&format!("input{index}"), input.spec());
            if input.spec().storage == DType::F32 {
                tape.want_gradient(id);
            }
            inputs.push(id);
        }
        let node = tape.record_shared("op", self.op.clone(), &inputs, None)?;
        Ok((Arc::new(tape), inputs, node))
    }
}

/// Every case of every operation.
pub fn all() -> Vec<OpCase> {
    [
        products::conv2d(),
        products::linear(),
        products::matmul(),
        norms::batch_norm(),
        pools::max_pool(),
        pools::avg_pool(),
        pools::adaptive_avg_pool(),
        pointwise::activation(),
        pointwise::unary(),
        pointwise::add(),
        pointwise::multiply(),
        pointwise::broadcast(),
        pointwise::gated_sum(),
        places::gather(),
        places::slice(),
        places::canvas(),
        places::rearrange(),
        norms::layer_norm(),
        norms::reduce(),
        heads::softmax(),
        heads::scale(),
        heads::l2_normalize(),
        heads::cross_entropy(),
        heads::binary_cross_entropy(),
        pointwise::dropout(),
        places::constant(),
        attention::attention(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
