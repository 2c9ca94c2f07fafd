//! Rows of scores: exponentials and their sums.

use crate::cpu::exponential::exp_minus;
use crate::cpu::wide::{LANES, LaneValues, fold_lanes, total};
use crate::ops::attention::partition::MASK;

/// The sum of a tile's lanes.
///
/// Not inlined, since the compiler would vectorise the loops before it pair by pair, as the sum's tree is.
#[inline(never)]
fn sum_lanes(tile: &LaneValues) -> f32 {
    total(tile)
}

/// Σ a·b of two padded rows, lane by lane.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            sums[lane] = a[lane].mul_add(b[lane], sums[lane]);
        }
    }
    sum_lanes(&sums)
}

/// A row of a window in which not all tokens were neighbours: every key's label, and the query's.
pub(super) type RowLabels<'a> = Option<(&'a [u32], u32)>;

/// Adds bias and mask to a row of scores; returns the largest.
#[inline(always)]
fn add_bias_and_mask(row: &mut [f32], bias: &[f32], labels: RowLabels<'_>) -> f32 {
    let mut largest = [f32::NEG_INFINITY; LANES];
    let tiles = row.as_chunks_mut::<LANES>().0.iter_mut().zip(bias.as_chunks::<LANES>().0);
    for (index, (row, bias)) in tiles.enumerate() {
        let mut scores = *row;
        for lane in 0..LANES {
            scores[lane] += bias[lane];
        }
        if let Some((labels, own)) = labels {
            let labels = &labels.as_chunks::<LANES>().0[index];
            for lane in 0..LANES {
                scores[lane] += if labels[lane] == own { 0.0 } else { MASK };
            }
        }
        for lane in 0..LANES {
            largest[lane] = larger(scores[lane], largest[lane]);
        }
        *row = scores;
    }
    largest_lane(&largest)
}

/// The largest of a tile's lanes. Not inlined, as [`sum_lanes`].
#[inline(never)]
fn largest_lane(tile: &LaneValues) -> f32 {
    fold_lanes(tile, |a, b| larger(b, a))
}

/// The larger of two; a NaN is no maximum (but makes the sum of its row NaN).
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Turns a row of scores into exp(s − max) and returns their sum. The padding of `bias` is −∞, so
/// that of the row becomes 0.
#[inline(always)]
pub(super) fn exponentials(row: &mut [f32], bias: &[f32], labels: RowLabels<'_>) -> f32 {
    let largest = add_bias_and_mask(row, bias, labels);
    let mut sums = [0.0; LANES];
    for row in row.as_chunks_mut::<LANES>().0 {
        let mut shifted = *row;
        shifted.iter_mut().for_each(|score| *score = exp_minus(largest - *score));
        *row = shifted;
        for lane in 0..LANES {
            sums[lane] += row[lane];
        }
    }
    sum_lanes(&sums)
}
