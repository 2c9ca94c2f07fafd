//! The control for the scale of logits, which changes no decision: temperatures in records, stores, exports and
//! comparisons; and what is measured without faults beside it.

use std::fs;
use std::path::PathBuf;

use flipside::analysis::breakdown::{By, breakdown};
use flipside::analysis::compare::{Comparison, Pairing, compare_all};
use flipside::campaign::FaultList;
use flipside::census::{CensusRunner, GoldenAnswer, Mode};
use flipside::logits::loss_at;
use flipside::plan::{Protocol, Shard, Temperature};
use flipside::report::{View, comparison_text, run_json, run_text};
use flipside::results::{FalseAlarms, Golden, merge, write_csv, write_parquet};

use super::*;

/// How much larger the logits of the scaled network are.
const SCALE: f32 = 1.42;

const IMAGES: usize = 150;

/// The tiny network with its last layer times a factor, on images of which 130 are right.
fn scaled(factor: f32) -> Experiment<'static> {
    let mut network = network(TINY, Head::Baseline, 3, &Device::cpu());
    for name in ["fc.weight", "fc.bias"] {
        let id = network.weights.find(name).unwrap();
        let values: Vec<f32> =
            network.weights.get(id).unwrap().iter().map(|value| value * factor).collect();
        network.weights.set(id, &values).unwrap();
    }
    let network = &*Box::leak(Box::new(network));
    let mut draws = rng::stream(1, "images");
    let pixels: Vec<f32> =
        (0..IMAGES * 16 * 16 * 3).map(|_| draws.between(-2.0, 2.0) as f32).collect();
    let unlabelled = MemoryImages { pixels: pixels.clone(), labels: vec![0; IMAGES] };
    let list: Vec<usize> = (0..IMAGES).collect();
    let answers =
        Experiment::evaluate(network, &unlabelled, &list, Labels::Golden, 50, &Silent).unwrap();
    let label = |golden: &Golden| match golden.image < 20 {
        true => (golden.label + 1 + golden.image as u32 % 6) % 7,
        false => golden.label,
    };
    let labels = answers.goldens.iter().map(label).collect();
    let images = &*Box::leak(Box::new(MemoryImages { pixels, labels }));
    let mut experiment =
        Experiment::evaluate(network, images, &list, Labels::Data, 50, &Silent).unwrap();
    experiment.fit_temperature().unwrap();
    experiment.goldens.retain(Golden::is_eligible);
    let layers = layers(&network.model);
    experiment.measure_ranges(&layers, images, &list, &Silent).unwrap();
    experiment.count_false_alarms(&layers, &Silent).unwrap();
    experiment.provenance.checkpoint = format!("times {factor}");
    experiment
}

fn plan(temperatures: &[Temperature], injections: u64) -> Plan {
    Plan { temperatures: temperatures.to_vec(), ..Plan::new(8, injections) }
}

const BOTH: [Temperature; 2] = [Temperature::Fit, Temperature::Range(8.0)];

fn run(experiment: &Experiment<'_>, plan: Plan) -> Run {
    let campaign = Campaign::new(experiment, plan).unwrap();
    let records = campaign.run(Strategy::Boxes, &Silent).unwrap();
    campaign.results(records)
}

fn compared(a: &Run, b: &Run) -> (Comparison, String) {
    let all = compare_all(&[[a, b]], Pairing::Paired, &Intervals::default()).unwrap();
    let text = comparison_text(&all, View::Markdown);
    (all.rows.into_iter().next().unwrap(), text)
}

