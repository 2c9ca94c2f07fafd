//! What maps each value alone: brightness, contrast, posterising, solarising, inverting, and curves read off
//! the histogram. All go through tables of 256 values, as PIL's `ImageOps` does; blends are `Image.blend`'s.

use super::blend::blend;
use super::colour::grey;
use crate::data::Image8;

/// New values of the 256 old ones.
type ToneCurve = [u8; 256];

fn curve(value: impl Fn(u8) -> u8) -> ToneCurve {
    std::array::from_fn(|old| value(old as u8))
}

fn map(image: &mut Image8, curve: &ToneCurve) {
    for value in &mut image.pixels {
        *value = curve[usize::from(*value)];
    }
}

fn map_channels(image: &mut Image8, curves: &[ToneCurve; 3]) {
    for pixel in image.pixels.chunks_exact_mut(3) {
        for (value, curve) in pixel.iter_mut().zip(curves) {
            *value = curve[usize::from(*value)];
        }
    }
}

/// All values times `factor`: 0 is black, 1 the image (torchvision's `adjust_brightness`).
pub fn brightness(image: &mut Image8, factor: f64) {
    map(image, &curve(|old| blend(0, old, factor as f32)));
}

/// Away from the mean grey value: 0 is grey alone, 1 the image (torchvision's `adjust_contrast`).
pub fn contrast(image: &mut Image8, factor: f64) {
    let sum: u64 = image.pixels.chunks_exact(3).map(|pixel| u64::from(grey(pixel))).sum();
    let mean = sum as f64 / (image.pixels.len() / 3) as f64;
    let mean = (mean + 0.5) as u8;
    map(image, &curve(|old| blend(mean, old, factor as f32)));
}

/// The upper `bits` of each value, 0 to 8; all of them where it is more.
pub fn posterize(image: &mut Image8, bits: u32) {
    let mask = u8::MAX.checked_shl(8u32.saturating_sub(bits)).unwrap_or(0);
    image.pixels.iter_mut().for_each(|value| *value &= mask);
}

/// Values of `threshold` and above are inverted.
pub fn solarize(image: &mut Image8, threshold: f64) {
    let below = |old: u8| f64::from(old) < threshold;
    map(image, &curve(|old| if below(old) { old } else { 255 - old }));
}

/// 255 less each value.
pub fn invert(image: &mut Image8) {
    image.pixels.iter_mut().for_each(|value| *value = 255 - *value);
}

/// How often each value occurs in each channel.
fn histograms(image: &Image8) -> [[u32; 256]; 3] {
    // Two sets by turns: neighbours are often equal, and would wait for each other.
    let mut sets = [[[0u32; 256]; 3]; 2];
    let pairs = image.pixels.chunks_exact(6);
    let rest = pairs.remainder();
    for pair in pairs {
        for (pixel, counts) in pair.chunks_exact(3).zip(&mut sets) {
            for (&value, counts) in pixel.iter().zip(counts) {
                counts[usize::from(value)] += 1;
            }
        }
    }
    let [mut counts, others] = sets;
    for (counts, others) in counts.iter_mut().flatten().zip(others.iter().flatten()) {
        *counts += others;
    }
    for (&value, counts) in rest.iter().zip(&mut counts) {
        counts[usize::from(value)] += 1;
    }
    counts
}

/// Each channel stretched so that its lowest value becomes 0 and its highest 255.
pub fn autocontrast(image: &mut Image8) {
    let curves = histograms(image).map(|counts| {
        let low = counts.iter().position(|&count| count > 0).unwrap_or(0) as u8;
        let high = counts.iter().rposition(|&count| count > 0).unwrap_or(0) as u8;
        if high <= low {
            return curve(|old| old);
        }
        let scale = 255.0 / f64::from(high - low);
        let offset = -f64::from(low) * scale;
        curve(|old| (f64::from(old) * scale + offset) as u8)
    });
    map_channels(image, &curves);
}

/// Each channel with a level histogram, as far as its values allow.
pub fn equalize(image: &mut Image8) {
    let curves = histograms(image).map(|counts| {
        let pixels: u32 = counts.iter().sum();
        let highest = counts.iter().rev().find(|&&count| count > 0).copied().unwrap_or(0);
        let step = (pixels - highest) / 255;
        let mut level = step / 2;
        std::array::from_fn(|old| {
            if step == 0 {
                return old as u8;
            }
            let value = level / step;
            level += counts[old];
            value.min(255) as u8
        })
    });
    map_channels(image, &curves);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of eight pixels one step is 0, and nothing changes; a channel of one value is left alone.
    #[test]
    fn small_and_flat_images_keep_their_values() {
        let pixels: Vec<u8> = (0..8).flat_map(|i| [i * 20, 7, 200]).collect();
        let image = Image8::new(2, 4, pixels).unwrap();
        let mut made = image.clone();
        equalize(&mut made);
        assert_eq!(made, image);
        autocontrast(&mut made);
        assert_eq!(made.pixels[..6], [0, 7, 200, 36, 7, 200]);
        assert_eq!(made.pixels[21..], [255, 7, 200]);
    }

    #[test]
    fn posterizing_keeps_upper_bits() {
        let mut image = Image8::new(1, 1, vec![255, 100, 1]).unwrap();
        posterize(&mut image, 9);
        assert_eq!(image.pixels, [255, 100, 1]);
        posterize(&mut image, 3);
        assert_eq!(image.pixels, [224, 96, 0]);
        posterize(&mut image, 0);
        assert_eq!(image.pixels, [0; 3]);
    }
}
