//! Coverage of every printed interval, over layers in the depth of a trained network.

use flipside::analysis::compare::{Pairing, compare_all};
use flipside::analysis::{Intervals, Scope, Weighting, select};
use flipside::detector::Detector;
use flipside::results::{Measure, Outcome, Run};
use flipside::statistics::{Estimate, Unit};
use rayon::prelude::*;
use strum::IntoEnumIterator;

use super::population::{Drawing, Population};

/// A figure whose true value is known.
pub struct Known {
    /// What figures of its kind have in common, and which one it is.
    pub kind: String,
    pub what: String,
    pub truth: f64,
}

/// How often a figure's intervals hold the truth.
pub struct Row {
    pub figure: Known,
    /// Injections a layer.
    pub injections: u64,
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
    fn new(figure: Known, injections: u64, all: impl Iterator<Item = Option<Estimate>>) -> Row {
        let all: Vec<Option<Estimate>> = all.collect();
        let of = all.len();
        let is_printed = |e: &Estimate| !e.low.is_nan() && !e.high.is_nan();
        let printed: Vec<Estimate> = all.into_iter().flatten().filter(is_printed).collect();
        let truth = figure.truth;
        // What is certain to 1e-12 is no miss: sums of another order.
        let off = 1e-12 * truth.abs();
        let mut widths: Vec<f64> = printed.iter().map(|e| (e.high - e.low) / truth.abs()).collect();
        widths.sort_by(f64::total_cmp);
        Row {
            injections,
            of,
            printed: printed.len(),
            above: printed.iter().filter(|e| e.low > truth + off).count(),
            below: printed.iter().filter(|e| e.high < truth - off).count(),
            width: widths.get(widths.len() / 2).copied().unwrap_or(f64::NAN),
            figure,
        }
    }

    /// In percent, of the campaigns with an interval; NaN without any.
    pub fn coverage(&self) -> f64 {
        100.0 * (1.0 - (self.above + self.below) as f64 / self.printed as f64)
    }

    /// A line of a Markdown table.
    pub fn line(&self) -> String {
        let Row { figure: Known { kind, what, truth }, injections, of, printed, .. } = self;
        let coverage = match printed {
            0 => "no interval | | |".into(),
            _ => {
                let Row { above, below, width, .. } = self;
                format!("{:.1} | {above} | {below} | {width:.2} |", self.coverage())
            }
        };
        let share = 100.0 * *printed as f64 / *of as f64;
        format!("| {kind}, {what} | {injections} | {truth:.4e} | {share:.0} | {coverage}")
    }
}

/// The figures of `of` campaigns of `injections` a layer, a row each.
fn rows(
    figures: Vec<Known>,
    injections: u64,
    of: usize,
    campaign: impl Fn(u64) -> Vec<Option<Estimate>> + Sync,
) -> Vec<Row> {
    let all: Vec<Vec<Option<Estimate>>> = (0..of as u64).into_par_iter().map(&campaign).collect();
    figures
        .into_iter()
        .enumerate()
        .map(|(at, figure)| Row::new(figure, injections, all.iter().map(|one| one[at])))
        .collect()
}

/// The measures that reports print, with the detector under which they do.
const MEASURES: [(&str, Measure, Detector); 6] = [
    ("masked", Measure::Is(Outcome::Masked), Detector::None),
    ("SDC", Measure::Is(Outcome::Sdc), Detector::None),
    ("SDC-5", Measure::Sdc5, Detector::None),
    ("nonfinite", Measure::Is(Outcome::Nonfinite), Detector::None),
    ("mean |Δp|", Measure::DeltaP, Detector::Range),
    ("mean ΔLoss", Measure::DeltaLoss, Detector::Range),
];

/// Every measure in single layers, drawn in one of three ways.
pub fn of_layers(
    population: &Population,
    layers: &[usize],
    injections: u64,
    drawing: Drawing,
    of: usize,
) -> Vec<Row> {
    let names = population.names();
    let strata = drawing.words();
    let mut known = Vec::new();
    for layer in layers {
        for (name, measure, detector) in MEASURES {
            let truth = population.truth(&[*layer], Weighting::Uniform, measure, detector, drawing);
            let units: &[Unit] =
                if measure.is_rate() { &[Unit::Images] } else { &[Unit::Images, Unit::Injections] };
            for unit in units {
                let over = if measure.is_rate() {
                    String::new()
                } else {
                    format!(" over {}", unit.name())
                };
                known.push((
                    *layer,
                    measure,
                    detector,
                    *unit,
                    Known {
                        kind: format!("{name}{over}{strata}"),
                        what: names[*layer].into(),
                        truth,
                    },
                ));
            }
        }
    }
    let cases: Vec<_> = known
        .iter()
        .map(|(layer, measure, detector, unit, _)| (*layer, *measure, *detector, *unit))
        .collect();
    let known = known.into_iter().map(|(.., known)| known).collect();
    rows(known, injections, of, |seed| {
        let run = population.sample(seed, layers, injections, drawing);
        let of = |(layer, measure, detector, unit): &(usize, Measure, Detector, Unit)| {
            let how = Intervals { unit: *unit, ..Intervals::default() };
            select(&run, vec![*layer], *detector).mean(*measure, &how).ok()
        };
        cases.iter().map(of).collect()
    })
}

