//! The published tables again: their rows, where the parts of each lie in a folder, and what these come to beside what was
//! published.
//!
//! A row is a backbone on a data set. It takes two networks, the baseline and the text-guided one, and two campaigns of
//! each: by GoldenEye's rules, as published, and by this project's. Ablations take further networks. What makes these
//! parts are the program's own commands (`cli/reproduce`); here they are read.

mod ablation;
mod belongs;
mod figure;
mod folder;
mod means;
mod row;

use serde::Serialize;

pub use ablation::{AblatedSetting, Ablation, AblationLine};
pub use figure::RowFigure;
pub use folder::{Arm, BEGUN, CampaignKind, ReproductionFolder, is_trained, is_whole};
pub use means::{MeanKind, NetworkMean};
pub use row::{BACKBONES, ReproductionScale, RowName, RowSet, TORCHVISION, rows};

use self::belongs::RowStores;
use crate::analysis::Intervals;
use crate::analysis::Weighting;
use crate::analysis::compare::{Comparison, Pairing, compare_all};
use crate::analysis::goldeneye::figures;
use crate::models::Published;
use crate::plan::Protocol;
use crate::results::Run;
use crate::statistics::Estimate;
use crate::{Error, Result};

/// What a folder holds of the tables.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reproduction {
    pub rows: Vec<ReproducedRow>,
    /// Over networks.
    pub means: Vec<NetworkMean>,
    /// One a row that was asked for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ablations: Vec<Ablation>,
    /// What was left out, and why: stores that can't be read, or don't belong where they lie.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    pub intervals: Intervals,
}

/// A row, with what was published under it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReproducedRow {
    pub row: RowName,
    pub published: Option<Published>,
    /// Of the protocols whose campaigns are whole.
    pub lines: Vec<ProtocolLine>,
}

/// The figures of a row by one protocol.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProtocolLine {
    pub protocol: Protocol,
    /// Top-1 in percent, baseline and text-guided, over the images that the protocol evaluates: all of the held-out ones, or
    /// under `goldeneye` a fifth.
    pub top1: [Option<RowFigure>; 2],
    /// Ratios of mean ΔLoss under the range detector, baseline ÷ text-guided.
    pub last_layer_before_scale: Option<RowFigure>,
    /// `None` under `goldeneye`, whose hooks don't see the scale.
    pub last_layer: Option<RowFigure>,
    /// The baseline's last layer against the text-guided network's extra Linear.
    pub backbone_last_layer: Option<RowFigure>,
    pub overall: Vec<OverallFigure>,
    /// Text-guided − baseline in percentage points, over the images that faults hit.
    pub top2diff: Option<RowFigure>,
    /// The same over every evaluated image, right or wrong: the mean over seeds.
    pub top2diff_evaluated: Option<f64>,
    /// What each seed's figures are of.
    pub campaigns: Vec<SeedCampaigns>,
}

/// A figure over all layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OverallFigure {
    pub weighting: Weighting,
    /// Whether the text-guided network's extra Linear counts.
    pub embedding: bool,
    pub figure: RowFigure,
}

/// The two campaigns of a seed. Pairs are baseline and text-guided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeedCampaigns {
    pub seed: u64,
    /// Images that faults hit.
    pub images: [usize; 2],
    /// Classes, and the images that either was evaluated on.
    pub classes: usize,
    pub evaluated: [usize; 2],
    /// Injections of a layer, the fewest and the most of both.
    pub injections: (u64, u64),
    /// Answers under the range detector that aren't finite; means leave them out.
    pub nonfinite: [u64; 2],
    /// Layers whose mean ΔLoss is infinite by GoldenEye's rule, which leaves out NaN alone.
    pub infinite: [usize; 2],
    /// SHA-256 of either checkpoint's file, and of either campaign's results.
    pub checkpoints: [String; 2],
    pub results: [String; 2],
    /// Fingerprint of the data.
    pub data: String,
    /// Device and arithmetic, as `cpu, exact`.
    pub device: String,
    /// What ΔLoss and the SDC rate say together.
    pub verdict: String,
    /// Why nothing is said; empty where something is.
    pub reasons: Vec<String>,
}

impl ReproducedRow {
    /// The line of a protocol.
    pub fn line(&self, protocol: Protocol) -> Option<&ProtocolLine> {
        self.lines.iter().find(|line| line.protocol == protocol)
    }
}

impl ProtocolLine {
    /// The last layer as the protocol sees it: before the scale under `goldeneye`, else after it.
    pub fn main_last_layer(&self) -> Option<&RowFigure> {
        match self.protocol {
            Protocol::Goldeneye => self.last_layer_before_scale.as_ref(),
            Protocol::Strict => self.last_layer.as_ref(),
        }
    }

    /// Layers alike, the extra Linear with them.
    pub fn overall(&self) -> Option<&RowFigure> {
        self.overall_of(Weighting::Uniform, true)
    }

    /// The figure of a weighting.
    pub fn overall_of(&self, weighting: Weighting, embedding: bool) -> Option<&RowFigure> {
        let is_it = |of: &&OverallFigure| of.weighting == weighting && of.embedding == embedding;
        self.overall.iter().find(is_it).map(|of| &of.figure)
    }
}

