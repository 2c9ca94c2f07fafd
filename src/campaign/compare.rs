//! Two runs against each other: how much less harm the same faults do in one model.
//!
//! Ratios are μ(baseline) / μ(other) of mean ΔLoss under the range detector: above 1 the other
//! model is better. Layers of equal pair key and shape got the same faults in the same images and
//! are resampled together; layers that only one model has are resampled on their own.

use serde::Serialize;

use super::bootstrap::{REPLICATES, Stratum, Tally, bootstrap, ratio};
use super::outcome::Outcome;
use super::ranges::Detector;
use super::statistics::{
    Estimate, Measure, Scope, Weighting, last_layer, observe, stratum_key, weighted_mean,
};
use super::store::Run;
use crate::{Error, Result};

/// What an interval says of a ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The other model is harmed less.
    Better,
    /// The other model is harmed more.
    Worse,
    /// The interval holds 1.
    NoDifferenceShown,
}

impl Verdict {
    /// The verdict on a ratio.
    pub fn of(ratio: &Estimate) -> Verdict {
        if ratio.low > 1.0 {
            Verdict::Better
        } else if ratio.high < 1.0 {
            Verdict::Worse
        } else {
            Verdict::NoDifferenceShown
        }
    }

    /// The words in a table.
    pub const fn words(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::NoDifferenceShown => "no difference shown",
        }
    }
}

/// An improvement in reliability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Improvement {
    /// Mean ΔLoss of either model, in nats.
    pub baseline: f64,
    pub other: f64,
    /// baseline / other.
    pub ratio: Estimate,
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

/// A rate over all layers, layer-uniform, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RateChange {
    pub detector: Detector,
    pub outcome: Outcome,
    pub baseline: Estimate,
    pub other: Estimate,
    /// other − baseline, in percentage points; Newcombe's interval where neither model has an event.
    pub difference: Estimate,
}

/// Two runs compared. Intervals are percentile intervals of 95 % of a cluster bootstrap.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Baseline's and other's model and head.
    pub models: [String; 2],
    /// The last layer after the scale: like for like, the default. Improvements are `None` where
    /// the runs hold no injections under the range detector, or not into that layer.
    pub last_layer: Option<Improvement>,
    /// The last layer before the scale: where hooks on layers see it.
    pub last_layer_before_scale: Option<Improvement>,
    pub overall: Vec<Overall>,
    /// Mean fault-free Top2Diff over the campaign's images, other − baseline, in percentage points.
    pub top2diff: Estimate,
    /// SDC and nonfinite under each detector.
    pub rates: Vec<RateChange>,
    pub images: usize,
    /// Injections a layer.
    pub injections: u64,
}

/// Compares `other` with `baseline`.
///
/// # Errors
/// [`Error::Usage`] with the reason where the two don't belong together.
pub fn compare(baseline: &Run, other: &Run) -> Result<Comparison> {
    check_pair(baseline, other)?;
    let pair = Pair { baseline, other, seed: baseline.manifest.plan.seed };
    let ranged = baseline.manifest.plan.detectors.contains(&Detector::Range);
    let last = |after_scale| -> Option<Improvement> {
        let layers = [last_layer(baseline, after_scale)?, last_layer(other, after_scale)?];
        ranged.then(|| pair.improvement(layers.map(|l| vec![l]), Weighting::Uniform))?
    };
    let mut overall = Vec::new();
    for embedding in [true, false] {
        for weighting in Weighting::ALL {
            let scope = Scope { embedding, ..Scope::ALL };
            let layers = [scope.layers(baseline), scope.layers(other)];
            if let Some(improvement) = pair.improvement(layers, weighting).filter(|_| ranged) {
                overall.push(Overall { weighting, embedding, improvement });
            }
        }
    }
    let mut rates = Vec::new();
    for detector in &baseline.manifest.plan.detectors {
        for outcome in [Outcome::Sdc, Outcome::Nonfinite] {
            rates.push(pair.rate(*detector, outcome)?);
        }
    }
    let name = |run: &Run| format!("{} {}", run.manifest.provenance.model, run.manifest.head);
    Ok(Comparison {
        models: [name(baseline), name(other)],
        last_layer: last(true),
        last_layer_before_scale: last(false),
        overall,
        top2diff: pair.top2diff(),
        rates,
        images: baseline.manifest.images.len(),
        injections: baseline.manifest.plan.injections_per_layer(),
    })
}

/// Refuses runs whose faults or images aren't the same.
fn check_pair(baseline: &Run, other: &Run) -> Result<()> {
    let (a, b) = (&baseline.manifest, &other.manifest);
    let differ = |what: &str, a: String, b: String| {
        Err(Error::usage(format!("the runs can't be compared: {what} differ ({a} and {b})")))
    };
    if a.provenance.data != b.provenance.data {
        return differ("their data", a.provenance.data.clone(), b.provenance.data.clone());
    }
    if a.image_list != b.image_list {
        let (a, b) = (a.images.len(), b.images.len());
        return differ("their lists of images", format!("{a} images"), format!("{b} images"));
    }
    if a.classes != b.classes {
        return differ("their numbers of classes", a.classes.to_string(), b.classes.to_string());
    }
    if a.plan.seed != b.plan.seed {
        return differ("their seeds", a.plan.seed.to_string(), b.plan.seed.to_string());
    }
    if a.plan.injections != b.plan.injections {
        let range = |plan: &super::Plan| format!("{:?}", plan.injections);
        return differ("their injections a layer", range(&a.plan), range(&b.plan));
    }
    if a.plan.bits != b.plan.bits {
        return differ("their bits a fault", a.plan.bits.to_string(), b.plan.bits.to_string());
    }
    let detectors = |plan: &super::Plan| {
        let mut detectors = plan.detectors.clone();
        detectors.sort();
        detectors.iter().map(|d| d.name()).collect::<Vec<_>>().join("+")
    };
    if detectors(&a.plan) != detectors(&b.plan) {
        return differ("their detectors", detectors(&a.plan), detectors(&b.plan));
    }
    Ok(())
}

