//! Random brightness, contrast, saturation and hue, in random order: torchvision's `ColorJitter`.

use super::{brightness, contrast, hue, saturation};
use crate::data::Image8;
use crate::recipe::ColorJitter;
use crate::rng::Draw;
use serde::{Deserialize, Serialize};

/// One of the four, and its factor or turn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adjustment {
    /// See [`brightness`].
    Brightness(f64),
    /// See [`contrast`].
    Contrast(f64),
    /// See [`saturation`].
    Saturation(f64),
    /// See [`hue`].
    Hue(f64),
}

impl Adjustment {
    /// Does it.
    pub fn apply(self, image: &mut Image8) {
        match self {
            Adjustment::Brightness(factor) => brightness(image, factor),
            Adjustment::Contrast(factor) => contrast(image, factor),
            Adjustment::Saturation(factor) => saturation(image, factor),
            Adjustment::Hue(turns) => hue(image, turns),
        }
    }
}

impl ColorJitter {
    /// What is done to one image, in this order; of four, or fewer where some are left alone. Draws: three for
    /// the order of the four, then one for each factor that there is.
    pub fn draw(&self, draws: &mut impl Draw) -> [Option<Adjustment>; 4] {
        let mut order = [0, 1, 2, 3];
        draws.shuffle(&mut order);
        let mut factor =
            |range: Option<[f64; 2]>| range.map(|[low, high]| draws.between(low, high));
        let adjustments = [
            factor(self.brightness).map(Adjustment::Brightness),
            factor(self.contrast).map(Adjustment::Contrast),
            factor(self.saturation).map(Adjustment::Saturation),
            factor(self.hue).map(Adjustment::Hue),
        ];
        order.map(|at: usize| adjustments[at])
    }
}
