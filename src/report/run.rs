//! One campaign's table: a row a layer.

use super::goldeneye::goldeneye_text;
use super::{interval, percent, table};
use crate::Result;
use crate::campaign::statistics::{Measure, Rates, delta_loss_quantiles, layer_mean};
use crate::campaign::{Detector, Flips, Plan, Protocol, Run, Stratify};

/// A run as text: for each detector a row a layer, and the footer.
pub fn run_text(run: &Run) -> Result<String> {
    let manifest = &run.manifest;
    if manifest.plan.protocol == Protocol::Goldeneye {
        return Ok(goldeneye_text(run));
    }
    let mut text = String::new();
    for detector in &manifest.plan.detectors {
        let delta_loss = match detector {
            Detector::Range => "mean ΔLoss",
            Detector::None => "ΔLoss at 50 / 90 / 99 / 99.9 %",
        };
        let header = ["layer", "shape", "masked %", "benign %", "SDC %", "nonfinite %", delta_loss];
        let mut rows = Vec::new();
        for (index, layer) in manifest.layers.iter().enumerate() {
            let records = || run.of(index, *detector);
            let rates = Rates::of(records());
            let delta_loss = match detector {
                Detector::Range => {
                    let seed = manifest.plan.seed;
                    let mean = layer_mean(run, index, *detector, Measure::DeltaLoss, seed)?;
                    interval(&mean, 5)
                }
                Detector::None => {
                    let values = delta_loss_quantiles(records()).values;
                    values.map(|value| format!("{value:.2e}")).join(" / ")
                }
            };
            rows.push(vec![
                layer.name.clone(),
                layer.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×"),
                percent(&rates.masked),
                percent(&rates.benign),
                percent(&rates.sdc),
                percent(&rates.nonfinite),
                delta_loss,
            ]);
        }
        text.push_str(&format!("Detector {}:\n\n{}\n\n", detector.name(), table(&header, rows)));
    }
    text.push_str(&format!(
        "{} {}, {}: {} at the site {}, {} images, seed {}; rates with Wilson's 95 % intervals, means \
         with a bootstrap's over images.\nResults (SHA-256): {}\n",
        manifest.provenance.model,
        manifest.head,
        manifest.device,
        faults(&manifest.plan),
        manifest.plan.site.name(),
        manifest.images.len(),
        manifest.plan.seed,
        run.results_sha256(),
    ));
    Ok(text)
}

/// What was injected, in words.
fn faults(plan: &Plan) -> String {
    if plan.list.is_some() {
        return "faults of a list".into();
    }
    let count = plan.injections_per_layer();
    let strata = if plan.stratify == Stratify::Bit { ", each bit in turn," } else { "" };
    match plan.flips {
        Flips::Count(1) => format!("{count} injections a layer of {} bit(s){strata}", plan.bits),
        Flips::Count(values) => {
            format!("{count} injections a layer of {} bit(s) in each of {values} values", plan.bits)
        }
        Flips::Rate(rate) => format!("{count} injections a layer at a bit error rate of {rate:e}"),
    }
}
