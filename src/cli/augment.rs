//! Flags that say how training images are changed from epoch to epoch.

use crate::Result;
use crate::recipe::{AugmentPolicy, Augmentation, ColorJitter, Mixing, RandomErasing};

/// What is done to training images; what is absent comes from the recipe.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Augmentation")]
pub struct AugmentArgs {
    /// Smallest and largest share of an image that a random resized crop has; 0.08,1 if absent, and 0.35,1 where --image-size
    /// is below 128
    #[arg(long, value_name = "MIN,MAX", value_parser = parse_pair)]
    crop_scale: Option<[f64; 2]>,
    /// Crop at random out of the image with N black pixels on each side, instead of a random resized crop; 4 is usual for
    /// CIFAR. Nothing is resized, so that images should have about the network's size
    #[arg(long, value_name = "N", conflicts_with = "crop_scale", value_parser = clap::value_parser!(u16).range(..=1024))]
    crop_padding: Option<u16>,
    /// Probability of mirroring left to right; 0.5 if absent
    #[arg(long, value_name = "P", value_parser = parse_probability)]
    hflip_prob: Option<f64>,
    /// Automatic augmentation: ra (RandAugment), ta_wide (TrivialAugmentWide), imagenet, cifar10 or svhn (AutoAugment, learnt
    /// on these), augmix, or none; with torchvision's parameters. Others: policy in the model file's [recipe.augmentation]
    #[arg(long, value_name = "POLICY", value_parser = parse_policy)]
    auto_augment: Option<ChosenPolicy>,
    /// Random changes of brightness, contrast, saturation and hue, as in 0.4,0.4,0.4,0.1; 0 leaves one alone
    #[arg(long, value_name = "B,C,S,H", value_parser = parse_jitter)]
    color_jitter: Option<ColorJitter>,
    /// Erase a random rectangle of an image with this probability; 0 turns it off
    #[arg(long, value_name = "P", value_parser = parse_probability)]
    random_erase: Option<f64>,
    /// Mix each image with its neighbour in the batch, by a share drawn from a Beta distribution of this parameter (mixup);
    /// 0 turns it off
    #[arg(long, value_name = "ALPHA", value_parser = parse_alpha)]
    mixup_alpha: Option<f64>,
    /// Put a box of its neighbour in the batch into each image, of a share drawn from a Beta distribution of this parameter
    /// (CutMix); 0 turns it off. Beside mixup a batch has either, with equal probability
    #[arg(long, value_name = "ALPHA", value_parser = parse_alpha)]
    cutmix_alpha: Option<f64>,
    /// Repeated augmentation: a batch has each of its images N times, each time augmented anew, and an epoch has as many
    /// images as before
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    ra_reps: Option<u32>,
}

impl AugmentArgs {
    /// `base` with the flags' values.
    ///
    /// # Errors
    /// As [`Augmentation::check`].
    pub fn over(&self, base: Augmentation) -> Result<Augmentation> {
        let augmentation = Augmentation {
            // A flag takes the place of the recipe's way to crop.
            crop_scale: self.crop_scale.or(base.crop_scale).filter(|_| self.crop_padding.is_none()),
            crop_padding: self
                .crop_padding
                .map(usize::from)
                .or(base.crop_padding)
                .filter(|_| self.crop_scale.is_none()),
            flip: self.hflip_prob.unwrap_or(base.flip),
            jitter: match self.color_jitter {
                Some(jitter) => Some(jitter).filter(|jitter| *jitter != ColorJitter::default()),
                None => base.jitter,
            },
            policy: match self.auto_augment {
                Some(ChosenPolicy(policy)) => policy,
                None => base.policy,
            },
            erasing: match self.random_erase {
                Some(0.0) => None,
                Some(probability) => {
                    Some(RandomErasing { probability, ..base.erasing.unwrap_or_default() })
                }
                None => base.erasing,
            },
            mixing: Mixing {
                mixup_alpha: self.mixup_alpha.unwrap_or(base.mixing.mixup_alpha),
                cutmix_alpha: self.cutmix_alpha.unwrap_or(base.mixing.cutmix_alpha),
            },
            repetitions: self.ra_reps.unwrap_or(base.repetitions),
        };
        augmentation.check()?;
        Ok(augmentation)
    }
}

/// A policy, or that there is none.
#[derive(Clone, Copy, Debug)]
struct ChosenPolicy(Option<AugmentPolicy>);

fn parse_policy(word: &str) -> std::result::Result<ChosenPolicy, String> {
    match word {
        "none" => Ok(ChosenPolicy(None)),
        word => match word.parse() {
            Ok(policy) => Ok(ChosenPolicy(Some(policy))),
            Err(error) => Err(format!("{error}, none")),
        },
    }
}

fn parse_jitter(text: &str) -> std::result::Result<ColorJitter, String> {
    let numbers: std::result::Result<Vec<f64>, _> = text.split(',').map(str::parse).collect();
    match numbers.as_deref() {
        Ok(&[brightness, contrast, saturation, hue]) => {
            Ok(ColorJitter::of(brightness, contrast, saturation, hue))
        }
        _ => Err("expected four numbers, as in 0.4,0.4,0.4,0.1".into()),
    }
}

fn parse_probability(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a probability is a number from 0 to 1".into()),
    }
}

fn parse_alpha(text: &str) -> std::result::Result<f64, String> {
    let mixes = |alpha| Mixing { mixup_alpha: alpha, ..Mixing::default() }.validate().is_ok();
    match text.parse() {
        Ok(alpha) if mixes(alpha) => Ok(alpha),
        _ => Err("the parameter is 0 or a number from 0.001 to 1,000,000".into()),
    }
}

fn parse_pair(text: &str) -> std::result::Result<[f64; 2], String> {
    let numbers = text.split_once(',').map(|(first, second)| (first.parse(), second.parse()));
    match numbers {
        Some((Ok(first), Ok(second))) => Ok([first, second]),
        _ => Err("expected two numbers, as in 0.08,1".into()),
    }
}
