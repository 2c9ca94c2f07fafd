//! What two of a study's models differ in, and the figures of that over training seeds.
//!
//! Training is repeated from other seeds, on the same data. Each seed gives every figure once, with an error of
//! its own from the sampling of faults; together they say how much training itself moves it. Ratios are taken
//! by their logarithms.

use serde::Serialize;
use strum::{EnumIter, IntoEnumIterator};

use super::{ModelStart, StudyRow};
use crate::analysis::compare::{Comparison, Improvement, Refusal, Reliability};
use crate::analysis::{Weighting, over_seeds};
use crate::plan::Temperature;
use crate::statistics::{Estimate, RandomEffect};

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
            Some(FigureOverSeeds {
                figure,
                over_seeds: over_seeds(&seeds, figure.is_ratio()),
                seeds,
            })
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
