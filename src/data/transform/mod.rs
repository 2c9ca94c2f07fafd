//! From a decoded image to the normalised f32 values that a network reads.
//!
//! Transforms are plain values, so that a recipe can hold them and a manifest can print them. What
//! they compute is held against PIL and torchvision by `tests/oracle/preprocessing.py` and
//! `augmentation.py`.

mod affine;
mod augmix;
mod autoaugment;
mod blend;
mod colour;
mod crop;
mod erasing;
mod framed;
mod jitter;
mod magnitude;
mod operation;
mod policy;
mod resize;
mod sharpness;
mod tensor;
mod tone;

pub use affine::{AffineMatrix, affine, rotate, shear_x, shear_y, translate_x, translate_y};
pub use augmix::Mixture;
pub use colour::{grayscale, hue, saturation};
pub use crop::{Area, ChooseArea, centre_crop, crop, flip, pad, place, random_resized_area};
pub use jitter::Adjustment;
pub use operation::{Operation, OperationKind};
pub use policy::DrawnPolicy;
pub use resize::{resize, resize_shorter_side};
pub use sharpness::sharpness;
pub use tone::{autocontrast, brightness, contrast, equalize, invert, posterize, solarize};

use super::{Dataset, Image8};
use crate::models::Input;
pub use crate::recipe::{
    AugMix, AugmentPolicy, Augmentation, AutoAugment, ColorJitter, ErasedTo, FillColour, Filter,
    Interpolation, RandAugment, RandomErasing, TrivialAugmentWide,
};
use crate::rng::{Draw, DrawBlock};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Mean of ImageNet's training images, a channel (red, green, blue), values in [0, 1].
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation to go with [`IMAGENET_MEAN`].
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Bounds of width / height of a random resized crop, torchvision's.
const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

/// How a training picture is cut out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TrainCrop {
    /// A random area, resized to `size` × `size`; see [`random_resized_area`].
    RandomResizedCrop {
        /// Side of the result, in pixels.
        size: usize,
        /// Bounds of the area's share of the image; torchvision: 0.08 and 1.
        scale: [f64; 2],
        /// Bounds of width / height; torchvision: 3/4 and 4/3.
        ratio: [f64; 2],
    },
    /// Black padding on each side, then a `size` × `size` window at a random place.
    RandomCrop {
        /// Side of the result, in pixels.
        size: usize,
        /// Rows and columns added on each side.
        padding: usize,
    },
}

impl TrainCrop {
    /// Side of the result, in pixels.
    pub fn size(&self) -> usize {
        match *self {
            TrainCrop::RandomResizedCrop { size, .. } | TrainCrop::RandomCrop { size, .. } => size,
        }
    }
}

/// What happens to a training image: a random cut, perhaps mirrored, its colours perhaps jittered, a policy of
/// augmentation, normalised, perhaps a rectangle erased. The order is that of torchvision's reference for
/// classification.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainTransform {
    /// The cut.
    pub kind: TrainCrop,
    /// Filter of the resize, if there is one.
    #[serde(default)]
    pub filter: Filter,
    /// Probability of mirroring left to right.
    pub flip_probability: f64,
    /// Random brightness, contrast, saturation and hue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<ColorJitter>,
    /// Automatic augmentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<AugmentPolicy>,
    /// Subtracted from each channel after division by 255.
    pub mean: [f32; 3],
    /// What each channel is divided by then.
    pub std: [f32; 3],
    /// A rectangle of the normalised values that is erased at last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erasing: Option<RandomErasing>,
}

/// What happens to an image in evaluation: resized by its shorter side, cut in the centre,
/// normalised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalTransform {
    /// New length of the shorter side; `None` leaves the image as it is.
    pub resize: Option<usize>,
    /// Side of the central cut.
    pub crop: usize,
    /// Filter of the resize.
    #[serde(default)]
    pub filter: Filter,
    /// Subtracted from each channel after division by 255.
    pub mean: [f32; 3],
    /// What each channel is divided by at last.
    pub std: [f32; 3],
}

