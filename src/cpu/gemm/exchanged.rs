//! Dot products in which one factor is replaced: what a layer gives where a bit of one of its weights is
//! flipped, for all bits at a time.
//!
//! Each is one chain of fused multiply-adds in the order of κ, with the bits of [`super::gather()`] for
//! the changed matrix. Terms before the replaced one are taken from the chain's own partial sums, so
//! that it costs half a product on average.
// Rows and vectors index several arrays at once; counted loops are what unrolls into registers.
#![allow(clippy::needless_range_loop)]

use crate::cpu::simd::{InstructionSet, Simd, compiled};
use crate::cpu::wide::wide;

/// How many replacements of a factor are computed at a time.
pub(crate) const LANES: usize = 32;

/// For every i, writes Σ_κ a\[κ\]·b\[κ\] with b\[i\] replaced by each of `factors[i]` to `sums[i]`.
pub(crate) fn exchanged(a: &[f32], b: &[f32], factors: &[[f32; LANES]], sums: &mut [[f32; LANES]]) {
    exchanged_on(InstructionSet::best(), a, b, factors, sums);
}

fn exchanged_on(
    set: InstructionSet,
    a: &[f32],
    b: &[f32],
    factors: &[[f32; LANES]],
    sums: &mut [[f32; LANES]],
) {
    assert!(a.len() == b.len() && factors.len() == a.len() && sums.len() == a.len());
    let all = compiled!(
        set,
        all::<S>(a: &[f32], b: &[f32], factors: &[[f32; LANES]], sums: &mut [[f32; LANES]])
    );
    // SAFETY: slices of one length; the machine has the instruction set, of which there is a value.
    unsafe { all(a, b, factors, sums) }
}

/// Every i, with as many vectors for [`LANES`] numbers as it takes, and as many i side by side as hide a multiply-add's
/// latency and fit the registers.
///
/// # Safety
/// The instruction set of `S` is there. `factors` and `sums` are as long as `a` and `b`.
#[inline(always)]
unsafe fn all<S: Simd>(a: &[f32], b: &[f32], factors: &[[f32; LANES]], sums: &mut [[f32; LANES]]) {
    // SAFETY: the caller's.
    unsafe {
        match S::LANES {
            16 => in_rows::<S, 2, 6>(a, b, factors, sums),
            8 => in_rows::<S, 4, 3>(a, b, factors, sums),
            _ => in_rows::<S, 8, 1>(a, b, factors, sums),
        }
    }
}

/// Every i, `R` of them side by side. `V` vectors hold [`LANES`] numbers.
///
/// # Safety
/// The instruction set of `S` is there. `factors` and `sums` are as long as `a` and `b`.
#[inline(always)]
unsafe fn in_rows<S: Simd, const V: usize, const R: usize>(
    a: &[f32],
    b: &[f32],
    factors: &[[f32; LANES]],
    sums: &mut [[f32; LANES]],
) {
    assert_eq!(V * S::LANES, LANES);
    let (mut first, mut before) = (0, 0f32);
    while first < a.len() {
        let (factors, sums) = (&factors[first..], &mut sums[first..]);
        let (a, b) = (&a[first..], &b[first..]);
        let rows = if a.len() >= R {
            // SAFETY: the caller's; there are `R` elements at least, and the vectors are asserted.
            unsafe { some::<S, V, R>(a, b, before, factors, sums) };
            R
        } else {
            // SAFETY: as above, of one element.
            unsafe { some::<S, V, 1>(a, b, before, factors, sums) };
            1
        };
        before = go_on(before, &a[..rows], &b[..rows]);
        first += rows;
    }
}

/// Σ_κ a\[κ\]·b\[κ\], the chain itself.
pub(crate) fn chain(a: &[f32], b: &[f32]) -> f32 {
    wide(|| go_on(0.0, a, b))
}

#[inline(always)]
fn go_on(start: f32, a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(start, |sum, (a, b)| a.mul_add(*b, sum))
}

/// The first `R` of what is left; `before` is the sum of the terms in front of `a`.
///
/// # Safety
/// The instruction set of `S` is there, and `V` vectors hold [`LANES`] numbers. `a`, `b`, `factors` and `sums` have `R`
/// elements at least.
#[inline(always)]
unsafe fn some<S: Simd, const V: usize, const R: usize>(
    a: &[f32],
    b: &[f32],
    before: f32,
    factors: &[[f32; LANES]],
    sums: &mut [[f32; LANES]],
) {
    // SAFETY: the caller's; vectors are loaded and stored within the arrays of `LANES` numbers.
    unsafe {
        let mut acc = [[S::zero(); V]; R];
        let mut before = before;
        for r in 0..R {
            for v in 0..V {
                let factor = S::load(factors[r].as_ptr().add(v * S::LANES));
                acc[r][v] = S::fma(S::splat(a[r]), factor, S::splat(before));
            }
            before = a[r].mul_add(b[r], before);
            for q in 0..r {
                for v in 0..V {
                    acc[q][v] = S::fma(S::splat(a[r]), S::splat(b[r]), acc[q][v]);
                }
            }
        }
        for (a, b) in a[R..].iter().zip(&b[R..]) {
            let (a, b) = (S::splat(*a), S::splat(*b));
            for r in 0..R {
                for v in 0..V {
                    acc[r][v] = S::fma(a, b, acc[r][v]);
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                S::store(sums[r].as_mut_ptr().add(v * S::LANES), acc[r][v]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_scalar_chains_of_the_changed_factors() {
        for terms in [0, 1, 2, 5, 6, 7, 19, 64] {
            let number = |i: usize| ((i * 131 + terms * 71) % 257) as f32 / 128.3 - 1.0;
            let a: Vec<f32> = (0..terms).map(number).collect();
            let b: Vec<f32> = (0..terms).map(|i| number(i + 1000)).collect();
            let flip = |b: &f32| std::array::from_fn(|bit| f32::from_bits(b.to_bits() ^ 1 << bit));
            let factors: Vec<[f32; LANES]> = b.iter().map(flip).collect();
            for set in InstructionSet::available() {
                let mut sums = vec![[0f32; LANES]; terms];
                exchanged_on(set, &a, &b, &factors, &mut sums);
                for (i, sums) in sums.iter().enumerate() {
                    for (factor, sum) in factors[i].iter().zip(sums) {
                        let mut changed = b.clone();
                        changed[i] = *factor;
                        let expected = chain(&a, &changed);
                        let same = sum.to_bits() == expected.to_bits();
                        assert!(same || sum.is_nan() && expected.is_nan(), "{set:?}: {i}");
                    }
                }
            }
        }
    }
}
