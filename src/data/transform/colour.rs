//! Grey values, saturation and hue, as PIL has them.

use super::blend::blend;
use crate::data::Image8;

/// The grey value of a pixel, (19595 R + 38470 G + 7471 B + 2¹⁵) / 2¹⁶ rounded down: PIL's mode `L`, of
/// ITU-R 601-2's luma.
pub(super) fn grey(pixel: &[u8]) -> u8 {
    let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
    ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16) as u8
}

/// torchvision's grey value of a pixel of a tensor: 0.2989 R + 0.587 G + 0.114 B in f32, cut off.
pub(super) fn tensor_grey(pixel: &[u8]) -> u8 {
    let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(f32::from);
    (0.2989 * red + 0.587 * green + 0.114 * blue) as u8
}

/// Each pixel's grey value in all three channels (torchvision's `to_grayscale` with three channels).
pub fn grayscale(image: &mut Image8) {
    for pixel in image.pixels.chunks_exact_mut(3) {
        pixel.fill(grey(pixel));
    }
}

/// Away from grey: 0 is without colour, 1 the image (torchvision's `adjust_saturation`).
pub fn saturation(image: &mut Image8, factor: f64) {
    let factor = factor as f32;
    // Grey values first, for some pixels: what follows then is one loop over all values, which the compiler
    // turns into vectors.
    const VALUES: usize = 3 * 64;
    let mut greys = [0u8; VALUES];
    for values in image.pixels.chunks_mut(VALUES) {
        for (greys, pixel) in greys.chunks_exact_mut(3).zip(values.chunks_exact(3)) {
            greys.fill(grey(pixel));
        }
        for (value, &grey) in values.iter_mut().zip(&greys) {
            *value = blend(grey, *value, factor);
        }
    }
}

/// The colours turned by `turns` of the colour circle, −½ to ½ (torchvision's `adjust_hue`): in 255 steps,
/// cut off towards 0, and added modulo 256 to PIL's hue.
pub fn hue(image: &mut Image8, turns: f64) {
    let shift = (turns * 255.0) as i32 as u8;
    let sextants: [(u8, f32); 256] = std::array::from_fn(|hue| {
        let place = hue as f64 * 6.0 / 255.0;
        (place as u8 % 6, (place - place.floor()) as f32)
    });
    for pixel in image.pixels.chunks_exact_mut(3) {
        let [hue, saturation, value] = to_hsv([pixel[0], pixel[1], pixel[2]]);
        let (sextant, share) = sextants[usize::from(hue.wrapping_add(shift))];
        pixel.copy_from_slice(&from_hsv(sextant, share, saturation, value));
    }
}

/// PIL's hue, saturation and value, each 0 to 255 and cut off.
fn to_hsv([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let high = red.max(green).max(blue);
    let low = red.min(green).min(blue);
    if high == low {
        return [0, 0, high];
    }
    let range = f32::from(high - low);
    let saturation = range / f32::from(high);
    let below = |value: u8| f32::from(high - value) / range;
    let (r, g, b) = (below(red), below(green), below(blue));
    let sextant = if red == high {
        b - g
    } else if green == high {
        (2.0 + f64::from(r) - f64::from(b)) as f32
    } else {
        (4.0 + f64::from(g) - f64::from(r)) as f32
    };
    let turns = f64::from(sextant) / 6.0 + 1.0;
    let hue = (if turns >= 1.0 { turns - 1.0 } else { turns }) as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, high]
}

/// Back, from a sixth of the colour circle and the share of the way through it.
fn from_hsv(sextant: u8, share: f32, saturation: u8, value: u8) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let (saturation, share) = (f64::from(f32::from(saturation) / 255.0), f64::from(share));
    let part = |dark: f64| {
        let product = f64::from(value) * (1.0 - dark);
        // Halves are rounded up; nothing here is negative.
        ((product + 0.5) as i32).clamp(0, 255) as u8
    };
    let [low, falling, rising] = [1.0, share, 1.0 - share].map(|share| part(saturation * share));
    match sextant {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}
