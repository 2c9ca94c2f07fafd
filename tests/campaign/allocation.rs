//! Injections that a pilot allocates to layers and bits.

use flipside::analysis::allocate;
use flipside::analysis::compare::{Pairing, compare_all};
use flipside::campaign::{Ending, pilot, pilot_seed};
use flipside::fault::Site;
use flipside::plan::{Allocation, Pilot, Shard, Stratify};
use flipside::report::{View, run_text};
use flipside::results::{Effect, merge, write_csv};
use flipside::statistics::{Confidence, wilson};

use crate::cli::Place;

use super::*;

fn best(campaign: &Campaign<'_>) -> Strategy {
    campaign.best_strategy()
}

fn allocation(bench: &Bench, plan: &Plan) -> Allocation {
    let pilot = pilot(&bench.experiment, plan, best, &Silent).unwrap();
    allocate(&pilot, plan.injections.end).unwrap()
}

/// A plan with the allocation of its own pilot.
pub fn allocated(bench: &Bench, plan: Plan) -> Plan {
    Plan { stratify: Stratify::Allocated(allocation(bench, &plan)), ..plan }
}

fn of(plan: &Plan) -> &Allocation {
    let Stratify::Allocated(allocation) = &plan.stratify else { panic!("{plan:?}") };
    allocation
}

/// The numbers add up to the budget, each bit has what intervals need, and bits that do more harm get more.
#[test]
fn a_pilot_allocates_a_budget() {
    let bench = Bench::new(GUIDED);
    let plan = allocated(&bench, Plan::new(3, 1000));
    let of = of(&plan);
    assert_eq!((of.pilot.seed, of.pilot.injections), (pilot_seed(3), 384));
    let run = bench.run(plan.clone());
    let layers = run.manifest.layers.len();
    // The last layer, before and after the scale, has the same faults twice.
    assert_eq!((of.layers.len(), layers), (8, 9));
    let counts = (0..layers).map(|layer| run.of(layer, Detector::None).count());
    let total: usize = counts.sum();
    assert!(total.abs_diff(1000 * layers) <= layers, "{total}");
    assert!(of.layers.values().all(|bits| bits.len() == 32 && bits.iter().all(|n| *n >= 12)));
    // Below the exponent only the highest bits of the mantissa do anything to speak of.
    for bits in of.layers.values() {
        let [low, high] = [&bits[..16], &bits[20..]]
            .map(|bits| bits.iter().sum::<u64>() as f64 / bits.len() as f64);
        assert!(high > 2.0 * low, "{bits:?}");
    }
    for layer in 0..layers {
        let (mut bits, n) = ([0.0; 32], run.of(layer, Detector::None).count() as f64);
        for record in run.of(layer, Detector::None) {
            bits[record.mask().unwrap().trailing_zeros() as usize] += run.manifest.weight(record);
        }
        assert!(bits.iter().all(|weight| (weight - n / 32.0).abs() < 1e-9), "{bits:?}");
    }
}

/// A large uniform campaign and the mean over many allocated ones are the same figure.
#[test]
fn estimates_are_unbiased() {
    let bench = Bench::new(Head::Baseline);
    let figures = |run: &Run| {
        let layers = Scope::ALL.layers(run);
        let mean = |measure, detector| {
            let how = Intervals::default();
            select(run, layers.clone(), detector).mean(measure, &how).unwrap().value
        };
        [
            mean(Measure::DeltaLoss, Detector::Range),
            mean(Measure::Is(Outcome::Sdc), Detector::None),
            mean(Measure::Is(Outcome::Masked), Detector::None),
        ]
    };
    // Bits in turn: that many campaigns of its size have an error of a quarter of one's.
    let truth = figures(&bench.run(Plan { stratify: Stratify::Bit, ..Plan::new(1, 32_000) }));
    let campaigns: Vec<[f64; 3]> = (100..132)
        .map(|seed| figures(&bench.run(allocated(&bench, Plan::new(seed, 500)))))
        .collect();
    for (figure, truth) in truth.into_iter().enumerate() {
        let n = campaigns.len() as f64;
        let mean = campaigns.iter().map(|all| all[figure]).sum::<f64>() / n;
        let squares = campaigns.iter().map(|all| (all[figure] - mean).powi(2)).sum::<f64>();
        let error = (squares / (n - 1.0) / n).sqrt();
        // The truth's own error is about as large: four standard errors of the difference.
        assert!((mean - truth).abs() < 4.0 * 1.5 * error, "{figure}: {mean} ± {error}, {truth}");
        assert!(error < 0.2 * truth, "{figure}: {mean} ± {error}");
    }
}

