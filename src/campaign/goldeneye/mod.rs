//! GoldenEye's protocol (Mahmoud et al., *GoldenEye*, DSN 2022), so that figures that were published by it
//! can be compared. `strict` is the protocol to use otherwise.
//!
//! 1. Ranges are max |output| over the training set, kept as f16: infinite above 65,504.
//! 2. Fault-free answers: label, top-1, loss, Top2Diff.
//! 3. Images: a fifth of the validation set ([`validation_fifth`]), of which those that are right with
//!    Top2Diff > 0; each injection draws one of them, with replacement.
//! 4. Sites: outputs of the Conv2d and Linear modules that forward hooks see ([`layers()`]); so not of
//!    Swin V2's qkv and proj, but of its cpb_mlp, and the text-guided head before the scale. One bit of one
//!    neuron, both uniform.
//! 5. The range detector is always on, on the faulted value alone.
//! 6. Figures a layer ([`figures`]): the mean of |L_golden − L_faulty| without NaN, and mismatches, which a NaN
//!    loss never is, over all injections; normal intervals, z = 2.576.
//!
//! What it leaves to an unseeded generator (image, neuron, bit) is drawn from the plan's seed, as in every
//! campaign.

mod python_random;

use serde::Serialize;

pub use python_random::PythonRandom;

use super::layers::{self, Layer};
use super::plan::{Flips, Labels, Plan, Stratify};
use super::ranges::Detector;
use super::store::Run;
use crate::checkpoint::f16_to_f32;
use crate::fault::{Format, Site};
use crate::models::Model;
use crate::ops::cross_entropy;
use crate::{Error, Result};

/// What its script seeds Python's generator with.
const IMAGE_SEED: u64 = 9001;

/// The normal quantile of its two-sided 99 %.
pub const Z99: f64 = 2.576;

/// Refuses plans that its rules don't hold.
pub(super) fn check(plan: &Plan) -> Result<()> {
    let refuse = |detail| Err(Error::usage(format!("the goldeneye protocol {detail}")));
    if plan.site != Site::Output {
        return refuse("knows the site output alone");
    }
    if plan.flips != Flips::Count(1) || plan.bits != 1 || plan.stratify != Stratify::No {
        return refuse("flips one uniformly drawn bit of one value");
    }
    if plan.detectors != [Detector::Range] {
        return refuse("has the range detector always on: say --detector range, or nothing");
    }
    if plan.labels != Labels::Data {
        return refuse("judges by the data's labels");
    }
    Ok(())
}

/// The images of a validation set of `count`: the last fifth of a permutation, as Python's
/// `random.seed(9001); random.sample(range(count), count)[int(.8 * count):]` gives it.
///
/// # Errors
/// A set of 2³² images or more.
pub fn validation_fifth(count: usize) -> Result<Vec<usize>> {
    let Ok(n) = u32::try_from(count) else {
        return Err(Error::usage(format!("a validation set of {count} images is too large")));
    };
    let order = PythonRandom::new(IMAGE_SEED).permutation(n);
    let first = (0.8 * f64::from(n)) as usize;
    Ok(order[first..].iter().map(|image| *image as usize).collect())
}

/// The layers that forward hooks on Conv2d and Linear see, in order.
pub fn layers(model: &Model) -> Vec<Layer> {
    let hooked: Vec<_> =
        model.tape.injectable().into_iter().filter(|l| l.hooked).map(|l| l.node).collect();
    let mut layers = layers::layers(model);
    // The last layer after the scale is no module's output.
    layers.retain(|layer| hooked.contains(&layer.node));
    layers
}

/// Refuses faults of a list in layers that hooks don't see.
pub(super) fn check_layers(model: &Model, given: &[Layer]) -> Result<()> {
    let seen = layers(model);
    match given.iter().find(|layer| !seen.contains(layer)) {
        None => Ok(()),
        Some(layer) => Err(Error::usage(format!(
            "the goldeneye protocol has no layer '{}': forward hooks don't see it",
            layer.name
        ))),
    }
}

/// A layer's greatest |output| as f16 keeps it; infinite where no f16 is as large.
pub fn range(max: f32) -> f32 {
    f16_to_f32(Format::Fp16.encode(max) as u16)
}

/// The loss of an answer as f32 arithmetic gives it: NaN where a logit is NaN or +∞, +∞ where the
/// label's is −∞ or further below the largest than f32 can say. In nats.
pub fn loss(logits: &[f32], label: u32) -> f64 {
    let loss = cross_entropy::loss(logits, label as usize);
    if loss > f64::from(f32::MAX) { f64::INFINITY } else { loss }
}

/// A mean or a rate, and half the width of its normal interval of 99 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    pub value: f64,
    /// z·s/√n, s² being the sample variance, n − 1 below; of a rate z·√(p(1 − p)/n).
    pub half_width: f64,
}

/// What a layer's injections come to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LayerFigures {
    pub injections: u64,
    /// Injections whose loss is NaN.
    pub nan: u64,
    /// Mean |L_golden − L_faulty| in nats, over the injections whose loss isn't NaN; infinite if one of
    /// theirs is, and NaN without any.
    pub delta_loss: Figure,
    /// The share of all injections that changed the top-1 with a loss that isn't NaN.
    pub mismatches: Figure,
}

/// The figures of each layer of a run.
pub fn figures(run: &Run) -> Vec<LayerFigures> {
    let of_layer = |layer: usize| {
        let (mut injections, mut mismatches) = (0u64, 0u64);
        let mut harm = Vec::new();
        for record in run.of(layer, Detector::Range) {
            injections += 1;
            let delta_loss = record.delta_loss();
            if !delta_loss.is_nan() {
                harm.push(delta_loss);
                mismatches += u64::from(record.effect.judged.top1 != record.golden.top1);
            }
        }
        let total = injections as f64;
        let rate = mismatches as f64 / total;
        let half_width = Z99 * (rate * (1.0 - rate) / total).sqrt();
        LayerFigures {
            injections,
            nan: injections - harm.len() as u64,
            delta_loss: mean(&harm),
            mismatches: Figure { value: rate, half_width },
        }
    };
    (0..run.manifest.layers.len()).map(of_layer).collect()
}

fn mean(values: &[f64]) -> Figure {
    let n = values.len() as f64;
    let value = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - value) * (v - value)).sum();
    Figure { value, half_width: Z99 * (squares / (n - 1.0) / n).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_f16() {
        // Between 2¹⁰ and 2¹¹ an f16 is whole; 65,504 is the largest, and from 65,520 on it is none.
        assert_eq!([1024.5, 1025.5, 7.25].map(range), [1024.0, 1026.0, 7.25]);
        assert_eq!([65519.0, 65520.0].map(range), [65504.0, f32::INFINITY]);
    }

    #[test]
    fn means_have_normal_intervals() {
        // Sample variance of 1, 2, 3, 4: 5/3.
        let Figure { value, half_width } = mean(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(value, 2.5);
        assert!((half_width - 2.576 * (5.0f64 / 3.0 / 4.0).sqrt()).abs() < 1e-12);
    }
}
