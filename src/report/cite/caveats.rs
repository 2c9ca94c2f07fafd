//! What a reviewer would miss, each where it is so.

use std::collections::BTreeSet;

use super::sample::{ENOUGH, SampleFacts};
use super::table::{bounding, mean_delta_loss};
use super::{CitedRun, CitedStudy};
use crate::analysis::goldeneye;
use crate::analysis::{Intervals, Scope, select, stopped_words};
use crate::detector::Detector;
use crate::error::{MOST_NAMED, some_of};
use crate::fault::Site;
use crate::number::Compute;
use crate::plan::{Labels, Stratify};
use crate::report::NO_INTERVAL;
use crate::results::{Part, Run};

/// With fewer images no interval over them says much.
const FEW_IMAGES: usize = 100;
/// With fewer records that carry half of a mean, the mean hangs on them.
const FEW_CARRIERS: usize = 20;

/// All of them; what holds for some runs alone names them.
pub(super) fn all(
    runs: &[CitedRun],
    samples: &[SampleFacts],
    study: Option<&CitedStudy>,
    how: &Intervals,
) -> Vec<String> {
    let mut found: Vec<(String, Vec<&str>)> = Vec::new();
    for (of, sample) in runs.iter().zip(samples) {
        for words in about(of, sample, how) {
            match found.iter_mut().find(|(known, _)| *known == words) {
                Some((_, names)) => names.push(&of.name),
                None => found.push((words, vec![&of.name])),
            }
        }
    }
    let told = found.into_iter().map(|(words, names)| match names.len() == runs.len() {
        true => words,
        false => format!("{}: {words}", some_of(&names, MOST_NAMED)),
    });
    training(runs, study).into_iter().chain(told).chain(comparisons(runs)).collect()
}

/// What is said of training.
fn training(runs: &[CitedRun], study: Option<&CitedStudy>) -> Option<String> {
    let seeds = study.and_then(|study| study.json["seeds"].as_array()).map(Vec::len);
    match seeds {
        Some(seeds) if seeds > 1 => None,
        Some(_) => Some(
            "No interval covers training: the models are of one training seed, and others would have other figures."
                .into(),
        ),
        None => {
            let checkpoints: BTreeSet<&str> =
                runs.iter().map(|of| of.setting().provenance.checkpoint.as_str()).collect();
            let each = if checkpoints.len() > 1 { "each network is" } else { "the network is" };
            Some(format!(
                "No interval covers training seeds: {each} one checkpoint, and one from another seed would have other figures."
            ))
        }
    }
}

/// What is so of a run.
fn about(of: &CitedRun, sample: &SampleFacts, how: &Intervals) -> Vec<String> {
    let run = &of.run;
    let mut found = Vec::new();
    found.extend(images(run));
    found.extend(size(run, sample));
    found.extend(drawn(run, sample));
    found.extend(detector(run));
    found.extend(last_layer(run));
    found.extend(match of.is_goldeneye() {
        true => goldeneyes(run),
        false => means(run, how),
    });
    found.extend(place(run));
    found.extend(kept(of));
    found
}

fn images(run: &Run) -> Vec<String> {
    let manifest = &run.manifest;
    let mut found = Vec::new();
    let hit = manifest.images.len();
    if hit < FEW_IMAGES {
        found.push(format!(
            "The faults hit {hit} images, fewer than {FEW_IMAGES}: intervals say little of other images."
        ));
    }
    let labels: BTreeSet<u32> = manifest.images.iter().map(|row| row.label).collect();
    let classes = manifest.setting.classes;
    if labels.len() == 1 {
        found.push(format!("The images that faults hit are of one class of {classes}."));
    } else if 2 * labels.len() < classes {
        found.push(format!(
            "The images that faults hit are of {} of {classes} classes.",
            labels.len()
        ));
    }
    if manifest.plan.labels == Labels::Golden {
        found.push(
            "The images have no labels: answers are held against the network's own, right or wrong.".into(),
        );
    } else if hit < manifest.setting.provenance.right {
        found.push(
            "Not every image that is classified correctly is hit; figures are of those that are."
                .into(),
        );
    }
    let skipped = manifest.setting.provenance.skipped.len();
    if skipped > 0 {
        found.push(format!("{skipped} images of the data can't be read and were left out."));
    }
    found
}

