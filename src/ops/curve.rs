//! Functions of one number, element by element: their loops on the CPU.

use super::elementwise::{self, Each};
use super::{HostBackward, HostForward};

/// A function and its derivative, which [`curve!`] declares. Everything is inlined into the loops.
pub(super) trait Curve: Copy + Sync {
    fn value(self, x: f32) -> f32;
    /// dx of the kept input or output, and dy.
    fn gradient(self, kept: f32, dy: f32) -> f32;
}

/// A [`Curve`]: its name, with its numbers, its value of x, and its gradient of what is kept and dy.
macro_rules! curve {
    (
        $name:ident $({ $($number:ident),+ })?,
        |$x:ident| $value:expr,
        |$kept:ident, $dy:ident| $gradient:expr
    ) => {
        #[derive(Clone, Copy)]
        struct $name { $($($number: f32),+)? }

        impl $crate::ops::curve::Curve for $name {
            #[inline(always)]
            fn value(self, $x: f32) -> f32 {
                let $name { $($($number),+)? } = self;
                $value
            }
            #[inline(always)]
            fn gradient(self, $kept: f32, $dy: f32) -> f32 {
                let $name { $($($number),+)? } = self;
                $gradient
            }
        }
    };
}

pub(super) use curve;

/// What is done to every element: of an input, or of a kept value and dy.
struct CurveValue<C>(C);
struct CurveGradient<C>(C);

impl<C: Curve> Each for CurveValue<C> {
    #[inline(always)]
    fn of(&self, x: f32, _: f32) -> f32 {
        self.0.value(x)
    }
}

impl<C: Curve> Each for CurveGradient<C> {
    #[inline(always)]
    fn of(&self, kept: f32, dy: f32) -> f32 {
        self.0.gradient(kept, dy)
    }
}

/// `x`, but at least `low`, and then at most `high`; NaN stays NaN.
#[inline(always)]
pub(super) fn between(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// Values of the function in place of its arguments.
pub(super) fn in_place(values: &mut [f32], curve: impl Curve) {
    elementwise::in_place(values, CurveValue(curve));
}

/// The output box.
pub(super) fn forward(ctx: &mut HostForward<'_>, curve: impl Curve) {
    elementwise::forward(ctx, CurveValue(curve));
}

/// The input's gradient, from the output where backward keeps it, otherwise from the input.
pub(super) fn backward(ctx: &mut HostBackward<'_>, keeps_output: bool, curve: impl Curve) {
    let kept = if keeps_output { ctx.output() } else { ctx.input(0) };
    elementwise::backward(ctx, 0, kept, CurveGradient(curve));
}
