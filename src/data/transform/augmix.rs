//! AugMix: chains of operations from one image, mixed with it (Hendrycks et al., 2020, *AugMix: A Simple Data
//! Processing Method to Improve Robustness and Uncertainty*).

use super::magnitude::Magnitudes;
use super::{Operation, OperationKind};
use crate::data::{Image8, gamma};
use crate::recipe::{AugMix, FillColour, Interpolation};
use crate::rng::Draw;
use serde::{Deserialize, Serialize};

/// Levels of a magnitude.
const LEVELS: usize = 10;

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
