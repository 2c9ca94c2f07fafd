//! Figures of campaigns that aren't complete.

use std::path::Path;
use std::time::Duration;

use flipside::analysis::breakdown::{By, RunPart as Row, breakdown};
use flipside::campaign::Partial;
use flipside::plan::{Shard, Stratify};
use flipside::results::Store;
use flipside::statistics::{Confidence, StoppingRule, Target};

use super::process::{INJECT, place, results, spawn};

use super::*;

fn partial(path: &Path) -> flipside::Result<(Run, Partial)> {
    let (run, shards) = Run::open_partial(path)?;
    Partial::of(run, &shards)
}

/// Stopped again and again: what there is of it is every injection into some of the images, neither more nor less, and
/// its figures are theirs.
#[test]
fn figures_of_a_part_are_those_of_its_images() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(GUIDED);
    let plan = Plan::new(6, 70);
    let whole = bench.run(plan.clone());
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut seen = Vec::new();
    for strategy in [Strategy::Boxes, Strategy::Whole { batch: 2 }] {
        let path = folder.path().join(format!("{strategy:?}.sqlite"));
        let (mut stops, mut found) = (0, 0);
        while one.install(|| bench.part(&path, &plan, Shard::WHOLE, 1 + stops % 4, strategy))
            == flipside::campaign::Ending::Stopped
        {
            stops += 1;
            let all = Run::open_partial(&path).unwrap().0;
            let (run, partial) = match partial(&path) {
                Ok(found) => found,
                Err(error) => {
                    assert!(error.to_string().contains("of none of its 7 images"), "{error}");
                    continue;
                }
            };
            found += 1;
            let images: Vec<usize> = run.manifest.images.iter().map(|row| row.image).collect();
            assert_eq!((partial.images, partial.is_complete), ([images.len(), 7], false));
            let mut expected = whole.records.clone();
            expected.retain(|record| images.contains(&record.image));
            assert_eq!(text(&run.records), text(&expected));
            let layers = run.manifest.layers.len() as u64;
            assert_eq!(partial.injections, [expected.len() as u64 / 2, 70 * layers]);
            // Images whose turn isn't over have some of their records in the store, but none here.
            assert!(all.records.len() >= run.records.len());
            let how = Intervals::default();
            for figures in breakdown(&run, By::Layer, None, &[Detector::None], &how).unwrap() {
                let Row::Layer {} = figures.part else { continue };
                let layer = whole
                    .manifest
                    .layers
                    .iter()
                    .position(|row| Some(&row.name) == figures.layer.as_ref());
                let of_layer = |record: &&Record| {
                    Some(record.layer) == layer && record.detector == Detector::None
                };
                let of_layer: Vec<&Record> = expected.iter().filter(of_layer).collect();
                let sdc =
                    of_layer.iter().filter(|record| record.effect.outcome == Outcome::Sdc).count();
                assert_eq!(figures.rates.records, of_layer.len() as u64);
                let expected = sdc as f64 / of_layer.len() as f64;
                assert!((figures.rates.sdc.value - expected).abs() < 1e-12);
            }
            if seen.is_empty() || images.len() > *seen.last().unwrap() {
                seen.push(images.len());
            }
        }
        assert!(found > 0, "{strategy:?}: no part with figures in {stops} stops");
        let (run, partial) = partial(&path).unwrap();
        assert!(partial.is_complete);
        assert_eq!(text(&run.records), text(&whole.records));
    }
    assert!(seen.len() > 2, "{seen:?}");
}

/// The images that are done are no first part of the list, which is sorted by class.
#[test]
fn images_have_their_turn_in_a_drawn_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    let bench = Bench::new(Head::Baseline);
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut orders = Vec::new();
    for seed in [6, 7, 8] {
        let _ = fs::remove_file(&path);
        let mut order: Vec<usize> = Vec::new();
        let plan = Plan::new(seed, 40);
        while one
            .install(|| bench.part(&path, &plan, Shard::WHOLE, 1, Strategy::Whole { batch: 1 }))
            == flipside::campaign::Ending::Stopped
        {
            for record in Run::open_partial(&path).unwrap().0.records {
                if !order.contains(&record.image) {
                    order.push(record.image);
                }
            }
        }
        orders.push(order);
    }
    assert!(orders.iter().all(|order| !order.is_sorted()), "{orders:?}");
    assert!(orders[0] != orders[1] && orders[1] != orders[2], "{orders:?}");
}

