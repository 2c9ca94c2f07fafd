//! Many readings of a comparison at once: the primary one, the family of the others, layers, and equivalence.

use flipside::analysis::compare::{
    Comparison, Improvement, MarginFinding, Pairing, PlannedReading, Reading, Verdict, compare_all,
    compare_asked,
};
use flipside::report::{View, compared_layers_text, comparison_text};
use flipside::statistics::{Confidence, holm};
use strum::IntoEnumIterator;

use super::verdicts::with_accuracy;
use super::*;

fn runs() -> [Run; 2] {
    [Head::Baseline, GUIDED]
        .map(|head| with_accuracy(&Bench::new(head).run(Plan::new(8, 400)), 150))
}

fn asked(runs: &[Run; 2], primary: Reading, margin: Option<f64>) -> Comparison {
    let question = PlannedReading::new(primary, margin).unwrap();
    let how = Intervals::default();
    let compared = compare_asked(&[[&runs[0], &runs[1]]], Pairing::Paired, &how, &question);
    compared.unwrap().rows.remove(0)
}

/// Every improvement of a comparison.
fn improvements(row: &Comparison) -> Vec<Improvement> {
    let single = [row.last_layer, row.last_layer_before_scale, row.backbone_last_layer];
    let overall = row.overall.iter().map(|overall| overall.improvement);
    let layers = row.by_layer.iter().filter_map(|layer| layer.delta_loss);
    single.into_iter().flatten().chain(overall).chain(layers).collect()
}

/// p, adjusted p and verdict of every reading but the primary one, each figure once.
fn family(row: &Comparison, primary: Option<Improvement>) -> Vec<(f64, f64, Verdict)> {
    let mut seen: Vec<[f64; 2]> = Vec::new();
    let mut members = Vec::new();
    for of in improvements(row) {
        let key = [of.baseline, of.other];
        if primary.is_some_and(|primary| key == [primary.baseline, primary.other]) {
            assert_eq!(of.adjusted_p, None);
            continue;
        }
        let same = seen.iter().position(|seen| *seen == key);
        if let (None, Some(p)) = (same, of.p) {
            members.push((p, of.adjusted_p.unwrap(), of.verdict));
            seen.push(key);
        }
    }
    let rates = row.rates.iter().chain(row.by_layer.iter().filter_map(|layer| layer.sdc.as_ref()));
    let of_rates = rates.filter_map(|of| Some((of.p?, of.adjusted_p?, of.verdict)));
    members.extend(of_rates);
    members
}

/// Adjusted p-values are Holm's over everything but the primary reading, and decide on the verdicts.
#[test]
fn all_readings_but_one_are_a_family() {
    let runs = runs();
    for primary in Reading::iter() {
        let row = asked(&runs, primary, None);
        assert_eq!(row.refusals, []);
        let of_primary = match primary {
            Reading::DeltaLoss => row.all_layers().copied(),
            Reading::DeltaLossLastLayer => row.last_layer,
            Reading::DeltaLossLastLayerBeforeScale => row.last_layer_before_scale,
            Reading::DeltaLossNeurons => row.overall_of(Weighting::Neurons, true).copied(),
            Reading::DeltaLossMacs => row.overall_of(Weighting::Macs, true).copied(),
            _ => None,
        };
        let members = family(&row, of_primary);
        assert_eq!(members.len(), row.family, "{primary:?}");
        assert!(members.len() > 20, "{}", members.len());
        let adjusted = holm(&members.iter().map(|(p, ..)| *p).collect::<Vec<_>>());
        for ((p, found, verdict), expected) in members.iter().zip(adjusted) {
            assert!((found - expected).abs() < 1e-12, "{primary:?}: {p} {found} {expected}");
            assert_eq!(*verdict == Verdict::NoDifferenceShown, *found >= 0.05, "{p} {found}");
        }
        // Its own interval decides on the primary reading.
        let own = primary.of(&row).unwrap();
        let verdicts = match of_primary {
            Some(of) => [of.verdict, Verdict::of_ratio(&own)],
            None => {
                let rate = row.rates.iter().find(|rate| primary.is_rate(rate)).unwrap();
                assert_eq!(rate.adjusted_p, None);
                let of = match rate.outcome {
                    Outcome::Nonfinite => Verdict::of_nonfinite(&own),
                    _ => Verdict::of_sdc(&own),
                };
                [rate.verdict, of]
            }
        };
        assert_eq!(verdicts[0], verdicts[1], "{primary:?}");
    }
}

/// An interval that leaves out no difference goes with p < 0.05, and the other way round.
#[test]
fn p_values_and_intervals_say_the_same() {
    let row = asked(&runs(), Reading::DeltaLoss, None);
    let mut both = [0, 0];
    for of in improvements(&row) {
        assert_eq!(of.p.unwrap() < 0.05, !of.ratio.holds(1.0), "{of:?}");
        both[usize::from(of.ratio.holds(1.0))] += 1;
    }
    for of in row.rates.iter().chain(row.by_layer.iter().filter_map(|layer| layer.sdc.as_ref())) {
        assert_eq!(of.p.unwrap() < 0.05, !of.difference.holds(0.0), "{of:?}");
        both[usize::from(of.difference.holds(0.0))] += 1;
    }
    assert!(both[0] > 0 && both[1] > 0, "{both:?}");
}

