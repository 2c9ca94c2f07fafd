//! What two runs must have in common to be compared, field by field, and which of their layers are.

use flipside::analysis::compare::{
    Comparison, Comparisons, Discordant, Improvement, Pairing, RateChange, compare_all,
};
use flipside::fault::Site;
use flipside::plan::Protocol;
use flipside::report::{View, comparison_text};
use flipside::results::Manifest;
use flipside::statistics::{Confidence, StoppingRule, Target};
use serde_json::{Value, json};

use super::*;

fn compared(a: &Run, b: &Run, pairing: Pairing) -> flipside::Result<Comparisons> {
    compare_all(&[[a, b]], pairing, &Intervals::default())
}

fn paired(a: &Run, b: &Run) -> Comparison {
    compared(a, b, Pairing::Paired).unwrap().rows.remove(0)
}

fn refusal(a: &Run, b: &Run, pairing: Pairing) -> String {
    compared(a, b, pairing).unwrap_err().to_string()
}

fn of_layers(patterns: &[&str]) -> Plan {
    let layers = patterns.iter().map(|pattern| pattern.to_string()).collect();
    Plan { layers: Some(layers), ..Plan::new(8, 400) }
}

/// One checkpoint against itself is 1, whichever layers either run was told: those in common are compared,
/// and the others named.
#[test]
fn a_checkpoint_is_itself_over_any_layers() {
    for (head, one, two, common, left_out) in [
        (Head::Baseline, Some(vec!["layer2.*", "fc"]), Some(vec!["fc"]), vec!["fc"], [3, 0]),
        (Head::Baseline, Some(vec!["fc"]), None, vec!["fc"], [0, 6]),
        (
            Head::Baseline,
            Some(vec!["conv1", "fc"]),
            Some(vec!["fc", "layer1.*"]),
            vec!["fc"],
            [1, 2],
        ),
        // Before the scale isn't after it.
        (GUIDED, Some(vec!["conv1", "head"]), None, vec!["backbone.conv1", "head"], [0, 7]),
        (GUIDED, Some(vec!["scaled", "fc"]), Some(vec!["head", "fc"]), vec!["backbone.fc"], [1, 1]),
    ] {
        let bench = Bench::new(head);
        let run = |layers: &Option<Vec<&str>>| {
            bench.run(layers.as_ref().map_or(Plan::new(8, 400), |layers| of_layers(layers)))
        };
        let (a, b) = (run(&one), run(&two));
        for (a, b, left_out) in [(&a, &b, left_out), (&b, &a, [left_out[1], left_out[0]])] {
            let row = paired(a, b);
            let layers = row.layers.as_ref().unwrap();
            assert_eq!(layers.common, common);
            assert_eq!(layers.left_out.each_ref().map(Vec::len), left_out, "{layers:?}");
            assert_eq!(layers.alone.each_ref().map(Vec::len), [0, 0]);
            let overall = row.overall.iter().map(|overall| overall.improvement);
            let mut ratios = 0;
            for improvement in overall.chain(row.last_layer).chain(row.last_layer_before_scale) {
                let ratio = improvement.ratio;
                assert_eq!(
                    (ratio.value, ratio.low, ratio.high),
                    (1.0, 1.0, 1.0),
                    "{improvement:?}"
                );
                ratios += 1;
            }
            assert!(ratios >= 3, "{ratios}");
            let zero = |e: Estimate| (e.value, e.low, e.high) == (0.0, 0.0, 0.0);
            assert!(row.rates.len() == 4 && row.rates.iter().all(|rate| zero(rate.difference)));
            assert!(row.published.is_none());
        }
    }
}

