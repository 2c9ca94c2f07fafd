//! Mixing the images of a batch: mixup (Zhang et al., 2018, *mixup: Beyond Empirical Risk Minimization*) and
//! CutMix (Yun et al., 2019, *CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
//! Features*), as torchvision's `MixUp` and `CutMix`. Each image is mixed with the one before it in the batch,
//! the first with the last.

use super::gamma;
use super::transform::Area;
use crate::recipe::Mixing;
use crate::rng::Draw;
use crate::{Error, Result};

/// What is done to one batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BatchMix {
    /// [`mixup`] with this share of each image itself.
    Mixup(f64),
    /// [`cutmix`] of this area.
    Cutmix(Area),
}

impl Mixing {
    /// What is done to a batch of images of this size; nothing if there is no α. Draws: one for which, if there
    /// are both, those of [`gamma::beta`], and two for the place of CutMix's centre, column first.
    pub fn draw(&self, height: usize, width: usize, draws: &mut impl Draw) -> Option<BatchMix> {
        let cutmix = match (self.mixup_alpha > 0.0, self.cutmix_alpha > 0.0) {
            (false, false) => return None,
            (true, true) => draws.chance(0.5),
            (_, cutmix) => cutmix,
        };
        let alpha = if cutmix { self.cutmix_alpha } else { self.mixup_alpha };
        let lambda = gamma::beta(alpha, alpha, draws);
        Some(match cutmix {
            false => BatchMix::Mixup(lambda),
            true => {
                let column = draws.below(width as u64) as usize;
                let row = draws.below(height as u64) as usize;
                BatchMix::Cutmix(cutmix_area(height, width, lambda, [row, column]))
            }
        })
    }
}

impl BatchMix {
    /// Does it to images and targets of the given numbers: images, rows, columns.
    ///
    /// # Errors
    /// Those of [`mixup`] and [`cutmix`].
    pub fn apply(self, shape: [usize; 3], images: &mut [f32], targets: &mut [f32]) -> Result<()> {
        match self {
            BatchMix::Mixup(lambda) => mixup(shape, images, targets, lambda),
            BatchMix::Cutmix(area) => cutmix(shape, images, targets, area).map(|_| ()),
        }
    }
}

/// Around a centre (row, column) a rectangle of the share 1 − λ of the image and of its form, its halves cut
/// off to whole pixels, and what lies outside of the image cut off.
pub fn cutmix_area(height: usize, width: usize, lambda: f64, centre: [usize; 2]) -> Area {
    let half = 0.5 * (1.0 - lambda).max(0.0).sqrt();
    let span = |centre: usize, side: usize| {
        let half = (half * side as f64) as usize;
        (centre.saturating_sub(half), (centre + half).min(side))
    };
    let (top, bottom) = span(centre[0], height);
    let (left, right) = span(centre[1], width);
    Area { top, left, height: bottom - top, width: right - left }
}

/// One row a label: 1 at the class, 0 elsewhere. Each label must be below `classes`.
pub fn one_hot(labels: &[u32], classes: usize) -> Vec<f32> {
    let mut targets = vec![0.0; labels.len() * classes];
    for (row, &label) in targets.chunks_exact_mut(classes.max(1)).zip(labels) {
        row[label as usize] = 1.0;
    }
    targets
}

/// Each image becomes λ of itself and 1 − λ of the one before it, and each row of targets likewise: products in
/// f32, then their sum. `shape` is images, rows, columns; images are N × H × W × 3, targets N × classes.
///
/// # Errors
/// [`Error::Shape`] if the numbers of values don't fit; [`Error::Usage`] if λ lies outside of 0 to 1.
pub fn mixup(
    shape: [usize; 3],
    images: &mut [f32],
    targets: &mut [f32],
    lambda: f64,
) -> Result<()> {
    check(shape, images, targets)?;
    if !(0.0..=1.0).contains(&lambda) {
        return Err(Error::usage(format!("mixup's share {lambda} lies outside of 0 to 1")));
    }
    blend_with_previous(shape[0], images, lambda);
    blend_with_previous(shape[0], targets, lambda);
    Ok(())
}

