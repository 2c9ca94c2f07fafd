//! Every fault of the last layer, against slow paths: full logits, and whole runs with the fault armed.

use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use flipside::campaign::layers::layers;
use flipside::campaign::{Experiment, MemoryImages, Ranges};
use flipside::census::{
    BITS, Census, CensusManifest, CensusRunner, Faulty, GoldenAnswer, Mode, octave_edges,
    ranged_layers,
};
use flipside::detector::Detector;
use flipside::device::Device;
use flipside::fault::FaultSpec;
use flipside::logits::Score;
use flipside::models::{Model, ModelFile, Network};
use flipside::nn::Head;
use flipside::number::FaultModel;
use flipside::plan::Labels;
use flipside::progress::Silent;
use flipside::results::{Effect, Golden, Outcome, Provenance, Run};
use flipside::rng::{self, Draw};
use flipside::tape::{Execution, PlanKind};

use strum::IntoEnumIterator;

use crate::devices::device;
use crate::program::MODEL;

mod sdc5;

const GUIDED: Head = Head::text_guided(12);
const UNNORMALIZED: Head = Head::TextGuided { width: 12, normalized: false };
const HEADS: [Head; 3] = [Head::Baseline, GUIDED, UNNORMALIZED];
const BOTH: [Detector; 2] = [Detector::None, Detector::Range];

/// A tiny network with random weights, and its answers to random images.
struct Bench {
    /// Its network and images live as long as the process.
    experiment: Experiment<'static>,
}

impl Deref for Bench {
    type Target = Experiment<'static>;

    fn deref(&self) -> &Experiment<'static> {
        &self.experiment
    }
}

impl Bench {
    fn new(head: Head) -> Bench {
        Bench::on(head, Device::cpu())
    }

    fn on(head: Head, device: Device) -> Bench {
        let file = ModelFile::parse("tiny", MODEL, Path::new("tiny.toml")).unwrap();
        let model = Model::new(&file, head, 7, 16, 0.0).unwrap();
        let mut network = Network::random(model, 3, &device).unwrap();
        let weights = &mut network.weights;
        // Numbers of 1 to 2 are those that bit 30 makes infinite: there should be some everywhere.
        for name in ["fc.weight", "backbone.fc.weight", "head.weight"] {
            if let Ok(id) = weights.find(name) {
                let values = weights.get(id).unwrap();
                weights.set(id, &values.iter().map(|w| 5.0 * w).collect::<Vec<_>>()).unwrap();
            }
        }
        if head == UNNORMALIZED {
            // It starts at a scale of 1, which hides no bit.
            weights.set(weights.find("logit_scale").unwrap(), &[0.3]).unwrap();
        }
        let mut draws = rng::stream(1, "images");
        let pixels = (0..6 * 16 * 16 * 3).map(|_| draws.between(-2.0, 2.0) as f32).collect();
        let images = MemoryImages { pixels, labels: (0..6).map(|i| i % 7).collect() };
        let (network, images) = (&*Box::leak(Box::new(network)), &*Box::leak(Box::new(images)));
        let mut experiment =
            Experiment::evaluate(network, images, &[0, 2, 3], Labels::Data, 2, &Silent).unwrap();
        let mut all = layers(&network.model);
        all.extend(ranged_layers(network, Mode::Features).unwrap());
        // Of other images, so that some of these lie outside.
        experiment.measure_ranges(&all, images, &[4, 5], &Silent).unwrap();
        Bench { experiment: Experiment { batch: 50, ..experiment } }
    }

    fn exhaustive(&self, mode: Mode) -> CensusRunner<'_> {
        CensusRunner::new(self, mode, &BOTH).unwrap()
    }

    fn census(&self, mode: Mode) -> Census {
        self.exhaustive(mode).run(&Silent).unwrap()
    }

    /// An execution that has run an image; every value is kept.
    fn clean(&self, golden: &Golden) -> Execution {
        let (network, logits) = (self.network, self.network.model.logits);
        let mut execution = network.execution(PlanKind::Golden, 1, &[logits]).unwrap();
        let mut pixels = vec![0f32; network.model.image_elements()];
        self.images.load(golden.image, &mut pixels).unwrap();
        network.forward(&mut execution, &pixels).unwrap();
        assert_eq!(execution.read(logits).unwrap(), golden.logits);
        execution
    }

    /// The whole network again, with a fault.
    fn faulty(&self, execution: &mut Execution, golden: &Golden, fault: &FaultSpec) -> Effect {
        execution.disarm();
        execution.arm_all(&self.network.weights, std::slice::from_ref(fault)).unwrap();
        execution.forward(&self.network.weights).unwrap();
        let logits = execution.read(self.network.model.logits).unwrap();
        execution.disarm();
        Effect::of(golden, &logits)
    }
}

