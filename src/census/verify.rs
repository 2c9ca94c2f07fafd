//! Seeded faults of a census, run again whole: the network with the fault armed, from the image on.

use super::answer::Faulty;
use super::histogram::BITS;
use super::{CensusRunner, Counter, Mode};
use crate::Result;
use crate::campaign::{Experiment, load_batch};
use crate::fault::{FaultSpec, Place, Shape, Site};
use crate::number::FaultModel;
use crate::progress::Progress;
use crate::results::{Effect, Golden};
use crate::rng::{self, Draw};
use crate::tape::PlanKind;

/// How far the losses of both ways may lie apart, in nats or, above 1, as a share.
const TOLERANCE: f64 = 1e-6;

/// A fault of the population.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PopulationFault {
    /// Place in the list of images.
    pub image: usize,
    /// Which histogram, and the unit.
    pub place: usize,
    pub unit: usize,
    /// The entry of the unit's row of weights; else 0.
    pub entry: usize,
    pub bit: usize,
    /// Place in the list of detectors.
    pub detector: usize,
}

/// What the census expects of a fault.
pub(super) struct Expected {
    /// The golden number at the fault's place.
    pub before: f32,
    /// What readers see where the fault is.
    pub seen: f32,
    pub faulty: Faulty,
}

/// What [`CensusRunner::verify`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CensusVerification {
    /// Faults that were run again.
    pub checked: usize,
    /// Those whose answer isn't the one that the census counted, in words.
    pub different: Vec<String>,
    /// The greatest distance of losses, in nats or, of losses above 1, as a share.
    pub largest: f64,
}