/// Each image gets an area from the one before it. Targets are mixed as by [`mixup`], λ being the share of
/// pixels that stay, which comes back. `shape` is images, rows, columns; images are N × H × W × 3, targets
/// N × classes.
///
/// # Errors
/// [`Error::Shape`] if the numbers of values don't fit, or the area lies outside of the images.
pub fn cutmix(
    shape: [usize; 3],
    images: &mut [f32],
    targets: &mut [f32],
    area: Area,
) -> Result<f64> {
    check(shape, images, targets)?;
    let [count, height, width] = shape;
    let ends = |start: usize, length: usize, side: usize| {
        start.checked_add(length).is_some_and(|end| end <= side)
    };
    if !ends(area.top, area.height, height) || !ends(area.left, area.width, width) {
        let detail = format!("{area:?} doesn't lie inside of {height}×{width}");
        return Err(Error::shape("cutmix", detail));
    }
    let lambda = 1.0 - (area.height * area.width) as f64 / (height * width) as f64;
    let size = height * width * 3;
    let rows = (area.top..area.top + area.height).map(|row| {
        let start = (row * width + area.left) * 3;
        start..start + area.width * 3
    });
    for row in rows {
        let last = (count - 1) * size;
        let kept = images[last + row.start..last + row.end].to_vec();
        for image in (1..count).rev() {
            let from = (image - 1) * size;
            images.copy_within(from + row.start..from + row.end, image * size + row.start);
        }
        images[row].copy_from_slice(&kept);
    }
    blend_with_previous(count, targets, lambda);
    Ok(lambda)
}

fn check([count, height, width]: [usize; 3], images: &[f32], targets: &[f32]) -> Result<()> {
    let values = [count, height, width, 3].iter().try_fold(1usize, |all, &n| all.checked_mul(n));
    if count == 0 || values != Some(images.len()) || !targets.len().is_multiple_of(count) {
        let (images, targets) = (images.len(), targets.len());
        let detail = format!(
            "{images} values of images and {targets} of targets for {count}×{height}×{width}×3"
        );
        return Err(Error::shape("mixing a batch", detail));
    }
    Ok(())
}

/// λ of each of `count` rows and 1 − λ of the one before it.
fn blend_with_previous(count: usize, values: &mut [f32], lambda: f64) {
    let (own, other) = (lambda as f32, (1.0 - lambda) as f32);
    let size = values.len() / count;
    let kept = values[values.len() - size..].to_vec();
    for row in (0..count).rev() {
        let (before, rows) = values.split_at_mut(row * size);
        let previous = if row > 0 { &before[(row - 1) * size..] } else { &kept[..] };
        for (value, &previous) in rows[..size].iter_mut().zip(previous) {
            *value = previous * other + *value * own;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

    #[test]
    fn one_image_mixes_with_itself_and_none_is_refused() {
        let mut images = vec![1.0, 2.0, 3.0];
        let mut targets = vec![0.0, 1.0];
        mixup([1, 1, 1], &mut images, &mut targets, 0.25).unwrap();
        assert_eq!((images, targets), (vec![1.0, 2.0, 3.0], vec![0.0, 1.0]));
        assert!(mixup([0, 1, 1], &mut [], &mut [], 0.5).is_err());
    }

    #[test]
    fn what_doesnt_fit_is_refused() {
        let (mut images, mut targets) = (vec![0.0; 2 * 4 * 5 * 3], vec![0.0; 2 * 7]);
        assert!(mixup([2, 4, 6], &mut images, &mut targets, 0.5).is_err());
        assert!(mixup([2, 4, 5], &mut images, &mut targets[..13], 0.5).is_err());
        assert!(mixup([2, 4, 5], &mut images, &mut targets, f64::NAN).is_err());
        let area = |left, width| Area { top: 0, left, height: 4, width };
        assert!(cutmix([2, 4, 5], &mut images, &mut targets, area(3, 3)).is_err());
        assert!(cutmix([2, 4, 5], &mut images, &mut targets, area(usize::MAX, 3)).is_err());
        assert_eq!(cutmix([2, 4, 5], &mut images, &mut targets, area(0, 5)).unwrap(), 0.0);
    }

    #[test]
    fn each_alpha_chooses_its_kind() {
        let source = stream(3, "mixing");
        let cuts = |mixing: Mixing| {
            mixing.validate().unwrap();
            let drawn = (0..400).map(|n| mixing.draw(8, 8, &mut source.block(n)));
            drawn.filter(|mix| matches!(mix, Some(BatchMix::Cutmix(_)))).count()
        };
        assert_eq!(Mixing::default().draw(8, 8, &mut source.block(0)), None);
        assert_eq!(cuts(Mixing { mixup_alpha: 0.2, cutmix_alpha: 0.0 }), 0);
        assert_eq!(cuts(Mixing { mixup_alpha: 0.0, cutmix_alpha: 1.0 }), 400);
        // Five standard deviations of 400 coins are 50.
        assert!((150..250).contains(&cuts(Mixing { mixup_alpha: 0.2, cutmix_alpha: 1.0 })));
        assert!(Mixing { mixup_alpha: -1.0, cutmix_alpha: 0.0 }.validate().is_err());
        assert!(Mixing { mixup_alpha: 0.0, cutmix_alpha: f64::NAN }.validate().is_err());
    }
}
