//! Backward: probabilities are computed again, then five products for each head of each part.
//!
//! With p = e / Σ e and D\[i\] = Σ_j p\[i, j\]·dp\[i, j\]: dv = pᵀ·dy, dp = dy·vᵀ, ds = p ∘ (dp − D),
//! dq = ds·k, dk = dsᵀ·q. The gradient of biases is the sum of ds over images and parts.

use super::gather::{HeadRows, copy};
use super::softmax::{dot, exponentials};
use super::{Added, Factors, Problem};
use crate::Result;
use crate::cpu::gemm::small::{Matrix, Size, product, transposed_product};
use crate::cpu::gemm::{SendPtr, for_each_task};
use crate::cpu::wide::{LANES, Pieces, for_each_piece, load, store_or_add};
use crate::ops::HostBackward;
use crate::ops::attention::Attention;

/// Sums over images and parts are taken in at most this many chunks, then over the chunks.
const CHUNKS: usize = 16;

/// Heads × chunks of (image, part).
struct PartChunks<'a> {
    problem: Problem<'a>,
    units: usize,
    chunks: usize,
    dy: &'a [f32],
    /// The gradient of queries, keys and values, and whether to add to it.
    dx: Option<(SendPtr<f32>, bool)>,
    /// A piece's sum of ds, tokens × padded tokens; `None` where the bias needs no gradient.
    bias_sums: Option<SendPtr<f32>>,
    /// A piece's gradient of `logit_scale`.
    scale_sums: SendPtr<f64>,
}

/// Floats of a row of ds.
fn stride(tokens: usize) -> usize {
    tokens.next_multiple_of(LANES)
}

pub fn backward(attention: &Attention, ctx: &mut HostBackward<'_>) -> Result<()> {
    let problem = Problem::new(
        attention,
        ctx.inputs,
        |i| ctx.input(i),
        |i| ctx.param(i),
        |i| ctx.param_u32(i),
    );
    let Problem { tokens, .. } = problem;
    let units = ctx.images() * problem.parts();
    let chunks = units.min(CHUNKS);
    let pieces = attention.heads * chunks;
    let table = if attention.bias.is_some() { ctx.input_gradient(1) } else { None };
    let scale = attention.logit_scale_index();
    let scales = problem.logit_scale.and_then(|_| ctx.param_gradient(scale));
    let of_piece = tokens * stride(tokens);
    let mut bias_sums = vec![0f32; if table.is_some() { pieces * of_piece } else { 0 }];
    let mut scale_sums = vec![0f64; pieces];
    let work = PartChunks {
        problem,
        units,
        chunks,
        dy: ctx.output_gradient(),
        dx: ctx.input_gradient(0).map(|(dx, add)| (SendPtr(dx.as_mut_ptr()), add)),
        bias_sums: table.is_some().then_some(SendPtr(bias_sums.as_mut_ptr())),
        scale_sums: SendPtr(scale_sums.as_mut_ptr()),
    };
    for_each_piece(true, pieces, &work);
    if let (Some(positions), Some((gradient, add))) = (problem.positions, table) {
        let gradient = SendPtr(gradient.as_mut_ptr());
        for_each_task(true, attention.heads, |head| {
            let mut sums = vec![0f64; tokens * tokens];
            for part in
                bias_sums[head * chunks * of_piece..][..chunks * of_piece].chunks_exact(of_piece)
            {
                let rows = part.chunks_exact(stride(tokens));
                for (sums, row) in sums.chunks_exact_mut(tokens).zip(rows) {
                    sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
                }
            }
            positions.backward(head, &sums, |at, value| {
                // SAFETY: an element of the table, in this head's column.
                let to = unsafe { &mut *gradient.get().add(at) };
                *to = if add { *to + value } else { value };
            });
        });
    }
    if let Some((gradient, add)) = scales {
        for (gradient, sums) in gradient.iter_mut().zip(scale_sums.chunks_exact(chunks)) {
            let sum = sums.iter().sum::<f64>() as f32;
            *gradient = if add { *gradient + sum } else { sum };
        }
    }
    Ok(())
}

