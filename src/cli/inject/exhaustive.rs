//! `flipside inject --exhaustive`: the whole population instead of a sample.

use std::path::Path;
use std::time::Instant;

use super::super::common::{create_folder, print, print_json, stop_flag, view};
use super::super::model::Loaded;
use super::{Args, measure};
use crate::campaign::exhaustive::{Census, Exhaustive, Mode, Verification, ranged_layers};
use crate::campaign::{CensusManifest, Golden, Plan, Provenance, Ranges};
use crate::progress::Progress;
use crate::report::{View, census_json, census_text};
use crate::study::SourceImages;
use crate::train::Source;
use crate::{Error, Result};

/// What `inject` has opened.
pub(super) struct Inputs<'a> {
    pub loaded: &'a Loaded,
    /// Where ranges are asked for.
    pub train: Option<&'a Source>,
    pub val: &'a Source,
    pub provenance: Provenance,
}

/// Counts every fault of `mode` on the images of `goldens`.
pub(super) fn run(
    args: &Args,
    mode: Mode,
    plan: &Plan,
    mut goldens: Vec<Golden>,
    inputs: Inputs<'_>,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let Inputs { loaded, train, val, provenance } = inputs;
    let (model, weights, images) = (&loaded.model, &loaded.weights, SourceImages(val));
    if let Some(path) = &args.out {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            create_folder(folder)?;
        }
        Census::check_store(mode, &provenance, path, args.resume)?; // now rather than after the count
    }
    if let Some(most) = args.images {
        let (all, most) = (goldens.len(), (most as usize).min(goldens.len()));
        let mut kept = (0..most).map(|i| i * all / most).peekable();
        let mut place = 0;
        goldens.retain(|_| {
            place += 1;
            kept.next_if_eq(&(place - 1)).is_some()
        });
    }
    let layers = ranged_layers(model, weights, mode)?;
    let ranges = match train {
        Some(train) if !layers.is_empty() => measure(args, loaded, train, &layers, progress)?,
        _ => Ranges::default(),
    };
    let mut exhaustive =
        Exhaustive::new((model, weights), &images, &goldens, &ranges, mode, &plan.detectors)?;
    exhaustive.batch = args.batch as usize;
    progress.line(&format!("{} faults to try under each detector", exhaustive.faults()));
    let manifest = CensusManifest::new(&exhaustive, provenance, plan.labels);
    let before = match &args.out {
        Some(path) => Census::resume(mode, &manifest, path)?,
        None => None,
    };
    let was_complete = before.as_ref().is_some_and(Census::is_complete);
    let mut keep = |census: &Census| match &args.out {
        Some(path) => census.save(path, &manifest),
        None => Ok(()),
    };
    // Before, ctrl-C ends the program at once.
    let (start, stop) = (Instant::now(), stop_flag()?);
    let census = exhaustive.go_on(before, progress, stop, &mut keep)?;
    if !census.is_complete() {
        return Err(stopped(&census, args.out.as_deref()));
    }
    if !was_complete {
        keep(&census)?;
    }
    progress.line(&format!("counted in {:.1} s", start.elapsed().as_secs_f64()));
    let verified = match args.verify {
        0 => None,
        count => Some(verify(&exhaustive, loaded, args.seed(), count, progress)?),
    };
    if args.run.json {
        let mut json = census_json(&census);
        json["verified"] = verified.map_or(serde_json::Value::Null, |found| {
            serde_json::json!({
                "faults": found.checked, "largest_loss_distance": found.largest,
            })
        });
        return print_json(&json);
    }
    print(&census_text(&census, view(View::Markdown)))
}

/// What is said after ctrl-C.
fn stopped(census: &Census, out: Option<&Path>) -> anyhow::Error {
    match out {
        None => anyhow::anyhow!("stopped; nothing was kept, since there is no --out FILE"),
        Some(path) => anyhow::anyhow!(
            "stopped; {} holds the counts of {} images, and --resume continues from there",
            path.display(),
            census.counted
        ),
    }
}

/// Runs `count` of the faults again, whole; other answers are an error.
fn verify(
    exhaustive: &Exhaustive<'_>,
    loaded: &Loaded,
    seed: u64,
    count: usize,
    progress: &dyn Progress,
) -> Result<Verification> {
    let found = exhaustive.verify(seed, count, progress)?;
    if let Some(first) = found.different.first() {
        return Err(Error::Device {
            device: loaded.weights.device().kind().to_string(),
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
