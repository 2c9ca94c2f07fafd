//! The study's tables, and what they do and don't show.

use super::scale::fault_free;
use super::sheet::{BY_PIPE, Fit, Sheet, View};
use super::{flipped_bits, interval, percent, reasons};
use crate::analysis::Intervals;
use crate::analysis::compare::RULES;
use crate::results::FaultFree;
use crate::statistics::Estimate;
use crate::study::{Contrast, ContrastFigure, FigureOverSeeds, OverSeeds, Study, StudyRow};

/// The study as text: the contrasts over training seeds, the models, the footer.
pub fn study_text(study: &Study, view: View) -> String {
    let mut sheet = Sheet::new(view);
    sheet.prose(&introduction(study));
    for contrast in &study.contrasts {
        sheet.gap();
        sheet.prose(&format!("{}:", heading(contrast.contrast)));
        sheet.gap();
        table(&mut sheet, study, contrast);
        sheet.gap();
        sheet.prose(&verdict(contrast));
    }
    sheet.gap();
    sheet.prose("The models, each with the sampling error of its faults (of accuracy and Top2Diff, of the images):");
    sheet.gap();
    let header = [
        "model",
        "top-1 %",
        "common images",
        "SDC %",
        "nonfinite %",
        "ΔLoss, last layer before scale",
        "ΔLoss, last layer after scale",
        "ΔLoss, all layers",
        "Top2Diff %",
    ];
    sheet.table(Fit::Blocks, &header, study.rows.iter().map(model_row).collect());
    sheet.gap();
    for line in footer(study) {
        sheet.item(&line);
    }
    sheet.finish(BY_PIPE)
}

/// The seeds in words: `seed 1`, `seeds 1 and 2`, `seeds 1 to 3`.
pub(super) fn seeds_in_words(seeds: &[u64]) -> String {
    match seeds[..] {
        [first, second] => format!("seeds {first} and {second}"),
        [first, .., last] => format!("seeds {first} to {last}"),
        [seed] => format!("seed {seed}"),
        [] => "no seed".into(),
    }
}

/// What was trained on what, in a sentence.
pub(crate) fn introduction(study: &Study) -> String {
    let data = if study.synthetic { "the built-in synthetic images" } else { "an image folder" };
    let Study { model, classes, image_size, train_images, epochs, test_images, .. } = study;
    format!(
        "{model} on {data}: {classes} classes, {image_size}×{image_size}; trained on {train_images} images for \
         {epochs} epochs from {}, {test_images} test images. Faults hit those that all three models of a seed get \
         right.",
        seeds_in_words(&study.seeds)
    )
}

/// The two models of a contrast, and what it tells.
pub(crate) fn heading(contrast: Contrast) -> String {
    let [from, to] = contrast.models();
    let what = match contrast {
        Contrast::Text => "the main contrast: what the text adds",
        Contrast::Form => "what the form of the head changes",
        Contrast::Both => "both together, as published",
    };
    format!("{} against {} ({what})", to.name(), from.name())
}

/// What is said of a contrast over its seeds.
pub(crate) fn verdict(contrast: &OverSeeds) -> String {
    format!("In short: {}{}.", contrast.reliability.words(), reasons(&contrast.refusals))
}

/// What a figure is called.
pub(crate) fn name(figure: ContrastFigure) -> &'static str {
    match figure {
        ContrastFigure::LastLayerBeforeScale => "ΔLoss ratio, last layer before scale",
        ContrastFigure::LastLayer => "ΔLoss ratio, last layer after scale",
        ContrastFigure::AllLayers => "ΔLoss ratio, all layers",
        ContrastFigure::AllLayersWithoutEmbedding => "ΔLoss ratio, all layers but the extra Linear",
        ContrastFigure::AllLayersFitted => "ΔLoss ratio, all layers, at fitted temperature",
        ContrastFigure::AllLayersEqualRange => "ΔLoss ratio, all layers, at equal range",
        ContrastFigure::Sdc => "SDC rate, difference in points",
        ContrastFigure::Top1 => "top-1, difference in points",
        ContrastFigure::Top2Diff => "Top2Diff, difference in points",
    }
}

fn table(sheet: &mut Sheet, study: &Study, contrast: &OverSeeds) {
    let is_one = study.seeds.len() < 2;
    let names: Vec<String> = study.seeds.iter().map(|seed| format!("seed {seed}")).collect();
    let over = if is_one { &[][..] } else { &["over seeds", "a further seed", "I² %"] };
    let mut header = vec!["figure"];
    header.extend(over);
    header.extend(names.iter().map(String::as_str));
    let row = |figure: &FigureOverSeeds| {
        let mut cells = vec![name(figure.figure).to_string()];
        let found = &figure.over_seeds;
        if !is_one {
            cells.push(interval(&found.mean, 2));
            cells.push(ends(&found.prediction));
            cells.push(match found.i_squared {
                share if share.is_nan() => "–".into(),
                share => format!("{:.0}", 100.0 * share),
            });
        }
        cells.extend(figure.seeds.iter().map(|seed| interval(seed, 2)));
        cells
    };
    sheet.table(Fit::Blocks, &header, contrast.figures.iter().map(row).collect());
}

