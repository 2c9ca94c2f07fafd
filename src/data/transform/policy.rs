//! Policies of automatic augmentation. Each works in two steps: what is done is drawn as plain values
//! ([`AugmentPolicy::draw`]), and then done ([`AugmentPolicy::apply`]).

use super::augmix::Mixture;
use super::autoaugment;
use super::magnitude::Magnitudes;
use super::{Operation, OperationKind};
use crate::data::Image8;
use crate::recipe::{AugmentPolicy, RandAugment, TrivialAugmentWide};
use crate::rng::Draw;
use serde::{Deserialize, Serialize};
use strum::VariantArray;

/// What RandAugment and TrivialAugmentWide choose among: all but `Invert`.
const KINDS: &[OperationKind] = OperationKind::VARIANTS.split_at(14).0;

/// What is done to one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrawnPolicy {
    /// Operations, one after the other.
    Chain(Vec<Operation>),
    /// Several chains from the same image, mixed.
    Mixture(Mixture),
}

impl AugmentPolicy {
    /// What is done to an image of this size. Of RandAugment and TrivialAugmentWide: for each operation one
    /// draw for the kind, of the latter one for the level if it has levels, and one for the sign if it has one.
    /// AutoAugment takes five, AugMix what `recipe::AugMix` says.
    pub fn draw(&self, height: usize, width: usize, draws: &mut impl Draw) -> DrawnPolicy {
        let size = [height, width];
        let kind = |draws: &mut _| KINDS[Draw::below(draws, KINDS.len() as u64) as usize];
        let chain = match self {
            AugmentPolicy::RandAugment(RandAugment {
                num_ops,
                magnitude,
                num_magnitude_bins,
                ..
            }) => (0..*num_ops)
                .map(|_| {
                    let level = [*magnitude, *num_magnitude_bins];
                    let kind = kind(draws);
                    Magnitudes::Narrow.operation(kind, level, size, || draws.chance(0.5))
                })
                .collect(),
            AugmentPolicy::TrivialAugmentWide(TrivialAugmentWide {
                num_magnitude_bins: levels,
                ..
            }) => {
                let kind = kind(draws);
                vec![Magnitudes::Wide.draw(kind, [*levels, *levels], size, draws)]
            }
            AugmentPolicy::ImageNet(_) => autoaugment::draw(&autoaugment::IMAGENET, size, draws),
            AugmentPolicy::Cifar10(_) => autoaugment::draw(&autoaugment::CIFAR10, size, draws),
            AugmentPolicy::Svhn(_) => autoaugment::draw(&autoaugment::SVHN, size, draws),
            AugmentPolicy::AugMix(augmix) => {
                return DrawnPolicy::Mixture(augmix.draw(size, draws));
            }
        };
        DrawnPolicy::Chain(chain)
    }

    /// Does what was drawn.
    pub fn apply(&self, augmentation: &DrawnPolicy, image: &mut Image8) {
        let (how, fill) = (self.interpolation(), self.fill());
        match augmentation {
            DrawnPolicy::Chain(operations) => {
                operations.iter().for_each(|operation| operation.apply(image, how, fill));
            }
            DrawnPolicy::Mixture(mixture) => mixture.apply(image, how, fill),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

    const WORDS: [&str; 6] = ["ra", "ta_wide", "imagenet", "cifar10", "svhn", "augmix"];

    #[test]
    fn any_draw_can_be_done_to_any_image() {
        let source = stream(4, "policies");
        for (i, word) in WORDS.into_iter().enumerate() {
            let policy: AugmentPolicy = word.parse().unwrap();
            for (j, (height, width)) in [(1, 1), (2, 3), (7, 5)].into_iter().enumerate() {
                for n in 0..20 {
                    let mut draws = source.block((i * 1000 + j * 100 + n) as u64);
                    let mut image = Image8::black(height, width);
                    let drawn = policy.draw(height, width, &mut draws);
                    policy.apply(&drawn, &mut image);
                    assert_eq!(image.pixels.len(), height * width * 3);
                }
            }
        }
    }
}