impl std::fmt::Display for EvalTransform {
    /// In words: `shorter side to 256 (bilinear), centre 224×224, mean …`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let EvalTransform { resize, crop, filter, mean, std } = self;
        if let Some(side) = resize {
            let filter = match filter {
                Filter::Bilinear => "bilinear",
                Filter::Bicubic => "bicubic",
            };
            write!(f, "shorter side to {side} ({filter}), ")?;
        }
        write!(f, "centre {crop}×{crop}, mean {mean:?}, deviation {std:?}")
    }
}

/// Either of the two.
#[derive(Clone, Copy, Debug, PartialEq)]
// There is one a run, and a box couldn't be copied.
#[allow(clippy::large_enum_variant)]
pub enum Transform {
    /// Random, keyed by seed, epoch and sample.
    Train(TrainTransform),
    /// The same for every epoch.
    Eval(EvalTransform),
}

impl From<TrainTransform> for Transform {
    fn from(transform: TrainTransform) -> Self {
        Transform::Train(transform)
    }
}

impl From<EvalTransform> for Transform {
    fn from(transform: EvalTransform) -> Self {
        Transform::Eval(transform)
    }
}

impl TrainTransform {
    /// torchvision's training transform for ImageNet at a given size: random resized crop, mirrored
    /// half of the time.
    pub fn imagenet(size: usize) -> Self {
        TrainTransform {
            kind: TrainCrop::RandomResizedCrop { size, scale: [0.08, 1.0], ratio: RATIO },
            filter: Filter::Bilinear,
            flip_probability: 0.5,
            jitter: None,
            policy: None,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
            erasing: None,
        }
    }

    /// That of [`augmented`](TrainTransform::augmented) images of `size` × `size`: where the recipe doesn't say, a random
    /// resized crop, of small images of more than ImageNet's 8 %.
    pub fn of_folder(input: &Input, size: usize, augmentation: &Augmentation) -> Self {
        let scale = if size < 128 { [0.35, 1.0] } else { [0.08, 1.0] };
        let crop = TrainCrop::RandomResizedCrop { size, scale, ratio: RATIO };
        TrainTransform::augmented(input, crop, augmentation)
    }

    /// What a model file's input asks for, with the given cut: its filter, mean and deviation;
    /// mirrored half of the time.
    pub fn of(input: &Input, kind: TrainCrop) -> Self {
        let Input { interpolation: filter, mean, std, .. } = *input;
        TrainTransform { kind, filter, mean, std, ..TrainTransform::imagenet(input.size) }
    }

    /// What a model file's input asks for, augmented as a recipe says; cut as in `crop` where it doesn't.
    pub fn augmented(input: &Input, crop: TrainCrop, augmentation: &Augmentation) -> Self {
        let size = crop.size();
        let kind = match (augmentation.crop_padding, augmentation.crop_scale) {
            (Some(padding), _) => TrainCrop::RandomCrop { size, padding },
            (None, Some(scale)) => TrainCrop::RandomResizedCrop { size, scale, ratio: RATIO },
            (None, None) => crop,
        };
        let how = match input.interpolation {
            Filter::Bilinear => Interpolation::Bilinear,
            Filter::Bicubic => Interpolation::Bicubic,
        };
        TrainTransform {
            flip_probability: augmentation.flip,
            jitter: augmentation.jitter,
            policy: augmentation.policy.map(|policy| policy.interpolated(how)),
            erasing: augmentation.erasing,
            ..TrainTransform::of(input, kind)
        }
    }

