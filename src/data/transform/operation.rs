//! The operations that policies of augmentation are made of, under torchvision's names.

use super::{
    FillColour, Interpolation, autocontrast, brightness, contrast, equalize, invert, posterize,
    rotate, saturation, sharpness, shear_x, shear_y, solarize, translate_x, translate_y,
};
use crate::data::Image8;
use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr, VariantArray};

/// What is done; what the magnitude means stands in parentheses.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    EnumIter,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
pub enum OperationKind {
    /// Nothing.
    Identity,
    /// Columns move (pixels a row).
    ShearX,
    /// Rows move (pixels a column).
    ShearY,
    /// To the right (pixels, the fraction cut off).
    TranslateX,
    /// Down (pixels, the fraction cut off).
    TranslateY,
    /// Counter-clockwise (degrees).
    Rotate,
    /// Brighter (the factor less 1).
    Brightness,
    /// More saturated (the factor less 1).
    Color,
    /// More contrast (the factor less 1).
    Contrast,
    /// Sharper (the factor less 1).
    Sharpness,
    /// Fewer levels (bits that are kept, the fraction cut off).
    Posterize,
    /// Bright values inverted (the least of them).
    Solarize,
    /// Each channel stretched to all values.
    AutoContrast,
    /// Each channel with a level histogram.
    Equalize,
    /// All values inverted.
    Invert,
}

/// An operation and its magnitude: what torchvision's `_apply_op` is given.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// What is done.
    pub kind: OperationKind,
    /// How much; see the kinds. Those without a meaning for it don't read it.
    pub magnitude: f64,
}

impl Operation {
    /// Does it. `how` and `fill` are read by those that move pixels.
    pub fn apply(self, image: &mut Image8, how: Interpolation, fill: FillColour) {
        let Operation { kind, magnitude } = self;
        match kind {
            OperationKind::Identity => {}
            OperationKind::ShearX => *image = shear_x(image, magnitude, how, fill),
            OperationKind::ShearY => *image = shear_y(image, magnitude, how, fill),
            OperationKind::TranslateX => *image = translate_x(image, magnitude as i64, fill),
            OperationKind::TranslateY => *image = translate_y(image, magnitude as i64, fill),
            OperationKind::Rotate => *image = rotate(image, magnitude, how, fill),
            OperationKind::Brightness => brightness(image, 1.0 + magnitude),
            OperationKind::Color => saturation(image, 1.0 + magnitude),
            OperationKind::Contrast => contrast(image, 1.0 + magnitude),
            OperationKind::Sharpness => sharpness(image, 1.0 + magnitude),
            OperationKind::Posterize => posterize(image, magnitude as u32),
            OperationKind::Solarize => solarize(image, magnitude),
            OperationKind::AutoContrast => autocontrast(image),
            OperationKind::Equalize => equalize(image),
            OperationKind::Invert => invert(image),
        }
    }
}
