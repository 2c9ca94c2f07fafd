//! Attention on the CPU: one head of one part at a time, in memory that stays in the caches.

mod backward;
mod forward;
mod gather;
mod softmax;

pub use backward::backward;
pub use forward::forward;

use super::position::Positions;
use super::{Attention, Form};
use crate::cpu::gemm::small::Matrix;
use crate::tensor::{Map, Tensor};

/// A `logit_scale` beyond this counts as this, and has no gradient.
const LARGEST_LOGIT_SCALE: f32 = 4.605_170_2;

/// What a pass reads, whichever way it goes.
#[derive(Clone, Copy)]
struct Problem<'a> {
    attention: &'a Attention,
    /// Of queries, keys and values.
    map: Map,
    x: &'a [f32],
    positions: Option<Positions<'a>>,
    /// One a head, for cosines.
    logit_scale: Option<&'a [f32]>,
    /// Tokens of a part.
    tokens: usize,
    /// Channels of a head.
    dim: usize,
}

impl<'a> Problem<'a> {
    fn new(
        attention: &'a Attention,
        inputs: &[Tensor],
        values: impl Fn(usize) -> &'a [f32],
        params: impl Fn(usize) -> &'a [f32],
        indices: impl Fn(usize) -> &'a [u32],
    ) -> Self {
        let map = inputs[0].map();
        let positions = attention.bias.map(|bias| Positions {
            bias,
            table: values(1),
            index: indices(0),
            heads: attention.heads,
        });
        let cosine = attention.form == Form::Cosine;
        Problem {
            attention,
            map,
            x: values(0),
            positions,
            logit_scale: cosine.then(|| params(attention.logit_scale_index())),
            tokens: attention.partition.tokens(map),
            dim: map.channels / 3 / attention.heads,
        }
    }

    /// Channels of the output.
    fn channels(&self) -> usize {
        self.map.channels / 3
    }

    /// Parts of an image.
    fn parts(&self) -> usize {
        self.attention.partition.parts(self.map)
    }

    /// What multiplies keys, and what multiplies queries of unit length.
    fn factors(&self, head: usize) -> Factors {
        match (self.attention.form, self.logit_scale) {
            (Form::Dot { scale }, _) => Factors::Dot { key: scale },
            (Form::Cosine, scales) => {
                let scale = scales.map_or(0.0, |scales| scales[head]);
                let bounded = if scale > LARGEST_LOGIT_SCALE { LARGEST_LOGIT_SCALE } else { scale };
                let query = f64::from(bounded).exp() as f32;
                Factors::Cosine { query, clamped: scale > LARGEST_LOGIT_SCALE }
            }
        }
    }
}

/// How a head's queries and keys are scaled before they are multiplied.
#[derive(Clone, Copy)]
enum Factors {
    Dot { key: f32 },
    Cosine { query: f32, clamped: bool },
}

/// What is added to the scores of each query of one head, whatever the part. Padding is −∞.
enum Added {
    /// A row a query.
    Bias(Matrix),
    /// Zeros, then −∞, from which query i reads so that key j ≤ i finds a zero.
    Causal(Vec<f32>),
    Nothing(Vec<f32>),
}

impl Added {
    #[inline(always)]
    fn new(problem: &Problem<'_>, head: usize) -> Added {
        let tokens = problem.tokens;
        let stride = tokens.next_multiple_of(16);
        if let Some(positions) = &problem.positions {
            let of_head = positions.of_head(head);
            let mut rows = Matrix::zeros(tokens, tokens);
            for query in 0..tokens {
                let (row, padding) = rows.row_mut(query).split_at_mut(tokens);
                positions.look_up(&of_head, query, row);
                padding.fill(f32::NEG_INFINITY);
            }
            return Added::Bias(rows);
        }
        if problem.attention.partition.is_causal() {
            let mut row = vec![0.0; stride];
            row.resize(2 * stride, f32::NEG_INFINITY);
            return Added::Causal(row);
        }
        let mut row = vec![0.0; tokens];
        row.resize(stride, f32::NEG_INFINITY);
        Added::Nothing(row)
    }

    /// The row of a query, of `stride` floats.
    #[inline(always)]
    fn row(&self, query: usize, stride: usize) -> &[f32] {
        match self {
            Added::Bias(rows) => rows.row(query),
            Added::Causal(row) => &row[stride - 1 - query..][..stride],
            Added::Nothing(row) => row,
        }
    }
}