/// Every measure over the whole network, in each weighting.
pub fn of_networks(
    population: &Population,
    injections: u64,
    drawing: Drawing,
    of: usize,
) -> Vec<Row> {
    let all: Vec<usize> = (0..population.names().len()).collect();
    let cases = || {
        MEASURES
            .into_iter()
            .flat_map(|measure| Weighting::iter().map(move |weighting| (measure, weighting)))
    };
    let known = cases().map(|((name, measure, detector), weighting)| Known {
        kind: format!("{name}, network{}", drawing.words()),
        what: weighting.words().into(),
        truth: population.truth(&all, weighting, measure, detector, drawing),
    });
    rows(known.collect(), injections, of, |seed| {
        let run = population.sample(seed, &all, injections, drawing);
        let of = |((_, measure, detector), weighting): ((&str, Measure, Detector), Weighting)| {
            let selection = select(&run, Scope::ALL.layers(&run), detector);
            selection.weighted(weighting).mean(measure, &Intervals::default()).ok()
        };
        cases().map(of).collect()
    })
}

/// Ratios and differences of two models: one against itself with other faults, and one against the other with
/// the same.
pub fn of_pairs(
    models: [&Population; 2],
    pairing: Pairing,
    injections: u64,
    of: usize,
) -> Vec<Row> {
    let all: Vec<usize> = (0..models[0].names().len()).collect();
    let (words, sides) = match pairing {
        Pairing::Unpaired => ("a model against itself, unpaired", [0, 0]),
        Pairing::Paired => ("two models, paired", [0, 1]),
    };
    let truth = |layers: &[usize], weighting, measure, detector| {
        sides.map(|side| models[side].truth(layers, weighting, measure, detector, Drawing::Uniform))
    };
    let ratio = |what: &str, layers: &[usize], weighting| {
        let [a, b] = truth(layers, weighting, Measure::DeltaLoss, Detector::Range);
        Known { kind: format!("ratio of mean ΔLoss, {words}"), what: what.into(), truth: a / b }
    };
    let mut known = vec![ratio("last layer", &all[all.len() - 1..], Weighting::Uniform)];
    known.extend(Weighting::iter().map(|weighting| ratio(weighting.words(), &all, weighting)));
    let rates = [Detector::None, Detector::Range]
        .into_iter()
        .flat_map(|detector| [Outcome::Sdc, Outcome::Nonfinite].map(|outcome| (detector, outcome)));
    known.extend(rates.clone().map(|(detector, outcome)| {
        let [a, b] = truth(&all, Weighting::Uniform, Measure::Is(outcome), detector);
        let what = format!("{} under {}", outcome.name(), detector.name());
        Known { kind: format!("difference of rates, {words}"), what, truth: 100.0 * (b - a) }
    }));
    rows(known, injections, of, |seed| {
        let seeds = match pairing {
            Pairing::Paired => [seed, seed],
            Pairing::Unpaired => [2 * seed, 2 * seed + 1],
        };
        let runs: [Run; 2] = [0, 1].map(|side| {
            models[sides[side]].sample(seeds[side], &all, injections, Drawing::Uniform)
        });
        let row = compare_all(&[[&runs[0], &runs[1]]], pairing, &Intervals::default())
            .unwrap()
            .rows
            .remove(0);
        let mut figures = vec![row.last_layer.map(|improvement| improvement.ratio)];
        figures.extend(Weighting::iter().map(|weighting| {
            let one = row.overall.iter().find(|o| o.weighting == weighting && o.embedding);
            one.map(|overall| overall.improvement.ratio)
        }));
        figures.extend(rates.clone().map(|(detector, outcome)| {
            let one = row.rates.iter().find(|r| r.detector == detector && r.outcome == outcome);
            one.map(|rate| rate.difference)
        }));
        figures
    })
}
