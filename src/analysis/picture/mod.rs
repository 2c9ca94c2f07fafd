//! What figures of a run are drawn from: records counted in cells, once, whatever number there is of them.
//!
//! Nothing here draws. A figure that a run can't show is `Err`, a sentence that says why, for the reader.

mod bits;
mod distribution;
mod places;
mod precision;
mod values;

pub use bits::{BitCell, BitLayer, BitTable, NetworkBit, bits};
pub use distribution::{Distribution, LossCurve, distribution};
pub use places::{Binned, LayerPlaces, PlaceGroup, PlaceMaps, places};
pub use precision::{AtInjections, LayerShare, Precision, WeightedPrecision, precision};
pub use values::{SymlogAxis, ValueBins, ValueCell, ValueMaps, values};

use serde::{Serialize, Serializer};

use crate::detector::Detector;
use crate::plan::{Flips, Plan};
use crate::results::{Outcome, Record, Run};

/// A figure's numbers, or why the run has none.
pub type Shown<T> = std::result::Result<T, String>;

/// Cells of fewer records say next to nothing of a rate: figures hatch them.
pub const FEWEST_OF_A_CELL: u64 = 5;

/// How often each outcome came about. Serialised as masked, benign, SDC, nonfinite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    pub masked: u64,
    pub benign: u64,
    pub sdc: u64,
    pub nonfinite: u64,
}

impl Outcomes {
    /// Takes a record.
    pub fn push(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Masked => &mut self.masked,
            Outcome::Benign => &mut self.benign,
            Outcome::Sdc => &mut self.sdc,
            Outcome::Nonfinite => &mut self.nonfinite,
        } += 1;
    }

    /// Takes those of another cell.
    pub fn join(&mut self, other: Outcomes) {
        self.masked += other.masked;
        self.benign += other.benign;
        self.sdc += other.sdc;
        self.nonfinite += other.nonfinite;
    }

    /// Records.
    pub fn n(&self) -> u64 {
        self.masked + self.benign + self.sdc + self.nonfinite
    }

    /// The share with SDC; NaN of no records. Of faults that count alike, as those of one bit of a layer do in every
    /// plan, it is what `report` has.
    pub fn sdc_rate(&self) -> f64 {
        self.sdc as f64 / self.n() as f64
    }

    /// In the order of serialisation.
    pub fn counts(&self) -> [u64; 4] {
        [self.masked, self.benign, self.sdc, self.nonfinite]
    }
}

impl Serialize for Outcomes {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.counts().serialize(serializer)
    }
}

/// The outcomes of records.
pub fn outcomes<'r>(records: impl Iterator<Item = &'r Record>) -> Outcomes {
    let mut all = Outcomes::default();
    records.for_each(|record| all.push(record.effect.outcome));
    all
}

/// The first thing that keeps a run from having any figure under a detector.
fn check(run: &Run, detector: Detector) -> Shown<()> {
    if !run.manifest.plan.detectors.contains(&detector) {
        return Err(format!("The campaign has no detector '{}'.", detector.name()));
    }
    match run.records.iter().any(|record| record.detector == detector) {
        true => Ok(()),
        false => Err("No fault was injected.".into()),
    }
}

/// What a campaign's faults are, where they aren't one bit of one value: the beginning of a sentence.
fn faults_words(plan: &Plan) -> String {
    match plan.flips {
        _ if plan.list.is_some() => "Some faults of the list".into(),
        Flips::Rate(_) => "Faults at a bit error rate".into(),
        Flips::Count(values) if values > 1 => format!("Faults that hit {values} values at once"),
        Flips::Count(_) if plan.bits > 1 => format!("Faults of {} bits", plan.bits),
        Flips::Count(_) => format!("Faults at the site {}", plan.site.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted() {
        let mut all = Outcomes::default();
        [Outcome::Sdc, Outcome::Masked, Outcome::Sdc].into_iter().for_each(|o| all.push(o));
        let mut other = Outcomes { benign: 4, nonfinite: 1, ..Outcomes::default() };
        other.join(all);
        assert_eq!((other.n(), other.counts()), (8, [1, 4, 2, 1]));
        assert_eq!(serde_json::to_string(&other).unwrap(), "[1,4,2,1]");
    }
}
