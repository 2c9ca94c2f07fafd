//! The published tables beside what came out: rows, means, ablations, and what they don't show.

use super::sheet::{BY_PIPE, Fit, Sheet, View};
use super::{flipped_bits, interval};
use crate::analysis::Weighting;
use crate::analysis::compare::READING;
use crate::models::Published;
use crate::plan::Protocol;
use crate::reproduce::{
    AblatedSetting, Ablation, AblationLine, MeanKind, NetworkMean, ProtocolLine, ReproducedRow,
    Reproduction, ReproductionScale, RowFigure, RowSet,
};
use crate::results::NONFINITE_LOSS;
use crate::statistics::Estimate;

/// The reproduction as text.
pub fn reproduction_text(found: &Reproduction, scale: ReproductionScale, view: View) -> String {
    let mut sheet = Sheet::new(view);
    sheet.prose(introduction(scale));
    sheet.gap();
    let rows = found.rows.iter().flat_map(row_lines).collect();
    sheet.table(Fit::Blocks, &HEADER, rows);
    if !found.means.is_empty() {
        sheet.gap();
        sheet.prose("Means over networks:");
        sheet.gap();
        let header = ["mean of", "networks", "last layer", "published", "overall", "published"];
        sheet.table(Fit::Blocks, &header, found.means.iter().map(mean_line).collect());
    }
    for ablation in &found.ablations {
        sheet.gap();
        sheet.prose(&ablation_heading(ablation));
        sheet.gap();
        let lines = ablation.lines.iter().map(ablation_line).collect();
        sheet.table(Fit::Blocks, &ABLATION_HEADER, lines);
    }
    sheet.gap();
    sheet.prose("What the rows are of:");
    sheet.gap();
    let campaigns = found.rows.iter().flat_map(campaign_lines).collect();
    sheet.table(Fit::Blocks, &CAMPAIGN_HEADER, campaigns);
    sheet.gap();
    for line in footer(found, scale) {
        sheet.item(&line);
    }
    sheet.finish(BY_PIPE)
}

const HEADER: [&str; 10] = [
    "row",
    "top-1 %, baseline → text-guided",
    "last layer, before the scale",
    "last layer, after the scale",
    "backbone's last Linear",
    "overall, layers alike",
    "overall, by neurons",
    "overall, by MACs",
    "Top2Diff, points",
    "published lies inside",
];

const CAMPAIGN_HEADER: [&str; 8] = [
    "row",
    "images",
    "injections a layer",
    "nonfinite",
    "verdict",
    "checkpoints",
    "results",
    "data",
];

const ABLATION_HEADER: [&str; 7] = [
    "setting",
    "top-1 %",
    "last layer",
    "÷ published setting's",
    "overall",
    "÷ published setting's",
    "SDC, points",
];

/// What the table is, in a sentence.
pub(crate) fn introduction(scale: ReproductionScale) -> &'static str {
    match scale {
        ReproductionScale::Published => {
            "The published tables, reproduced: ratios of mean ΔLoss under the range detector, baseline ÷ text-guided."
        }
        ReproductionScale::Small => {
            "The published tables at a small scale: small images, short training, and other data, beside what was \
             published on ImageNet; ratios of mean ΔLoss under the range detector, baseline ÷ text-guided. These figures \
             neither confirm nor refute those beside them."
        }
    }
}

fn cell(figure: Option<&RowFigure>) -> String {
    figure.map_or_else(|| "–".into(), |figure| words(&figure.shown))
}

/// A figure; with its first digits alone where it is huge, as ratios without a detector are.
pub(crate) fn words(estimate: &Estimate) -> String {
    let Estimate { value, low, high } = *estimate;
    let is_huge = |of: f64| of.is_finite() && of.abs() >= 1e4;
    match is_huge(value) || is_huge(high) {
        true if low.is_nan() => format!("{value:.1e}"),
        true => format!("{value:.1e} [{low:.1e}, {high:.1e}]"),
        false => interval(estimate, 2),
    }
}

fn row_lines(row: &ReproducedRow) -> Vec<Vec<String>> {
    let mut lines: Vec<Vec<String>> = row.lines.iter().map(|line| figures(row, line)).collect();
    if lines.is_empty() {
        let mut line = vec![format!("{}: not yet", row.row)];
        line.resize(HEADER.len(), "–".into());
        lines.push(line);
    }
    lines.extend(row.published.as_ref().map(published_line));
    lines
}

fn figures(row: &ReproducedRow, line: &ProtocolLine) -> Vec<String> {
    let [before, after] = &line.top1;
    let overall = |weighting| cell(line.overall_of(weighting, true));
    let seeds = match line.campaigns.len() {
        1 => String::new(),
        several => format!(", {several} seeds"),
    };
    vec![
        format!("{}, {}{seeds}", row.row, line.protocol.name()),
        format!("{} → {}", cell(before.as_ref()), cell(after.as_ref())),
        cell(line.last_layer_before_scale.as_ref()),
        cell(line.last_layer.as_ref()),
        cell(line.backbone_last_layer.as_ref()),
        overall(Weighting::Uniform),
        overall(Weighting::Neurons),
        overall(Weighting::Macs),
        match (line.top2diff_evaluated, &line.top2diff) {
            (Some(evaluated), Some(figure)) => {
                format!("{evaluated:.2}; {}", interval(&figure.shown, 2))
            }
            (_, figure) => cell(figure.as_ref()),
        },
        inside(line),
    ]
}

