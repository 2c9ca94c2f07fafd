//! Means of the last layer by a census, in the place of drawn faults.

use flipside::analysis::compare::{Comparison, RateChange};
use flipside::analysis::{Selection, last_layer};
use flipside::census::{CensusRunner, Mode, count_last_layer};
use flipside::fault::Site;
use flipside::plan::{Flips, Protocol, Shard, Stratify};
use flipside::results::{Counted, Golden, Store, merge};
use flipside::statistics::Unit;

use super::*;

/// The mean of each image, by layer.
fn by_image(bench: &Bench) -> Vec<(String, Vec<f64>)> {
    let census = CensusRunner::new(bench, Mode::Logits, &[Detector::None, Detector::Range]);
    let goldens: Vec<&Golden> = bench.goldens.iter().collect();
    census.unwrap().delta_loss_by_image(&goldens, 1, 1.0).unwrap()
}

/// A run whose last layer is counted.
pub fn counted(bench: &Bench, plan: Plan) -> Run {
    let mut run = bench.run(plan);
    run.counted = count_last_layer(bench, &run.manifest).unwrap();
    run
}

fn of_last(run: &Run) -> Selection<'_> {
    select(run, vec![last_layer(run, true).unwrap()], Detector::Range)
}

/// Every image has as many faults, so the mean of its images' means is the histogram's.
#[test]
fn means_of_images_are_those_of_the_histogram() {
    for (head, names) in [(Head::Baseline, &["fc"][..]), (GUIDED, &["head", "scaled"])] {
        let bench = Bench::new(head);
        let detectors = [Detector::None, Detector::Range];
        let census = CensusRunner::new(&bench, Mode::Logits, &detectors).unwrap();
        let whole = census.run(&Silent).unwrap();
        let found = by_image(&bench);
        assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
        for ((_, means), histogram) in found.iter().zip(&whole.histograms) {
            let mean = means.iter().sum::<f64>() / means.len() as f64;
            let expected = histogram.total(1).delta_loss.unwrap();
            assert!((mean - expected).abs() < 1e-12 * expected, "{mean} {expected}");
        }
    }
    let bench = Bench::new(GUIDED);
    let weights = CensusRunner::new(&bench, Mode::Weights, &[Detector::Range]).unwrap();
    let error = weights.delta_loss_by_image(&[], 0, 1.0).unwrap_err();
    assert!(error.to_string().contains("only faults in logits"), "{error}");
}

/// The last layer's figure is the census', whatever was drawn; other layers keep their records, and so does
/// everything that isn't ΔLoss under the range detector, or that is of some of the records.
#[test]
fn a_census_stands_in_for_the_last_layer() {
    let benches = [Head::Baseline, GUIDED].map(Bench::new);
    let of_seed = |seed| [0, 1].map(|i| counted(&benches[i], Plan::new(seed, 400)));
    let (runs, others) = (of_seed(8), of_seed(9));
    let how = Intervals::default();
    let exact = [0, 1].map(|i| {
        let mean = |run: &Run| of_last(run).mean(Measure::DeltaLoss, &how).unwrap();
        let (found, again) = (mean(&runs[i]), mean(&others[i]));
        assert!(of_last(&runs[i]).is_counted());
        assert_eq!(found, again);
        let (_, means) = by_image(&benches[i]).pop().unwrap();
        assert!((found.value - means.iter().sum::<f64>() / means.len() as f64).abs() < 1e-12);
        assert!(found.low < found.value && found.value < found.high);
        // Over injections alone nothing is left to chance, and so no interval.
        let injections = Intervals { unit: Unit::Injections, ..how };
        let certain = of_last(&runs[i]).mean(Measure::DeltaLoss, &injections).unwrap();
        assert!((certain.value - found.value).abs() < 1e-12 && certain.low.is_nan());
        let some = of_last(&runs[i]).only(|_| true);
        let drawn = Run { counted: Counted::default(), ..runs[i].clone() };
        assert!(!some.is_counted() && !of_last(&drawn).is_counted());
        assert_eq!(some.mean(Measure::DeltaLoss, &how).unwrap(), mean(&drawn));
        found.value
    });
    let of = |[a, b]: &[Run; 2]| compare(a, b).unwrap();
    let (comparison, other) = (of(&runs), of(&others));
    let ratio = comparison.last_layer.unwrap().ratio;
    assert!((ratio.value - exact[0] / exact[1]).abs() < 1e-12 * ratio.value);
    assert_eq!(ratio.value, other.last_layer.unwrap().ratio.value);
    assert_ne!(comparison.all_layers(), other.all_layers());
    let drawn = of(&runs.each_ref().map(|run| Run { counted: Counted::default(), ..run.clone() }));
    assert_ne!(drawn.last_layer, comparison.last_layer);
    // Rates know nothing of the census; p-values over all readings do.
    let alone = |row: &Comparison| -> Vec<RateChange> {
        row.rates.iter().map(|rate| RateChange { adjusted_p: None, ..*rate }).collect()
    };
    assert_eq!(alone(&drawn), alone(&comparison));
    assert_eq!((drawn.counted, comparison.counted), ([false; 2], [true; 2]));
    // Of some layers, which have other numbers.
    let names = [&["fc"][..], &["scaled", "head"]];
    let few = [0, 1].map(|i| {
        let layers = Some(names[i].iter().map(|name| name.to_string()).collect());
        counted(&benches[i], Plan { layers, ..Plan::new(8, 400) })
    });
    assert_eq!(of(&few).last_layer.unwrap().ratio, comparison.last_layer.unwrap().ratio);
}

