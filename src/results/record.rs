//! Records: the result of one injection under one detector.

use serde::Serialize;
use strum::IntoStaticStr;

use super::outcome::{Effect, Outcome};
use crate::detector::Detector;
use crate::fault::Site;
use crate::logits::Score;

/// One injection, under one detector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// Index into the campaign's layers.
    pub layer: usize,
    /// Number of the injection within the layer.
    pub n: u64,
    pub detector: Detector,
    pub site: Site,
    /// Index of the image among the evaluation images.
    pub image: usize,
    /// Values that were hit.
    pub flips: u32,
    /// Where, if it was one value.
    pub place: Option<HitElement>,
    pub golden: Score,
    pub effect: Effect,
}

/// The one value that was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HitElement {
    /// Index in PyTorch's order: within the image's output, input, or the parameter; see
    /// [`crate::fault::FaultEntry::element`].
    pub element: u64,
    /// The k or κ of the site; 0 where it has none.
    pub k: u32,
    /// Bits that were to change; 0 where the fault sets the value.
    pub mask: u32,
    /// `None` where the value is inside a kernel, and so unknown.
    pub values: Option<Values>,
}

/// Bits of an f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values {
    /// The golden value; a NaN as the masks find it ([`crate::number::canonical`]).
    pub before: u32,
    /// What the fault made of it.
    pub after: u32,
    /// What readers saw: `after`, or what the detector made of it.
    pub seen: u32,
}

/// Which way the bits of a value flipped. What a cell of memory forgets often has one direction, and a bit that is set
/// in an exponent makes a number larger where one that is cleared makes it smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, IntoStaticStr)]
pub enum Direction {
    /// From 0 to 1.
    #[serde(rename = "0-to-1")]
    #[strum(serialize = "0-to-1")]
    ZeroToOne,
    /// From 1 to 0.
    #[serde(rename = "1-to-0")]
    #[strum(serialize = "1-to-0")]
    OneToZero,
}

impl Direction {
    /// The word in tables and files.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Record {
    /// ΔLoss = |L_golden − L_faulty|; NaN where an answer isn't finite.
    pub fn delta_loss(&self) -> f64 {
        (self.golden.loss - self.effect.score.loss).abs()
    }

    /// ΔLoss with logits divided by the campaign's temperature number `place`; NaN where an answer isn't finite, or
    /// the campaign has no such temperature.
    pub fn delta_loss_at(&self, place: usize) -> f64 {
        self.effect.rescaled.get(place).copied().flatten().unwrap_or(f64::NAN)
    }

    /// |Δp_label|; NaN where an answer isn't finite.
    pub fn delta_p(&self) -> f64 {
        (self.golden.p_label - self.effect.score.p_label).abs()
    }

    /// ΔLoss as quantiles count it: infinite where the fault made the answer nonfinite; NaN where the golden
    /// one isn't finite itself.
    pub fn worst_delta_loss(&self) -> f64 {
        let is_lost = self.effect.outcome == Outcome::Nonfinite && !self.golden.loss.is_nan();
        if is_lost { f64::INFINITY } else { self.delta_loss() }
    }

    /// |Δp_label| as means count it: 1 where the fault made the answer nonfinite; NaN where the golden one
    /// isn't finite itself.
    pub fn worst_delta_p(&self) -> f64 {
        let is_lost = self.effect.outcome == Outcome::Nonfinite && !self.golden.p_label.is_nan();
        if is_lost { 1.0 } else { self.delta_p() }
    }

    /// Bits that were to change, where one value was hit.
    pub fn mask(&self) -> Option<u32> {
        self.place.map(|place| place.mask)
    }

    /// The bits of the value that was hit, where it was one and is known.
    pub fn values(&self) -> Option<Values> {
        self.place.and_then(|place| place.values)
    }

    /// Which way the fault flipped bits: as they were before it. `None` where the value isn't known, several bits
    /// flipped in unlike directions, or none did.
    pub fn direction(&self) -> Option<Direction> {
        let mask = self.mask().filter(|mask| *mask != 0)?;
        match self.values()?.before & mask {
            0 => Some(Direction::ZeroToOne),
            set if set == mask => Some(Direction::OneToZero),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Effect, Golden};

    /// Bits of 1.5, 0x3fc00000: 22 to 29 are set, 30 and 31 aren't. Python: `struct.pack(">f", 1.5).hex()`.
    #[test]
    fn directions_follow_from_the_bits_that_were_there() {
        let golden = Golden::new(0, 0, vec![1.0, 0.0]);
        let direction = |mask: u32, values: Option<Values>, is_one: bool| {
            let place = HitElement { element: 0, k: 0, mask, values };
            let record = Record {
                layer: 0,
                n: 0,
                detector: Detector::None,
                site: Site::Output,
                image: 0,
                flips: 1,
                place: is_one.then_some(place),
                golden: golden.score,
                effect: Effect::unchanged(&golden),
            };
            record.direction().map(Direction::name)
        };
        let before = 1.5f32.to_bits();
        let values = |mask| Some(Values { before, after: before ^ mask, seen: before ^ mask });
        for (mask, expected) in [
            (1 << 30, Some("0-to-1")),
            (1 << 31, Some("0-to-1")),
            (1 << 29, Some("1-to-0")),
            (1 << 22, Some("1-to-0")),
            (1 << 22 | 1 << 23, Some("1-to-0")),
            (1 << 0 | 1 << 31, Some("0-to-1")),
            (1 << 29 | 1 << 30, None),
            (0, None),
        ] {
            assert_eq!(direction(mask, values(mask), true), expected, "{mask:08x}");
            assert_eq!(direction(mask, None, true), None);
            assert_eq!(direction(mask, values(mask), false), None);
        }
    }
}
