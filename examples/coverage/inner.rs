//! Coverage of every printed interval, over layers in the depth of a trained network.

use flipside::analysis::compare::{Pairing, compare_all};
use flipside::analysis::{Intervals, Scope, Weighting, select};
use flipside::detector::Detector;
use flipside::plan::Stratify;
use flipside::results::{Measure, Outcome, Run};
use flipside::statistics::{Estimate, Unit};
use rayon::prelude::*;
use strum::IntoEnumIterator;

use super::population::Population;

/// How often a figure's intervals hold the truth.
pub struct Row {
    pub what: String,
    pub injections: u64,
    pub truth: f64,
    /// Campaigns.
    pub of: usize,
    /// Those in which an interval is printed, and those of them that lie above and below the truth.
    pub printed: usize,
    pub above: usize,
    pub below: usize,
    /// Median width, divided by the truth.
    pub width: f64,
}

impl Row {
    /// Runs `of` campaigns.
    pub fn new(
        what: &str,
        injections: u64,
        truth: f64,
        of: usize,
        figure: impl Fn(u64) -> Option<Estimate> + Sync,
    ) -> Row {
        let all: Vec<Option<Estimate>> =
            (0..of as u64).into_par_iter().map(|seed| figure(seed)).collect();
        let is_printed = |e: &Estimate| !e.low.is_nan() && !e.high.is_nan();
        let printed: Vec<Estimate> = all.into_iter().flatten().filter(is_printed).collect();
        let mut widths: Vec<f64> = printed.iter().map(|e| (e.high - e.low) / truth.abs()).collect();
        widths.sort_by(f64::total_cmp);
        Row {
            what: what.into(),
            injections,
            truth,
            of,
            printed: printed.len(),
            above: printed.iter().filter(|e| e.low > truth).count(),
            below: printed.iter().filter(|e| e.high < truth).count(),
            width: widths.get(widths.len() / 2).copied().unwrap_or(f64::NAN),
        }
    }

    /// In percent, of the campaigns with an interval.
    pub fn coverage(&self) -> f64 {
        100.0 * (1.0 - (self.above + self.below) as f64 / self.printed as f64)
    }

    /// A line of a Markdown table.
    pub fn line(&self) -> String {
        let Row { what, injections, truth, of, printed, above, below, width } = self;
        let coverage = match printed {
            0 => "no interval".into(),
            _ => format!("{:.1} | {above} | {below} | {width:.2}", self.coverage()),
        };
        let share = 100.0 * *printed as f64 / *of as f64;
        format!("| {what} | {injections} | {truth:.4e} | {share:.0} | {coverage} |")
    }
}

/// The measures that reports print, with the detector under which they do.
const MEASURES: [(&str, Measure, Detector); 6] = [
    ("masked", Measure::Is(Outcome::Masked), Detector::None),
    ("SDC", Measure::Is(Outcome::Sdc), Detector::None),
    ("SDC-5", Measure::Sdc5, Detector::None),
    ("nonfinite", Measure::Is(Outcome::Nonfinite), Detector::None),
    ("|Δp|", Measure::DeltaP, Detector::Range),
    ("ΔLoss", Measure::DeltaLoss, Detector::Range),
];