/// A fault of an element of a layer that shows readers a value.
fn shows(layer: &str, site: &str, element: usize, value: f32) -> FaultSpec {
    let place = match site {
        "weight" => format!("index={element}"),
        _ => format!("channel={element}"),
    };
    let mut fault: FaultSpec = format!("layer={layer},site={site},{place},bit=0").parse().unwrap();
    fault.model = FaultModel::Set(value);
    fault
}

/// What a slow path found, counted as the census counts.
#[derive(Default)]
struct Slow {
    outcomes: [u64; 4],
    sdc5: u64,
    measured: u64,
    sums: [f64; 3],
    delta_losses: Vec<f64>,
}

impl Slow {
    fn count(&mut self, golden: &Score, effect: &Effect) {
        let place = effect.outcome as usize;
        self.outcomes[place] += 1;
        self.sdc5 += u64::from(effect.is_sdc5());
        let delta_loss = (golden.loss - effect.score.loss).abs();
        if !delta_loss.is_nan() {
            self.measured += 1;
            let delta_p = (golden.p_label - effect.score.p_label).abs();
            for (sum, value) in
                self.sums.iter_mut().zip([delta_loss, delta_p, effect.score.top2diff])
            {
                *sum += value;
            }
            self.delta_losses.push(delta_loss);
        }
    }
}

/// Holds a census against whole runs; `fault` makes place, unit, number within the unit, bit and detector
/// an armed fault.
fn check(
    bench: &Bench,
    mode: Mode,
    faults_a_unit: impl Fn(usize) -> usize,
    fault: impl Fn(&Execution, usize, usize, usize, usize, Detector) -> FaultSpec,
) {
    let census = bench.census(mode);
    let mut executions: Vec<Execution> = bench.goldens.iter().map(|g| bench.clean(g)).collect();
    let clean: Vec<Execution> = bench.goldens.iter().map(|g| bench.clean(g)).collect();
    let (mut total, mut seen) = (0, [0u64; 4]);
    for (place, histogram) in census.histograms.iter().enumerate() {
        for unit in 0..histogram.units {
            for (number, detector) in BOTH.into_iter().enumerate() {
                for bit in 0..BITS {
                    let mut slow = Slow::default();
                    for (image, golden) in bench.goldens.iter().enumerate() {
                        for index in 0..faults_a_unit(place) {
                            let fault = fault(&clean[image], place, unit, index, bit, detector);
                            let effect = bench.faulty(&mut executions[image], golden, &fault);
                            slow.count(&golden.score, &effect);
                        }
                    }
                    let cell = histogram.cell(unit, number, bit);
                    let what = format!("{mode:?} {place} {unit} {detector:?} {bit}");
                    assert_eq!(cell.outcomes, slow.outcomes, "{what}");
                    assert_eq!((cell.sdc5, cell.measured), (slow.sdc5, slow.measured), "{what}");
                    let sums = [cell.delta_loss, cell.delta_p, cell.top2diff];
                    for (fast, slow) in sums.iter().zip(slow.sums) {
                        assert!(
                            (fast - slow).abs() <= 1e-9 * (1.0 + slow.abs()),
                            "{what}: {fast} {slow}"
                        );
                    }
                    for (octave, count) in &cell.octaves {
                        let [low, high] = octave_edges(*octave);
                        // Rounding may carry a number over an edge.
                        let within = |d: &&f64| **d > 0.999 * low - 1e-12 && **d < 1.001 * high;
                        let found = slow.delta_losses.iter().filter(within).count() as u64;
                        assert!(*count <= found, "{what}: {count} of {found} in {low}..{high}");
                    }
                    let octaves: u64 = cell.octaves.iter().map(|(_, count)| count).sum();
                    assert_eq!(octaves, cell.measured, "{what}");
                    total += cell.faults();
                    seen.iter_mut().zip(cell.outcomes).for_each(|(sum, count)| *sum += count);
                }
            }
        }
    }
    assert_eq!(total, 2 * bench.exhaustive(mode).faults());
    for (outcome, count) in Outcome::iter().zip(seen) {
        // Another bit pattern of a logit is another answer.
        let never =
            outcome == Outcome::Masked && mode == Mode::Logits && census.histograms.len() == 1;
        assert_eq!(count == 0, never, "{mode:?}: {seen:?}");
    }
}