/// Reads what a folder holds of `rows`, for these training seeds; `ablated` are the rows whose ablation is wanted. A
/// campaign that isn't whole yet is as if it weren't there, and a protocol's line takes the seeds that have both. Files that
/// can't be read, and campaigns that don't belong together, are [`Reproduction::problems`], and their lines left out.
pub fn gather(
    rows: &[RowName],
    ablated: &[RowName],
    folder: &ReproductionFolder,
    seeds: &[u64],
) -> Reproduction {
    let intervals = Intervals::default();
    let mut found = Reproduction {
        rows: Vec::new(),
        means: Vec::new(),
        ablations: Vec::new(),
        problems: Vec::new(),
        intervals,
    };
    for row in rows {
        let published = row.published();
        let mut stores = RowStores::new(row, folder);
        let mut lines = Vec::new();
        for kind in [CampaignKind::Goldeneye, CampaignKind::Strict] {
            match line(&mut stores, kind, seeds, published.as_ref(), &intervals) {
                Ok(line) => lines.extend(line),
                Err(error) => found.problems.push(error.to_string()),
            }
        }
        if ablated.contains(row) {
            match ablation::ablation(&mut stores, seeds, &intervals) {
                Ok(ablation) => found.ablations.extend(ablation),
                Err(error) => found.problems.push(error.to_string()),
            }
        }
        found.rows.push(ReproducedRow { row: row.clone(), published, lines });
    }
    // A store that a line and an ablation read is told once.
    found.problems.dedup();
    found.means = means::means(&found.rows);
    found
}

fn line(
    stores: &mut RowStores<'_>,
    kind: CampaignKind,
    seeds: &[u64],
    published: Option<&Published>,
    how: &Intervals,
) -> Result<Option<ProtocolLine>> {
    let pairing = match kind {
        CampaignKind::Goldeneye => Pairing::Unpaired,
        CampaignKind::Strict | CampaignKind::Ablation => Pairing::Paired,
    };
    let mut comparisons: Vec<Comparison> = Vec::new();
    let mut campaigns = Vec::new();
    for seed in seeds {
        let [a, b] = Arm::MAIN.map(|arm| stores.open(*seed, arm, kind));
        let (Some(a), Some(b)) = (a?, b?) else { continue };
        let compared = compare_all(&[[&a, &b]], pairing, how)
            .map_err(|error| Error::usage(format!("{}, seed {seed}: {error}", stores.row)))?;
        let Some(comparison) = compared.rows.into_iter().next() else { continue };
        campaigns.push(of_seed(*seed, [&a, &b], &comparison));
        comparisons.push(comparison);
    }
    if comparisons.is_empty() {
        return Ok(None);
    }
    let of = |are_ratios: bool,
              published: Option<f64>,
              figure: &dyn Fn(&Comparison) -> Option<Estimate>| {
        RowFigure::of(comparisons.iter().map(figure), are_ratios, published)
    };
    let last = published.map(|of| of.last_layer);
    let mut overall = Vec::new();
    for (weighting, embedding) in kinds(&comparisons[0]) {
        let is_published = weighting == Weighting::Uniform && embedding;
        let published = published.filter(|_| is_published).map(|of| of.overall);
        let figure = of(true, published, &|comparison| {
            comparison.overall_of(weighting, embedding).map(|of| of.ratio)
        });
        overall.extend(figure.map(|figure| OverallFigure { weighting, embedding, figure }));
    }
    let evaluated: Option<Vec<f64>> =
        comparisons.iter().map(|comparison| comparison.top2diff.evaluated).collect();
    Ok(Some(ProtocolLine {
        protocol: kind.protocol(),
        top1: [0, 1].map(|at| {
            let published = published.map(|of| of.accuracy[at]);
            of(false, published, &|comparison| {
                let accuracy = comparison.accuracy?;
                Some(if at == 0 { accuracy.baseline } else { accuracy.other })
            })
        }),
        last_layer_before_scale: of(true, last, &|comparison| {
            comparison.last_layer_before_scale.as_ref().map(|of| of.ratio)
        }),
        last_layer: match kind.protocol() {
            Protocol::Goldeneye => None,
            Protocol::Strict => {
                of(true, last, &|comparison| comparison.last_layer.as_ref().map(|of| of.ratio))
            }
        },
        backbone_last_layer: of(true, None, &|comparison| {
            comparison.backbone_last_layer.as_ref().map(|of| of.ratio)
        }),
        overall,
        top2diff: of(false, published.map(|of| of.top2diff), &|comparison| {
            Some(comparison.top2diff.injected)
        }),
        top2diff_evaluated: evaluated.map(|of| of.iter().sum::<f64>() / of.len() as f64),
        campaigns,
    }))
}

/// Which figures over all layers there are.
fn kinds(comparison: &Comparison) -> Vec<(Weighting, bool)> {
    comparison.overall.iter().map(|of| (of.weighting, of.embedding)).collect()
}

fn of_seed(seed: u64, runs: [&Run; 2], comparison: &Comparison) -> SeedCampaigns {
    let [a, b] = comparison.injections;
    let setting = &runs[0].manifest.setting;
    let infinite = |run: &Run| match run.manifest.plan.protocol {
        Protocol::Goldeneye => {
            let layers = figures(run);
            layers.iter().filter(|layer| layer.delta_loss.value.is_infinite()).count()
        }
        Protocol::Strict => 0,
    };
    SeedCampaigns {
        seed,
        images: comparison.images,
        classes: setting.classes,
        evaluated: runs.map(|run| run.manifest.setting.provenance.evaluated),
        injections: (a.0.min(b.0), a.1.max(b.1)),
        nonfinite: comparison.all_layers().map_or([0, 0], |of| of.nonfinite),
        infinite: runs.map(infinite),
        checkpoints: comparison.checkpoints.clone(),
        results: runs.map(Run::results_sha256),
        data: setting.provenance.data.clone(),
        device: setting.device.to_string(),
        verdict: comparison.reliability.words().to_string(),
        reasons: comparison.refusals.iter().map(|refusal| refusal.detail.clone()).collect(),
    }
}