/// Parts in any order, stopped and gone on with, give the bytes of one run.
#[test]
fn parts_are_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let bench = Bench::new(Head::Baseline);
    let plan = allocated(&bench, Plan::new(5, 420));
    let csv = |run: &Run| {
        let mut bytes = Vec::new();
        write_csv(run, &mut bytes).unwrap();
        bytes
    };
    let whole = bench.run(plan.clone());
    let mut parts = Vec::new();
    for index in [2, 3, 1] {
        // Each part has a pilot of its own, which says the same.
        let plan = allocated(&bench, Plan::new(5, 420));
        let (path, shard) = (at(&format!("{index}.sqlite")), Shard { index, of: 3 });
        let stopped = bench.part(&path, &plan, shard, 2, Strategy::Boxes);
        let ended = bench.part(&path, &plan, shard, usize::MAX, Strategy::Whole { batch: 4 });
        assert_eq!((stopped, ended), (Ending::Stopped, Ending::Complete));
        parts.push(path);
    }
    merge(&parts, &at("whole.sqlite")).unwrap();
    let merged = Run::open(&at("whole.sqlite")).unwrap();
    assert_eq!(merged.manifest.plan, plan);
    assert!(csv(&merged) == csv(&whole));
}

/// Nothing was seen of a layer, neither by the pilot nor after it: its rate reaches as far up as its draws say, and
/// its mean has no interval.
#[test]
fn a_layer_without_harm_is_not_certain() {
    let bench = Bench::new(Head::Baseline);
    let plan = Plan::new(4, 600);
    let calm = |run: &mut Run| {
        for record in run.records.iter_mut().filter(|record| record.layer == 2) {
            let goldens = &bench.experiment.goldens;
            let golden = goldens.iter().find(|golden| golden.image == record.image).unwrap();
            record.effect = Effect::unchanged(golden);
        }
    };
    let mut seen = pilot(&bench.experiment, &plan, best, &Silent).unwrap();
    calm(&mut seen);
    let allocation = allocate(&seen, 600).unwrap();
    let plan = Plan { stratify: Stratify::Allocated(allocation), ..plan };
    let mut run = bench.run(plan.clone());
    calm(&mut run);
    let bits = &of(&plan).layers[&run.manifest.layers[2].pair_key];
    let n = bits.iter().sum::<u64>();
    assert!(n >= 384 && bits.iter().all(|of_bit| *of_bit >= 12), "{bits:?}");
    let how = Intervals::default();
    let selected = select(&run, vec![2], Detector::Range);
    let sdc = selected.rates(&how).sdc;
    // As many trials as 1 / Σ share²/n: never more than there are.
    let trials = 1024.0 / bits.iter().map(|of_bit| 1.0 / *of_bit as f64).sum::<f64>();
    let wilson = wilson(0.0, trials, Confidence::P95.z());
    assert!(trials <= n as f64 && sdc.low == 0.0);
    assert!((sdc.high - wilson.high).abs() < 1e-9, "{sdc:?} {wilson:?}");
    let mean = selected.mean(Measure::DeltaLoss, &how).unwrap();
    assert!(mean.value == 0.0 && mean.high.is_nan(), "{mean:?}");
}

/// Two models with one allocation have the same faults; with an allocation each they haven't.
#[test]
fn models_are_paired_by_one_allocation() {
    let benches = [Head::Baseline, GUIDED].map(Bench::new);
    let plan = Plan::new(6, 400);
    let shared = allocated(&benches[0], plan.clone());
    let [a, b] = [0, 1].map(|side: usize| benches[side].run(shared.clone()));
    let compared = |b: &Run, pairing| compare_all(&[[&a, b]], pairing, &Intervals::default());
    let row = compared(&b, Pairing::Paired).unwrap().rows.remove(0);
    let ratio = row.last_layer.unwrap().ratio;
    assert!(ratio.low < ratio.value && ratio.value < ratio.high, "{ratio:?}");
    // The embedding, which the baseline doesn't have, takes its bits in turn.
    let embedding = b.manifest.layers.iter().position(|l| l.part == Part::Embedding).unwrap();
    assert_eq!(b.of(embedding, Detector::None).count(), 400);
    let own = benches[1].run(allocated(&benches[1], plan));
    let refused = compared(&own, Pairing::Paired).unwrap_err().to_string();
    assert!(
        refused.contains("strata differ (allocated by a pilot of 384 injections a layer on"),
        "{refused}"
    );
    assert!(compared(&own, Pairing::Unpaired).is_ok());
    let how = Intervals::default();
    let text = run_text(&a, &[], &how, View::Text);
    assert!(
        text.contains("400 injections a layer on average of one flipped bit, allocated"),
        "{text}"
    );
    assert!(text.contains("384 a layer on checkpoint abc"), "{text}");
}

