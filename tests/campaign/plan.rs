//! What a plan says of the injections that a comparison takes.

use flipside::analysis::compare::{Pairing, PilotForecast, Wish, compare_all, seeds_for};
use flipside::report::{Planned, View, plan_text};
use flipside::results::Run;
use flipside::statistics::{Confidence, StoppingRule, Target, Unit};

use super::allocation::allocated;
use super::counted::counted;
use super::*;
use crate::program::Folder;

fn runs(injections: u64) -> [Run; 2] {
    [Head::Baseline, GUIDED].map(|head| Bench::new(head).run(Plan::new(8, injections)))
}

fn wish() -> Wish {
    Wish::new(0.8, Confidence::P95).unwrap()
}

/// Standard errors are those of the intervals that `compare` prints.
#[test]
fn a_pilot_has_the_errors_of_its_comparison() {
    let [a, b] = runs(1000);
    for pairing in [Pairing::Paired, Pairing::Unpaired] {
        let pilot = PilotForecast::of(&a, Some(&b), pairing, Unit::Images).unwrap();
        let row = compare_all(&[[&a, &b]], pairing, &Intervals::default()).unwrap().rows.remove(0);
        let spread = pilot.delta_loss.unwrap();
        assert!(spread.of_injections > 0.0 && spread.freedom >= 1.0);
        // Where images add nothing, the injections' part stands alone.
        let ratio = row.all_layers().unwrap().ratio;
        let t = flipside::statistics::two_sided_student(0.05, spread.freedom);
        let error = (ratio.high / ratio.low).ln() / (2.0 * t);
        let found = spread.standard_error(1.0);
        assert!(found >= error * (1.0 - 1e-9), "{found} {error}");
        assert!(spread.of_images == 0.0 || (found / error - 1.0).abs() < 1e-9, "{found} {error}");
        // The normal approximation of the difference of rates, by its 95 % interval.
        let difference = row.sdc_difference().unwrap();
        let width = (difference.high - difference.low) / (2.0 * 1.96);
        assert!(
            (pilot.sdc_standard_error_points.unwrap() / width - 1.0).abs() < 0.1,
            "{:?} {width}",
            pilot.sdc_standard_error_points
        );
    }
    let paired = PilotForecast::of(&a, Some(&b), Pairing::Paired, Unit::Images).unwrap();
    let alone = PilotForecast::of(&a, None, Pairing::Paired, Unit::Images).unwrap();
    assert_eq!((paired.models.len(), alone.models.len()), (2, 1));
    assert_eq!(
        (paired.layers, paired.injections, paired.images, paired.fewest),
        ([7, 8], 1000, 7, 384)
    );
    // One model with itself as if independent: twice the variance of its rate.
    let rate = select(&a, Scope::ALL.layers(&a), Detector::None);
    let rate = rate.mean(Measure::Is(Outcome::Sdc), &Intervals::default()).unwrap();
    let width = (rate.high - rate.low) / (2.0 * 1.96) * 100.0 * 2f64.sqrt();
    assert!(
        (alone.sdc_standard_error_points.unwrap() / width - 1.0).abs() < 0.05,
        "{:?} {width}",
        alone.sdc_standard_error_points
    );
}

/// More injections lessen their own part alone; what they can't show takes more images.
#[test]
fn injections_are_found_that_show_an_effect() {
    let [a, b] = runs(1000);
    let pilot = PilotForecast::of(&a, Some(&b), Pairing::Paired, Unit::Injections).unwrap();
    assert_eq!(pilot.delta_loss.unwrap().of_images, 0.0);
    let needed = |ratio| pilot.for_ratio(ratio, &wish()).unwrap().injections.unwrap();
    assert!(needed(1.05) > needed(1.1) && needed(1.1) > needed(1.5));
    assert_eq!(needed(1.25), needed(0.8));
    assert_eq!(needed(1e9), 384, "no fewer than a mean takes");
    // What the pilot's own number shows takes the pilot's number.
    let least = pilot.least_ratio(&wish()).unwrap();
    assert!((990..=1001).contains(&needed(least)), "{least}: {}", needed(least));
    let least = pilot.least_points(&wish()).unwrap();
    let points = |points| pilot.for_points(points, &wish()).unwrap().injections.unwrap();
    assert!((1000..=1001).contains(&points(least)), "{}", points(least));
    assert!(points(least / 2.0).abs_diff(4 * points(least)) < 5);
    // Images that make some of the variance set a limit.
    let mut limited = pilot.clone();
    let spread = limited.delta_loss.as_mut().unwrap();
    spread.of_images = spread.of_injections;
    let small = limited.for_ratio(1.0001, &wish()).unwrap();
    assert!(small.injections.is_none() && small.images.unwrap() > limited.images as u64);
}

