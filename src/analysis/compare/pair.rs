//! One comparison: which layers stand against which, and its ratios; rates are in
//! `rate.rs`.

use strum::IntoEnumIterator;

use super::{fields, layers};
use crate::analysis::compare::layers::have_the_same_faults;
use crate::analysis::compare::{
    Accuracy, Comparison, Evidence, Improvement, Overall, Pairing, Reading, Reliability, Top2Diff,
    Verdict,
};
use crate::analysis::rates::{Intervals, are_enough, counted, group_of, observe, observe_counted};
use crate::analysis::scope::{Scope, Weighting, last_layer};
use crate::detector::Detector;
use crate::error::{MOST_NAMED, some_of};
use crate::models::ModelFile;
use crate::results::{Measure, Part, Run};
use crate::statistics::{
    Estimate, Linearized, MeanFigure, Stratum, estimate, linearize, weighted_means,
};
use crate::{Error, Result};

/// Compares `other` with `baseline`.
pub(super) fn compare(
    baseline: &Run,
    other: &Run,
    pairing: Pairing,
    how: &Intervals,
    primary: Reading,
) -> Result<Comparison> {
    let differences = fields::check(&baseline.manifest, &other.manifest, pairing)?;
    if pairing == Pairing::Paired {
        layers::check_faults(baseline, other)?;
    }
    let whole = RunPair::new([baseline, other], pairing, how);
    let Some((reduced, layers)) = layers::in_common(baseline, other) else {
        let layers = layers::of_whole_networks(baseline, other);
        let comparison = Comparison { layers, differences, primary, ..whole.comparison()? };
        return Ok(settled(comparison, baseline, other, how));
    };
    // A reading across names, which the layers in common don't hold.
    let backbone_last_layer = whole.improvement(ImprovementName::BackboneLast);
    if layers.common.is_empty() && backbone_last_layer.is_none() {
        let [a, b] = layers.left_out.each_ref().map(|names| some_of(names, MOST_NAMED));
        return Err(Error::usage(format!(
            "the runs can't be compared: they have no layer in common ({a} of the one, {b} of the other)"
        )));
    }
    let pair = RunPair::new(reduced.each_ref(), pairing, how);
    let comparison = pair.comparison()?;
    // What was published is of all layers.
    let (layers, published) = (Some(layers), None);
    let comparison =
        Comparison { backbone_last_layer, layers, differences, published, primary, ..comparison };
    Ok(settled(comparison, baseline, other, how))
}

/// With its verdicts.
fn settled(comparison: Comparison, baseline: &Run, other: &Run, how: &Intervals) -> Comparison {
    let mut comparison = comparison.judged_if_not_stopped();
    comparison.settle(&Evidence::of([baseline, other]), how.confidence);
    comparison
}

/// Which improvement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ImprovementName {
    LastLayer,
    BeforeScale,
    BackboneLast,
    Overall {
        embedding: bool,
    },
    /// One layer beside its counterpart.
    Layer,
}

/// The layers of either run that an improvement is of, as indices, and how they are weighted.
pub(super) struct Compared {
    pub name: ImprovementName,
    pub layers: [Vec<usize>; 2],
    pub weighting: Weighting,
}

/// A layer of one model beside that of the other, where they are the same layer.
pub(super) type Beside = [Option<usize>; 2];

pub(super) struct RunPair<'r> {
    pub runs: [&'r Run; 2],
    pub pairing: Pairing,
    /// Under which means of ΔLoss are.
    pub detector: Detector,
    pub how: &'r Intervals,
    /// Whether both are one campaign, but for the choice of layers.
    pub is_of_itself: bool,
}

impl<'r> RunPair<'r> {
    pub(super) fn new(runs: [&'r Run; 2], pairing: Pairing, how: &'r Intervals) -> RunPair<'r> {
        let [a, b] = runs.map(|run| {
            let mut manifest = run.manifest.clone();
            manifest.plan.layers = None;
            manifest
        });
        RunPair { runs, pairing, detector: Detector::Range, how, is_of_itself: a == b }
    }
}

