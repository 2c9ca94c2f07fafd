//! `flipside inject --exhaustive`: the whole population instead of a sample.

use std::time::Instant;

use super::super::common::{Loaded, create_folder, print, print_json};
use super::{Args, measure};
use crate::campaign::exhaustive::{
    BITS, Census, Exhaustive, Histogram, Mode, Verification, ranged_layers,
};
use crate::campaign::{CensusManifest, Detector, Golden, Plan, Provenance, Ranges};
use crate::progress::Progress;
use crate::report::census_text;
use crate::study::SourceImages;
use crate::train::Source;
use crate::{Error, Result};

/// What `inject` has opened.
pub(super) struct Inputs<'a> {
    pub loaded: &'a Loaded,
    pub train: &'a Source,
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
        Census::check_store(mode.name(), &provenance, path)?; // now rather than after the count
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
    let ranges = if plan.detectors.contains(&Detector::Range) && !layers.is_empty() {
        measure(args, loaded, train, &layers, progress)?
    } else {
        Ranges::default()
    };
    let mut exhaustive =
        Exhaustive::new((model, weights), &images, &goldens, &ranges, mode, &plan.detectors)?;
    exhaustive.batch = args.batch as usize;
    progress.line(&format!("{} faults, under each detector", exhaustive.faults()));
    let start = Instant::now();
    let census = exhaustive.run(progress)?;
    progress.line(&format!("counted in {:.1} s", start.elapsed().as_secs_f64()));
    let verified = match args.verify {
        0 => None,
        count => Some(verify(&exhaustive, loaded, args.seed, count, progress)?),
    };
    if let Some(path) = &args.out {
        census.save(path, &CensusManifest::new(&exhaustive, provenance, plan.labels))?;
    }
    if args.run.json {
        return print_json(&summary(&census, verified.as_ref()));
    }
    print(&census_text(&census))
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

/// Per place and detector: all faults, and those of each bit.
fn summary(census: &Census, verified: Option<&Verification>) -> serde_json::Value {
    let of_place = |histogram: &Histogram| {
        let of_detector = |(place, detector): (usize, &Detector)| {
            let bits: Vec<_> =
                (0..BITS).map(|bit| histogram.of_bits(place, bit..bit + 1)).collect();
            let all = histogram.total(place);
            serde_json::json!({ "detector": detector.name(), "all": all, "bits": bits })
        };
        let detectors: Vec<_> = histogram.detectors.iter().enumerate().map(of_detector).collect();
        serde_json::json!({
            "place": histogram.place, "units": histogram.units, "detectors": detectors,
        })
    };
    serde_json::json!({
        "population": census.mode.name(), "unit": census.mode.unit(), "images": census.images,
        "places": census.histograms.iter().map(of_place).collect::<Vec<_>>(),
        "verified": verified.map(|found| serde_json::json!({
            "faults": found.checked, "largest_loss_distance": found.largest,
        })),
    })
}