/// The case: logits times 1.42 change no decision, and "lower" into "higher". At its own temperature, and at
/// equal range, a network is itself; only in the last layer bits of a logit flip otherwise.
#[test]
fn a_network_against_itself_at_another_scale() {
    let (one, other) = (scaled(1.0), scaled(SCALE));
    let layers = Some(vec!["conv1".to_string(), "layer*".to_string()]);
    let of = |experiment| {
        let mut run = run(experiment, Plan { layers: layers.clone(), ..plan(&BOTH, 400) });
        // A network without training says one class of nearly all images, too few for a verdict.
        let images = run.manifest.images.iter_mut().zip(0..);
        images.for_each(|(image, place)| image.label = place % 7);
        run
    };
    let (a, b) = (of(&one), of(&other));
    let (row, text) = compared(&a, &b);
    let sdc = row.sdc_difference().unwrap();
    assert_eq!(sdc.value, 0.0);
    let trained = row.all_layers().unwrap().ratio;
    assert!(trained.value < 0.9 && trained.high < 1.0, "{trained:?}");
    assert_eq!(row.scales.iter().map(|at| at.temperature).collect::<Vec<_>>(), BOTH);
    for at in &row.scales {
        let ratio = at.all_layers.unwrap().ratio;
        assert!((ratio.value - 1.0).abs() < 1e-5, "{at:?}");
        assert!((at.values[1] / at.values[0] - f64::from(SCALE)).abs() < 1e-5, "{at:?}");
        assert_eq!(at.all_layers.unwrap().verdict, Verdict::NoDifferenceShown);
    }
    assert_eq!(row.reliability.delta_loss, Verdict::None(Reason::DependsOnScale));
    assert_eq!(row.reliability.sdc, Verdict::NoDifferenceShown);
    for words in [
        "no verdict on reliability: ΔLoss: the ratio depends on the scale of the logits; SDC rate: no difference \
         shown (all layers alike: as trained 0.",
        ", at fitted temperature 1.00 [1.00, 1.00], at equal range of the logits (8) 1.00 [1.00, 1.00])",
        "| overall, layers alike, at fitted temperature",
        "what the logits were divided by: fit: ",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // Without it nothing tells the two apart, and the comparison says how to have it.
    let bare = |run: &Run| {
        let mut run = run.clone();
        run.manifest.plan.temperatures.clear();
        run.manifest.temperatures.clear();
        run
    };
    let (row, text) = compared(&bare(&a), &bare(&b));
    assert!(row.scales.is_empty());
    assert_eq!(row.reliability.delta_loss, Verdict::DeltaLossHigher);
    assert!(text.contains("run both campaigns with --temperature fit,range="), "{text}");
    // Of one run alone nothing is compared.
    assert!(compared(&a, &bare(&b)).0.scales.is_empty());

    // The last layer, too: another bit of another number, but no factor of 1.42.
    let of = |experiment| run(experiment, plan(&BOTH, 400));
    let (row, _) = compared(&of(&one), &of(&other));
    let [trained, fitted, range] = [
        row.last_layer.unwrap(),
        row.scales[0].last_layer.unwrap(),
        row.scales[1].last_layer.unwrap(),
    ]
    .map(|of| of.ratio.value.ln().abs());
    assert!(fitted < 0.5 * trained && range < 0.5 * trained, "{trained} {fitted} {range}");
}

/// Records hold |L(z/T) − L(z′/T)|, whichever way they are run, and what is masked holds 0.
#[test]
fn records_hold_delta_loss_at_each_temperature() {
    let mut experiment = scaled(1.0);
    experiment.goldens.truncate(5);
    let temperatures = [Temperature::Number(1.0), Temperature::Number(2.5)];
    let campaign = Campaign::new(&experiment, plan(&temperatures, 40)).unwrap();
    assert_eq!(campaign.temperatures(), [1.0, 2.5]);
    let records = campaign.run(Strategy::Boxes, &Silent).unwrap();
    let whole = campaign.run(Strategy::Whole { batch: 3 }, &Silent).unwrap();
    assert_eq!(text(&records), text(&whole));
    let mut changed = 0;
    for record in &records {
        let [one, cooler] = [0, 1].map(|place| record.delta_loss_at(place));
        let expected = record.delta_loss();
        assert!((one - expected).abs() < 1e-12 || one.is_nan() && expected.is_nan(), "{record:?}");
        if record.effect.outcome == Outcome::Masked {
            assert_eq!((one, cooler), (0.0, 0.0));
        } else if cooler.is_finite() {
            changed += u32::from(cooler != one);
        }
    }
    assert!(changed > 100, "{changed}");
    // A campaign without them holds none.
    let plain = run(&experiment, plan(&[], 40));
    assert!(plain.records.iter().all(|record| record.effect.rescaled == [None; 2]));
    assert!(plain.records.iter().all(|record| record.delta_loss_at(0).is_nan()));
}

/// Of a fault in a logit, from the logits themselves.
#[test]
fn the_census_works_at_a_temperature() {
    let mut experiment = scaled(1.0);
    experiment.goldens.truncate(6);
    let census = CensusRunner::new(&experiment, Mode::Logits, &[Detector::Range]).unwrap();
    let goldens: Vec<&Golden> = experiment.goldens.iter().collect();
    let by_image = |t| census.delta_loss_by_image(&goldens, 0, t).unwrap();
    let max = experiment.ranges.max["fc"];
    for temperature in [0.7, 3.0] {
        let (name, means) = by_image(temperature).pop().unwrap();
        assert_eq!(name, "fc");
        for (golden, mean) in experiment.goldens.iter().zip(means) {
            let loss = |logits: &[f32]| loss_at(logits, golden.label, temperature);
            let mut sum = 0.0;
            for (class, bit) in (0..7).flat_map(|class| (0..32).map(move |bit| (class, bit))) {
                let mut logits = golden.logits.clone();
                let flipped = f32::from_bits(logits[class].to_bits() ^ 1 << bit);
                logits[class] = Detector::Range.see(flipped, max);
                sum += (loss(&golden.logits) - loss(&logits)).abs();
                let found = GoldenAnswer::at(golden, temperature).with(class, logits[class]);
                assert!((found.score.loss - loss(&logits)).abs() < 1e-12 * (1.0 + loss(&logits)));
            }
            assert!((mean - sum / (7.0 * 32.0)).abs() < 1e-12, "{mean} {sum}");
        }
    }
    let [as_trained, at_one] = [1.0, 1.0 + 1e-15].map(by_image);
    for (a, b) in as_trained[0].1.iter().zip(&at_one[0].1) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }
}

