//! Maps as pictures.

use super::cam::Saliency;
use super::pair::{MapPair, Seen};
use crate::data::Image8;

/// Colours from nothing to the end of the scale, evenly spaced: dark blue, purple, orange, pale yellow, each lighter than
/// the one before, so that grey and colour-blind eyes see the same order.
const HEAT: [[f64; 3]; 6] = [
    [13.0, 8.0, 80.0],
    [84.0, 15.0, 125.0],
    [158.0, 40.0, 110.0],
    [222.0, 80.0, 62.0],
    [249.0, 155.0, 35.0],
    [252.0, 250.0, 165.0],
];
/// Less saliency, no difference, more; blue and orange as Okabe and Ito have them.
const LESS: [f64; 3] = [0.0, 114.0, 178.0];
const EVEN: [f64; 3] = [247.0, 247.0, 247.0];
const MORE: [f64; 3] = [213.0, 94.0, 0.0];
/// How much of a heated pixel is the map's colour where the map is 0, and at the end of the scale.
const VEIL: [f64; 2] = [0.45, 0.8];
/// Lines of a panel without a map: their distance in pixels, their share of it, and the greys.
const HATCH: (usize, usize, [u8; 3], [u8; 3]) = (10, 2, [240; 3], [165; 3]);

/// The pictures of a pair, all of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct Panels {
    /// The map without the fault over the image in grey, and the one with it, on one scale.
    pub clean: Image8,
    pub faulty: Image8,
    /// With the fault less without: orange where the fault adds, blue where it takes away, on the same scale.
    pub difference: Image8,
}

impl Panels {
    /// The pictures of a pair over `image`, whose size they get. What has no map is hatched.
    pub fn of(pair: &MapPair, image: &Image8) -> Panels {
        let largest = pair.largest();
        let over = |seen: &Seen| match &seen.map {
            Ok(map) => heat(map, image, largest),
            Err(_) => hatched(image.height, image.width),
        };
        let difference = match (&pair.clean.map, &pair.faulty.map) {
            (Ok(clean), Ok(faulty)) => difference(clean, faulty, image, largest),
            _ => hatched(image.height, image.width),
        };
        Panels { clean: over(&pair.clean), faulty: over(&pair.faulty), difference }
    }
}

/// `image` with `side` pixels in its height, nearest neighbours throughout.
pub fn magnified(image: &Image8, height: usize, width: usize) -> Image8 {
    painted(height, width, |row, column| {
        let at = row * image.height / height * image.width + column * image.width / width;
        [0, 1, 2].map(|channel| image.pixels[3 * at + channel])
    })
}

fn painted(height: usize, width: usize, colour: impl Fn(usize, usize) -> [u8; 3]) -> Image8 {
    let mut image = Image8 { height, width, pixels: Vec::with_capacity(3 * height * width) };
    for row in 0..height {
        (0..width).for_each(|column| image.pixels.extend(colour(row, column)));
    }
    image
}

/// A value's share of the scale; a scale that ends at 0 has zeros alone.
fn share(value: f64, largest: f64) -> f64 {
    if largest > 0.0 { (value / largest).clamp(-1.0, 1.0) } else { 0.0 }
}

fn mixed(a: [f64; 3], b: [f64; 3], share: f64) -> [f64; 3] {
    [0, 1, 2].map(|channel| a[channel] + (b[channel] - a[channel]) * share)
}

fn bytes(colour: [f64; 3]) -> [u8; 3] {
    colour.map(|value| value.round() as u8)
}

fn heat(map: &Saliency, image: &Image8, largest: f64) -> Image8 {
    let values = map.upsampled(image.height, image.width);
    painted(image.height, image.width, |row, column| {
        let at = row * image.width + column;
        let pixel = &image.pixels[3 * at..3 * at + 3];
        // Rec. 601's luma.
        let grey: f64 =
            pixel.iter().zip([0.299, 0.587, 0.114]).map(|(v, w)| f64::from(*v) * w).sum();
        let share = share(values[at], largest);
        let place = share * (HEAT.len() - 1) as f64;
        let first = (place as usize).min(HEAT.len() - 2);
        let colour = mixed(HEAT[first], HEAT[first + 1], place - first as f64);
        bytes(mixed([grey; 3], colour, VEIL[0] + (VEIL[1] - VEIL[0]) * share))
    })
}

fn difference(clean: &Saliency, faulty: &Saliency, image: &Image8, largest: f64) -> Image8 {
    let [clean, faulty] = [clean, faulty].map(|map| map.upsampled(image.height, image.width));
    painted(image.height, image.width, |row, column| {
        let at = row * image.width + column;
        let share = share(faulty[at] - clean[at], largest);
        bytes(mixed(EVEN, if share < 0.0 { LESS } else { MORE }, share.abs()))
    })
}

fn hatched(height: usize, width: usize) -> Image8 {
    let (distance, thickness, paper, line) = HATCH;
    painted(height, width, |row, column| match (row + column) % distance < thickness {
        true => line,
        false => paper,
    })
}

#[cfg(test)]
mod tests {
    use super::super::probe::Aim;
    use super::*;

    fn seen(map: std::result::Result<Vec<f64>, String>) -> Seen {
        let map = map.map(|values| Saliency { height: 1, width: 2, values });
        Seen { logits: vec![0.0, 1.0], map }
    }

    fn pair(clean: &[f64], faulty: std::result::Result<Vec<f64>, String>) -> MapPair {
        let (clean, faulty) = (seen(Ok(clean.to_vec())), seen(faulty));
        MapPair { clean, faulty, aim: Aim { class: 1, cosine: false } }
    }

    #[test]
    fn both_maps_have_one_scale() {
        let image = Image8::new(1, 2, vec![100; 6]).unwrap();
        let panels = Panels::of(&pair(&[0.0, 1.0], Ok(vec![4.0, 0.0])), &image);
        let pixel = |image: &Image8, at: usize| image.pixels[3 * at..3 * at + 3].to_vec();
        // The end of the scale over grey 100, four fifths of it: 0.2·100 + 0.8·(252, 250, 165).
        assert_eq!(pixel(&panels.faulty, 0), [222, 220, 152]);
        assert_eq!(pixel(&panels.clean, 0), pixel(&panels.faulty, 1));
        assert_ne!(pixel(&panels.clean, 1), pixel(&panels.faulty, 0));
        assert_eq!(pixel(&panels.difference, 0), bytes(MORE));
        assert_eq!(pixel(&panels.difference, 1), bytes(mixed(EVEN, LESS, 0.25)));
    }

    #[test]
    fn what_has_no_map_is_hatched() {
        let image = Image8::new(20, 30, vec![7; 1800]).unwrap();
        let panels = Panels::of(&pair(&[0.0, 1.0], Err("no map".into())), &image);
        assert_eq!(panels.faulty, hatched(20, 30));
        assert_eq!(panels.difference, hatched(20, 30));
        assert_ne!(panels.clean, hatched(20, 30));
        // Nothing salient anywhere: no division by 0.
        let dark = Panels::of(&pair(&[0.0, 0.0], Ok(vec![0.0, 0.0])), &image);
        assert_eq!(dark.clean, dark.faulty);
        assert_eq!(dark.difference.pixels, vec![247; 1800]);
    }

    #[test]
    fn small_images_are_magnified() {
        let image = Image8::new(1, 2, vec![1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(
            magnified(&image, 2, 4).pixels,
            [[1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]; 2].concat()
        );
    }
}
