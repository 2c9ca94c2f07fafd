//! `compare --by`: two models layer by layer, or bit by bit.

use serde_json::{Value, json};

use super::comparison::row_footer;
use super::family::{members, said, words};
use super::sheet::{BY_PIPE, Fit, Sheet, View};
use super::{NO_INTERVAL, interval, reasons};
use crate::analysis::compare::{
    BitChange, BitsCompared, Comparison, Comparisons, Improvement, LayerChange, RateChange,
};

/// The layers of runs compared.
pub fn compared_layers_text(comparisons: &Comparisons, view: View) -> String {
    let family = words(comparisons);
    written(
        comparisons,
        "layer",
        |(_, row)| row.by_layer.iter().map(layer).collect(),
        &family,
        view,
    )
}

/// Their bits, which `bits` are, pair by pair.
pub fn compared_bits_text(comparisons: &Comparisons, bits: &[BitsCompared], view: View) -> String {
    let sizes = bits.iter().map(|of| of.family);
    let family = format!(
        "The figures of all bits that have an interval {} ΔLoss is of drawn faults, those of the last layer included.",
        members(sizes, comparisons)
    );
    // What was counted is of all bits together.
    let mut drawn = comparisons.clone();
    drawn.rows.iter_mut().for_each(|row| row.counted = [false; 2]);
    written(&drawn, "bit", |(at, _)| bits[at].bits.iter().map(bit).collect(), &family, view)
}

/// The layers of runs compared, for machines.
pub fn compared_layers_json(comparisons: &Comparisons) -> Value {
    machine(comparisons, "layer", |(_, row)| (row.family, json!(row.by_layer)))
}

/// Their bits.
pub fn compared_bits_json(comparisons: &Comparisons, bits: &[BitsCompared]) -> Value {
    machine(comparisons, "bit", |(at, _)| (bits[at].family, json!(bits[at].bits)))
}

fn machine(
    comparisons: &Comparisons,
    by: &str,
    parts: impl Fn((usize, &Comparison)) -> (usize, Value),
) -> Value {
    let row = |(at, row): (usize, &Comparison)| {
        let (family, parts) = parts((at, row));
        json!({
            "models": row.models,
            "checkpoints": row.checkpoints,
            "family": family,
            "refusals": row.refusals,
            "parts": parts,
        })
    };
    let rows: Vec<Value> = comparisons.rows.iter().enumerate().map(row).collect();
    json!({ "by": by, "rows": rows, "intervals": comparisons.intervals })
}

/// A layer or a bit of a pair: its name, and its figures.
type NamedChange<'a> = (String, Option<&'a Improvement>, Option<&'a RateChange>);

fn written<'a>(
    comparisons: &'a Comparisons,
    by: &str,
    parts: impl Fn((usize, &'a Comparison)) -> Vec<NamedChange<'a>>,
    family: &str,
    view: View,
) -> String {
    let mut sheet = Sheet::new(view);
    let mut lacks_ends = false;
    // Which bits are of several layers.
    let alike = if by == "bit" { ", layers alike" } else { "" };
    for (at, row) in comparisons.rows.iter().enumerate() {
        let parts = parts((at, row));
        let ratios = parts.iter().filter_map(|(_, delta_loss, _)| *delta_loss);
        lacks_ends |= row.stopped == [false; 2] && ratios.clone().any(|of| of.ratio.low.is_nan());
        if at > 0 {
            sheet.gap();
        }
        sheet.prose(&format!(
            "{} against {}, {by} by {by}: mean ΔLoss under the range detector, baseline ÷ other; SDC rates without \
             a detector, in percent, and their difference in points{alike}:",
            row.models[1], row.models[0]
        ));
        sheet.gap();
        let header = [
            by,
            "ΔLoss, ratio",
            "ΔLoss, verdict",
            "SDC, baseline",
            "SDC, other",
            "difference",
            "SDC, verdict",
        ];
        sheet.table(Fit::Blocks, &header, parts.into_iter().map(figures).collect());
    }
    sheet.gap();
    if lacks_ends {
        sheet.item(NO_INTERVAL);
    }
    sheet.item(family);
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

fn layer(row: &LayerChange) -> NamedChange<'_> {
    (row.layer.clone(), row.delta_loss.as_ref(), row.sdc.as_ref())
}

fn bit(row: &BitChange) -> NamedChange<'_> {
    let field = row.field.map_or_else(String::new, |field| format!(" {}", field.name()));
    (format!("{}{field}", row.bit), row.delta_loss.as_ref(), row.sdc.as_ref())
}

fn figures((name, delta_loss, sdc): NamedChange<'_>) -> Vec<String> {
    let dash = || String::from("–");
    let mut cells = vec![name];
    match delta_loss {
        Some(of) => cells.extend([interval(&of.ratio, 2), said(of.verdict, of.adjusted_p, of.p)]),
        None => cells.extend([dash(), dash()]),
    }
    match sdc {
        Some(of) => {
            cells.extend([&of.baseline, &of.other, &of.difference].map(|of| interval(of, 2)));
            cells.push(said(of.verdict, of.adjusted_p, of.p));
        }
        None => cells.extend([dash(), dash(), dash(), dash()]),
    }
    cells
}
