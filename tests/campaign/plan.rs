//! What a plan says of the injections that a comparison takes.

use flipside::analysis::compare::{Pairing, Pilot, Wish, compare_all, seeds_for};
use flipside::results::Run;
use flipside::statistics::{Confidence, StoppingRule, Target, Unit};

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
        let pilot = Pilot::of(&a, Some(&b), pairing, Unit::Images).unwrap();
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
        assert!((pilot.sdc.unwrap() / width - 1.0).abs() < 0.1, "{:?} {width}", pilot.sdc);
    }
    let paired = Pilot::of(&a, Some(&b), Pairing::Paired, Unit::Images).unwrap();
    let alone = Pilot::of(&a, None, Pairing::Paired, Unit::Images).unwrap();
    assert_eq!((paired.models.len(), alone.models.len()), (2, 1));
    assert_eq!(
        (paired.layers, paired.injections, paired.images, paired.fewest),
        ([7, 8], 1000, 7, 384)
    );
    // One model with itself as if independent: twice the variance of its rate.
    let rate = select(&a, Scope::ALL.layers(&a), Detector::None);
    let rate = rate.mean(Measure::Is(Outcome::Sdc), &Intervals::default()).unwrap();
    let width = (rate.high - rate.low) / (2.0 * 1.96) * 100.0 * 2f64.sqrt();
    assert!((alone.sdc.unwrap() / width - 1.0).abs() < 0.05, "{:?} {width}", alone.sdc);
}

/// More injections lessen their own part alone; what they can't show takes more images.
#[test]
fn injections_are_found_that_show_an_effect() {
    let [a, b] = runs(1000);
    let pilot = Pilot::of(&a, Some(&b), Pairing::Paired, Unit::Injections).unwrap();
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
    let pilot = Pilot::of(&a, Some(&b), Pairing::Paired, Unit::Images).unwrap();
    assert!(pilot.delta_loss.is_none() && pilot.sdc.is_some());
    assert!(pilot.for_ratio(1.2, &wish()).is_none() && pilot.least_ratio(&wish()).is_none());
    let mut stopped = a.clone();
    stopped.manifest.plan.until =
        Some(StoppingRule::new(Target::Sdc, 0.1, Confidence::P95).unwrap());
    let error = Pilot::of(&stopped, None, Pairing::Paired, Unit::Images).unwrap_err();
    assert!(error.to_string().contains("a rule stopped the layers"), "{error}");
    for power in [0.0, 0.05, 1.0, f64::NAN] {
        let error = Wish::new(power, Confidence::P95).unwrap_err().to_string();
        assert!(error.contains("a power lies between"), "{error}");
    }
    // statsmodels' TTestPower: ln 1.2 at a standard deviation of 0.3 takes 23.24 seeds.
    assert_eq!(seeds_for(1.2, 0.3, &wish()).seeds, Some(24));
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
