//! The census: every fault of the last layer is tried, instead of a sample of them.
//!
//! - [`Mode::Logits`]: every class × bit × image, before the scale and after it (one place in a
//!   baseline). A fault changes one logit, and [`GoldenAnswer::with`] says in constant time what comes of it.
//! - [`Mode::Weights`]: every entry of the last layer's parameters × bit × image. It changes one logit,
//!   whose sum is run again in f32, a chain of fused multiply-adds with the layer's own bits, always: a
//!   closed form would be quicker by half, but would have to ask the chain for `masked` and for every
//!   narrow margin.
//! - [`Mode::Features`]: every element of the feature × bit × image. What lies behind it is run again by
//!   its own operations, so that what overflows in f32 does so here.
//!
//! The range detector sees the number that is hit, as in a campaign: an output is held against the layer's
//! range, an entry of a parameter against the parameter's largest. A baseline's feature, which is no
//! layer's output, is held against the largest that the last layer read of the training images. The three
//! populations are never added up, nor are a baseline's features and a text-guided model's, which
//! are different places.
//!
//! Units (classes, features) run side by side; the faults of one are counted in the order of images, so
//! that no digit depends on the number of threads.

mod answer;
mod counted;
mod features;
mod histogram;
mod logits;
mod store;
mod tail;
mod verify;
mod weights;

pub use answer::{Faulty, GoldenAnswer};
pub use counted::{count_last_layer, finish};
pub use histogram::{BITS, FaultCounts, FaultSummary, Histogram, Sdc5, octave_edges};
pub use store::CensusManifest;
pub use verify::CensusVerification;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr};

use self::histogram::UnitTally;
use self::tail::{Clean, Tail};
use self::verify::{Expected, PopulationFault};
use crate::campaign::Experiment;
use crate::campaign::layers::Layer;
use crate::detector::Detector;
use crate::models::Network;
use crate::number::{BitMasks, Compute};
use crate::progress::Progress;
use crate::results::Golden;
use crate::{Error, Result};

/// Images whose values are in memory at a time.
const CHUNK: usize = 1024;

/// The longest time between two writes to the store.
const KEEP: Duration = Duration::from_secs(60);

/// The population: which faults are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[derive(EnumIter, EnumString, IntoStaticStr)]
#[strum(parse_err_ty = Error, parse_err_fn = unknown)]
pub enum Mode {
    #[serde(rename = "last-layer")]
    #[strum(serialize = "last-layer")]
    Logits,
    #[serde(rename = "last-layer-weights")]
    #[strum(serialize = "last-layer-weights")]
    Weights,
    #[serde(rename = "last-layer-features")]
    #[strum(serialize = "last-layer-features")]
    Features,
}

impl Mode {
    /// The word on the command line and in files.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What a histogram's units are.
    pub const fn unit(self) -> &'static str {
        match self {
            Mode::Logits | Mode::Weights => "class",
            Mode::Features => "feature",
        }
    }
}

fn unknown(word: &str) -> Error {
    Error::unknown::<Mode>("population", word)
}

/// Takes the census of a model's last layer over some images.
pub struct CensusRunner<'a> {
    pub(super) experiment: &'a Experiment<'a>,
    mode: Mode,
    pub(super) detectors: Vec<Detector>,
    tail: Tail,
    /// What the range detector clamps to, in the order of the census' places.
    pub(super) max: Vec<f32>,
}

/// What a census found.
#[derive(Clone, Debug, PartialEq)]
pub struct Census {
    pub mode: Mode,
    /// Images that every fault is tried on, and the first so many of them for which that is done.
    pub images: usize,
    pub counted: usize,
    /// A place each: the last layer and, in models with a scale, behind it; the weight and the bias; the
    /// feature.
    pub histograms: Vec<Histogram>,
}

impl Census {
    /// Whether every image is counted.
    pub fn is_complete(&self) -> bool {
        self.counted == self.images
    }

    /// The first place of which `other` counted something else, in words; `None` if there is none.
    pub fn difference(&self, other: &Census) -> Option<String> {
        // Written so that they read back exactly; NaN is equal to itself there.
        let text = |histogram: &Histogram| format!("{histogram:?}");
        let (was, is) = (&self.histograms, &other.histograms);
        if (self.counted, was.len()) != (other.counted, is.len()) {
            return Some("other images or places are counted".into());
        }
        let differing = was.iter().zip(is).find(|(was, is)| text(was) != text(is));
        differing.map(|(was, _)| format!("the counts of '{}' differ", was.place))
    }
}

