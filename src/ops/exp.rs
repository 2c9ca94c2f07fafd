//! The exponential function as fused multiply-adds alone: the same bits in every lane, on every
//! instruction set.

use super::wide::{LANES, Tile};

/// Below this e^x is 0: 0.7 % above 2⁻¹²⁶, so that no result is subnormal.
const LOWEST: f32 = -87.33;
/// Above this e^x is infinite.
const HIGHEST: f32 = 88.722_83;
/// 1.5 · 2²³: added to a small number it leaves the nearest whole number in the low bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has few enough bits that whole multiples of it are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// e^x, within an ulp and a half; 0 below −87.33, where the result would be subnormal.
///
/// x = n · ln 2 + r with |r| ≤ ln 2 / 2, and e^r is its Taylor polynomial of degree 7, whose next
/// term is below 6e-9.
#[inline(always)]
pub(crate) fn exp_of(x: f32) -> f32 {
    // Written so that NaN stays.
    let bounded = if x < LOWEST { LOWEST } else { x };
    let bounded = if bounded > HIGHEST { HIGHEST } else { bounded };
    let shifted = bounded.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2[0], bounded);
    let r = n.mul_add(-LN_2[1], r);
    let mut p = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = r.mul_add(p, coefficient);
    }
    // n added to the exponent; it stands in the low bits of `shifted`.
    let y = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    let y = if x < LOWEST { 0.0 } else { y };
    let y = if x > HIGHEST { f32::INFINITY } else { y };
    if x.is_nan() { x } else { y }
}

/// [`exp_of`] of each lane.
#[inline(always)]
pub(crate) fn exp(x: &Tile) -> Tile {
    let mut y = [0.0; LANES];
    for lane in 0..LANES {
        y[lane] = exp_of(x[lane]);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::wide::wide;

    /// Every 1009th float of the range, and all near its ends.
    #[test]
    fn is_within_an_ulp_and_a_half() {
        let mut worst = 0f64;
        let mut check = |bits: u32| {
            let x = f32::from_bits(bits);
            if !(LOWEST..=HIGHEST).contains(&x) {
                return;
            }
            let exact = f64::from(x).exp();
            let ulp = f64::from(f32::from_bits((exact as f32).to_bits() + 1)) - exact as f32 as f64;
            worst = worst.max((f64::from(exp_of(x)) - exact).abs() / ulp);
        };
        (0..u32::MAX).step_by(1009).for_each(&mut check);
        for end in [LOWEST, HIGHEST] {
            let bits = end.to_bits();
            (bits - 2000..=bits).for_each(&mut check);
        }
        assert!(worst < 1.5, "{worst} ulp");
    }

    #[test]
    fn ends_and_oddities() {
        assert_eq!(exp_of(0.0), 1.0);
        assert_eq!(exp_of(-0.0), 1.0);
        assert_eq!(exp_of(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_of(-87.34), 0.0);
        assert!(exp_of(LOWEST).is_normal());
        assert!(exp_of(88.72).is_finite());
        assert_eq!(exp_of(88.73), f32::INFINITY);
        assert_eq!(exp_of(f32::INFINITY), f32::INFINITY);
        assert!(exp_of(f32::NAN).is_nan());
    }

    #[test]
    fn vectors_have_the_bits_of_scalars() {
        for start in 0..200 {
            let x: Tile = std::array::from_fn(|i| (start * LANES + i) as f32 * 0.061_3 - 95.0);
            let tile = wide(
                #[inline(always)]
                || exp(&x),
            );
            assert_eq!(tile.map(f32::to_bits), x.map(|x| exp_of(x).to_bits()));
        }
    }
}