fn size(run: &Run, sample: &SampleFacts) -> Vec<String> {
    let mut found = Vec::new();
    if run.manifest.plan.list.is_some() {
        return found;
    }
    if sample.small.len() == sample.layers {
        found.push(format!(
            "No layer has the {ENOUGH} injections that a rate within 5 points at 95 % takes."
        ));
    } else if !sample.small.is_empty() {
        found.push(format!(
            "{} of {} layers have fewer than {ENOUGH} injections, which a rate within 5 points at 95 % takes: {}.",
            sample.small.len(),
            sample.layers,
            some_of(&sample.small, MOST_NAMED)
        ));
    }
    if sample.has_large_share {
        found.push(
            "More than 5 % of the possible faults of a layer were drawn, with replacement: the correction for finite \
             populations is of draws without, so that the margin before it is the one to rely on."
                .into(),
        );
    }
    found
}

/// How injections were chosen.
fn drawn(run: &Run, sample: &SampleFacts) -> Vec<String> {
    let plan = &run.manifest.plan;
    let mut found = Vec::new();
    if plan.list.is_some() {
        found.push("The faults are a list's and no sample: rates are of the list, and their intervals those of faults \
                    drawn like it.".into());
    }
    if let Some(rule) = &plan.until {
        found.push(format!(
            "How many injections a layer has ({} to {}) follows from what they did: they go on until {rule}. {}",
            sample.injections[0],
            sample.injections[1],
            stopped_words(run).unwrap_or_default()
        ));
    }
    if let Stratify::Allocated(_) = &plan.stratify {
        found.push(format!(
            "A pilot decided how many injections each layer has ({} to {}) and each bit; no margin of error follows from \
             their number alone.",
            sample.injections[0], sample.injections[1]
        ));
    }
    if plan.list.is_none() && !plan.only_bits.is_all() {
        found.push(format!("No bit but {} is flipped.", plan.only_bits));
    }
    if plan.layers.is_some() && plan.list.is_none() {
        found.push(
            "Figures of the network are over the layers that were chosen, not over all.".into(),
        );
    }
    found
}

fn detector(run: &Run) -> Vec<String> {
    let detectors = &run.manifest.plan.detectors;
    let mut found = Vec::new();
    if detectors.contains(&Detector::Range) && !detectors.contains(&Detector::None) {
        found.push(
            "Every answer is under the detector range, which replaces NaN and infinite values before they spread: nonfinite \
             answers of an unprotected network don't show, and nothing is said of one."
                .into(),
        );
    } else if bounding(run).is_none() {
        found.push(
            "There is no mean of ΔLoss: without a detector one exponent bit would carry it.".into(),
        );
    }
    let alarms = run.manifest.fault_free.and_then(|of| of.false_alarms);
    if let Some(alarms) = alarms.filter(|of| of.alarms > 0) {
        found.push(format!(
            "The range detector finds a fault in {} of {} images without one.",
            alarms.alarms, alarms.images
        ));
    }
    found
}

/// Where the last layer is hit.
fn last_layer(run: &Run) -> Option<String> {
    let manifest = &run.manifest;
    let has = |part: Part| manifest.layers.iter().any(|row| row.part == part);
    let before = manifest.has_scale && has(Part::LastLayer) && !has(Part::AfterScale);
    (before && manifest.plan.site == Site::Output).then(|| {
        "The last layer is hit before the logits' scale only, which enlarges the error; a network without a scale has no \
         such place, so that the two aren't like for like."
            .into()
    })
}

/// Of figures by GoldenEye's rules.
fn goldeneyes(run: &Run) -> Vec<String> {
    let mut found = vec![
        "Normal intervals are too narrow where few injections carry a mean, as with ΔLoss.".into(),
    ];
    let layers = goldeneye::figures(run);
    let nan: u64 = layers.iter().map(|layer| layer.nan).sum();
    let all: u64 = layers.iter().map(|layer| layer.injections).sum();
    if nan > 0 {
        found.push(format!(
            "{nan} of {all} injections have a NaN loss; they are dropped from ΔLoss, and count as no mismatch."
        ));
    }
    let open = run.manifest.layers.iter().filter(|row| row.range.is_some_and(f32::is_infinite));
    let open: Vec<&str> = open.map(|row| row.name.as_str()).collect();
    if !open.is_empty() {
        found.push(format!(
            "The ranges of {} layers are infinite in f16, so that the detector changes nothing there but NaN: {}.",
            open.len(),
            some_of(&open, MOST_NAMED)
        ));
    }
    found
}

