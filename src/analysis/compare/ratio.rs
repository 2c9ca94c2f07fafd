//! Ratios of mean ΔLoss that no column of a comparison has: other sites, detectors and rules for answers that aren't
//! finite, each held against what was published by `reproduce`.

use super::pair::{Compared, ImprovementName, RunPair};
use crate::analysis::compare::{Improvement, Pairing};
use crate::analysis::rates::Intervals;
use crate::analysis::scope::{Scope, Weighting, last_layer};
use crate::detector::Detector;
use crate::results::{Measure, Run};

/// Which layers a ratio is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breadth {
    /// The last one.
    LastLayer,
    /// All, layers alike.
    Overall,
}

/// A ratio of mean ΔLoss, the first run's ÷ the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedRatio {
    pub breadth: Breadth,
    /// Whether the last layer is taken after the scale, and whether the text-guided model's extra Linear counts.
    pub scope: Scope,
    pub detector: Detector,
    /// Whether answers that aren't finite count ([`crate::results::NONFINITE_LOSS`]); else they are left out.
    pub with_nonfinite: bool,
}

/// The ratio; `None` where a run has no such layer or detector, or no answer that counts.
pub fn ratio_of(
    runs: [&Run; 2],
    pairing: Pairing,
    how: &Intervals,
    asked: AskedRatio,
) -> Option<Improvement> {
    let AskedRatio { breadth, scope, detector, with_nonfinite } = asked;
    if runs.iter().any(|run| !run.manifest.plan.detectors.contains(&detector)) {
        return None;
    }
    let layers = match breadth {
        Breadth::LastLayer => {
            let of = |run: &Run| Some(vec![last_layer(run, scope.after_scale)?]);
            [of(runs[0])?, of(runs[1])?]
        }
        Breadth::Overall => runs.map(|run| scope.layers(run)),
    };
    let is_finite = |side: usize| {
        let mut records = layers[side].iter().flat_map(|layer| runs[side].of(*layer, detector));
        records.all(|record| record.delta_loss().is_finite())
    };
    // Where all are finite it is the same mean, and may be one that was counted.
    let measure = match with_nonfinite && !(is_finite(0) && is_finite(1)) {
        true => Measure::DeltaLossOfAll,
        false => Measure::DeltaLoss,
    };
    let name = match breadth {
        Breadth::LastLayer => ImprovementName::LastLayer,
        Breadth::Overall => ImprovementName::Overall { embedding: scope.embedding },
    };
    let pair = RunPair { detector, ..RunPair::new(runs, pairing, how) };
    pair.improvement_of(&Compared { name, layers, weighting: Weighting::Uniform }, [measure; 2])
}
