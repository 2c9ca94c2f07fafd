//! Injection campaigns on a tiny network: faults, records, replays, stores and comparisons.

use std::fs;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use flipside::Error;
use flipside::analysis::compare::{Reason, Verdict, compare};
use flipside::analysis::{Intervals, Scope, Weighting, select};
use flipside::campaign::draw::{Draws, Space};
use flipside::campaign::layers::{LAST_LAYER, layers};
use flipside::campaign::{Campaign, Experiment, MemoryImages, Ranges, Strategy};
use flipside::detector::Detector;
use flipside::device::Device;
use flipside::fault::{FaultEntry, FaultTable};
use flipside::logits::hash as hash_logits;
use flipside::models::{Model, ModelFile, Network};
use flipside::nn::Head;
use flipside::number::BitMasks;
use flipside::plan::{Labels, Plan};
use flipside::progress::{Progress, Silent};
use flipside::results::{Measure, Outcome, Part, Provenance, Record, Run};
use flipside::rng::{self, Draw};
use flipside::statistics::Estimate;
use flipside::tape::{PlanKind, Undo};

use crate::devices::device;

mod allocation;
mod arranged;
mod bits;
mod comparing;
mod configured;
mod counted;
mod figures;
mod kinds;
mod lists;
mod measures;
mod page;
mod partial;
mod pictures;
mod plan;
mod process;
mod queued;
mod ranges;
pub mod reading;
mod readings;
mod requirements;
mod resuming;
mod rounds;
mod scale;
mod screens;
mod store;
mod verdicts;
mod worst;

pub(super) const TINY: &str = r#"
family = "resnet"

[architecture]
block = "basic"
stages = [1, 1]
widths = [4, 8]
stem = "small"

[input]
size = 16
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]

[recipe]
epochs = 1
batch = 8
learning_rate = 0.1
schedule = { kind = "cosine" }
"#;

const GUIDED: Head = Head::text_guided(12);

/// A tiny network with random weights, random images, and its fault-free answers.
struct Bench {
    /// Its network and images live as long as the process.
    experiment: Experiment<'static>,
    pixels: &'static [f32],
}

impl Deref for Bench {
    type Target = Experiment<'static>;

    fn deref(&self) -> &Experiment<'static> {
        &self.experiment
    }
}

/// A network of a model file for images of 16×16, with random weights.
fn network(model: &str, head: Head, seed: u64, device: &Device) -> Network {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.toml");
    fs::write(&path, model).unwrap();
    let file = ModelFile::open(path.to_str().unwrap()).unwrap();
    Network::random(Model::new(&file, head, 7, 16, 0.0).unwrap(), seed, device).unwrap()
}

fn images(labels: Vec<u32>) -> MemoryImages {
    let mut draws = rng::stream(1, "images");
    let pixels = (0..9 * 16 * 16 * 3).map(|_| draws.between(-2.0, 2.0) as f32).collect();
    MemoryImages { pixels, labels }
}

impl Bench {
    fn new(head: Head) -> Bench {
        Bench::on(head, &Device::cpu())
    }

    fn on(head: Head, device: &Device) -> Bench {
        Bench::of(TINY, head, device)
    }

    /// Of a model file for images of 16×16.
    fn of(model: &str, head: Head, device: &Device) -> Bench {
        let network = Box::leak(Box::new(network(model, head, 3, device)));
        let images = Box::leak(Box::new(images((0..9).map(|i| i % 7).collect())));
        let list = [0, 1, 3, 4, 5, 6, 8];
        let mut experiment =
            Experiment::evaluate(network, images, &list, Labels::Data, 4, &Silent).unwrap();
        let all: Vec<usize> = (0..9).collect();
        experiment.measure_ranges(&layers(&network.model), images, &all, &Silent).unwrap();
        experiment.provenance = Provenance {
            model: "tiny".into(),
            checkpoint: "abc".into(),
            data: "random".into(),
            skipped: Vec::new(),
            evaluated: 9,
            right: 7,
            top2diff: Some(20.0),
        };
        Bench { experiment, pixels: &images.pixels }
    }

