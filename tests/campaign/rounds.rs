//! Campaigns whose layers stop when a figure is known closely enough.

use flipside::analysis::breakdown::{By, DeltaLoss, Figures, RunPart as Piece, breakdown};
use flipside::analysis::compare::{Pairing, compare_all};
use flipside::analysis::{Rates, stopped};
use flipside::campaign::Ending;
use flipside::plan::{Shard, Stratify};
use flipside::report::{View, comparison_text, run_json, run_text};
use flipside::results::Work;
use flipside::statistics::{Confidence, StoppingRule, Target};

use super::*;

fn until(target: Target, half_width: f64) -> Plan {
    let rule = StoppingRule::new(target, half_width, Confidence::P95).unwrap();
    Plan { until: Some(rule), ..Plan::new(6, 3000) }
}

/// Each layer holds the first injections of the plain campaign, up to the first look at which the interval
/// is narrow under both detectors, found here anew from all records.
#[test]
fn layers_stop_at_the_first_look_that_is_narrow_enough() {
    let bench = Bench::new(GUIDED);
    let plain = bench.run(Plan::new(6, 3000));
    for (target, half_width) in
        [(Target::Sdc, 0.05), (Target::Masked, 0.06), (Target::DeltaP, 0.035)]
    {
        let plan = until(target, half_width);
        let run = bench.run(plan.clone());
        let rule = plan.until.unwrap();
        let mut ends = Vec::new();
        for layer in 0..run.manifest.layers.len() {
            // The looks of a detector, whether or not an earlier one was narrow.
            let looks = |detector| {
                let mut sequence = rule.sequence(3000);
                let values =
                    plain.of(layer, detector).map(|record| Measure::from(target).of(record));
                values.filter_map(|value| sequence.push(value)).collect::<Vec<_>>()
            };
            let [none, range] = [Detector::None, Detector::Range].map(looks);
            let both = none.iter().zip(&range).find(|(a, b)| a.stop && b.stop);
            let end = both.map_or(none.last().unwrap().n, |(look, _)| look.n);
            for detector in [Detector::None, Detector::Range] {
                let kept: Vec<Record> = run.of(layer, detector).copied().collect();
                let first: Vec<Record> =
                    plain.of(layer, detector).take(end as usize).copied().collect();
                assert_eq!(text(&kept), text(&first), "{target:?} of layer {layer}");
            }
            ends.push(end);
        }
        let said = stopped(&run);
        assert_eq!(said.len(), 2 * run.manifest.layers.len());
        assert!(said.iter().zip(ends.iter().cycle()).all(|(said, end)| said.look.n == *end));
        let (least, most) = run.injections();
        assert_eq!((Some(&least), Some(&most)), (ends.iter().min(), ends.iter().max()));
        assert!(least < most && most <= 3000, "{target:?}: {ends:?}");
    }
}

/// Over several layers the watched rate has an interval, around an estimate that is above the plain one (its
/// layers stop early where they see few events); nothing else has. Layers keep theirs. Text and JSON say so.
#[test]
fn figures_of_stopped_networks_have_the_interval_that_holds() {
    let bench = Bench::new(GUIDED);
    let run = bench.run(until(Target::Sdc, 0.06));
    let how = Intervals::default();
    let all = [Detector::None, Detector::Range];
    let rows = breakdown(&run, By::Layer, None, &all, &how).unwrap();
    let is_alone = |estimate: &Estimate| {
        estimate.value.is_finite() && estimate.low.is_nan() && estimate.high.is_nan()
    };
    let is_network = |row: &&Figures| matches!(row.part, Piece::Network { .. });
    let (networks, layers): (Vec<&Figures>, Vec<&Figures>) = rows.iter().partition(is_network);
    assert_eq!(networks.len(), 6);
    for row in networks {
        let Rates { masked, benign, sdc, nonfinite, sdc_or_nonfinite, sdc5, .. } = &row.rates;
        for estimate in [masked, benign, nonfinite, sdc_or_nonfinite, sdc5, &row.delta_p] {
            assert!(is_alone(estimate), "{estimate:?}");
        }
        assert!(sdc.low < sdc.value && sdc.value < sdc.high, "{sdc:?}");
        if let DeltaLoss::Mean(mean) = &row.delta_loss {
            assert!(is_alone(mean));
        }
        // Rates of outcomes add up to 1 where none is corrected.
        let plain = 1.0 - masked.value - benign.value - nonfinite.value;
        assert!(sdc.value >= plain && sdc.value < 1.2 * plain, "{sdc:?}, {plain}");
    }
    assert!(layers.iter().all(|row| row.rates.masked.low.is_finite()));
    // A part of several layers is what is left of layers that were stopped, too; one layer has its own figures.
    let bits = breakdown(&run, By::Bit, None, &[Detector::None], &how).unwrap();
    assert!(bits.iter().all(|row| is_alone(&row.rates.sdc)));

    let said = "Over several layers only sdc has an interval";
    let text = run_text(&run, &rows, &how, View::Text);
    assert!(text.contains(said) && !text.contains("NaN"), "{text}");
    let json = run_json(&run, &rows, &how);
    let last = json["figures"].as_array().unwrap().last().unwrap();
    assert!(last["rates"]["masked"]["low"].is_null() && last["rates"]["sdc"]["low"].is_f64());
    let plain = bench.run(Plan::new(6, 40));
    let rows = breakdown(&plain, By::Layer, None, &all, &how).unwrap();
    assert!(!run_text(&plain, &rows, &how, View::Text).contains("several layers"));
}

