//! How often intervals hold the truth, where the truth is known: the last layer of a small network, every
//! fault of which is judged once.
//!
//!     cargo run --release --example coverage
//!
//! trains resnet_small on the built-in images for some seconds and prints, for seeds 0, 1, 2, …, how many of
//! so many intervals hold the exhaustive figure. The standard error of a coverage of 95 % is 1.1 points over
//! 400 campaigns and 1.5 over 200.

mod lab;

use flipside::analysis::compare::{Pairing, compare_all};
use flipside::analysis::{Intervals, looks, select};
use flipside::campaign::{Experiment, layers};
use flipside::detector::Detector;
use flipside::device::Device;
use flipside::models::ModelFile;
use flipside::nn::Head;
use flipside::plan::{Labels, Plan, Stratify};
use flipside::progress::Silent;
use flipside::recipe::{Recipe, Schedule};
use flipside::results::{Golden, Measure, Outcome, Run};
use flipside::rng::{self, Draw};
use flipside::statistics::{Confidence, Estimate, RateInterval, StoppingRule, Target, Unit};
use flipside::study::Inputs;
use flipside::train::{Job, Source, Trainer};
use rayon::prelude::*;
use strum::IntoEnumIterator;

use lab::Lab;

fn main() {
    let lab = trained();
    let [images, classes] = lab.size();
    println!(
        "resnet_small on built-in images: {images} images that it gets right, {classes} classes, {} faults of \
         the last layer",
        images * classes * 32
    );
    rates(&lab);
    means(&lab);
    ratios(&lab);
    stopping(&lab);
}

/// A baseline, trained until it gets most of the images right.
fn trained() -> Lab {
    let file = ModelFile::open("resnet_small").unwrap();
    let inputs = Inputs::builtin(&file, 1, [2000, 400]).unwrap();
    let recipe = Recipe {
        momentum: 0.9,
        weight_decay: 5e-4,
        warmup_epochs: 1,
        ..Recipe::new(5, 64, 0.1, Schedule::Cosine { minimum: 0.0 })
    };
    let job = Job {
        file,
        head: Head::Baseline,
        recipe,
        seed: 1,
        start: "baseline".into(),
        train: inputs.train.clone(),
        validation: None,
        workers: 2,
        output: None,
    };
    let mut trainer = Trainer::new(job, &Device::cpu()).unwrap();
    trainer.run(&Silent).unwrap();
    let network = trainer.into_network();
    let source = Source { dataset: inputs.train.dataset.clone(), transform: inputs.test.transform };
    let all = |source: &Source| (0..source.dataset.len()).collect::<Vec<usize>>();
    let (test, list) = (&inputs.test, all(&inputs.test));
    let mut experiment = Experiment::evaluate(&network, test, &list, Labels::Data, 50).unwrap();
    experiment.goldens.retain(Golden::is_eligible);
    let layers = layers::layers(&network.model);
    experiment.measure_ranges(&layers, &source, &all(&source)).unwrap();
    Lab::new(experiment, 1000)
}

/// How many of `count` intervals hold `truth`, and how wide they are on average, as a share of it.
fn coverage(what: &str, truth: f64, count: u64, figure: impl Fn(u64) -> Estimate + Sync + Send) {
    let intervals: Vec<Estimate> = (0..count).into_par_iter().map(figure).collect();
    let held = intervals.iter().filter(|interval| interval.holds(truth)).count();
    let above = intervals.iter().filter(|interval| interval.low > truth).count();
    let width: f64 = intervals.iter().map(|i| i.high - i.low).sum::<f64>() / count as f64;
    println!(
        "  {what}: {:.1} % ({held} of {count}; {above} lie above the truth, {} below), mean width {width:.5}",
        100.0 * held as f64 / count as f64,
        count as usize - held - above,
    );
}

/// The plan with bits as strata.
fn stratified(plan: Plan) -> Plan {
    Plan { stratify: Stratify::Bit, ..plan }
}

const SEEDS: u64 = 400;

fn rates(lab: &Lab) {
    for (measure, name) in
        [(Measure::Is(Outcome::Sdc), "SDC"), (Measure::Is(Outcome::Nonfinite), "nonfinite")]
    {
        let truth = lab.exact(measure, Detector::None);
        println!("\nRate of {name} without a detector, exhaustive {truth:.6}:");
        for injections in [200, 1000] {
            for share in [0.95, 0.99] {
                for interval in RateInterval::iter() {
                    let confidence = Confidence::new(share).unwrap();
                    let how = Intervals { confidence, rates: interval, ..Intervals::new(0) };
                    let of = |plan: Plan| {
                        let run = lab.sample(&plan);
                        select(&run, vec![0], Detector::None).mean(measure, &how).unwrap()
                    };
                    let what = format!("n = {injections}, {confidence}, {}", interval.name());
                    coverage(&what, truth, SEEDS, |seed| of(lab.plan(seed, injections)));
                    let what = format!("{what}, bits as strata");
                    coverage(&what, truth, SEEDS, |seed| {
                        of(stratified(lab.plan(seed, injections)))
                    });
                }
            }
        }
    }
}

