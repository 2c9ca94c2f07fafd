//! A run's figures taken apart, and several runs compared at once.

use flipside::analysis::breakdown::{By, DeltaLoss, Figures, RunPart as Piece, breakdown};
use flipside::analysis::compare::{Comparisons, Pairing, compare_all};
use flipside::plan::{Flips, Stratify};
use flipside::report::{View, comparison_text, run_json, run_text};
use flipside::results::Direction;
use flipside::statistics::{Confidence, RateInterval, Unit};

use strum::IntoEnumIterator;

use super::*;

fn apart(run: &Run, by: By, layer: Option<&str>) -> Vec<Figures> {
    let layer = layer.map(|name| [name]);
    breakdown(
        run,
        by,
        layer.as_ref().map(|name| &name[..]),
        &[Detector::None, Detector::Range],
        &Intervals::default(),
    )
    .unwrap()
}

/// The share of records with an outcome, counted.
fn share(records: &[&Record], outcome: Outcome) -> f64 {
    let found = records.iter().filter(|record| record.effect.outcome == outcome).count();
    found as f64 / records.len() as f64
}

fn near(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-12, "{a} {b}");
}

/// Every way of taking a layer apart has each of its records in one part, with the rates that counting gives.
#[test]
fn parts_are_counted() {
    let run = Bench::new(GUIDED).run(Plan::new(8, 120));
    let layer = &run.manifest.layers[1];
    let [_, height, width] = layer.shape[..] else { panic!("a map has three sizes") };
    for by in By::iter() {
        let parts = apart(&run, by, Some(&layer.name));
        for detector in [Detector::None, Detector::Range] {
            let of_detector = || parts.iter().filter(|part| part.detector == detector);
            assert_eq!(of_detector().map(|part| part.rates.records).sum::<u64>(), 120, "{by:?}");
            for part in of_detector() {
                let is_in = |record: &&Record| {
                    let element = record.place.unwrap().element as usize;
                    let [channel, pixel] = [element / (height * width), element % (height * width)];
                    match part.part {
                        Piece::Bit { bit } => record.mask() == Some(1 << bit),
                        Piece::Direction { direction } => {
                            let is_set = record.values().unwrap().before & record.mask().unwrap();
                            (is_set == 0) == (direction == Direction::ZeroToOne)
                        }
                        Piece::Channel { channel: of } => channel == of,
                        Piece::Position { row, column } => pixel == row * width + column,
                        _ => true,
                    }
                };
                let records: Vec<&Record> = run.of(1, detector).filter(is_in).collect();
                assert_eq!(part.layer.as_ref(), Some(&layer.name));
                assert_eq!(part.rates.records, records.len() as u64);
                near(part.rates.sdc.value, share(&records, Outcome::Sdc));
                near(part.rates.masked.value, share(&records, Outcome::Masked));
                let is_mean = matches!(part.delta_loss, DeltaLoss::Mean(_));
                assert_eq!(is_mean, detector == Detector::Range);
            }
        }
    }
}

/// The network's figures are weighted sums of the layers', the last one counted after the scale.
#[test]
fn networks_are_weighted_sums() {
    let run = Bench::new(GUIDED).run(Plan::new(8, 60));
    let rows = apart(&run, By::Layer, None);
    let layers = &run.manifest.layers;
    let rate = |layer: usize| rows[layer].rates.sdc.value;
    assert_eq!(rows.len(), 2 * (layers.len() + 3));
    let counted: Vec<usize> =
        (0..layers.len()).filter(|layer| layers[*layer].part != Part::LastLayer).collect();
    for (index, weighting) in Weighting::iter().enumerate() {
        let row = &rows[layers.len() + index];
        assert_eq!((row.part, &row.layer), (Piece::Network { weighting }, &None));
        let sum = |of: &dyn Fn(usize) -> f64| -> f64 { counted.iter().map(|l| of(*l)).sum() };
        let expected =
            sum(&|l| weighting.of(&layers[l]) * rate(l)) / sum(&|l| weighting.of(&layers[l]));
        near(row.rates.sdc.value, expected);
        assert!(row.rates.sdc.holds(expected));
    }
    // Bits of the whole network are of the same layers, alike.
    let bits = apart(&run, By::Bit, None);
    let records: u64 =
        bits.iter().filter(|b| b.detector == Detector::None).map(|b| b.rates.records).sum();
    assert_eq!(records, 60 * counted.len() as u64);
    // So are directions; each of the two is the mean of its layers' rates.
    let directions = apart(&run, By::Direction, None);
    let of_layer: Vec<Vec<Figures>> =
        counted.iter().map(|l| apart(&run, By::Direction, Some(&layers[*l].name))).collect();
    for row in &directions {
        let same = |part: &&Figures| (part.detector, part.part) == (row.detector, row.part);
        let rates: Vec<f64> =
            of_layer.iter().flatten().filter(same).map(|part| part.rates.sdc.value).collect();
        assert_eq!((row.layer.as_ref(), rates.len()), (None, counted.len()));
        near(row.rates.sdc.value, rates.iter().sum::<f64>() / rates.len() as f64);
    }
    assert_eq!(directions.len(), 4);
}

