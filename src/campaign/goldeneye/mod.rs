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
//! 6. Figures a layer ([`crate::analysis::goldeneye`]): the mean of |L_golden − L_faulty| without NaN, and mismatches, which a NaN
//!    loss never is, over all injections; normal intervals, z = 2.576.
//!
//! What it leaves to an unseeded generator (image, neuron, bit) is drawn from the plan's seed, as in every
//! campaign.

mod python_random;

pub use python_random::PythonRandom;

use crate::campaign::layers::{self, Layer};
use crate::models::Model;
use crate::number::Format;
use crate::{Error, Result};

/// What its script seeds Python's generator with.
const IMAGE_SEED: u64 = 9001;

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
    Format::F16.decode(Format::F16.encode(max))
}

/// The loss of an answer as f32 arithmetic gives it: NaN where a logit is NaN or +∞, +∞ where the
/// label's is −∞ or further below the largest than f32 can say. In nats.
pub fn loss(logits: &[f32], label: u32) -> f64 {
    let loss = crate::logits::loss(logits, label as usize);
    if loss > f64::from(f32::MAX) { f64::INFINITY } else { loss }
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
}