#[test]
fn pilots_that_do_not_say_are_told() {
    let [a, b] = runs(50);
    let pilot = PilotForecast::of(&a, Some(&b), Pairing::Paired, Unit::Images).unwrap();
    assert!(pilot.delta_loss.is_none() && pilot.sdc_standard_error_points.is_some());
    assert!(pilot.for_ratio(1.2, &wish()).is_none() && pilot.least_ratio(&wish()).is_none());
    let mut stopped = a.clone();
    stopped.manifest.plan.until =
        Some(StoppingRule::new(Target::Sdc, 0.1, Confidence::P95).unwrap());
    let error = PilotForecast::of(&stopped, None, Pairing::Paired, Unit::Images).unwrap_err();
    assert!(error.to_string().contains("a rule stopped the layers"), "{error}");
    for power in [0.0, 0.05, 1.0, f64::NAN] {
        let error = Wish::new(power, Confidence::P95).unwrap_err().to_string();
        assert!(error.contains("a power lies between"), "{error}");
    }
    // statsmodels' TTestPower: ln 1.2 at a standard deviation of 0.3 takes 23.24 seeds.
    assert_eq!(seeds_for(1.2, 0.3, &wish()).seeds, Some(24));
}

fn text(pilot: &PilotForecast, asked: Option<f64>) -> String {
    let (ratios, points) = ([1.1, 1.2], [0.5, 90.0]);
    let planned = Planned {
        pilot: pilot.clone(),
        wish: wish(),
        asked_ratio: asked,
        ratios: ratios.iter().filter_map(|ratio| pilot.for_ratio(*ratio, &wish())).collect(),
        least_ratio: pilot.least_ratio(&wish()),
        asked_points: None,
        points: points.iter().filter_map(|points| pilot.for_points(*points, &wish())).collect(),
        least_points: pilot.least_points(&wish()),
        seed_spread: None,
        seeds: Vec::new(),
    };
    plan_text(&planned, View::Text)
}

/// A variance of two numbers of injections is that of neither.
#[test]
fn pilots_of_unlike_numbers_are_refused() {
    let bench = Bench::new(Head::Baseline);
    let run = |seed, injections| bench.run(Plan::new(seed, injections));
    let of = |a: &Run, b: Option<&Run>| PilotForecast::of(a, b, Pairing::Unpaired, Unit::Images);
    let (a, b) = (run(8, 500), run(9, 100));
    for runs in [[&a, &b], [&b, &a]] {
        let error = of(runs[0], Some(runs[1])).unwrap_err().to_string();
        assert!(error.contains("the same number of injections a layer"), "{error}");
        assert!(error.contains("500") && error.contains("100"), "{error}");
    }
    assert_eq!(of(&a, Some(&run(9, 500))).unwrap().injections, 500);
    let mut uneven = a.clone();
    uneven.records.retain(|record| record.layer != 1 || record.n < 420);
    let error = of(&uneven, None).unwrap_err().to_string();
    assert!(error.contains("tiny has 420 in one layer and 500 in another"), "{error}");
}

/// Their number is that of `--injections`, an average, and no plan has fewer than can be allocated.
#[test]
fn allocated_pilots_plan_for_allocated_campaigns() {
    let bench = Bench::new(Head::Baseline);
    let run = bench.run(allocated(&bench, Plan::new(8, 500)));
    let (fewest, most) = run.injections();
    assert!(fewest < 500 && most > 500, "{fewest} {most}");
    let pilot = PilotForecast::of(&run, None, Pairing::Paired, Unit::Images).unwrap();
    assert_eq!((pilot.injections, pilot.fewest_allocated), (500, Some(384)));
    let even = bench.run(Plan::new(8, 500));
    let plain = PilotForecast::of(&even, None, Pairing::Paired, Unit::Images).unwrap();
    let needed = |pilot: &PilotForecast, points| {
        pilot.for_points(points, &wish()).unwrap().injections.unwrap()
    };
    assert_eq!(needed(&pilot, 90.0), 384);
    assert!(needed(&plain, 90.0) < 384 && plain.fewest_allocated.is_none());
    assert_eq!(pilot.for_ratio(1e9, &wish()).unwrap().injections, Some(384));
    let (said, unsaid) = (text(&pilot, None), text(&plain, None));
    for part in [
        "500 injections on average into each of 7 layers",
        "500 injections a layer on average, as in the pilot, show a difference",
        "The pilot was allocated: these numbers are for --allocate, 384 a layer at least.",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!unsaid.contains("on average") && !unsaid.contains("allocate"), "{unsaid}");
    for runs in [[&run, &even], [&even, &run]] {
        let error = PilotForecast::of(runs[0], Some(runs[1]), Pairing::Unpaired, Unit::Images);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("drawn alike") && error.contains("--allocate"), "{error}");
    }
}

