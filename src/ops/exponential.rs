//! Exponentials for activations and softmax: fused multiply-adds and additions only, with no table and
//! no branch, so that loops over them become vectors and an element's bits are the same in every
//! instruction set, at every place of a vector, and in kernels (`kernels/common/exponential.cuh`).

/// 1.5 · 2²³: adding it rounds a small number to a whole one, which stands in the low bits.
const MAGIC: f32 = 12_582_912.0;

/// ln 2 in two parts; the first has few bits, so that its multiples by small whole numbers are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// (e^r − 1 − r) / r² for |r| ≤ ln 2 / 2, lowest power first: a minimax fit to 3e-9 of e^r.
const EXP: [f32; 5] = [0.499_999_94, 0.166_665_21, 0.041_668_39, 8.368_735e-3, 1.381_456e-3];

/// e^(x + low) of −106 ≤ x ≤ 0 and a correction `low`, within 1.5·2⁻²⁴ of itself (of the smallest
/// normal number where it is less); below −104 it is 0. NaN gives NaN.
#[inline(always)]
fn exp_of(x: f32, low: f32) -> f32 {
    let shifted = x.mul_add(std::f32::consts::LOG2_E, MAGIC);
    let whole = shifted - MAGIC;
    let power = (shifted.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
    let r = whole.mul_add(-LN_2[0], x);
    let r = whole.mul_add(-LN_2[1], r) + low;
    let [c2, c3, c4, c5, c6] = EXP;
    let p = c6.mul_add(r, c5).mul_add(r, c4).mul_add(r, c3).mul_add(r, c2);
    let e = (r * r).mul_add(p, r) + 1.0;
    // In two steps, since 2^power may be less than a normal number.
    let half = power >> 1;
    e * two_to_the(half) * two_to_the(power.wrapping_sub(half))
}

#[inline(always)]
fn two_to_the(power: i32) -> f32 {
    f32::from_bits((power.wrapping_add(127) << 23) as u32)
}

/// `x` or, where it is more, `most`; NaN stays NaN.
#[inline(always)]
fn at_most(x: f32, most: f32) -> f32 {
    if x > most { most } else { x }
}

/// e^−x of x ≥ 0: see [`exp_of`].
#[inline(always)]
pub(crate) fn exp_minus(x: f32) -> f32 {
    exp_of(-at_most(x, 104.5), 0.0)
}

/// σ(x) = 1 / (1 + e^−x), within 3·2⁻²⁴ of itself.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let e = exp_minus(x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// σ(x) and its derivative σ(x)·(1 − σ(x)), within 6·2⁻²⁴ of themselves.
#[inline(always)]
pub(crate) fn sigmoid_and_slope(x: f32) -> (f32, f32) {
    let e = exp_minus(x.abs());
    let share = 1.0 / (1.0 + e);
    // 1 − σ would have lost what σ was rounded by.
    (if x < 0.0 { e * share } else { share }, e * share * share)
}

/// tanh(x), within 4·2⁻²⁴ of itself.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    // Lambert's continued fraction x / (1 + x² / (3 + x² / (5 + …))), cut off behind 9: good to 1e-9
    // of itself up to 0.6, where the exponential's difference to 1 would have lost bits.
    let square = x * x;
    let above = square.mul_add(square + 105.0, 945.0);
    let below = square.mul_add(square.mul_add(15.0, 420.0), 945.0);
    let near = x * (above / below);
    let e = exp_minus(2.0 * x.abs());
    let far = (1.0 - e) / (1.0 + e);
    let far = if x < 0.0 { -far } else { far };
    if x.abs() < 0.6 { near } else { far }
}

/// Numerator and denominator of Q(t)·e^(t²/2) for 0 ≤ t ≤ 14.6, Q(t) = P(normal > t), lowest power
/// first: a minimax fit to 6e-9 of itself. All are positive, so that nothing cancels.
const TAIL: ([f32; 5], [f32; 5]) = (
    [0.5, 0.438_496_9, 0.183_384_95, 0.040_683_787, 4.123_830_7e-3],
    [1.674_878_7, 1.203_125, 0.469_866_16, 0.101_985_51, 0.010_336_792],
);

