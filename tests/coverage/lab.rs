//! A last layer whose every fault is known: what sampled campaigns are held against.
//!
//! Flips of a logit need no network: every logit × bit × image is judged once, and a campaign of any seed is
//! then a matter of looking up what its draws did. That these records are those of a campaign that is run
//! is checked by running some.

use flipside::campaign::draw::{Drawn, Draws, Space};
use flipside::campaign::{Campaign, Experiment, Strategy, layers};
use flipside::detector::Detector;
use flipside::fault::Site;
use flipside::plan::Plan;
use flipside::progress::Silent;
use flipside::results::{Effect, Golden, HitElement, Measure, Record, Run, Values};

const BITS: usize = 32;

/// A baseline's last layer over some images, and what each of its faults does.
pub struct Lab {
    goldens: Vec<Golden>,
    /// A campaign of no injection to speak of: where sampled ones get their manifest.
    template: Run,
    layer: layers::Layer,
    /// By detector, image, class and bit.
    effects: [Vec<Fault>; 2],
}

/// What one fault does.
#[derive(Clone, Copy)]
struct Fault {
    values: Values,
    effect: Effect,
}

const DETECTORS: [Detector; 2] = [Detector::None, Detector::Range];

impl Lab {
    /// Judges every fault of the last layer of a network whose logits are that layer's, in the images of the
    /// experiment; and runs `checked` injections to compare.
    pub fn new(mut experiment: Experiment<'_>, checked: u64) -> Lab {
        let model = &experiment.network.model;
        let layer = layers::layers(model).pop().unwrap();
        assert_eq!(layer.node, model.logits, "the logits are the last layer's");
        let max = experiment.ranges.of(&layer).unwrap();
        let effects = DETECTORS.map(|detector| every_fault(&experiment.goldens, detector, max));
        let plan = Plan { layers: Some(vec![layer.name.clone()]), ..Plan::new(0, checked) };
        experiment.provenance.model = "lab".into();
        let campaign = Campaign::new(&experiment, plan).unwrap();
        let records = campaign.run(Strategy::Boxes, &Silent).unwrap();
        let template = campaign.results(records);
        let lab = Lab { goldens: experiment.goldens, template, layer, effects };
        let looked_up = lab.sample(&lab.template.manifest.plan);
        // By their text, in which NaN equals NaN.
        let text = |run: &Run| run.records.iter().map(|r| format!("{r:?}")).collect::<Vec<_>>();
        assert_eq!(text(&looked_up), text(&lab.template), "looked up and run");
        lab
    }

    /// Images, and classes.
    pub fn size(&self) -> [usize; 2] {
        [self.goldens.len(), self.layer.map.channels]
    }

    /// The plan of a sampled campaign.
    pub fn plan(&self, seed: u64, injections: u64) -> Plan {
        Plan { layers: self.template.manifest.plan.layers.clone(), ..Plan::new(seed, injections) }
    }

    /// What a sampled campaign gives.
    pub fn sample(&self, plan: &Plan) -> Run {
        let mut run = self.template.clone();
        run.manifest.plan = plan.clone();
        let injections = plan.numbers(&self.layer.pair_key).count();
        let records = plan.detectors.len() * injections;
        run.records = self.sequence(plan).take(records).collect();
        run
    }

    /// The records of a campaign that goes on for ever, number by number, under the
    /// detectors of `plan`.
    pub fn sequence(&self, plan: &Plan) -> impl Iterator<Item = Record> + '_ {
        let space = Space::of_map(self.layer.map);
        let draws = Draws::new(plan, &self.layer.pair_key, space, self.goldens.len());
        let detectors = plan.detectors.clone();
        (0..).flat_map(move |n| {
            let fault = draws.get(n);
            let of = |detector: &Detector| self.record(n, *detector, &fault);
            detectors.iter().map(of).collect::<Vec<Record>>()
        })
    }

    fn record(&self, n: u64, detector: Detector, fault: &Drawn) -> Record {
        let (golden, hit) = (&self.goldens[fault.image], fault.hits[0]);
        let at = (fault.image * self.layer.map.channels + hit.element as usize) * BITS
            + hit.mask.trailing_zeros() as usize;
        let Fault { values, effect } = self.effects(detector)[at];
        let (element, mask) = (hit.element, hit.mask);
        Record {
            layer: 0,
            n,
            detector,
            site: Site::Output,
            image: golden.image,
            flips: 1,
            place: Some(HitElement { element, k: 0, mask, values: Some(values) }),
            golden: golden.score,
            effect,
        }
    }

    fn effects(&self, detector: Detector) -> &[Fault] {
        &self.effects[usize::from(detector == Detector::Range)]
    }

    /// The mean of a measure over every fault; of ΔLoss, over those whose answer is finite.
    pub fn exact(&self, measure: Measure, detector: Detector) -> f64 {
        let faults = self.effects(detector);
        let of_image = self.layer.map.channels * BITS;
        let template = self.template.records[0];
        let values: Vec<f64> = faults
            .iter()
            .enumerate()
            .map(|(at, fault)| {
                let golden = self.goldens[at / of_image].score;
                measure.of(&Record { golden, effect: fault.effect, ..template })
            })
            .filter(|value| value.is_finite())
            .collect();
        values.iter().sum::<f64>() / values.len() as f64
    }
}

fn every_fault(goldens: &[Golden], detector: Detector, max: f32) -> Vec<Fault> {
    let mut faults = Vec::new();
    for golden in goldens {
        let mut logits = golden.logits.clone();
        for class in 0..logits.len() {
            let before = golden.logits[class].to_bits();
            for bit in 0..BITS {
                let after = before ^ (1 << bit);
                let seen = detector.see(f32::from_bits(after), max).to_bits();
                logits[class] = f32::from_bits(seen);
                let effect = Effect::of(golden, &logits);
                faults.push(Fault { values: Values { before, after, seen }, effect });
            }
            logits[class] = golden.logits[class];
        }
    }
    faults
}
