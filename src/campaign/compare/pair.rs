//! One comparison: which layers stand against which, and one bootstrap for all of its ratios.

use super::{Comparison, Improvement, Overall, Pairing, RateChange, Top2Diff, Verdict};
use crate::campaign::bootstrap::{Stratum, Tally, bootstrap, ratio};
use crate::campaign::interval::Estimate;
use crate::campaign::layers::Part;
use crate::campaign::outcome::Outcome;
use crate::campaign::plan::Plan;
use crate::campaign::ranges::Detector;
use crate::campaign::statistics::{
    Intervals, Measure, Scope, Weighting, last_layer, observe, select, stratum_key, weighted_mean,
};
use crate::campaign::store::Run;
use crate::models::ModelFile;
use crate::{Error, Result};

/// Compares `other` with `baseline`.
pub(super) fn compare(
    baseline: &Run,
    other: &Run,
    pairing: Pairing,
    how: &Intervals,
) -> Result<Comparison> {
    check(baseline, other, pairing)?;
    let pair = Pair { runs: [baseline, other], pairing, how };
    let ranged = baseline.manifest.plan.detectors.contains(&Detector::Range);
    let scopes = if ranged { pair.scopes() } else { Vec::new() };
    let improvements = pair.improvements(&scopes);
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
            rates.push(pair.rate(*detector, outcome)?);
        }
    }
    let model = &other.manifest.provenance.model;
    let of_both = |figure: &dyn Fn(&Run) -> Option<f64>| Some([figure(baseline)?, figure(other)?]);
    Ok(Comparison {
        models: pair.each(|run| format!("{} {}", run.manifest.provenance.model, run.manifest.head)),
        checkpoints: pair.each(|run| run.manifest.provenance.checkpoint.clone()),
        accuracy: of_both(&accuracy),
        last_layer: find(Name::LastLayer),
        last_layer_before_scale: find(Name::BeforeScale),
        backbone_last_layer: find(Name::BackboneLast),
        overall: overall.collect(),
        top2diff: Top2Diff {
            injected: pair.top2diff(),
            evaluated: of_both(&|run| run.manifest.provenance.top2diff).map(|[a, b]| b - a),
        },
        rates,
        pairing,
        images: pair.each(|run| run.manifest.images.len()),
        injections: pair.each(|run| run.injections()),
        stopped: pair.each(|run| run.manifest.plan.until.is_some()),
        seeds: pair.each(|run| run.manifest.plan.seed),
        published: ModelFile::open(model).ok().and_then(|file| file.published),
    })
}

/// Top-1 over the evaluated images, in percent.
fn accuracy(run: &Run) -> Option<f64> {
    let provenance = &run.manifest.provenance;
    let share = provenance.right as f64 / provenance.evaluated as f64;
    (provenance.evaluated > 0).then_some(100.0 * share)
}