/// The case: 0 SDC against 3 of the same 200 faults. McNemar's p is 0.25, and the interval holds 0.
#[test]
fn a_few_events_show_no_difference() {
    let plan = Plan { injections: 0..200, ..of_layers(&["fc"]) };
    let mut baseline = Bench::new(Head::Baseline).run(plan);
    for record in &mut baseline.records {
        record.effect.outcome = Outcome::Benign;
    }
    baseline.manifest.setting.provenance.checkpoint = "one".into();
    let mut other = baseline.clone();
    other.manifest.setting.provenance.checkpoint = "other".into();
    let hit = other.records.iter_mut().filter(|record| record.detector == Detector::None).take(3);
    hit.for_each(|record| record.effect.outcome = Outcome::Sdc);
    let compared = compared(&baseline, &other, Pairing::Paired).unwrap();
    let rates = &compared.rows[0].rates;
    let find = |detector| {
        let is = |rate: &&RateChange| (rate.outcome, rate.detector) == (Outcome::Sdc, detector);
        *rates.iter().find(is).unwrap()
    };
    let sdc = find(Detector::None);
    assert!((sdc.difference.value - 1.5).abs() < 1e-12, "{sdc:?}");
    assert!(sdc.difference.low < 0.0 && 4.0 < sdc.difference.high, "{sdc:?}");
    let none = Discordant { only_in_baseline: 0, only_in_other: 0, mcnemar_p: 1.0 };
    let three = Discordant { only_in_other: 3, mcnemar_p: 0.25, ..none };
    assert_eq!(sdc.discordant, Some(three));
    // Two checkpoints of one seed and equal answers: exactly 0, but not for certain.
    let range = find(Detector::Range);
    assert_eq!((range.difference.value, range.discordant), (0.0, Some(none)));
    assert!(range.difference.low < -1.0 && 1.0 < range.difference.high, "{range:?}");
    for view in [View::Text, View::Markdown] {
        let text = comparison_text(&compared, view);
        assert!(text.contains("0 and 3, 0.250") && text.contains("Only in one: "), "{text}");
    }
    let json = serde_json::to_value(compared.rows[0].rates[0]).unwrap();
    assert_eq!((&json["only_in_other"], &json["mcnemar_p"]), (&json!(3), &json!(0.25)));
    // The same faults, but not taken for pairs.
    let unpaired = compare_all(&[[&baseline, &other]], Pairing::Unpaired, &Intervals::default());
    let rate = unpaired.unwrap().rows[0].rates[0];
    assert!(rate.discordant.is_none() && rate.difference.holds(0.0), "{rate:?}");
    assert!(serde_json::to_value(rate).unwrap().get("mcnemar_p").is_none());
}

#[test]
fn the_text_says_which_layers_were_compared() {
    let bench = Bench::new(Head::Baseline);
    let (some, fc) = (bench.run(of_layers(&["layer2.*", "fc"])), bench.run(of_layers(&["fc"])));
    let text = comparison_text(&compared(&some, &fc, Pairing::Paired).unwrap(), View::Text);
    let line = "figures are of the layers in common: 1 (fc); left out of the baseline: 3 (layer2.0.conv1, layer2.0.conv2, \
                layer2.0.downsample.0).";
    assert!(text.contains(line), "{text}");
    // Unpaired, too.
    let row = compared(&some, &fc, Pairing::Unpaired).unwrap().rows.remove(0);
    assert_eq!(row.layers.unwrap().left_out[0].len(), 3);
    assert_eq!(row.overall[0].improvement.ratio.value, 1.0);
    // Nothing is said of whole networks, nor written.
    let (a, b) = (bench.run(Plan::new(8, 4)), Bench::new(GUIDED).run(Plan::new(8, 4)));
    let whole = compared(&a, &b, Pairing::Paired).unwrap();
    assert!(whole.rows[0].layers.is_none());
    assert!(!comparison_text(&whole, View::Text).contains("layers in common"));
    let json = serde_json::to_value(&whole.rows[0]).unwrap();
    assert!(json.get("layers").is_none() && json.get("differences").is_none());
}

/// A figure without what is over a family of readings, which depends on the others.
fn alone(improvement: Option<Improvement>) -> Option<Improvement> {
    improvement.map(|improvement| Improvement { adjusted_p: None, ..improvement })
}

/// The two heads by equal patterns: `fc` is the last layer of the one and the extra Linear of the other.
#[test]
fn one_name_may_be_two_places() {
    let (a, b) = (Bench::new(Head::Baseline), Bench::new(GUIDED));
    let (fc, extra) = (a.run(of_layers(&["fc"])), b.run(of_layers(&["fc"])));
    let row = paired(&fc, &extra);
    assert!(row.backbone_last_layer.is_some() && row.overall.is_empty() && row.rates.is_empty());
    let whole = paired(&a.run(Plan::new(8, 400)), &b.run(Plan::new(8, 400)));
    assert_eq!(alone(row.backbone_last_layer), alone(whole.backbone_last_layer));
    // The baseline's last layer beside the other's, before and after the scale.
    let last = b.run(of_layers(&["head", "scaled"]));
    let row = paired(&fc, &last);
    assert_eq!(alone(row.last_layer), alone(whole.last_layer));
    assert_eq!(alone(row.last_layer_before_scale), alone(whole.last_layer_before_scale));
    assert_eq!(row.layers.unwrap().left_out, [Vec::<String>::new(), vec![]]);
    let conv = a.run(of_layers(&["conv1"]));
    for pairing in [Pairing::Paired, Pairing::Unpaired] {
        let error = refusal(&conv, &last, pairing);
        assert!(error.contains("no layer in common (conv1 of the one, head, "), "{error}");
    }
}