impl CensusRunner<'_> {
    /// Runs `count` faults again, drawn by `seed` from all places, units, bits, images and detectors: one
    /// an image of a batch. Outcome, top-1, top-5 and loss (to 10⁻⁶) must be those that the census counts.
    ///
    /// # Errors
    /// What loading or running says.
    pub fn verify(
        &self,
        seed: u64,
        count: usize,
        progress: &dyn Progress,
    ) -> Result<CensusVerification> {
        let Experiment { network, images, goldens, .. } = self.experiment;
        let model = &network.model;
        let mut counter = Counter::new(self)?;
        let drawn = self.drawn(seed, count);
        // Faults in memory need a plan that keeps every value: a much larger one.
        let in_memory = self.mode == Mode::Features && self.feature_is_input();
        let (kind, most) = if in_memory {
            (PlanKind::Golden, 8)
        } else {
            (PlanKind::Infer, self.experiment.batch)
        };
        let capacity = most.clamp(1, count.max(1));
        let mut execution = network.execution(kind, capacity, &[model.logits])?;
        let elements = model.image_elements();
        let mut verification = CensusVerification::default();
        progress.begin("verify", "faults", 0, count as u64);
        for part in drawn.chunks(capacity) {
            // Sorted by image: faults of one are neighbours.
            let mut list: Vec<usize> = part.iter().map(|fault| fault.image).collect();
            list.dedup();
            let of_images: Vec<&Golden> = list.iter().map(|image| &goldens[*image]).collect();
            let clean = self.clean(&of_images)?;
            let numbers: Vec<usize> = of_images.iter().map(|golden| golden.image).collect();
            let (pixels, _) = load_batch(model, *images, &numbers)?;
            let (mut batch, mut specs, mut expected) = (Vec::new(), Vec::new(), Vec::new());
            for (slot, fault) in part.iter().enumerate() {
                let place = list.partition_point(|image| *image < fault.image);
                batch.extend_from_slice(&pixels[place * elements..][..elements]);
                let found = counter.expect(self, &clean[place], fault)?;
                specs.push(self.spec(fault, &found, slot));
                expected.push(found.faulty);
            }
            execution.begin(part.len())?;
            execution.write(model.image, &batch)?;
            execution.arm_all(&network.weights, &specs)?;
            execution.forward(&network.weights)?;
            execution.disarm();
            let logits = execution.read(model.logits)?;
            for ((fault, expected), logits) in
                part.iter().zip(&expected).zip(logits.chunks(model.classes))
            {
                let effect = Effect::of(&goldens[fault.image], logits);
                verification.compare(self, fault, expected, &effect);
            }
            progress.advance(part.len() as u64, "");
        }
        progress.end();
        Ok(verification)
    }

    /// Fault n owns block n of the stream; sorted by image.
    fn drawn(&self, seed: u64, count: usize) -> Vec<PopulationFault> {
        let stream = rng::stream(seed, &format!("verify {}", self.mode.name()));
        let entries = self.entries();
        let all: usize = entries.iter().map(|[units, each]| units * each).sum();
        let draw = |n: usize| {
            let mut block = stream.block(n as u64);
            let image = block.below(self.experiment.goldens.len() as u64) as usize;
            let mut index = block.below(all as u64) as usize;
            let bit = block.below(BITS as u64) as usize;
            let detector = block.below(self.detectors.len() as u64) as usize;
            let mut place = 0;
            while place + 1 < entries.len() && index >= entries[place][0] * entries[place][1] {
                index -= entries[place][0] * entries[place][1];
                place += 1;
            }
            let each = entries[place][1].max(1);
            PopulationFault { image, place, unit: index / each, entry: index % each, bit, detector }
        };
        let mut drawn: Vec<PopulationFault> = (0..count).map(draw).collect();
        drawn.sort_by_key(|fault| fault.image);
        drawn
    }

    /// Whether the feature is what the last layer reads: where none is normalised.
    fn feature_is_input(&self) -> bool {
        self.tail.feature.node == self.tail.read
    }

    /// The fault as it is armed, in image `slot` of the batch: a flip where readers see one.
    fn spec(&self, fault: &PopulationFault, expected: &Expected, slot: usize) -> FaultSpec {
        let (tail, unit) = (&self.tail, fault.unit);
        let (layer, site) = match (self.mode, fault.place) {
            (Mode::Logits, 1) => (tail.after.as_ref().unwrap_or(&tail.last), Site::Output),
            (Mode::Logits, _) => (&tail.last, Site::Output),
            (Mode::Weights, _) => (&tail.last, Site::Weight),
            (Mode::Features, _) if self.feature_is_input() => (&tail.last, Site::Input),
            (Mode::Features, _) => (&tail.feature, Site::Output),
        };
        let each = self.entries()[fault.place][1];
        let mask = 1u32 << fault.bit;
        let Expected { before, seen, .. } = *expected;
        let is_flip = seen.to_bits() == before.to_bits() ^ mask;
        FaultSpec {
            layer: layer.name.clone(),
            site,
            image: slot,
            place: match site {
                Site::Weight => Place::Flat(unit * each + fault.entry),
                _ => Place::Index(vec![unit, 0, 0]),
            },
            k: 0,
            parameter: if fault.place == 0 { "weight".into() } else { "bias".into() },
            offset_bit: 0,
            model: if is_flip { FaultModel::Flip(mask) } else { FaultModel::Set(seen) },
            shape: Shape::Element,
            seed: 0,
        }
    }
}

impl CensusVerification {
    fn compare(
        &mut self,
        census: &CensusRunner<'_>,
        fault: &PopulationFault,
        expected: &Faulty,
        effect: &Effect,
    ) {
        self.checked += 1;
        let (fast, whole) = (expected.score.loss, effect.score.loss);
        let apart = (fast - whole).abs() / whole.abs().max(1.0);
        let same_loss = apart <= TOLERANCE || fast.is_nan() && whole.is_nan();
        self.largest = self.largest.max(apart);
        let same = expected.outcome == effect.outcome
            && expected.sdc5 == effect.sdc5
            && expected.score.top1 == effect.score.top1;
        if !(same && same_loss) {
            self.different.push(format!(
                "image {}, {} {} of place {}, entry {}, bit {}, detector {}: {} with loss {fast}, run whole \
                 {} with loss {whole}",
                census.experiment.goldens[fault.image].image,
                census.mode.unit(),
                fault.unit,
                fault.place,
                fault.entry,
                fault.bit,
                census.detectors[fault.detector].name(),
                expected.outcome.name(),
                effect.outcome.name(),
            ));
        }
    }
}