    /// The augmented picture in 8 bits, before normalisation. Draws, in this order: those of the
    /// cut (share, ratio, … top, left; or top, left), one for mirroring, those of the jitter and of the policy,
    /// where there are any.
    ///
    /// # Errors
    /// [`Error::Shape`] if a random crop doesn't fit into the padded image.
    pub fn picture(&self, image: &Image8, draws: &mut impl Draw) -> Result<Image8> {
        let part = |choose: &mut ChooseArea<'_>| {
            let area = choose(image.height, image.width);
            let is_whole = area == Area::whole(image.height, image.width);
            Ok(if is_whole { Cow::Borrowed(image) } else { Cow::Owned(crop(image, area)) })
        };
        self.picture_of(part, draws)
    }

    /// As [`picture`](Self::picture), from a function that gives the part of the image which is chosen for its
    /// height and width.
    fn picture_of<'a>(
        &self,
        part: impl FnOnce(&mut ChooseArea<'_>) -> Result<Cow<'a, Image8>>,
        draws: &mut impl Draw,
    ) -> Result<Image8> {
        let mut picture = match self.kind {
            TrainCrop::RandomResizedCrop { size, scale, ratio } => {
                let area = part(&mut |height, width| {
                    random_resized_area(height, width, scale, ratio, draws)
                })?;
                resize(&area, size, size, self.filter)
            }
            TrainCrop::RandomCrop { size, padding } => {
                let image = &part(&mut Area::whole)?;
                let (height, width) = (image.height + 2 * padding, image.width + 2 * padding);
                if height < size || width < size {
                    let detail = format!(
                        "a random crop of {size}×{size} doesn't fit into {}×{} padded by {padding}; a random resized \
                         crop would",
                        image.height, image.width
                    );
                    return Err(Error::shape("augmentation", detail));
                }
                let top = draws.below((height - size + 1) as u64) as usize;
                let left = draws.below((width - size + 1) as u64) as usize;
                let area = Area { top, left, height: size, width: size };
                crop(&pad(image, padding, padding, padding, padding), area)
            }
        };
        if draws.chance(self.flip_probability) {
            flip(&mut picture);
        }
        if let Some(jitter) = self.jitter {
            let adjustments = jitter.draw(draws);
            adjustments.into_iter().flatten().for_each(|one| one.apply(&mut picture));
        }
        if let Some(policy) = self.policy {
            let augmentation = policy.draw(picture.height, picture.width, draws);
            policy.apply(&augmentation, &mut picture);
        }
        Ok(picture)
    }
}

impl EvalTransform {
    /// torchvision's evaluation transform for ImageNet.
    pub fn imagenet(resize: usize, crop: usize) -> Self {
        EvalTransform {
            resize: Some(resize),
            crop,
            filter: Filter::Bilinear,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
        }
    }

    /// What a model file's input asks for, at `image_size`. At another size than the file's there
    /// is no margin to cut off: the shorter side becomes `image_size`.
    pub fn of(input: &Input, image_size: usize) -> Self {
        let Input { size, resize, interpolation: filter, mean, std } = *input;
        let resize = resize.filter(|_| image_size == size).unwrap_or(image_size);
        EvalTransform { resize: Some(resize), crop: image_size, filter, mean, std }
    }

    /// The resized and cut picture in 8 bits, before normalisation.
    pub fn picture(&self, image: &Image8) -> Image8 {
        match self.resize {
            Some(size) => centre_crop(&resize_shorter_side(image, size, self.filter), self.crop),
            None => centre_crop(image, self.crop),
        }
    }
}

impl Transform {
    /// Rows and columns of what comes out.
    pub fn size(&self) -> usize {
        match self {
            Transform::Eval(eval) => eval.crop,
            Transform::Train(train) => train.kind.size(),
        }
    }

    /// Transforms an image into `out`, `size()` × `size()` × 3 values, channels last. `augment` is
    /// the sample's block of the epoch's stream; evaluation ignores it.
    ///
    /// # Errors
    /// [`Error::Shape`] if `out` has another length or the image is too small for the crop.
    pub fn apply(&self, image: &Image8, augment: &mut DrawBlock, out: &mut [f32]) -> Result<()> {
        let (picture, mean, std) = match self {
            Transform::Train(train) => (train.picture(image, augment)?, train.mean, train.std),
            Transform::Eval(eval) => (eval.picture(image), eval.mean, eval.std),
        };
        Self::finish(&picture, mean, std, out)?;
        self.erase(picture.width, augment, out);
        Ok(())
    }

