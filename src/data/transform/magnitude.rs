//! How strong an operation is at a level of a policy: torchvision's `_augmentation_space`.

use super::{Operation, OperationKind};
use crate::rng::Draw;

/// A range of magnitudes; which policies have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Magnitudes {
    /// AutoAugment and RandAugment.
    Narrow,
    /// TrivialAugmentWide.
    Wide,
    /// AugMix.
    Mixing,
}

/// What an operation does with a level.
#[derive(Clone, Copy, Debug, PartialEq)]
enum LevelScale {
    /// It has none.
    Without,
    /// From 0 to the number; in half of the cases the other way round.
    Signed(f64),
    /// From 255 down to 0.
    Threshold,
    /// From so many bits down by so many.
    Bits(i32, f64),
}

impl Magnitudes {
    fn scale(self, kind: OperationKind, height: usize, width: usize) -> LevelScale {
        use OperationKind::*;
        let wide = self == Magnitudes::Wide;
        let across = |side: usize| match self {
            Magnitudes::Narrow => 150.0 / 331.0 * side as f64,
            Magnitudes::Wide => 32.0,
            Magnitudes::Mixing => side as f64 / 3.0,
        };
        match kind {
            Identity | AutoContrast | Equalize | Invert => LevelScale::Without,
            ShearX | ShearY => LevelScale::Signed(if wide { 0.99 } else { 0.3 }),
            TranslateX => LevelScale::Signed(across(width)),
            TranslateY => LevelScale::Signed(across(height)),
            Rotate => LevelScale::Signed(if wide { 135.0 } else { 30.0 }),
            Brightness | Color | Contrast | Sharpness => {
                LevelScale::Signed(if wide { 0.99 } else { 0.9 })
            }
            Solarize => LevelScale::Threshold,
            Posterize => match self {
                Magnitudes::Narrow => LevelScale::Bits(8, 4.0),
                Magnitudes::Wide => LevelScale::Bits(8, 6.0),
                Magnitudes::Mixing => LevelScale::Bits(4, 4.0),
            },
        }
    }

    /// The operation at level `level` of `levels` (at least 2) on an image of this size, reversed if it has a
    /// sign and `negative` says so.
    pub(super) fn operation(
        self,
        kind: OperationKind,
        level: [usize; 2],
        size: [usize; 2],
        negative: impl FnOnce() -> bool,
    ) -> Operation {
        let [at, levels] = level;
        let magnitude = match self.scale(kind, size[0], size[1]) {
            LevelScale::Without => 0.0,
            LevelScale::Signed(most) => {
                let size = linspace(0.0, most, at, levels);
                if negative() { -size } else { size }
            }
            LevelScale::Threshold => linspace(255.0, 0.0, at, levels),
            LevelScale::Bits(most, drop) => {
                // Divided in f32, and halves go to the even number.
                let step = ((levels - 1) as f64 / drop) as f32;
                f64::from(most - (at as f32 / step).round_ties_even() as i32)
            }
        };
        Operation { kind, magnitude }
    }

    /// An operation of a random level below `below`, with a random sign. One draw for the level and one for the
    /// sign, of those that have them.
    pub(super) fn draw(
        self,
        kind: OperationKind,
        [below, levels]: [usize; 2],
        size: [usize; 2],
        draws: &mut impl Draw,
    ) -> Operation {
        let level = match self.scale(kind, size[0], size[1]) {
            LevelScale::Without => 0,
            _ => draws.below(below as u64) as usize,
        };
        self.operation(kind, [level, levels], size, || draws.chance(0.5))
    }
}

/// Value `at` of `count` from `start` to `end`, as PyTorch's `linspace` has it in f32: counted from the nearer
/// end, each value rounded once.
fn linspace(start: f64, end: f64, at: usize, count: usize) -> f64 {
    let (start, end) = (start as f32, end as f32);
    let step = f64::from((end - start) / (count - 1) as f32);
    let value = if at < count / 2 {
        f64::from(start) + step * at as f64
    } else {
        f64::from(end) - step * (count - 1 - at) as f64
    };
    f64::from(value as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use OperationKind::*;

    /// torchvision 0.29's tables for 31 levels, 10 of AutoAugment and AugMix, at 224 × 320.
    #[test]
    fn levels_are_torchvisions() {
        let of = |range: Magnitudes, kind, at, levels| {
            range.operation(kind, [at, levels], [224, 320], || true).magnitude
        };
        assert_eq!(of(Magnitudes::Narrow, ShearX, 9, 31), -0.090_000_003_576_278_69);
        assert_eq!(of(Magnitudes::Narrow, Posterize, 9, 31), 7.0);
        assert_eq!(of(Magnitudes::Narrow, Solarize, 9, 31), 178.5);
        assert_eq!(of(Magnitudes::Narrow, TranslateX, 30, 31), f64::from(-145.0151f32));
        assert_eq!(of(Magnitudes::Wide, TranslateY, 30, 31), -32.0);
        assert_eq!(of(Magnitudes::Wide, Posterize, 30, 31), 2.0);
        assert_eq!(of(Magnitudes::Mixing, Posterize, 2, 10), 3.0);
        assert_eq!(of(Magnitudes::Mixing, TranslateX, 9, 10), f64::from(-320.0f32 / 3.0));
        assert_eq!(of(Magnitudes::Narrow, Equalize, 9, 10), 0.0);
    }
}
