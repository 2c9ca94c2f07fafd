//! Ranges that a detector clamps to: what they were measured over, and how far those of two models are apart.

use flipside::analysis::breakdown::{By, breakdown};
use flipside::analysis::compare::{Pairing, compare_all};
use flipside::fault::Site;
use flipside::plan::Shard;
use flipside::report::{View, comparison_text, run_json, run_text};
use flipside::results::Manifest;

use super::*;

/// A bench whose ranges are of the first `images` images.
fn ranged(head: Head, images: usize) -> Bench {
    let mut bench = Bench::new(head);
    let list: Vec<usize> = (0..images).collect();
    let (layers, from) = (layers(&bench.network.model), bench.experiment.images);
    bench.experiment.measure_ranges(&layers, from, &list, &Silent).unwrap();
    bench
}

/// Ranges of other images let other faults through: 1.58 and 2.42 were figures of the same two checkpoints.
#[test]
fn ranges_of_other_images_are_not_compared() {
    let plan = Plan::new(8, 20);
    let [a, b] =
        [(Head::Baseline, 9), (GUIDED, 2)].map(|(head, n)| ranged(head, n).run(plan.clone()));
    let error = compare(&a, &b).unwrap_err().to_string();
    assert!(
        error.contains("their numbers of training images for ranges differ (9 and 2)"),
        "{error}"
    );
    assert!(error.contains("--unpaired compares them all the same"), "{error}");
    let how = Intervals::default();
    let unpaired = |a: &Run, b: &Run| {
        let all = compare_all(&[[a, b]], Pairing::Unpaired, &how);
        all.unwrap().rows.remove(0).differences
    };
    assert_eq!(unpaired(&a, &b), ["numbers of training images for ranges 9 and 2"]);
    // As many of other data.
    let of_data = |run: &Run, data: &str| {
        let mut run = run.clone();
        run.manifest.setting.ranges_over.as_mut().unwrap().data = Some(data.into());
        run
    };
    let [c, d] = ["data", "else"].map(|data| of_data(&a, data));
    let error = compare(&c, &d).unwrap_err().to_string();
    assert!(error.contains("their training images for ranges differ (data and else)"), "{error}");
    assert_eq!(unpaired(&c, &d), ["training images for ranges data and else"]);
    // Programs that didn't keep it are taken at their word.
    let mut old = b.clone();
    old.manifest.setting.ranges_over = None;
    let row = compare(&a, &old).unwrap();
    assert_eq!(row.differences, ["numbers of training images for ranges 9 and unknown"]);
    assert!(compare(&old, &old).unwrap().differences.is_empty());
    // What flips parameters has no such images; without the detector nothing has.
    for plan in [
        Plan { site: Site::Weight, ..Plan::new(8, 1) },
        Plan { detectors: vec![Detector::None], ..Plan::new(8, 1) },
    ] {
        assert!(ranged(GUIDED, 9).run(plan).manifest.setting.ranges_over.is_none());
    }
}

#[test]
fn ranges_that_are_apart_are_counted() {
    let [a, mut b] = [Head::Baseline, GUIDED].map(|head| Bench::new(head).run(Plan::new(8, 20)));
    for (layer, of) in b.manifest.layers.iter_mut().zip(&a.manifest.layers) {
        layer.range = of.range;
    }
    // After the scale, which the baseline's last layer stands beside.
    let last = a.manifest.layers.last().unwrap().range;
    b.manifest.layers.last_mut().unwrap().range = last.map(|range| 1.9 * range);
    let ranges = |b: &Run| compare(&a, b).unwrap().ranges.unwrap();
    assert_eq!((ranges(&b).layers, ranges(&b).apart.len()), (7, 0));
    for (layer, factor) in [(1, 2.1), (3, 0.4)] {
        let range = &mut b.manifest.layers[layer].range;
        *range = range.map(|range| factor * range);
    }
    assert_eq!(ranges(&b).apart, ["layer1.0.conv1", "layer2.0.conv1"]);
    let all = compare_all(&[[&a, &b]], Pairing::Paired, &Intervals::default());
    let text = comparison_text(&all.unwrap(), View::Markdown);
    let words = "ranges, measured over 9 training images, differ by more than a factor of 2 in 2 of 7 \
                 layers that both have (layer1.0.conv1, layer2.0.conv1)";
    assert!(text.contains(words), "{text}");
    b.manifest.layers.iter_mut().for_each(|layer| layer.range = None);
    assert!(compare(&a, &b).unwrap().ranges.is_none());
}

/// Stores say over how many images; those of old don't, and are read and gone on with.
#[test]
fn stores_say_what_ranges_are_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let (bench, plan) = (Bench::new(GUIDED), Plan::new(6, 10));
    let run = bench.run(plan.clone());
    let over = |manifest: &Manifest| manifest.setting.ranges_over.as_ref().map(|over| over.images);
    assert_eq!(over(&run.manifest), Some(9));
    run.save(&path).unwrap();
    assert_eq!(over(&Run::open(&path).unwrap().manifest), Some(9));
    let how = Intervals::default();
    let figures = breakdown(&run, By::Layer, None, &[Detector::Range], &how).unwrap();
    let words = "Ranges of layers were measured over 9 training images.";
    let said = |run: &Run| run_text(run, &figures, &how, View::Markdown).contains(words);
    assert!(said(&run));
    assert_eq!(run_json(&run, &figures, &how)["ranges_over"]["images"], 9);

    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute("DELETE FROM manifest WHERE key = 'ranges_over'", []).unwrap();
    connection.execute("DELETE FROM injections WHERE n > 4", []).unwrap();
    connection.execute("UPDATE shards SET complete = 0", []).unwrap();
    drop(connection);
    bench.part(&path, &plan, Shard::WHOLE, usize::MAX, Strategy::Boxes);
    let resumed = Run::open(&path).unwrap();
    assert_eq!(text(&resumed.records), text(&run.records));
    assert!(over(&resumed.manifest).is_none() && !said(&resumed));
    assert_eq!(resumed.results_sha256(), run.results_sha256());
    // Where both say it, it must be the same.
    let other = ranged(GUIDED, 8).campaign(plan).manifest();
    let difference = run.manifest.difference(&other).unwrap();
    assert!(
        difference.contains("the images that their ranges were measured over differ"),
        "{difference}"
    );
}