/// Of means of ΔLoss by the strict protocol.
fn means(run: &Run, how: &Intervals) -> Vec<String> {
    let Some(detector) = bounding(run) else { return Vec::new() };
    let mut found = Vec::new();
    let selection = || select(run, Scope::ALL.layers(run), detector);
    let (mut all, mut lost) = (0u64, 0u64);
    for record in selection().records() {
        all += 1;
        lost += u64::from(!record.delta_loss().is_finite());
    }
    if lost > 0 {
        found.push(format!(
            "{lost} of {all} answers under the detector {} have no finite loss and are left out of means of ΔLoss.",
            detector.name()
        ));
    }
    let has_no_ends =
        mean_delta_loss(run, how).is_some_and(|of| of.value.is_finite() && of.low.is_nan());
    if has_no_ends && run.manifest.plan.until.is_none() {
        found.push(format!("The mean ΔLoss has no interval. {NO_INTERVAL}"));
    }
    let carriers = selection().delta_loss_carriers();
    if !selection().is_counted() && (1..FEW_CARRIERS).contains(&carriers) {
        found.push(format!(
            "Fewer than {FEW_CARRIERS} records carry half of the mean ΔLoss of drawn faults."
        ));
    }
    found
}

/// Where faults hit, and on what it ran.
fn place(run: &Run) -> Vec<String> {
    let (plan, setting) = (&run.manifest.plan, &run.manifest.setting);
    let mut found = Vec::new();
    // A list names the site of each of its faults.
    let hits_weights = match plan.list {
        None => plan.site == Site::Weight,
        Some(_) => run.records.iter().any(|record| record.site == Site::Weight),
    };
    found.push(match hits_weights {
        true => "Faults in parameters last for one inference; nothing is said of faults that stay, nor of other places.".into(),
        false => "No fault hits a weight.".into(),
    });
    match setting.device.as_str() {
        "cpu" => found.push(
            "The campaign ran on a CPU, not on a GPU or an accelerator; faults are simulated in the values of its computation."
                .into(),
        ),
        "emulated" => found.push("The campaign's GPU kernels ran in an emulator on a CPU, not on a GPU.".into()),
        _ => {}
    }
    if setting.compute != Compute::Exact {
        found.push(format!(
            "Factors of products are rounded to {}, so that bits of operands are that format's.",
            setting.compute.name()
        ));
    }
    found
}

/// What the store says, and doesn't.
fn kept(of: &CitedRun) -> Vec<String> {
    let mut found = Vec::new();
    if of.verified == 0 {
        found.push(
            "No record was run again as a whole, uncached inference (`flipside inject --verify`)."
                .into(),
        );
    }
    if !of.censuses.is_empty() {
        let modes: Vec<&str> = of.censuses.iter().map(|mode| mode.name()).collect();
        found.push(format!(
            "The store also holds a census of {}, which none of these words and figures is about (`flipside report \
             --exhaustive`).",
            modes.join(" and of ")
        ));
    }
    if of.setting().commit == "unknown" {
        found.push("The commit that the program was built from isn't known.".into());
    }
    found
}

/// Why runs can't be compared, or no verdict is given.
fn comparisons(runs: &[CitedRun]) -> Vec<String> {
    let mut found = Vec::new();
    for of in runs {
        match &of.compared {
            Some((with, Err(why))) => {
                found.push(format!("{} can't be compared with {with}: {why}.", of.name));
            }
            Some((with, Ok(row))) => {
                let reasons: Vec<&str> =
                    row.refusals.iter().map(|refusal| refusal.detail.as_str()).collect();
                if !reasons.is_empty() {
                    found.push(format!(
                        "No verdict on reliability is given for {} against {with}: {}.",
                        of.name,
                        reasons.join("; ")
                    ));
                }
                if !row.differences.is_empty() {
                    found.push(format!(
                        "{} and {with} also differ in: {}.",
                        of.name,
                        row.differences.join("; ")
                    ));
                }
            }
            None => {}
        }
    }
    found
}