fn means(lab: &Lab) {
    for (measure, name) in [(Measure::DeltaLoss, "ΔLoss"), (Measure::DeltaP, "|Δp_label|")] {
        let truth = lab.exact(measure, Detector::Range);
        println!("\nMean {name} under the range detector, exhaustive {truth:.6}:");
        for injections in [200, 500, 1000, 4000] {
            let what = |words: &str| format!("n = {injections}, {words}");
            for unit in [Unit::Images, Unit::Injections] {
                let of = |plan: Plan| {
                    let (run, how) =
                        (lab.sample(&plan), Intervals { unit, ..Intervals::new(plan.seed) });
                    select(&run, vec![0], Detector::Range).mean(measure, &how).unwrap()
                };
                let name = format!("BCa over {}", unit.name());
                coverage(&what(&name), truth, SEEDS, |seed| of(lab.plan(seed, injections)));
                if unit == Unit::Injections {
                    let name = what(&format!("{name}, bits as strata"));
                    coverage(&name, truth, SEEDS, |seed| {
                        of(stratified(lab.plan(seed, injections)))
                    });
                }
            }
            let percentile = |seed| percentile(&lab.sample(&lab.plan(seed, injections)), measure);
            coverage(&what("percentiles over images"), truth, SEEDS, percentile);
        }
    }
}

/// The plain percentile interval over images, to see what BCa is for.
fn percentile(run: &Run, measure: Measure) -> Estimate {
    let mut images = std::collections::BTreeMap::<usize, [f64; 2]>::new();
    for record in run.of(0, Detector::Range) {
        let [count, sum] = images.entry(record.image).or_default();
        *count += 1.0;
        *sum += measure.of(record);
    }
    let images: Vec<[f64; 2]> = images.into_values().collect();
    let mean = |[count, sum]: [f64; 2]| sum / count;
    let add = |[a, b]: [f64; 2], [c, d]: &[f64; 2]| [a + c, b + d];
    let mut draws = rng::stream(run.manifest.plan.seed, "percentile");
    let mut means: Vec<f64> = (0..2000)
        .map(|_| {
            let drawn =
                (0..images.len()).map(|_| &images[draws.below(images.len() as u64) as usize]);
            mean(drawn.fold([0.0, 0.0], add))
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let value = mean(images.iter().fold([0.0, 0.0], add));
    Estimate { value, low: means[50], high: means[1949] }
}

/// A model against itself with faults of its own on either side.
fn ratios(lab: &Lab) {
    println!("\nRatio of mean ΔLoss of the model against itself, two seeds, exhaustive 1:");
    let sampled = |seed, injections| {
        lab.sample(&Plan { detectors: vec![Detector::Range], ..lab.plan(seed, injections) })
    };
    for (injections, unit, pairs) in [
        (200, Unit::Images, 200),
        (1000, Unit::Images, 200),
        (1000, Unit::Injections, 200),
        (1000, Unit::Images, 2000),
    ] {
        let what = format!("n = {injections}, BCa over {}", unit.name());
        coverage(&what, 1.0, pairs, |pair| {
            let [a, b] = [2 * pair, 2 * pair + 1].map(|seed| sampled(seed, injections));
            let how = Intervals { unit, ..Intervals::new(pair) };
            let compared = compare_all(&[[&a, &b]], Pairing::Unpaired, &how).unwrap();
            compared.rows[0].last_layer.unwrap().ratio
        });
    }
}

fn stopping(lab: &Lab) {
    println!("\nIntervals at which the stopping rule stops, 1,000 campaigns each:");
    for (target, detector, half_width) in [
        (Target::Sdc, Detector::None, 0.02),
        (Target::Sdc, Detector::None, 0.005),
        (Target::Nonfinite, Detector::None, 0.005),
        (Target::DeltaP, Detector::Range, 0.02),
    ] {
        let rule = StoppingRule::new(target, half_width, Confidence::P95).unwrap();
        let truth = lab.exact(target.into(), detector);
        let what = format!("{} ± {half_width}, exhaustive {truth:.6}", target.name());
        let plan = |seed| Plan { detectors: vec![detector], ..lab.plan(seed, 1) };
        let stopped = |seed: u64| looks(&rule, u64::MAX, lab.sequence(&plan(seed))).pop().unwrap();
        coverage(&what, truth, 1000, |seed| stopped(seed).estimate);
        let looks: Vec<u64> = (0..20).map(|seed| stopped(seed).n).collect();
        println!("    injections of the first twenty: {looks:?}");
    }
}
