//! Comparison of runs: how much less harm the same faults do in one model than in the other.
//!
//! Ratios are μ(baseline) / μ(other) of mean ΔLoss under the range detector: above 1 faults change the other
//! model's loss less. That is no verdict on reliability: the ratio depends on the scale of the logits, which
//! changes no decision, so it has to hold at other scales (`scale.rs`), and the SDC rate has to agree
//! (`verdict.rs`). Layers of equal pair key and shape (and, but
//! for sites in the output, of equal input) got the same faults, and are paired by them; images are the same in
//! all layers. Nothing is paired where runs aren't [`Pairing::Paired`].
//!
//! What runs must have in common, by the fields of their manifests and plans:
//!
//! | field | where it differs |
//! |---|---|
//! | data, classes | refused |
//! | protocol, site, flips (or bit error rate), bits, bits drawn among, labels, detectors | refused |
//! | seed, injections, images (their list, with their labels: the numbers of their classes) | refused of paired runs; unpaired ones each show their own |
//! | stopping rule, strata (allocated: their numbers), list of faults, image size, evaluated images | refused of paired runs; said of unpaired ones, without accuracies where other images were evaluated |
//! | training images that ranges were measured over, and their number | refused of paired runs that both say it; said else |
//! | layers | the layers in common are compared, and named with those left out, where either run was told its layers; refused without any. Whole networks are compared whole, and what only one has is named |
//! | device, compute (the format of factors), version | said; that the faults are the same is looked up in the records |
//! | operations of parameters, which older programs counted otherwise | said; no figure is weighted by them |
//! | temperatures | ΔLoss is compared at those that both asked for by one name, too |
//! | model, head, scale, checkpoint, right images, Top2Diff, ranges, the network without faults (range of the logits, false alarms) | what is compared |
//! | commit, instruction set | no matter: what they change shows in the answers |
//!
//! Where a rule stopped layers, ratios and differences have no interval and no verdict: how many injections a layer
//! has then follows from what they did.
//!
//! How intervals are made (confidence, kind, what varies) is the comparison's own, one for all rows.

mod accuracy;
mod by_bit;
mod by_layer;
mod equivalence;
mod family;
mod fields;
mod layers;
mod pair;
mod pilot;
mod rate;
mod ratio;
mod reading;
mod scale;
mod stopped;
mod verdict;

use serde::Serialize;

pub use accuracy::Accuracy;
pub use by_bit::{BitChange, BitsCompared, compare_bits};
pub use by_layer::LayerChange;
pub use equivalence::{Equivalence, MarginFinding};
pub use layers::{LayersCompared, RANGES_APART, RangesCompared, SameFaults, is_one_place};
pub use pilot::{Needed, PilotForecast, Seeds, VarianceParts, Wish, seeds_for};
pub use ratio::{AskedRatio, Breadth, ratio_of};
pub use reading::{PlannedReading, Reading};
pub use scale::AtScale;
pub use verdict::{Evidence, RULES, Reason, Refusal, Reliability, Verdict};

use crate::analysis::rates::Intervals;
use crate::analysis::scope::Weighting;
use crate::detector::Detector;
use crate::models::Published;
use crate::plan::Temperature;
use crate::results::{FaultFree, Outcome, Run};
use crate::statistics::Estimate;
use crate::{Error, Result};

/// How the published columns are read; the published code doesn't have their formulas.
pub const READING: &str = "The published formulas are not in the published code; our reading: last layer = μ(fc of \
     the baseline) / μ(head of text-guided), overall = (Σ w·μ / Σ w) of the baseline ÷ the same of text-guided, \
     μ = mean ΔLoss of a layer; Top2Diff = mean fault-free Top2Diff, text-guided − baseline, in percentage points.";

/// An improvement in reliability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Improvement {
    /// Mean ΔLoss of either model, in nats.
    pub baseline: f64,
    pub other: f64,
    /// baseline / other.
    pub ratio: Estimate,
    /// Against a ratio of 1, two-sided; `None` without an interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// The same over the family of readings (`family.rs`); `None` of the primary reading, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adjusted_p: Option<f64>,
    pub verdict: Verdict,
    /// Records of either model whose answer isn't finite; they are left out of the means.
    pub nonfinite: [u64; 2],
}

/// An improvement over the whole network, the last layer after the scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Overall {
    pub weighting: Weighting,
    /// Whether the text-guided model's extra Linear counts.
    pub embedding: bool,
    pub improvement: Improvement,
}

