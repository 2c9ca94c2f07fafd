//! One comparison: which layers stand against which, and one bootstrap for all of its ratios.

use strum::IntoEnumIterator;

use super::{fields, layers};
use crate::analysis::compare::layers::have_the_same_faults;
use crate::analysis::compare::{
    Comparison, Improvement, Overall, Pairing, RateChange, Top2Diff, Verdict,
};
use crate::analysis::rates::{Intervals, observe, select, stratum_key, weighted_mean};
use crate::analysis::scope::{Scope, Weighting, last_layer};
use crate::detector::Detector;
use crate::error::{MOST_NAMED, some_of};
use crate::models::ModelFile;
use crate::results::{Measure, Outcome, Part, Run};
use crate::statistics::{Estimate, Stratum, Tally, bootstrap, ratio};
use crate::{Error, Result};

/// Compares `other` with `baseline`.
pub(super) fn compare(
    baseline: &Run,
    other: &Run,
    pairing: Pairing,
    how: &Intervals,
) -> Result<Comparison> {
    let differences = fields::check(&baseline.manifest, &other.manifest, pairing)?;
    if pairing == Pairing::Paired {
        layers::check_faults(baseline, other)?;
    }
    let whole = Pair { runs: [baseline, other], pairing, how };
    let Some((reduced, layers)) = layers::in_common(baseline, other) else {
        let layers = layers::of_whole_networks(baseline, other);
        return Ok(Comparison { layers, differences, ..whole.comparison()? });
    };
    // A reading across names, which the layers in common don't hold.
    let backbone_last_layer = whole.improvement(Name::BackboneLast);
    if layers.common.is_empty() && backbone_last_layer.is_none() {
        let [a, b] = layers.left_out.each_ref().map(|names| some_of(names, MOST_NAMED));
        return Err(Error::usage(format!(
            "the runs can't be compared: they have no layer in common ({a} of the one, {b} of the other)"
        )));
    }
    let pair = Pair { runs: reduced.each_ref(), pairing, how };
    let comparison = pair.comparison()?;
    // What was published is of all layers.
    let (layers, published) = (Some(layers), None);
    Ok(Comparison { backbone_last_layer, layers, differences, published, ..comparison })
}

/// Top-1 over the evaluated images, in percent.
fn accuracy(run: &Run) -> Option<f64> {
    let provenance = &run.manifest.setting.provenance;
    let share = provenance.right as f64 / provenance.evaluated as f64;
    (provenance.evaluated > 0).then_some(100.0 * share)
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

/// Which improvement.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Name {
    LastLayer,
    BeforeScale,
    BackboneLast,
    Overall { embedding: bool },
}

/// The layers of either run that an improvement is of, as indices, and how they are weighted.
struct Compared {
    name: Name,
    layers: [Vec<usize>; 2],
    weighting: Weighting,
}

/// A layer of one model beside that of the other, where they are the same layer.
type Beside = [Option<usize>; 2];

struct Pair<'r> {
    runs: [&'r Run; 2],
    pairing: Pairing,
    how: &'r Intervals,
}

