//! How often intervals hold the truth, where the truth is known: the last layer of a small network, every
//! fault of which is judged once.
//!
//!     cargo run --release --example coverage
//!
//! trains resnet_small on the built-in images for some seconds and prints, for seeds 0, 1, 2, …, how many of
//! so many intervals hold the exhaustive figure. The standard error of a coverage of 95 % is 1.1 points over
//! 400 campaigns and 1.5 over 200.

mod inner;
mod population;

use flipside::analysis::compare::Pairing;
use flipside::campaign::{Experiment, layers};
use flipside::device::Device;
use flipside::models::{ModelFile, Network};
use flipside::nn::Head;
use flipside::plan::{Labels, Stratify};
use flipside::progress::Silent;
use flipside::recipe::{Recipe, Schedule};
use flipside::results::Golden;
use flipside::study::Inputs;
use flipside::train::{Job, Source, Trainer};

use population::Population;

fn main() {
    let inputs =
        Inputs::builtin(&ModelFile::open("resnet_small").unwrap(), 1, [2000, 400]).unwrap();
    let networks = [1, 2].map(|seed| trained(&inputs, seed));
    let mut experiments = networks.each_ref().map(|network| experiment(network, &inputs));
    // Images that both get right, so that their campaigns are of the same.
    let [a, b] =
        experiments.each_ref().map(|e| e.goldens.iter().map(|g| g.image).collect::<Vec<_>>());
    for experiment in &mut experiments {
        experiment.goldens.retain(|golden| a.contains(&golden.image) && b.contains(&golden.image));
    }
    println!(
        "resnet_small on built-in images, two trainings: {} images that both get right",
        experiments[0].goldens.len()
    );
    let populations =
        experiments.each_ref().map(|experiment| Population::new(experiment, 5, 60_000));
    let layers = [0, 3, 7, 9];
    let of = 1000;
    let mut all = Vec::new();
    println!(
        "\n| figure | injections a layer | truth | printed % | coverage % | above | below | width / truth |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for injections in [50, 200, 1000] {
        let mut rows = Vec::new();
        for stratify in [Stratify::No, Stratify::Bit] {
            rows.extend(inner::of_layers(&populations[0], &layers, injections, stratify, of));
        }
        rows.extend(inner::of_networks(&populations[0], injections, of));
        for pairing in [Pairing::Unpaired, Pairing::Paired] {
            rows.extend(inner::of_pairs(populations.each_ref(), pairing, injections, of));
        }
        rows.iter().for_each(|row| println!("{}", row.line()));
        all.extend(rows);
    }
    println!("\n| kind of figure | injections a layer | coverage % |\n|---|---|---|");
    inner::summary(&all).iter().for_each(|line| println!("{line}"));
}

/// A baseline, trained until it gets most of the images right.
fn trained(inputs: &Inputs, seed: u64) -> Network {
    let recipe = Recipe {
        momentum: 0.9,
        weight_decay: 5e-4,
        warmup_epochs: 1,
        ..Recipe::new(5, 64, 0.1, Schedule::Cosine { minimum: 0.0 })
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
fn experiment<'n>(network: &'n Network, inputs: &'n Inputs) -> Experiment<'n> {
    let source = Source { dataset: inputs.train.dataset.clone(), transform: inputs.test.transform };
    let all = |source: &Source| (0..source.dataset.len()).collect::<Vec<usize>>();
    let (test, list) = (&inputs.test, all(&inputs.test));
    let mut experiment = Experiment::evaluate(network, test, &list, Labels::Data, 50).unwrap();
    experiment.goldens.retain(Golden::is_eligible);
    let layers = layers::layers(&network.model);
    experiment.measure_ranges(&layers, &source, &all(&source)).unwrap();
    experiment
}
