//! What the text-guided network's gain is made of: one setting of the published experiment changed at a time.

use serde::Serialize;
use strum::{EnumIter, IntoEnumIterator};

use super::belongs::RowStores;
use super::folder::{Arm, CampaignKind};
use super::{RowFigure, RowName};
use crate::analysis::compare::{AskedRatio, Breadth, Comparison, Pairing, compare_all, ratio_of};
use crate::analysis::{Intervals, Scope};
use crate::detector::Detector;
use crate::results::Run;
use crate::statistics::Estimate;
use crate::{Error, Result};

/// What is other than published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, EnumIter)]
#[serde(rename_all = "kebab-case")]
pub enum AblatedSetting {
    /// Nothing: rows from descriptions, trained with the rest, on the normalised feature; the last layer before the
    /// scale; the range detector; answers that aren't finite left out; the extra Linear counted.
    Published,
    RandomRows,
    TemplateRows,
    Unnormalized,
    FrozenRows,
    /// The last layer after the scale.
    AfterScale,
    WithoutDetector,
    /// Answers that aren't finite count ([`crate::results::NONFINITE_LOSS`]).
    NonfiniteCounted,
    WithoutDetectorNonfiniteCounted,
    /// The extra Linear isn't counted.
    WithoutEmbedding,
}

impl AblatedSetting {
    /// The network that is held against the baseline.
    pub const fn arm(self) -> Arm {
        match self {
            AblatedSetting::RandomRows => Arm::RandomRows,
            AblatedSetting::TemplateRows => Arm::TemplateRows,
            AblatedSetting::Unnormalized => Arm::Unnormalized,
            AblatedSetting::FrozenRows => Arm::FrozenRows,
            _ => Arm::TextGuided,
        }
    }

    fn ratio(self, breadth: Breadth) -> AskedRatio {
        use AblatedSetting::{NonfiniteCounted, WithoutDetector, WithoutDetectorNonfiniteCounted};
        AskedRatio {
            breadth,
            scope: Scope {
                after_scale: self == AblatedSetting::AfterScale,
                embedding: self != AblatedSetting::WithoutEmbedding,
            },
            detector: match self {
                WithoutDetector | WithoutDetectorNonfiniteCounted => Detector::None,
                _ => Detector::Range,
            },
            with_nonfinite: matches!(self, NonfiniteCounted | WithoutDetectorNonfiniteCounted),
        }
    }

    /// Whether the last layer's figure is another one than the published setting's.
    fn changes_last_layer(self) -> bool {
        self != AblatedSetting::WithoutEmbedding
    }
}

/// A setting and what it comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AblationLine {
    pub setting: AblatedSetting,
    /// Top-1 in percent of the setting's network.
    pub top1: Option<RowFigure>,
    /// Ratios of mean ΔLoss, baseline ÷ this.
    pub last_layer: Option<RowFigure>,
    pub overall: Option<RowFigure>,
    /// Those ratios ÷ the published setting's. Of a network of its own, with the same faults in both networks; of a
    /// figure of the same network, of each seed without an interval.
    pub last_layer_change: Option<RowFigure>,
    pub overall_change: Option<RowFigure>,
    /// SDC rate without a detector, all layers alike, less the baseline's, in points; of the networks alone.
    pub sdc: Option<RowFigure>,
}

/// The ablation of a row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ablation {
    pub row: RowName,
    pub seeds: Vec<u64>,
    /// Images that faults hit, of each seed: those that all its networks get right.
    pub images: Vec<usize>,
    /// Injections of a layer.
    pub injections: u64,
    pub lines: Vec<AblationLine>,
}

/// The campaigns of a seed.
struct SeedRuns {
    seed: u64,
    baseline: Run,
    published: Run,
    /// Those of the other networks.
    others: Vec<(Arm, Run)>,
}

impl SeedRuns {
    /// Those of the ablation, else the two of the main row; `None` where these aren't whole.
    fn open(stores: &mut RowStores<'_>, seed: u64) -> Result<Option<SeedRuns>> {
        for kind in [CampaignKind::Ablation, CampaignKind::Strict] {
            let [baseline, published] = Arm::MAIN.map(|arm| stores.open(seed, arm, kind));
            let (Some(baseline), Some(published)) = (baseline?, published?) else { continue };
            let mut others = Vec::new();
            for arm in Arm::iter().filter(|arm| !Arm::MAIN.contains(arm)) {
                if kind == CampaignKind::Ablation {
                    others.extend(stores.open(seed, arm, kind)?.map(|run| (arm, run)));
                }
            }
            return Ok(Some(SeedRuns { seed, baseline, published, others }));
        }
        Ok(None)
    }