/// Refuses runs that don't belong together; paired ones also where faults or images aren't the same.
fn check(baseline: &Run, other: &Run, pairing: Pairing) -> Result<()> {
    let (a, b) = (&baseline.manifest, &other.manifest);
    let refuse = |what: &str, a: String, b: String, hint: &str| {
        let detail = format!("the runs can't be compared: {what} differ ({a} and {b}){hint}");
        Err(Error::usage(detail))
    };
    let differ = |what: &str, a: String, b: String| refuse(what, a, b, "");
    let differ_unless_unpaired = |what: &str, a: String, b: String| {
        refuse(what, a, b, "; --unpaired compares runs whose faults aren't the same")
    };
    if a.provenance.data != b.provenance.data {
        return differ("their data", a.provenance.data.clone(), b.provenance.data.clone());
    }
    if a.classes != b.classes {
        return differ("their numbers of classes", a.classes.to_string(), b.classes.to_string());
    }
    if a.plan.bits != b.plan.bits {
        return differ("their bits a fault", a.plan.bits.to_string(), b.plan.bits.to_string());
    }
    if a.plan.protocol != b.plan.protocol {
        let [a, b] = [a.plan.protocol, b.plan.protocol].map(|p| p.name().to_string());
        return differ("their protocols", a, b);
    }
    if a.plan.site != b.plan.site {
        let [a, b] = [a.plan.site, b.plan.site].map(|site| site.name().to_string());
        return differ("their sites", a, b);
    }
    if a.plan.flips != b.plan.flips {
        let [a, b] = [a.plan.flips, b.plan.flips].map(|flips| format!("{flips:?}"));
        return differ("their flips an inference", a, b);
    }
    if a.plan.labels != b.plan.labels {
        let [a, b] = [a.plan.labels, b.plan.labels].map(|labels| format!("{labels:?}"));
        return differ("their labels", a, b);
    }
    let detectors = |plan: &Plan| {
        let mut detectors = plan.detectors.clone();
        detectors.sort();
        detectors.iter().map(|d| d.name()).collect::<Vec<_>>().join("+")
    };
    if detectors(&a.plan) != detectors(&b.plan) {
        return differ("their detectors", detectors(&a.plan), detectors(&b.plan));
    }
    if pairing == Pairing::Unpaired {
        return Ok(());
    }
    if a.image_list != b.image_list {
        let (a, b) = (a.images.len(), b.images.len());
        return differ_unless_unpaired(
            "their lists of images",
            format!("{a} images"),
            format!("{b} images"),
        );
    }
    if a.plan.seed != b.plan.seed {
        let (a, b) = (a.plan.seed, b.plan.seed);
        return differ_unless_unpaired("their seeds", a.to_string(), b.to_string());
    }
    if a.plan.injections != b.plan.injections {
        let range = |plan: &Plan| format!("{:?}", plan.injections);
        return differ_unless_unpaired("their injections a layer", range(&a.plan), range(&b.plan));
    }
    if a.plan.until != b.plan.until {
        let [a, b] = [&a.plan, &b.plan].map(|plan| match &plan.until {
            Some(rule) => rule.to_string(),
            None => "none".into(),
        });
        return differ_unless_unpaired("their rules to stop at", a, b);
    }
    if a.plan.stratify != b.plan.stratify || a.plan.list != b.plan.list {
        let faults = |plan: &Plan| format!("{:?}, list {:?}", plan.stratify, plan.list);
        return differ_unless_unpaired("their strata or lists", faults(&a.plan), faults(&b.plan));
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

    /// What is compared; what a model doesn't have is left out.
    fn scopes(&self) -> Vec<Compared> {
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
        for embedding in [true, false] {
            for weighting in Weighting::ALL {
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
                self.pairing == Pairing::Paired
                    && a[*i].pair_key == b[*j].pair_key
                    && a[*i].shape == b[*j].shape
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

    fn rate(&self, detector: Detector, outcome: Outcome) -> Result<RateChange> {
        let measure = Measure::Is(outcome);
        let layers = self.each(|run| Scope::ALL.layers(run));
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
        if difference.low == difference.high && self.runs[0].manifest != self.runs[1].manifest {
            difference = newcombe(&baseline, &other);
        }
        let [baseline, other, difference] =
            [baseline, other, difference].map(|estimate| estimate.times(100.0));
        Ok(RateChange { detector, outcome, baseline, other, difference })
    }

    fn top2diff(&self) -> Estimate {
        // Images are what differs, whatever is resampled elsewhere.
        let paired = self.pairing == Pairing::Paired;
        let names = if paired { vec!["top2diff"] } else { vec!["top2diff 0", "top2diff 1"] };
        let mut strata: Vec<Stratum> = names.into_iter().map(Stratum::new).collect();
        let last = strata.len() - 1;
        for (side, run) in self.runs.into_iter().enumerate() {
            for row in &run.manifest.images {
                let (image, value) = (row.image as u64, row.judged().top2diff);
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
