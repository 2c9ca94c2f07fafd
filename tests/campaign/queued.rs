//! What a campaign asks of a device that runs kernels, counted: few bytes up and down, and no wait that isn't for them.

use std::collections::{BTreeMap, BTreeSet};

use flipside::campaign::{Campaign, Experiment, MemoryImages, Strategy};
use flipside::detector::Detector;
use flipside::device::{Device, WorkDone};
use flipside::fault::{FaultTable, Site};
use flipside::models::{Model, ModelFile, Network};
use flipside::nn::Head;
use flipside::ops::RunState;
use flipside::plan::{Labels, Plan};
use flipside::progress::Silent;
use flipside::rng::{self, Draw};

use crate::devices::device;

const SIDE: usize = 32;
const CLASSES: usize = 100;
/// Images of the one batch, and faults of a full round.
const IMAGES: usize = 32;
/// Of each layer.
const INJECTIONS: u64 = 64;

/// ResNet-50 on 32 images of 32 × 32.
struct Bench {
    network: Network,
    images: MemoryImages,
}

impl Bench {
    fn new(device: &Device) -> Bench {
        let file = ModelFile::open("resnet50").unwrap();
        let model = Model::new(&file, Head::Baseline, CLASSES, SIDE, 0.0).unwrap();
        let mut draws = rng::stream(1, "images");
        let count = IMAGES * model.image_elements();
        let pixels = (0..count).map(|_| draws.between(-2.0, 2.0) as f32).collect();
        let images = MemoryImages { pixels, labels: vec![0; IMAGES] };
        Bench { network: Network::random(model, 3, device).unwrap(), images }
    }

    fn experiment(&self) -> Experiment<'_> {
        let list: Vec<usize> = (0..IMAGES).collect();
        let Bench { network, images } = self;
        Experiment::evaluate(network, images, &list, Labels::Golden, IMAGES, &Silent).unwrap()
    }
}

/// What a campaign did.
struct Counted {
    /// Of all layers. A layer's are as many as the image has faults that the most of them hit.
    rounds: u64,
    /// Images of the batch: those that any fault hits.
    images: usize,
    work: WorkDone,
}

impl Counted {
    /// Of a campaign into these layers.
    fn of(experiment: &Experiment<'_>, site: Site, layers: &[&str]) -> Counted {
        let plan = Plan {
            site,
            layers: Some(layers.iter().map(|name| name.to_string()).collect()),
            detectors: vec![Detector::None],
            ..Plan::new(2, INJECTIONS)
        };
        let campaign = Campaign::new(experiment, plan).unwrap();
        assert_eq!(campaign.layers().len(), layers.len());
        let device = experiment.network.device();
        let before = device.work_done();
        let records = campaign.run(Strategy::Whole { batch: IMAGES }, &Silent).unwrap();
        let after = device.work_done();
        assert_eq!(records.len(), layers.len() * INJECTIONS as usize);
        let mut faults = BTreeMap::new();
        for record in &records {
            *faults.entry((record.layer, record.image)).or_insert(0u64) += 1;
        }
        let of_layer = |layer| {
            faults.iter().filter(|((of, _), _)| *of == layer).map(|(_, faults)| *faults).max()
        };
        let images: BTreeSet<usize> = records.iter().map(|record| record.image).collect();
        Counted {
            rounds: (0..layers.len()).filter_map(of_layer).sum(),
            images: images.len(),
            work: WorkDone {
                launches: after.launches - before.launches,
                replays: after.replays - before.replays,
                allocations: after.allocations - before.allocations,
                uploads: after.uploads - before.uploads,
                uploaded_bytes: after.uploaded_bytes - before.uploaded_bytes,
                downloads: after.downloads - before.downloads,
                downloaded_bytes: after.downloaded_bytes - before.downloaded_bytes,
                moves: after.moves - before.moves,
                waits: after.waits - before.waits,
            },
        }
    }

    /// Bytes of the batch's logits.
    fn logits(&self) -> u64 {
        (4 * self.images * CLASSES) as u64
    }

    /// Bytes of its pixels, its state, that of a batch of one, and the numbers of its images.
    fn batch(&self) -> u64 {
        (self.images * (4 * SIDE * SIDE * 3 + 8) + 2 * size_of::<RunState>()) as u64
    }
}

/// The golden values that a layer's faults hit are 4 bytes each, far below the 64 KiB that a round may take; a round of
/// faults in outputs is its table, a replay and the logits. Nothing is launched beside the graphs but the reading of
/// golden values.
#[test]
fn a_campaign_moves_no_more_than_its_faults_and_logits() {
    let bench = Bench::new(&device());
    let experiment = bench.experiment();
    let layers = ["layer4.2.conv3", "layer4.2.conv2", "layer4.2.conv1"];
    let counted = Counted::of(&experiment, Site::Output, &layers);
    let (rounds, layers) = (counted.rounds, layers.len() as u64);
    assert!(rounds >= 2 * layers && counted.images > 30, "{rounds} rounds");
    let table = FaultTable::byte_len(counted.images, 0) as u64;
    let expected = WorkDone {
        launches: layers,
        replays: 1 + rounds,
        uploads: 4 + layers + rounds,
        uploaded_bytes: counted.batch() + layers * INJECTIONS * (8 + 32) + rounds * table,
        downloads: 1 + layers + rounds,
        downloaded_bytes: layers * INJECTIONS * 4 + (1 + rounds) * counted.logits(),
        moves: 0,
        waits: layers + rounds,
        ..counted.work
    };
    assert_eq!(counted.work, expected);
}

/// Faults in weights: a round moves its hits up, hits, replays, puts back, and moves the logits down. Each image's copy of
/// a parameter is made once.
#[test]
fn a_campaign_of_faults_in_weights_waits_for_logits_alone() {
    let bench = Bench::new(&device());
    let experiment = bench.experiment();
    let layers = ["layer4.2.conv3.weight", "layer4.2.bn2.bias"];
    let counted = Counted::of(&experiment, Site::Weight, &layers);
    let (rounds, layers) = (counted.rounds, layers.len() as u64);
    let copies = counted.work.moves;
    assert!(copies > 30 && copies <= layers * counted.images as u64, "{copies} copies");
    let expected = WorkDone {
        launches: layers + 2 * rounds,
        replays: 1 + rounds,
        uploads: 4 + layers + rounds,
        uploaded_bytes: counted.batch() + layers * INJECTIONS * (8 + 24),
        downloads: 1 + layers + rounds,
        downloaded_bytes: layers * INJECTIONS * 4 + (1 + rounds) * counted.logits(),
        waits: layers + rounds,
        ..counted.work
    };
    assert_eq!(counted.work, expected);
}