/// Every figure of single layers and of all of them, for so many campaigns each.
pub fn rows(
    population: &Population,
    layers: &[usize],
    sizes: &[u64],
    of: usize,
    say: &dyn Fn(&Row),
) {
    let names = population.names();
    for injections in sizes {
        for stratify in [Stratify::No, Stratify::Bit] {
            let strata = if stratify == Stratify::Bit { ", bits as strata" } else { "" };
            for (name, measure, detector) in MEASURES {
                for layer in layers {
                    let truth = population.truth(&[*layer], Weighting::Uniform, measure, detector);
                    for unit in Unit::iter() {
                        if unit == Unit::Injections && measure.is_rate() {
                            continue;
                        }
                        let over = if measure.is_rate() {
                            String::new()
                        } else {
                            format!(" over {}", unit.name())
                        };
                        let what = format!("{name}{over}, {}{strata}", names[*layer]);
                        say(&Row::new(&what, *injections, truth, of, |seed| {
                            let run = population.sample(seed, &[*layer], *injections, stratify);
                            let how = Intervals { unit, ..Intervals::new(seed) };
                            select(&run, vec![*layer], detector).mean(measure, &how).ok()
                        }));
                    }
                }
                if stratify == Stratify::Bit {
                    continue;
                }
                let all: Vec<usize> = (0..names.len()).collect();
                for weighting in Weighting::iter() {
                    let truth = population.truth(&all, weighting, measure, detector);
                    let what = format!("{name}, network by {}", weighting.words());
                    say(&Row::new(&what, *injections, truth, of, |seed| {
                        let run = population.sample(seed, &all, *injections, stratify);
                        let how = Intervals::new(seed);
                        let all = Scope::ALL.layers(&run);
                        select(&run, all, detector).weighted(weighting).mean(measure, &how).ok()
                    }));
                }
            }
        }
    }
}

/// Ratios and differences of two models: each against itself with other faults, and one against the other
/// with the same.
pub fn comparisons(models: [&Population; 2], sizes: &[u64], of: usize, say: &dyn Fn(&Row)) {
    let all: Vec<usize> = (0..models[0].names().len()).collect();
    let last = all.len() - 1;
    let sample = |model: usize, seed, n| models[model].sample(seed, &all, n, Stratify::No);
    for injections in sizes {
        let n = *injections;
        for (words, pairing, sides) in [
            ("itself, unpaired", Pairing::Unpaired, [0, 0]),
            ("the other, paired", Pairing::Paired, [0, 1]),
        ] {
            let compared = |seed: u64| {
                let seeds = if pairing == Pairing::Paired {
                    [seed, seed]
                } else {
                    [2 * seed, 2 * seed + 1]
                };
                let runs: [Run; 2] = [0, 1].map(|side| sample(sides[side], seeds[side], n));
                let how = Intervals::new(seed);
                compare_all(&[[&runs[0], &runs[1]]], pairing, &how).unwrap().rows.remove(0)
            };
            let truth = |layers: &[usize], weighting, measure, detector| {
                sides.map(|side| models[side].truth(layers, weighting, measure, detector))
            };
            let of_loss = |layers: &[usize], weighting| {
                let [a, b] = truth(layers, weighting, Measure::DeltaLoss, Detector::Range);
                a / b
            };
            let what = format!("ratio of ΔLoss, last layer, {words}");
            say(&Row::new(&what, n, of_loss(&[last], Weighting::Uniform), of, |seed| {
                compared(seed).last_layer.map(|improvement| improvement.ratio)
            }));
            for weighting in Weighting::iter() {
                let what = format!("ratio of ΔLoss, network by {}, {words}", weighting.words());
                say(&Row::new(&what, n, of_loss(&all, weighting), of, |seed| {
                    let overall = compared(seed).overall;
                    let one = overall.iter().find(|o| o.weighting == weighting && o.embedding);
                    one.map(|overall| overall.improvement.ratio)
                }));
            }
            for detector in [Detector::None, Detector::Range] {
                for outcome in [Outcome::Sdc, Outcome::Nonfinite] {
                    let what = format!("difference of {outcome:?} %, {}, {words}", detector.name());
                    let [a, b] = truth(&all, Weighting::Uniform, Measure::Is(outcome), detector);
                    say(&Row::new(&what, n, 100.0 * (b - a), of, |seed| {
                        let rates = compared(seed).rates;
                        let one =
                            rates.iter().find(|r| r.detector == detector && r.outcome == outcome);
                        one.map(|rate| rate.difference)
                    }));
                }
            }
        }
    }
}
