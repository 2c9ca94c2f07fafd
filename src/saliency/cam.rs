//! Class activation maps of a layer's output and the target's derivative by it.

use strum::{EnumIter, EnumString, IntoStaticStr};

use crate::Error;
use crate::tensor::Map;

/// How a map is made of activations A and gradients g = ∂y/∂A, of each channel k at each place (i, j).
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", parse_err_ty = Error, parse_err_fn = unknown)]
pub enum Method {
    /// Selvaraju et al., 2017, *Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization*,
    /// equations 1 and 2: ReLU(Σₖ αₖ Aₖ), αₖ the mean of gₖ over all places.
    #[strum(serialize = "grad-cam")]
    GradCam,
    /// Draelos and Carin, 2020, *Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
    /// networks*: Σₖ gₖ·Aₖ, place by place. The ReLU is Grad-CAM's, so that maps of both show the same: what speaks
    /// for the target.
    #[strum(serialize = "hires-cam")]
    HiResCam,
    /// Chattopadhay et al., 2018, *Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep Convolutional
    /// Networks*, equations 5 and 19: ReLU(Σₖ wₖ Aₖ), wₖ = Σᵢⱼ α·ReLU(g), α = g² / (2g² + g³·Σₐᵦ A), 0 where the
    /// denominator is. Higher derivatives are those of exp(y) behind a y that is linear in A; its factor exp(y) > 0,
    /// one number for the whole map, is left out.
    #[strum(serialize = "grad-cam++")]
    GradCamPlusPlus,
    /// Jiang et al., 2021, *LayerCAM: Exploring Hierarchical Class Activation Maps for Localization*, equations 5 to 7:
    /// ReLU(Σₖ ReLU(gₖ)·Aₖ), place by place.
    #[strum(serialize = "layer-cam")]
    LayerCam,
}

fn unknown(word: &str) -> Error {
    Error::unknown::<Method>("method", word)
}

/// A map of saliency: how strongly each place speaks for the target, 0 where it doesn't.
#[derive(Clone, Debug, PartialEq)]
pub struct Saliency {
    pub height: usize,
    pub width: usize,
    /// Row by row; finite, and never below 0.
    pub values: Vec<f64>,
}

impl Method {
    /// The word on the command line.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The name that its authors gave it.
    pub const fn title(self) -> &'static str {
        match self {
            Method::GradCam => "Grad-CAM",
            Method::HiResCam => "HiRes-CAM",
            Method::GradCamPlusPlus => "Grad-CAM++",
            Method::LayerCam => "LayerCAM",
        }
    }

    /// The sum before the last ReLU, row by row; `activations` and `gradients` are channels-last, of one image.
    pub fn signed(self, map: Map, activations: &[f32], gradients: &[f32]) -> Vec<f64> {
        let channels = map.channels;
        // What each channel counts for, where it is one number for all places.
        let weights: Vec<f64> = match self {
            Method::HiResCam | Method::LayerCam => Vec::new(),
            Method::GradCam => {
                let sum = |channel| along(gradients, channels, channel).sum::<f64>();
                (0..channels).map(|channel| sum(channel) / map.pixels() as f64).collect()
            }
            Method::GradCamPlusPlus => (0..channels)
                .map(|channel| {
                    let total: f64 = along(activations, channels, channel).sum();
                    along(gradients, channels, channel).map(|g| plus_plus(g, total)).sum()
                })
                .collect(),
        };
        let place = |(a, g): (&[f32], &[f32])| -> f64 {
            let terms = a.iter().zip(g).enumerate();
            let term = |(channel, (a, g)): (usize, (&f32, &f32))| {
                let weight = match self {
                    Method::HiResCam => f64::from(*g),
                    Method::LayerCam => f64::from(*g).max(0.0),
                    Method::GradCam | Method::GradCamPlusPlus => weights[channel],
                };
                weight * f64::from(*a)
            };
            terms.map(term).sum()
        };
        activations
            .chunks_exact(channels)
            .zip(gradients.chunks_exact(channels))
            .map(place)
            .collect()
    }

    /// The map of a layer called `name`.
    ///
    /// # Errors
    /// Which of the two holds NaN or infinity.
    pub fn map(
        self,
        name: &str,
        map: Map,
        activations: &[f32],
        gradients: &[f32],
    ) -> std::result::Result<Saliency, String> {
        for (values, what) in [(activations, "output"), (gradients, "gradient at the output")] {
            let broken = values.iter().filter(|value| !value.is_finite()).count();
            if broken > 0 {
                let all = values.len();
                return Err(format!(
                    "the {what} of {name} holds {broken} NaN or infinities among {all}"
                ));
            }
        }
        let values = self.signed(map, activations, gradients);
        // f32 to the fourth power at most: beyond f64 only where Grad-CAM++ divides by next to nothing.
        if values.iter().any(|value| !value.is_finite()) {
            return Err(format!("a value of the map of {name} is beyond the largest number"));
        }
        let values = values.into_iter().map(|value| value.max(0.0)).collect();
        Ok(Saliency { height: map.height, width: map.width, values })
    }
}