/// Stores and exports of such campaigns have columns for them, others none; stops and shards change nothing.
#[test]
fn stores_and_exports_keep_them() {
    let mut experiment = scaled(1.0);
    experiment.goldens.truncate(7);
    let temperatures = [Temperature::Fit, Temperature::Range(18.5)];
    let bench = Bench { experiment, pixels: &[] };
    let plan = plan(&temperatures, 20);
    let run = bench.run(plan.clone());
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    run.save(&at("whole.sqlite")).unwrap();
    let back = Run::open(&at("whole.sqlite")).unwrap();
    assert_eq!(text(&back.records), text(&run.records));
    assert_eq!(back.manifest, run.manifest);
    // Stopped and gone on with, in shards, merged.
    for index in 1..=3 {
        let (path, shard) = (at(&format!("{index}.sqlite")), Shard { index, of: 3 });
        while bench.part(&path, &plan, shard, 2, Strategy::Boxes)
            != flipside::campaign::Ending::Complete
        {}
    }
    let parts: Vec<PathBuf> = (1..=3).map(|index| at(&format!("{index}.sqlite"))).collect();
    merge(&parts, &at("merged.sqlite")).unwrap();
    let merged = Run::open(&at("merged.sqlite")).unwrap();
    assert_eq!(text(&merged.records), text(&run.records));
    assert_eq!(merged.results_sha256(), run.results_sha256());

    let csv = |run: &Run| {
        let mut bytes = Vec::new();
        write_csv(run, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let table = csv(&run);
    let (heading, row) = (table.lines().next().unwrap(), table.lines().nth(1).unwrap());
    let tail = ",faulty_logits_hash,delta_loss_at_fit,delta_loss_at_range=18.5,pair_key,direction";
    assert!(heading.ends_with(tail), "{heading}");
    let cells: Vec<&str> = row.split(',').collect();
    let expected = run.records[0].delta_loss_at(1);
    assert_eq!(cells[cells.len() - 3].parse::<f64>().unwrap(), expected);
    write_parquet(&run, &mut fs::File::create(at("run.parquet")).unwrap()).unwrap();
    // Default campaigns have no such columns, nor the plan such a key.
    let plain = bench.run(Plan::new(8, 20));
    assert!(
        csv(&plain).lines().next().unwrap().ends_with(",faulty_logits_hash,pair_key,direction")
    );
    let json = serde_json::to_value(&plain.manifest).unwrap();
    assert!(json.get("temperatures").is_none() && json["plan"].get("temperatures").is_none());
    plain.save(&at("plain.sqlite")).unwrap();
    let columns = |name: &str| -> i64 {
        let connection = rusqlite::Connection::open(at(name)).unwrap();
        let sql = "SELECT count(*) FROM pragma_table_info('injections')";
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!((columns("plain.sqlite"), columns("whole.sqlite")), (19, 21));
    // The table without them is the plain one.
    let cut = |table: &str| -> Vec<String> {
        let rows = table.lines().map(|line| {
            let mut cells: Vec<&str> = line.split(',').collect();
            let pair_key = cells.len() - 2;
            cells.drain(pair_key - 2..pair_key);
            cells.join(",")
        });
        rows.collect()
    };
    assert_eq!(cut(&table), csv(&plain).lines().collect::<Vec<_>>());

    // One campaign isn't gone on with as the other, whichever was first.
    for (name, other) in [("plain.sqlite", &plan), ("whole.sqlite", &Plan::new(8, 20))] {
        let manifest = bench.campaign(other.clone()).manifest();
        let error = flipside::results::Store::resume(&at(name), &manifest, Shard::WHOLE).err();
        let error = error.unwrap().to_string();
        assert!(error.contains("their plans differ in 'temperatures'"), "{error}");
    }
    // An export is a list of faults; what isn't a temperature is no column of it.
    fs::write(at("list.csv"), &table).unwrap();
    let list = FaultList::open(&at("list.csv")).unwrap();
    let notes = list.notes();
    assert!(notes.iter().any(|note| note.contains("delta_loss_at_range=18.5")), "{notes:?}");
    fs::write(at("bad.csv"), table.replace("delta_loss_at_fit", "delta_loss_at_x")).unwrap();
    let error = FaultList::open(&at("bad.csv")).err().unwrap().to_string();
    assert!(error.contains("'delta_loss_at_x' isn't understood"), "{error}");
    // A store that lacks a value has none.
    let connection = rusqlite::Connection::open(at("whole.sqlite")).unwrap();
    connection.execute("DELETE FROM manifest WHERE key = 'temperatures'", []).unwrap();
    drop(connection);
    let error = Run::open(&at("whole.sqlite")).unwrap_err().to_string();
    assert!(error.contains("0 temperatures, where its plan asks for 2"), "{error}");
}

#[test]
fn what_cannot_be_fitted_is_refused() {
    let refused = |experiment: &mut Experiment<'_>, words: &str| {
        let error = experiment.fit_temperature().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    // Those that are right alone.
    let mut experiment = scaled(1.0);
    refused(&mut experiment, "all 130 evaluated images are right");
    experiment.goldens.truncate(99);
    refused(&mut experiment, "100 images at least, and there are 99");
    // Held against other labels than it has learned.
    let mut experiment = scaled(1.0);
    for golden in &mut experiment.goldens {
        let least = golden.logits.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        *golden = Golden::new(golden.image, least as u32, golden.logits.clone());
    }
    refused(&mut experiment, "The network is no better than guessing");
    // Not fitted.
    let bench = Bench::new(Head::Baseline);
    let error = Campaign::new(&bench, plan(&[Temperature::Fit], 20)).err().unwrap().to_string();
    assert!(error.contains("asks for a temperature that wasn't fitted"), "{error}");
    let hooks = Plan {
        protocol: Protocol::Goldeneye,
        detectors: vec![Detector::Range],
        ..plan(&[Temperature::Number(2.0)], 20)
    };
    let error = Campaign::new(&bench, hooks).err().unwrap().to_string();
    assert!(error.contains("the goldeneye protocol has a loss of its own"), "{error}");
}

/// Ranges over the very images have no false alarm; over others there is one where a value of a layer lies outside,
/// in as many images as a look at every value finds.
#[test]
fn false_alarms_are_counted_and_told() {
    let mut experiment = scaled(1.0);
    let images = experiment.goldens.len();
    assert_eq!(experiment.false_alarms, Some(FalseAlarms { alarms: 0, images }));
    let layers = layers(&experiment.network.model);
    experiment.measure_ranges(&layers, experiment.images, &[0, 1, 2, 3], &Silent).unwrap();
    experiment.count_false_alarms(&layers, &Silent).unwrap();
    let mut expected = 0;
    for golden in &experiment.goldens {
        let mut alone = experiment.clone();
        alone.measure_ranges(&layers, experiment.images, &[golden.image], &Silent).unwrap();
        let mut max = experiment.ranges.max.iter().zip(&alone.ranges.max);
        expected += usize::from(max.any(|((_, range), (_, own))| own > range));
    }
    assert!(0 < expected && expected < experiment.goldens.len(), "{expected}");
    assert_eq!(experiment.false_alarms, Some(FalseAlarms { alarms: expected, images }));
    let run = run(&experiment, plan(&[Temperature::Fit], 20));
    let how = Intervals::default();
    let figures = breakdown(&run, By::Layer, None, &[Detector::Range], &how).unwrap();
    let words = format!("false alarms of the ranges on {expected} of 130 images");
    for view in [View::Text, View::Markdown] {
        let said = run_text(&run, &figures, &how, view);
        assert!(
            said.contains(&words) && said.contains("Without faults: range of the logits"),
            "{said}"
        );
        assert!(
            said.contains("all layers alike: as trained ") && said.contains("; at fit "),
            "{said}"
        );
    }
    assert_eq!(run_json(&run, &figures, &how)["fault_free"]["false_alarms"]["alarms"], expected);
    assert!(compared(&run, &run).1.contains(&words));
    // Without a detector there are no ranges, without temperatures then nothing to be kept.
    let none = Plan { detectors: vec![Detector::None], ..plan(&[], 20) };
    assert!(Campaign::new(&experiment, none).unwrap().manifest().fault_free.is_none());
}
