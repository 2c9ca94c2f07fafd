//! A campaign by GoldenEye's rules: a row a layer, with its own figures.

use super::MOST_LAYERS;
use super::bars::Bars;
use super::sheet::{Fit, Sheet};
use crate::analysis::goldeneye::{GoldenEyeFigure, LayerFigures, figures};
use crate::results::{LayerRow, Run};

/// The columns that a narrow screen has first.
const MOST: [&str; 3] = ["mismatches %", "mean ΔLoss", "NaN losses"];

/// The layers `named` of a run as a table and its footer.
pub(super) fn goldeneye_sheet(sheet: &mut Sheet, run: &Run, named: &[String]) {
    let rows = run.manifest.layers.iter().zip(figures(run));
    let rows: Vec<_> = rows.filter(|(layer, _)| named.contains(&layer.name)).collect();
    table(sheet, &rows);
    footer(sheet, run);
}

/// The layers with the most mismatches, and the footer.
pub(super) fn goldeneye_summary(sheet: &mut Sheet, run: &Run) {
    let mut rows: Vec<_> = run.manifest.layers.iter().zip(figures(run)).collect();
    let all = rows.len();
    rows.retain(|(_, figures)| figures.injections > 0);
    rows.sort_by(|(_, a), (_, b)| b.mismatches.value.total_cmp(&a.mismatches.value));
    rows.truncate(MOST_LAYERS);
    sheet.prose(&format!("The {} of {all} layers with the most mismatches:", rows.len()));
    sheet.gap();
    table(sheet, &rows);
    footer(sheet, run);
}

fn table(sheet: &mut Sheet, rows: &[(&LayerRow, LayerFigures)]) {
    let header =
        ["layer", "shape", "range", "injections", "NaN losses", "mean ΔLoss", "mismatches %"];
    let mut lines: Vec<(f64, Vec<String>)> = rows
        .iter()
        .map(|(layer, figures)| {
            let cells = vec![
                layer.name.clone(),
                layer.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×"),
                layer.range.map_or_else(String::new, |range| range.to_string()),
                figures.injections.to_string(),
                figures.nan.to_string(),
                plus_minus(figures.delta_loss, 1.0, 6),
                plus_minus(figures.mismatches, 100.0, 2),
            ];
            (figures.mismatches.value, cells)
        })
        .collect();
    if let Some(screen) = sheet.screen() {
        let rates = rows.iter().map(|(_, figures)| figures.mismatches.value);
        Bars::of(screen, rates).put(6, &mut lines);
    }
    let lines = lines.into_iter().map(|(_, cells)| cells).collect();
    sheet.table(Fit::Keep(&MOST), &header, lines);
}

fn footer(sheet: &mut Sheet, run: &Run) {
    let (manifest, provenance) = (&run.manifest, &run.manifest.setting.provenance);
    sheet.gap();
    sheet.prose(&format!(
        "Protocol goldeneye: layers as forward hooks see them; a flipped bit of one output an inference; \
         range detector (f16) on the faulted value; {} of the {} images of a fifth of the validation set are \
         right with Top2Diff > 0, drawn with replacement; ΔLoss without NaN losses, mismatches over all \
         injections; ± half of a normal interval of 99 %, at 0 and 100 % as far as Wilson's reaches.",
        manifest.images.len(),
        provenance.evaluated,
    ));
    sheet.prose(&format!(
        "{} {}, {}: seed {}, checkpoint {}.",
        provenance.model,
        manifest.setting.head,
        manifest.setting.device,
        manifest.plan.seed,
        provenance.checkpoint,
    ));
    sheet.prose(&format!("Results (SHA-256): {}", run.results_sha256()));
}

/// `0.012 ± 0.003`.
fn plus_minus(figure: GoldenEyeFigure, times: f64, digits: usize) -> String {
    format!("{:.digits$} ± {:.digits$}", times * figure.value, times * figure.half_width)
}

/// The same for machines.
pub(super) fn goldeneye_rows(run: &Run) -> Vec<serde_json::Value> {
    let row = |(layer, figures): (&LayerRow, _)| serde_json::json!({ "layer": layer.name, "figures": figures });
    run.manifest.layers.iter().zip(figures(run)).map(row).collect()
}