#[test]
fn readings_that_are_not_measured_are_refused() {
    let plan = Plan { detectors: vec![Detector::None], ..Plan::new(8, 400) };
    let runs = [Head::Baseline, GUIDED].map(|head| Bench::new(head).run(plan.clone()));
    let how = Intervals::default();
    let of = |primary, margin| {
        let question = PlannedReading::new(primary, margin)?;
        compare_asked(&[[&runs[0], &runs[1]]], Pairing::Paired, &how, &question)
    };
    let error = of(Reading::SdcRange, None).unwrap_err().to_string();
    assert!(error.contains("--primary sdc-range: the runs have no such reading"), "{error}");
    // The default one may be missing: everything else is the family.
    let row = of(Reading::DeltaLoss, Some(1.1)).unwrap().rows.remove(0);
    assert_eq!(row.family, 2 + row.by_layer.len());
    assert!(matches!(row.equivalence.unwrap().shown, MarginFinding::None(_)));
    for (primary, margin, part) in [
        (Reading::DeltaLoss, 1.0, "a factor above 1"),
        (Reading::DeltaLoss, f64::INFINITY, "a factor above 1"),
        (Reading::Sdc, 0.0, "percentage points between 0 and 100"),
        (Reading::Sdc, f64::NAN, "percentage points between 0 and 100"),
    ] {
        let error = of(primary, Some(margin)).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn equivalence_is_of_the_primary_reading() {
    let [a, b] = runs();
    let itself = asked(&[a.clone(), a.clone()], Reading::DeltaLoss, Some(1.1));
    assert_eq!(itself.equivalence.unwrap().shown, MarginFinding::Equivalent);
    // The interval of both tests is narrower than that of 95 %, and the margin decides.
    let runs = [a, b];
    let row = asked(&runs, Reading::Sdc, Some(0.01));
    let (of, wide) = (row.equivalence.unwrap(), *row.sdc_difference().unwrap());
    let narrow = of.estimate.unwrap();
    assert!(narrow.low > wide.low && narrow.high < wide.high, "{narrow:?} {wide:?}");
    assert_eq!((of.shown, of.confidence.share()), (MarginFinding::Neither, 0.9));
    let margin = narrow.high.max(-narrow.low) + 0.01;
    let of = asked(&runs, Reading::Sdc, Some(margin)).equivalence.unwrap();
    assert_eq!(of.shown, MarginFinding::Equivalent);
    let how = Intervals::default();
    let question = PlannedReading::new(Reading::Sdc, Some(margin)).unwrap();
    let pair = [[&runs[0], &runs[1]]];
    let compared = compare_asked(&pair, Pairing::Paired, &how, &question).unwrap();
    let text = comparison_text(&compared, View::Text);
    let line = "Margin: in the SDC rate without a detector the two are equivalent within ";
    assert!(text.contains(line) && text.contains(", at 90 %)."), "{text}");
    assert!(text.contains("sdc (primary)"), "{text}");
    // Without a margin nothing is said of it, but that no difference shown isn't equivalence.
    let plain = compare_all(&pair, Pairing::Paired, &how).unwrap();
    let text = comparison_text(&plain, View::Text);
    assert!(!text.contains("Margin:") && text.contains("--margin tests for that"), "{text}");
    let half = Intervals { confidence: Confidence::new(0.4).unwrap(), ..how };
    let error = compare_asked(&pair, Pairing::Paired, &half, &question).unwrap_err().to_string();
    assert!(error.contains("--margin needs a confidence above 50 %"), "{error}");
}

/// Layers stand beside each other by name and shape, the last one after the scale; paired or not.
#[test]
fn layers_are_compared_one_by_one() {
    let runs = runs();
    let how = Intervals::default();
    for pairing in [Pairing::Paired, Pairing::Unpaired] {
        let compared = compare_all(&[[&runs[0], &runs[1]]], pairing, &how).unwrap();
        let row = &compared.rows[0];
        let names: Vec<&str> = row.by_layer.iter().map(|of| of.layer.as_str()).collect();
        let layers = Scope::ALL.layers(&runs[0]);
        let expected: Vec<&str> =
            layers.iter().map(|i| runs[0].manifest.layers[*i].name.as_str()).collect();
        assert_eq!(names, expected);
        let last = row.by_layer.last().unwrap();
        assert_eq!(last.delta_loss, row.last_layer, "the last layer is one figure");
        for (of, layer) in row.by_layer.iter().zip(layers) {
            let sdc = select(&runs[0], vec![layer], Detector::None);
            let rate = sdc.mean(Measure::Is(Outcome::Sdc), &how).unwrap();
            assert_eq!(of.sdc.unwrap().baseline, rate.times(100.0), "{}", of.layer);
        }
        for view in [View::Text, View::Markdown] {
            let text = compared_layers_text(&compared, view);
            assert!(expected.iter().all(|name| text.contains(name)), "{text}");
            assert!(text.contains(&format!("are a family of {}: ", row.family)), "{text}");
        }
    }
}