/// A channel's values, place by place.
fn along(values: &[f32], channels: usize, channel: usize) -> impl Iterator<Item = f64> {
    values.iter().skip(channel).step_by(channels).map(|value| f64::from(*value))
}

/// α·ReLU(g) of Grad-CAM++, where a channel's activations add up to `total`.
fn plus_plus(g: f64, total: f64) -> f64 {
    let (square, cube) = (g * g, g * g * g);
    let denominator = 2.0 * square + total * cube;
    if denominator == 0.0 { 0.0 } else { square / denominator * g.max(0.0) }
}

impl Saliency {
    /// The largest value.
    pub fn largest(&self) -> f64 {
        self.values.iter().copied().fold(0.0, f64::max)
    }

    /// The map as large as `height` × `width`, row by row: bilinear, with pixels as areas whose outermost half keeps the
    /// value of the edge (PyTorch's `interpolate` without `align_corners`).
    pub fn upsampled(&self, height: usize, width: usize) -> Vec<f64> {
        let rows: Vec<_> = (0..height).map(|row| between(row, height, self.height)).collect();
        let columns: Vec<_> = (0..width).map(|column| between(column, width, self.width)).collect();
        let mut values = Vec::with_capacity(height * width);
        for (top, bottom, down) in rows {
            for (left, right, across) in &columns {
                let at = |row: usize, column: usize| self.values[row * self.width + column];
                let line = |row| at(row, *left) * (1.0 - across) + at(row, *right) * across;
                values.push(line(top) * (1.0 - down) + line(bottom) * down);
            }
        }
        values
    }
}

/// The two of `from` places that place `at` of `to` lies between, and how far it is from the first to the second.
fn between(at: usize, to: usize, from: usize) -> (usize, usize, f64) {
    let exact = ((at as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
    let first = (exact as usize).min(from - 1);
    (first, (first + 1).min(from - 1), exact - first as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two places, two channels: (A, g) = (1, 2), (3, −1) at the first, (2, 1), (−1, 0.5) at the second. By hand:
    /// channel means of g are 1.5 and −0.25.
    #[test]
    fn small_maps_are_those_by_hand() {
        let (a, g) = ([1.0, 3.0, 2.0, -1.0], [2.0, -1.0, 1.0, 0.5]);
        let signed = |method: Method| method.signed(Map::new(1, 2, 2), &a, &g);
        assert_eq!(signed(Method::GradCam), [1.5 - 0.75, 3.0 + 0.25]);
        assert_eq!(signed(Method::HiResCam), [2.0 - 3.0, 2.0 - 0.5]);
        assert_eq!(signed(Method::LayerCam), [2.0, 2.0 - 0.5]);
        // Channel 0: Σ A = 3, α = 4/(8 + 24), 1/(2 + 3); w = 2/8 + 1/5. Channel 1: Σ A = 2, only g = 0.5 counts:
        // 0.25/(0.5 + 0.25)·0.5.
        let (first, second) = (0.25 + 0.2, 1.0 / 6.0);
        let found = signed(Method::GradCamPlusPlus);
        for (found, expected) in found.iter().zip([first + 3.0 * second, 2.0 * first - second]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        let map = Method::HiResCam.map("a", Map::new(1, 2, 2), &a, &g).unwrap();
        assert_eq!((map.values.as_slice(), map.largest()), ([0.0, 1.5].as_slice(), 1.5));
    }

    #[test]
    fn what_isn_t_finite_makes_no_map() {
        let (a, g) = ([1.0, f32::INFINITY], [1.0, 1.0]);
        let said = Method::GradCam.map("a.b", Map::new(1, 2, 1), &a, &g).unwrap_err();
        assert_eq!(said, "the output of a.b holds 1 NaN or infinities among 2");
        let said = Method::GradCam.map("a.b", Map::new(1, 2, 1), &g, &[f32::NAN; 2]).unwrap_err();
        assert_eq!(said, "the gradient at the output of a.b holds 2 NaN or infinities among 2");
    }

    /// torch.nn.functional.interpolate([[0, 1], [2, 4]], size=(4, 3), mode="bilinear"), torch 2.15.0.
    #[test]
    fn maps_grow_as_pytorch_s() {
        let map = Saliency { height: 2, width: 2, values: vec![0.0, 1.0, 2.0, 4.0] };
        let expected = [[0.0, 0.5, 1.0], [0.5, 1.125, 1.75], [1.5, 2.375, 3.25], [2.0, 3.0, 4.0]];
        assert_eq!(map.upsampled(4, 3), expected.concat());
        assert_eq!(map.upsampled(2, 2), map.values);
    }

    #[test]
    fn methods_have_the_names_of_the_command_line() {
        for name in ["grad-cam", "hires-cam", "grad-cam++", "layer-cam"] {
            assert_eq!(name.parse::<Method>().unwrap().name(), name);
        }
        let said = "cam".parse::<Method>().unwrap_err().to_string();
        assert!(said.contains("grad-cam, hires-cam, grad-cam++, layer-cam"), "{said}");
    }
}