impl<'a> CensusRunner<'a> {
    /// A census over the images of the experiment's `goldens`. Detectors may need the ranges of the layers
    /// that [`ranged_layers`] names.
    ///
    /// # Errors
    /// No image, no detector or one twice; a range that is missing; for weights, a device that doesn't
    /// multiply in exact f32.
    pub fn new(
        experiment: &'a Experiment<'a>,
        mode: Mode,
        detectors: &[Detector],
    ) -> Result<CensusRunner<'a>> {
        let Experiment { network, goldens, ranges, .. } = experiment;
        let model = &network.model;
        if goldens.is_empty() {
            return Err(Error::usage("a census needs at least one image"));
        }
        if detectors.is_empty()
            || (1..detectors.len()).any(|i| detectors[..i].contains(&detectors[i]))
        {
            return Err(Error::usage("a census needs one detector at least, none of them twice"));
        }
        if mode != Mode::Logits && network.device().compute() != Compute::Exact {
            return Err(Error::usage(format!(
                "{} runs what follows in exact f32 on the CPU: say --compute exact",
                mode.name()
            )));
        }
        for golden in goldens {
            if golden.logits.len() != model.classes || golden.label as usize >= model.classes {
                return Err(Error::usage(format!(
                    "image {}: {} logits and label {}, but the model has {} classes",
                    golden.image,
                    golden.logits.len(),
                    golden.label,
                    model.classes
                )));
            }
        }
        let tail = Tail::new(network)?;
        let ranged = Detector::needing_ranges(detectors).is_some();
        let range = |layer: &Layer| if ranged { ranges.of(layer) } else { Ok(f32::INFINITY) };
        let max = match mode {
            Mode::Logits => {
                let places = std::iter::once(&tail.last).chain(&tail.after);
                places.map(range).collect::<Result<_>>()?
            }
            Mode::Weights => weights::largest(network, &tail)?,
            Mode::Features => vec![range(&tail.feature)?],
        };
        let detectors = detectors.to_vec();
        Ok(CensusRunner { experiment, mode, detectors, tail, max })
    }

    /// Faults a detector: entries × bits × images.
    pub fn faults(&self) -> u64 {
        let entries: usize = self.entries().iter().map(|[units, each]| units * each).sum();
        (entries * BITS * self.experiment.goldens.len()) as u64
    }

    /// Units of each place, and entries of a unit.
    fn entries(&self) -> Vec<[usize; 2]> {
        let model = &self.experiment.network.model;
        match self.mode {
            Mode::Logits => vec![[model.classes, 1]; self.max.len()],
            Mode::Weights => weights::entries(model, &self.tail),
            Mode::Features => vec![[self.tail.feature.map.elements(), 1]],
        }
    }

    /// Tries every fault.
    ///
    /// # Errors
    /// What loading or running says; golden logits that aren't those of the evaluation.
    pub fn run(&self, progress: &dyn Progress) -> Result<Census> {
        self.go_on(None, progress, &AtomicBool::new(false), &mut |_| Ok(()))
    }

    /// Tries every fault on the images that aren't counted `before`, until `stop` says otherwise; `keep` gets
    /// what there is each minute, and where it stops before the end. No digit depends on where it was stopped.
    ///
    /// # Errors
    /// As [`CensusRunner::run`]; a census before that isn't the first part of this one; what `keep` says.
    pub fn go_on(
        &self,
        before: Option<Census>,
        progress: &dyn Progress,
        stop: &AtomicBool,
        keep: &mut dyn FnMut(&Census) -> Result<()>,
    ) -> Result<Census> {
        let goldens = &self.experiment.goldens;
        let images = goldens.len();
        let mut counter = Counter::new(self)?;
        let mut census = Census { mode: self.mode, images, counted: 0, histograms: Vec::new() };
        if let Some(before) = before {
            let shape = |of: &[Histogram]| -> Vec<_> {
                of.iter().map(|h| (h.place.clone(), h.units, h.detectors.clone())).collect()
            };
            let fits =
                before.mode == self.mode && before.images == images && before.counted <= images;
            if !fits || shape(&before.histograms) != shape(counter.histograms()) {
                return Err(Error::usage("the census to go on with is another than this one"));
            }
            census.counted = before.counted;
            *counter.histograms() = before.histograms;
        }
        progress.begin("exhaustive", "images", census.counted as u64, images as u64);
        let mut kept = Instant::now();
        'images: for part in goldens[census.counted..].chunks(CHUNK) {
            let part: Vec<&Golden> = part.iter().collect();
            let clean = self.clean(&part)?;
            // Small steps, so that a run of hours shows that it moves.
            for clean in clean.chunks(counter.step()) {
                counter.count(self, clean)?;
                census.counted += clean.len();
                progress.advance(clean.len() as u64, "");
                let stopped = stop.load(Ordering::Relaxed);
                if census.counted < images && (stopped || kept.elapsed() > KEEP) {
                    std::mem::swap(&mut census.histograms, counter.histograms());
                    keep(&census)?;
                    std::mem::swap(&mut census.histograms, counter.histograms());
                    kept = Instant::now();
                }
                if stopped {
                    break 'images;
                }
            }
        }
        progress.end();
        census.histograms = std::mem::take(counter.histograms());
        Ok(census)
    }

    /// Mean ΔLoss of each image, over every fault in its logits under a detector of the census', with the logits that
    /// come of it divided by `temperature` (1 as trained): by the name of the layer, before the scale and after it, in
    /// the order of `goldens`, which are of the experiment's.
    ///
    /// # Errors
    /// As [`CensusRunner::run`]; a census of anything but logits.
    pub fn delta_loss_by_image(
        &self,
        goldens: &[&Golden],
        detector: usize,
        temperature: f64,
    ) -> Result<Vec<(String, Vec<f64>)>> {
        if self.mode != Mode::Logits {
            return Err(Error::usage("only faults in logits are counted image by image"));
        }
        let places = std::iter::once(&self.tail.last).chain(&self.tail.after);
        let mut found: Vec<(String, Vec<f64>)> =
            places.map(|layer| (layer.name.clone(), Vec::new())).collect();
        for part in goldens.chunks(CHUNK) {
            let clean = self.clean(part)?;
            for (place, (_, means)) in found.iter_mut().enumerate() {
                means.extend(logits::means(self, &clean, place, detector, temperature));
            }
        }
        Ok(found)
    }

    /// The fault-free values of images.
    fn clean<'g>(&self, goldens: &[&'g Golden]) -> Result<Vec<Clean<'g>>> {
        let tail = &self.tail;
        if self.mode == Mode::Logits && tail.after.is_none() {
            // The evaluation holds all there is to know.
            let of = |golden: &&'g Golden| Clean {
                golden,
                last: golden.logits.clone(),
                input: Vec::new(),
            };
            return Ok(goldens.iter().map(of).collect());
        }
        let input = if self.mode == Mode::Features { tail.feature.node } else { tail.read };
        tail::clean(self.experiment, tail, goldens, input)
    }
}