fn flipped(value: f32, bit: usize) -> f32 {
    f32::from_bits(value.to_bits() ^ 1 << bit)
}

#[test]
fn logits_agree_with_whole_runs() {
    for head in HEADS {
        let bench = Bench::new(head);
        let ranged = ranged_layers(bench.network, Mode::Logits).unwrap();
        assert_eq!(ranged.len(), if head == Head::Baseline { 1 } else { 2 });
        check(
            &bench,
            Mode::Logits,
            |_| 1,
            |clean, place, class, _, bit, detector| {
                let layer = &ranged[place];
                let value = clean.read(layer.node).unwrap()[class];
                let max = bench.ranges.of(layer).unwrap();
                shows(&layer.name, "output", class, detector.see(flipped(value, bit), max))
            },
        );
    }
}

#[test]
fn weights_agree_with_whole_runs() {
    for head in HEADS {
        let bench = Bench::new(head);
        let (layer, names) = match head {
            Head::Baseline => ("fc", vec!["fc.weight", "fc.bias"]),
            _ => ("head", vec!["head.weight"]),
        };
        let weights = &bench.network.weights;
        let values: Vec<Vec<f32>> =
            names.iter().map(|name| weights.get(weights.find(name).unwrap()).unwrap()).collect();
        let largest = |place: usize| values[place].iter().fold(0f32, |max, v| max.max(v.abs()));
        let width = |place: usize| values[place].len() / 7;
        check(&bench, Mode::Weights, width, |_, place, class, index, bit, detector| {
            let entry = class * width(place) + index;
            let seen = detector.see(flipped(values[place][entry], bit), largest(place));
            let mut fault = shows(layer, "weight", entry, seen);
            fault.parameter = names[place].rsplit('.').next().unwrap().into();
            fault
        });
    }
}

#[test]
fn features_agree_with_whole_runs() {
    for head in HEADS {
        let bench = Bench::new(head);
        let feature = &ranged_layers(bench.network, Mode::Features).unwrap()[0];
        let max = bench.ranges.of(feature).unwrap();
        check(
            &bench,
            Mode::Features,
            |_| 1,
            |clean, _, unit, _, bit, detector| {
                let value = clean.read(feature.node).unwrap()[unit];
                let seen = detector.see(flipped(value, bit), max);
                match head {
                    Head::Baseline => shows("fc", "input", unit, seen),
                    _ => shows("fc", "output", unit, seen),
                }
            },
        );
    }
}

/// Logits that are hard on a judge, by name.
fn hostile() -> Vec<(String, Vec<f32>)> {
    let mut draws = rng::stream(9, "logits");
    let mut found = Vec::new();
    for classes in [1, 2, 3, 5, 6, 7, 40, 200] {
        for (name, scale) in [("usual", 6.0), ("tiny", 1e-40), ("wide", 300.0), ("vast", 3e38)] {
            let logits = (0..classes).map(|_| draws.between(-scale, scale) as f32).collect();
            found.push((format!("{name} {classes}"), logits));
        }
        let ties = (0..classes).map(|_| draws.below(3) as f32 - 1.0).collect();
        found.push((format!("ties {classes}"), ties));
        found.push((format!("alike {classes}"), vec![0.25; classes]));
        let zeros = (0..classes).map(|k| if k % 2 == 0 { 0.0 } else { -0.0 }).collect();
        found.push((format!("zeros {classes}"), zeros));
        let mut margin = vec![-f32::MAX; classes];
        margin[classes / 2] = f32::MAX;
        found.push((format!("margin {classes}"), margin));
        for (name, value) in
            [("inf", f32::INFINITY), ("minus inf", f32::NEG_INFINITY), ("nan", f32::NAN)]
        {
            let mut logits: Vec<f32> =
                (0..classes).map(|_| draws.between(-5.0, 5.0) as f32).collect();
            logits[classes / 3] = value;
            found.push((format!("{name} {classes}"), logits.clone()));
            logits[classes - 1] = f32::NAN;
            found.push((format!("{name} and nan {classes}"), logits));
        }
    }
    found
}

