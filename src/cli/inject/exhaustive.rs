//! `flipside inject --exhaustive`: the whole population instead of a sample.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::super::common::{create_folder_of, print, print_json, stop_flag, view};
use super::Args;
use super::ranges::Ranging;
use crate::campaign::Experiment;
use crate::census::{
    Census, CensusManifest, CensusRunner, CensusVerification, Mode, ranged_layers,
};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::{View, census_json, census_resumed, census_text};
use crate::{Error, Result};

/// Counts every fault of `mode` on the images of the experiment; `ranging` is there where ranges are asked for.
pub(super) fn run(
    args: &Args,
    mode: Mode,
    plan: &Plan,
    mut experiment: Experiment<'_>,
    ranging: Option<&Ranging>,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    if let Some(path) = args.kept_in() {
        create_folder_of(path)?;
        // Now rather than after the count.
        Census::check_store(mode, &experiment.provenance, path, args.is_resumed())?;
    }
    if let Some(most) = args.images {
        experiment.goldens = experiment.spread(most as usize).into_iter().cloned().collect();
    }
    let layers = ranged_layers(experiment.network, mode)?;
    if let Some(ranging) = ranging.filter(|_| !layers.is_empty()) {
        ranging.take(&mut experiment, &layers, progress)?;
    }
    let runner = CensusRunner::new(&experiment, mode, &plan.detectors)?;
    progress.line(&format!("{} faults to try under each detector", runner.faults()));
    let config = args.gathered.config.clone();
    let manifest = CensusManifest { config, ..CensusManifest::new(&runner, plan.labels) };
    let before = match args.kept_in() {
        Some(path) => Census::resume(mode, &manifest, path)?,
        None => None,
    };
    let was_complete = before.as_ref().is_some_and(Census::is_complete);
    let mut keep = |census: &Census| match args.kept_in() {
        Some(path) => census.save(path, &manifest),
        None => Ok(()),
    };
    // Before, ctrl-C ends the program at once.
    let (start, stop) = (Instant::now(), stop_flag()?);
    let census = runner.go_on(before, progress, stop, &mut keep)?;
    if !census.is_complete() {
        return Err(stopped(&census, args.kept_in().map(PathBuf::as_path)));
    }
    if !was_complete {
        keep(&census)?;
    }
    progress.line(&format!("counted in {:.1} s", start.elapsed().as_secs_f64()));
    let verified = match args.verify {
        0 => None,
        count => Some(verify(&runner, &manifest.setting.device, args.seed(), count, progress)?),
    };
    let over = manifest.setting.ranges_over.as_ref();
    if args.run.json {
        let mut json = census_json(&census, over);
        json["verified"] = verified.map_or(serde_json::Value::Null, |found| {
            serde_json::json!({
                "faults": found.checked, "largest_loss_distance": found.largest,
            })
        });
        return print_json(&json);
    }
    print(&census_text(&census, over, view(View::Markdown)))
}

/// What is said after ctrl-C.
fn stopped(census: &Census, out: Option<&Path>) -> anyhow::Error {
    match out {
        None => anyhow::anyhow!("stopped; nothing was kept, since there is no --out FILE"),
        Some(path) => anyhow::anyhow!(
            "stopped; {} holds the counts of {} images, and `{}` goes on from there",
            path.display(),
            census.counted,
            census_resumed(path, census.mode)
        ),
    }
}

/// Runs `count` of the faults again, whole; other answers are an error.
fn verify(
    runner: &CensusRunner<'_>,
    device: &str,
    seed: u64,
    count: usize,
    progress: &dyn Progress,
) -> Result<CensusVerification> {
    let found = runner.verify(seed, count, progress)?;
    if let Some(first) = found.different.first() {
        return Err(Error::Device {
            device: device.into(),
            detail: format!(
                "{} of {} faults came out otherwise when run whole, first {first}",
                found.different.len(),
                found.checked
            ),
        });
    }
    progress.line(&format!(
        "{} faults run whole: outcomes equal, losses within {:.1e}",
        found.checked, found.largest
    ));
    Ok(found)
}
