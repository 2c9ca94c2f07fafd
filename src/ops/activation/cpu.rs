//! Activations on the CPU.

use super::Activation;
use crate::Result;
use crate::cpu::exponential::{normal, sigmoid, sigmoid_and_slope, tanh};
use crate::ops::curve::{self, between, curve};
use crate::ops::{HostBackward, HostForward};

curve!(
    Relu,
    // Not f32::max, which would drop a NaN.
    |x| if x < 0.0 { 0.0 } else { x },
    |y, dy| if y <= 0.0 { 0.0 } else { dy }
);

curve!(Relu6, |x| between(x, 0.0, 6.0), |y, dy| if y <= 0.0 || y >= 6.0 { 0.0 } else { dy });

curve!(Silu, |x| x * sigmoid(x), |x, dy| {
    let (s, slope) = sigmoid_and_slope(x);
    dy * x.mul_add(slope, s)
});

// The gradient is dy · (Φ(x) + x·φ(x)), φ(x) = e^(−x²/2) / √(2π).
curve!(Gelu, |x| x * normal(x).0, |x, dy| {
    const DENSITY_AT_0: f32 = 0.398_942_3;
    let (below, bell) = normal(x);
    dy * (x * DENSITY_AT_0).mul_add(bell, below)
});

impl GeluTanh {
    /// 2·√(2/π)
    const SLOPE: f32 = 1.595_769_2;
    const CUBE: f32 = 0.044_715;

    #[inline(always)]
    fn inner(x: f32) -> f32 {
        Self::SLOPE * (x * (Self::CUBE * x).mul_add(x, 1.0))
    }
}

curve!(GeluTanh, |x| x * sigmoid(Self::inner(x)), |x, dy| {
    let (s, slope) = sigmoid_and_slope(Self::inner(x));
    let inner_slope = Self::SLOPE * (3.0 * Self::CUBE * x).mul_add(x, 1.0);
    dy * x.mul_add(inner_slope * slope, s)
});

curve!(Sigmoid, |x| sigmoid(x), |y, dy| dy * (y * (1.0 - y)));

impl QuickGelu {
    const SLOPE: f32 = 1.702;
}

curve!(QuickGelu, |x| x * sigmoid(Self::SLOPE * x), |x, dy| {
    let inner = Self::SLOPE * x;
    let (s, slope) = sigmoid_and_slope(inner);
    dy * inner.mul_add(slope, s)
});

curve!(Tanh, |x| tanh(x), |y, dy| dy * ((1.0 - y) * (1.0 + y)));

/// min(max(x + 3, 0), 6); a NaN stays.
#[inline(always)]
fn ramp(x: f32) -> f32 {
    between(x + 3.0, 0.0, 6.0)
}

curve!(HardSigmoid, |x| ramp(x) / 6.0, |x, dy| if x <= -3.0 || x >= 3.0 { 0.0 } else { dy / 6.0 });

curve!(HardSwish, |x| x * ramp(x) / 6.0, |x, dy| if x <= -3.0 {
    0.0
} else if x >= 3.0 {
    dy
} else {
    dy * (x / 3.0 + 0.5)
});

/// `$body` with `$curve` standing for the activation's curve.
macro_rules! with_curve {
    ($activation:expr, $curve:ident => $body:expr) => {
        with_curve!(@of $activation, $curve => $body, Relu Relu6 Silu Gelu GeluTanh Sigmoid QuickGelu Tanh
            HardSigmoid HardSwish)
    };
    (@of $activation:expr, $curve:ident => $body:expr, $($name:ident)+) => {
        match $activation {
            $(Activation::$name => {
                let $curve = $name {};
                $body
            })+
        }
    };
}

/// The values of an operation's output in place of those of its input: the bits that the operation
/// gives, for layers that end in an activation.
pub fn apply(activation: Activation, values: &mut [f32]) {
    with_curve!(activation, curve => curve::in_place(values, curve));
}

pub fn forward(activation: Activation, ctx: &mut HostForward<'_>) -> Result<()> {
    with_curve!(activation, curve => curve::forward(ctx, curve));
    Ok(())
}

