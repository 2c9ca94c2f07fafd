//! What figures are made of: SDC-5, answers that aren't finite, weights of bits and of layers, few units.

use std::collections::HashMap;

use strum::IntoEnumIterator;

use flipside::analysis::Selection;
use flipside::analysis::breakdown::{By, DeltaLoss, Figures, RunPart as Piece, breakdown};
use flipside::fault::Site;
use flipside::number::Compute;
use flipside::plan::{Flips, Stratify};
use flipside::report::{View, run_text};
use flipside::statistics::FEWEST_CLUSTERS;
use flipside::statistics::Target;

use super::*;

/// A run in which every third answer under `none` is NaN, of which half have lost their class from the first
/// five, as its number has it.
fn with_nonfinite() -> Run {
    let mut run = Bench::new(GUIDED).run(Plan::new(8, 60));
    let lost = run.records.iter_mut().filter(|r| r.detector == Detector::None && r.n % 3 == 0);
    for (number, record) in lost.enumerate() {
        let effect = &mut record.effect;
        effect.outcome = Outcome::Nonfinite;
        effect.sdc5 = number % 2 == 0;
        let score = &mut effect.score;
        [score.loss, score.p_label, score.top2diff] = [f64::NAN; 3];
    }
    // Of seven classes hardly any leaves the first five by itself.
    let sdc = run.records.iter_mut().filter(|r| r.effect.outcome == Outcome::Sdc);
    sdc.step_by(2).for_each(|record| record.effect.sdc5 = true);
    run
}

fn near(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-12, "{a} {b}");
}

fn all<'r>(run: &'r Run, detector: Detector) -> Selection<'r> {
    select(run, Scope::ALL.layers(run), detector)
}

fn share<'r>(records: impl Iterator<Item = &'r Record> + Clone, is: fn(&Record) -> bool) -> f64 {
    records.clone().filter(|record| is(record)).count() as f64 / records.count() as f64
}

#[test]
fn sdc5_is_a_part_of_sdc() {
    let run = with_nonfinite();
    let rates = all(&run, Detector::None).rates(&Intervals::default());
    let records = || {
        let selected = all(&run, Detector::None);
        selected.records().copied().collect::<Vec<Record>>()
    };
    let records = records();
    let is_event = |r: &Record| r.effect.outcome == Outcome::Sdc && r.effect.sdc5;
    near(rates.sdc5.value, share(records.iter(), is_event));
    assert!(0.0 < rates.sdc5.value && rates.sdc5.value <= rates.sdc.value);
    // What a rule watches is the same.
    let watched = Measure::from(Target::Sdc5);
    assert!(records.iter().all(|r| watched.of(r) == f64::from(u8::from(is_event(r)))));
    // Exports keep their column.
    let mut csv = Vec::new();
    flipside::results::write_csv(&run, &mut csv).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    assert!(csv.lines().any(|line| line.contains(",nonfinite,true,")));
}

