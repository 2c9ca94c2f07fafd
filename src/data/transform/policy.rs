//! Policies of automatic augmentation. Each works in two steps: what is done is drawn as plain values
//! ([`AugmentPolicy::draw`]), and then done ([`AugmentPolicy::apply`]).

use super::augmix::{AugMix, Mixture};
use super::autoaugment::{self, AutoAugment};
use super::magnitude::{MOST, Magnitudes};
use super::{FillColour, Interpolation, Operation, OperationKind};
use crate::data::Image8;
use crate::rng::Draw;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Policies as torchvision has them, under the words of its reference's `--auto-augment`. As values of a file:
/// `type` is the word, beside it parameters, each with torchvision's default.
///
/// The reference gives the resize's filter to the policies; see [`AugmentPolicy::interpolated`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum AugmentPolicy {
    /// Some operations of one strength: [`RandAugment`].
    #[serde(rename = "ra", alias = "randaugment")]
    RandAugment(RandAugment),
    /// One operation of any strength: [`TrivialAugmentWide`].
    #[serde(rename = "ta_wide", alias = "trivialaugmentwide")]
    TrivialAugmentWide(TrivialAugmentWide),
    /// AutoAugment, learnt on ImageNet.
    #[serde(rename = "imagenet")]
    ImageNet(AutoAugment),
    /// AutoAugment, learnt on CIFAR-10.
    #[serde(rename = "cifar10")]
    Cifar10(AutoAugment),
    /// AutoAugment, learnt on SVHN.
    #[serde(rename = "svhn")]
    Svhn(AutoAugment),
    /// Chains of operations, mixed with the image: [`AugMix`].
    #[serde(rename = "augmix")]
    AugMix(AugMix),
}

/// Cubuk et al., 2020, *RandAugment: Practical automated data augmentation with a reduced search space*.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandAugment {
    /// Operations, one after the other; each of the fourteen may come again.
    pub num_ops: usize,
    /// The level of all of them, from 0.
    pub magnitude: usize,
    /// Levels that there are.
    pub num_magnitude_bins: usize,
    /// Of those that move pixels.
    pub interpolation: Interpolation,
    /// What comes in from outside.
    pub fill: FillColour,
}

impl Default for RandAugment {
    fn default() -> Self {
        RandAugment {
            num_ops: 2,
            magnitude: 9,
            num_magnitude_bins: 31,
            interpolation: Interpolation::Nearest,
            fill: [0; 3],
        }
    }
}

/// Müller and Hutter, 2021, *TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation*, wide range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrivialAugmentWide {
    /// Levels that there are.
    pub num_magnitude_bins: usize,
    /// Of those that move pixels.
    pub interpolation: Interpolation,
    /// What comes in from outside.
    pub fill: FillColour,
}

impl Default for TrivialAugmentWide {
    fn default() -> Self {
        let (interpolation, fill) = (Interpolation::Nearest, [0; 3]);
        TrivialAugmentWide { num_magnitude_bins: 31, interpolation, fill }
    }
}

/// What RandAugment and TrivialAugmentWide choose among.
const KINDS: [OperationKind; 14] = {
    use OperationKind::*;
    [
        Identity,
        ShearX,
        ShearY,
        TranslateX,
        TranslateY,
        Rotate,
        Brightness,
        Color,
        Contrast,
        Sharpness,
        Posterize,
        Solarize,
        AutoContrast,
        Equalize,
    ]
};

/// What is done to one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Augmentation {
    /// Operations, one after the other.
    Chain(Vec<Operation>),
    /// Several chains from the same image, mixed.
    Mixture(Mixture),
}

