//! Campaigns drawn out of a much larger one, so that their true figures are known.

use flipside::analysis::{PILOT, Weighting, allocate};
use flipside::campaign::{Campaign, Experiment, layers, pilot_seed};
use flipside::detector::Detector;
use flipside::device::Device;
use flipside::models::{ModelFile, Network};
use flipside::nn::Head;
use flipside::plan::{Labels, Plan, Stratify};
use flipside::progress::Silent;
use flipside::recipe::{Recipe, Schedule};
use flipside::results::{Golden, Measure, Record, Run};
use flipside::rng::{self, Draw};
use flipside::statistics::Tally;
use flipside::study::Inputs;
use flipside::train::{Job, Source, Trainer};

const DETECTORS: [Detector; 2] = [Detector::None, Detector::Range];

/// How a campaign draws bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Drawing {
    Uniform,
    BitsInTurn,
    /// As many of each layer and bit as a pilot, another one for each campaign, calls for.
    Allocated,
}

impl Drawing {
    /// Those that there are for a number of injections a layer.
    pub fn of(injections: u64) -> Vec<Drawing> {
        let mut all = vec![Drawing::Uniform, Drawing::BitsInTurn];
        if injections >= PILOT {
            all.push(Drawing::Allocated);
        }
        all
    }

    pub fn words(self) -> &'static str {
        match self {
            Drawing::Uniform => "",
            Drawing::BitsInTurn => ", bits as strata",
            Drawing::Allocated => ", allocated",
        }
    }
}

/// The injections of a large campaign, of which others draw theirs with replacement.
pub struct Population {
    run: Run,
    /// Of each layer and injection, its records under each detector.
    layers: Vec<Vec<[Record; 2]>>,
    /// Of each layer and bit, which injections flipped it.
    bits: Vec<[Vec<usize>; 32]>,
}

impl Population {
    /// Runs `injections` a layer. Populations of one seed and size have the same faults in the layers in
    /// common.
    pub fn new(experiment: &Experiment<'_>, seed: u64, injections: u64) -> Population {
        let plan = Plan { detectors: DETECTORS.to_vec(), ..Plan::new(seed, injections) };
        let campaign = Campaign::new(experiment, plan).unwrap();
        let records = campaign.run(campaign.best_strategy(), &Silent).unwrap();
        let mut run = campaign.results(records);
        let of = |layer| {
            let both = DETECTORS.map(|detector| run.of(layer, detector).collect::<Vec<_>>());
            both[0].iter().zip(&both[1]).map(|(a, b)| [**a, **b]).collect::<Vec<_>>()
        };
        let layers: Vec<_> = (0..run.manifest.layers.len()).map(of).collect();
        run.records.clear();
        let bits = layers.iter().map(|layer| {
            let mut bits: [Vec<usize>; 32] = Default::default();
            for (at, [record, _]) in layer.iter().enumerate() {
                bits[record.mask().unwrap().trailing_zeros() as usize].push(at);
            }
            bits
        });
        Population { bits: bits.collect(), layers, run }
    }

    /// The layers' names.
    pub fn names(&self) -> Vec<&str> {
        self.run.manifest.layers.iter().map(|layer| layer.name.as_str()).collect()
    }