/// Without them the detector, which bounds what it lets through, would seem to do harm.
#[test]
fn nonfinite_answers_are_the_worst_there_is() {
    let run = with_nonfinite();
    let how = Intervals::default();
    let [none, range] = [Detector::None, Detector::Range].map(|detector| all(&run, detector));
    let mean = |of: &Selection| of.mean(Measure::DeltaP, &how).unwrap().value;
    let records: Vec<Record> = none.records().copied().collect();
    let is_lost = |r: &&Record| r.effect.outcome == Outcome::Nonfinite;
    let worst = |r: &Record| if is_lost(&r) { 1.0 } else { r.delta_p() };
    near(mean(&none), records.iter().map(worst).sum::<f64>() / records.len() as f64);
    assert!(mean(&none) > 1.0 / 3.0 && mean(&range) < mean(&none));
    let quantiles = none.delta_loss_quantiles();
    assert_eq!(quantiles.nonfinite as usize, records.iter().filter(is_lost).count());
    assert!(quantiles.values[0].is_finite() && quantiles.values[1..] == [f64::INFINITY; 3]);
    // Exports say what the answer was.
    assert!(records.iter().filter(is_lost).all(|r| r.delta_p().is_nan()));

    let figures = breakdown(&run, By::Layer, None, &[Detector::None], &how).unwrap();
    let text = run_text(&run, &figures, &how, View::Markdown);
    for part in ["/ ∞ / ∞ / ∞ |", "count 1 in absolute Δp and ∞ in quantiles", "SDC or nonfinite %"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    let rates = figures[0].rates;
    near(rates.sdc_or_nonfinite.value, rates.sdc.value + rates.nonfinite.value);
    let column = text.lines().find(|line| line.starts_with("| part")).unwrap().split('|');
    let at = column.map(str::trim).position(|name| name == "SDC or nonfinite %").unwrap();
    let cell = text.lines().find(|line| line.starts_with("| backbone.conv1")).unwrap();
    let cell = cell.split('|').nth(at).unwrap().trim();
    let printed = format!("{:.2} [", 100.0 * rates.sdc_or_nonfinite.value);
    assert!(cell.starts_with(&printed), "{cell} {printed}");
}

/// ΔLoss of three layers is 0, that of the others 1: shares of the network are those of its layers' weights,
/// whatever their numbers of records.
#[test]
fn quantiles_are_weighted_as_means_are() {
    let mut run = Bench::new(Head::Baseline).run(Plan::new(8, 40));
    run.records.retain(|record| record.layer > 2 || record.n < 10);
    for record in &mut run.records {
        record.effect.score.loss = record.golden.loss + f64::from(u8::from(record.layer > 2));
        record.effect.outcome = Outcome::Benign;
    }
    let layers = Scope::ALL.layers(&run);
    let low = |weighting: Weighting| {
        let of = |layer: &usize| weighting.of(&run.manifest.layers[*layer]);
        layers[..3].iter().map(of).sum::<f64>() / layers.iter().map(of).sum::<f64>()
    };
    for weighting in Weighting::iter() {
        let selection = select(&run, layers.clone(), Detector::None).weighted(weighting);
        let quantiles = selection.delta_loss_quantiles().values;
        for (value, q) in quantiles.into_iter().zip([0.5, 0.9, 0.99, 0.999]) {
            near(value.round(), f64::from(u8::from(q > low(weighting))));
        }
    }
    // Otherwise the test would be of nothing.
    assert!(low(Weighting::Neurons) > 0.5 && low(Weighting::Uniform) < 0.5);
}

/// 40 injections over 32 bits: those of the eight bits that have two count half.
#[test]
fn quantiles_take_the_weights_of_records() {
    let plan = Plan { stratify: Stratify::Bit, ..Plan::new(8, 40) };
    let mut run = Bench::new(Head::Baseline).run(plan);
    for record in &mut run.records {
        let is_low = record.n % 32 < 8;
        record.effect.score.loss = record.golden.loss + if is_low { 1.0 } else { 2.0 };
        record.effect.outcome = Outcome::Benign;
    }
    // 16 of 40 records are low, but 8 of 32 bits: a quarter.
    let mut values: Vec<(f64, f64)> = Vec::new();
    for record in run.of(0, Detector::None) {
        values.push((record.delta_loss().round(), run.manifest.weight(record)));
    }
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let at = |q| flipside::analysis::quantile(&values, q);
    assert_eq!([at(0.24), at(0.26), at(0.39)], [1.0, 2.0, 2.0]);
}

/// Operands of 16 bits have 16 strata, those of tf32 19: 24 injections fill both, and are evened out.
#[test]
fn strata_are_of_the_bits_that_there_are() {
    for (compute, bits, lowest) in [
        (Compute::Bf16, 16, 0),
        (Compute::F16, 16, 0),
        (Compute::Tf32, 19, 13),
        (Compute::Exact, 32, 0),
    ] {
        let bench = Bench::on(Head::Baseline, &device().with_compute(compute).unwrap());
        let plan = Plan {
            site: Site::OperandA,
            stratify: Stratify::Bit,
            detectors: vec![Detector::None],
            layers: Some(vec!["fc".into()]),
            ..Plan::new(5, 40)
        };
        let campaign = bench.campaign(plan);
        let records = campaign.run(Strategy::Whole { batch: 7 }, &Silent).unwrap();
        let run = campaign.results(records);
        assert_eq!(run.manifest.layers[0].bits_at(Site::OperandA), bits);
        assert_eq!(run.manifest.layers[0].bits_at(Site::Accumulator), 32);
        let mut weights = vec![0.0; 32];
        for record in &run.records {
            let bit = record.mask().unwrap().trailing_zeros();
            assert_eq!(u64::from(bit - lowest), record.n % u64::from(bits));
            weights[bit as usize] += run.manifest.weight(record);
        }
        for (bit, weight) in weights.into_iter().enumerate() {
            let is_there = (lowest..lowest + bits).contains(&(bit as u32));
            near(weight, if is_there { 40.0 / f64::from(bits) } else { 0.0 });
        }
    }
}

fn macs(model: &Model) -> HashMap<String, u64> {
    let layers = flipside::campaign::layers::parameters(model);
    layers.into_iter().map(|layer| (layer.name, layer.macs)).collect()
}

/// An entry counts by the operations that it takes part in, not by those of its layer's weight.
#[test]
fn biases_and_norms_have_operations_of_their_own() {
    let bench = Bench::new(GUIDED);
    let of = macs(&bench.network.model);
    // 4 channels of 16 × 16, from 3, by a kernel of 3 × 3.
    assert_eq!(of["backbone.conv1.weight"], 4 * 256 * 27);
    for name in ["weight", "bias", "running_mean", "running_var"] {
        assert_eq!(of[&format!("backbone.bn1.{name}")], 4 * 256);
    }
    assert_eq!((of["backbone.fc.weight"], of["backbone.fc.bias"]), (8 * 12, 12));
    assert_eq!((of["head.weight"], of["logit_scale"]), (12 * 7, 7));
    assert!(of.values().all(|macs| *macs > 0), "{of:?}");

    let model = |name: &str, size| {
        Model::new(&ModelFile::open(name).unwrap(), Head::Baseline, 10, size, 0.0).unwrap()
    };
    // Swin V2 at 256²: patches of 4², 96 channels, windows of 8², three heads.
    let of = macs(&model("swin_v2_t", 256));
    let block = |name: &str| of[&format!("features.1.0.{name}")];
    assert_eq!(
        (of["features.0.0.weight"], of["features.0.0.bias"]),
        (64 * 64 * 96 * 48, 64 * 64 * 96)
    );
    assert_eq!((block("norm1.weight"), block("norm1.bias")), (64 * 64 * 96, 64 * 64 * 96));
    assert_eq!(block("attn.logit_scale"), 3 * 64 * 64 * 64);
    assert_eq!(block("attn.relative_coords_table"), block("attn.cpb_mlp.0.weight"));
    // MaxViT's tables of biases are added to scores: 64 channels of 56², windows of 7², two heads.
    let of = macs(&model("maxvit_t", 224));
    let table = of.iter().find(|(name, _)| {
        name.starts_with("blocks.0.layers.0.") && name.ends_with("relative_position_bias_table")
    });
    assert_eq!(*table.unwrap().1, 2 * 56 * 56 * 49);
    assert!(of.values().all(|macs| *macs > 0), "{of:?}");
}

/// A store whose parameters were counted otherwise is gone on with, as it is; compared with another, it is said.
#[test]
fn old_counts_of_operations_stay() {
    let bench = Bench::new(Head::Baseline);
    let plan = Plan { site: Site::Weight, ..Plan::new(5, 4) };
    let new = bench.run(plan);
    let mut old = new.clone();
    let bias = old.manifest.layers.iter_mut().find(|layer| layer.name == "fc.bias").unwrap();
    assert_eq!(bias.macs, 7);
    bias.macs = 56;
    assert_eq!(new.manifest.difference(&old.manifest), None);
    let row = compare(&new, &old).unwrap();
    assert!(row.differences[0].starts_with("how MACs of parameters are counted"), "{row:?}");
    assert!(row.overall.len() == 4 && row.overall.iter().all(|o| o.weighting != Weighting::Macs));
    let alike = compare(&new, &new).unwrap();
    assert!(alike.differences.is_empty() && alike.overall.len() == 6);
    let mut other = new.clone();
    other.manifest.layers[0].range = Some(0.5);
    assert!(new.manifest.difference(&other.manifest).is_some());
}

/// Few injections of a bit, or few images, say next to nothing of a mean.
#[test]
fn means_of_little_have_no_interval() {
    let run = Bench::new(Head::Baseline).run(Plan::new(8, 400));
    let how = Intervals::default();
    let parts = |by| breakdown(&run, by, Some(&["fc"]), &[Detector::Range], &how).unwrap();
    let mean = |row: &Figures| match row.delta_loss {
        DeltaLoss::Mean(mean) => mean,
        DeltaLoss::Quantiles(_) => panic!("a mean under range"),
    };
    let mut known = [0, 0];
    for row in parts(By::Bit) {
        let Piece::Bit { bit } = row.part else { panic!("{:?}", row.part) };
        let of_bit = || run.of(6, Detector::Range).filter(move |r| r.mask() == Some(1 << bit));
        let images: std::collections::BTreeSet<usize> =
            of_bit().map(|record| record.image).collect();
        let is_known = of_bit().count() >= 12 && images.len() >= FEWEST_CLUSTERS;
        known[usize::from(is_known)] += 1;
        let found = mean(&row);
        assert!(found.value.is_finite() && row.rates.sdc.low.is_finite());
        assert_eq!(found.low.is_finite(), is_known && found.value > 0.0, "bit {bit}: {found:?}");
        assert_eq!(found.high.is_finite(), is_known && found.value > 0.0, "bit {bit}: {found:?}");
    }
    assert!(known[0] > 3 && known[1] > 3, "{known:?}");
    let text = run_text(&run, &parts(By::Bit), &how, View::Markdown);
    assert!(!text.contains("NaN"), "{text}");
    let few = Bench::new(Head::Baseline).run(Plan::new(8, 60));
    let row = &breakdown(&few, By::Layer, Some(&["fc"]), &[Detector::Range], &how).unwrap()[0];
    assert!(mean(row).low.is_nan() && row.delta_p.high.is_nan());
}

#[test]
fn footers_say_how_many_bits_were_flipped() {
    let bench = Bench::new(Head::Baseline);
    let how = Intervals::default();
    let text = |plan: Plan| {
        let run = bench.run(plan);
        let figures = breakdown(&run, By::Layer, None, &[Detector::None], &how).unwrap();
        run_text(&run, &figures, &how, View::Text).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for (plan, words) in [
        (Plan::new(8, 3), "3 injections a layer of one flipped bit at the site output"),
        (Plan { bits: 2, ..Plan::new(8, 3) }, "a layer of 2 flipped bits at the site output"),
        (
            Plan { bits: 2, flips: Flips::Count(3), ..Plan::new(8, 3) },
            "a layer of 2 flipped bits in each of 3 values at the site output",
        ),
    ] {
        let text = text(plan);
        assert!(text.contains(words), "{words} in {text}");
    }
}

/// A mean that few records carry is named, with their number.
#[test]
fn means_that_hang_on_few_records_are_named() {
    let mut run = Bench::new(Head::Baseline).run(Plan::new(8, 100));
    let how = Intervals::default();
    let figures =
        |run: &Run| breakdown(run, By::Layer, Some(&["fc"]), &[Detector::Range], &how).unwrap();
    let loss = |record: &Record| record.golden.loss;
    // Half of fc's faults change the loss by 1: 25 of them make half of the sum.
    for record in run.records.iter_mut().filter(|r| r.layer == 6 && r.detector == Detector::Range) {
        record.effect.score.loss = loss(record) + f64::from(u8::from(record.n % 2 == 0));
    }
    let text = |run: &Run| run_text(run, &figures(run), &how, View::Markdown);
    assert_eq!(figures(&run)[0].carriers, Some(25));
    assert!(!text(&run).contains("carry half"));
    // One of 100 outweighs the others.
    let of_layer = |r: &&mut Record| r.layer == 6 && r.detector == Detector::Range;
    let one = run.records.iter_mut().find(of_layer).unwrap();
    one.effect.score.loss = loss(one) + 60.0;
    assert_eq!(figures(&run)[0].carriers, Some(1));
    let said = "Fewer than 20 records carry half of the mean ΔLoss of fc (1).";
    assert!(text(&run).contains(said), "{}", text(&run));
}