impl AugmentPolicy {
    /// What is done to an image of this size. Of RandAugment and TrivialAugmentWide: for each operation one
    /// draw for the kind, of the latter one for the level if it has levels, and one for the sign if it has one.
    /// AutoAugment takes five, AugMix what [`AugMix`] says.
    pub fn draw(&self, height: usize, width: usize, draws: &mut impl Draw) -> Augmentation {
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
                return Augmentation::Mixture(augmix.draw(size, draws));
            }
        };
        Augmentation::Chain(chain)
    }

    /// Does what was drawn.
    pub fn apply(&self, augmentation: &Augmentation, image: &mut Image8) {
        let (how, fill) = (self.interpolation(), self.fill());
        match augmentation {
            Augmentation::Chain(operations) => {
                operations.iter().for_each(|operation| operation.apply(image, how, fill));
            }
            Augmentation::Mixture(mixture) => mixture.apply(image, how, fill),
        }
    }

    /// How pixels are moved.
    pub fn interpolation(&self) -> Interpolation {
        match self {
            AugmentPolicy::RandAugment(RandAugment { interpolation, .. })
            | AugmentPolicy::TrivialAugmentWide(TrivialAugmentWide { interpolation, .. })
            | AugmentPolicy::ImageNet(AutoAugment { interpolation, .. })
            | AugmentPolicy::Cifar10(AutoAugment { interpolation, .. })
            | AugmentPolicy::Svhn(AutoAugment { interpolation, .. })
            | AugmentPolicy::AugMix(AugMix { interpolation, .. }) => *interpolation,
        }
    }

    /// The same with another interpolation.
    pub fn interpolated(mut self, how: Interpolation) -> Self {
        match &mut self {
            AugmentPolicy::RandAugment(RandAugment { interpolation, .. })
            | AugmentPolicy::TrivialAugmentWide(TrivialAugmentWide { interpolation, .. })
            | AugmentPolicy::ImageNet(AutoAugment { interpolation, .. })
            | AugmentPolicy::Cifar10(AutoAugment { interpolation, .. })
            | AugmentPolicy::Svhn(AutoAugment { interpolation, .. })
            | AugmentPolicy::AugMix(AugMix { interpolation, .. }) => *interpolation = how,
        }
        self
    }

    fn fill(&self) -> FillColour {
        match self {
            AugmentPolicy::RandAugment(RandAugment { fill, .. })
            | AugmentPolicy::TrivialAugmentWide(TrivialAugmentWide { fill, .. })
            | AugmentPolicy::ImageNet(AutoAugment { fill, .. })
            | AugmentPolicy::Cifar10(AutoAugment { fill, .. })
            | AugmentPolicy::Svhn(AutoAugment { fill, .. })
            | AugmentPolicy::AugMix(AugMix { fill, .. }) => *fill,
        }
    }

    /// Whether the parameters make sense.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the one that doesn't.
    pub fn validate(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::usage(format!("the policy {self}: {what}")));
        let levels = |levels: usize| match levels {
            2.. => Ok(()),
            _ => wrong(format!("num_magnitude_bins must be at least 2 and is {levels}")),
        };
        match self {
            AugmentPolicy::RandAugment(of) => {
                levels(of.num_magnitude_bins)?;
                if of.magnitude >= of.num_magnitude_bins {
                    let (found, bins) = (of.magnitude, of.num_magnitude_bins);
                    return wrong(format!("magnitude {found} lies beyond the {bins} levels"));
                }
                if !(1..=MOST).contains(&of.num_ops) {
                    return wrong(format!("num_ops must lie between 1 and {MOST}"));
                }
            }
            AugmentPolicy::TrivialAugmentWide(of) => levels(of.num_magnitude_bins)?,
            AugmentPolicy::AugMix(of) => of.check().or_else(wrong)?,
            AugmentPolicy::ImageNet(_) | AugmentPolicy::Cifar10(_) | AugmentPolicy::Svhn(_) => {}
        }
        Ok(())
    }
}

impl std::fmt::Display for AugmentPolicy {
    /// The word: `ra`, `ta_wide`, `imagenet`, `cifar10`, `svhn`, `augmix`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AugmentPolicy::RandAugment(_) => "ra",
            AugmentPolicy::TrivialAugmentWide(_) => "ta_wide",
            AugmentPolicy::ImageNet(_) => "imagenet",
            AugmentPolicy::Cifar10(_) => "cifar10",
            AugmentPolicy::Svhn(_) => "svhn",
            AugmentPolicy::AugMix(_) => "augmix",
        })
    }
}

