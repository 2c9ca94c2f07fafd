//! Functions of one number on the CPU.

use super::Unary;
use crate::Result;
use crate::cpu::exponential::{bell, erf, exp, exp_less_1, exp_minus, log, sigmoid, softplus};
use crate::ops::curve::{self, between, curve};
use crate::ops::{HostBackward, HostForward};

curve!(LeakyRelu { slope }, |x| if x > 0.0 { x } else { x * slope }, |x, dy| if x > 0.0 {
    dy
} else {
    dy * slope
});

curve!(Clip { low, high }, |x| between(x, low, high), |x, dy| if x >= low && x <= high {
    dy
} else {
    0.0
});

// ELU, of which `gamma` is 1, and SELU.
curve!(
    Elu { alpha, gamma },
    |x| {
        let below = gamma * alpha * exp_less_1(if x > 0.0 { 0.0 } else { x });
        if x > 0.0 { gamma * x } else { below }
    },
    |x, dy| {
        let below = gamma * alpha * exp_minus(-(if x > 0.0 { 0.0 } else { x }));
        dy * if x <= 0.0 { below } else { gamma }
    }
);

// A line between 0 and 1.
curve!(UnitRamp { slope, shift }, |x| between(slope.mul_add(x, shift), 0.0, 1.0), |x, dy| {
    let y = slope.mul_add(x, shift);
    if y > 0.0 && y < 1.0 { dy * slope } else { 0.0 }
});

curve!(Softplus, |x| softplus(x), |x, dy| dy * sigmoid(x));

curve!(Softsign, |x| x / (1.0 + x.abs()), |x, dy| {
    let share = 1.0 / (1.0 + x.abs());
    dy * (share * share)
});

impl Mish {
    /// e = e^−|x|, and numerator and denominator of tanh(ln(1 + e^x)) = ((1 + e^x)² − 1) / ((1 + e^x)² + 1),
    /// multiplied out, and divided by e^2x where it is more than 1.
    #[inline(always)]
    fn parts(x: f32) -> (f32, f32, f32) {
        let e = exp_minus(x.abs());
        let twice = e + e;
        let below_0 = (e * (e + 2.0), e.mul_add(e + 2.0, 2.0));
        let above_0 = (twice + 1.0, twice.mul_add(e, twice + 1.0));
        let (above, below) = if x < 0.0 { below_0 } else { above_0 };
        (e, above, below)
    }
}

// The gradient isn't by tanh' = 1 − tanh², which would keep the rounding error of tanh, large beside a small result.
curve!(
    Mish,
    |x| {
        let (_, above, below) = Self::parts(x);
        x * (above / below)
    },
    |x, dy| {
        let (e, above, below) = Self::parts(x);
        let power = if x < 0.0 { e } else { e * e };
        let slope = 4.0 * power * (1.0 + e) / (below * below);
        dy * x.mul_add(slope, above / below)
    }
);

curve!(Erf, |x| erf(x), |x, dy| dy * (std::f32::consts::FRAC_2_SQRT_PI * bell(x)));
curve!(Sqrt, |x| x.sqrt(), |y, dy| dy / (y + y));
curve!(Exp, |x| exp(x), |y, dy| dy * y);
curve!(Log, |x| log(x), |x, dy| dy / x);
curve!(Reciprocal, |x| 1.0 / x, |y, dy| -dy * (y * y));

// Not `signum`, which is 1 at 0.
curve!(Abs, |x| x.abs(), |x, dy| {
    let below = if x < 0.0 { -1.0 } else { 0.0 };
    dy * if x > 0.0 { 1.0 } else { below }
});

/// `$body` with `$curve` standing for the function's curve.
macro_rules! with_curve {
    ($unary:expr, $curve:ident => $body:expr) => {
        match $unary {
            Unary::LeakyRelu { slope } => with_curve!(@ LeakyRelu { slope }, $curve => $body),
            Unary::Clip { low, high } => with_curve!(@ Clip { low, high }, $curve => $body),
            Unary::Elu { alpha } => with_curve!(@ Elu { alpha, gamma: 1.0 }, $curve => $body),
            Unary::Selu { alpha, gamma } => with_curve!(@ Elu { alpha, gamma }, $curve => $body),
            Unary::HardSigmoid { slope, shift } => {
                with_curve!(@ UnitRamp { slope, shift }, $curve => $body)
            }
            Unary::Softplus => with_curve!(@ Softplus {}, $curve => $body),
            Unary::Softsign => with_curve!(@ Softsign {}, $curve => $body),
            Unary::Mish => with_curve!(@ Mish {}, $curve => $body),
            Unary::Erf => with_curve!(@ Erf {}, $curve => $body),
            Unary::Sqrt => with_curve!(@ Sqrt {}, $curve => $body),
            Unary::Exp => with_curve!(@ Exp {}, $curve => $body),
            Unary::Log => with_curve!(@ Log {}, $curve => $body),
            Unary::Reciprocal => with_curve!(@ Reciprocal {}, $curve => $body),
            Unary::Abs => with_curve!(@ Abs {}, $curve => $body),
        }
    };
    (@ $value:expr, $curve:ident => $body:expr) => {{
        let $curve = $value;
        $body
    }};
}

pub fn forward(unary: Unary, ctx: &mut HostForward<'_>) -> Result<()> {
    with_curve!(unary, curve => curve::forward(ctx, curve));
    Ok(())
}