/// Inputs, weights, hooks and chosen layers know no place after the scale: the last layer counts all the
/// same, once.
#[test]
fn the_last_layer_counts_in_every_network() {
    let outputs = Plan::new(8, 20);
    let of_site = |site| Plan { site, detectors: vec![Detector::None], ..Plan::new(8, 20) };
    let hooks = Plan {
        protocol: Protocol::Goldeneye,
        detectors: vec![Detector::Range],
        ..Plan::new(8, 20)
    };
    for (plan, expected) in [
        (outputs, Part::AfterScale),
        (of_site(Site::Input), Part::LastLayer),
        (of_site(Site::Weight), Part::LastLayer),
        (hooks, Part::LastLayer),
        (of_layers(&["conv1", "head"]), Part::LastLayer),
        (of_layers(&["head", "scaled"]), Part::AfterScale),
    ] {
        let name = format!("{plan:?}");
        let run = Bench::new(GUIDED).run(plan);
        let counted =
            Scope::ALL.layers(&run).into_iter().map(|index| run.manifest.layers[index].part);
        let last: Vec<Part> =
            counted.filter(|part| [Part::LastLayer, Part::AfterScale].contains(part)).collect();
        assert_eq!(last, [expected], "{name}");
    }
}

/// Layers of one name and output may take inputs of two sizes: their faults aren't the same.
#[test]
fn the_footer_says_where_the_faults_are_the_same() {
    let heads = [Bench::new(Head::Baseline), Bench::new(GUIDED)];
    for (plan, expected, words) in [
        (Plan::new(8, 20), [7, 7], "the same faults in both,"),
        (
            Plan { site: Site::Input, detectors: vec![Detector::None], ..Plan::new(8, 20) },
            [6, 7],
            "the same faults in 6 of the 7 layers in common,",
        ),
    ] {
        let [a, b] = heads.each_ref().map(|bench| bench.run(plan.clone()));
        let both = compared(&a, &b, Pairing::Paired).unwrap();
        let same = both.rows[0].same_faults.unwrap();
        assert_eq!([same.layers, same.of], expected);
        let text = comparison_text(&both, View::Text);
        assert!(text.contains(words), "{text}");
        let json = serde_json::to_value(&both.rows[0]).unwrap();
        assert_eq!(json.get("same_faults").is_some(), expected[0] < expected[1]);
        let unpaired = compared(&a, &b, Pairing::Unpaired).unwrap();
        assert!(unpaired.rows[0].same_faults.is_none());
        assert!(comparison_text(&unpaired, View::Text).contains("each its own faults"));
    }
    // Nothing in common is nothing the same.
    let input = |patterns: &[&str]| Plan {
        site: Site::Input,
        detectors: vec![Detector::None],
        ..of_layers(patterns)
    };
    let (fc, head) = (heads[0].run(input(&["fc"])), heads[1].run(input(&["head"])));
    let text = comparison_text(&compared(&fc, &head, Pairing::Paired).unwrap(), View::Text);
    assert!(text.contains("each its own faults") && !text.contains("the same faults"), "{text}");
    // Layers that were chosen, of equal inputs.
    let (one, two) = (heads[0].run(input(&["conv1", "fc"])), heads[1].run(input(&["conv1"])));
    let text = comparison_text(&compared(&one, &two, Pairing::Paired).unwrap(), View::Text);
    assert!(text.contains("the same faults in both,"), "{text}");
}

#[test]
fn faults_are_looked_up_in_the_records() {
    let run = Bench::new(Head::Baseline).run(Plan::new(8, 10));
    let mut other = run.clone();
    let place = other.records[23].place.as_mut().unwrap();
    place.element += 1;
    let (n, layer) = (other.records[23].n, &other.manifest.layers[other.records[23].layer].name);
    // The second record of an injection is of its other detector.
    let place = other.records[22].place.as_mut().unwrap();
    place.element += 1;
    let error = refusal(&run, &other, Pairing::Paired);
    assert!(error.contains(&format!("injection {n} into layer '{layer}'")), "{error}");
    assert!(compared(&run, &other, Pairing::Unpaired).is_ok());
}

/// What a difference in a field does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Refuse,
    RefusePairs,
    Say,
    /// Nothing: it is what is compared, shown by itself, or without effect on the answers.
    Nothing,
}

/// The manifest with another value of a field.
fn with(run: &Run, path: &[&str], value: Value) -> Run {
    let mut json = serde_json::to_value(&run.manifest).unwrap();
    let field = path.iter().fold(&mut json, |json, key| json.get_mut(key).expect(key));
    assert_ne!(*field, value, "{path:?}");
    *field = value;
    let changed: Manifest = serde_json::from_value(json).unwrap();
    let (layers, images) = (run.manifest.layers.clone(), run.manifest.images.clone());
    Run { manifest: Manifest { layers, images, ..changed }, ..run.clone() }
}