impl RunPair<'_> {
    pub(super) fn each<T>(&self, of: impl Fn(&Run) -> T) -> [T; 2] {
        self.runs.map(of)
    }

    /// All figures of the runs' layers.
    fn comparison(&self) -> Result<Comparison> {
        let [baseline, other] = self.runs;
        let scopes = self.scopes();
        let improvements = self.improvements(&scopes);
        let find = |name: ImprovementName| {
            let at = scopes.iter().position(|scope| scope.name == name)?;
            improvements[at]
        };
        let overall = scopes.iter().zip(&improvements).filter_map(|(scope, improvement)| {
            let ImprovementName::Overall { embedding } = scope.name else { return None };
            let weighting = scope.weighting;
            improvement.map(|improvement| Overall { weighting, embedding, improvement })
        });
        let model = &other.manifest.setting.provenance.model;
        let [a, b] = self.each(|run| run.manifest.setting.provenance.evaluated);
        let of_both = |figure: &dyn Fn(&Run) -> Option<f64>| {
            // Figures of other images aren't beside each other.
            Some([figure(baseline)?, figure(other)?]).filter(|_| a == b)
        };
        Ok(Comparison {
            models: self.each(|run| {
                format!("{} {}", run.manifest.setting.provenance.model, run.manifest.setting.head)
            }),
            checkpoints: self.each(|run| run.manifest.setting.provenance.checkpoint.clone()),
            accuracy: Accuracy::of_counts(self.runs, self.how.rates, self.how.confidence)
                .filter(|_| a == b),
            last_layer: find(ImprovementName::LastLayer),
            last_layer_before_scale: find(ImprovementName::BeforeScale),
            backbone_last_layer: find(ImprovementName::BackboneLast),
            overall: overall.collect(),
            temperatures: self.each(|run| run.manifest.plan.temperatures.clone()),
            scales: self.scales(&scopes),
            top2diff: Top2Diff {
                injected: self.top2diff(),
                evaluated: of_both(&|run| run.manifest.setting.provenance.top2diff)
                    .map(|[a, b]| b - a),
            },
            rates: self.rates()?,
            by_layer: self.by_layer()?,
            primary: Reading::default(),
            family: 0,
            equivalence: None,
            pairing: self.pairing,
            same_faults: (self.pairing == Pairing::Paired)
                .then(|| layers::same_faults(baseline, other)),
            layers: None,
            ranges: layers::ranges(baseline, other),
            fault_free: self.each(|run| run.manifest.fault_free),
            differences: Vec::new(),
            images: self.each(|run| run.manifest.images.len()),
            injections: self.each(|run| run.injections()),
            stopped: self.each(|run| run.manifest.plan.until.is_some()),
            counted: self.each(|run| !run.counted.is_empty()),
            seeds: self.each(|run| run.manifest.plan.seed),
            published: ModelFile::open(model).ok().and_then(|file| file.published),
            reliability: Reliability::UNKNOWN,
            refusals: Vec::new(),
        })
    }

    /// One improvement alone.
    fn improvement(&self, name: ImprovementName) -> Option<Improvement> {
        let scopes: Vec<Compared> =
            self.scopes().into_iter().filter(|scope| scope.name == name).collect();
        self.improvements(&scopes).first().copied().flatten()
    }

    /// What is compared; what a model doesn't have is left out.
    fn scopes(&self) -> Vec<Compared> {
        if !self.runs[0].manifest.plan.detectors.contains(&Detector::Range) {
            return Vec::new();
        }
        let weighting = Weighting::Uniform;
        let one = |name, layers: [Option<usize>; 2]| {
            let [Some(a), Some(b)] = layers else { return None };
            Some(Compared { name, layers: [vec![a], vec![b]], weighting })
        };
        let embedding =
            self.runs[1].manifest.layers.iter().position(|layer| layer.part == Part::Embedding);
        let mut scopes: Vec<Compared> = [
            one(ImprovementName::LastLayer, self.each(|run| last_layer(run, true))),
            one(ImprovementName::BeforeScale, self.each(|run| last_layer(run, false))),
            one(ImprovementName::BackboneLast, [last_layer(self.runs[0], false), embedding]),
        ]
        .into_iter()
        .flatten()
        .collect();
        let has_macs = !fields::counts_differ(&self.runs[0].manifest, &self.runs[1].manifest);
        for embedding in [true, false] {
            for weighting in Weighting::iter().filter(|w| *w != Weighting::Macs || has_macs) {
                let scope = Scope { embedding, ..Scope::ALL };
                let layers = self.each(|run| scope.layers(run));
                scopes.push(Compared {
                    name: ImprovementName::Overall { embedding },
                    layers,
                    weighting,
                });
            }
        }
        scopes
    }

    /// Layers beside those that got the same faults; the others alone.
    pub(super) fn match_layers(&self, layers: &[Vec<usize>; 2]) -> Vec<Beside> {
        let [a, b] = self.runs.map(|run| &run.manifest.layers);
        let mut unmatched = layers[1].clone();
        let mut result = Vec::new();
        for i in &layers[0] {
            let equal = |j: &usize| {
                let site = self.runs[0].manifest.plan.site;
                self.pairing == Pairing::Paired && have_the_same_faults(&a[*i], &b[*j], site)
            };
            let matched = unmatched.iter().position(equal).map(|at| unmatched.remove(at));
            result.push([Some(*i), matched]);
        }
        result.extend(unmatched.into_iter().map(|j| [None, Some(j)]));
        result
    }

    /// The records of layers that stand beside each other, or of one alone; `at` tells them apart. The images of paired runs are the same.
    fn stratum(&self, at: usize, beside: Beside, measures: [Measure; 2]) -> Stratum {
        let detector = self.detector;
        let images = match (self.pairing, beside) {
            (Pairing::Unpaired, [None, _]) => 1,
            _ => 0,
        };
        let mut stratum = Stratum::new(group_of(self.how.unit, images, at));
        for (side, layer) in beside.into_iter().enumerate() {
            if let Some(layer) = layer {
                let measure = measures[side];
                let run = self.runs[side];
                match counted(run, layer, detector, measure) {
                    Some(images) => observe_counted(&mut stratum, side, images, self.how.unit),
                    None => {
                        let records = run.of(layer, detector);
                        observe(&mut stratum, side, run, records, measure, self.how.unit);
                    }
                }
            }
        }
        stratum
    }

    /// The weight of a stratum in either model; 0 where the model has no such layer.
    pub(super) fn weights(&self, beside: Beside, weighting: Weighting) -> [f64; 2] {
        [0, 1].map(|side| {
            let layers = &self.runs[side].manifest.layers;
            beside[side].map_or(0.0, |layer| weighting.of(&layers[layer]))
        })
    }

    /// The ratios of weighted means of ΔLoss; `None` where a model has no observation.
    fn improvements(&self, scopes: &[Compared]) -> Vec<Option<Improvement>> {
        scopes.iter().map(|scope| self.improvement_of(scope, [Measure::DeltaLoss; 2])).collect()
    }

    /// The ratio of weighted means of a measure of either with its error, and both means.
    pub(super) fn linearized(
        &self,
        scope: &Compared,
        measures: [Measure; 2],
    ) -> (Linearized, [f64; 2]) {
        let matched = self.match_layers(&scope.layers);
        let strata: Vec<Stratum> = matched
            .iter()
            .enumerate()
            .map(|(at, beside)| self.stratum(at, *beside, measures))
            .collect();
        let weights: Vec<[f64; 2]> =
            matched.iter().map(|beside| self.weights(*beside, scope.weighting)).collect();
        let strata: Vec<&Stratum> = strata.iter().collect();
        let means = weighted_means(&strata, &weights);
        let found = linearize(MeanFigure::Ratio, &strata, &weights);
        let is_known = self.is_of_itself || self.has_enough(scope, measures);
        (if is_known { found } else { Linearized::unknown(found.value) }, means)
    }

    /// Whether every layer that counts has enough records for the interval of a mean.
    fn has_enough(&self, scope: &Compared, measures: [Measure; 2]) -> bool {
        [0, 1].into_iter().all(|side| {
            scope.layers[side].iter().all(|layer| {
                let counts = scope.weighting.of(&self.runs[side].manifest.layers[*layer]) > 0.0;
                let counted = counted(self.runs[side], *layer, self.detector, measures[side]);
                !counts
                    || counted.is_some()
                    || are_enough(self.runs[side].of(*layer, self.detector))
            })
        })
    }

    /// The ratio of weighted means, of a measure of either.
    pub(super) fn improvement_of(
        &self,
        scope: &Compared,
        measures: [Measure; 2],
    ) -> Option<Improvement> {
        let (found, [baseline, other]) = self.linearized(scope, measures);
        if baseline.is_nan() || other.is_nan() {
            return None;
        }
        let (ratio, p) = (found.estimate(self.how.confidence), found.p_value(1.0));
        let nonfinite = [0, 1].map(|side| {
            let layers = scope.layers[side].iter();
            let records = layers.flat_map(|layer| self.runs[side].of(*layer, self.detector));
            records.filter(|record| !record.delta_loss().is_finite()).count() as u64
        });
        let verdict = Verdict::of_ratio(&ratio);
        Some(Improvement { baseline, other, ratio, p, adjusted_p: None, verdict, nonfinite })
    }

    fn top2diff(&self) -> Estimate {
        // Images are what differs, whatever varies elsewhere.
        let mut strata = match self.pairing {
            Pairing::Paired => vec![Stratum::new(0)],
            Pairing::Unpaired => vec![Stratum::new(0), Stratum::new(1)],
        };
        let last = strata.len() - 1;
        for (side, run) in self.runs.into_iter().enumerate() {
            for row in &run.manifest.images {
                let (image, value) = (row.image as u64, row.score().top2diff);
                strata[side.min(last)].push(side, 0, image, value, 1.0);
            }
        }
        let strata: Vec<&Stratum> = strata.iter().collect();
        let weights = vec![[1.0, 1.0]; strata.len()];
        estimate(MeanFigure::Difference, &strata, &weights, self.how.confidence)
    }
}
