//! Means of the last layer by a census, in the place of drawn faults.

use flipside::analysis::compare::{Measured, compare_measured};
use flipside::analysis::{Counted, last_layer};
use flipside::census::{CensusRunner, Mode};

use super::*;

/// The mean of each image, by layer.
fn by_image(bench: &Bench) -> Vec<(String, Vec<f64>)> {
    let census = CensusRunner::new(bench, Mode::Logits, &[Detector::None, Detector::Range]);
    census.unwrap().delta_loss_by_image(1, 1.0).unwrap()
}

fn counted(bench: &Bench, run: &Run) -> Counted {
    let mut counted = Counted::default();
    for (name, means) in by_image(bench) {
        let layer = run.manifest.layers.iter().position(|layer| layer.name == name).unwrap();
        let images = bench.goldens.iter().map(|golden| golden.image).zip(means);
        counted.insert(layer, images.collect());
    }
    counted
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
    let error = weights.delta_loss_by_image(0, 1.0).unwrap_err();
    assert!(error.to_string().contains("only faults in logits"), "{error}");
}

/// The last layer's figure is the census', whatever was drawn; other layers keep their records, and so does
/// everything that isn't ΔLoss under the range detector.
#[test]
fn a_census_stands_in_for_the_last_layer() {
    let benches = [Head::Baseline, GUIDED].map(Bench::new);
    let of_seed = |seed| -> [Run; 2] { [0, 1].map(|i| benches[i].run(Plan::new(seed, 400))) };
    let (runs, others) = (of_seed(8), of_seed(9));
    let known = [0, 1].map(|i| counted(&benches[i], &runs[i]));
    let how = Intervals::default();
    let exact = [0, 1].map(|i| {
        let mean = |run| {
            let layer = last_layer(run, true).unwrap();
            let records = select(run, vec![layer], Detector::Range);
            records.counted(&known[i]).mean(Measure::DeltaLoss, &how).unwrap()
        };
        let (found, again) = (mean(&runs[i]), mean(&others[i]));
        assert_eq!(found, again);
        let (_, means) = by_image(&benches[i]).pop().unwrap();
        assert!((found.value - means.iter().sum::<f64>() / means.len() as f64).abs() < 1e-12);
        assert!(found.low < found.value && found.value < found.high);
        found.value
    });
    let compared = |runs: &[Run; 2]| {
        let model = |i: usize| Measured {
            name: ["baseline", "text-guided"][i],
            run: &runs[i],
            counted: &known[i],
            right: &[],
        };
        compare_measured([model(0), model(1)]).unwrap()
    };
    let (comparison, other) = (compared(&runs), compared(&others));
    let ratio = comparison.last_layer.unwrap().ratio;
    assert!((ratio.value - exact[0] / exact[1]).abs() < 1e-12 * ratio.value);
    assert_eq!(ratio.value, other.last_layer.unwrap().ratio.value);
    assert_ne!(comparison.all_layers(), other.all_layers());
    let drawn = compare(&runs[0], &runs[1]).unwrap();
    assert_ne!(drawn.last_layer, comparison.last_layer);
    assert_eq!(drawn.rates, comparison.rates);
}