/// The census knows single flips of outputs under the range detector, and no others.
#[test]
fn other_faults_aren_t_counted() {
    let bench = Bench::new(GUIDED);
    let is_counted = |plan: Plan| {
        let manifest = bench.campaign(plan).manifest();
        let counted = count_last_layer(&bench, &manifest).unwrap();
        let layers = counted.iter().map(|((layer, _), _)| manifest.layers[layer].name.clone());
        layers.collect::<Vec<_>>()
    };
    let plan = Plan::new(1, 40);
    assert_eq!(is_counted(plan.clone()), ["head", "scaled"]);
    for none in [
        Plan { bits: 2, ..plan.clone() },
        Plan { flips: Flips::Count(2), ..plan.clone() },
        Plan { flips: Flips::Rate(0.001), ..plan.clone() },
        Plan { site: Site::Input, detectors: vec![Detector::None], ..plan.clone() },
        Plan { site: Site::Weight, ..plan.clone() },
        Plan { detectors: vec![Detector::None], ..plan.clone() },
        Plan { injections: 3..4, ..plan.clone() },
        Plan { layers: Some(vec!["conv1".into()]), ..plan.clone() },
        Plan { protocol: Protocol::Goldeneye, detectors: vec![Detector::Range], ..plan.clone() },
    ] {
        assert!(is_counted(none.clone()).is_empty(), "{none:?}");
    }
    let strata = Plan { stratify: Stratify::Bit, ..plan };
    assert_eq!(is_counted(strata).len(), 2);
}

/// What is counted lies in the store, is read back with its bits, and is the merged store's, whichever part has it.
#[test]
fn what_is_counted_is_kept_and_merged() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (bench, plan) = (Bench::new(GUIDED), Plan::new(6, 40));
    let mut run = counted(&bench, plan.clone());
    let images = run.counted.of(0, 0);
    assert!(images.is_none());
    // No answer of this image was finite.
    let ((layer, place), images) = run.counted.iter().last().unwrap();
    let mut images = images.to_vec();
    images[2].1 = f64::NAN;
    run.counted.insert(layer, place, images);
    run.save(&at("run.sqlite")).unwrap();
    let text = |run: &Run| format!("{:?}", run.counted);
    assert_eq!(text(&Run::open(&at("run.sqlite")).unwrap()), text(&run));
    for (shard, name) in [(1, "a"), (2, "b")] {
        let shard = Shard { index: shard, of: 2 };
        bench.part(
            &at(name),
            &plan,
            shard,
            usize::MAX,
            bench.campaign(plan.clone()).best_strategy(),
        );
    }
    let (store, _) = Store::resume(&at("b"), &run.manifest, Shard { index: 2, of: 2 }).unwrap();
    assert!(store.counted(&run.manifest).unwrap().is_empty());
    store.count(&run.counted).unwrap();
    store.finish(true).unwrap();
    merge(&[at("a"), at("b")], &at("whole")).unwrap();
    assert_eq!(text(&Run::open(&at("whole")).unwrap()), text(&run));
    // Half of a table would be another mean.
    std::fs::copy(at("whole"), at("half")).unwrap();
    let connection = rusqlite::Connection::open(at("half")).unwrap();
    connection.execute("DELETE FROM counted WHERE image > 3", []).unwrap();
    drop(connection);
    let error = Run::open(&at("half")).unwrap_err().to_string();
    assert!(error.contains("half") && error.contains("it takes 7 images of each"), "{error}");
    let connection = rusqlite::Connection::open(at("whole")).unwrap();
    connection.execute("UPDATE counted SET image = 77 WHERE image = 3", []).unwrap();
    drop(connection);
    let error = Run::open(&at("whole")).unwrap_err().to_string();
    assert!(error.contains("whole") && error.contains("counted: there is no image 77"), "{error}");
}
