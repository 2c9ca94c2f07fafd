//! One campaign's tables: its figures by layer, bit, channel or position, and the footer.

use serde_json::{Value, json};

use super::goldeneye::{goldeneye_rows, goldeneye_text};
use super::{Format, any_size, delta_loss_heading, percent, table_as};
use crate::analysis::breakdown::{DeltaLoss, Figures, Part};
use crate::analysis::{Intervals, Stopped, stopped};
use crate::detector::Detector;
use crate::plan::{Flips, Plan, Protocol, Stratify};
use crate::results::Run;
use crate::statistics::Target;

/// A run's figures as text or in Markdown: a table a detector, and the footer. Of a run by GoldenEye's
/// protocol its own table, where the figures are those of layers.
pub fn run_text(run: &Run, figures: &[Figures], how: &Intervals, format: Format) -> String {
    let is_by_layer = figures.iter().any(|row| matches!(row.part, Part::Layer {}));
    if run.manifest.plan.protocol == Protocol::Goldeneye && is_by_layer {
        let named = |row: &Figures| row.layer.clone();
        return goldeneye_text(run, &figures.iter().filter_map(named).collect::<Vec<_>>(), format);
    }
    let mut text = String::new();
    for detector in Detector::ALL {
        let of_detector = || figures.iter().filter(|row| row.detector == detector);
        if of_detector().next().is_none() {
            continue;
        }
        let header = [
            "part",
            "n",
            "masked %",
            "benign %",
            "SDC %",
            "nonfinite %",
            "SDC-5 %",
            "mean absolute Δp",
            delta_loss_heading(detector),
        ];
        let rows = of_detector().map(|row| line(run, row)).collect();
        text.push_str(&format!(
            "Detector {}:\n\n{}\n\n",
            detector.name(),
            table_as(format, &header, rows)
        ));
    }
    text.push_str(&stopped_text(run, format));
    let manifest = &run.manifest;
    text.push_str(&format!(
        "{} {} (checkpoint {}), {}: {} at the site {}, {} images, seed {}. {}\nResults (SHA-256): {}\n",
        manifest.setting.provenance.model,
        manifest.setting.head,
        manifest.setting.provenance.checkpoint.chars().take(12).collect::<String>(),
        manifest.setting.device,
        faults(&manifest.plan),
        manifest.plan.site.name(),
        manifest.images.len(),
        manifest.plan.seed,
        how.words(),
        run.results_sha256(),
    ));
    text
}

/// The same for machines.
pub fn run_json(run: &Run, figures: &[Figures], how: &Intervals) -> Value {
    let manifest = &run.manifest;
    let is_goldeneye = manifest.plan.protocol == Protocol::Goldeneye;
    json!({
        "model": manifest.setting.provenance.model,
        "head": manifest.setting.head,
        "device": manifest.setting.device,
        "images": manifest.images.len(),
        "plan": manifest.plan,
        "intervals": how,
        "figures": figures,
        "stopped": stopped(run),
        "goldeneye": is_goldeneye.then(|| goldeneye_rows(run)),
        "results_sha256": run.results_sha256(),
    })
}

/// Where the layers of a run with a rule stopped, with the intervals that hold there.
fn stopped_text(run: &Run, format: Format) -> String {
    let Some(rule) = &run.manifest.plan.until else { return String::new() };
    let stopped = stopped(run);
    let rows = stopped.iter().map(|Stopped { layer, detector, look }| {
        let figure = match rule.target {
            Target::DeltaP => any_size(&look.estimate),
            _ => percent(&look.estimate),
        };
        let reached = if look.stop { "yes" } else { "no" };
        vec![layer.clone(), detector.name().into(), look.n.to_string(), figure, reached.into()]
    });
    let unit = if rule.target == Target::DeltaP { "" } else { " %" };
    let figure = format!("{}{unit}", rule.target.name());
    let header = ["layer", "detector", "n", &figure, "narrow enough"];
    format!(
        "Stopped where {rule} under every detector; these intervals hold whenever a layer stops, those above \
         are of the injections that there are, as if their number had been fixed:\n\n{}\n\n",
        table_as(format, &header, rows.collect())
    )
}

fn line(run: &Run, figures: &Figures) -> Vec<String> {
    let layer = figures.layer.as_deref().unwrap_or("all layers");
    let part = match figures.part {
        Part::Layer {} => {
            let mut layers = run.manifest.layers.iter();
            let shape = layers.find(|row| row.name == layer).map(|row| row.shape.iter());
            let sizes: Vec<String> = shape.into_iter().flatten().map(usize::to_string).collect();
            format!("{layer} {}", sizes.join("×"))
        }
        Part::Network { weighting } => format!("all layers, weight: {}", weighting.words()),
        Part::Bit { bit } => format!("{layer}, bit {bit}"),
        Part::Channel { channel } => format!("{layer}, channel {channel}"),
        Part::Position { row, column } => format!("{layer}, row {row}, column {column}"),
    };
    let rates = &figures.rates;
    vec![
        part,
        rates.records.to_string(),
        percent(&rates.masked),
        percent(&rates.benign),
        percent(&rates.sdc),
        percent(&rates.nonfinite),
        percent(&rates.sdc5),
        any_size(&figures.delta_p),
        match &figures.delta_loss {
            DeltaLoss::Mean(mean) => any_size(mean),
            DeltaLoss::Quantiles(quantiles) => {
                quantiles.values.map(|value| format!("{value:.2e}")).join(" / ")
            }
        },
    ]
}

/// What was injected, in words.
fn faults(plan: &Plan) -> String {
    if plan.list.is_some() {
        return "faults of a list".into();
    }
    let count = match &plan.until {
        Some(rule) => format!("until {rule}, at most {},", plan.injections_per_layer()),
        None => plan.injections_per_layer().to_string(),
    };
    let strata = if plan.stratify == Stratify::Bit { ", each bit in turn," } else { "" };
    match plan.flips {
        Flips::Count(1) => format!("{count} injections a layer of {} bit(s){strata}", plan.bits),
        Flips::Count(values) => {
            format!("{count} injections a layer of {} bit(s) in each of {values} values", plan.bits)
        }
        Flips::Rate(rate) => format!("{count} injections a layer at a bit error rate of {rate:e}"),
    }
}