/// An interval less its middle.
fn ends(estimate: &Estimate) -> String {
    match estimate.low.is_nan() || estimate.high.is_nan() {
        true => "–".into(),
        false => format!("[{:.2}, {:.2}]", estimate.low, estimate.high),
    }
}

fn model_row(row: &StudyRow) -> Vec<String> {
    vec![
        format!("{}, seed {}", row.start.name(), row.seed),
        interval(&row.top1_percent, 1),
        row.common_images.to_string(),
        percent(&row.sdc),
        percent(&row.nonfinite),
        interval(&row.delta_loss_before_scale, 4),
        interval(&row.delta_loss_after_scale, 4),
        interval(&row.delta_loss_all_layers, 4),
        interval(&row.top2diff_percent, 2),
    ]
}

/// How much of the text-guided model's ratio its form alone brings, after the scale.
fn decomposition(study: &Study) -> Option<String> {
    let ratio = |wanted: Contrast| {
        let contrast = study.contrasts.iter().find(|contrast| contrast.contrast == wanted)?;
        let figure = contrast.figure(ContrastFigure::LastLayer)?;
        let shown = match &figure.seeds[..] {
            [seed] => seed,
            _ => &figure.over_seeds.mean,
        };
        Some(interval(shown, 2))
    };
    Some(format!(
        "The last layer after the scale, baseline ÷ text-guided: the head's form alone makes a ratio of {}, rows that \
         start from text a further {}, both together {}. A ratio whose interval holds 1 shows no difference.",
        ratio(Contrast::Form)?,
        ratio(Contrast::Text)?,
        ratio(Contrast::Both)?,
    ))
}

/// How the study was made, and what it doesn't show: a list.
pub(crate) fn footer(study: &Study) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(decomposition(study));
    if study.synthetic {
        lines.push(format!(
            "Synthetic images, and rows from {}: this neither confirms nor refutes the published \
             result.",
            study.text
        ));
    } else {
        lines.push(format!(
            "Text rows from {}; a small network of few images and epochs: neither the published \
             set-up nor its accuracy.",
            study.text
        ));
    }
    lines.push(
        "A against B: ratios are of mean ΔLoss, B ÷ A, so that above 1 faults change A's loss less; differences are \
         A − B."
            .into(),
    );
    let sampling = Intervals::default().words();
    lines.push(match study.seeds.len() {
        1 => format!(
            "{sampling} They cover the sampling of faults on these images and weights, not training: one training \
             seed. --seeds repeats it from others."
        ),
        _ => format!(
            "Over seeds: the mean (of ratios, by their logarithms) of models trained from other seeds on the same \
             data, with Student's 95 % interval; a further seed's figure would lie in the interval of its column; \
             I² is the share of the seeds' spread that the sampling of faults doesn't explain. Columns of seeds: \
             {sampling} They cover the sampling of faults on these images and weights alone."
        ),
    });
    lines.push(RULES.into());
    lines.extend(scales(study));
    lines.push(format!(
        "Protocol strict: {} of one output (before batch norm and activation) of one Conv2d or Linear an \
         inference, uniform over neurons, bits and the common images; {} injections a layer, {} layers, paired over \
         the models by layer name; all-layer figures weigh layers alike, the last one after the scale.",
        flipped_bits(study.bits), study.injections_per_layer, study.layers
    ));
    lines.push(
        "SDC (another top-1) and nonfinite (NaN or Inf among the logits) without a detector; \
         ΔLoss under the range detector (the faulted value clamped to the layer's largest |output| \
         over the training images)."
            .into(),
    );
    if study.bits == 1 {
        lines.push(
            "The last layer's ΔLoss is that of every fault in the logits of the common images, each class and bit, \
             not of those drawn: its interval is over images alone. In all-layer figures it stands beside the \
             other layers' draws."
                .into(),
        );
    }
    let hashes: Vec<String> = study
        .rows
        .iter()
        .map(|row| format!("{}, seed {}, {}", row.start.name(), row.seed, short(&row.checkpoint)))
        .collect();
    lines.push(format!(
        "Training and the draw of faults from {}; weights (SHA-256): {}.",
        seeds_in_words(&study.seeds),
        hashes.join("; ")
    ));
    lines
}

/// At which temperatures contrasts are printed, and how often ranges are left without a fault.
fn scales(study: &Study) -> Option<String> {
    let known: Vec<(&StudyRow, FaultFree)> =
        study.rows.iter().filter_map(|row| Some((row, row.fault_free?))).collect();
    let words = known
        .iter()
        .map(|(row, of)| format!("{}, seed {}, {}", row.start.name(), row.seed, fault_free(of)));
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| {
        format!(
            "At fitted temperature: each model's logits divided by the number that makes its mean loss least over the \
             test images, right and wrong. At equal range: by that which makes the range of its logits (the largest \
             less the smallest, on average over the common images) the baseline's. Neither changes an answer. Without \
             faults: {}.",
            words.join("; ")
        )
    })
}

/// The first digits of a hash.
fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}