impl Pair<'_> {
    fn each<T>(&self, of: impl Fn(&Run) -> T) -> [T; 2] {
        self.runs.map(of)
    }

    /// All figures of the runs' layers.
    fn comparison(&self) -> Result<Comparison> {
        let [baseline, other] = self.runs;
        let scopes = self.scopes();
        let improvements = self.improvements(&scopes);
        let find = |name: Name| {
            let at = scopes.iter().position(|scope| scope.name == name)?;
            improvements[at]
        };
        let overall = scopes.iter().zip(&improvements).filter_map(|(scope, improvement)| {
            let Name::Overall { embedding } = scope.name else { return None };
            let weighting = scope.weighting;
            improvement.map(|improvement| Overall { weighting, embedding, improvement })
        });
        let mut rates = Vec::new();
        for detector in &baseline.manifest.plan.detectors {
            for outcome in [Outcome::Sdc, Outcome::Nonfinite] {
                rates.extend(self.rate(*detector, outcome)?);
            }
        }
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
            accuracy: of_both(&accuracy),
            last_layer: find(Name::LastLayer),
            last_layer_before_scale: find(Name::BeforeScale),
            backbone_last_layer: find(Name::BackboneLast),
            overall: overall.collect(),
            top2diff: Top2Diff {
                injected: self.top2diff(),
                evaluated: of_both(&|run| run.manifest.setting.provenance.top2diff)
                    .map(|[a, b]| b - a),
            },
            rates,
            pairing: self.pairing,
            same_faults: (self.pairing == Pairing::Paired)
                .then(|| layers::same_faults(baseline, other)),
            layers: None,
            ranges: layers::ranges(baseline, other),
            differences: Vec::new(),
            images: self.each(|run| run.manifest.images.len()),
            injections: self.each(|run| run.injections()),
            stopped: self.each(|run| run.manifest.plan.until.is_some()),
            seeds: self.each(|run| run.manifest.plan.seed),
            published: ModelFile::open(model).ok().and_then(|file| file.published),
        })
    }

    /// One improvement alone.
    fn improvement(&self, name: Name) -> Option<Improvement> {
        let scopes: Vec<Compared> =
            self.scopes().into_iter().filter(|scope| scope.name == name).collect();
        self.improvements(&scopes).first().copied().flatten()
    }

    /// Whether both are one campaign, but for the choice of layers.
    fn is_of_itself(&self) -> bool {
        let [a, b] = self.runs.map(|run| {
            let mut manifest = run.manifest.clone();
            manifest.plan.layers = None;
            manifest
        });
        a == b
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
            one(Name::LastLayer, self.each(|run| last_layer(run, true))),
            one(Name::BeforeScale, self.each(|run| last_layer(run, false))),
            one(Name::BackboneLast, [last_layer(self.runs[0], false), embedding]),
        ]
        .into_iter()
        .flatten()
        .collect();
        let has_macs = !fields::counts_differ(&self.runs[0].manifest, &self.runs[1].manifest);
        for embedding in [true, false] {
            for weighting in Weighting::iter().filter(|w| *w != Weighting::Macs || has_macs) {
                let scope = Scope { embedding, ..Scope::ALL };
                let layers = self.each(|run| scope.layers(run));
                scopes.push(Compared { name: Name::Overall { embedding }, layers, weighting });
            }
        }
        scopes
    }

    /// Layers beside those that got the same faults; the others alone.
    fn match_layers(&self, layers: &[Vec<usize>; 2]) -> Vec<Beside> {
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

    /// The records of layers that stand beside each other, or of one alone.
    fn stratum(&self, beside: Beside, detector: Detector, measure: Measure) -> Stratum {
        let key = |side: usize, layer: usize| {
            stratum_key(&self.runs[side].manifest.layers[layer]).to_string()
        };
        let mut stratum = Stratum::new(match beside {
            [Some(i), None] => format!("{} of the baseline", key(0, i)),
            [None, Some(j)] => format!("{} of the other", key(1, j)),
            [Some(i), _] => key(0, i),
            [None, None] => String::new(),
        });
        for (side, layer) in beside.into_iter().enumerate() {
            if let Some(layer) = layer {
                let run = self.runs[side];
                let records = run.of(layer, detector);
                observe(&mut stratum, side, run, records, measure, self.how.unit);
            }
        }
        stratum
    }

    /// The weight of a stratum in either model; 0 where the model has no such layer.
    fn weights(&self, beside: Beside, weighting: Weighting) -> [f64; 2] {
        [0, 1].map(|side| {
            let layers = &self.runs[side].manifest.layers;
            beside[side].map_or(0.0, |layer| weighting.of(&layers[layer]))
        })
    }

    /// The ratios of weighted means of ΔLoss, all from the same resamples; `None` where a model has no
    /// observation.
    fn improvements(&self, scopes: &[Compared]) -> Vec<Option<Improvement>> {
        let matched: Vec<Vec<Beside>> =
            scopes.iter().map(|scope| self.match_layers(&scope.layers)).collect();
        let mut all: Vec<Beside> = matched.iter().flatten().copied().collect();
        all.sort();
        all.dedup();
        let strata: Vec<Stratum> = all
            .iter()
            .map(|beside| self.stratum(*beside, Detector::Range, Measure::DeltaLoss))
            .collect();
        // Of each scope: its strata and their weights.
        let parts: Vec<Vec<(usize, [f64; 2])>> = scopes
            .iter()
            .zip(&matched)
            .map(|(scope, matched)| {
                let part = |beside: &Beside| {
                    let at = all.binary_search(beside).expect("every pair is among all pairs");
                    (at, self.weights(*beside, scope.weighting))
                };
                matched.iter().map(part).collect()
            })
            .collect();
        let totals: Vec<[Tally; 2]> = strata.iter().map(Stratum::total).collect();
        let ratios = bootstrap(&strata, &self.how.resampling(), |totals| {
            parts.iter().map(|part| means(part, totals)).map(|[a, b]| ratio(a, b)).collect()
        });
        scopes
            .iter()
            .zip(parts.iter().zip(ratios))
            .map(|(scope, (part, ratio))| {
                let [baseline, other] = means(part, &totals);
                if baseline.is_nan() || other.is_nan() {
                    return None;
                }
                let nonfinite = [0, 1].map(|side| {
                    let of = |layer: &usize| self.runs[side].of(*layer, Detector::Range);
                    let records = scope.layers[side].iter().flat_map(of);
                    records.filter(|record| !record.delta_loss().is_finite()).count() as u64
                });
                let verdict = Verdict::of(&ratio);
                Some(Improvement { baseline, other, ratio, verdict, nonfinite })
            })
            .collect()
    }

    /// A rate over the layers; `None` where a run has none.
    fn rate(&self, detector: Detector, outcome: Outcome) -> Result<Option<RateChange>> {
        let measure = Measure::Is(outcome);
        let layers = self.each(|run| Scope::ALL.layers(run));
        if layers.iter().any(Vec::is_empty) {
            return Ok(None);
        }
        let rate = |side: usize| {
            select(self.runs[side], layers[side].clone(), detector).mean(measure, self.how)
        };
        let (baseline, other) = (rate(0)?, rate(1)?);
        let matched = self.match_layers(&layers);
        let strata: Vec<Stratum> =
            matched.iter().map(|beside| self.stratum(*beside, detector, measure)).collect();
        let part: Vec<(usize, [f64; 2])> = matched
            .iter()
            .map(|beside| self.weights(*beside, Weighting::Uniform))
            .enumerate()
            .collect();
        let mut difference = bootstrap(&strata, &self.how.resampling(), |totals| {
            let [a, b] = means(&part, totals);
            vec![b - a]
        })[0];
        // No event in either leaves nothing to resample, which isn't certainty.
        if difference.low == difference.high && !self.is_of_itself() {
            difference = newcombe(&baseline, &other);
        }
        let [baseline, other, difference] =
            [baseline, other, difference].map(|estimate| estimate.times(100.0));
        Ok(Some(RateChange { detector, outcome, baseline, other, difference }))
    }

    fn top2diff(&self) -> Estimate {
        // Images are what differs, whatever is resampled elsewhere.
        let paired = self.pairing == Pairing::Paired;
        let names = if paired { vec!["top2diff"] } else { vec!["top2diff 0", "top2diff 1"] };
        let mut strata: Vec<Stratum> = names.into_iter().map(Stratum::new).collect();
        let last = strata.len() - 1;
        for (side, run) in self.runs.into_iter().enumerate() {
            for row in &run.manifest.images {
                let (image, value) = (row.image as u64, row.score().top2diff);
                strata[side.min(last)].push(side, 0, image, value, 1.0);
            }
        }
        bootstrap(&strata, &self.how.resampling(), |t| vec![t[last][1].mean() - t[0][0].mean()])[0]
    }
}

/// The weighted means of either model over some of the strata.
fn means(part: &[(usize, [f64; 2])], totals: &[[Tally; 2]]) -> [f64; 2] {
    [0, 1].map(|side| {
        let weights: Vec<f64> = part.iter().map(|(_, weights)| weights[side]).collect();
        weighted_mean(part.iter().map(|(at, _)| totals[*at][side]), &weights)
    })
}
