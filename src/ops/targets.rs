//! What losses are taken against: a class for each image (u32), which stands for one-hot targets, or a distribution
//! (f32), as mixed images have it. `kernels/optim/targets.cuh` reads the same.

use crate::tensor::{DType, Map, Spec, Tensor};
use crate::{Error, Result};

/// Refuses inputs of the loss `op` that aren't logits and targets for them.
pub(super) fn check(op: &str, inputs: &[Spec]) -> Result<()> {
    let (logits, targets) = (inputs[0].map, inputs[1]);
    let fits = match targets.storage {
        DType::U32 => targets.map == Map::vector(1),
        DType::F32 => targets.map == logits,
    };
    if !fits || logits.pixels() != 1 {
        let detail = format!("targets of {} don't fit logits of {logits}", targets.map);
        return Err(Error::shape(op, detail));
    }
    Ok(())
}

/// Whether they are distributions, as kernels are told.
pub(super) fn is_soft(targets: Tensor) -> u32 {
    (targets.spec.storage == DType::F32).into()
}

/// Calls `f(image, logits, targets)` for images `range`, targets smoothed: (1 − ε)·t + ε/classes.
pub(super) fn for_each_image(
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