#[test]
fn comparisons_of_stopped_runs_give_no_verdict() {
    let [a, b] = [Head::Baseline, GUIDED].map(|head| Bench::new(head).run(until(Target::Sdc, 0.1)));
    let compared = compare_all(&[[&a, &b]], Pairing::Paired, &Intervals::default()).unwrap();
    let row = &compared.rows[0];
    let overall = row.overall.iter().map(|overall| overall.improvement);
    let mut ratios = 0;
    for improvement in overall.chain(row.last_layer).chain(row.last_layer_before_scale) {
        let ratio = improvement.ratio;
        assert!(ratio.value.is_finite() && ratio.low.is_nan() && ratio.high.is_nan());
        assert!(matches!(improvement.verdict, Verdict::None(_)));
        ratios += 1;
    }
    assert_eq!(ratios, 8);
    for rate in &row.rates {
        let of = rate.difference;
        assert!((of.value - (rate.other.value - rate.baseline.value)).abs() < 1e-12);
        assert!(of.low.is_nan() && of.high.is_nan() && rate.discordant.is_none());
    }
    let text = comparison_text(&compared, View::Text);
    let said =
        "layers stopped by a rule, so that ratios and differences have no interval and no verdict";
    assert!(text.contains(said) && text.contains(", no verdict"), "{text}");
    assert!(!text.contains("NaN") && !text.contains("no difference shown"), "{text}");
}

#[test]
fn however_it_is_stopped_and_resumed_the_results_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(format!("{name}.sqlite"));
    let bench = Bench::new(GUIDED);
    let plan = until(Target::Sdc, 0.06);
    let expected = bench.run(plan.clone());
    let path = at("stopped");
    let mut stops = 0;
    while bench.part(&path, &plan, Shard::WHOLE, 2, Strategy::Boxes) == Ending::Stopped {
        stops += 1;
    }
    assert!(stops > 3, "{stops}");
    assert_eq!(Run::open(&path).unwrap().results_sha256(), expected.results_sha256());
    let path = at("batches");
    bench.part(&path, &plan, Shard::WHOLE, usize::MAX, Strategy::Whole { batch: 5 });
    let batches = Run::open(&path).unwrap();
    assert_eq!(batches.results_sha256(), expected.results_sha256());
    assert_eq!(batches.manifest.plan, plan);
}

#[test]
fn rules_that_wouldn_t_hold_are_refused() {
    let refused = |plan: Plan, part: &str| {
        let error = plan.check().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    let plan = until(Target::Sdc, 0.05);
    refused(Plan { injections: 0..100, ..plan.clone() }, "takes 128 injections a layer at least");
    refused(Plan { injections: 5..3000, ..plan.clone() }, "there are injections 5 to 3000");
    refused(Plan { stratify: Stratify::Bit, ..plan.clone() }, "not of strata");
    refused(Plan { list: Some("abc".into()), ..plan.clone() }, "not of a list's faults");
    let bench = Bench::new(Head::Baseline);
    let campaign = bench.campaign(plan.clone());
    let work = Work { shard: Shard { index: 1, of: 2 }, ..Work::whole() };
    let (records, never) = (std::sync::Mutex::new(Vec::new()), Default::default());
    let error = campaign.run_part(Strategy::Boxes, &work, &records, &Silent, &never).unwrap_err();
    assert!(error.to_string().contains("shard 1/2"), "{error}");
    // What came of injections that are done must be known.
    let work = Work { done: [(0, 3)].into(), ..Work::whole() };
    let error = campaign.run_part(Strategy::Boxes, &work, &records, &Silent, &never).unwrap_err();
    assert!(error.to_string().contains("not what came of it"), "{error}");
}
