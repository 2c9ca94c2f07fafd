//! Campaigns of some bits alone, and comparisons bit by bit.

use std::collections::BTreeSet;

use flipside::analysis::compare::{
    BitsCompared, Comparison, Pairing, Verdict, compare_all, compare_bits,
};
use flipside::analysis::{allocate, breakdown};
use flipside::fault::Site;
use flipside::number::{Compute, Field};
use flipside::plan::{Flips, OnlyBits, Protocol, Stratify};
use flipside::report::{View, compared_bits_json, compared_bits_text, run_text};
use flipside::statistics::holm;

use super::verdicts::with_accuracy;
use super::*;

fn only(bits: &str, plan: Plan) -> Plan {
    Plan { only_bits: bits.parse::<OnlyBits>().unwrap(), ..plan }
}

#[test]
fn faults_are_of_these_bits_alone() {
    let bench = Bench::new(Head::Baseline);
    let allowed = |bit: u32| (23..=30).contains(&bit) || bit == 3;
    let run = bench.run(only("23..30,3", Plan::new(8, 200)));
    let bits: BTreeSet<u32> =
        run.records.iter().map(|r| r.mask().unwrap().trailing_zeros()).collect();
    assert_eq!(bits.len(), 9);
    assert!(bits.iter().all(|bit| allowed(*bit)));
    // Images and places are those of any other campaign of this seed.
    let all = bench.run(Plan::new(8, 200));
    let place = |r: &Record| (r.layer, r.n, r.image, r.place.unwrap().element);
    assert!(run.records.iter().map(place).eq(all.records.iter().map(place)));
    // The last layer's mean is of the drawn faults: what is counted is of every bit.
    let ranged = |run: &Run| run.manifest.layers.iter().any(|layer| run.manifest.is_counted(layer));
    assert!(!ranged(&run) && ranged(&all));
    let how = Intervals::default();
    let figures = breakdown::breakdown(&run, breakdown::By::Layer, None, &[Detector::None], &how);
    let text = run_text(&run, &figures.unwrap(), &how, View::Text);
    assert!(
        text.contains("200 injections a layer of one flipped bit (bits 3,23..30 only)"),
        "{text}"
    );
    // Two of them at once, and in turn with weights that even them out.
    let two = bench.run(Plan { bits: 2, ..only("exponent", Plan::new(8, 30)) });
    assert!(two.records.iter().all(|r| {
        let mask = r.mask().unwrap();
        mask.count_ones() == 2 && mask & !0x7f80_0000 == 0
    }));
    let turns =
        bench.run(Plan { stratify: Stratify::Bit, ..only("sign,exponent", Plan::new(8, 20)) });
    let of_first = turns.of(0, Detector::None);
    for record in of_first {
        assert_eq!(record.mask(), Some(1 << (23 + record.n % 9)));
        // Two injections of bits 23 and 24 have three of twenty, others two: 20/(9·3) and 20/(9·2).
        let expected = if record.n % 9 < 2 { 20.0 / 27.0 } else { 20.0 / 18.0 };
        assert!((turns.manifest.weight(record) - expected).abs() < 1e-12);
    }
}

/// The plan of a campaign that names no bits is stored as it was before there was a choice.
#[test]
fn stores_keep_the_bits_and_nothing_where_none_are_named() {
    let plain = serde_json::to_value(Plan::new(8, 20)).unwrap();
    assert!(plain.get("only_bits").is_none());
    assert_eq!(serde_json::from_value::<Plan>(plain).unwrap(), Plan::new(8, 20));
    let plan = only("30,sign", Plan::new(8, 4));
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["only_bits"], "30,sign");
    let run = Bench::new(Head::Baseline).run(plan);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bits.sqlite");
    run.save(&path).unwrap();
    assert_eq!(Run::open(&path).unwrap().manifest.plan, run.manifest.plan);
}

#[test]
fn what_can_t_be_restricted_is_refused() {
    let bench = Bench::new(Head::Baseline);
    let refused = |plan: Plan| Campaign::new(&bench.experiment, plan).err().unwrap().to_string();
    let none = vec![Detector::None];
    for (plan, why) in [
        (Plan { flips: Flips::Rate(0.1), ..Plan::new(8, 4) }, "a bit error rate"),
        (
            Plan { site: Site::StoreLost, detectors: none.clone(), ..Plan::new(8, 4) },
            "flips no bit",
        ),
        (Plan { list: Some("x".into()), ..Plan::new(8, 4) }, "a list says"),
        (
            Plan {
                protocol: Protocol::Goldeneye,
                detectors: vec![Detector::Range],
                ..Plan::new(8, 4)
            },
            "uniformly drawn",
        ),
        (Plan { bits: 2, ..Plan::new(8, 4) }, "2 distinct bits, and of an f32 there is 1"),
    ] {
        let said = refused(only("sign", plan));
        assert!(said.contains(why), "{said}");
    }
    // The numbers are those of the format that is hit, and words mean its fields.
    let device = device().with_compute(Compute::Bf16).unwrap();
    let kernels = Bench::on(Head::Baseline, &device);
    let inner = Plan { site: Site::OperandA, detectors: none, ..Plan::new(8, 12) };
    let said = Campaign::new(&kernels.experiment, only("20..22", inner.clone())).err().unwrap();
    let parts = ["layer 'conv1'", "site operand-a", "a bf16 number has bits 0 to 15"];
    assert!(parts.iter().all(|part| said.to_string().contains(part)), "{said}");
    let records = kernels.records(only("sign", inner));
    assert!(records.iter().all(|record| record.mask() == Some(1 << 15)));
    // Others say nothing of these bits, and these nothing of others.
    let [a, b] = ["sign", "exponent"].map(|bits| bench.run(only(bits, Plan::new(8, 400))));
    let said = compare(&a, &b).unwrap_err().to_string();
    assert!(said.contains("bits to draw among differ (sign and exponent)"), "{said}");
    assert!(allocate(&a, 400).unwrap_err().to_string().contains("of the bits sign alone"));
}

