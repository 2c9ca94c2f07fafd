//! A campaign by GoldenEye's rules: a row a layer, with its own figures.

use super::{Format, table_as};
use crate::analysis::goldeneye::{Figure, figures};
use crate::results::{LayerRow, Run};

/// The layers `named` of a run as a table and its footer.
pub(super) fn goldeneye_text(run: &Run, named: &[String], format: Format) -> String {
    let manifest = &run.manifest;
    let header =
        ["layer", "shape", "range", "injections", "NaN losses", "mean ΔLoss", "mismatches %"];
    let rows = manifest.layers.iter().zip(figures(run));
    let rows = rows.filter(|(layer, _)| named.contains(&layer.name)).map(|(layer, figures)| {
        vec![
            layer.name.clone(),
            layer.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×"),
            layer.range.map_or_else(String::new, |range| range.to_string()),
            figures.injections.to_string(),
            figures.nan.to_string(),
            plus_minus(figures.delta_loss, 1.0, 6),
            plus_minus(figures.mismatches, 100.0, 2),
        ]
    });
    let provenance = &manifest.setting.provenance;
    format!(
        "{}\n\nProtocol goldeneye: layers as forward hooks see them; a flipped bit of one output an inference; \
         range detector (f16) on the faulted value; {} of the {} images of a fifth of the validation set are \
         right with Top2Diff > 0, drawn with replacement; ΔLoss without NaN losses, mismatches over all \
         injections; ± half of a normal interval of 99 %.\n{} {}, {}: seed {}, checkpoint {}.\n\
         Results (SHA-256): {}\n",
        table_as(format, &header, rows.collect()),
        manifest.images.len(),
        provenance.evaluated,
        provenance.model,
        manifest.setting.head,
        manifest.setting.device,
        manifest.plan.seed,
        provenance.checkpoint,
        run.results_sha256(),
    )
}

/// `0.012 ± 0.003`.
fn plus_minus(figure: Figure, times: f64, digits: usize) -> String {
    format!("{:.digits$} ± {:.digits$}", times * figure.value, times * figure.half_width)
}

/// The same for machines.
pub(super) fn goldeneye_rows(run: &Run) -> Vec<serde_json::Value> {
    let row = |(layer, figures): (&LayerRow, _)| serde_json::json!({ "layer": layer.name, "figures": figures });
    run.manifest.layers.iter().zip(figures(run)).map(row).collect()
}
