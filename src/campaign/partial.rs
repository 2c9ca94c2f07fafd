//! What there is of a campaign that isn't complete.

use std::collections::HashMap;

use super::draw::{Draws, Space};
use crate::plan::{Shard, Stratify};
use crate::results::{Counted, Run};
use crate::{Error, Result};

/// How much of a campaign is there that figures can be taken of: every injection into some of the images.
///
/// A campaign runs image by image. Which of its injections are there at some moment therefore says which images have had
/// their turn. Among the injections into *those* images none is missing, and they were drawn uniformly from all faults in
/// them: figures and intervals are as right as a whole campaign's, but they are of fewer images. The records of images
/// whose turn isn't over are left out: of these the first layers would be there, and not the last.
#[derive(Clone, Debug)]
pub struct Partial {
    /// Images that are done, and those that there are injections into.
    pub images: [usize; 2],
    /// Injections into images that are done, and all that the shards at hand have.
    pub injections: [u64; 2],
    /// The shards at hand.
    pub shards: Vec<Shard>,
    /// Whether it is the whole campaign.
    pub is_complete: bool,
}

impl Partial {
    /// That of a store's `run` of `shards`, each of which is whole or not; and the run without the records that there are
    /// no figures of.
    ///
    /// # Errors
    /// Campaigns whose parts say nothing of a whole, and one no image of which is done.
    pub fn of(mut run: Run, shards: &[(Shard, bool)]) -> Result<(Run, Partial)> {
        let of = shards.first().map_or(1, |(shard, _)| shard.of);
        let is_complete = shards.len() as u64 == of && shards.iter().all(|(_, is_whole)| *is_whole);
        let names = shards.iter().map(|(shard, _)| *shard).collect();
        if is_complete {
            let records = run.records.len() / run.manifest.plan.detectors.len().max(1);
            let images = run.manifest.images.len();
            let injections = [records as u64; 2];
            let partial = Partial { images: [images; 2], injections, shards: names, is_complete };
            return Ok((run, partial));
        }
        check(&run)?;
        let places = run.manifest.images.len();
        let (mut due, mut there) = (vec![0u64; places], vec![0u64; places]);
        let plan = &run.manifest.plan;
        for layer in &run.manifest.layers {
            // Of which values a layer has the image doesn't depend.
            let draws = Draws::new(plan, &layer.pair_key, Space::of_parameter(1), places);
            let numbers = plan.numbers(&layer.pair_key);
            let held = numbers.filter(|n| shards.iter().any(|(shard, _)| shard.holds(*n)));
            held.for_each(|n| due[draws.image(n)] += 1);
        }
        let first = plan.detectors.first();
        let numbers = run.manifest.images.iter().enumerate();
        let place_of: HashMap<usize, usize> =
            numbers.map(|(place, row)| (row.image, place)).collect();
        for record in run.records.iter().filter(|record| Some(&record.detector) == first) {
            if let Some(place) = place_of.get(&record.image) {
                there[*place] += 1;
            }
        }
        let is_done = |place: usize| due[place] > 0 && there[place] == due[place];
        let done: Vec<bool> = (0..places).map(is_done).collect();
        let images = done.iter().filter(|is_done| **is_done).count();
        let hit = due.iter().filter(|due| **due > 0).count();
        let injections = (0..places).filter(|place| done[*place]).map(|place| there[place]).sum();
        let all = due.iter().sum();
        if images == 0 {
            return Err(Error::usage(format!(
                "of none of its {hit} images every injection is there yet, so that there are no figures"
            )));
        }
        if images < hit {
            run.records.retain(|record| place_of.get(&record.image).is_some_and(|at| done[*at]));
            let mut place = done.iter();
            run.manifest.images.retain(|_| *place.next().unwrap_or(&false));
            // It was of all images.
            run.counted = Counted::default();
        }
        let (images, injections) = ([images, hit], [injections, all]);
        Ok((run, Partial { images, injections, shards: names, is_complete }))
    }
}

/// Refuses campaigns of whose parts no figure is right.
fn check(run: &Run) -> Result<()> {
    let plan = &run.manifest.plan;
    let why = match () {
        () if plan.list.is_some() => {
            "it injects a list's faults, and those of some images say nothing of the others"
        }
        () if plan.until.is_some() => {
            "its layers stop by --half-width, whose intervals hold at its own looks alone"
        }
        () if plan.stratify != Stratify::No => {
            "its injections are parted among bits, which those into some of the images aren't"
        }
        () => return Ok(()),
    };
    Err(Error::usage(format!("--partial can't be taken of this campaign: {why}")))
}
