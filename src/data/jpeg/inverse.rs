//! The inverse DCT of dequantised blocks, with the rounding of libjpeg's "islow".

use super::scan::Coefficients;
use crate::cpu::simd::InstructionSet;
use std::num::Wrapping;
use std::ops::{Add, Mul, Neg, Sub};

/// A function that dequantises and transforms a block to 8 rows of 8 samples, a stride apart; see [`for_set`].
pub(super) type Inverse = fn(&Coefficients, &[u16; 64], &mut [u8], usize);

/// The function for a set of instructions; all give the same samples.
pub(super) fn for_set(set: InstructionSet) -> Inverse {
    match set {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2(found) | InstructionSet::Avx512(found) => x86::inverse(found),
        _ => samples,
    }
}

/// A number of a block's row or column, or eight of them side by side.
trait Lane:
    Copy + Add<Output = Self> + Sub<Output = Self> + Neg<Output = Self> + Mul<DctFactor, Output = Self>
{
    /// Times 2^13.
    fn shifted(self) -> Self;
}

/// A factor in 13 fractional bits.
type DctFactor = Wrapping<i32>;

impl Lane for Wrapping<i32> {
    #[inline(always)]
    fn shifted(self) -> Self {
        self << 13
    }
}

const fn fixed(value: f64) -> DctFactor {
    Wrapping((value * 8192.0 + 0.5) as i32)
}

/// Eight values of a one-dimensional inverse DCT, times √8·2^13, not rounded yet: the algorithm of
/// Loeffler, Ligtenberg and Moschytz (1989) with twelve multiplications. Hostile coefficients may
/// overflow, and then give some other picture.
#[inline(always)]
fn inverse_dct<L: Lane>(x: [L; 8]) -> [L; 8] {
    let z = (x[2] + x[6]) * const { fixed(0.541_196_100) };
    let even2 = z - x[6] * const { fixed(1.847_759_065) };
    let even3 = z + x[2] * const { fixed(0.765_366_865) };
    let even0 = (x[0] + x[4]).shifted();
    let even1 = (x[0] - x[4]).shifted();
    let sums = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];

    let (z1, z2, z3, z4) = (x[7] + x[1], x[5] + x[3], x[7] + x[3], x[5] + x[1]);
    let z5 = (z3 + z4) * const { fixed(1.175_875_602) };
    let z1 = -z1 * const { fixed(0.899_976_223) };
    let z2 = -z2 * const { fixed(2.562_915_447) };
    let z3 = -z3 * const { fixed(1.961_570_560) } + z5;
    let z4 = -z4 * const { fixed(0.390_180_644) } + z5;
    let odd = [
        x[1] * const { fixed(1.501_321_110) } + z1 + z4,
        x[3] * const { fixed(3.072_711_026) } + z2 + z3,
        x[5] * const { fixed(2.053_119_869) } + z2 + z4,
        x[7] * const { fixed(0.298_631_336) } + z1 + z3,
    ];
    let [s0, s1, s2, s3] = sums;
    let [o0, o1, o2, o3] = odd;
    [s0 + o0, s1 + o1, s2 + o2, s3 + o3, s3 - o3, s2 - o2, s1 - o1, s0 - o0]
}

fn samples(block: &Coefficients, quantisation: &[u16; 64], out: &mut [u8], stride: usize) {
    let value = |k: usize| Wrapping(i32::from(block[k]) * i32::from(quantisation[k]));
    // Two fractional bits are kept between the passes.
    let mut between = [Wrapping(0); 64];
    for column in 0..8 {
        let transformed = inverse_dct(std::array::from_fn(|row| value(row * 8 + column)));
        for (row, sum) in transformed.into_iter().enumerate() {
            between[row * 8 + column] = (sum + Wrapping(1 << 10)) >> 11;
        }
    }
    for (row, values) in out.chunks_mut(stride).zip(between.chunks_exact(8)) {
        let transformed = inverse_dct(std::array::from_fn(|column| values[column]));
        for (sample, sum) in row.iter_mut().zip(transformed) {
            *sample = to_sample(sum, 18);
        }
    }
}

