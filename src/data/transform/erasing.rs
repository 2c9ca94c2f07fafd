//! A random rectangle of the normalised image is erased: torchvision's `RandomErasing` (Zhong et al., 2017,
//! *Random Erasing Data Augmentation*).

use super::Area;
use crate::data::{gamma, portable};
use crate::recipe::{ErasedTo, RandomErasing};
use crate::rng::Draw;

/// Attempts to find a rectangle.
const ATTEMPTS: usize = 10;

impl RandomErasing {
    /// The rectangle in an image of this size, if there is one. One draw for whether, two an attempt for share
    /// and ratio, two for top and left. A rectangle is lower and narrower than the image, and may be empty;
    /// after ten that don't fit nothing is erased.
    pub fn draw(&self, height: usize, width: usize, draws: &mut impl Draw) -> Option<Area> {
        if !draws.chance(self.probability) {
            return None;
        }
        let pixels = (height * width) as f64;
        let log_ratio = self.ratio.map(portable::ln);
        for _ in 0..ATTEMPTS {
            let target = pixels * draws.between(self.scale[0], self.scale[1]);
            let aspect = portable::exp(draws.between(log_ratio[0], log_ratio[1]));
            let h = (target * aspect).sqrt().round_ties_even() as usize;
            let w = (target / aspect).sqrt().round_ties_even() as usize;
            if h < height && w < width {
                let top = draws.below((height - h + 1) as u64) as usize;
                let left = draws.below((width - w + 1) as u64) as usize;
                return Some(Area { top, left, height: h, width: w });
            }
        }
        None
    }

    /// Erases a rectangle inside an image of `width` columns and three values a pixel. Random values take two
    /// draws each, row by row.
    pub fn erase(&self, area: Area, width: usize, values: &mut [f32], draws: &mut impl Draw) {
        let rows = values.chunks_exact_mut(width * 3).skip(area.top).take(area.height);
        for row in rows {
            let erased = &mut row[area.left * 3..(area.left + area.width) * 3];
            match self.value {
                ErasedTo::Channels(value) => {
                    erased.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&value));
                }
                ErasedTo::Random => {
                    erased.iter_mut().for_each(|value| *value = gamma::normal(draws) as f32);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

    #[test]
    fn the_rectangle_and_nothing_else_is_erased() {
        let area = Area { top: 1, left: 2, height: 2, width: 3 };
        for value in [ErasedTo::Channels([1.0, 2.0, 3.0]), ErasedTo::Random] {
            let erasing = RandomErasing { value, ..RandomErasing::default() };
            let mut values = vec![9.0; 5 * 6 * 3];
            erasing.erase(area, 6, &mut values, &mut stream(1, "erase"));
            for (at, &found) in values.iter().enumerate() {
                let (y, x, channel) = (at / 18, at / 3 % 6, at % 3);
                let inside = (1..3).contains(&y) && (2..5).contains(&x);
                match value {
                    ErasedTo::Channels(value) if inside => assert_eq!(found, value[channel]),
                    _ => assert_eq!(found != 9.0, inside, "{y} {x}"),
                }
            }
        }
    }

    /// A share of 1 never fits, and nothing is erased after ten attempts: 1 + 20 draws.
    #[test]
    fn what_never_fits_erases_nothing() {
        let erasing =
            RandomErasing { probability: 1.0, scale: [1.0, 1.0], ..RandomErasing::default() };
        let mut draws = stream(1, "never");
        assert_eq!(erasing.draw(8, 8, &mut draws), None);
        let mut counted = stream(1, "never");
        (0..21).for_each(|_| assert!(counted.unit() < 1.0));
        assert_eq!(draws.next_u64(), counted.next_u64());
    }
}