fn assert_same(what: &str, fast: &Faulty, slow: &Effect) {
    assert_eq!((fast.outcome, fast.sdc5), (slow.outcome, slow.sdc5), "{what}");
    assert_eq!(fast.score.top1, slow.score.top1, "{what}");
    let numbers = |score: &Score| [score.loss, score.p_label, score.top2diff];
    for (fast, slow) in numbers(&fast.score).into_iter().zip(numbers(&slow.score)) {
        // f64 sums in another order, of up to 200 terms: a few 1e-14 of the terms.
        let close = (fast - slow).abs() <= 1e-11 * (1.0 + slow.abs());
        assert!(close || fast.is_nan() && slow.is_nan(), "{what}: {fast} {slow}");
    }
}

#[test]
fn exchanged_logits_agree_with_full_ones() {
    let mut outcomes = [0u64; 4];
    for (name, logits) in hostile() {
        for label in [0, logits.len() / 2, logits.len() - 1] {
            let golden = Golden::new(0, label as u32, logits.clone());
            let answer = GoldenAnswer::new(&golden);
            for class in 0..logits.len() {
                let flips = (0..BITS).map(|bit| flipped(logits[class], bit));
                let others = [logits[class], 0.0, -0.0, logits[label], f32::MAX, f32::MIN, 1e-45];
                let infinite = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
                for value in flips.chain(others).chain(infinite) {
                    let mut faulty = logits.clone();
                    faulty[class] = value;
                    let what = format!("{name}, label {label}, class {class} becomes {value:e}");
                    let effect = Effect::of(&golden, &faulty);
                    assert_same(&what, &answer.with(class, value), &effect);
                    assert_same(&what, &answer.of(&faulty), &effect);
                    outcomes[effect.outcome as usize] += 1;
                }
            }
        }
    }
    assert!(outcomes.iter().all(|count| *count > 1000), "{outcomes:?}");
}

#[test]
fn threads_and_batches_change_no_digit() {
    for head in HEADS {
        let bench = Bench::new(head);
        for mode in Mode::iter() {
            let on = |threads: usize, batch: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let experiment = Experiment { batch, ..bench.clone() };
                let exhaustive = CensusRunner::new(&experiment, mode, &BOTH).unwrap();
                pool.install(|| exhaustive.run(&Silent).unwrap())
            };
            let one = on(1, 1);
            assert!(one == on(3, 2) && one == on(2, 50), "{head:?} {mode:?}");
        }
    }
}

#[test]
fn kernels_give_the_same_census() {
    let [cpu, kernels] = [Device::cpu(), device()].map(|device| Bench::on(GUIDED, device));
    for mode in Mode::iter() {
        assert!(cpu.census(mode) == kernels.census(mode), "{mode:?}");
    }
}

#[test]
fn seeded_faults_run_whole_agree() {
    for head in HEADS {
        let mut bench = Bench::new(head);
        bench.experiment.batch = 7;
        for mode in Mode::iter() {
            let exhaustive = bench.exhaustive(mode);
            let found = exhaustive.verify(5, 400, &Silent).unwrap();
            assert_eq!((found.checked, found.different.as_slice()), (400, [].as_slice()));
            assert!(found.largest < 1e-9, "{}", found.largest);
            // Answers of another image aren't what whole runs give.
            let mut experiment = bench.clone();
            experiment.goldens[0].image = 5;
            let other = CensusRunner::new(&experiment, mode, &BOTH).unwrap();
            let verified = other.verify(5, 50, &Silent);
            assert!(verified.is_err() || !verified.unwrap().different.is_empty(), "{mode:?}");
        }
    }
}