/// Of which figures the published one lies in the interval.
pub(crate) fn inside(line: &ProtocolLine) -> String {
    let word = |name: &str, figure: Option<&RowFigure>| {
        let is_inside = figure?.is_inside()?;
        Some(format!("{name}: {}", if is_inside { "yes" } else { "no" }))
    };
    let words: Vec<String> = [
        word("last layer", line.main_last_layer()),
        word("overall", line.overall()),
        word("Top2Diff", line.top2diff.as_ref()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if line.campaigns.iter().all(|of| !of.reasons.is_empty()) {
        return "no verdict, see below".into();
    }
    if words.is_empty() { "–".into() } else { words.join(", ") }
}

fn published_line(published: &Published) -> Vec<String> {
    let Published { accuracy: [before, after], last_layer, overall, top2diff } = published;
    let none = || "".to_string();
    vec![
        "  published".into(),
        format!("{before:.2} → {after:.2}"),
        format!("{last_layer:.2}"),
        none(),
        none(),
        format!("{overall:.2}"),
        none(),
        none(),
        format!("{top2diff:.2}"),
        none(),
    ]
}

/// Which mean it is, in words.
pub(crate) fn mean_name(kind: MeanKind) -> &'static str {
    match kind {
        MeanKind::Twelve => "torchvision's twelve",
        MeanKind::Fourteen => "all fourteen",
        MeanKind::Geometric => "all fourteen, geometric",
    }
}

fn mean_line(mean: &NetworkMean) -> Vec<String> {
    vec![
        format!("{}, {}", mean_name(mean.kind), mean.protocol.name()),
        format!("{} of {}", mean.networks, mean.all),
        interval(&mean.last_layer, 2),
        format!("{:.2}", mean.published_last_layer),
        interval(&mean.overall, 2),
        format!("{:.2}", mean.published_overall),
    ]
}

fn campaign_lines(row: &ReproducedRow) -> Vec<Vec<String>> {
    let of_line = |line: &ProtocolLine| {
        let protocol = line.protocol.name();
        let of_seed = |of: &crate::reproduce::SeedCampaigns| {
            let [a, b] = of.images;
            let (fewest, most) = of.injections;
            let hashes = |pair: &[String; 2]| {
                pair.iter().map(|hash| short(hash)).collect::<Vec<_>>().join(", ")
            };
            vec![
                format!("{}, {protocol}, seed {}", row.row, of.seed),
                if a == b { a.to_string() } else { format!("{a}, {b}") },
                if fewest == most { most.to_string() } else { format!("{fewest} to {most}") },
                format!("{}, {}", of.nonfinite[0], of.nonfinite[1]),
                of.verdict.clone(),
                hashes(&of.checkpoints),
                hashes(&of.results),
                short(&of.data),
            ]
        };
        line.campaigns.iter().map(of_seed).collect::<Vec<_>>()
    };
    row.lines.iter().flat_map(of_line).collect()
}

/// The first digits of a hash.
fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

/// What an ablation is of.
pub(crate) fn ablation_heading(ablation: &Ablation) -> String {
    let seeds = match ablation.seeds.as_slice() {
        [one] => format!("seed {one}"),
        several => {
            let last = several.last().copied().unwrap_or_default();
            format!("seeds {} to {last}", several.first().copied().unwrap_or_default())
        }
    };
    let images: Vec<String> = ablation.images.iter().map(usize::to_string).collect();
    format!(
        "What the gain is made of: {}, {seeds}, protocol strict, {} injections a layer, on the {} images that all of a \
         seed's networks get right. One setting at a time is other than published:",
        ablation.row,
        ablation.injections,
        images.join(", ")
    )
}

/// What is other than published.
pub(crate) fn setting_name(setting: AblatedSetting) -> &'static str {
    match setting {
        AblatedSetting::Published => "as published: rows from descriptions, before the scale",
        AblatedSetting::RandomRows => "rows at random",
        AblatedSetting::TemplateRows => "rows from a template",
        AblatedSetting::Unnormalized => "feature not normalised",
        AblatedSetting::FrozenRows => "rows not trained",
        AblatedSetting::AfterScale => "last layer after the scale",
        AblatedSetting::WithoutDetector => "no detector",
        AblatedSetting::NonfiniteCounted => "NaN and Inf counted",
        AblatedSetting::WithoutDetectorNonfiniteCounted => "no detector, NaN and Inf counted",
        AblatedSetting::WithoutEmbedding => "extra Linear not counted",
    }
}

