//! `compare`'s tables: the published one's columns, every other reading of them, rates, and the footer.

use strum::IntoEnumIterator;

use super::family::{self, said};
use super::sheet::{BY_PIPE, Fit, Sheet, View};
use super::{NO_INTERVAL, OUTCOMES, interval, ratio, scale};
use crate::analysis::Weighting;
use crate::analysis::compare::{
    Comparison, Comparisons, Discordant, Improvement, LayersCompared, RANGES_APART, RULES,
    RangesCompared, Reading, SameFaults,
};
use crate::error::{MOST_NAMED, some_of};
use crate::models::Published;

/// Runs compared.
pub fn comparison_text(comparisons: &Comparisons, view: View) -> String {
    let rows = &comparisons.rows;
    let mut sheet = Sheet::new(view);
    let header = [
        "",
        "acc. %, baseline → other",
        "difference, points",
        "last layer",
        "overall",
        "Top2Diff, percentage points",
    ];
    let mut has_published = false;
    let mut lines = Vec::new();
    let names = names(rows);
    for (row, name) in rows.iter().zip(&names) {
        lines.push(published_columns(row, name));
        if let Some(figures) = row.published.as_ref().filter(|_| is_published_pair(row)) {
            lines.push(published_row(figures));
            has_published = true;
        }
    }
    sheet.table(Fit::Blocks, &header, lines);
    sheet.gap();
    sheet.prose("Mean ΔLoss under the range detector, baseline ÷ other = ratio:");
    sheet.gap();
    let mut header = vec!["reading"];
    header.extend(names.iter().map(String::as_str));
    sheet.table(Fit::Blocks, &header, readings(rows));
    sheet.gap();
    sheet.prose("Rates over all layers alike, in percent, and their difference in points:");
    sheet.gap();
    let header = [
        "",
        "outcome",
        "detector",
        "baseline",
        "other",
        "difference",
        "verdict",
        "only in one, in shared layers; McNemar's p",
    ];
    match sheet.screen() {
        None => sheet.table(Fit::Blocks, &header, rates(rows, &names)),
        // What a line is about stands in its first column, which every block has.
        Some(_) => {
            let is_one = rows.len() == 1;
            let joined = |mut line: Vec<String>| {
                let figures = line.split_off(3);
                let about = line[usize::from(is_one)..].join(", ");
                std::iter::once(about).chain(figures).collect()
            };
            let lines = rates(rows, &names).into_iter().map(joined).collect();
            sheet.table(
                Fit::Blocks,
                &["outcome, detector", header[3], header[4], header[5], header[6], header[7]],
                lines,
            );
        }
    }
    sheet.gap();
    for (row, name) in rows.iter().zip(&names) {
        sheet.prose(&verdict(row, name));
        if let Some(of) = &row.equivalence {
            sheet.prose(&family::equivalence(row, of));
        }
    }
    sheet.gap();
    for line in footer(comparisons, has_published) {
        sheet.item(&line);
    }
    sheet.finish(BY_PIPE)
}

/// Whether the pair is what was published: a baseline, and a text-guided model on top of it.
fn is_published_pair(row: &Comparison) -> bool {
    row.models[0].ends_with(" baseline") && row.models[1].ends_with(" text-guided")
}

/// The other model of each row; with the checkpoint's first digits where rows would else be called alike.
fn names(rows: &[Comparison]) -> Vec<String> {
    let name = |row: &Comparison| {
        let name = &row.models[1];
        if rows.iter().filter(|other| other.models[1] == *name).count() == 1 {
            return name.clone();
        }
        format!("{name} {}", row.checkpoints[1].chars().take(6).collect::<String>())
    };
    rows.iter().map(name).collect()
}

fn or_dash(improvement: Option<&Improvement>, words: impl Fn(&Improvement) -> String) -> String {
    improvement.map_or_else(|| "–".into(), words)
}

fn published_columns(row: &Comparison, name: &str) -> Vec<String> {
    let evaluated = row.top2diff.evaluated;
    vec![
        name.into(),
        row.accuracy.map_or_else(
            || "–".into(),
            |of| format!("{} → {}", interval(&of.baseline, 2), interval(&of.other, 2)),
        ),
        row.accuracy.map_or_else(|| "–".into(), |of| interval(&of.difference, 2)),
        or_dash(row.last_layer.as_ref(), ratio),
        or_dash(row.all_layers(), ratio),
        match evaluated {
            Some(points) => format!("{points:.2}; {}", interval(&row.top2diff.injected, 2)),
            None => interval(&row.top2diff.injected, 2),
        },
    ]
}

fn published_row(figures: &Published) -> Vec<String> {
    let [before, after] = figures.accuracy;
    vec![
        "  published (ImageNet)".into(),
        format!("{before:.2} → {after:.2}"),
        format!("{:.2}", after - before),
        format!("{:.2}", figures.last_layer),
        format!("{:.2}", figures.overall),
        format!("{:.2}", figures.top2diff),
    ]
}

