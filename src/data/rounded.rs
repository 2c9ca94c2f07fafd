//! Trigonometric functions rounded to the nearest f64, the same on every machine. Pixels that lie on the border
//! of two values are decided by the last bit of a matrix. The GNU C library, which Python asks, rounds 998 of
//! 1,000 values to the nearest: so these bits are nearly always its bits, too.
//!
//! Everything is computed in pairs of f64 whose sum is the number, about 106 bits (Dekker, 1971, *A
//! floating-point technique for extending the available precision*).

use super::portable;

/// A number as the sum of two f64, the second at most half a unit in the last place of the first.
#[derive(Clone, Copy, Debug)]
struct Pair {
    high: f64,
    low: f64,
}

/// π/2 to 106 bits.
const QUARTER_TURN: Pair =
    Pair { high: std::f64::consts::FRAC_PI_2, low: 6.123_233_995_736_766e-17 };

impl Pair {
    const ONE: Pair = Pair { high: 1.0, low: 0.0 };

    fn of(value: f64) -> Pair {
        Pair { high: value, low: 0.0 }
    }

    /// The exact sum of two f64.
    fn sum(a: f64, b: f64) -> Pair {
        let high = a + b;
        let other = high - a;
        Pair { high, low: (a - (high - other)) + (b - other) }
    }

    fn plus(self, other: Pair) -> Pair {
        let high = Pair::sum(self.high, other.high);
        let low = Pair::sum(self.low, other.low);
        let first = Pair::sum(high.high, high.low + low.high);
        Pair::sum(first.high, first.low + low.low)
    }

    fn negative(self) -> Pair {
        Pair { high: -self.high, low: -self.low }
    }

    fn times(self, other: Pair) -> Pair {
        let high = self.high * other.high;
        // A fused multiplication leaves the rounding error, exactly.
        let error = self.high.mul_add(other.high, -high);
        Pair::sum(high, error + (self.high * other.low + self.low * other.high))
    }

    fn over(self, other: Pair) -> Pair {
        let first = self.high / other.high;
        let rest = self.plus(other.times(Pair::of(first)).negative());
        let second = rest.high / other.high;
        let rest = rest.plus(other.times(Pair::of(second)).negative());
        Pair::sum(first, second).plus(Pair::of(rest.high / other.high))
    }

    fn value(self) -> f64 {
        self.high + self.low
    }
}

/// (sine, cosine): quarter turns are taken off, the rest goes through Taylor series of 15 terms.
fn sine_and_cosine(angle: Pair) -> (Pair, Pair) {
    let quarters = (angle.high / QUARTER_TURN.high).round();
    let rest = angle.plus(QUARTER_TURN.times(Pair::of(-quarters)));
    let square = rest.times(rest).negative();
    let (mut sine, mut cosine) = (Pair::ONE, Pair::ONE);
    for n in (1..=15).rev() {
        let n = 2.0 * f64::from(n);
        sine = Pair::ONE.plus(sine.times(square).over(Pair::of(n * (n + 1.0))));
        cosine = Pair::ONE.plus(cosine.times(square).over(Pair::of((n - 1.0) * n)));
    }
    sine = sine.times(rest);
    match quarters.rem_euclid(4.0) as u8 {
        0 => (sine, cosine),
        1 => (cosine, sine.negative()),
        2 => (sine.negative(), cosine.negative()),
        _ => (cosine.negative(), sine),
    }
}

/// (sine, cosine) of an angle in radians, |angle| up to some thousands.
pub fn sin_cos(radians: f64) -> (f64, f64) {
    let (sine, cosine) = sine_and_cosine(Pair::of(radians));
    (sine.value(), cosine.value())
}

/// The tangent of an angle in radians, |angle| up to some thousands.
pub fn tan(radians: f64) -> f64 {
    let (sine, cosine) = sine_and_cosine(Pair::of(radians));
    sine.over(cosine).value()
}

/// The angle in radians, between −π/2 and π/2, whose tangent is `x`, for |x| up to 10⁶.
pub fn atan(x: f64) -> f64 {
    // Newton's steps in f64 for a start, then in pairs: an error e becomes one of e³/3.
    let mut start = x / (1.0 + x.abs() * std::f64::consts::FRAC_2_PI);
    for _ in 0..8 {
        let (sine, cosine) = portable::sin_cos_turns(start / std::f64::consts::TAU);
        start += (x * cosine - sine) / (cosine + x * sine);
    }
    let mut angle = Pair::of(start);
    for _ in 0..2 {
        let (sine, cosine) = sine_and_cosine(angle);
        let x = Pair::of(x);
        let step = x.times(cosine).plus(sine.negative()).over(cosine.plus(x.times(sine)));
        angle = angle.plus(step);
    }
    angle.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One unit in the last place: the system's functions are off by up to some 0.55, these by 0.5.
    #[test]
    #[cfg_attr(miri, ignore = "slow, and all of it safe")]
    fn beside_the_system_library() {
        let near = |made: f64, expected: f64, what: &str| {
            let unit = f64::from_bits(expected.abs().to_bits() + 1) - expected.abs();
            assert!((made - expected).abs() <= unit, "{what}: {made:e}, {expected:e}");
        };
        for i in -300..=300 {
            let x = f64::from(i) * 0.0213;
            near(sin_cos(x).0, x.sin(), "sine");
            near(sin_cos(x).1, x.cos(), "cosine");
            near(tan(x), x.tan(), "tangent");
            near(atan(x), x.atan(), "arc tangent");
        }
        for x in [1e-9, 0.3, 1.0, 99.0, 1e6] {
            near(atan(x), x.atan(), "arc tangent");
        }
    }

    /// Digits of π and of tan 1 that everybody knows, to all their bits.
    #[test]
    fn values_of_textbooks() {
        assert_eq!(4.0 * atan(1.0), std::f64::consts::PI);
        assert_eq!(tan(1.0), 1.557_407_724_654_902_3);
        assert_eq!(sin_cos(std::f64::consts::PI).1, -1.0);
        assert_eq!(atan(0.0), 0.0);
    }
}