/// 40 injections over 32 strata: eight bits have two, which count half each.
#[test]
fn strata_are_evened_out() {
    let plan = Plan { stratify: Stratify::Bit, ..Plan::new(8, 40) };
    let run = Bench::new(Head::Baseline).run(plan);
    let row = &apart(&run, By::Layer, Some("fc"))[0];
    let mut by_bit: Vec<Vec<f64>> = vec![Vec::new(); 32];
    for record in run.of(6, Detector::None) {
        let event = f64::from(u8::from(record.effect.outcome == Outcome::Sdc));
        by_bit[record.mask().unwrap().trailing_zeros() as usize].push(event);
    }
    assert_eq!(by_bit.iter().filter(|events| events.len() == 2).count(), 8);
    let mean = |events: &Vec<f64>| events.iter().sum::<f64>() / events.len() as f64;
    near(row.rates.sdc.value, by_bit.iter().map(mean).sum::<f64>() / 32.0);
    assert!(row.rates.sdc.value > 0.0);
}

#[test]
fn what_can_t_be_told_apart_is_refused() {
    let bench = Bench::new(Head::Baseline);
    let (two_bits, two_values) =
        (Plan { bits: 2, ..Plan::new(8, 4) }, Plan { flips: Flips::Count(2), ..Plan::new(8, 4) });
    let how = Intervals::default();
    let refused = |run: &Run, by, layer: Option<&[&str]>, detector| {
        breakdown(run, by, layer, &[detector], &how).unwrap_err().to_string()
    };
    let run = bench.run(two_bits);
    assert!(refused(&run, By::Bit, None, Detector::None).contains("told apart"));
    assert!(breakdown(&run, By::Channel, None, &[Detector::None], &how).is_ok());
    // Two bits of some value flip in unlike directions.
    assert!(run.records.iter().any(|record| record.direction().is_none()));
    assert!(refused(&run, By::Direction, None, Detector::None).contains("in one known direction"));
    let run = bench.run(two_values);
    assert!(refused(&run, By::Direction, None, Detector::None).contains("one of several"));
    assert!(refused(&run, By::Channel, None, Detector::None).contains("told apart"));
    assert!(refused(&run, By::Layer, Some(&["conv9"]), Detector::None).contains("layer1.0.conv1"));
    let run = bench.run(Plan { detectors: vec![Detector::None], ..Plan::new(8, 4) });
    assert!(refused(&run, By::Layer, None, Detector::Range).contains("no detector 'range'"));
}

/// More confidence, and Clopper and Pearson, make wider intervals around the same values.
#[test]
fn intervals_are_as_asked() {
    let run = Bench::new(Head::Baseline).run(Plan::new(8, 400));
    let of = |how: &Intervals| {
        let rows = breakdown(&run, By::Layer, Some(&["fc"]), &[Detector::Range], how).unwrap();
        let DeltaLoss::Mean(loss) = rows[0].delta_loss else { panic!("a mean under range") };
        [rows[0].rates.sdc, loss]
    };
    let plain = Intervals::default();
    let wider = Intervals { confidence: Confidence::new(0.999).unwrap(), ..plain };
    let exact = Intervals { rates: RateInterval::ClopperPearson, ..plain };
    let width = |e: Estimate| e.high - e.low;
    let [narrow, wide] = [of(&plain), of(&wider)];
    for (narrow, wide) in narrow.into_iter().zip(wide) {
        assert!(narrow.value == wide.value && width(narrow) < width(wide));
    }
    assert!(width(of(&exact)[0]) > width(narrow[0]));
    let injections = of(&Intervals { unit: Unit::Injections, ..plain });
    near(injections[1].value, narrow[1].value);
    assert!(width(injections[1]) != width(narrow[1]));
}

#[test]
fn runs_are_reported() {
    let run = Bench::new(GUIDED).run(Plan::new(8, 20));
    let how = Intervals::default();
    let figures = apart(&run, By::Layer, None);
    let markdown = run_text(&run, &figures, &how, View::Markdown);
    for part in [
        "Detector none",
        "Detector range",
        "| backbone.conv1 4×16×16 ",
        "weighted by MACs",
        "hold 95 %",
        "seed 8",
    ] {
        assert!(markdown.contains(part), "{part} in\n{markdown}");
    }
    assert!(!run_text(&run, &figures, &how, View::Text).contains("|--"));
    let json = run_json(&run, &figures, &how);
    let rows = json["figures"].as_array().unwrap();
    assert_eq!(rows.len(), figures.len());
    assert_eq!(rows[0]["rates"]["sdc"]["value"], figures[0].rates.sdc.value);
    assert_eq!(json["intervals"]["confidence"], 0.95);
    let bits = run_json(&run, &apart(&run, By::Bit, Some("conv1")), &how);
    assert!(bits["figures"][0]["bit"].as_u64().unwrap() < 32);
    let directions = apart(&run, By::Direction, Some("conv1"));
    let json = run_json(&run, &directions, &how);
    assert_eq!(json["figures"][0]["direction"], "0-to-1");
    assert_eq!(json["figures"][1]["direction"], "1-to-0");
    let text = run_text(&run, &directions, &how, View::Markdown);
    assert!(text.contains("| backbone.conv1, 0-to-1 ") && text.contains(", 1-to-0 "), "{text}");
}

