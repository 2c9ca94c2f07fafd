//! Exponentials, logarithms and the error function, for activations and softmax: fused multiply-adds,
//! additions and divisions only, with no table and no branch, so that loops over them become vectors and
//! an element's bits are the same in every instruction set, at every place of a vector, and in kernels
//! (`kernels/common/exponential.cuh`).
//!
//! "To 2·2⁻²⁴" gives the largest error relative to the result or, where that is less, to the smallest normal number.

/// 1.5 · 2²³: adding it rounds a small number to a whole one, which stands in the low bits.
const MAGIC: f32 = 12_582_912.0;

/// ln 2 in two parts; the first has few bits, so that its multiples by small whole numbers are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// (e^r − 1 − r) / r² for |r| ≤ ln 2 / 2, lowest power first: a minimax fit to 3e-9 of e^r.
const EXP: [f32; 5] = [0.499_999_94, 0.166_665_21, 0.041_668_39, 8.368_735e-3, 1.381_456e-3];

/// The nearest whole number of ln 2 in x + low, and e^r − 1 of the rest, which is at most ln 2 / 2 away
/// from 0.
#[inline(always)]
fn powers_of(x: f32, low: f32) -> (i32, f32) {
    let shifted = x.mul_add(std::f32::consts::LOG2_E, MAGIC);
    let whole = shifted - MAGIC;
    let power = (shifted.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
    let r = whole.mul_add(-LN_2[0], x);
    let r = whole.mul_add(-LN_2[1], r) + low;
    let [c2, c3, c4, c5, c6] = EXP;
    let p = c6.mul_add(r, c5).mul_add(r, c4).mul_add(r, c3).mul_add(r, c2);
    (power, (r * r).mul_add(p, r))
}

/// e^(x + low) for −106 ≤ x ≤ 89 and a correction `low`, to 1.5·2⁻²⁴; below −104 it is 0. NaN gives NaN.
#[inline(always)]
fn exp_of(x: f32, low: f32) -> f32 {
    let (power, above_1) = powers_of(x, low);
    let e = above_1 + 1.0;
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

/// `x` or, where it is less, `least`; NaN stays NaN.
#[inline(always)]
fn at_least(x: f32, least: f32) -> f32 {
    if x < least { least } else { x }
}

/// e^−x of x ≥ 0: see [`exp_of`].
#[inline(always)]
pub(crate) fn exp_minus(x: f32) -> f32 {
    exp_of(-at_most(x, 104.5), 0.0)
}

/// e^x: see [`exp_of`]; infinity where it is more than a number can be.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    exp_of(at_most(at_least(x, -104.5), 89.0), 0.0)
}

/// e^x − 1 for x ≤ 0, to 2·2⁻²⁴.
#[inline(always)]
pub(crate) fn exp_less_1(x: f32) -> f32 {
    // From −30 on it is −1, and 2^power is a normal number.
    let (power, above_1) = powers_of(at_least(x, -30.0), 0.0);
    let scale = two_to_the(power);
    let found = above_1.mul_add(scale, scale - 1.0);
    // −0 stays as it is.
    if x == 0.0 { x } else { found }
}

/// (atanh(s) / s − 1) / s² as a polynomial of s² ≤ 1/9, lowest power first: a minimax fit to 6e-10 of
/// atanh(s).
const ATANH: [f32; 5] = [0.333_333_37, 0.199_994_44, 0.143_082_98, 0.107_153_706, 0.121_447_79];

/// ln(1 + t) = 2·atanh(t / (2 + t)) for −0.3 ≤ t ≤ 1, to 2·2⁻²⁴.
#[inline(always)]
fn log_1_plus(t: f32) -> f32 {
    let s = t / (2.0 + t);
    let (square, twice) = (s * s, s + s);
    let [c0, c1, c2, c3, c4] = ATANH;
    let p = c4.mul_add(square, c3).mul_add(square, c2).mul_add(square, c1).mul_add(square, c0);
    (twice * square).mul_add(p, twice)
}

/// ln(x), to 3·2⁻²⁴; −∞ at 0, NaN below.
#[inline(always)]
pub(crate) fn log(x: f32) -> f32 {
    let is_small = x < f32::MIN_POSITIVE;
    let bits = (if is_small { x * 16_777_216.0 } else { x }).to_bits();
    // From √½ to √2, so that nothing cancels near 1.
    let power = (bits.wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits()) as i32) >> 23;
    let mantissa = f32::from_bits(bits.wrapping_sub((power << 23) as u32));
    let power = power as f32 - if is_small { 24.0 } else { 0.0 };
    let near = power.mul_add(LN_2[1], log_1_plus(mantissa - 1.0));
    let found = power.mul_add(LN_2[0], near);
    let found = if x < f32::INFINITY { found } else { x };
    let found = if x == 0.0 { f32::NEG_INFINITY } else { found };
    if x < 0.0 { f32::NAN } else { found }
}