/// b − a with the interval that their intervals give, as if they were independent (Newcombe, 1998,
/// *Interval estimation for the difference between independent proportions*, method 10).
fn newcombe(a: &Estimate, b: &Estimate) -> Estimate {
    let value = b.value - a.value;
    Estimate {
        value,
        low: value - (b.value - b.low).hypot(a.high - a.value),
        high: value + (b.high - b.value).hypot(a.value - a.low),
    }
}

struct Pair<'r> {
    baseline: &'r Run,
    other: &'r Run,
    seed: u64,
}

/// Strata of a comparison, and the weight of each in either model.
struct Strata {
    strata: Vec<Stratum>,
    weights: [Vec<f64>; 2],
}

impl Strata {
    fn means(&self, totals: &[[Tally; 2]]) -> [f64; 2] {
        [0, 1].map(|side| weighted_mean(totals.iter().map(|t| t[side]), &self.weights[side]))
    }
}

impl Pair<'_> {
    /// The records of `layers` (indices into either run), those of both models side by side.
    fn strata(
        &self,
        layers: &[Vec<usize>; 2],
        detector: Detector,
        measure: Measure,
        weighting: Weighting,
    ) -> Strata {
        let (a, b) = (&self.baseline.manifest.layers, &self.other.manifest.layers);
        let mut result = Strata { strata: Vec::new(), weights: [Vec::new(), Vec::new()] };
        let mut push = |stratum, a_weight, b_weight| {
            result.strata.push(stratum);
            result.weights[0].push(a_weight);
            result.weights[1].push(b_weight);
        };
        let mut unmatched = layers[1].clone();
        for i in &layers[0] {
            let equal = |j: &usize| a[*i].pair_key == b[*j].pair_key && a[*i].shape == b[*j].shape;
            let matched = unmatched.iter().position(equal).map(|at| unmatched.remove(at));
            let key = stratum_key(&a[*i]);
            let mut stratum = match matched {
                Some(_) => Stratum::new(key),
                None => Stratum::new(format!("{key} of the baseline")),
            };
            observe(&mut stratum, 0, self.baseline, *i, detector, measure);
            if let Some(j) = matched {
                observe(&mut stratum, 1, self.other, j, detector, measure);
            }
            push(stratum, weighting.of(&a[*i]), matched.map_or(0.0, |j| weighting.of(&b[j])));
        }
        for j in unmatched {
            let mut stratum = Stratum::new(format!("{} of the other", stratum_key(&b[j])));
            observe(&mut stratum, 1, self.other, j, detector, measure);
            push(stratum, 0.0, weighting.of(&b[j]));
        }
        result
    }

    /// The ratio of weighted means of ΔLoss; `None` where a model has no observation.
    fn improvement(&self, layers: [Vec<usize>; 2], weighting: Weighting) -> Option<Improvement> {
        let strata = self.strata(&layers, Detector::Range, Measure::DeltaLoss, weighting);
        let totals: Vec<_> = strata.strata.iter().map(Stratum::total).collect();
        let [baseline, other] = strata.means(&totals);
        if baseline.is_nan() || other.is_nan() {
            return None;
        }
        let ratio = bootstrap(&strata.strata, self.seed, REPLICATES, |totals| {
            let [a, b] = strata.means(totals);
            ratio(a, b)
        });
        let nonfinite = |run: &Run, layers: &[usize]| -> u64 {
            let records = layers.iter().flat_map(|layer| run.of(*layer, Detector::Range));
            records.filter(|record| !record.delta_loss().is_finite()).count() as u64
        };
        Some(Improvement {
            baseline,
            other,
            ratio,
            verdict: Verdict::of(&ratio),
            nonfinite: [nonfinite(self.baseline, &layers[0]), nonfinite(self.other, &layers[1])],
        })
    }

    fn rate(&self, detector: Detector, outcome: Outcome) -> Result<RateChange> {
        let layers = [Scope::ALL.layers(self.baseline), Scope::ALL.layers(self.other)];
        let (measure, weighting) = (Measure::Is(outcome), Weighting::Uniform);
        let percent = |estimate: Estimate| Estimate {
            value: 100.0 * estimate.value,
            low: 100.0 * estimate.low,
            high: 100.0 * estimate.high,
        };
        let rate = |run: &Run, layers: &[usize]| {
            super::statistics::network_mean(run, layers, detector, measure, weighting, self.seed)
        };
        let strata = self.strata(&layers, detector, measure, weighting);
        let (baseline, other) = (rate(self.baseline, &layers[0])?, rate(self.other, &layers[1])?);
        let mut difference = bootstrap(&strata.strata, self.seed, REPLICATES, |totals| {
            let [a, b] = strata.means(totals);
            b - a
        });
        // No event in either leaves nothing to resample, which isn't certainty.
        if difference.low == difference.high && self.baseline.manifest != self.other.manifest {
            difference = newcombe(&baseline, &other);
        }
        Ok(RateChange {
            detector,
            outcome,
            baseline: percent(baseline),
            other: percent(other),
            difference: percent(difference),
        })
    }

    fn top2diff(&self) -> Estimate {
        let mut stratum = Stratum::new("top2diff");
        for (side, run) in [self.baseline, self.other].into_iter().enumerate() {
            for row in &run.manifest.images {
                stratum.push(side, row.image, row.judged().top2diff);
            }
        }
        bootstrap(&[stratum], self.seed, REPLICATES, |t| t[0][1].mean() - t[0][0].mean())
    }
}