fn ablation_line(line: &AblationLine) -> Vec<String> {
    vec![
        setting_name(line.setting).into(),
        cell(line.top1.as_ref()),
        cell(line.last_layer.as_ref()),
        cell(line.last_layer_change.as_ref()),
        cell(line.overall.as_ref()),
        cell(line.overall_change.as_ref()),
        cell(line.sdc.as_ref()),
    ]
}

/// How the figures were made, and what they don't show: a list.
pub(crate) fn footer(found: &Reproduction, scale: ReproductionScale) -> Vec<String> {
    let mut lines = vec![READING.to_string()];
    let lines_of = |protocol: Protocol| {
        found.rows.iter().filter_map(move |row| row.line(protocol)).flat_map(|line| &line.campaigns)
    };
    if lines_of(Protocol::Goldeneye).next().is_some() {
        let infinite: usize =
            lines_of(Protocol::Goldeneye).map(|of| of.infinite[0] + of.infinite[1]).sum();
        lines.push(format!(
            "goldeneye: GoldenEye's rules, by which the published figures were made. {} of one output of a Conv2d or Linear \
             that forward hooks see, so that the last layer's site is before the scale; the range detector (f16) on; images \
             of a fifth of the held-out ones, each network its own; top-1 over that fifth. The fault's image, neuron and bit \
             are drawn by a seed, where GoldenEye's aren't. {}",
            capital(&flipped_bits(1)),
            match infinite {
                0 => "No layer's mean is infinite by its rule.".to_string(),
                n => format!("By its rule, which leaves out NaN and not infinity, the means of {n} layers are infinite; here those answers are left out, too."),
            }
        ));
    }
    if lines_of(Protocol::Strict).next().is_some() {
        lines.push(format!(
            "strict: {} of one output of any Conv2d or Linear, in images that both networks get right, the same faults in \
             both; the last layer after the scale, like for like, and counted exactly where all of its logits' faults are; \
             ranges in f32; verdicts from ΔLoss and the SDC rate together.",
            flipped_bits(1)
        ));
    }
    lines.push(format!(
        "{} Over several training seeds a figure is the mean over them with Student's interval (ratios: the geometric mean). \
         'Published lies inside' holds the published number against that interval (last layer: before the scale under goldeneye, after it under strict; Top2Diff: the second of its two figures), which says nothing of how exact the \
         published number is. {}",
        found.intervals.words(),
        super::NO_INTERVAL
    ));
    lines.push(
        "Top2Diff: first over every evaluated image, right or wrong; then over the images that faults hit, with its \
         interval. Overall: the extra Linear of the text-guided network counted; nonfinite: answers under the range \
         detector that means leave out, of baseline and text-guided."
            .into(),
    );
    lines.extend(found.problems.iter().map(|problem| format!("Left out: {problem}.")));
    lines.extend(other_classes(found));
    if found.rows.iter().any(|row| row.lines.len() < 2) {
        lines.push(
            "A row without a protocol's line isn't done, or its networks classify no image correctly that faults of that protocol could hit."
                .into(),
        );
    }
    if !found.ablations.is_empty() {
        lines.push(format!(
            "Ablation: ratios of mean ΔLoss, baseline ÷ this; '÷ published setting's': that ratio divided by the published \
             setting's, so that 1 is no change and less a smaller gain. Networks of their own have it from the same faults in \
             both, with an interval; readings of the same campaigns have one over seeds alone. Counted, an answer that isn't \
             finite is a ΔLoss of {NONFINITE_LOSS:.1} nats. Without a detector a few exponent bits carry a mean of ΔLoss: \
             its ratio says little. SDC: the network's rate without a detector, all layers alike, less the baseline's."
        ));
    }
    if scale == ReproductionScale::Small {
        lines.push(
            "The small scale shows that everything runs and how figures are read. Networks see few images in few steps, most \
             of them hardly better than chance, where no verdict is given."
                .into(),
        );
    }
    let devices: std::collections::BTreeSet<&str> = [Protocol::Goldeneye, Protocol::Strict]
        .into_iter()
        .flat_map(lines_of)
        .map(|of| of.device.as_str())
        .collect();
    if !devices.is_empty() {
        let devices: Vec<&str> = devices.into_iter().collect();
        lines.push(format!(
            "Run on {}. Hashes are SHA-256, their first digits.",
            devices.join(" and ")
        ));
    }
    lines
}

/// Rows of ImageNet that aren't on its classes.
fn other_classes(found: &Reproduction) -> Option<String> {
    const CLASSES: usize = 1000;
    let of_row = |row: &ReproducedRow| {
        let campaigns = row.lines.iter().flat_map(|line| &line.campaigns);
        let mut classes = campaigns.map(|of| of.classes).filter(|classes| *classes != CLASSES);
        let classes = classes.next().filter(|_| row.row.set == RowSet::Imagenet)?;
        Some(format!("{} ({classes} classes)", row.row))
    };
    let rows: Vec<String> = found.rows.iter().filter_map(of_row).collect();
    (!rows.is_empty()).then(|| {
        format!(
            "Not on ImageNet's {CLASSES} classes, and so not what was published: {}.",
            rows.join(", ")
        )
    })
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