/// ln(1 + e^x), to 5·2⁻²⁴.
#[inline(always)]
pub(crate) fn softplus(x: f32) -> f32 {
    at_least(x, 0.0) + log_1_plus(exp_minus(x.abs()))
}

/// σ(x) = 1 / (1 + e^−x), to 3·2⁻²⁴.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let e = exp_minus(x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// σ(x) and its derivative σ(x)·(1 − σ(x)), to 6·2⁻²⁴.
#[inline(always)]
pub(crate) fn sigmoid_and_slope(x: f32) -> (f32, f32) {
    let e = exp_minus(x.abs());
    let share = 1.0 / (1.0 + e);
    // Not 1 − σ, which would keep the rounding error of σ, large beside a small result.
    (if x < 0.0 { e * share } else { share }, e * share * share)
}

/// tanh(x), to 4·2⁻²⁴.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    // Up to 0.6, where 1 − e would cancel, Lambert's continued fraction x / (1 + x² / (3 + x² / (5 + …))),
    // truncated after 9, with a relative error of 1e-9.
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
/// first: a minimax fit with a relative error of 6e-9. All are positive, so that nothing cancels.
const TAIL: ([f32; 5], [f32; 5]) = (
    [0.5, 0.438_496_9, 0.183_384_95, 0.040_683_787, 4.123_830_7e-3],
    [1.674_878_7, 1.203_125, 0.469_866_16, 0.101_985_51, 0.010_336_792],
);

/// Φ(x), the normal distribution function, to 8·2⁻²⁴, and e^(−x²/2), to 2·2⁻²⁴.
#[inline(always)]
pub(crate) fn normal(x: f32) -> (f32, f32) {
    let t = at_most(x.abs(), 14.5);
    let half = 0.5 * t;
    let square = half * t;
    // The square's rounding error, which would be up to 50 ulp of the exponential, is passed on as `low`.
    let e = exp_of(-square, -half.mul_add(t, -square));
    let ([n0, n1, n2, n3, n4], [d1, d2, d3, d4, d5]) = TAIL;
    let above = n4.mul_add(t, n3).mul_add(t, n2).mul_add(t, n1).mul_add(t, n0);
    let below = d5.mul_add(t, d4).mul_add(t, d3).mul_add(t, d2).mul_add(t, d1).mul_add(t, 1.0);
    let tail = e * (above / below);
    (if x < 0.0 { tail } else { 1.0 - tail }, e)
}

/// erf(x) / x − 1 as a polynomial of x² ≤ 1, lowest power first: a minimax fit to 3e-9 of erf(x).
const ERF: [f32; 7] = [
    0.128_379_17,
    -0.376_126_26,
    0.112_835_854,
    -0.026_853_813,
    5.188_327_7e-3,
    -8.010_194e-4,
    7.853_861_5e-5,
];

/// erf(x), to 2·2⁻²⁴.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let square = x * x;
    let p = ERF[6].mul_add(square, ERF[5]).mul_add(square, ERF[4]).mul_add(square, ERF[3]);
    let p = p.mul_add(square, ERF[2]).mul_add(square, ERF[1]).mul_add(square, ERF[0]);
    let near = x.mul_add(p, x);
    // From |x| = 1 on the two tails are less than a sixth, so that 1 less them doesn't cancel.
    let (tail, _) = normal(-std::f32::consts::SQRT_2 * x.abs());
    let far = 1.0 - (tail + tail);
    let far = if x < 0.0 { -far } else { far };
    if x.abs() < 1.0 { near } else { far }
}