    /// As [`apply`](Self::apply), of image `i` of a data set, of which no more is decoded than is needed.
    ///
    /// # Errors
    /// Those of [`apply`](Self::apply) and of [`Dataset::image_part`].
    pub fn apply_to(
        &self,
        dataset: &dyn Dataset,
        i: usize,
        augment: &mut DrawBlock,
        out: &mut [f32],
    ) -> Result<()> {
        match self {
            Transform::Train(train) => {
                let part =
                    |choose: &mut ChooseArea<'_>| dataset.image_part(i, choose).map(Cow::Owned);
                let picture = train.picture_of(part, augment)?;
                Self::finish(&picture, train.mean, train.std, out)?;
                self.erase(picture.width, augment, out);
                Ok(())
            }
            Transform::Eval(_) => self.apply(&dataset.image(i)?, augment, out),
        }
    }

    /// Erases of a normalised image of `width` columns what is to be erased.
    fn erase(&self, width: usize, draws: &mut DrawBlock, out: &mut [f32]) {
        if let Transform::Train(TrainTransform { erasing: Some(erasing), .. }) = self
            && let Some(area) = erasing.draw(out.len() / (width * 3), width, draws)
        {
            erasing.erase(area, width, out, draws);
        }
    }

    fn finish(picture: &Image8, mean: [f32; 3], std: [f32; 3], out: &mut [f32]) -> Result<()> {
        if out.len() != picture.pixels.len() {
            let detail = format!("{} values for {}", out.len(), picture.pixels.len());
            return Err(Error::shape("transform output", detail));
        }
        normalise(picture, mean, std, out);
        Ok(())
    }

    /// Whether the values make sense.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the value that doesn't.
    pub fn validate(&self) -> Result<()> {
        let (std, flip_probability) = match self {
            Transform::Train(train) => (train.std, train.flip_probability),
            Transform::Eval(eval) => (eval.std, 0.0),
        };
        let wrong = |what: &str| Err(Error::usage(format!("the transform's {what}")));
        if self.size() == 0 {
            return wrong("size is 0");
        }
        if let Transform::Eval(EvalTransform { resize: Some(0), .. }) = self {
            return wrong("resize is 0");
        }
        if std.iter().any(|&value| !value.is_finite() || value <= 0.0) {
            return wrong("std must be above 0");
        }
        if !(0.0..=1.0).contains(&flip_probability) {
            return wrong("flip probability must lie between 0 and 1");
        }
        match self {
            Transform::Train(train) => train.check_parts(),
            Transform::Eval(_) => Ok(()),
        }
    }
}

impl TrainTransform {
    /// Whether the parts' own values make sense.
    fn check_parts(&self) -> Result<()> {
        if let TrainCrop::RandomResizedCrop { scale, ratio, .. } = self.kind {
            let ordered = |[low, high]: [f64; 2]| low > 0.0 && low <= high && high.is_finite();
            if !ordered(scale) || !ordered(ratio) {
                let detail =
                    "the transform's scale and ratio must be positive, the lower bound first";
                return Err(Error::usage(detail));
            }
        }
        self.jitter.map_or(Ok(()), |jitter| jitter.validate())?;
        self.policy.map_or(Ok(()), |policy| policy.validate())?;
        self.erasing.map_or(Ok(()), |erasing| erasing.validate())
    }
}

/// (v / 255 − mean) / std for each value, in f32 and in this order of operations, as torchvision's
/// `ToTensor` and `Normalize`; the bits are theirs.
pub fn normalise(image: &Image8, mean: [f32; 3], std: [f32; 3], out: &mut [f32]) {
    // 256 possible values a channel: a table saves two divisions a pixel.
    let mut table = [[0f32; 256]; 3];
    for channel in 0..3 {
        for (value, entry) in table[channel].iter_mut().enumerate() {
            *entry = (value as f32 / 255.0 - mean[channel]) / std[channel];
        }
    }
    for (values, pixel) in out.chunks_exact_mut(3).zip(image.pixels.chunks_exact(3)) {
        for channel in 0..3 {
            values[channel] = table[channel][usize::from(pixel[channel])];
        }
    }
}
