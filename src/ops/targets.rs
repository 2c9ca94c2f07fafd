//! What losses are taken against: a class for each image (u32), which stands for one-hot targets, or a distribution
//! (f32), as mixed images have it. `kernels/optim/targets.cuh` reads the same.

use super::{HostBackward, HostForward, KernelBackward, KernelForward, place};
use crate::device::LaunchConfig;
use crate::device::args::LossArgs;
use crate::tensor::{DType, Map, Spec, Tensor};
use crate::{Error, Result};

/// What every loss of logits and targets declares: one number an image, for which both are kept for backward.
macro_rules! loss {
    () => {
        fn output(&self, inputs: &[$crate::tensor::Spec]) -> $crate::Result<$crate::tensor::Spec> {
            $crate::ops::targets::check(self.kind(), inputs)
        }

        fn needs(&self) -> $crate::ops::SavedForBackward {
            $crate::ops::SavedForBackward { inputs: vec![true, true], output: false }
        }

        fn reach(&self, _: usize, region: Region, _: &[Spec], output: &Spec) -> Region {
            Region { images: region.images, ..Region::full(0, output.map) }
        }
    };
}

pub(super) use loss;

/// The output of the loss `op`; refuses inputs that aren't logits and targets for them.
pub(super) fn check(op: &str, inputs: &[Spec]) -> Result<Spec> {
    let (logits, targets) = (inputs[0].map, inputs[1]);
    let fits = match targets.storage {
        DType::U32 => targets.map == Map::vector(1),
        DType::F32 => targets.map == logits,
    };
    if !fits || logits.pixels() != 1 {
        let detail = format!("targets of {} don't fit logits of {logits}", targets.map);
        return Err(Error::shape(op, detail));
    }
    Ok(Spec::f32(Map::vector(1)))
}

fn args(smoothing: f32, inputs: &[Tensor], losses: Tensor, state: u64) -> LossArgs {
    let (logits, targets) = (inputs[0], inputs[1]);
    LossArgs {
        logits: logits.address,
        targets: targets.address,
        losses: losses.address,
        dlogits: 0,
        state,
        classes: logits.map().channels as u32,
        soft: (targets.spec.storage == DType::F32).into(),
        smoothing,
        accumulate: 0,
    }
}

/// Grid and arguments of a forward kernel, in which a warp has an image.
pub(super) fn forward_args(smoothing: f32, ctx: &KernelForward<'_>) -> (LaunchConfig, LossArgs) {
    let args = args(smoothing, ctx.inputs, ctx.output, ctx.state_address);
    (place::rows(ctx.inputs[0]), args)
}

/// As [`forward_args`], of a backward kernel; `None` where nobody asks for the gradient.
pub(super) fn backward_args(
    smoothing: f32,
    ctx: &KernelBackward<'_>,
) -> Option<(LaunchConfig, LossArgs)> {
    let dlogits = ctx.input_gradients[0]?;
    let args = LossArgs {
        dlogits: dlogits.tensor.address,
        accumulate: dlogits.accumulate.into(),
        ..args(smoothing, ctx.inputs, ctx.output_gradient, ctx.state_address)
    };
    Some((place::rows(dlogits.tensor), args))
}

/// Writes the loss of each image, `loss(logits, targets)`.
pub(super) fn forward(
    label_smoothing: f32,
    ctx: &mut HostForward<'_>,
    loss: impl Fn(&[f32], &[f64]) -> f64,
) -> Result<()> {
    let logits = (ctx.input(0), ctx.input_map(0).channels);
    let targets = (ctx.inputs[1].spec.storage, ctx.input_u32(1));
    let (range, node, losses) = (ctx.region.images.range(), ctx.node, ctx.output());
    for_each_image(label_smoothing, logits, targets, range, node, |image, logits, targets| {
        losses[image] = loss(logits, targets) as f32;
    })
}

/// Writes the gradients of each image's logits, which `gradient(dloss, logits, targets, gradients)` gives.
pub(super) fn backward(
    label_smoothing: f32,
    ctx: &mut HostBackward<'_>,
    gradient: impl Fn(f64, &[f32], &[f64], &mut [f64]),
) -> Result<()> {
    let logits = (ctx.input(0), ctx.input_map(0).channels);
    let targets = (ctx.inputs[1].spec.storage, ctx.input_u32(1));
    let (range, node, dloss) = (0..ctx.images(), ctx.node, ctx.output_gradient());
    let Some((dz, accumulate)) = ctx.input_gradient(0) else { return Ok(()) };
    let mut values = vec![0f64; logits.1];
    for_each_image(label_smoothing, logits, targets, range, node, |image, logits, targets| {
        gradient(f64::from(dloss[image]), logits, targets, &mut values);
        for (dz, value) in dz[image * logits.len()..].iter_mut().zip(&values) {
            *dz = if accumulate { *dz + *value as f32 } else { *value as f32 };
        }
    })
}

/// Calls `f(image, logits, targets)` for images `range`, targets smoothed: (1 − ε)·t + ε/classes.
fn for_each_image(
    label_smoothing: f32,
    logits: (&[f32], usize),
    targets: (DType, &[u32]),
    range: std::ops::Range<usize>,
    node: &str,
    mut f: impl FnMut(usize, &[f32], &[f64]),
) -> Result<()> {
    let (values, classes) = logits;
    let smoothing = f64::from(label_smoothing);
    let mut target = vec![0f64; classes];
    for image in range {
        match targets {
            (DType::U32, labels) => {
                let label = labels[image] as usize;
                if label >= classes {
                    let detail = format!("label {label}, but there are {classes} classes");
                    return Err(Error::shape(node, detail));
                }
                target.fill(smoothing / classes as f64);
                target[label] += 1.0 - smoothing;
            }
            (DType::F32, words) => {
                let words = &words[image * classes..(image + 1) * classes];
                for (target, word) in target.iter_mut().zip(words) {
                    let share = f64::from(f32::from_bits(*word));
                    *target = (1.0 - smoothing) * share + smoothing / classes as f64;
                }
            }
        }
        f(image, &values[image * classes..(image + 1) * classes], &target);
    }
    Ok(())
}
