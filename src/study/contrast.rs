//! What two of a study's models differ in, and the figures of that over training seeds.
//!
//! Training is repeated from other seeds, on the same data. Each seed gives every figure once, with an error of
//! its own from the sampling of faults; together they say how much training itself moves it. Ratios are taken
//! by their logarithms.

use serde::Serialize;
use strum::{EnumIter, IntoEnumIterator};

use super::{ModelStart, StudyRow};
use crate::analysis::Weighting;
use crate::analysis::compare::{Comparison, Improvement, Refusal, Reliability};
use crate::plan::Temperature;
use crate::statistics::{Confidence, Estimate, MeasuredEffect, RandomEffect, random_effect};

/// Two models beside each other, the second against the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[derive(EnumIter)]
pub enum Contrast {
    /// Text rows against random ones, in one form: what the text adds. The main contrast.
    Text,
    /// The text-guided form with random rows against the baseline: what the form changes.
    Form,
    /// Text rows against the baseline: both together, as published.
    Both,
}

impl Contrast {
    /// The two models, the one that is held against first.
    pub const fn models(self) -> [ModelStart; 2] {
        match self {
            Contrast::Text => [ModelStart::RandomRows, ModelStart::TextRows],
            Contrast::Form => [ModelStart::Baseline, ModelStart::RandomRows],
            Contrast::Both => [ModelStart::Baseline, ModelStart::TextRows],
        }
    }

    /// That of a seed whose rows these are.
    pub fn of(self, rows: &[StudyRow]) -> Option<&Comparison> {
        let [from, to] = self.models();
        let row = rows.iter().find(|row| row.start == to)?;
        match from {
            ModelStart::Baseline => row.comparison.as_ref(),
            _ => row.against_random_rows.as_ref(),
        }
    }
}

/// A figure of a contrast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[derive(EnumIter)]
pub enum ContrastFigure {
    /// Ratios of mean ΔLoss under the range detector, first ÷ second.
    LastLayerBeforeScale,
    LastLayer,
    /// Layers alike, the last one after the scale.
    AllLayers,
    AllLayersWithoutEmbedding,
    /// Of all layers with the logits of either model divided by its fitted temperature, and by what makes their
    /// ranges equal.
    AllLayersFitted,
    AllLayersEqualRange,
    /// Differences in percentage points, second − first: the SDC rate of all layers alike without a detector,
    /// top-1 over the test images, Top2Diff over the images that faults hit.
    Sdc,
    Top1,
    Top2Diff,
}

impl ContrastFigure {
    /// Whether it is a ratio, and no difference.
    pub const fn is_ratio(self) -> bool {
        !matches!(self, ContrastFigure::Sdc | ContrastFigure::Top1 | ContrastFigure::Top2Diff)
    }

    /// That of one seed; `None` where it isn't measured.
    fn of(self, comparison: &Comparison) -> Option<Estimate> {
        let ratio = |improvement: &Improvement| improvement.ratio;
        let without_embedding = comparison.overall_of(Weighting::Uniform, false);
        match self {
            ContrastFigure::LastLayerBeforeScale => {
                comparison.last_layer_before_scale.as_ref().map(ratio)
            }
            ContrastFigure::LastLayer => comparison.last_layer.as_ref().map(ratio),
            ContrastFigure::AllLayers => comparison.all_layers().map(ratio),
            ContrastFigure::AllLayersWithoutEmbedding => without_embedding.map(ratio),
            ContrastFigure::AllLayersFitted => {
                comparison.at_scale(|at| *at == Temperature::Fit).map(ratio)
            }
            ContrastFigure::AllLayersEqualRange => {
                comparison.at_scale(|at| matches!(at, Temperature::Range(_))).map(ratio)
            }
            ContrastFigure::Sdc => comparison.sdc_difference().copied(),
            ContrastFigure::Top2Diff => Some(comparison.top2diff.injected),
            ContrastFigure::Top1 => comparison.accuracy.map(|accuracy| accuracy.difference),
        }
    }

    /// As it adds up: ratios by their logarithms, with the standard error that the interval is wide for.
    fn effect(self, estimate: &Estimate) -> MeasuredEffect {
        let of = |value: f64| if self.is_ratio() { value.ln() } else { value };
        let width = of(estimate.high) - of(estimate.low);
        MeasuredEffect {
            value: of(estimate.value),
            standard_error: width / (2.0 * Confidence::P95.z()),
        }
    }
}

/// A figure over training seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FigureOverSeeds {
    pub figure: ContrastFigure,
    /// Ratios as ratios: the geometric mean.
    #[serde(flatten)]
    pub over_seeds: RandomEffect,
    /// Of each seed, with its interval over the sampling of faults.
    pub seeds: Vec<Estimate>,
}