/// The samples of a block of which only the first coefficient isn't 0; the same as in the long way.
pub(super) fn flat(first: i16, quantisation: &[u16; 64], out: &mut [u8], stride: usize) {
    let level = to_sample(Wrapping(i32::from(first) * i32::from(quantisation[0])), 3);
    for row in out.chunks_mut(stride).take(8) {
        row[..8].fill(level);
    }
}

/// A value with `bits` fractional bits, around 0, rounded to a sample around 128.
fn to_sample(value: Wrapping<i32>, bits: usize) -> u8 {
    let rounded = (value + Wrapping(1 << (bits - 1))) >> bits;
    (rounded + Wrapping(128)).0.clamp(0, 255) as u8
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Coefficients, DctFactor, Inverse, Lane, inverse_dct};
    use crate::cpu::simd::Detected;
    use std::arch::x86_64::*;
    use std::ops::{Add, Mul, Neg, Sub};

    /// Eight numbers, which wrap. They are made by functions compiled for AVX2 alone.
    #[derive(Clone, Copy)]
    struct Eight(__m256i);

    impl Add for Eight {
        type Output = Eight;
        #[inline(always)]
        fn add(self, other: Eight) -> Eight {
            // SAFETY: who has an `Eight` has AVX2.
            Eight(unsafe { _mm256_add_epi32(self.0, other.0) })
        }
    }

    impl Sub for Eight {
        type Output = Eight;
        #[inline(always)]
        fn sub(self, other: Eight) -> Eight {
            // SAFETY: as above.
            Eight(unsafe { _mm256_sub_epi32(self.0, other.0) })
        }
    }

    impl Neg for Eight {
        type Output = Eight;
        #[inline(always)]
        fn neg(self) -> Eight {
            // SAFETY: as above.
            Eight(unsafe { _mm256_sub_epi32(_mm256_setzero_si256(), self.0) })
        }
    }

    impl Mul<DctFactor> for Eight {
        type Output = Eight;
        #[inline(always)]
        fn mul(self, factor: DctFactor) -> Eight {
            // SAFETY: as above.
            Eight(unsafe { _mm256_mullo_epi32(self.0, _mm256_set1_epi32(factor.0)) })
        }
    }

    impl Lane for Eight {
        #[inline(always)]
        fn shifted(self) -> Eight {
            // SAFETY: as above.
            Eight(unsafe { _mm256_slli_epi32::<13>(self.0) })
        }
    }

    /// The function for AVX2, which was found.
    pub(super) fn inverse(_: Detected) -> Inverse {
        |block, quantisation, out, stride| {
            assert!((8..out.len()).contains(&stride) && 7 * stride + 8 <= out.len());
            // SAFETY: AVX2 is there, since it was found; the rows lie in `out`.
            unsafe { transform(block, quantisation, out.as_mut_ptr(), stride) }
        }
    }

    /// Writes 8 rows of 8 samples, `stride` apart.
    ///
    /// # Safety
    /// AVX2 is there; the rows are writable at `out`.
    #[target_feature(enable = "avx2")]
    unsafe fn transform(
        block: &Coefficients,
        quantisation: &[u16; 64],
        out: *mut u8,
        stride: usize,
    ) {
        // SAFETY: the caller's; loads are of eight values of 64.
        unsafe {
            let row = |i: usize| {
                let values = _mm_loadu_si128(block.as_ptr().add(8 * i).cast());
                let steps = _mm_loadu_si128(quantisation.as_ptr().add(8 * i).cast());
                let (values, steps) = (_mm256_cvtepi16_epi32(values), _mm256_cvtepu16_epi32(steps));
                Eight(_mm256_mullo_epi32(values, steps))
            };
            let rows = [row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)];
            let columns = transposed(rounded::<11>(inverse_dct(rows)));
            let x = rounded::<18>(inverse_dct(columns));
            store(x, out, stride);
        }
    }

    /// Less `BITS` fractional bits.
    #[target_feature(enable = "avx2")]
    fn rounded<const BITS: i32>(x: [Eight; 8]) -> [__m256i; 8] {
        let half = _mm256_set1_epi32(1 << (BITS - 1));
        x.map(|x| _mm256_srai_epi32::<BITS>(_mm256_add_epi32(x.0, half)))
    }

    #[target_feature(enable = "avx2")]
    fn transposed(x: [__m256i; 8]) -> [Eight; 8] {
        let pair = |a, b| (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let ((a0, a1), (b0, b1)) = (pair(x[0], x[1]), pair(x[2], x[3]));
        let ((c0, c1), (d0, d1)) = (pair(x[4], x[5]), pair(x[6], x[7]));
        let four = |a, b| (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
        let ((e0, e1), (e2, e3)) = (four(a0, b0), four(a1, b1));
        let ((f0, f1), (f2, f3)) = (four(c0, d0), four(c1, d1));
        let low = |e, f| Eight(_mm256_permute2x128_si256::<0x20>(e, f));
        let high = |e, f| Eight(_mm256_permute2x128_si256::<0x31>(e, f));
        [
            low(e0, f0),
            low(e1, f1),
            low(e2, f2),
            low(e3, f3),
            high(e0, f0),
            high(e1, f1),
            high(e2, f2),
            high(e3, f3),
        ]
    }

    /// Columns of values around 0 as rows of samples around 128.
    ///
    /// # Safety
    /// As [`transform`].
    #[target_feature(enable = "avx2")]
    unsafe fn store(x: [__m256i; 8], out: *mut u8, stride: usize) {
        let middle = _mm256_set1_epi16(128);
        let pair = |a, b| _mm256_adds_epi16(_mm256_packs_epi32(a, b), middle);
        let left = _mm256_packus_epi16(pair(x[0], x[1]), pair(x[2], x[3]));
        let right = _mm256_packus_epi16(pair(x[4], x[5]), pair(x[6], x[7]));
        // Four rows of four columns in each half.
        let by_rows = _mm256_setr_epi8(
            0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6,
            10, 14, 3, 7, 11, 15,
        );
        let (left, right) =
            (_mm256_shuffle_epi8(left, by_rows), _mm256_shuffle_epi8(right, by_rows));
        let (first, second) =
            (_mm256_unpacklo_epi32(left, right), _mm256_unpackhi_epi32(left, right));
        for (i, half) in [first, second].into_iter().enumerate() {
            let rows = [_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half)];
            for (j, two) in rows.into_iter().enumerate() {
                let row = 4 * j + 2 * i;
                // SAFETY: eight bytes of a row, which the caller gives.
                unsafe {
                    _mm_storel_epi64(out.add(row * stride).cast(), two);
                    _mm_storel_epi64(out.add((row + 1) * stride).cast(), _mm_srli_si128::<8>(two));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Draw, stream};

    /// Blocks as pictures have them, and hostile ones that overflow.
    #[test]
    fn all_instruction_sets_give_the_same_samples() {
        let source = stream(3, "blocks");
        for i in 0..2000 {
            let mut draws = source.block(i);
            let mut number = |bound: f64| draws.between(-bound, bound) as i16;
            let bound = [3.0, 40.0, 700.0, 32767.0][i as usize % 4];
            let block = std::array::from_fn(|_| number(bound));
            let largest = [2.0, 255.0, 32767.0][i as usize % 3];
            let quantisation = std::array::from_fn(|_| number(largest).unsigned_abs());
            let mut expected = [0; 7 * 11 + 8];
            samples(&block, &quantisation, &mut expected, 11);
            for set in InstructionSet::available() {
                let mut made = [0; 7 * 11 + 8];
                for_set(set)(&block, &quantisation, &mut made, 11);
                assert_eq!(made, expected, "{}, block {i}", set.name());
            }
            let mut first = [0; 64];
            first[0] = block[0];
            if i % 4 < 2 && i % 3 < 2 {
                let (mut long, mut short) = ([0; 64], [0; 64]);
                samples(&first, &quantisation, &mut long, 8);
                flat(first[0], &quantisation, &mut short, 8);
                assert_eq!(long, short);
            }
        }
    }
}