#[test]
fn a_shard_is_a_part_and_some_campaigns_have_none() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(format!("{name}.sqlite"));
    let bench = Bench::new(Head::Baseline);
    let plan = Plan::new(6, 70);
    let whole = bench.run(plan.clone());
    let shards = [Shard { index: 1, of: 3 }, Shard { index: 3, of: 3 }];
    for shard in shards {
        bench.part(&at(&shard.index.to_string()), &plan, shard, usize::MAX, Strategy::Boxes);
    }
    flipside::results::merge(&[at("1"), at("3")], &at("both")).unwrap();
    for (name, held) in [("1", &shards[..1]), ("both", &shards[..])] {
        let (run, partial) = partial(&at(name)).unwrap();
        let mut expected = whole.records.clone();
        expected.retain(|record| held.iter().any(|shard| shard.holds(record.n)));
        assert_eq!(text(&run.records), text(&expected));
        assert_eq!((partial.images, &partial.shards[..]), ([7, 7], held));
    }
    let rule = StoppingRule::new(Target::Sdc, 0.2, Confidence::default()).unwrap();
    for (name, plan, why) in [
        ("rule", Plan { until: Some(rule), ..Plan::new(6, 512) }, "--half-width"),
        ("in-turn", Plan { stratify: Stratify::Bit, ..plan.clone() }, "parted among bits"),
    ] {
        bench.part(&at(name), &plan, Shard::WHOLE, 1, Strategy::Whole { batch: 1 });
        let error = partial(&at(name)).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

/// Looked at while it runs, by the program; it comes to the same end.
#[test]
fn a_running_campaign_is_looked_at_without_disturbing_it() {
    let place = place();
    let inject = format!("{INJECT} --injections 20000");
    let expected = results(&place, &inject);
    let mut child = spawn(&place, &format!("{inject} --threads 1 --out running.sqlite"));
    let (mut looks, mut last) = (0, 0);
    let mut said = String::new();
    while child.try_wait().unwrap().is_none() {
        let output = place.run("report running.sqlite --partial --json");
        if !output.status.success() {
            said = String::from_utf8(output.stderr).unwrap();
            let known = ["of none of its", "is empty", "No such file", "without a pause"];
            assert!(known.iter().any(|known| said.contains(known)), "{said}");
        } else if child.try_wait().unwrap().is_none() {
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            let partial = &report["partial"];
            if partial["is_complete"] == false {
                looks += 1;
                let there = partial["injections"].as_u64().unwrap();
                assert!(there >= last && there <= partial["of_injections"].as_u64().unwrap());
                last = there;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(child.wait().unwrap().success());
    assert!(looks > 0, "it was never seen running: {said}");
    assert_eq!(Run::open(&place.at("running.sqlite")).unwrap().results_sha256(), expected);
    let whole = place.done("report running.sqlite");
    let complete = place.done("report running.sqlite --partial");
    assert!(complete.starts_with("Complete: ") && complete.ends_with(&whole), "{complete}");
}

#[test]
fn a_part_is_marked_wherever_it_is_told() {
    let place = place();
    place.done(&format!("{INJECT} --injections 30 --shard 1/2 --out a.sqlite"));
    for format in ["text", "markdown"] {
        let text = place.done(&format!("report a.sqlite --partial --format {format}"));
        assert!(text.starts_with("PARTIAL: "), "{text}");
        assert!(text.contains("of shard 1/2") && text.contains("not the campaign's"), "{text}");
    }
    let report = place.json("report a.sqlite --partial --by bit");
    assert_eq!(report["partial"]["is_complete"], false);
    assert_eq!(report["partial"]["shards"], serde_json::json!([{"index": 1, "of": 2}]));
    for flag in ["--require sdc<1", "--html a.html", "--figures out"] {
        let output = place.run(&format!("report a.sqlite --partial {flag}"));
        assert_eq!(output.status.code(), Some(2), "{flag}");
    }
    assert_eq!(Store::shards(&place.at("a.sqlite")).unwrap().len(), 1);
    let said = place.done("report a.sqlite --partial --by direction --layer conv1");
    assert!(said.starts_with("PARTIAL: "), "{said}");
}