impl std::str::FromStr for AugmentPolicy {
    type Err = Error;

    /// The policy of a word, with torchvision's defaults.
    fn from_str(word: &str) -> Result<Self> {
        Ok(match word {
            "ra" | "randaugment" => AugmentPolicy::RandAugment(RandAugment::default()),
            "ta_wide" | "trivialaugmentwide" => {
                AugmentPolicy::TrivialAugmentWide(TrivialAugmentWide::default())
            }
            "imagenet" => AugmentPolicy::ImageNet(AutoAugment::default()),
            "cifar10" => AugmentPolicy::Cifar10(AutoAugment::default()),
            "svhn" => AugmentPolicy::Svhn(AutoAugment::default()),
            "augmix" => AugmentPolicy::AugMix(AugMix::default()),
            _ => {
                return Err(Error::usage(format!(
                    "unknown policy of augmentation '{word}'; known: ra, ta_wide, imagenet, cifar10, \
                     svhn, augmix"
                )));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

    const WORDS: [&str; 6] = ["ra", "ta_wide", "imagenet", "cifar10", "svhn", "augmix"];

    #[test]
    fn words_come_back_and_long_ones_mean_the_same() {
        for word in WORDS {
            let policy: AugmentPolicy = word.parse().unwrap();
            assert_eq!(policy.to_string(), word);
            policy.validate().unwrap();
            // The word alone is a whole policy of a file.
            let read: AugmentPolicy = toml::from_str(&format!("type = \"{word}\"")).unwrap();
            assert_eq!(read, policy);
            let text = serde_json::to_string(&policy).unwrap();
            assert_eq!(serde_json::from_str::<AugmentPolicy>(&text).unwrap(), policy, "{text}");
        }
        for (long, short) in [("randaugment", "ra"), ("trivialaugmentwide", "ta_wide")] {
            let long: AugmentPolicy = long.parse().unwrap();
            assert_eq!(long.to_string(), short);
        }
        let error = "autoaugment".parse::<AugmentPolicy>().unwrap_err().to_string();
        assert!(error.contains("'autoaugment'") && error.contains("ta_wide"), "{error}");
    }

    #[test]
    fn files_with_more_than_parameters_are_refused() {
        let read = |text: &str| toml::from_str::<AugmentPolicy>(text);
        assert!(read("type = \"ra\"\nmagnitude = 3").is_ok());
        assert!(read("type = \"ra\"\nmagnitudes = 3").is_err());
        assert!(read("type = \"svhn\"\nmagnitude = 3").is_err());
        assert!(read("magnitude = 3").is_err());
    }

    #[test]
    fn senseless_parameters_are_refused_by_name() {
        let refused = |text: &str, what: &str| {
            let policy: AugmentPolicy = toml::from_str(text).unwrap();
            let error = policy.validate().unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        };
        refused("type = \"ra\"\nmagnitude = 31", "magnitude 31");
        refused("type = \"ra\"\nnum_ops = 0", "num_ops");
        refused("type = \"ra\"\nnum_magnitude_bins = 1", "num_magnitude_bins");
        refused("type = \"ta_wide\"\nnum_magnitude_bins = 0", "num_magnitude_bins");
        refused("type = \"augmix\"\nseverity = 0", "severity");
        refused("type = \"augmix\"\nseverity = 11", "severity");
        refused("type = \"augmix\"\nmixture_width = 0", "mixture_width");
        refused("type = \"augmix\"\nchain_depth = 101", "chain_depth");
        refused("type = \"augmix\"\nalpha = 0.0", "alpha");
        refused("type = \"augmix\"\nalpha = nan", "alpha");
        refused("type = \"augmix\"\ninterpolation = \"bicubic\"", "interpolation");
    }

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
