//! Simulated error detectors: what readers see of a faulty value.
//!
//! A detector is a file of this folder and a line of the table below. The file has `ABOUT` (a line for help
//! pages), `NEEDS_RANGES`, `BOUNDS_THE_MEAN` and `see`: what the methods of [`Detector`] of those names say.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::{Deserialize, Serialize};

macro_rules! detectors {
    ($($variant:ident = $number:literal, $word:literal, $file:ident;)+) => {
        $(mod $file;)+

        /// A simulated error detector.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum Detector {
            $(
                #[doc = concat!("The detector `", $word, "`.")]
                #[serde(rename = $word)]
                $variant = $number,
            )+
        }

        impl Detector {
            /// Every detector.
            pub const ALL: [Detector; [$($number),+].len()] = [$(Detector::$variant),+];

            /// The word on the command line and in files.
            pub const fn name(self) -> &'static str {
                match self { $(Detector::$variant => $word),+ }
            }

            /// What it does, in a line.
            pub const fn about(self) -> &'static str {
                match self { $(Detector::$variant => $file::ABOUT),+ }
            }

            /// Whether it has to know the greatest fault-free |value| of what is hit, its range.
            pub const fn needs_ranges(self) -> bool {
                match self { $(Detector::$variant => $file::NEEDS_RANGES),+ }
            }

            /// Whether the values that it lets through are bounded. Without a bound one flipped exponent bit
            /// can carry a whole mean of ΔLoss, and quantiles are given instead.
            pub const fn bounds_the_mean(self) -> bool {
                match self { $(Detector::$variant => $file::BOUNDS_THE_MEAN),+ }
            }

            /// What readers see of `value`, which a fault hit, where the range is `max`.
            pub fn see(self, value: f32, max: f32) -> f32 {
                match self { $(Detector::$variant => $file::see(value, max)),+ }
            }
        }
    };
}

// Name, number in stores, word, file. A number or word that was stored once stays.
detectors! {
    None = 0, "none", none;
    Range = 1, "range", range;
}

impl Detector {
    /// The detector of a number in a store.
    pub fn of_number(number: u64) -> Option<Detector> {
        Detector::ALL.into_iter().find(|detector| *detector as u64 == number)
    }

    /// The first of `detectors` that needs ranges.
    pub fn needing_ranges(detectors: &[Detector]) -> Option<Detector> {
        detectors.iter().copied().find(|detector| detector.needs_ranges())
    }
}

impl ValueEnum for Detector {
    fn value_variants<'a>() -> &'a [Detector] {
        &Detector::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.about()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_clamps_the_faulty_value() {
        let see = |v| Detector::Range.see(v, 3.0);
        assert_eq!([see(2.5), see(-3.0), see(3.5), see(-1e38)], [2.5, -3.0, 3.0, -3.0]);
        assert_eq!([see(f32::INFINITY), see(f32::NEG_INFINITY), see(f32::NAN)], [3.0, -3.0, 3.0]);
        assert!(Detector::None.see(f32::NAN, 3.0).is_nan());
        assert_eq!(see(-0.0).to_bits(), (-0.0f32).to_bits());
    }

    /// Stores hold numbers, manifests and exports words: those of `none` and `range` are what they were.
    #[test]
    fn stored_numbers_and_words_stay() {
        for (number, word, detector) in [(0, "none", Detector::None), (1, "range", Detector::Range)]
        {
            assert_eq!((detector as u64, detector.name()), (number, word));
            assert_eq!(Detector::of_number(number), Some(detector));
            assert_eq!(serde_json::to_value(detector).unwrap(), word);
            assert_eq!(serde_json::from_value::<Detector>(word.into()).unwrap(), detector);
        }
        assert!(Detector::of_number(u64::MAX).is_none());
        assert!(serde_json::from_value::<Detector>("range-check".into()).is_err());
    }
}
