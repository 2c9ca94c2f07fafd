//! GoldenEye's protocol against a campaign that was run by its rules in PyTorch, and against Python's
//! generator (tests/oracle/README.md).

use std::fmt::Write;

use flipside::analysis::goldeneye::GoldenEyeFigure;
use flipside::campaign::goldeneye::{self, PythonRandom};
use flipside::campaign::{Campaign, Experiment, FaultList, MemoryImages};
use flipside::detector::Detector;
use flipside::models::{Model, ModelFile, Network};
use flipside::nn::Head;
use flipside::plan::{Labels, Plan, Protocol};
use flipside::progress::Silent;
use flipside::results::Golden;
use serde_json::Value;

use crate::formula;
use crate::pytorch_networks::{formula_images, formula_weights};

/// Of a loss that is at least 1, absolute below: f32 sums in another order.
const TOLERANCE: f64 = 2e-5;

fn fixture() -> Value {
    formula::fixture("goldeneye.json")
}

fn rows<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("the fixture has no {key}"))
}

fn size(value: &Value) -> usize {
    value.as_u64().expect("a whole number") as usize
}

fn hex(value: &Value) -> Vec<f32> {
    let (words, rest) = value.as_str().expect("hex").as_bytes().as_chunks::<8>();
    assert!(rest.is_empty(), "half a word");
    let word = |word| u32::from_str_radix(str::from_utf8(word).unwrap(), 16).expect("hex");
    words.iter().map(|bytes| f32::from_bits(word(bytes))).collect()
}

#[test]
fn words_and_permutations_are_python_s() {
    let fixture = fixture();
    for row in rows(&fixture["python"], "words") {
        let mut random = PythonRandom::new(row[0].as_u64().unwrap());
        for word in row[1].as_array().unwrap() {
            assert_eq!(u64::from(random.next_u32()), word.as_u64().unwrap(), "seed {}", row[0]);
        }
    }
    for row in rows(&fixture["python"], "fifths") {
        let fifth = goldeneye::validation_fifth(size(&row[0])).unwrap();
        assert_eq!(fifth.len(), size(&row[1]));
        assert!(fifth.starts_with(&formula::usizes(&row[2])), "{}", row[0]);
        assert!(fifth.ends_with(&formula::usizes(&row[3])), "{}", row[0]);
        let sum: usize = fifth.iter().enumerate().map(|(at, image)| (at + 1) * image).sum();
        assert_eq!(sum, size(&row[4]), "{}", row[0]);
    }
    assert!(goldeneye::validation_fifth(0).unwrap().is_empty());
}

#[test]
fn losses_of_logits_that_are_not_finite_are_pytorch_s() {
    for row in rows(&fixture(), "losses") {
        let (label, logits, expected) = (size(&row[0]), hex(&row[1]), hex(&row[2])[0]);
        let found = goldeneye::loss(&logits, label as u32) as f32;
        let close = (found - expected).abs() <= 1e-6 * expected.abs().max(1.0);
        let same = found == expected || (found.is_nan() && expected.is_nan());
        assert!(same || close, "label {label} of {logits:?}: {found}, not {expected}");
        let golden = Golden::new(0, label as u32, logits);
        assert_eq!(golden.score.top1, size(&row[3]));
    }
}

#[test]
fn campaigns_come_to_what_goldeneye_s_rules_give() {
    for campaign in rows(&fixture(), "campaigns") {
        check(campaign);
    }
}

