//! The study's tables, and what they do and don't show.

use super::sheet::{BY_PIPE, Fit, Sheet, View};
use super::{flipped_bits, interval, percent, ratio};
use crate::analysis::Weighting;
use crate::analysis::compare::{Comparison, Overall};
use crate::study::{Row, Start, Study};

/// The study as text: the models, the improvements, the footer.
pub fn study_text(study: &Study, view: View) -> String {
    let mut sheet = Sheet::new(view);
    sheet.prose(&format!(
        "{} on {}: {} classes, {}×{}; trained on {} images for {} epochs, {} test images, {} of \
         them right in all three models.",
        study.model,
        if study.synthetic { "the built-in synthetic images" } else { "an image folder" },
        study.classes,
        study.image_size,
        study.image_size,
        study.train_images,
        study.epochs,
        study.test_images,
        study.common_images,
    ));
    sheet.gap();
    let header = [
        "model",
        "top-1 %",
        "SDC %",
        "nonfinite %",
        "ΔLoss, last layer before scale",
        "ΔLoss, last layer after scale",
        "ΔLoss, all layers",
        "Top2Diff %",
    ];
    sheet.table(Fit::Blocks, &header, study.rows.iter().map(model_row).collect());
    sheet.gap();
    sheet.prose("Improvement over the baseline (ratio of mean ΔLoss, baseline ÷ model):");
    sheet.gap();
    let header = [
        "model",
        "last layer before scale",
        "last layer after scale",
        "all layers",
        "all layers but the extra Linear",
        "Top2Diff, percentage points",
    ];
    let rows = study.rows.iter().filter_map(|row| {
        row.comparison.as_ref().map(|comparison| improvement_row(row.start.name(), comparison))
    });
    sheet.table(Fit::Blocks, &header, rows.collect());
    sheet.gap();
    for line in footer(study) {
        sheet.item(&line);
    }
    sheet.finish(BY_PIPE)
}

fn model_row(row: &Row) -> Vec<String> {
    vec![
        row.start.name().into(),
        format!("{:.1}", row.top1_percent),
        percent(&row.sdc),
        percent(&row.nonfinite),
        interval(&row.delta_loss_before_scale, 4),
        interval(&row.delta_loss_after_scale, 4),
        interval(&row.delta_loss_all_layers, 4),
        format!("{:.2}", row.top2diff_percent),
    ]
}

/// The layer-uniform improvement over all layers, with or without the extra Linear.
fn uniform(comparison: &Comparison, embedding: bool) -> Option<&Overall> {
    let wanted = |o: &&Overall| o.weighting == Weighting::Uniform && o.embedding == embedding;
    comparison.overall.iter().find(wanted)
}

fn improvement_row(name: &str, comparison: &Comparison) -> Vec<String> {
    let none = || "–".to_string();
    let overall = |embedding| {
        uniform(comparison, embedding).map_or_else(none, |overall| ratio(&overall.improvement))
    };
    vec![
        name.into(),
        comparison.last_layer_before_scale.as_ref().map_or_else(none, ratio),
        comparison.last_layer.as_ref().map_or_else(none, ratio),
        overall(true),
        overall(false),
        interval(&comparison.top2diff.injected, 2),
    ]
}

/// How much of the text-guided model's gain its form alone brings, after the scale.
fn decomposition(study: &Study) -> Option<String> {
    let find = |start| study.rows.iter().find(|row| row.start == start);
    let last = |row: &Row| row.delta_loss_after_scale.value;
    let (baseline, form, text) =
        (find(Start::Baseline)?, find(Start::RandomRows)?, find(Start::TextRows)?);
    let (form_gain, text_gain) = (last(baseline) / last(form), last(form) / last(text));
    Some(format!(
        "Last layer after the scale: the head's form alone changes mean ΔLoss by {form_gain:.2}×, \
         starting its rows from text by a further {text_gain:.2}×, {:.2}× together (above 1 is \
         better, below 1 worse).",
        form_gain * text_gain
    ))
}

fn footer(study: &Study) -> Vec<String> {
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
        "Intervals (95 %; Wilson's for rates, a bootstrap over images, BCa, for the rest) cover \
         the sampling of faults on these images and weights, not training: one training seed. \
         Repeat with --seed to see how much training moves the figures."
            .into(),
    );
    lines.push(
        "A ratio below 1 is called worse; an interval that holds 1, no difference shown.".into(),
    );
    lines.push(format!(
        "Protocol strict: {} of one output (before batch norm and activation) of one \
         Conv2d or Linear an inference, uniform over neurons, bits and the {} common images; {} \
         injections a layer, {} layers, paired over the models by layer name; all-layer figures \
         weigh layers alike, the last one after the scale.",
        flipped_bits(study.bits),
        study.common_images,
        study.injections_per_layer,
        study.layers
    ));
    lines.push(
        "SDC (another top-1) and nonfinite (NaN or Inf among the logits) without a detector; \
         ΔLoss under the range detector (the faulted value clamped to the layer's largest |output| \
         over the training images)."
            .into(),
    );
    let hashes: Vec<String> = study
        .rows
        .iter()
        .map(|row| format!("{} {}", row.start.name(), &row.checkpoint[..12]))
        .collect();
    lines.push(format!("Seed {}; weights (SHA-256): {}.", study.seed, hashes.join("; ")));
    lines
}