/// What doesn't go together with an allocation, and allocations that don't go with a campaign.
#[test]
fn what_does_not_fit_is_refused() {
    let bench = Bench::new(Head::Baseline);
    let plan = allocated(&bench, Plan::new(3, 400));
    let refused = |plan: Plan, words: &str| {
        let error = Campaign::new(&bench.experiment, plan).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    };
    let with = |change: &dyn Fn(&mut Allocation)| {
        let mut allocation = of(&plan).clone();
        change(&mut allocation);
        Plan { stratify: Stratify::Allocated(allocation), ..plan.clone() }
    };
    refused(Plan { bits: 2, ..plan.clone() }, "one bit of one value");
    refused(Plan { injections: 3..4, ..plan.clone() }, "a whole campaign");
    refused(Plan { seed: pilot_seed(3), ..plan.clone() }, "have the same seed");
    refused(with(&|a| a.layers.clear()), "none of the layers");
    refused(with(&|a| a.layers.get_mut("conv1").unwrap().truncate(16)), "to 16 bits, but");
    refused(with(&|a| a.layers.get_mut("conv1").unwrap()[7] = 0), "no injection for bit 7");
    let small = pilot(&bench.experiment, &Plan::new(3, 383), best, &Silent).unwrap_err();
    assert!(small.to_string().contains("384 injections a layer at least"), "{small}");
    let few = allocate(&bench.run(Plan::new(3, 40)), 400).unwrap_err();
    assert!(few.to_string().contains("to learn from"), "{few}");
    let detectors = vec![Detector::None];
    let dropped = Plan { site: Site::StoreLost, detectors, ..Plan::new(3, 400) };
    let dropped = pilot(&bench.experiment, &dropped, best, &Silent).unwrap();
    let dropped = allocate(&dropped, 400).unwrap_err();
    assert!(dropped.to_string().contains("didn't flip one bit"), "{dropped}");
    let pilot = Pilot { checkpoint: "x".into(), seed: 1, injections: 1 };
    let other = Allocation { pilot, layers: [("no".to_string(), vec![1; 32])].into() };
    refused(Plan { stratify: Stratify::Allocated(other), ..plan.clone() }, "none of the layers");
}

/// The program: its own pilot, shards and a resumed run, the numbers of another store, and records as a pilot.
#[test]
fn the_program_allocates() {
    let place = Place::new();
    place.done("train --model tiny.toml --data data --quiet --epochs 8 --out run");
    let inject = "inject --model tiny.toml --checkpoint run/model.safetensors --data data --quiet \
                  --labels golden --layer conv1 --layer fc";
    let results = |words: &str| -> String {
        place.json(words)["results_sha256"].as_str().unwrap().to_string()
    };
    let allocated = format!("{inject} --injections 500 --allocate pilot");
    let whole = results(&format!("{allocated} --out whole.sqlite"));
    let again = results(&format!("{allocated} --out whole.sqlite --resume"));
    assert_eq!(whole, again);
    for shard in 1..=2 {
        place.done(&format!("{allocated} --shard {shard}/2 --out {shard}.sqlite"));
    }
    place.done("merge 2.sqlite 1.sqlite --out merged.sqlite");
    assert_eq!(results("report merged.sqlite"), whole);
    // A shard's numbers are those of all.
    let by_store = format!("{inject} --allocate 1.sqlite");
    assert_eq!(results(&by_store), whole);
    place.done(&format!("{inject} --injections 600 --seed 2 --out uniform.sqlite"));
    let by_records = format!("{inject} --injections 500 --allocate uniform.sqlite");
    assert_ne!(results(&by_records), whole);
    let fails = |words: &str, parts: &[&str]| place.fails(words, 2, parts);
    fails(&format!("{by_store} --injections 400"), &["has 500 injections a layer on average"]);
    fails(&format!("{by_store} --site input --detector none"), &["1.sqlite is of the site output"]);
    fails(&format!("{by_records} --seed 2"), &["have the same seed"]);
    fails(&format!("{inject} --injections 100 --allocate pilot"), &["384 injections a layer"]);
    place.fails(&format!("{inject} --allocate nothing.sqlite"), 1, &["nothing.sqlite"]);
    fails(&format!("{allocated} --site store-lost"), &["flips no bit"]);
    fails(&format!("{allocated} --bits 2"), &["one bit of one value"]);
    fails(&format!("{allocated} --flips 2"), &["one bit of one value"]);
    fails(&format!("{allocated} --out uniform.sqlite --resume"), &["another campaign"]);
}