    fn campaign(&self, plan: Plan) -> Campaign<'_> {
        Campaign::new(&self.experiment, plan).unwrap()
    }

    fn records(&self, plan: Plan) -> Vec<Record> {
        let campaign = self.campaign(plan);
        campaign.run(campaign.best_strategy(), &Silent).unwrap()
    }

    fn run(&self, plan: Plan) -> Run {
        let campaign = self.campaign(plan);
        let records = campaign.run(Strategy::Boxes, &Silent).unwrap();
        campaign.results(records)
    }
}

/// Labels that aren't classes are refused, unless nobody asks for them.
#[test]
fn images_of_other_classes_are_held_against_the_fault_free_answer() {
    let (network, images) = (network(TINY, Head::Baseline, 3, &Device::cpu()), images(vec![99; 9]));
    let evaluate = |labels| Experiment::evaluate(&network, &images, &[2, 5], labels, 2, &Silent);
    let error = evaluate(Labels::Data).err().unwrap().to_string();
    assert!(error.contains("image 2 has label 99") && error.contains("7 classes"), "{error}");
    let goldens = evaluate(Labels::Golden).unwrap().goldens;
    assert!(goldens.iter().all(|golden| golden.is_right() && golden.label < 7));
}

/// Records compare by their text, in which NaN equals NaN.
fn text(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| format!("{record:?}")).collect()
}

#[test]
fn layers_are_keyed_for_pairing() {
    let keys = |head| -> Vec<(String, Part)> {
        let layers = layers(&Bench::new(head).network.model);
        layers.into_iter().map(|layer| (layer.pair_key, layer.part)).collect()
    };
    let (baseline, guided) = (keys(Head::Baseline), keys(GUIDED));
    let convolutions = baseline.len() - 1;
    assert_eq!(convolutions, 6);
    assert_eq!(baseline[..convolutions], guided[..convolutions]);
    assert_eq!(baseline[convolutions], (LAST_LAYER.to_string(), Part::LastLayer));
    assert_eq!(
        guided[convolutions..],
        [
            ("backbone-fc".to_string(), Part::Embedding),
            (LAST_LAYER.to_string(), Part::LastLayer),
            (LAST_LAYER.to_string(), Part::AfterScale),
        ]
    );
}

#[test]
fn two_models_get_the_same_faults() {
    let plan = Plan { detectors: vec![Detector::None], ..Plan::new(7, 25) };
    let (a, b) = (Bench::new(Head::Baseline), Bench::new(GUIDED));
    let (a_records, b_records) = (a.records(plan.clone()), b.records(plan.clone()));
    let place = |r: &Record| (r.n, r.image, r.place.map(|place| (place.element, place.mask)));
    let (a, b) = (a.campaign(plan.clone()), b.campaign(plan));
    for (i, layer) in a.layers().iter().enumerate() {
        let faults: Vec<_> = a_records.iter().filter(|r| r.layer == i).map(place).collect();
        let mut twins = 0;
        for (j, twin) in b.layers().iter().enumerate() {
            if twin.pair_key == layer.pair_key {
                let other = b_records.iter().filter(|r| r.layer == j).map(place);
                assert!(faults.iter().copied().eq(other), "{}", twin.name);
                twins += 1;
            }
        }
        // Before and after the scale.
        assert_eq!(twins, if layer.part == Part::LastLayer { 2 } else { 1 });
    }
}

#[test]
fn no_flips_are_all_masked() {
    for head in [Head::Baseline, GUIDED] {
        let records = Bench::new(head).records(Plan { bits: 0, ..Plan::new(1, 20) });
        assert!(records.iter().all(|r| r.effect.outcome == Outcome::Masked && r.mask() == Some(0)));
        let values = |r: &Record| r.values().unwrap();
        assert!(
            records.iter().all(|r| r.delta_loss() == 0.0 && values(r).before == values(r).seen)
        );
    }
}