pub fn backward(unary: Unary, ctx: &mut HostBackward<'_>) -> Result<()> {
    with_curve!(unary, curve => curve::backward(ctx, unary.keeps_output(), curve));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::curve::Curve;

    /// Numbers from −20 to 20, dense about 0; those of which there is a finite value.
    fn numbers(unary: Unary) -> Vec<f32> {
        let all = (0..40_001).map(|i| (i as f32 - 20_000.0) / 1000.0).map(|x| x * x.abs() / 20.0);
        match unary {
            Unary::Sqrt | Unary::Log => all.filter(|x| *x > 0.0).collect(),
            Unary::Reciprocal => all.filter(|x| *x != 0.0).collect(),
            _ => all.collect(),
        }
    }

    /// A value's bits follow from the value: they are the same alone, in a tail and in a vector.
    #[test]
    fn bits_do_not_depend_on_the_place_in_a_vector() {
        for unary in Unary::EXAMPLES {
            let x = numbers(unary);
            let apply = |x: &[f32]| {
                let mut x = x.to_vec();
                with_curve!(unary, curve => curve::in_place(&mut x, curve));
                x.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
            };
            let whole = apply(&x);
            for (x, bits) in x.iter().zip(&whole) {
                assert_eq!(apply(&[*x]), [*bits], "{unary:?} of {x}");
                let scalar = with_curve!(unary, curve => curve.value(std::hint::black_box(*x)));
                assert_eq!(scalar.to_bits(), *bits, "{unary:?} of {x}");
            }
            for length in 1..40 {
                let part = apply(&x[7..7 + length]);
                assert_eq!(part, whole[7..7 + length], "{unary:?}, {length}");
            }
        }
    }

    fn erf_of(x: f64) -> f64 {
        // 2/√π · ∫ e^(−t²) by Simpson's rule.
        let (n, h) = (1000, x / 1000.0);
        let weight = |i: usize| if i == 0 || i == n { 1.0 } else { (2 + 2 * (i % 2)) as f64 };
        let sum: f64 = (0..=n).map(|i| weight(i) * (-(h * i as f64).powi(2)).exp()).sum();
        sum * h / 3.0 * std::f64::consts::FRAC_2_SQRT_PI
    }

    /// Value and derivative in f64.
    fn exact(unary: Unary, x: f64) -> (f64, f64) {
        let [sigmoid, soft] = [1.0 / (1.0 + (-x).exp()), x.max(0.0) + (-x.abs()).exp().ln_1p()];
        let elu = |alpha: f32, gamma: f32| {
            let [alpha, gamma] = [alpha, gamma].map(f64::from);
            let below = (gamma * alpha * x.exp_m1(), gamma * alpha * x.exp());
            if x > 0.0 { (gamma * x, gamma) } else { below }
        };
        match unary {
            Unary::LeakyRelu { slope } if x > 0.0 => (x, f64::from(slope).max(1.0)),
            Unary::LeakyRelu { slope } => (x * f64::from(slope), f64::from(slope)),
            Unary::Clip { low, high } => {
                let y = x.clamp(low.into(), high.into());
                (y, f64::from(u8::from(y == x)))
            }
            Unary::Elu { alpha } => elu(alpha, 1.0),
            Unary::Selu { alpha, gamma } => elu(alpha, gamma),
            Unary::HardSigmoid { slope, shift } => {
                let line = f64::from(slope) * x + f64::from(shift);
                let y = line.clamp(0.0, 1.0);
                (y, if y > 0.0 && y < 1.0 { slope.into() } else { 0.0 })
            }
            Unary::Softplus => (soft, sigmoid),
            Unary::Softsign => (x / (1.0 + x.abs()), (1.0 + x.abs()).powi(-2)),
            Unary::Mish => {
                let t = soft.tanh();
                (x * t, t + x * sigmoid / soft.cosh().powi(2))
            }
            Unary::Erf => (erf_of(x), std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp()),
            Unary::Sqrt => (x.sqrt(), 0.5 / x.sqrt()),
            Unary::Exp => (x.exp(), x.exp()),
            Unary::Log => (x.ln(), 1.0 / x),
            Unary::Reciprocal => (1.0 / x, -1.0 / (x * x)),
            Unary::Abs => (x.abs(), if x == 0.0 { 0.0 } else { x.signum() }),
        }
    }

    /// In units of 2⁻²⁴ of themselves (of the smallest normal number where they are less); Mish's
    /// derivative, which passes 0, of 1.
    #[test]
    fn functions_and_derivatives_are_those_of_f64() {
        for unary in Unary::EXAMPLES {
            let error = |found: f32, exactly: f64, unit: f64| {
                let unit = unit.max(f32::MIN_POSITIVE.into()) / f64::from(1u32 << 24);
                (f64::from(found) - exactly).abs() / unit
            };
            let (mut worst, mut worst_slope) = (0f64, 0f64);
            for x in numbers(unary) {
                let found = with_curve!(unary, curve => curve.value(x));
                let kept = if unary.keeps_output() { found } else { x };
                let slope = with_curve!(unary, curve => curve.gradient(kept, 1.0));
                let (y, exactly) = exact(unary, x.into());
                let unit = if unary == Unary::Mish { 1.0 } else { exactly.abs() };
                worst = worst.max(error(found, y, y.abs()));
                worst_slope = worst_slope.max(error(slope, exactly, unit));
            }
            println!("{unary:?}: {worst:.2}, slope {worst_slope:.2}");
            assert!(worst <= 5.0, "{unary:?}: {worst}");
            assert!(worst_slope <= 6.0, "{unary:?}: {worst_slope}");
        }
    }
}