/// The layers whose ranges a census of `mode` asks for.
///
/// # Errors
/// A model without a last layer of its images' own.
pub fn ranged_layers(network: &Network, mode: Mode) -> Result<Vec<Layer>> {
    let Tail { last, after, feature, .. } = Tail::new(network)?;
    Ok(match mode {
        Mode::Logits => std::iter::once(last).chain(after).collect(),
        Mode::Weights => Vec::new(),
        Mode::Features => vec![feature],
    })
}

/// What counts the faults of a mode.
enum Counter {
    Logits(logits::Logits),
    Weights(weights::LastWeights),
    Features(Box<features::Features>),
}

impl Counter {
    fn new(census: &CensusRunner<'_>) -> Result<Counter> {
        Ok(match census.mode {
            Mode::Logits => Counter::Logits(logits::Logits::new(census)),
            Mode::Weights => Counter::Weights(weights::LastWeights::new(census)?),
            Mode::Features => Counter::Features(Box::new(features::Features::new(census)?)),
        })
    }

    /// Images to count at a time.
    fn step(&self) -> usize {
        match self {
            Counter::Logits(_) => CHUNK,
            Counter::Weights(_) | Counter::Features(_) => 32,
        }
    }

    fn count(&mut self, census: &CensusRunner<'_>, clean: &[Clean<'_>]) -> Result<()> {
        match self {
            Counter::Logits(logits) => logits.count(census, clean),
            Counter::Weights(weights) => weights.count(census, clean),
            Counter::Features(features) => features.count(census, clean),
        }
    }

    /// What the census expects of a fault, computed as by [`Counter::count`].
    fn expect(
        &mut self,
        census: &CensusRunner<'_>,
        clean: &Clean<'_>,
        fault: &PopulationFault,
    ) -> Result<Expected> {
        match self {
            Counter::Logits(_) => Ok(logits::expect(census, clean, fault)),
            Counter::Weights(weights) => weights.expect(census, clean, fault),
            Counter::Features(features) => features.expect(census, clean, fault),
        }
    }

    /// A place each.
    fn histograms(&mut self) -> &mut Vec<Histogram> {
        match self {
            Counter::Logits(logits) => &mut logits.histograms,
            Counter::Weights(weights) => &mut weights.histograms,
            Counter::Features(features) => &mut features.histograms,
        }
    }
}

/// Answers of some images, prepared on every core.
fn answers<'a>(clean: &[Clean<'a>]) -> Vec<GoldenAnswer<'a>> {
    use rayon::prelude::*;
    clean.par_iter().map(|clean| GoldenAnswer::new(clean.golden)).collect()
}

/// A number with a bit flipped.
fn flipped(number: f32, bit: usize) -> f32 {
    f32::from_bits(BitMasks::flip(1 << bit).apply(number.to_bits()))
}

/// A logit that faults change.
struct Exchange<'e> {
    answer: &'e GoldenAnswer<'e>,
    class: usize,
    /// How many.
    detectors: usize,
}

impl Exchange<'_> {
    /// Counts a fault of `bit` under every detector; `logit(place)` is what the logit becomes under that
    /// of this place in the list. Logits that neighbours agree on are judged once.
    #[inline]
    fn count(&self, tally: &mut UnitTally<'_>, bit: usize, logit: impl Fn(usize) -> f32) {
        let mut known: Option<(u32, Faulty)> = None;
        for place in 0..self.detectors {
            let logit = logit(place);
            let faulty = match known {
                Some((bits, faulty)) if bits == logit.to_bits() => faulty,
                _ => self.answer.with(self.class, logit),
            };
            known = Some((logit.to_bits(), faulty));
            tally.count(place, bit, &self.answer.golden().score, &faulty);
        }
    }
}