fn compared(runs: &[Run; 2]) -> (Comparison, BitsCompared) {
    let [a, b] = runs;
    let how = Intervals::default();
    let row = compare_all(&[[a, b]], Pairing::Paired, &how).unwrap().rows.remove(0);
    let bits = compare_bits([a, b], Pairing::Paired, &how, &row).unwrap();
    (row, bits)
}

/// Rates and means are those of counting; verdicts are by Holm's method over the bits.
#[test]
fn bits_are_compared_one_by_one() {
    let plan = only("22..31", Plan::new(8, 400));
    let runs = [Head::Baseline, GUIDED]
        .map(|head| with_accuracy(&Bench::new(head).run(plan.clone()), 150));
    let (row, found) = compared(&runs);
    assert!(row.refusals.is_empty());
    let numbers: Vec<u32> = found.bits.iter().map(|of| of.bit).collect();
    assert_eq!(numbers, (22..32).collect::<Vec<_>>());
    let fields: Vec<Field> = found.bits.iter().map(|of| of.field.unwrap()).collect();
    assert_eq!((fields[0], fields[1], fields[9]), (Field::Mantissa, Field::Exponent, Field::Sign));
    for of in &found.bits {
        for (run, rate) in runs.iter().zip([of.sdc.unwrap().baseline, of.sdc.unwrap().other]) {
            let rates: Vec<f64> = (Scope::ALL.layers(run).into_iter())
                .map(|layer| {
                    let of_bit = |r: &&Record| r.mask() == Some(1 << of.bit);
                    let records: Vec<&Record> =
                        run.of(layer, Detector::None).filter(of_bit).collect();
                    let sdc = records.iter().filter(|r| r.effect.outcome == Outcome::Sdc).count();
                    sdc as f64 / records.len() as f64
                })
                .collect();
            let expected = 100.0 * rates.iter().sum::<f64>() / rates.len() as f64;
            assert!((rate.value - expected).abs() < 1e-9, "bit {}: {rate:?} {expected}", of.bit);
        }
    }
    let mut members: Vec<(f64, f64, Verdict)> = Vec::new();
    for of in &found.bits {
        let loss = of.delta_loss.iter().filter_map(|of| Some((of.p?, of.adjusted_p?, of.verdict)));
        members.extend(loss);
        members.extend(of.sdc.iter().filter_map(|of| Some((of.p?, of.adjusted_p?, of.verdict))));
    }
    assert_eq!(members.len(), found.family);
    assert!(found.family > 10, "{}", found.family);
    let adjusted = holm(&members.iter().map(|(p, ..)| *p).collect::<Vec<_>>());
    for ((p, own, verdict), expected) in members.iter().zip(adjusted) {
        assert!((own - expected).abs() < 1e-12, "{p} {own} {expected}");
        assert_eq!(*verdict == Verdict::NoDifferenceShown, *own >= 0.05, "{p} {own}");
    }
    let how = Intervals::default();
    let whole = compare_all(&[[&runs[0], &runs[1]]], Pairing::Paired, &how).unwrap();
    let bits = std::slice::from_ref(&found);
    let text = compared_bits_text(&whole, bits, View::Markdown);
    assert!(text.contains("| 30 exponent ") && text.contains("| 31 sign "), "{text}");
    assert!(text.contains(&format!("are a family of {}: ", found.family)), "{text}");
    let json = compared_bits_json(&whole, bits);
    assert_eq!(json["rows"][0]["parts"][8]["bit"], 30);
    // Against itself nothing differs.
    let (_, same) = compared(&[runs[0].clone(), runs[0].clone()]);
    assert!(same.bits.iter().all(|of| of.sdc.unwrap().verdict == Verdict::NoDifferenceShown));
    // The whole comparison's family is what it is without them.
    assert_eq!(row.family, whole.rows[0].family);
    let several = Plan { bits: 2, ..Plan::new(8, 400) };
    let several = [Head::Baseline, GUIDED].map(|head| Bench::new(head).run(several.clone()));
    let row = compare(&several[0], &several[1]).unwrap();
    let refused = compare_bits([&several[0], &several[1]], Pairing::Paired, &how, &row);
    assert!(refused.unwrap_err().to_string().contains("told apart by bit"));
}