/// A counted layer adds what its images vary by, and nothing of injections; one alone says nothing of their number.
#[test]
fn counted_layers_are_of_the_images() {
    let runs = [Head::Baseline, GUIDED].map(|head| counted(&Bench::new(head), Plan::new(8, 1000)));
    let [a, b] = &runs;
    let pilot = |unit| PilotForecast::of(a, Some(b), Pairing::Paired, unit).unwrap();
    let spread = [Unit::Images, Unit::Injections].map(|unit| {
        let spread = pilot(unit).delta_loss.unwrap();
        let how = Intervals { unit, ..Intervals::default() };
        let row = compare_all(&[[a, b]], Pairing::Paired, &how).unwrap().rows.remove(0);
        let ratio = row.all_layers().unwrap().ratio;
        let t = flipside::statistics::two_sided_student(0.05, spread.freedom);
        let error = (ratio.high / ratio.low).ln() / (2.0 * t);
        let found = spread.standard_error(1.0);
        assert!((found / error - 1.0).abs() < 1e-9, "{unit:?} {found} {error}");
        spread
    });
    assert!(spread[0].of_images > 0.0 && spread[1].of_images == 0.0, "{spread:?}");
    assert_eq!(spread[0].of_injections, spread[1].of_injections);
    assert!(!pilot(Unit::Images).all_counted && pilot(Unit::Images).fewest == 384);
    let bench = Bench::new(Head::Baseline);
    let alone = counted(&bench, Plan { layers: Some(vec!["fc".into()]), ..Plan::new(8, 1000) });
    for unit in [Unit::Images, Unit::Injections] {
        let pilot = PilotForecast::of(&alone, None, Pairing::Paired, unit).unwrap();
        assert!(pilot.all_counted && pilot.delta_loss.is_none());
        assert!(pilot.for_ratio(1.2, &wish()).is_none() && pilot.least_ratio(&wish()).is_none());
        let said = text(&pilot, None);
        assert!(said.contains("Mean ΔLoss of all of its layers is counted"), "{said}");
    }
}

/// The row that was asked for is told from those that are always there.
#[test]
fn what_was_asked_for_is_marked() {
    let [a, b] = runs(1000);
    let pilot = PilotForecast::of(&a, Some(&b), Pairing::Paired, Unit::Images).unwrap();
    let said = text(&pilot, Some(1.2));
    assert_eq!(said.matches("(asked)").count(), 1, "{said}");
    assert!(said.contains("1.2 (asked)"), "{said}");
    assert!(!text(&pilot, None).contains("asked"));
}

/// Each sad path's one sentence; none of them gets as far as the store.
#[test]
fn what_cannot_be_planned_for_is_refused() {
    let folder = Folder::new();
    for (name, text) in [
        ("broken.json", "{"),
        ("empty.json", "{}"),
        (
            "one.json",
            r#"{"contrasts": [{"contrast": "text", "figures": [{"figure": "all-layers", "seeds": [{"value": 2.0}]}]}]}"#,
        ),
    ] {
        fs::write(folder.at(name), text).unwrap();
    }
    for (words, parts) in [
        ("--study broken.json", ["broken.json", "isn't a study's JSON"]),
        ("--study empty.json", ["empty.json", "it has no contrasts"]),
        ("--study one.json", ["one.json", "has no two seeds"]),
        ("--study one.json --contrast form", ["one.json", "has no contrast 'form', but text"]),
        ("--study none.json", ["none.json", "No such file"]),
        ("--seed-spread 0", ["the spread of seeds", "positive number"]),
        ("--ratio 1", ["--ratio", "other than 1"]),
        ("--ratio nan", ["--ratio", "positive number"]),
        ("--points 0", ["--points", "between 0 and 100"]),
        ("--power 1", ["a power lies between", "0.9999"]),
    ] {
        let code = if words.contains("json") { 1 } else { 2 };
        folder.fails(&format!("plan a.sqlite {words}"), code, &parts);
    }
}