impl Pieces for PartChunks<'_> {
    const AVX512: bool = true;

    #[inline(always)]
    fn run(&self, piece: usize) {
        let Problem { tokens, dim, .. } = self.problem;
        let problem = &self.problem;
        let number = piece / self.chunks;
        let chunk = piece % self.chunks;
        let (first, end) =
            (chunk * self.units / self.chunks, (chunk + 1) * self.units / self.chunks);
        let factors = problem.factors(number);
        let added = Added::new(problem, number);
        let mut head = HeadRows::new(problem);
        let all: Vec<usize> = (0..tokens).collect();
        let vectors = || Matrix::zeros(tokens, dim);
        let (mut dy, mut dq, mut dk, mut dv) = (vectors(), vectors(), vectors(), vectors());
        let mut v_t = Matrix::zeros(dim, tokens);
        let (mut p, mut ds) = (Matrix::zeros(tokens, tokens), Matrix::zeros(tokens, tokens));
        let of_piece = tokens * p.stride();
        let bias_sum = self.bias_sums.map(|sums| {
            let sum = sums.get().wrapping_add(piece * of_piece);
            // SAFETY: this piece's own part.
            unsafe { std::slice::from_raw_parts_mut(sum, of_piece) }
        });
        let bias_sum = bias_sum.unwrap_or_default();
        let mut scale_sum = 0f64;
        let to_tokens = Size { rows: tokens, depth: dim, columns: tokens };
        let to_vectors = Size { rows: tokens, depth: tokens, columns: dim };
        for unit in first..end {
            let (image, part) = (unit / problem.parts(), unit % problem.parts());
            let next = (unit + 1 < end).then(|| (unit + 1) % problem.parts());
            head.enter(problem, part, next);
            head.gather(problem, image, number, factors, &all);
            for (row, token) in head.tokens.iter().enumerate() {
                let map = problem.map;
                let pixel = (image * map.height + token.row) * map.width + token.column;
                let at = pixel * problem.channels() + number * dim;
                copy(self.dy, at, dim, dy.row_mut(row));
            }
            product(to_tokens, &head.q, 0, &head.k_t, &mut p);
            for query in 0..tokens {
                let bias = added.row(query, p.stride());
                let row = p.row_mut(query);
                let factor = 1.0 / exponentials(row, bias, head.labels(query));
                row.iter_mut().for_each(|e| *e *= factor);
            }
            head.prefetch(problem, (unit + 1) / problem.parts(), number, 0..tokens);
            v_t.transpose(&head.v, tokens, dim);
            product(to_tokens, &dy, 0, &v_t, &mut ds);
            for query in 0..tokens {
                let (p, ds) = (p.row(query), ds.row_mut(query));
                let mean = dot(p, ds);
                ds.iter_mut().zip(p).for_each(|(ds, p)| *ds = p * (*ds - mean));
            }
            bias_sum.iter_mut().zip(ds.values()).for_each(|(sum, ds)| *sum += ds);
            transposed_product(to_vectors, &p, &dy, &mut dv);
            product(to_vectors, &ds, 0, &head.k, &mut dq);
            transposed_product(to_vectors, &ds, &head.q, &mut dk);
            scale_sum += unscale(factors, &head, &mut dq, &mut dk);
            self.write(image, number, &head, [&dq, &dk, &dv]);
        }
        // SAFETY: this piece's own sum.
        unsafe { *self.scale_sums.get().add(piece) = scale_sum };
    }
}

/// From gradients of scaled queries and keys to those of the input's; returns the gradient of
/// `logit_scale`.
#[inline(always)]
fn unscale(factors: Factors, head: &HeadRows, dq: &mut Matrix, dk: &mut Matrix) -> f64 {
    match factors {
        Factors::Dot { key } => {
            dk.values_mut().iter_mut().for_each(|dk| *dk *= key);
            0.0
        }
        Factors::Cosine { query, clamped } => {
            let mut sum = 0.0;
            for row in 0..head.tokens.len() {
                // The factor is exp(s), so ∂/∂s of q·k is q·k again, and Σ_j ds·(q·k) is q·dq.
                sum += f64::from(unnormalize(
                    head.q.row(row),
                    head.q_lengths[row],
                    query,
                    dq.row_mut(row),
                ));
                unnormalize(head.k.row(row), head.k_lengths[row], 1.0, dk.row_mut(row));
            }
            if clamped { 0.0 } else { sum }
        }
    }
}

/// With u = scale · x / ‖x‖ and g the gradient of u, g becomes that of x:
/// (scale · g − u · (u·g) / scale) / ‖x‖. Returns u·g.
#[inline(always)]
fn unnormalize(u: &[f32], length: f32, scale: f32, g: &mut [f32]) -> f32 {
    let along = dot(u, g);
    let inverse = 1.0 / length;
    // A length that was raised to the least one doesn't change with x.
    let projection = if length > super::gather::SHORTEST { along / scale } else { 0.0 };
    for (g, u) in g.iter_mut().zip(u) {
        *g = (*g * scale - u * projection) * inverse;
    }
    along
}

impl PartChunks<'_> {
    /// Writes the gradients of one head of one part's queries, keys and values.
    #[inline(always)]
    fn write(&self, image: usize, number: usize, head: &HeadRows, gradients: [&Matrix; 3]) {
        let Some((dx, add)) = self.dx else { return };
        let Problem { map, dim, .. } = self.problem;
        let channels = self.problem.channels();
        for (row, token) in head.tokens.iter().enumerate() {
            let pixel = image * map.elements() + map.index(token.row, token.column, 0);
            for (which, gradient) in gradients.iter().enumerate() {
                let at = pixel + which * channels + number * dim;
                for channel in (0..dim).step_by(LANES) {
                    let tile = load(gradient.row(row), channel, LANES);
                    let lanes = LANES.min(dim - channel);
                    // SAFETY: channels of this piece's head at this piece's tokens.
                    unsafe { store_or_add(dx.get().add(at + channel), &tile, lanes, add) };
                }
            }
        }
    }
}
