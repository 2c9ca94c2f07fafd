//! AugMix: chains of operations from one image, mixed with it (Hendrycks et al., 2020, *AugMix: A Simple Data
//! Processing Method to Improve Robustness and Uncertainty*).

use super::magnitude::{MOST, Magnitudes};
use super::{FillColour, Interpolation, Operation, OperationKind};
use crate::data::{Image8, gamma};
use crate::rng::Draw;
use serde::{Deserialize, Serialize};

/// Levels of a magnitude.
const LEVELS: usize = 10;

/// AugMix. The image's share is Beta(α, α), the rest is divided among the chains by a Dirichlet number; draws
/// come in this order, and then of each chain its depth, if it has none given, and for each operation its
/// kind, its level and its sign, if it has them.
///
/// As in torchvision the chains' operations are those of tensors ([`Operation::apply_as_tensor`]).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugMix {
    /// The levels that are drawn, from the lowest, of ten.
    pub severity: usize,
    /// Chains.
    pub mixture_width: usize,
    /// Operations of a chain; 0 or less draws 1 to 3.
    pub chain_depth: i32,
    /// α of both distributions.
    pub alpha: f64,
    /// Whether brightness, colour, contrast and sharpness are among the operations.
    pub all_ops: bool,
    /// Of those that move pixels; not bicubic.
    pub interpolation: Interpolation,
    /// What comes in from outside.
    pub fill: FillColour,
}

impl Default for AugMix {
    fn default() -> Self {
        AugMix {
            severity: 3,
            mixture_width: 3,
            chain_depth: -1,
            alpha: 1.0,
            all_ops: true,
            interpolation: Interpolation::Bilinear,
            fill: [0; 3],
        }
    }
}

/// What is chosen among; of the last four only by `all_ops`.
const KINDS: [OperationKind; 13] = {
    use OperationKind::*;
    [
        ShearX,
        ShearY,
        TranslateX,
        TranslateY,
        Rotate,
        Posterize,
        Solarize,
        AutoContrast,
        Equalize,
        Brightness,
        Color,
        Contrast,
        Sharpness,
    ]
};

/// Chains with the weights of their results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mixture {
    /// The weight of the image itself.
    pub original: f32,
    /// Weight and operations of each chain.
    pub chains: Vec<(f32, Vec<Operation>)>,
}

impl AugMix {
    /// What doesn't make sense, if anything.
    pub(super) fn check(&self) -> Result<(), String> {
        let most = MOST as i32;
        if !(1..=LEVELS).contains(&self.severity) {
            return Err(format!("severity must lie between 1 and {LEVELS}"));
        }
        if !(1..=MOST).contains(&self.mixture_width) {
            return Err(format!("mixture_width must lie between 1 and {MOST}"));
        }
        if self.chain_depth > most {
            return Err(format!("chain_depth must be at most {MOST}"));
        }
        if !(1e-3..=1e6).contains(&self.alpha) {
            return Err("alpha must lie between 0.001 and 1,000,000".into());
        }
        if self.interpolation == Interpolation::Bicubic {
            return Err("interpolation is nearest or bilinear, as of tensors".into());
        }
        Ok(())
    }

    pub(super) fn draw(&self, size: [usize; 2], draws: &mut impl Draw) -> Mixture {
        let [original, mixed] = gamma::dirichlet([self.alpha; 2], draws).map(|share| share as f32);
        let shares = gamma::dirichlet(vec![self.alpha; self.mixture_width], draws);
        let kinds = if self.all_ops { &KINDS[..] } else { &KINDS[..9] };
        let chain = |share: f64| {
            let depth = match self.chain_depth {
                depth @ 1.. => depth as u64,
                _ => 1 + draws.below(3),
            };
            let operations = (0..depth).map(|_| {
                let kind = kinds[draws.below(kinds.len() as u64) as usize];
                Magnitudes::Mixing.draw(kind, [self.severity, LEVELS], size, draws)
            });
            (share as f32 * mixed, operations.collect())
        };
        Mixture { original, chains: shares.into_iter().map(chain).collect() }
    }
}

impl Mixture {
    /// Runs the chains and mixes: products and sums in f32, in the chains' order, cut off at last.
    pub(super) fn apply(&self, image: &mut Image8, how: Interpolation, fill: FillColour) {
        let mut sums: Vec<f32> =
            image.pixels.iter().map(|&value| self.original * f32::from(value)).collect();
        for (weight, operations) in &self.chains {
            let mut made = image.clone();
            operations.iter().for_each(|operation| operation.apply_as_tensor(&mut made, how, fill));
            for (sum, &value) in sums.iter_mut().zip(&made.pixels) {
                *sum += weight * f32::from(value);
            }
        }
        for (value, &sum) in image.pixels.iter_mut().zip(&sums) {
            *value = sum as u8;
        }
    }
}