/// A contrast over training seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OverSeeds {
    pub contrast: Contrast,
    /// Those that every seed has.
    pub figures: Vec<FigureOverSeeds>,
    /// From the intervals over seeds; of one seed, from its own.
    pub reliability: Reliability,
    /// Why there is no verdict, with the seeds.
    pub refusals: Vec<Refusal>,
}

impl OverSeeds {
    /// That of the seeds that the rows are of; without one, there is nothing.
    pub fn new(contrast: Contrast, rows: &[StudyRow]) -> OverSeeds {
        let seeds = rows.chunk_by(|a, b| a.seed == b.seed);
        let comparisons: Vec<(u64, &Comparison)> =
            seeds.filter_map(|rows| Some((rows[0].seed, contrast.of(rows)?))).collect();
        let figure = |figure: ContrastFigure| {
            let of = |(_, comparison): &(u64, &Comparison)| figure.of(comparison);
            let seeds: Vec<Estimate> = comparisons.iter().map(of).collect::<Option<_>>()?;
            Some(FigureOverSeeds { figure, over_seeds: over_seeds(figure, &seeds), seeds })
        };
        let figures: Vec<FigureOverSeeds> = ContrastFigure::iter().filter_map(figure).collect();
        let refusals: Vec<Refusal> = comparisons
            .iter()
            .flat_map(|(seed, comparison)| {
                comparison.refusals.iter().map(move |refusal| Refusal {
                    detail: format!("seed {seed}: {}", refusal.detail),
                    ..*refusal
                })
            })
            .collect();
        let mean = |wanted: ContrastFigure| {
            let mut figures = figures.iter();
            figures.find(|figure| figure.figure == wanted).map(|figure| &figure.over_seeds.mean)
        };
        let reliability = match (refusals.first(), &comparisons[..]) {
            (Some(refusal), _) => Reliability::refused(refusal.reason),
            (None, [(_, comparison)]) => comparison.reliability,
            (None, _) => {
                let scales = [ContrastFigure::AllLayersFitted, ContrastFigure::AllLayersEqualRange];
                Reliability::of(mean(ContrastFigure::AllLayers), mean(ContrastFigure::Sdc))
                    .at_all_scales(scales.into_iter().filter_map(mean))
            }
        };
        OverSeeds { contrast, figures, reliability, refusals }
    }

    /// One of the figures.
    pub fn figure(&self, wanted: ContrastFigure) -> Option<&FigureOverSeeds> {
        self.figures.iter().find(|figure| figure.figure == wanted)
    }
}

/// A figure as a random effect; ratios come back as ratios.
fn over_seeds(figure: ContrastFigure, seeds: &[Estimate]) -> RandomEffect {
    let effects: Vec<MeasuredEffect> =
        seeds.iter().map(|estimate| figure.effect(estimate)).collect();
    let found = random_effect(&effects, Confidence::P95);
    let back = |Estimate { value, low, high }: Estimate| match figure.is_ratio() {
        true => Estimate { value: value.exp(), low: low.exp(), high: high.exp() },
        false => Estimate { value, low, high },
    };
    RandomEffect { mean: back(found.mean), prediction: back(found.prediction), ..found }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(value: f64, factor: f64) -> Estimate {
        Estimate { value, low: value / factor, high: value * factor }
    }

    /// Ratios are averaged by their logarithms: of 2 and 8 the mean is 4. With an error of ln 1.1 each, all but
    /// 2·(ln 1.1/z)²/(ln 4)² of their spread is training's.
    #[test]
    fn ratios_of_seeds_are_averaged_by_their_logarithms() {
        let seeds = [estimate(2.0, 1.1), estimate(8.0, 1.1)];
        let found = over_seeds(ContrastFigure::AllLayers, &seeds);
        assert!((found.mean.value - 4.0).abs() < 1e-12, "{found:?}");
        // Student's t of one degree at 97.5 % is 12.7062; the standard error of two is half their distance.
        let half = 12.706204736174694 * 2f64.ln();
        assert!((found.mean.high.ln() - 4f64.ln() - half).abs() < 1e-9);
        let error = 1.1f64.ln() / Confidence::P95.z();
        let expected = 1.0 - 2.0 * error * error / 4f64.ln().powi(2);
        assert!((found.i_squared - expected).abs() < 1e-12);
    }

    #[test]
    fn differences_of_seeds_are_averaged_as_they_are() {
        let at = |value| Estimate { value, low: value - 1.0, high: value + 1.0 };
        let found = over_seeds(ContrastFigure::Sdc, &[at(-1.0), at(2.0), at(-4.0)]);
        assert_eq!(found.mean.value, -1.0);
        // A spread of 3: 4.302653·3/√3 about it, and 4.302653·3·√(4/3) for a further seed.
        assert!((found.mean.high - (-1.0 + 4.302652729749462 * 3f64.sqrt())).abs() < 1e-9);
        assert!((found.prediction.high - (-1.0 + 4.302652729749462 * 12f64.sqrt())).abs() < 1e-9);
    }
}
