//! Forward: over a box, only its queries and heads.

use super::gather::{HeadRows, prefetch};
use super::softmax::exponentials;
use super::{Added, Problem};
use crate::Result;
use crate::cpu::gemm::SendPtr;
use crate::cpu::gemm::small::{Matrix, Size, product};
use crate::cpu::wide::{LANES, Pieces, for_each_piece, store};
use crate::ops::HostForward;
use crate::ops::attention::Attention;
use crate::tensor::{Region, Span};

/// Queries that are taken from scores to outputs together: two tiles of the product.
const BLOCK: usize = 12;
/// Parts of a piece, so that a head's biases are looked up seldom; fewer for want of parts.
const PARTS: usize = 16;
/// Pieces for each thread, at least.
const PIECES: usize = 8;

/// Heads × chunks of (image, part).
struct QueryChunks<'a> {
    problem: Problem<'a>,
    region: Region,
    heads: Span,
    /// Every part of an image that holds a token of the box.
    parts: Vec<usize>,
    chunk: usize,
    chunks: usize,
    y: SendPtr<f32>,
}

pub fn forward(attention: &Attention, ctx: &mut HostForward<'_>) -> Result<()> {
    let y = SendPtr(ctx.output().as_mut_ptr());
    let ctx = &*ctx;
    let problem = Problem::new(
        attention,
        ctx.inputs,
        |i| ctx.input(i),
        |i| ctx.param(i),
        |i| ctx.param_u32(i),
    );
    let region = ctx.region;
    let mut tokens = Vec::new();
    let mut holds = |part: &usize| {
        attention.partition.fill(problem.map, *part, &mut tokens);
        tokens.iter().any(|token| within(region, token.row, token.column))
    };
    let parts: Vec<usize> = (0..problem.parts()).filter(&mut holds).collect();
    let units = region.images.len() * parts.len();
    let heads = attention.heads_of(region.channels, problem.channels());
    let threads = if ctx.parallel { rayon::current_num_threads() } else { 1 };
    let chunk = (units * heads.len()).div_ceil(PIECES * threads).clamp(1, PARTS);
    let chunks = units.div_ceil(chunk);
    let work = QueryChunks { problem, region, heads, parts, chunk, chunks, y };
    for_each_piece(ctx.parallel, heads.len() * chunks, &work);
    Ok(())
}

fn within(region: Region, row: usize, column: usize) -> bool {
    region.rows.contains(row) && region.columns.contains(column)
}

impl Pieces for QueryChunks<'_> {
    const AVX512: bool = true;

    #[inline(always)]
    fn run(&self, piece: usize) {
        let QueryChunks { problem, region, .. } = self;
        let Problem { tokens, dim, .. } = *problem;
        let number = self.heads.start + piece / self.chunks;
        let first = piece % self.chunks * self.chunk;
        let units = region.images.len() * self.parts.len();
        let factors = problem.factors(number);
        let added = Added::new(problem, number);
        let mut head = HeadRows::new(problem);
        let mut wanted = Vec::with_capacity(tokens);
        let mut scores = Matrix::zeros(BLOCK, tokens);
        let mut outputs = Matrix::zeros(BLOCK, dim);
        let mut sums = [0f32; BLOCK];
        let place = |unit: usize| {
            (region.images.start + unit / self.parts.len(), self.parts[unit % self.parts.len()])
        };
        let end = units.min(first + self.chunk);
        for unit in first..end {
            let (image, part) = place(unit);
            let next = (unit + 1 < end).then(|| place(unit + 1));
            head.enter(problem, part, next.map(|(_, part)| part));
            wanted.clear();
            wanted.extend((0..tokens).filter(|token| {
                let token = &head.tokens[*token];
                within(*region, token.row, token.column)
            }));
            for query in &wanted {
                prefetch(self.output(image, number, &head, *query), dim);
            }
            head.gather(problem, image, number, factors, &wanted);
            for (block, queries) in wanted.chunks(BLOCK).enumerate() {
                let size = Size { rows: queries.len(), depth: dim, columns: tokens };
                product(size, &head.q, block * BLOCK, &head.k_t, &mut scores);
                if let Some((image, _)) = next {
                    head.prefetch(problem, image, number, block * BLOCK..(block + 1) * BLOCK);
                }
                // Faults in scores belong here: after the scale, before bias and mask.
                for (row, query) in queries.iter().enumerate() {
                    let bias = added.row(*query, scores.stride());
                    sums[row] = exponentials(scores.row_mut(row), bias, head.labels(*query));
                }
                // Faults in probabilities belong here: after the rows' sums are taken.
                let size = Size { rows: queries.len(), depth: tokens, columns: dim };
                product(size, &scores, 0, &head.v, &mut outputs);
                for (row, query) in queries.iter().enumerate() {
                    self.write(image, number, &head, *query, outputs.row(row), 1.0 / sums[row]);
                }
            }
        }
    }
}

impl QueryChunks<'_> {
    /// Where one token's output of a head starts.
    #[inline(always)]
    fn output(&self, image: usize, number: usize, head: &HeadRows, query: usize) -> *mut f32 {
        let Problem { map, dim, .. } = self.problem;
        let token = &head.tokens[query];
        let pixel = (image * map.height + token.row) * map.width + token.column;
        self.y.get().wrapping_add(pixel * self.problem.channels() + number * dim)
    }

    /// Writes what the box has of one token's output, times `factor`.
    #[inline(always)]
    fn write(
        &self,
        image: usize,
        number: usize,
        head: &HeadRows,
        query: usize,
        row: &[f32],
        factor: f32,
    ) {
        let dim = self.problem.dim;
        let channels = self.region.channels;
        let first = number * dim;
        let y = self.output(image, number, head, query);
        let start = channels.start.saturating_sub(first);
        let end = dim.min(channels.end - first);
        if start > 0 || end < dim {
            for (channel, value) in row.iter().enumerate().take(end).skip(start) {
                // SAFETY: a channel of this piece's head and of the box.
                unsafe { *y.add(channel) = value * factor };
            }
            return;
        }
        for (index, tile) in row.as_chunks::<LANES>().0.iter().enumerate() {
            let tile = tile.map(
                #[inline(always)]
                |value| value * factor,
            );
            let lanes = LANES.min(dim - index * LANES);
            // SAFETY: channels of this piece's head, all of them in the box.
            unsafe { store(y.add(index * LANES), &tile, lanes) };
        }
    }
}
