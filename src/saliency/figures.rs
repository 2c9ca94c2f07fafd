//! How much a map with a fault differs from the one without.

use super::cam::Saliency;

/// The share of an image's pixels whose overlap is measured.
pub const SHARE: f64 = 0.2;

/// Numbers of two maps of one image, both as large as the image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MapFigures {
    /// Pearson's correlation of their pixels; `None` where one of them has the same value everywhere.
    pub correlation: Option<f64>,
    /// Intersection over union of the fifth of the pixels that is most salient in each ([`SHARE`]): those above 0 that
    /// are at least as salient as the last of that fifth. `None` where neither has any.
    pub overlap: Option<f64>,
    /// Distance of their centres of mass, in pixels of the image; `None` where one is 0 everywhere.
    pub shift: Option<f64>,
}

impl MapFigures {
    /// Of maps of an image of `height` × `width`.
    pub fn of(clean: &Saliency, faulty: &Saliency, height: usize, width: usize) -> MapFigures {
        let [clean, faulty] = [clean, faulty].map(|map| map.upsampled(height, width));
        let centres = [&clean, &faulty].map(|map| centre(map, width));
        let shift = match centres {
            [Some([y0, x0]), Some([y1, x1])] => Some((y1 - y0).hypot(x1 - x0)),
            _ => None,
        };
        MapFigures {
            correlation: correlation(&clean, &faulty),
            overlap: overlap(&clean, &faulty),
            shift,
        }
    }
}

/// Values divided by the largest, so that none of their squares is beyond what a number holds.
fn scaled(values: &[f64]) -> Vec<f64> {
    let largest = values.iter().copied().fold(0.0, f64::max);
    values.iter().map(|value| if largest > 0.0 { value / largest } else { 0.0 }).collect()
}

fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    // A map of one value has rounding alone for its spread.
    let is_flat = |values: &[f64]| values.iter().all(|value| *value == values[0]);
    if is_flat(a) || is_flat(b) {
        return None;
    }
    let centred = |values: &[f64]| {
        let values = scaled(values);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.into_iter().map(|value| value - mean).collect::<Vec<f64>>()
    };
    let (a, b) = (centred(a), centred(b));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (spread > 0.0).then(|| (product(&a, &b) / spread).clamp(-1.0, 1.0))
}

fn overlap(a: &[f64], b: &[f64]) -> Option<f64> {
    let most_salient = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let last = (SHARE * values.len() as f64).ceil() as usize;
        let threshold = sorted[last.clamp(1, sorted.len()) - 1];
        move |value: f64| value > 0.0 && value >= threshold
    };
    let (in_a, in_b) = (most_salient(a), most_salient(b));
    let (mut both, mut either) = (0usize, 0usize);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (in_a(*a), in_b(*b));
        both += usize::from(a && b);
        either += usize::from(a || b);
    }
    (either > 0).then(|| both as f64 / either as f64)
}

/// Row and column of the centre of mass.
fn centre(values: &[f64], width: usize) -> Option<[f64; 2]> {
    let values = scaled(values);
    let total: f64 = values.iter().sum();
    let along = |place: fn(usize, usize) -> usize| {
        values.iter().enumerate().map(|(at, value)| value * place(at, width) as f64).sum::<f64>()
    };
    let (row, column) = (along(|at, width| at / width), along(|at, width| at % width));
    (total > 0.0).then(|| [row / total, column / total])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(values: &[f64]) -> Saliency {
        Saliency { height: 3, width: 5, values: values.to_vec() }
    }

    /// numpy 2.4.6 and scipy 1.17.1: corrcoef(a, b)[0, 1]; ndimage.center_of_mass, whose distance is the shift.
    #[test]
    fn figures_are_those_of_scipy() {
        let a = map(&[0.0, 1.0, 2.0, 0.0, 0.5, 3.0, 0.25, 4.0, 1.5, 0.0, 0.0, 2.5, 1.0, 0.75, 0.1]);
        let b = map(&[1.0, 0.0, 2.5, 0.5, 0.0, 0.0, 5.0, 4.5, 0.2, 0.3, 2.0, 0.0, 0.0, 1.0, 0.6]);
        let found = MapFigures::of(&a, &b, 3, 5);
        assert!((found.correlation.unwrap() - CORRELATION).abs() < 1e-12, "{found:?}");
        assert!((found.shift.unwrap() - SHIFT).abs() < 1e-12, "{found:?}");
        // Three of fifteen: 4, 3, 2.5 in a, of which 4 alone is among b's 5, 4.5, 2.5.
        assert_eq!(found.overlap, Some(1.0 / 5.0));
        let same = MapFigures::of(&a, &a, 30, 50);
        assert_eq!((same.overlap, same.shift), (Some(1.0), Some(0.0)));
        assert!((same.correlation.unwrap() - 1.0).abs() < 1e-12);
    }

    const CORRELATION: f64 = 0.2044980445919145;
    const SHIFT: f64 = 0.08740262762799154;

    #[test]
    fn maps_of_nothing_have_no_figures_and_huge_ones_have() {
        let (zero, some) = (map(&[0.0; 15]), map(&[1.0; 15]));
        let none = MapFigures { correlation: None, overlap: None, shift: None };
        assert_eq!(MapFigures::of(&zero, &zero, 6, 10), none);
        // Of one value everywhere all pixels are the most salient ones.
        let found = MapFigures::of(&zero, &some, 6, 10);
        assert_eq!(found, MapFigures { overlap: Some(0.0), ..none });
        let values: Vec<f64> = (0..15).map(|i| f64::from(i) * 1e300).collect();
        let found = MapFigures::of(&map(&values), &map(&values), 6, 10);
        assert!((found.correlation.unwrap() - 1.0).abs() < 1e-12 && found.shift == Some(0.0));
    }
}