/// e^(−x²), to 2·2⁻²⁴.
#[inline(always)]
pub(crate) fn bell(x: f32) -> f32 {
    let t = at_most(x.abs(), 10.25);
    let square = t * t;
    exp_of(-square, -t.mul_add(t, -square))
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
    fn functions_of_networks_from_elsewhere_are_within_their_bounds() {
        // Series and fraction of erfc, as those of the normal distribution.
        let exactly = |x: f64| {
            let far = 1.0 - 2.0 * tail(x.abs() * std::f64::consts::SQRT_2);
            let (mut term, mut sum) = (x, x);
            for k in 1..60 {
                term *= -x * x / f64::from(k);
                sum += term / f64::from(2 * k + 1);
            }
            let near = sum * std::f64::consts::FRAC_2_SQRT_PI;
            if x.abs() < 1.0 { near } else { far.copysign(x) }
        };
        // As PyTorch's `torch.erf`, in f64, has them.
        assert!((exactly(0.5) / 0.520_499_877_813_046_5 - 1.0).abs() < 1e-14);
        assert!((exactly(-1.5) / -0.966_105_146_475_310_7 - 1.0).abs() < 1e-14);
        let softplus_of = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        for (name, bound, found) in [
            ("exp", 1.5, worst(-104.0, 88.72, exp, f64::exp)),
            ("exp − 1", 2.0, worst(-40.0, 0.0, exp_less_1, f64::exp_m1)),
            ("exp − 1 near 0", 2.0, worst(-1e-3, 0.0, exp_less_1, f64::exp_m1)),
            ("log", 3.0, worst(1e-3, 20.0, log, f64::ln)),
            ("log near 1", 3.0, worst(0.99, 1.01, log, f64::ln)),
            ("log of small numbers", 3.0, worst(1e-45, 1e-37, log, f64::ln)),
            ("log of large numbers", 3.0, worst(1e20, f32::MAX, log, f64::ln)),
            ("softplus", 5.0, worst(-104.0, 104.0, softplus, softplus_of)),
            ("erf", 2.0, worst(-5.0, 5.0, erf, exactly)),
            ("erf near 0", 2.0, worst(-1e-3, 1e-3, erf, exactly)),
            ("bell", 2.0, worst(-10.0, 10.0, bell, |x| (-x * x).exp())),
        ] {
            println!("{name}: {found:.2}");
            assert!(found <= bound, "{name}: {found}");
        }
    }

    #[test]
    fn the_ends_are_exact() {
        let infinity = f32::INFINITY;
        assert_eq!([0.0, 104.5, infinity].map(exp_minus), [1.0, 0.0, 0.0]);
        assert_eq!([-infinity, 0.0, infinity].map(sigmoid), [0.0, 0.5, 1.0]);
        assert_eq!([-infinity, 0.0, infinity].map(|x| normal(x).0), [0.0, 0.5, 1.0]);
        assert_eq!([-infinity, -0.0, 0.0, infinity].map(tanh), [-1.0, -0.0, 0.0, 1.0]);
        assert!([exp_minus, sigmoid, tanh, |x| normal(x).0].iter().all(|f| f(f32::NAN).is_nan()));

        assert_eq!([-infinity, -105.0, 0.0, 89.0].map(exp), [0.0, 0.0, 1.0, infinity]);
        assert_eq!([88.722, 88.73].map(|x| exp(x).is_finite()), [true, false]);
        assert_eq!([-infinity, -50.0, -0.0, 0.0].map(exp_less_1), [-1.0, -1.0, -0.0, 0.0]);
        assert_eq!([0.0, -0.0, 1.0, infinity].map(log), [-infinity, -infinity, 0.0, infinity]);
        assert_eq!([-infinity, -200.0, 200.0, infinity].map(softplus), [0.0, 0.0, 200.0, infinity]);
        assert_eq!([-infinity, -9.0, 0.0, 9.0, infinity].map(erf), [-1.0, -1.0, 0.0, 1.0, 1.0]);
        assert_eq!([-infinity, 0.0, 10.25].map(bell), [0.0, 1.0, 0.0]);
        let signs = [exp_less_1(-0.0), erf(-0.0), -log(1.0)];
        assert!(signs.iter().all(|value| value.is_sign_negative()), "{signs:?}");
        assert!([-1.0, -1e-40, -infinity, f32::NAN].iter().all(|x| log(*x).is_nan()));
        let functions = [exp, exp_less_1, softplus, erf, bell];
        assert!(functions.iter().all(|f| f(f32::NAN).is_nan()));
    }
}
