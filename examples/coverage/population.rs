//! Campaigns drawn out of a much larger one, so that their true figures are known.

use flipside::analysis::Weighting;
use flipside::campaign::{Campaign, Experiment, layers};
use flipside::detector::Detector;
use flipside::device::Device;
use flipside::models::{ModelFile, Network};
use flipside::nn::Head;
use flipside::plan::{Labels, Plan, Stratify};
use flipside::progress::Silent;
use flipside::recipe::{Recipe, Schedule};
use flipside::results::{Golden, Measure, Record, Run};
use flipside::rng::{self, Draw};
use flipside::study::Inputs;
use flipside::train::{Job, Source, Trainer};

const DETECTORS: [Detector; 2] = [Detector::None, Detector::Range];

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

    /// A campaign of `injections` into each of `layers`. Of two populations, campaigns of one seed have the
    /// same faults in layers of one name.
    pub fn sample(&self, seed: u64, layers: &[usize], injections: u64, stratify: Stratify) -> Run {
        let mut run = self.run.clone();
        run.manifest.plan = Plan { seed, injections: 0..injections, stratify, ..run.manifest.plan };
        for layer in layers {
            let all = &self.layers[*layer];
            let name = &run.manifest.layers[*layer].pair_key;
            let mut draws = rng::stream(seed, &format!("sample {name}"));
            for n in 0..injections {
                let at = match stratify {
                    Stratify::No => draws.below(all.len() as u64) as usize,
                    Stratify::Bit => {
                        let bit = &self.bits[*layer][n as usize % 32];
                        bit[draws.below(bit.len() as u64) as usize]
                    }
                };
                run.records.extend(all[at].map(|record| Record { n, ..record }));
            }
        }
        run
    }

    /// The mean of a measure over the whole population.
    pub fn truth(
        &self,
        layers: &[usize],
        weighting: Weighting,
        measure: Measure,
        detector: Detector,
    ) -> f64 {
        let side = usize::from(detector == Detector::Range);
        let (mut sum, mut total) = (0.0, 0.0);
        for layer in layers {
            let weight = weighting.of(&self.run.manifest.layers[*layer]);
            let values: Vec<f64> = self.layers[*layer]
                .iter()
                .map(|records| measure.of(&records[side]))
                .filter(|value| value.is_finite())
                .collect();
            sum += weight * values.iter().sum::<f64>() / values.len() as f64;
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
    let mut experiment = Experiment::evaluate(network, test, &list, Labels::Data, 50).unwrap();
    experiment.goldens.retain(Golden::is_eligible);
    let layers = layers::layers(&network.model);
    experiment.measure_ranges(&layers, &source, &all(&source)).unwrap();
    experiment
}
