//! Campaigns whose layers stop when a figure is known closely enough.

use flipside::analysis::stopped;
use flipside::campaign::Ending;
use flipside::plan::{Shard, Stratify};
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
                let mut sequence = rule.sequence();
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
        assert!(least < most && most <= 2048, "{target:?}: {ends:?}");
    }
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