    fn of(&self, arm: Arm) -> Option<&Run> {
        match arm {
            Arm::Baseline => Some(&self.baseline),
            Arm::TextGuided => Some(&self.published),
            other => self.others.iter().find(|(arm, _)| *arm == other).map(|(_, run)| run),
        }
    }
}

/// The ablation of a row from the seeds whose campaigns are whole; `None` without any.
///
/// # Errors
/// Files that can't be read, campaigns that don't belong together.
pub(super) fn ablation(
    stores: &mut RowStores<'_>,
    seeds: &[u64],
    how: &Intervals,
) -> Result<Option<Ablation>> {
    let mut of_seeds = Vec::new();
    for seed in seeds {
        of_seeds.extend(SeedRuns::open(stores, *seed)?);
    }
    let Some(first) = of_seeds.first() else { return Ok(None) };
    let injections = first.baseline.injections().1;
    let mut lines = Vec::new();
    for setting in AblatedSetting::iter() {
        if of_seeds.iter().all(|runs| runs.of(setting.arm()).is_some()) {
            lines.push(line(setting, stores.row, &of_seeds, how)?);
        }
    }
    Ok(Some(Ablation {
        row: stores.row.clone(),
        seeds: of_seeds.iter().map(|runs| runs.seed).collect(),
        images: of_seeds.iter().map(|runs| runs.baseline.manifest.images.len()).collect(),
        injections,
        lines,
    }))
}

fn line(
    setting: AblatedSetting,
    row: &RowName,
    seeds: &[SeedRuns],
    how: &Intervals,
) -> Result<AblationLine> {
    let ratio = |runs: &SeedRuns, from: Arm, breadth, asked: AblatedSetting| -> Option<Estimate> {
        let pair = [runs.of(from)?, runs.of(setting.arm())?];
        ratio_of(pair, Pairing::Paired, how, asked.ratio(breadth)).map(|of| of.ratio)
    };
    let figure = |breadth| {
        let of = seeds.iter().map(|runs| ratio(runs, Arm::Baseline, breadth, setting));
        RowFigure::of(of, true, None)
    };
    // The baseline ÷ this, ÷ the baseline ÷ the published one.
    let change = |breadth| {
        let of = |runs: &SeedRuns| match setting.arm() {
            Arm::TextGuided => {
                let here = ratio(runs, Arm::Baseline, breadth, setting)?;
                let there = ratio(runs, Arm::Baseline, breadth, AblatedSetting::Published)?;
                Some(Estimate::alone(here.value / there.value))
            }
            _ => ratio(runs, Arm::TextGuided, breadth, setting),
        };
        RowFigure::of(seeds.iter().map(of), true, None)
            .filter(|_| setting != AblatedSetting::Published)
    };
    let is_network = setting == AblatedSetting::Published || setting.arm() != Arm::TextGuided;
    let mut comparisons: Vec<Comparison> = Vec::new();
    for runs in seeds.iter().filter(|_| is_network) {
        let Some(other) = runs.of(setting.arm()) else { continue };
        let compared = compare_all(&[[&runs.baseline, other]], Pairing::Paired, how)
            .map_err(|error| Error::usage(format!("{row}, seed {}: {error}", runs.seed)))?;
        comparisons.extend(compared.rows);
    }
    let of_networks = |of: &dyn Fn(&Comparison) -> Option<Estimate>| {
        RowFigure::of(comparisons.iter().map(of), false, None)
    };
    Ok(AblationLine {
        setting,
        top1: of_networks(&|comparison| comparison.accuracy.map(|accuracy| accuracy.other)),
        last_layer: figure(Breadth::LastLayer),
        overall: figure(Breadth::Overall),
        last_layer_change: change(Breadth::LastLayer).filter(|_| setting.changes_last_layer()),
        overall_change: change(Breadth::Overall),
        sdc: of_networks(&|comparison| comparison.sdc_difference().copied()),
    })
}