#[test]
fn totals_add_up() {
    let bench = Bench::new(GUIDED);
    let census = bench.census(Mode::Logits);
    for histogram in &census.histograms {
        for detector in 0..2 {
            let total = histogram.total(detector);
            assert_eq!(total.faults, 7 * 32 * 3);
            let bits = (0..BITS).map(|bit| histogram.of_bits(detector, bit..bit + 1));
            assert_eq!(bits.clone().map(|bit| bit.sdc).sum::<u64>(), total.sdc);
            let rates: f64 = Outcome::iter().map(|outcome| total.rate(outcome)).sum();
            assert!((rates - 1.0).abs() < 1e-12);
            let finite = |bit: usize| {
                let bit = histogram.of_bits(detector, bit..bit + 1);
                (bit.faults - bit.nonfinite) as f64
            };
            let count: f64 = (0..BITS).map(finite).sum();
            match total.delta_loss {
                None => assert_eq!(histogram.detectors[detector], Detector::None),
                Some(mean) => {
                    let sums = bits
                        .clone()
                        .enumerate()
                        .map(|(bit, b)| b.delta_loss.unwrap() * finite(bit));
                    assert!((sums.sum::<f64>() / count - mean).abs() < 1e-12 * mean);
                    // The range lets no NaN and no infinity through.
                    assert_eq!(total.nonfinite, 0);
                }
            }
            let [half, .., most] = total.quantiles;
            assert!(half < most && most > 0.0, "{:?}", total.quantiles);
            let binned: u64 = (0..BITS)
                .flat_map(|bit| histogram.bins(detector, bit).map(|(_, count)| count))
                .sum();
            assert_eq!(binned, total.faults - total.nonfinite);
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let bench = Bench::new(GUIDED);
    let Experiment { goldens, ranges, .. } = &bench.experiment;
    let refused = |goldens: &[Golden], ranges: &Ranges, detectors: &[Detector], says: &str| {
        let (goldens, ranges) = (goldens.to_vec(), ranges.clone());
        let experiment = Experiment { goldens, ranges, ..bench.clone() };
        let made = CensusRunner::new(&experiment, Mode::Logits, detectors);
        let error = made.and_then(|exhaustive| exhaustive.run(&Silent)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    refused(&[], ranges, &BOTH, "at least one image");
    refused(goldens, ranges, &[], "one detector at least");
    refused(goldens, ranges, &[Detector::None; 2], "none of them twice");
    refused(goldens, &Ranges::default(), &BOTH, "no maximum for layer 'head'");
    let mut other = goldens.clone();
    other[1].label = 7;
    refused(&other, ranges, &BOTH, "label 7");
    other[1] = Golden::new(2, 1, vec![0.0; 6]);
    refused(&other, ranges, &BOTH, "6 logits");
    other[1] = Golden::new(2, 1, vec![0.5; 7]);
    refused(&other, ranges, &BOTH, "image 2: the golden run's logits differ");
    assert!("last".parse::<Mode>().unwrap_err().to_string().contains("last-layer-weights"));
    for mode in Mode::iter() {
        assert_eq!(mode.name().parse::<Mode>().unwrap(), mode);
    }
}

#[test]
fn a_census_is_kept_as_histograms() {
    let bench = Bench::new(GUIDED);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("census.sqlite");
    let provenance = |checkpoint: &str| Provenance {
        model: "tiny".into(),
        checkpoint: checkpoint.into(),
        ..Provenance::default()
    };
    let save = |mode: Mode, path: &Path, checkpoint: &str| {
        let experiment = Experiment { provenance: provenance(checkpoint), ..bench.clone() };
        let exhaustive = CensusRunner::new(&experiment, mode, &BOTH).unwrap();
        let manifest = CensusManifest::new(&exhaustive, Labels::Data);
        exhaustive.run(&Silent).unwrap().save(path, &manifest)
    };
    for mode in Mode::iter() {
        save(mode, &path, "abc").unwrap();
    }
    let refused = |result: flipside::Result<()>, says: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    refused(save(Mode::Weights, &path, "abc"), "holds a census of last-layer-weights already");
    let check = |mode, checkpoint, resume| {
        Census::check_store(mode, &provenance(checkpoint), &path, resume)
    };
    refused(check(Mode::Logits, "xyz", true), "other weights");
    refused(check(Mode::Logits, "abc", false), "already: --resume goes on with it");
    check(Mode::Logits, "abc", true).unwrap();
    refused(save(Mode::Logits, folder.path(), "abc"), "folder");
    let text = folder.path().join("text");
    std::fs::write(&text, "no database, but long enough to look like one to whoever reads it")
        .unwrap();
    refused(save(Mode::Logits, &text, "abc"), "text");
    refused(Run::open(&path).map(|_| ()), "holds no campaign");

    crate::campaign::reading::assert_explained(&path);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let number = |sql: &str| -> i64 { connection.query_row(sql, [], |row| row.get(0)).unwrap() };
    for mode in Mode::iter() {
        let census = bench.census(mode);
        let of =
            |detector: usize| format!("WHERE mode = '{}' AND detector = {detector}", mode.name());
        for detector in 0..2 {
            let totals = || census.histograms.iter().map(|histogram| histogram.total(detector));
            let cells = format!("FROM exhaustive_cells {}", of(detector));
            let faults = number(&format!("SELECT sum(nonfinite + masked + sdc + benign) {cells}"));
            assert_eq!(faults as u64, bench.exhaustive(mode).faults());
            let sdc: u64 = totals().map(|total| total.sdc).sum();
            assert_eq!(number(&format!("SELECT sum(sdc) {cells}")) as u64, sdc);
            let finite: u64 = totals().map(|total| total.faults - total.nonfinite).sum();
            for table in ["octaves", "bins"] {
                let sum = format!("SELECT sum(faults) FROM exhaustive_{table} {}", of(detector));
                assert_eq!(number(&sum) as u64, finite, "{table}");
            }
            let sums = number(&format!("SELECT count(delta_loss) {cells}"));
            assert_eq!(sums == 0, detector == 0, "a mean without a detector");
        }
    }
}

/// Stopped after the first images, kept, read back and gone on with: not a digit differs from one go.
#[test]
fn a_census_goes_on_where_it_was_stopped() {
    let bench = Bench::new(GUIDED);
    // More than a step's.
    let goldens: Vec<Golden> = bench.goldens.iter().cycle().take(70).cloned().collect();
    let folder = tempfile::tempdir().unwrap();
    for mode in [Mode::Weights, Mode::Features] {
        let of = |goldens: &[Golden]| Experiment {
            goldens: goldens.to_vec(),
            provenance: Provenance::default(),
            ..bench.clone()
        };
        let (all, some) = (of(&goldens), of(&goldens[..60]));
        let new = |experiment| CensusRunner::new(experiment, mode, &BOTH).unwrap();
        let exhaustive = new(&all);
        let manifest = |labels| CensusManifest::new(&exhaustive, labels);
        let (ours, path) = (manifest(Labels::Data), folder.path().join(mode.name()));
        let (stop, mut keeps) = (AtomicBool::new(true), Vec::new());
        loop {
            let before = Census::resume(mode, &ours, &path).unwrap();
            assert_eq!(before.as_ref().map(|census| census.counted), keeps.last().copied());
            let mut keep = |census: &Census| {
                keeps.push(census.counted);
                census.save(&path, &ours)
            };
            let census = exhaustive.go_on(before, &Silent, &stop, &mut keep).unwrap();
            if census.is_complete() {
                census.save(&path, &ours).unwrap();
                break;
            }
            let other = Census::resume(mode, &manifest(Labels::Golden), &path).unwrap_err();
            assert!(other.to_string().contains("'labels' differs"), "{other}");
            let changed = CensusManifest { answers: "changed".into(), ..ours.clone() };
            let other = Census::resume(mode, &changed, &path).unwrap_err();
            assert!(other.to_string().contains("'answers' differs"), "{other}");
            let fewer = new(&some).go_on(Some(census), &Silent, &stop, &mut |_| Ok(()));
            assert!(fewer.unwrap_err().to_string().contains("another"));
        }
        assert_eq!(keeps, [32, 64]);
        let whole = exhaustive.run(&Silent).unwrap();
        let at_once = folder.path().join(format!("{} at once", mode.name()));
        whole.save(&at_once, &ours).unwrap();
        let [(resumed, there), (kept, _)] =
            [&path, &at_once].map(|path| Census::open(path, mode).unwrap());
        // By their text, in which NaN equals NaN.
        assert!(format!("{resumed:?}") == format!("{kept:?}"), "{mode:?}");
        assert_eq!(there, ours);
        // What is read says the same as what was counted.
        let text = |census: &Census| flipside::report::census_json(census, None).to_string();
        assert_eq!(text(&kept), text(&whole));
        let again = whole.save(&path, &ours).unwrap_err().to_string();
        assert!(again.contains("already"), "{again}");
        // A damaged one is refused.
        let connection = rusqlite::Connection::open(&at_once).unwrap();
        connection.execute("UPDATE exhaustive_cells SET bit = 32 WHERE bit = 31", []).unwrap();
        drop(connection);
        let damaged = Census::open(&at_once, mode).unwrap_err().to_string();
        assert!(damaged.contains("isn't a store as it should be"), "{damaged}");
        let other = Census::open(&path, Mode::Logits).unwrap_err().to_string();
        assert!(other.contains("holds no census of last-layer"), "{other}");
    }
}