fn readings(rows: &[Comparison]) -> Vec<Vec<String>> {
    let words = |i: &Improvement| {
        let said = said(i.verdict, i.adjusted_p, i.p);
        format!("{:.2e} ÷ {:.2e} = {}, {said}", i.baseline, i.other, interval(&i.ratio, 2))
    };
    let primary = rows.first().map(|row| row.primary);
    let marked =
        |name: &str, is_it: bool| if is_it { format!("{name} (primary)") } else { name.into() };
    let line = |name: String, of: &dyn Fn(&Comparison) -> Option<Improvement>| -> Vec<String> {
        let cells = rows.iter().map(|row| or_dash(of(row).as_ref(), words));
        std::iter::once(name).chain(cells).collect()
    };
    let mut lines = vec![
        line(
            marked("last layer, after the scale", primary == Some(Reading::DeltaLossLastLayer)),
            &|row| row.last_layer,
        ),
        line(
            marked(
                "last layer, before the scale",
                primary == Some(Reading::DeltaLossLastLayerBeforeScale),
            ),
            &|row| row.last_layer_before_scale,
        ),
        line("backbone's own last Linear".into(), &|row| row.backbone_last_layer),
    ];
    for embedding in [true, false] {
        for weighting in Weighting::iter() {
            let extra = if embedding { "" } else { " without the extra Linear" };
            let name = format!("overall{extra}, {}", weighting.words());
            let is_it = primary.is_some_and(|primary| primary.is_overall(weighting, embedding));
            lines.push(line(marked(&name, is_it), &|row| {
                row.overall_of(weighting, embedding).copied()
            }));
        }
    }
    lines.extend(scale::readings(rows, &words));
    lines
}

/// What a row says of reliability, or why it says nothing.
pub(crate) fn verdict(row: &Comparison, name: &str) -> String {
    let (baseline, words) = (&row.models[0], row.reliability.words());
    let (numbers, reasons) = (scale::numbers(row), super::reasons(&row.refusals));
    format!("{name} against {baseline}: {words}{numbers}{reasons}.")
}

fn rates(rows: &[Comparison], names: &[String]) -> Vec<Vec<String>> {
    let of_row = |(row, name): (&Comparison, &String)| -> Vec<Vec<String>> {
        let line = |rate: &crate::analysis::compare::RateChange| {
            vec![
                name.clone(),
                match row.primary.is_rate(rate) {
                    true => format!("{} (primary)", rate.outcome.name()),
                    false => rate.outcome.name().into(),
                },
                rate.detector.name().into(),
                interval(&rate.baseline, 3),
                interval(&rate.other, 3),
                interval(&rate.difference, 3),
                said(rate.verdict, rate.adjusted_p, rate.p),
                rate.discordant.as_ref().map_or_else(|| "–".into(), discordant),
            ]
        };
        row.rates.iter().map(line).collect()
    };
    rows.iter().zip(names).flat_map(of_row).collect()
}

/// `2 and 5, 0.45`: injections with the outcome in the baseline alone and in the other alone, and the p-value.
fn discordant(of: &Discordant) -> String {
    let p = family::p_value(of.mcnemar_p);
    format!("{} and {}, {p}", of.only_in_baseline, of.only_in_other)
}

fn footer(comparisons: &Comparisons, published: bool) -> Vec<String> {
    let footer = &comparisons.footer;
    let detectors: Vec<&str> = footer.detectors.iter().map(|detector| detector.name()).collect();
    let mut lines = vec![
        footer.reading.clone(),
        "Columns: last layer after the scale; overall with layers alike, the last one after the scale, the \
         extra Linear included. Accuracies: of all evaluated images; stores don't say which of them were right, so that \
         the difference is taken as of different ones. Top2Diff: over every evaluated image, where runs say so; then over the images \
         that faults hit, with an interval over images."
            .into(),
        format!(
            "Protocol {}; detector {}; site {}. Ratios are taken under the range detector; nonfinite answers \
             are left out of means.",
            footer.protocol,
            detectors.join(" and "),
            footer.site,
        ),
        format!(
            "{} They speak of faults in these images and this checkpoint, not of training. Above 1 the other's ΔLoss is \
             lower, below 1 higher; an interval that holds 1 shows no difference, which doesn't show that there is none: \
             --margin tests for that.",
            comparisons.intervals.words()
        ),
        family::words(comparisons),
        RULES.into(),
        OUTCOMES.into(),
    ];
    if comparisons.rows.iter().flat_map(|row| &row.rates).any(|rate| rate.discordant.is_some()) {
        lines.push(
            "Only in one: injections that had the outcome in the baseline alone and in the other alone, over the \
             layers with the same faults, which McNemar's exact test holds against each other. The difference is over all \
             layers of either, each alike: where one model has a layer more, the two may say unlike things."
                .into(),
        );
    }
    let ratios = |row: &Comparison| {
        let single = [row.last_layer, row.last_layer_before_scale, row.backbone_last_layer];
        let overall = row.overall.iter().map(|overall| overall.improvement);
        single.into_iter().flatten().chain(overall).collect::<Vec<_>>()
    };
    let lacks_ends = |row: &Comparison| {
        row.stopped == [false; 2] && ratios(row).iter().any(|of| of.ratio.low.is_nan())
    };
    if comparisons.rows.iter().any(lacks_ends) {
        lines.push(NO_INTERVAL.into());
    }
    if published {
        lines.push(
            "Published rows are ImageNet's, of other checkpoints, images and n; they have no intervals."
                .into(),
        );
    }
    for row in &comparisons.rows {
        lines.push(row_footer(row));
        lines.extend(row.layers.as_ref().map(|layers| layer_footer(row, layers)));
        lines.extend(row.ranges.as_ref().map(|ranges| ranges_footer(row, ranges)));
        lines.extend(scale::footer(row));
        if !row.differences.is_empty() {
            lines.push(format!(
                "{} against {} also differ in: {}.",
                row.models[1],
                row.models[0],
                row.differences.join("; ")
            ));
        }
    }
    lines
}

