//! Observables: the number of a record that rates and means are made of.

use super::outcome::Outcome;
use super::record::Record;
use crate::statistics::{Target, Unit};

/// What an answer that isn't finite counts in [`Measure::DeltaLossOfAll`], in nats: −ln 2⁻¹⁴⁹, the loss of the least
/// probability that an f32 holds.
pub const NONFINITE_LOSS: f64 = 149.0 * std::f64::consts::LN_2;

/// The number of a record that a rate or a mean is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// ΔLoss. Its mean says something under a detector that bounds it alone. Answers that aren't finite are left
    /// out, and counted.
    DeltaLoss,
    /// The same with logits divided by the campaign's temperature number so and so.
    DeltaLossAt(usize),
    /// ΔLoss, with answers that aren't finite counted as [`NONFINITE_LOSS`].
    DeltaLossOfAll,
    /// |Δp_label|, between 0 and 1; 1, the most that there is, where the faulty answer isn't finite.
    DeltaP,
    /// 1 for the outcome, 0 else: its mean is a rate.
    Is(Outcome),
    /// 1 for SDC that took the golden top-1 out of the top-5: [`super::Effect::is_sdc5`].
    Sdc5,
    /// 1 for SDC or nonfinite.
    SdcOrNonfinite,
}

impl Measure {
    /// Whether its mean is a rate.
    pub fn is_rate(self) -> bool {
        use Measure::*;
        !matches!(self, DeltaLoss | DeltaLossAt(_) | DeltaLossOfAll | DeltaP)
    }

    /// The value of a record.
    pub fn of(self, record: &Record) -> f64 {
        let flag = |yes: bool| f64::from(u8::from(yes));
        match self {
            Measure::DeltaLoss => record.delta_loss(),
            Measure::DeltaLossAt(place) => record.delta_loss_at(place),
            Measure::DeltaLossOfAll => match record.delta_loss() {
                finite if finite.is_finite() => finite,
                _ => NONFINITE_LOSS,
            },
            Measure::DeltaP => record.worst_delta_p(),
            Measure::Is(outcome) => flag(record.effect.outcome == outcome),
            Measure::Sdc5 => flag(record.effect.is_sdc5()),
            Measure::SdcOrNonfinite => {
                flag(matches!(record.effect.outcome, Outcome::Sdc | Outcome::Nonfinite))
            }
        }
    }
}

impl From<Target> for Measure {
    /// What a stopping rule watches.
    fn from(target: Target) -> Measure {
        match target {
            Target::Sdc => Measure::Is(Outcome::Sdc),
            Target::Sdc5 => Measure::Sdc5,
            Target::Nonfinite => Measure::Is(Outcome::Nonfinite),
            Target::SdcOrNonfinite => Measure::SdcOrNonfinite,
            Target::Masked => Measure::Is(Outcome::Masked),
            Target::DeltaP => Measure::DeltaP,
        }
    }
}

/// Which unit of its layer a record belongs to.
pub fn unit_of(unit: Unit, record: &Record) -> u64 {
    match unit {
        Unit::Images => record.image as u64,
        Unit::Injections => record.n,
    }
}
