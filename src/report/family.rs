//! What `compare` says of many readings at once: p-values, layer by layer, and equivalence.

use super::sheet::{BY_PIPE, Fit, Sheet, View};
use super::{interval, reasons};
use crate::analysis::compare::{Comparison, Comparisons, Equivalence, LayerChange, Shown, Verdict};

/// A p-value.
pub(super) fn p_value(p: f64) -> String {
    if p < 0.001 { format!("{p:.0e}") } else { format!("{p:.3}") }
}

/// A verdict with the p-value that decided on it.
pub(super) fn said(verdict: Verdict, adjusted: Option<f64>, own: Option<f64>) -> String {
    match (verdict, adjusted.or(own)) {
        (Verdict::None(_), _) | (_, None) => verdict.words().into(),
        (_, Some(p)) => format!("{}, p {}", verdict.words(), p_value(p)),
    }
}

/// The layers of runs compared.
pub fn compared_layers_text(comparisons: &Comparisons, view: View) -> String {
    let mut sheet = Sheet::new(view);
    for (at, row) in comparisons.rows.iter().enumerate() {
        if at > 0 {
            sheet.gap();
        }
        sheet.prose(&format!(
            "{} against {}, layer by layer: mean ΔLoss under the range detector, baseline ÷ other; SDC rates without \
             a detector, in percent, and their difference in points:",
            row.models[1], row.models[0]
        ));
        sheet.gap();
        let header = [
            "layer",
            "ΔLoss, ratio",
            "ΔLoss, verdict",
            "SDC, baseline",
            "SDC, other",
            "difference",
            "SDC, verdict",
        ];
        sheet.table(Fit::Blocks, &header, row.by_layer.iter().map(layer).collect());
    }
    sheet.gap();
    sheet.item(&words(comparisons));
    for row in comparisons.rows.iter().filter(|row| !row.refusals.is_empty()) {
        let why = reasons(&row.refusals);
        sheet.item(&format!("{} against {}: no verdict{why}.", row.models[1], row.models[0]));
    }
    sheet.item(&comparisons.intervals.words());
    sheet.finish(BY_PIPE)
}

fn layer(row: &LayerChange) -> Vec<String> {
    let dash = || String::from("–");
    let mut cells = vec![row.layer.clone()];
    match &row.delta_loss {
        Some(of) => cells.extend([interval(&of.ratio, 2), said(of.verdict, of.adjusted_p, of.p)]),
        None => cells.extend([dash(), dash()]),
    }
    match &row.sdc {
        Some(of) => {
            cells.extend([&of.baseline, &of.other, &of.difference].map(|of| interval(of, 2)));
            cells.push(said(of.verdict, of.adjusted_p, of.p));
        }
        None => cells.extend([dash(), dash(), dash(), dash()]),
    }
    cells
}

/// How verdicts of many readings are come to.
pub(super) fn words(comparisons: &Comparisons) -> String {
    let mut sizes: Vec<String> =
        comparisons.rows.iter().map(|row| row.family.to_string()).collect();
    sizes.dedup();
    let primary = comparisons.rows.first().map_or("none", |row| row.primary.words());
    let alpha = (1e6 * comparisons.intervals.confidence.alpha()).round() / 1e6;
    format!(
        "Primary reading, named in advance: {primary}; its verdict is its interval's, and its p is its own. The others \
         with an interval, layers included, are a family of {}: one is called lower or higher only where its p, \
         adjusted over the family by Holm's method, is below {alpha}.",
        sizes.join(" and ")
    )
}

/// What a row says of equivalence.
pub(super) fn equivalence(row: &Comparison, of: &Equivalence) -> String {
    let reading = row.primary.words();
    let margin = match row.primary.is_ratio() {
        true => format!("a factor of {}", of.margin),
        false => format!("{} points", of.margin),
    };
    let shown = match of.shown {
        Shown::Equivalent => format!("the two are equivalent within {margin}"),
        Shown::NotWorse => format!("the other is not worse by {margin} or more"),
        Shown::Neither => {
            format!(
                "neither equivalence within {margin} nor that the other is not worse by {margin} is shown"
            )
        }
        Shown::None(reason) => return format!("Margin: {}.", reason.words()),
    };
    let figure = of.estimate.map_or_else(String::new, |estimate| {
        format!(" ({}, at {})", interval(&estimate, 2), of.confidence)
    });
    format!("Margin: in {reading} {shown}{figure}.")
}