#[test]
fn records_say_what_was_done() {
    for (head, bits) in [(Head::Baseline, 1), (GUIDED, 3)] {
        let bench = Bench::new(head);
        let plan = Plan { bits, ..Plan::new(5, 60) };
        let records = bench.records(plan.clone());
        let campaign = bench.campaign(plan.clone());
        assert_eq!(records.len(), campaign.layers().len() * 60 * 2);
        for (index, layer) in campaign.layers().iter().enumerate() {
            let space = Space::of_map(layer.map);
            let draws = Draws::new(&plan, &layer.pair_key, space, bench.goldens.len());
            let max = bench.ranges.of(layer).unwrap();
            let of_layer: Vec<&Record> = records.iter().filter(|r| r.layer == index).collect();
            let mut changed = 0;
            for (i, r) in of_layer.iter().enumerate() {
                assert_eq!((r.n, r.detector), (i as u64 / 2, plan.detectors[i % 2]));
                let fault = draws.get(r.n);
                assert_eq!(bench.goldens[fault.image].image, r.image);
                let [hit] = fault.hits[..] else { panic!("{fault:?}") };
                let (place, values) = (r.place.unwrap(), r.values().unwrap());
                assert_eq!((r.flips, place.element, place.mask), (1, hit.element, hit.mask));
                assert_eq!(values.after, values.before ^ hit.mask);
                let (after, seen) = (f32::from_bits(values.after), f32::from_bits(values.seen));
                let outside = after.is_nan() || after.abs() > max;
                if r.detector == Detector::Range && outside {
                    assert_eq!(seen.abs(), max);
                } else {
                    assert_eq!(values.seen, values.after);
                }
                changed += usize::from(r.effect.outcome != Outcome::Masked);
            }
            // A sign or exponent bit reaches the logits from anywhere, past a ReLU often enough.
            assert!(changed > 10, "{}: {changed} of {}", layer.name, of_layer.len());
        }
    }
}

#[test]
fn threads_strategies_and_batches_change_nothing() {
    let bench = Bench::new(GUIDED);
    let campaign = bench.campaign(Plan::new(2, 30));
    let on = |threads: usize, strategy| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        text(&pool.install(|| campaign.run(strategy, &Silent).unwrap()))
    };
    let reference = on(1, Strategy::Boxes);
    assert_eq!(reference, on(2, Strategy::Boxes));
    assert_eq!(reference, on(4, Strategy::Boxes));
    assert_eq!(reference, on(1, Strategy::Whole { batch: 1 }));
    assert_eq!(reference, on(2, Strategy::Whole { batch: 3 }));
    assert_eq!(reference, on(2, Strategy::Whole { batch: 64 }));
}

/// Records of the CPU, of launches one by one and of graphs, which do nothing in their loop but move a
/// fault table up and the logits down.
#[test]
fn graphs_change_nothing_and_leave_nothing_to_do() {
    let device = device();
    let (native, bench) = (Bench::new(GUIDED), Bench::on(GUIDED, &device));
    let strategy = Strategy::Whole { batch: 4 };
    let run = |bench: &Bench, graphs: bool, injections: u64| {
        let mut campaign = bench.campaign(Plan::new(2, injections));
        campaign.graphs = graphs;
        let before = device.work_done();
        let records = text(&campaign.run(strategy, &Silent).unwrap());
        (records, before, device.work_done())
    };
    let (expected, ..) = run(&native, true, 12);
    let (alone, ..) = run(&bench, false, 12);
    let (graphed, ..) = run(&bench, true, 12);
    assert_eq!(alone, expected);
    assert_eq!(graphed, expected);

    // Twice the injections, so more rounds: nothing else grows.
    let [few, many] = [20, 40].map(|injections| {
        let (_, before, after) = run(&bench, true, injections);
        let rounds = after.replays - before.replays;
        let others = [
            after.launches - before.launches,
            after.allocations - before.allocations,
            after.moves - before.moves,
            after.waits - before.waits - rounds,
            after.uploads - before.uploads - rounds,
            after.downloads - before.downloads - rounds,
        ];
        (rounds, others)
    });
    assert!(many.0 > few.0 + 50, "{} and {} replays", few.0, many.0);
    assert_eq!(few.1, many.1);
}

