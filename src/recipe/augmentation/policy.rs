//! Policies of automatic augmentation, as plain values; what they do is in `data/transform`.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Most operations of a chain, and most chains: far beyond what anybody uses, and soon done.
const MOST: usize = 100;

/// Levels of AugMix's magnitudes.
const LEVELS: usize = 10;

/// How a value between pixels is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// The pixel that holds the place.
    #[default]
    Nearest,
    /// Linear between the four pixels around it.
    Bilinear,
    /// Keys' cubic with a = −1 over the sixteen pixels around it.
    Bicubic,
}

/// What the places outside of the image become, (red, green, blue).
pub type FillColour = [u8; 3];

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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpolation: Option<Interpolation>,
    /// What comes in from outside.
    pub fill: FillColour,
}

impl Default for RandAugment {
    fn default() -> Self {
        RandAugment {
            num_ops: 2,
            magnitude: 9,
            num_magnitude_bins: 31,
            interpolation: None,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpolation: Option<Interpolation>,
    /// What comes in from outside.
    pub fill: FillColour,
}

impl Default for TrivialAugmentWide {
    fn default() -> Self {
        TrivialAugmentWide { num_magnitude_bins: 31, interpolation: None, fill: [0; 3] }
    }
}

/// How AutoAugment's operations are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AutoAugment {
    /// Of those that move pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpolation: Option<Interpolation>,
    /// What comes in from outside.
    pub fill: FillColour,
}

/// AugMix. The image's share is Beta(α, α), the rest is divided among the chains by a Dirichlet number; draws
/// come in this order, and then of each chain its depth, if it has none given, and for each operation its
/// kind, its level and its sign, if it has them.
///
/// As in torchvision the chains' operations are those of tensors (`data::transform::Operation::apply_as_tensor`).
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpolation: Option<Interpolation>,
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
            interpolation: None,
            fill: [0; 3],
        }
    }
}

impl AugMix {
    /// What doesn't make sense, if anything.
    fn check(&self) -> std::result::Result<(), String> {
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
        if self.interpolation == Some(Interpolation::Bicubic) {
            return Err("interpolation is nearest or bilinear, as of tensors".into());
        }
        Ok(())
    }
}

impl AugmentPolicy {
    /// How pixels are moved; torchvision's default where nothing is said.
    pub fn interpolation(&self) -> Interpolation {
        let (said, default) = match self {
            AugmentPolicy::RandAugment(RandAugment { interpolation, .. })
            | AugmentPolicy::TrivialAugmentWide(TrivialAugmentWide { interpolation, .. })
            | AugmentPolicy::ImageNet(AutoAugment { interpolation, .. })
            | AugmentPolicy::Cifar10(AutoAugment { interpolation, .. })
            | AugmentPolicy::Svhn(AutoAugment { interpolation, .. }) => {
                (interpolation, Interpolation::Nearest)
            }
            AugmentPolicy::AugMix(AugMix { interpolation, .. }) => {
                (interpolation, Interpolation::Bilinear)
            }
        };
        said.unwrap_or(default)
    }

    /// The same with an interpolation where nothing is said, as torchvision's reference gives its policies the resize's.
    pub fn interpolated(mut self, how: Interpolation) -> Self {
        match &mut self {
            AugmentPolicy::RandAugment(RandAugment { interpolation, .. })
            | AugmentPolicy::TrivialAugmentWide(TrivialAugmentWide { interpolation, .. })
            | AugmentPolicy::ImageNet(AutoAugment { interpolation, .. })
            | AugmentPolicy::Cifar10(AutoAugment { interpolation, .. })
            | AugmentPolicy::Svhn(AutoAugment { interpolation, .. })
            | AugmentPolicy::AugMix(AugMix { interpolation, .. }) => {
                interpolation.get_or_insert(how);
            }
        }
        self
    }

    /// What comes in from outside.
    pub fn fill(&self) -> FillColour {
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
}