/// Φ(x), the normal distribution function, within 8·2⁻²⁴ of itself (of the smallest normal number
/// where it is less), and e^(−x²/2), within 2·2⁻²⁴.
#[inline(always)]
pub(crate) fn normal(x: f32) -> (f32, f32) {
    let t = at_most(x.abs(), 14.5);
    let half = 0.5 * t;
    let square = half * t;
    // What the square lost to rounding would be up to 50 ulp of its exponential.
    let e = exp_of(-square, -half.mul_add(t, -square));
    let ([n0, n1, n2, n3, n4], [d1, d2, d3, d4, d5]) = TAIL;
    let above = n4.mul_add(t, n3).mul_add(t, n2).mul_add(t, n1).mul_add(t, n0);
    let below = d5.mul_add(t, d4).mul_add(t, d3).mul_add(t, d2).mul_add(t, d1).mul_add(t, 1.0);
    let tail = e * (above / below);
    (if x < 0.0 { tail } else { 1.0 - tail }, e)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest |found − expected| over numbers from `low` to `high`, in 2⁻²⁴ of |expected|.
    fn worst(low: f32, high: f32, f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        const COUNT: usize = 400_000;
        (0..=COUNT)
            .map(|i| (f64::from(low) + f64::from(high - low) * i as f64 / COUNT as f64) as f32)
            .map(|x| {
                let expected = exact(f64::from(x));
                let unit = expected.abs().max(f64::from(f32::MIN_POSITIVE)) / f64::from(1u32 << 24);
                (f64::from(f(x)) - expected).abs() / unit
            })
            .fold(0.0, f64::max)
    }

    /// Q(t) by the continued fraction of Mills' ratio from 3 on, by Φ's series about 0 below.
    fn tail(t: f64) -> f64 {
        let density = (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        if t > 3.0 {
            return density / (1..=120).rev().fold(t, |f, k| t + f64::from(k) / f);
        }
        let (mut term, mut sum) = (t, t);
        for k in 1..100 {
            term *= t * t / f64::from(2 * k + 1);
            sum += term;
        }
        0.5 - density * sum
    }

    #[test]
    fn functions_are_within_their_bounds() {
        // As PyTorch's `torch.special.ndtr`, in f64, has them.
        assert!((tail(1.0) / 0.158_655_253_931_457_05 - 1.0).abs() < 1e-14);
        assert!((tail(5.0) / 2.866_515_718_791_939e-7 - 1.0).abs() < 1e-12);
        let found = worst(0.0, 104.0, exp_minus, |x| (-x).exp());
        assert!(found <= 1.5, "exp: {found}");
        let found = worst(-104.0, 104.0, sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
        assert!(found <= 3.0, "sigmoid: {found}");
        let exact = |x: f64| 1.0 / (1.0 + (-x).exp());
        let found = worst(-80.0, 80.0, |x| sigmoid_and_slope(x).0, exact);
        assert!(found <= 6.0, "sigmoid for gradients: {found}");
        let found = worst(-80.0, 80.0, |x| sigmoid_and_slope(x).1, |x| exact(x) * exact(-x));
        assert!(found <= 6.0, "slope of sigmoid: {found}");
        let found = worst(-20.0, 20.0, tanh, f64::tanh);
        assert!(found <= 4.0, "tanh: {found}");
        let phi = |x: f64| if x < 0.0 { tail(-x) } else { 1.0 - tail(x) };
        let found = worst(-14.5, 14.5, |x| normal(x).0, phi);
        assert!(found <= 8.0, "normal: {found}");
        let found = worst(-14.0, 14.0, |x| normal(x).1, |x| (-x * x / 2.0).exp());
        assert!(found <= 2.0, "density: {found}");
    }

    #[test]
    fn the_ends_are_exact() {
        let infinity = f32::INFINITY;
        assert_eq!([0.0, 104.5, infinity].map(exp_minus), [1.0, 0.0, 0.0]);
        assert_eq!([-infinity, 0.0, infinity].map(sigmoid), [0.0, 0.5, 1.0]);
        assert_eq!([-infinity, 0.0, infinity].map(|x| normal(x).0), [0.0, 0.5, 1.0]);
        assert_eq!([-infinity, -0.0, 0.0, infinity].map(tanh), [-1.0, -0.0, 0.0, 1.0]);
        assert!([exp_minus, sigmoid, tanh, |x| normal(x).0].iter().all(|f| f(f32::NAN).is_nan()));
    }
}