/// Adds up what it is told.
#[derive(Default)]
struct Count {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress for Count {
    fn begin(&self, _: &str, _: &'static str, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }
    fn advance(&self, items: u64, _: &str) {
        self.done.fetch_add(items, Ordering::Relaxed);
    }
    fn end(&self) {}
    fn line(&self, _: &str) {}
}

#[test]
fn progress_ends_at_the_total() {
    let bench = Bench::new(Head::Baseline);
    let campaign = bench.campaign(Plan::new(2, 10));
    for strategy in [Strategy::Boxes, Strategy::Whole { batch: 4 }] {
        let count = Count::default();
        campaign.run(strategy, &count).unwrap();
        assert_eq!((count.done.into_inner(), count.total.into_inner()), (70, 70));
    }
}

#[test]
fn whole_runs_verify_records() {
    let bench = Bench::new(GUIDED);
    let campaign = bench.campaign(Plan { bits: 2, ..Plan::new(11, 12) });
    let mut records = campaign.run(Strategy::Boxes, &Silent).unwrap();
    let verification = campaign.verify(&records, records.len()).unwrap();
    assert_eq!(verification.checked, records.len());
    assert!(verification.different.is_empty(), "{:?}", verification.different);
    records.iter_mut().for_each(|record| record.effect.hash ^= 1);
    assert_eq!(campaign.verify(&records, 5).unwrap().different.len(), 5);
}

/// Every layer, bits of mantissa, exponent and sign, a fault of its own in each of three images:
/// both replays give the bits of a whole run.
#[test]
fn replays_equal_whole_runs() {
    for head in [Head::Baseline, GUIDED] {
        let bench = Bench::new(head);
        let Network { model, weights } = bench.network;
        let pixels = &bench.pixels[..3 * 16 * 16 * 3];
        let fresh = |kind| {
            let mut e = bench.network.execution(kind, 3, &[model.logits]).unwrap();
            e.begin(3).unwrap();
            e.write(model.image, pixels).unwrap();
            e
        };
        let mut golden = fresh(PlanKind::Golden);
        golden.forward(weights).unwrap();
        let clean = golden.read(model.logits).unwrap();
        let mut whole_nodes = fresh(PlanKind::Golden);
        whole_nodes.forward(weights).unwrap();
        let mut infer = fresh(PlanKind::Infer);
        let mut undo = Undo::default();
        let mut draws = rng::stream(4, "places");
        for layer in layers(model) {
            for bit in [0, 12, 22, 23, 27, 30, 31] {
                let faults: Vec<(usize, FaultEntry)> = (0..3)
                    .map(|image| {
                        let at = draws.below(layer.neurons()) as usize;
                        (image, FaultEntry::output(at, BitMasks::flip(1 << bit)))
                    })
                    .collect();
                let table = FaultTable::new(&layer.name, 3, layer.map, &faults).unwrap();
                for execution in [&mut infer, &mut whole_nodes, &mut golden] {
                    execution.arm(layer.node, table.clone()).unwrap();
                }
                infer.write(model.image, pixels).unwrap();
                infer.forward(weights).unwrap();
                whole_nodes.replay_from(weights, layer.node).unwrap();
                let expected = infer.read(model.logits).unwrap();
                let nodes = whole_nodes.read(model.logits).unwrap();
                for image in 0..3 {
                    let outputs = [model.logits];
                    golden.replay_image(weights, layer.node, image, &outputs, &mut undo).unwrap();
                    let part = image * 7..(image + 1) * 7;
                    let hash = hash_logits(&expected[part.clone()]);
                    let (name, boxes) = (&layer.name, golden.image_values(model.logits, image));
                    assert_eq!(hash_logits(boxes), hash, "boxes: {name} bit {bit}");
                    assert_eq!(hash_logits(&nodes[part]), hash, "nodes: {name} bit {bit}");
                    golden.restore(&mut undo);
                }
                for execution in [&mut infer, &mut whole_nodes, &mut golden] {
                    execution.disarm();
                }
            }
        }
        assert_eq!(golden.read(model.logits).unwrap(), clean);
    }
}

#[test]
fn an_injection_alone_is_the_same() {
    let bench = Bench::new(GUIDED);
    let whole = bench.records(Plan::new(3, 20));
    let name = &layers(&bench.network.model)[2].name;
    let part = Plan {
        injections: 13..14,
        layers: Some(vec![name.trim_start_matches("backbone.").into()]),
        ..Plan::new(3, 20)
    };
    let alone = bench.records(part);
    let expected: Vec<Record> = whole
        .into_iter()
        .filter(|record| record.layer == 2 && record.n == 13)
        .map(|record| Record { layer: 0, ..record })
        .collect();
    assert_eq!(text(&alone), text(&expected));
    assert_eq!(alone.len(), 2);
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let bench = Bench::new(Head::Baseline);
    let refused = |plan: Plan, ranges: &Ranges, part: &str| {
        let experiment = Experiment { ranges: ranges.clone(), ..bench.clone() };
        let error = Campaign::new(&experiment, plan).err().unwrap();
        assert!(
            matches!(error, Error::Usage { .. }) && error.to_string().contains(part),
            "{error}"
        );
    };
    let plan = Plan::new(1, 4);
    refused(Plan { bits: 5, ..plan.clone() }, &bench.ranges, "4 bits");
    refused(Plan::new(1, 0), &bench.ranges, "at least one injection");
    refused(Plan { detectors: vec![], ..plan.clone() }, &bench.ranges, "one detector");
    refused(Plan { layers: Some(vec!["conv9".into()]), ..plan.clone() }, &bench.ranges, "layer1.0");
    refused(plan, &Ranges::default(), "no maximum for layer 'conv1'");
}

/// Answers of other weights are noticed before anything is injected.
#[test]
fn golden_runs_are_checked() {
    let other = network(TINY, Head::Baseline, 4, &Device::cpu());
    let experiment = Experiment { network: &other, ..Bench::new(Head::Baseline).experiment };
    let campaign = Campaign::new(&experiment, Plan::new(1, 4)).unwrap();
    for strategy in [Strategy::Boxes, Strategy::Whole { batch: 2 }] {
        let error = campaign.run(strategy, &Silent).unwrap_err();
        assert!(error.to_string().contains("differ from the evaluation's"), "{error}");
    }
}

#[test]
fn a_run_against_itself_is_exactly_one() {
    for head in [Head::Baseline, GUIDED] {
        let run = Bench::new(head).run(Plan::new(8, 40));
        let comparison = compare(&run, &run).unwrap();
        let last = [comparison.last_layer, comparison.last_layer_before_scale];
        let overall = comparison.overall.iter().map(|overall| overall.improvement);
        assert_eq!(comparison.overall.len(), 6);
        for improvement in last.into_iter().flatten().chain(overall) {
            let ratio = improvement.ratio;
            assert_eq!((ratio.value, ratio.low, ratio.high), (1.0, 1.0, 1.0));
            assert_eq!(improvement.verdict, Verdict::None(Reason::FewImages));
            assert!(improvement.baseline > 0.0);
        }
        let zero = |e: Estimate| (e.value, e.low, e.high) == (0.0, 0.0, 0.0);
        assert!(zero(comparison.top2diff.injected));
        assert!(comparison.rates.iter().all(|rate| zero(rate.difference)));
    }
}

/// The figures of a comparison, against sums over the records.
#[test]
fn two_heads_are_compared() {
    let (a, b) = (Bench::new(Head::Baseline), Bench::new(GUIDED));
    let (a, b) = (a.run(Plan::new(8, 400)), b.run(Plan::new(8, 400)));
    let comparison = compare(&a, &b).unwrap();
    let mean = |run: &Run, layer: usize| {
        let losses: Vec<f64> = run
            .of(layer, Detector::Range)
            .map(Record::delta_loss)
            .filter(|loss| loss.is_finite())
            .collect();
        losses.iter().sum::<f64>() / losses.len() as f64
    };
    let near = |x: f64, y: f64| assert!((x - y).abs() < 1e-9 * y.abs(), "{x} {y}");
    // Baseline: six convolutions and fc. Text-guided: the same, fc, head, after the scale.
    let (after, before) = (mean(&b, 8), mean(&b, 7));
    near(comparison.last_layer.unwrap().ratio.value, mean(&a, 6) / after);
    near(comparison.last_layer_before_scale.unwrap().ratio.value, mean(&a, 6) / before);
    let all_a: f64 = (0..7).map(|layer| mean(&a, layer)).sum::<f64>() / 7.0;
    let without: f64 = (0..6).map(|layer| mean(&b, layer)).sum::<f64>() + after;
    let with_embedding = (without + mean(&b, 6)) / 8.0;
    let find = |weighting, embedding| {
        let is = |o: &&flipside::analysis::compare::Overall| {
            o.weighting == weighting && o.embedding == embedding
        };
        comparison.overall.iter().find(is).unwrap().improvement
    };
    near(find(Weighting::Uniform, true).ratio.value, all_a / with_embedding);
    near(find(Weighting::Uniform, false).ratio.value, all_a / (without / 7.0));
    let macs = |run: &Run, layers: &[usize]| {
        let weight = |layer: &usize| run.manifest.layers[*layer].macs as f64;
        let sum: f64 = layers.iter().map(|layer| weight(layer) * mean(run, *layer)).sum();
        sum / layers.iter().map(weight).sum::<f64>()
    };
    let expected = macs(&a, &[0, 1, 2, 3, 4, 5, 6]) / macs(&b, &[0, 1, 2, 3, 4, 5, 8]);
    near(find(Weighting::Macs, false).ratio.value, expected);
    let ratio = comparison.last_layer.unwrap().ratio;
    assert!(ratio.low <= ratio.value && ratio.value <= ratio.high);
    // Nothing was nonfinite under the range detector, which is no proof that nothing can be.
    let is = |rate: &&flipside::analysis::compare::RateChange| {
        rate.outcome == Outcome::Nonfinite && rate.detector == Detector::Range
    };
    let rate = comparison.rates.iter().find(is).unwrap();
    assert_eq!((rate.baseline.value, rate.other.value), (0.0, 0.0));
    assert!(rate.difference.low < 0.0 && rate.difference.high > 0.0);
    let top2diff = |run: &Run| {
        let images = &run.manifest.images;
        images.iter().map(|image| image.score().top2diff).sum::<f64>() / images.len() as f64
    };
    near(comparison.top2diff.injected.value, top2diff(&b) - top2diff(&a));
}

#[test]
fn runs_that_don_t_belong_together_are_refused() {
    let bench = Bench::new(Head::Baseline);
    let run = bench.run(Plan::new(8, 4));
    let refused = |other: Run, part: &str| {
        let error = compare(&run, &other).unwrap_err().to_string();
        assert!(error.contains("can't be compared") && error.contains(part), "{error}");
    };
    refused(bench.run(Plan::new(9, 4)), "seeds differ (8 and 9)");
    refused(bench.run(Plan::new(8, 5)), "injections");
    refused(bench.run(Plan { bits: 2, ..Plan::new(8, 4) }), "bits");
    refused(
        bench.run(Plan { detectors: vec![Detector::Range], ..Plan::new(8, 4) }),
        "detectors differ (none+range and range)",
    );
    let mut other = run.clone();
    other.manifest.setting.provenance.data = "else".into();
    refused(other, "data");
    let mut fewer = Bench::new(Head::Baseline);
    fewer.experiment.goldens.pop();
    refused(fewer.run(Plan::new(8, 4)), "images");
}

#[test]
fn without_a_detector_there_are_no_means() {
    let plan = Plan { detectors: vec![Detector::None], ..Plan::new(8, 400) };
    let run = Bench::new(GUIDED).run(plan);
    let comparison = compare(&run, &run).unwrap();
    assert!(comparison.last_layer.is_none() && comparison.overall.is_empty());
    assert_eq!(comparison.rates.len(), 2);
    let scope = Scope::ALL.layers(&run);
    let mean =
        |measure| select(&run, scope.clone(), Detector::None).mean(measure, &Intervals::default());
    assert!(mean(Measure::DeltaLoss).unwrap_err().to_string().contains("quantiles"));
    let delta_p = mean(Measure::DeltaP).unwrap();
    assert!(0.0 <= delta_p.low && delta_p.high <= 1.0);
    let quantiles = select(&run, scope.clone(), Detector::None).delta_loss_quantiles();
    assert!(quantiles.values.is_sorted());
    let rates = select(&run, scope, Detector::None).rates(&Intervals::default());
    let parts = [rates.masked, rates.benign, rates.sdc, rates.nonfinite];
    assert!((parts.iter().map(|rate| rate.value).sum::<f64>() - 1.0).abs() < 1e-12);
}