fn check(fixture: &Value) {
    let what = fixture["backbone"].as_str().unwrap();
    let head = match fixture["head"].as_str().unwrap() {
        "baseline" => Head::Baseline,
        _ => Head::text_guided(512),
    };
    let [classes, side, validation, training] =
        ["classes", "side", "validation", "training"].map(|key| size(&fixture[key]));
    let model = Model::new(&ModelFile::open(what).unwrap(), head, classes, side, 0.0).unwrap();
    let weights = formula_weights(&model, &formula::ranges(fixture), false);
    let network = Network { model, weights };
    let expected = rows(fixture, "golden");
    let mut labels: Vec<u32> = expected.iter().map(|row| size(&row[0]) as u32).collect();
    labels.resize(validation + training, 0);
    let images = MemoryImages { pixels: formula_images(validation + training, side), labels };

    // Rules 2 and 3.
    let fifth = goldeneye::validation_fifth(validation).unwrap();
    assert_eq!(fifth, formula::usizes(&fixture["fifth"]));
    let mut experiment =
        Experiment::evaluate(&network, &images, &fifth, Labels::Data, 4, &Silent).unwrap();
    let goldens = &mut experiment.goldens;
    for golden in &*goldens {
        let row = &expected[golden.image];
        assert_eq!(golden.score.top1, size(&row[1]), "{what}: image {}", golden.image);
        near(golden.score.loss, row[2].as_f64().unwrap(), TOLERANCE, what);
        near(golden.score.top2diff, row[3].as_f64().unwrap(), 100.0 * TOLERANCE, what);
    }
    goldens.retain(Golden::is_eligible);
    let eligible: Vec<usize> = goldens.iter().map(|golden| golden.image).collect();
    assert_eq!(eligible, formula::usizes(&fixture["eligible"]));
    assert!(eligible.len() < fifth.len());

    // Rules 1 and 4: a campaign without a list has the layers that hooks see.
    let list: Vec<usize> = (validation..validation + training).collect();
    let layers = goldeneye::layers(&network.model);
    experiment.measure_ranges(&layers, &images, &list, &Silent).unwrap();
    let plan =
        Plan { protocol: Protocol::Goldeneye, detectors: vec![Detector::Range], ..Plan::new(1, 1) };
    let drawn = Campaign::new(&experiment, plan.clone()).unwrap();
    let layer_rows = rows(fixture, "layers");
    let mut names: Vec<&str> = layer_rows.iter().map(|row| row[0].as_str().unwrap()).collect();
    let mut ours: Vec<&str> = drawn.layers().iter().map(|layer| layer.name.as_str()).collect();
    names.sort_unstable();
    ours.sort_unstable();
    assert_eq!(ours, names);

    // The fixture's injections.
    let mut text = String::from("layer,image,channel,row,column,bit\n");
    let injections = rows(fixture, "injections");
    for row in injections {
        let layer = layer_rows[size(&row[0])][0].as_str().unwrap();
        let [image, channel, y, x, bit] = [1, 2, 3, 4, 5].map(|at| size(&row[at]));
        writeln!(text, "{layer},{image},{channel},{y},{x},{bit}").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faults.csv");
    std::fs::write(&path, text).unwrap();
    let faults = FaultList::open(&path).unwrap();
    let campaign = Campaign::of_list(&experiment, plan, &faults).unwrap();
    let records = campaign.run(campaign.best_strategy(), &Silent).unwrap();
    assert_eq!(records.len(), injections.len());
    for record in &records {
        let row = &injections[record.n as usize];
        let loss = f64::from(hex(&row[6])[0]);
        let here = format!("{what}: injection {row}");
        near(record.effect.score.loss, loss, TOLERANCE, &here);
        if !loss.is_nan() {
            assert_eq!(record.effect.score.top1, size(&row[7]), "{here}");
        }
    }

    // Rule 6, and the ranges of rule 1.
    let run = campaign.results(records);
    let figures = flipside::analysis::goldeneye::figures(&run);
    let (mut nan, mut mismatches, mut unclamped) = (0, 0.0, 0);
    for (layer, figures) in run.manifest.layers.iter().zip(figures) {
        let row = layer_rows.iter().find(|row| row[0] == layer.name.as_str()).unwrap();
        let number = |at: usize| row[at].as_f64().unwrap_or(f64::INFINITY);
        assert_eq!(layer.range.map(f64::from), Some(number(1)), "{what}: {}", layer.name);
        let here = format!("{what}: {}", layer.name);
        assert_eq!((figures.injections, figures.nan), (number(2) as u64, number(3) as u64));
        let GoldenEyeFigure { value, half_width } = figures.delta_loss;
        near(value, number(4), TOLERANCE, &here);
        near(half_width, number(5), TOLERANCE, &here);
        near(figures.mismatches.value, number(6), 1e-12, &here);
        // GoldenEye has an interval of no width at 0 and 1.
        if ![0.0, 1.0].contains(&number(6)) {
            near(figures.mismatches.half_width, number(7), 1e-12, &here);
        }
        nan += figures.nan;
        mismatches += figures.mismatches.value;
        unclamped += usize::from(layer.range == Some(f32::INFINITY));
    }
    assert!(mismatches > 0.0, "{what}: nothing shows");
    // The fixture's first network has a range that no f16 holds, and losses that are NaN.
    assert_eq!(nan > 0 && unclamped > 0, what == "resnet18");
}

/// Equal within `tolerance` of the larger of 1 and the expected value, or both NaN.
fn near(found: f64, expected: f64, tolerance: f64, what: &str) {
    let close = (found - expected).abs() <= tolerance * expected.abs().max(1.0);
    let same = found == expected || (found.is_nan() && expected.is_nan());
    assert!(close || same, "{what}: {found}, not {expected}");
}