/// A rate over all layers, layer-uniform, or of one, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RateChange {
    pub detector: Detector,
    pub outcome: Outcome,
    pub baseline: Estimate,
    pub other: Estimate,
    /// other − baseline, in percentage points; of layers with the same faults from the injections that had the
    /// outcome in one run alone, of others from the two rates. Exactly 0 of one campaign with itself alone.
    pub difference: Estimate,
    /// Against no difference, two-sided; `None` without an interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// The same over the family of readings; `None` of the primary reading, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adjusted_p: Option<f64>,
    pub verdict: Verdict,
    /// Those injections; `None` where no layers have the same faults, a rule stopped them, or a pilot
    /// allocated them.
    #[serde(flatten)]
    pub discordant: Option<Discordant>,
}

/// Injections that had an outcome in one of two runs alone, over the layers with the same faults, each counted
/// once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Discordant {
    pub only_in_baseline: u64,
    pub only_in_other: u64,
    /// Of McNemar's exact test, two-sided.
    pub mcnemar_p: f64,
}

/// Fault-free Top2Diff.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Top2Diff {
    /// Its mean over the campaign's images, other − baseline, in percentage points.
    pub injected: Estimate,
    /// The same over every image that was evaluated, right or wrong; `None` where a run doesn't say.
    pub evaluated: Option<f64>,
}

/// Whether two runs share their faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pairing {
    /// The same images, and in layers of the same sizes the same coordinates and bits.
    Paired,
    /// Each its own: other seeds, numbers of injections or lists of images.
    Unpaired,
}

/// Two runs compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Baseline's and other's model and head.
    pub models: [String; 2],
    /// SHA-256 of either checkpoint.
    pub checkpoints: [String; 2],
    /// `None` where a run doesn't say, or other images were evaluated.
    pub accuracy: Option<Accuracy>,
    /// The last layer after the scale: like for like, the default. Improvements are `None` where
    /// the runs hold no injections under the range detector, or not into that layer.
    pub last_layer: Option<Improvement>,
    /// The last layer before the scale: where hooks on layers see it.
    pub last_layer_before_scale: Option<Improvement>,
    /// The backbone's own last Linear: the baseline's last layer against the text-guided model's extra one.
    pub backbone_last_layer: Option<Improvement>,
    pub overall: Vec<Overall>,
    /// The temperatures of either run.
    #[serde(skip_serializing_if = "lacks_temperatures")]
    pub temperatures: [Vec<Temperature>; 2],
    /// Ratios with the logits of either divided by temperatures that both asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scales: Vec<AtScale>,
    pub top2diff: Top2Diff,
    /// SDC and nonfinite under each detector.
    pub rates: Vec<RateChange>,
    /// The layers that both models have.
    pub by_layer: Vec<LayerChange>,
    /// The reading that was named in advance.
    pub primary: Reading,
    /// How many others have a p-value: what Holm's adjustment is over.
    pub family: usize,
    /// The primary reading held against a margin, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equivalence: Option<Equivalence>,
    pub pairing: Pairing,
    /// In which of the layers in common the faults are the same; `None` where runs aren't paired.
    #[serde(skip_serializing_if = "SameFaults::are_in_all")]
    pub same_faults: Option<SameFaults>,
    /// Which layers were compared, where the runs don't hold the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<LayersCompared>,
    /// How their ranges differ; `None` where a run has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranges: Option<RangesCompared>,
    /// What either says of its network without faults.
    pub fault_free: [Option<FaultFree>; 2],
    /// In what else the runs differ, in words, with the values of either.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
    /// Images that faults hit, of either run.
    pub images: [usize; 2],
    /// The fewest and the most injections of a layer, of either run.
    pub injections: [(u64, u64); 2],
    /// Whether a rule stopped the layers of a run: then ratios and differences have no interval.
    pub stopped: [bool; 2],
    /// Whether means of ΔLoss of the last layer are of every fault in the images, counted, in either run.
    pub counted: [bool; 2],
    pub seeds: [u64; 2],
    /// What was published for the backbone, where the model is one of the published.
    pub published: Option<Published>,
    /// What ΔLoss and the SDC rate say together.
    pub reliability: Reliability,
    /// Why no verdict is given; empty where it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
}

/// Whether neither run has any.
fn lacks_temperatures(of: &[Vec<Temperature>; 2]) -> bool {
    of.iter().all(Vec::is_empty)
}