/// Every field of a manifest and its plan has a decision, and that is what happens.
#[test]
fn every_field_is_decided_on() {
    use Does::*;
    let run = Bench::new(Head::Baseline).run(Plan::new(8, 10));
    let until = StoppingRule::new(Target::Sdc, 0.1, Confidence::P95).unwrap();
    let fields = [
        (vec!["version"], json!("0.0.0"), Say),
        (vec!["commit"], json!("abc"), Nothing),
        (vec!["head"], json!("text-guided"), Nothing),
        (vec!["has_scale"], json!(true), Nothing),
        (vec!["fault_free"], json!({"logit_range": 9.0}), Nothing),
        (vec!["classes"], json!(9), Refuse),
        (vec!["image_size"], json!(32), RefusePairs),
        (vec!["device"], json!("cuda"), Say),
        (vec!["compute"], json!("tf32"), Say),
        (vec!["instruction_set"], json!("else"), Nothing),
        (vec!["image_list"], json!("else"), RefusePairs),
        (vec!["ranges_over"], json!({"images": 5, "data": null}), RefusePairs),
        (vec!["provenance", "model"], json!("else"), Nothing),
        (vec!["provenance", "checkpoint"], json!("else"), Nothing),
        (vec!["provenance", "data"], json!("else"), Refuse),
        (vec!["provenance", "evaluated"], json!(8), RefusePairs),
        (vec!["provenance", "right"], json!(5), Nothing),
        (vec!["provenance", "top2diff"], json!(5.0), Nothing),
        (vec!["plan", "seed"], json!(9), RefusePairs),
        (vec!["plan", "injections"], json!({"start": 0, "end": 11}), RefusePairs),
        (vec!["plan", "until"], serde_json::to_value(until).unwrap(), RefusePairs),
        (vec!["plan", "site"], json!("weight"), Refuse),
        (vec!["plan", "flips"], json!({"count": 2}), Refuse),
        (vec!["plan", "bits"], json!(2), Refuse),
        (vec!["plan", "stratify"], json!("bit"), RefusePairs),
        (vec!["plan", "list"], json!("else"), RefusePairs),
        (vec!["plan", "detectors"], json!(["range"]), Refuse),
        (vec!["plan", "layers"], json!(["fc"]), Nothing),
        (vec!["plan", "labels"], json!("golden"), Refuse),
        (vec!["plan", "protocol"], json!("goldeneye"), Refuse),
    ];
    // None is missing.
    let json = serde_json::to_value(&run.manifest).unwrap();
    let keys = |json: &Value| json.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut expected: Vec<String> = keys(&json);
    expected.retain(|key| key != "plan" && key != "provenance");
    expected.extend(keys(&json["provenance"]).iter().map(|key| format!("provenance.{key}")));
    expected.extend(keys(&json["plan"]).iter().map(|key| format!("plan.{key}")));
    let mut found: Vec<String> = fields.iter().map(|(path, ..)| path.join(".")).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);

    for (path, value, does) in fields {
        let other = with(&run, &path, value);
        let [pairs, unpaired] =
            [Pairing::Paired, Pairing::Unpaired].map(|pairing| compared(&run, &other, pairing));
        assert_eq!(pairs.is_err(), matches!(does, Refuse | RefusePairs), "{path:?}");
        assert_eq!(unpaired.is_err(), does == Refuse, "{path:?}");
        for error in [&pairs, &unpaired].into_iter().filter_map(|result| result.as_ref().err()) {
            let error = error.to_string();
            assert!(error.contains("the runs can't be compared: their "), "{error}");
            assert_eq!(error.contains("--unpaired"), does == RefusePairs, "{error}");
        }
        if let Ok(compared) = pairs {
            let text = comparison_text(&compared, View::Text);
            assert_eq!(text.contains("also differ in: "), does == Say, "{path:?}: {text}");
            assert_eq!(compared.rows[0].differences.len(), usize::from(does == Say));
        }
    }
    // Unpaired runs say what they don't show elsewhere, and leave out what is of other images.
    let other = with(&run, &["provenance", "evaluated"], json!(8));
    let row = compared(&run, &other, Pairing::Unpaired).unwrap().rows.remove(0);
    assert_eq!(row.differences, ["numbers of evaluated images 9 and 8"]);
    assert!(row.accuracy.is_none() && row.top2diff.evaluated.is_none());
}
