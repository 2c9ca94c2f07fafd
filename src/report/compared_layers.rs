//! `compare --by layer`: layers that two models have, one by one.

use super::comparison::row_footer;
use super::family::{said, words};
use super::sheet::{BY_PIPE, Fit, Sheet, View};
use super::{interval, reasons};
use crate::analysis::compare::{Comparisons, LayerChange};

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
    for row in &comparisons.rows {
        if !row.refusals.is_empty() {
            let why = reasons(&row.refusals);
            sheet.item(&format!("{} against {}: no verdict{why}.", row.models[1], row.models[0]));
        }
        sheet.item(&row_footer(row));
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