/// Comparisons side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparisons {
    pub rows: Vec<Comparison>,
    pub intervals: Intervals,
    /// What any reader must know of every row.
    pub footer: Footer,
}

/// How the compared runs were made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Footer {
    pub protocol: String,
    pub detectors: Vec<Detector>,
    pub site: String,
    pub reading: String,
}

/// Compares `other` with `baseline`, with the intervals that are the default.
///
/// # Errors
/// [`Error::Usage`] with the reason where the two don't belong together.
pub fn compare(baseline: &Run, other: &Run) -> Result<Comparison> {
    pair::compare(baseline, other, Pairing::Paired, &Intervals::default(), Reading::default())
}

/// A model of which more is known than its run says.
#[derive(Clone, Copy)]
pub struct Measured<'m> {
    /// What a reason for giving no verdict calls it.
    pub name: &'static str,
    pub run: &'m Run,
    /// Of each evaluated image, whether it is right.
    pub right: &'m [bool],
}

/// Compares two models, the second with the first, with what is known of each image.
///
/// # Errors
/// As [`compare`].
pub fn compare_measured(models: [Measured<'_>; 2]) -> Result<Comparison> {
    let [a, b] = models.map(|model| model.run);
    let how = Intervals::default();
    let mut comparison = compare(a, b)?;
    let only = |one: &[bool], other: &[bool]| {
        one.iter().zip(other).filter(|(one, other)| **one && !**other).count() as u64
    };
    let [right_a, right_b] = models.map(|model| model.right);
    comparison.accuracy = comparison
        .accuracy
        .map(|accuracy| accuracy.paired([right_a, right_b], how.rates, how.confidence));
    let evidence = Evidence {
        names: models.map(|model| model.name),
        only_right: Some([only(right_a, right_b), only(right_b, right_a)]),
        ..Evidence::of([a, b])
    };
    comparison.settle(&evidence, how.confidence);
    Ok(comparison)
}

/// Compares pairs of runs, a row each.
///
/// # Errors
/// [`Error::Usage`] with the reason where two don't belong together, or where there are none.
pub fn compare_all(
    pairs: &[[&Run; 2]],
    pairing: Pairing,
    intervals: &Intervals,
) -> Result<Comparisons> {
    compare_asked(pairs, pairing, intervals, &PlannedReading::default())
}

/// Compares pairs of runs, a row each, by a reading that was named in advance.
///
/// # Errors
/// As [`compare_all`]; where a run doesn't have a reading that isn't the default one.
pub fn compare_asked(
    pairs: &[[&Run; 2]],
    pairing: Pairing,
    intervals: &Intervals,
    question: &PlannedReading,
) -> Result<Comparisons> {
    let Some([first, _]) = pairs.first() else {
        return Err(Error::usage("a comparison takes a baseline and another run at least"));
    };
    let plan = &first.manifest.plan;
    for [run, _] in pairs {
        let other = &run.manifest.plan;
        if other.detectors != plan.detectors
            || other.site != plan.site
            || other.protocol != plan.protocol
        {
            let detail = "the rows of a comparison need the same protocol, detectors and site";
            return Err(Error::usage(detail));
        }
    }
    let primary = question.primary;
    let one = |[baseline, other]: &[&Run; 2], how: &Intervals| {
        pair::compare(baseline, other, pairing, how, primary)
    };
    let mut rows: Vec<Comparison> =
        pairs.iter().map(|pair| one(pair, intervals)).collect::<Result<_>>()?;
    if primary != Reading::default() && rows.iter().any(|row| primary.of(row).is_none()) {
        return Err(Error::usage(format!(
            "--primary {}: the runs have no such reading in common; the detectors are {}",
            primary.name(),
            plan.detectors.iter().map(|detector| detector.name()).collect::<Vec<_>>().join(", ")
        )));
    }
    if let Some(margin) = question.margin {
        let confidence = Equivalence::confidence(intervals.confidence)?;
        let wide = Intervals { confidence, ..*intervals };
        for (row, pair) in rows.iter_mut().zip(pairs) {
            let estimate = primary.of(&one(pair, &wide)?);
            let refused = row.refusals.first().map(|refusal| refusal.reason);
            row.equivalence = Some(Equivalence::of(primary, margin, estimate, confidence, refused));
        }
    }
    let footer = Footer {
        protocol: plan.protocol.name().into(),
        detectors: plan.detectors.clone(),
        site: plan.site.name().into(),
        reading: READING.into(),
    };
    Ok(Comparisons { rows, intervals: *intervals, footer })
}