fn all(pairs: &[[&Run; 2]], pairing: Pairing) -> flipside::Result<Comparisons> {
    compare_all(pairs, pairing, &Intervals::default())
}

/// The published table's columns, and everything that its reader must be told.
#[test]
fn several_runs_are_compared_at_once() {
    let (a, b) = (Bench::new(Head::Baseline), Bench::new(GUIDED));
    let (mut a, mut b) = (a.run(Plan::new(8, 400)), b.run(Plan::new(8, 400)));
    let same = a.clone();
    a.manifest.setting.provenance.model = "resnet18".into();
    b.manifest.setting.provenance.model = "resnet18".into();
    b.manifest.setting.provenance.right = 8;
    b.manifest.setting.provenance.top2diff = Some(24.5);
    b.manifest.setting.provenance.checkpoint = "0123456789abcdef".into();
    let comparisons = all(&[[&a, &b], [&a, &same]], Pairing::Paired).unwrap();
    let [first, second] = &comparisons.rows[..] else { panic!("two rows") };
    let accuracy = first.accuracy.unwrap();
    near(accuracy.baseline.value, 700.0 / 9.0);
    near(accuracy.other.value, 800.0 / 9.0);
    // statsmodels 0.15's `proportion_confint(7, 9, method="wilson")` is [0.4526, 0.9368], and the exact one-sided end of
    // two misses 0.9590; `confint_proportions_2indep(8, 9, 7, 9, method="newcomb")`, without such ends, [-0.2497, 0.4489].
    near((accuracy.baseline.low * 1e6).round() / 1e6, 45.258897);
    near((accuracy.baseline.high * 1e6).round() / 1e6, 95.897683);
    let difference = accuracy.difference;
    near(difference.value, 100.0 / 9.0);
    assert!((-27.0..-24.97).contains(&difference.low), "{difference:?}");
    assert!((44.88..47.0).contains(&difference.high), "{difference:?}");
    near(first.top2diff.evaluated.unwrap(), 4.5);
    assert_eq!(first.overall.len(), 6);
    assert_eq!(first.published.as_ref().unwrap().last_layer, 2.87);
    assert!(second.published.is_none() && second.backbone_last_layer.is_none());
    assert_eq!(first.last_layer, compare(&a, &b).unwrap().last_layer);
    // fc of the baseline against the text-guided model's own fc, an Embedding.
    let mean = |run: &Run, layer: usize| {
        let select = select(run, vec![layer], Detector::Range);
        select.mean(Measure::DeltaLoss, &Intervals::default()).unwrap().value
    };
    near(first.backbone_last_layer.unwrap().ratio.value, mean(&a, 6) / mean(&b, 6));

    let text = comparison_text(&comparisons, View::Markdown);
    for part in [
        "77.78 [45.26, 95.90] → 88.89 [",
        "11.11 [-2",
        "69.60 → 69.68",
        "2.87",
        "published formulas",
        "our reading",
        "Protocol strict",
        "detector none and range",
        "site output",
        "images 7",
        "n 400 a layer",
        "seed 8",
        "0123456789ab.",
        "nonfinite",
        "weighted by neurons",
        "weighted by MACs",
        "without the extra Linear",
        "hold 95 %",
        "last layer, before the scale",
        "backbone's own last Linear",
    ] {
        assert!(text.contains(part), "'{part}' in\n{text}");
    }
    assert!(!comparison_text(&comparisons, View::Text).contains('|'));
    let json = serde_json::to_value(&comparisons).unwrap();
    assert_eq!(json["rows"][0]["published"]["top2diff"], 3.07);
    assert_eq!(json["footer"]["detectors"][1], "range");

    assert!(all(&[], Pairing::Paired).unwrap_err().to_string().contains("another run"));
}

/// Runs of two seeds have nothing in common but their layers: refused as a pair, and not the same figure as
/// one.
#[test]
fn faults_of_their_own_are_compared_unpaired() {
    let bench = Bench::new(Head::Baseline);
    let (a, b) = (bench.run(Plan::new(8, 400)), bench.run(Plan::new(9, 420)));
    let refused = all(&[[&a, &b]], Pairing::Paired).unwrap_err().to_string();
    assert!(refused.contains("seeds differ (8 and 9); --unpaired"), "{refused}");
    let row = &all(&[[&a, &b]], Pairing::Unpaired).unwrap().rows[0];
    assert_eq!((row.seeds, row.injections), ([8, 9], [(400, 400), (420, 420)]));
    let ratio = row.last_layer.unwrap().ratio;
    assert!(ratio.low < 1.0 && 1.0 < ratio.high, "{ratio:?}");
    // Even of one run with itself, whose pairs have the ratio 1 without any doubt.
    let ratio = all(&[[&a, &a]], Pairing::Unpaired).unwrap().rows[0].last_layer.unwrap().ratio;
    assert!(ratio.value == 1.0 && ratio.low < 1.0 && 1.0 < ratio.high, "{ratio:?}");
}