pub fn backward(activation: Activation, ctx: &mut HostBackward<'_>) -> Result<()> {
    with_curve!(activation, curve => curve::backward(ctx, activation.keeps_output(), curve));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::curve::Curve;

    /// Numbers from −20 to 20, dense about 0, none of them special.
    fn numbers() -> Vec<f32> {
        (0..40_001).map(|i| (i as f32 - 20_000.0) / 1000.0).map(|x| x * x.abs() / 20.0).collect()
    }

    /// A value's bits follow from the value: they are the same alone, in a tail and in a vector.
    #[test]
    fn bits_do_not_depend_on_the_place_in_a_vector() {
        let x = numbers();
        for activation in Activation::ALL {
            let mut whole = x.clone();
            apply(activation, &mut whole);
            for (at, x) in x.iter().enumerate() {
                let mut alone = [*x];
                apply(activation, &mut alone);
                assert_eq!(alone[0].to_bits(), whole[at].to_bits(), "{activation:?} of {x}");
                let scalar =
                    with_curve!(activation, curve => curve.value(std::hint::black_box(*x)));
                assert_eq!(scalar.to_bits(), whole[at].to_bits(), "{activation:?} of {x}");
            }
            for length in 1..40 {
                let mut part = x[7..7 + length].to_vec();
                apply(activation, &mut part);
                assert_eq!(part, whole[7..7 + length], "{activation:?}, {length}");
            }
        }
    }

    /// Against f64, in units of 2⁻²⁴ of |x| (of 1 for σ and for derivatives, which are at most 1.13):
    /// what PyTorch's f32 functions, which round 1 + erf and 1 + tanh, keep to as well.
    #[test]
    fn curves_and_derivatives_are_those_of_f64() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        // e^(−x²/2)/√(2π) summed by Simpson's rule from 0.
        let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let phi = |x: f64| {
            let (n, h) = (400, x / 400.0);
            let weight = |i: usize| if i == 0 || i == n { 1.0 } else { (2 + 2 * (i % 2)) as f64 };
            0.5 + (0..=n).map(|i| weight(i) * density(h * i as f64)).sum::<f64>() * h / 3.0
        };
        let inner = |x: f64| 2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        let exact = |activation: Activation, x: f64| match activation {
            Activation::Relu => x.max(0.0),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::Silu => x * sigmoid(x),
            Activation::Gelu => x * phi(x),
            Activation::GeluTanh => x * sigmoid(inner(x)),
            Activation::Sigmoid => sigmoid(x),
            Activation::QuickGelu => x * sigmoid(1.702 * x),
            Activation::Tanh => x.tanh(),
            Activation::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        };
        for activation in Activation::ALL {
            let (mut worst, mut worst_slope) = (0f64, 0f64);
            for x in numbers().into_iter().step_by(3).filter(|x| (-9.0..9.0).contains(x)) {
                let found = with_curve!(activation, curve => curve.value(x));
                let exactly = exact(activation, f64::from(x));
                let unit = if matches!(activation, Activation::Sigmoid | Activation::HardSigmoid) {
                    1.0
                } else {
                    f64::from(x).abs().max(1e-30)
                };
                worst = worst.max((f64::from(found) - exactly).abs() / unit);
                // The difference is good to 1e-9 or so; at the kinks of ReLU and its like there is none.
                if [-3.0, 0.0, 3.0, 6.0].iter().any(|kink| (x - kink).abs() < 1e-3) {
                    continue;
                }
                let kept = if activation.keeps_output() { found } else { x };
                let slope = with_curve!(activation, curve => curve.gradient(kept, 1.0));
                let h = 1e-5;
                let [up, down] = [h, -h].map(|h| exact(activation, f64::from(x) + h));
                worst_slope = worst_slope.max((f64::from(slope) - (up - down) / (2.0 * h)).abs());
            }
            let [worst, worst_slope] = [worst, worst_slope].map(|w| w * f64::from(1u32 << 24));
            println!("{activation:?}: {worst:.2}, slope {worst_slope:.2}");
            assert!(worst <= 4.0, "{activation:?}: {worst}");
            assert!(worst_slope <= 12.0, "{activation:?}: {worst_slope}");
        }
    }
}
