//! One head of one part: its vectors, which lie apart on a map, copied side by side.

use std::ops::Range;

use super::softmax::{RowLabels, dot};
use super::{Factors, Problem};
use crate::cpu::gemm::small::Matrix;
use crate::cpu::wide::LANES;
use crate::ops::attention::partition::Token;

/// Lengths of vectors count as at least this (as in PyTorch's `normalize`).
pub(super) const SHORTEST: f32 = 1e-12;

/// Queries, keys and values of one head of one part, a row a token, scaled as the form says.
pub(super) struct HeadRows {
    pub tokens: Vec<Token>,
    /// Those of the part to come.
    next: Vec<Token>,
    /// The tokens' labels, padded; empty where all are neighbours.
    labels: Vec<u32>,
    /// A row a query that is wanted.
    pub q: Matrix,
    pub k: Matrix,
    pub v: Matrix,
    /// The keys' transpose.
    pub k_t: Matrix,
    /// Lengths of queries and keys, for cosines.
    pub q_lengths: Vec<f32>,
    pub k_lengths: Vec<f32>,
}

impl HeadRows {
    pub fn new(problem: &Problem<'_>) -> Self {
        let (tokens, dim) = (problem.tokens, problem.dim);
        let rows = || Matrix::zeros(tokens, dim);
        HeadRows {
            tokens: Vec::with_capacity(tokens),
            next: Vec::with_capacity(tokens),
            labels: Vec::new(),
            q: rows(),
            k: rows(),
            v: rows(),
            k_t: Matrix::zeros(dim, tokens),
            q_lengths: vec![0.0; tokens],
            k_lengths: vec![0.0; tokens],
        }
    }

    /// Finds the tokens of a part, and of the one that follows.
    pub fn enter(&mut self, problem: &Problem<'_>, part: usize, next: Option<usize>) {
        problem.attention.partition.fill(problem.map, part, &mut self.tokens);
        self.next.clear();
        if let Some(next) = next {
            problem.attention.partition.fill(problem.map, next, &mut self.next);
        }
        self.labels.clear();
        let first = self.tokens[0].label;
        if self.tokens.iter().any(|token| token.label != first) {
            self.labels.extend(self.tokens.iter().map(|token| token.label));
            self.labels.resize(self.k_t.stride(), first);
        }
    }

    /// Prefetches the vectors of some `tokens` of the next part, which will be gathered soon: they lie
    /// too far apart for the hardware's prefetchers.
    #[inline(always)]
    pub fn prefetch(&self, problem: &Problem<'_>, image: usize, head: usize, tokens: Range<usize>) {
        let Problem { map, x, dim, .. } = *problem;
        let channels = problem.channels();
        for token in self.next.iter().take(tokens.end).skip(tokens.start) {
            let pixel = image * map.elements() + map.index(token.row, token.column, head * dim);
            for which in 0..3 {
                prefetch(x.as_ptr().wrapping_add(pixel + which * channels), dim);
            }
        }
    }

    /// How a query sees the keys' labels.
    #[inline(always)]
    pub fn labels(&self, query: usize) -> RowLabels<'_> {
        let own = self.tokens[query].label;
        (!self.labels.is_empty()).then_some((&self.labels[..], own))
    }

    /// Copies the vectors of an image; of queries, those of the tokens `wanted`.
    #[inline(always)]
    pub fn gather(
        &mut self,
        problem: &Problem<'_>,
        image: usize,
        head: usize,
        factors: Factors,
        wanted: &[usize],
    ) {
        let Problem { map, x, dim, .. } = *problem;
        let x = &x[image * map.elements()..][..map.elements()];
        let channels = problem.channels();
        let place = |which: usize, token: &Token| {
            map.index(token.row, token.column, which * channels + head * dim)
        };
        for (row, token) in wanted.iter().enumerate() {
            copy(x, place(0, &self.tokens[*token]), dim, self.q.row_mut(row));
        }
        for (row, token) in self.tokens.iter().enumerate() {
            copy(x, place(1, token), dim, self.k.row_mut(row));
            copy(x, place(2, token), dim, self.v.row_mut(row));
        }
        match factors {
            Factors::Dot { key } => self.k.values_mut().iter_mut().for_each(|k| *k *= key),
            Factors::Cosine { query, .. } => {
                for row in 0..wanted.len() {
                    self.q_lengths[row] = normalize(self.q.row_mut(row), query);
                }
                for row in 0..self.tokens.len() {
                    self.k_lengths[row] = normalize(self.k.row_mut(row), 1.0);
                }
            }
        }
        self.k_t.transpose(&self.k, self.tokens.len(), dim);
    }
}

/// Prefetches the cache lines of `count` floats.
#[inline(always)]
pub(super) fn prefetch(floats: *const f32, count: usize) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..count).step_by(LANES) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint; it may point anywhere.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(floats.wrapping_add(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (floats, count);
}

/// Copies `dim` floats from `x[at..]` to a row, and zeroes its padding, which is NaN after a vector
/// with a length of NaN was scaled there.
#[inline(always)]
pub(super) fn copy(x: &[f32], at: usize, dim: usize, row: &mut [f32]) {
    let (row, padding) = row.split_at_mut(dim);
    padding.fill(0.0);
    let from = &x[at..at + dim];
    let (tiles, rest) = from.as_chunks::<LANES>();
    let (to_tiles, to_rest) = row.as_chunks_mut::<LANES>();
    for (to, tile) in to_tiles.iter_mut().zip(tiles) {
        *to = *tile;
    }
    for (to, value) in to_rest.iter_mut().zip(rest) {
        *to = *value;
    }
}

/// Brings a vector to length `scale`; returns its length before, at least [`SHORTEST`].
#[inline(always)]
fn normalize(row: &mut [f32], scale: f32) -> f32 {
    let length = dot(row, row).sqrt();
    // Written so that NaN stays.
    let length = if length < SHORTEST { SHORTEST } else { length };
    let inverse = 1.0 / length;
    row.iter_mut().for_each(|value| *value = *value * inverse * scale);
    length
}