/// Which layers the figures of a row are of.
fn layer_footer(row: &Comparison, layers: &LayersCompared) -> String {
    let mut text = format!(
        "{} against {}: figures are of the layers in common: {} ({})",
        row.models[1],
        row.models[0],
        layers.common.len(),
        some_of(&layers.common, MOST_NAMED)
    );
    let mut add = |what: &str, names: &[Vec<String>; 2]| {
        for (names, whose) in names.iter().zip(["the baseline", "the other"]) {
            if !names.is_empty() {
                text.push_str(&format!(
                    "; {what} of {whose}: {} ({})",
                    names.len(),
                    some_of(names, MOST_NAMED)
                ));
            }
        }
    };
    add("left out", &layers.left_out);
    add("without a counterpart, but counted,", &layers.alone);
    text.push('.');
    text
}

/// How far the ranges of a row are apart.
fn ranges_footer(row: &Comparison, ranges: &RangesCompared) -> String {
    let RangesCompared { images, layers, apart } = ranges;
    let over = match *images {
        [Some(a), Some(b)] if a == b => format!(", measured over {a} training images,"),
        [Some(a), Some(b)] => format!(", measured over {a} and {b} training images,"),
        _ => String::new(),
    };
    let which = match apart.len() {
        0 => String::new(),
        _ => format!(" ({})", some_of(apart, MOST_NAMED)),
    };
    format!(
        "{} against {}: ranges{over} differ by more than a factor of {RANGES_APART} in {} of {layers} layers \
         that both have{which}; a wider one lets larger faulty values through, so that ratios of ΔLoss are of the \
         ranges, too.",
        row.models[1],
        row.models[0],
        apart.len(),
    )
}

/// What a reader must know of one row.
pub(super) fn row_footer(row: &Comparison) -> String {
    let both = |values: [String; 2]| {
        let [a, b] = values;
        if a == b { a } else { format!("{a} and {b}") }
    };
    let nonfinite = row.all_layers().map_or_else(
        || "no injections under the range detector".into(),
        |i| format!("nonfinite answers under range {} and {}", i.nonfinite[0], i.nonfinite[1]),
    );
    let has_others = row
        .layers
        .as_ref()
        .is_some_and(|layers| layers.alone.iter().any(|names| !names.is_empty()));
    let pairing = match row.same_faults {
        None | Some(SameFaults { layers: 0, .. }) => String::from("each its own faults"),
        Some(SameFaults { layers, of }) if layers < of => {
            format!("the same faults in {layers} of the {of} layers in common")
        }
        Some(_) if has_others => "the same faults in the layers in common".into(),
        Some(_) => "the same faults in both".into(),
    };
    let stopped = match row.stopped {
        [false, false] => "",
        _ => {
            ", layers stopped by a rule, so that ratios and differences have no interval and no verdict"
        }
    };
    let counted = match row.counted {
        [false, false] => "",
        [true, true] => ", ΔLoss of the last layer of every single-bit fault, counted",
        [true, false] => {
            ", ΔLoss of the baseline's last layer counted over every single-bit fault, of the other's drawn \
                             (`inject --resume` on its store counts it)"
        }
        [false, true] => {
            ", ΔLoss of the other's last layer counted over every single-bit fault, of the baseline's drawn \
                             (`inject --resume` on its store counts it)"
        }
    };
    let hashes = row.checkpoints.each_ref().map(|hash| hash.chars().take(12).collect::<String>());
    format!(
        "{} against {}: images {}, n {} a layer{stopped}, {pairing}{counted}, seed {}, {nonfinite}; checkpoints {} and {}.",
        row.models[1],
        row.models[0],
        both(row.images.map(|n| n.to_string())),
        both(row.injections.map(|n| match n {
            (least, most) if least == most => most.to_string(),
            (least, most) => format!("{least} to {most}"),
        })),
        both(row.seeds.map(|seed| seed.to_string())),
        hashes[0],
        hashes[1],
    )
}