    /// A campaign of `injections` into each of `layers`, or into all on average. Of two populations, campaigns of one
    /// seed have the same faults in layers of one name.
    pub fn sample(&self, seed: u64, layers: &[usize], injections: u64, drawing: Drawing) -> Run {
        let mut run = self.run.clone();
        let stratify = match drawing {
            Drawing::Uniform => Stratify::No,
            Drawing::BitsInTurn => Stratify::Bit,
            Drawing::Allocated => {
                let all: Vec<usize> = (0..self.layers.len()).collect();
                let pilot = self.sample(pilot_seed(seed), &all, PILOT, Drawing::BitsInTurn);
                Stratify::Allocated(allocate(&pilot, injections).unwrap())
            }
        };
        run.manifest.plan = Plan { seed, injections: 0..injections, stratify, ..run.manifest.plan };
        for layer in layers {
            let all = &self.layers[*layer];
            let name = &run.manifest.layers[*layer].pair_key;
            let mut draws = rng::stream(seed, &format!("sample {name}"));
            let mut of_bit = |bit: usize| {
                let of_bit = &self.bits[*layer][bit];
                of_bit[draws.below(of_bit.len() as u64) as usize]
            };
            let drawn: Vec<usize> = match &run.manifest.plan.stratify {
                Stratify::No => {
                    (0..injections).map(|_| draws.below(all.len() as u64) as usize).collect()
                }
                Stratify::Bit => (0..injections).map(|n| of_bit(n as usize % 32)).collect(),
                Stratify::Allocated(allocation) => {
                    let bits = allocation.layers[name].iter().enumerate();
                    bits.flat_map(|(bit, count)| (0..*count).map(move |_| bit))
                        .map(of_bit)
                        .collect()
                }
            };
            for (n, at) in (0..).zip(drawn) {
                run.records.extend(all[at].map(|record| Record { n, ..record }));
            }
        }
        run
    }

    /// The mean of a measure over the whole population. Bits, of which it drew some a little more often than others,
    /// count alike where campaigns are drawn by allocation, whose intervals are narrow enough for that to show.
    pub fn truth(
        &self,
        layers: &[usize],
        weighting: Weighting,
        measure: Measure,
        detector: Detector,
        drawing: Drawing,
    ) -> f64 {
        let side = usize::from(detector == Detector::Range);
        let (mut sum, mut total) = (0.0, 0.0);
        for layer in layers {
            let weight = weighting.of(&self.run.manifest.layers[*layer]);
            let mut tally = Tally::default();
            for of_bit in &self.bits[*layer] {
                let share = match drawing {
                    Drawing::Allocated => 1.0 / of_bit.len() as f64,
                    _ => 1.0,
                };
                let values = of_bit.iter().map(|at| measure.of(&self.layers[*layer][*at][side]));
                values.filter(|value| value.is_finite()).for_each(|value| tally.push(value, share));
            }
            sum += weight * tally.mean();
            total += weight;
        }
        sum / total
    }
}

/// A baseline, trained for so many epochs.
pub fn trained(inputs: &Inputs, seed: u64, epochs: usize) -> Network {
    let recipe = Recipe {
        momentum: 0.9,
        weight_decay: 5e-4,
        warmup_epochs: 1,
        ..Recipe::new(epochs, 64, 0.1, Schedule::Cosine { minimum: 0.0 })
    };
    let job = Job {
        file: ModelFile::open("resnet_small").unwrap(),
        head: Head::Baseline,
        recipe,
        seed,
        start: "baseline".into(),
        train: inputs.train.clone(),
        validation: None,
        workers: 2,
        output: None,
        freeze: Vec::new(),
        faults: Vec::new(),
    };
    let mut trainer = Trainer::new(job, &Device::cpu()).unwrap();
    trainer.run(&Silent).unwrap();
    trainer.into_network()
}

/// The network on the test images that it gets right, with the ranges of its layers.
pub fn experiment<'n>(network: &'n Network, inputs: &'n Inputs) -> Experiment<'n> {
    let source = Source { dataset: inputs.train.dataset.clone(), transform: inputs.test.transform };
    let all = |source: &Source| (0..source.dataset.len()).collect::<Vec<usize>>();
    let (test, list) = (&inputs.test, all(&inputs.test));
    let mut experiment =
        Experiment::evaluate(network, test, &list, Labels::Data, 50, &Silent).unwrap();
    experiment.goldens.retain(Golden::is_eligible);
    let layers = layers::layers(&network.model);
    experiment.measure_ranges(&layers, &source, &all(&source), &Silent).unwrap();
    experiment
}
