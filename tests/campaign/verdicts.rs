//! When a comparison gives a verdict, and when it says why there is none.

use flipside::analysis::compare::{Comparison, Pairing, Reason, Verdict, compare_all};
use flipside::report::{View, comparison_text, study_text};
use serde_json::json;

use super::screens::study_of;
use super::*;

/// A run as if it were of `right` of 300 images, 280 of which faults hit.
pub(super) fn with_accuracy(run: &Run, right: usize) -> Run {
    let mut run = run.clone();
    let images = run.manifest.images.clone();
    run.manifest.images = (0..40).flat_map(|_| images.clone()).collect();
    let count = run.manifest.images.len();
    run.manifest.images.iter_mut().zip(100..100 + count).for_each(|(row, image)| row.image = image);
    run.manifest.images[..images.len()].clone_from_slice(&images);
    let provenance = &mut run.manifest.setting.provenance;
    (provenance.evaluated, provenance.right) = (300, right);
    run
}

fn runs() -> [Run; 2] {
    [Head::Baseline, GUIDED].map(|head| Bench::new(head).run(Plan::new(8, 400)))
}

fn verdicts(comparison: &Comparison) -> Vec<Verdict> {
    let last = [comparison.last_layer, comparison.last_layer_before_scale];
    let overall = comparison.overall.iter().map(|overall| overall.improvement);
    last.into_iter().flatten().chain(overall).map(|improvement| improvement.verdict).collect()
}

#[test]
fn a_model_near_chance_gets_no_verdict_and_the_reason() {
    let [a, b] = runs();
    // 7 classes: guessing gets 43 of 300, and twice that is 86.
    let (a, b) = (with_accuracy(&a, 150), with_accuracy(&b, 45));
    let how = Intervals::default();
    let comparisons = compare_all(&[[&a, &b]], Pairing::Paired, &how).unwrap();
    let row = &comparisons.rows[0];
    assert!(verdicts(row).iter().all(|verdict| *verdict == Verdict::None(Reason::NearChance)));
    let text = comparison_text(&comparisons, View::Text);
    assert!(text.contains("], no verdict: near chance"), "{text}");
    assert!(text.contains("the other is near chance: 45 of 300 right, 15.0 ["), "{text}");
    assert!(text.contains("where guessing gets 14.3 %"), "{text}");
    let json = serde_json::to_value(row).unwrap();
    assert_eq!(json["last_layer"]["verdict"], json!("near-chance"));
    assert_eq!(json["refusals"][0]["reason"], json!("near-chance"));
    let said = study_text(&study_of(&[a, b], &[1, 2]), View::Markdown);
    assert!(
        said.contains("In short: no verdict: near chance (seed 1: the other is near"),
        "{said}"
    );
}

#[test]
fn runs_that_keep_the_rules_get_verdicts_on_figures() {
    let runs = runs();
    let [a, b] = [0, 1].map(|side| with_accuracy(&runs[side], 150));
    let itself = compare(&a, &a).unwrap();
    assert_eq!(itself.refusals, []);
    assert!(verdicts(&itself).iter().all(|verdict| *verdict == Verdict::NoDifferenceShown));
    assert_eq!(itself.reliability.words(), "no difference shown");
    let other = compare(&a, &b).unwrap();
    assert_eq!(other.refusals, []);
    // The primary reading says what its interval says, others less.
    let primary = other.all_layers().unwrap();
    assert_eq!(primary.verdict, Verdict::of_ratio(&primary.ratio));
    for improvement in other.overall.iter().map(|overall| overall.improvement) {
        let verdict = Verdict::of_ratio(&improvement.ratio);
        assert!([verdict, Verdict::NoDifferenceShown].contains(&improvement.verdict));
    }
}

#[test]
fn few_images_get_no_verdict() {
    let [a, b] = runs();
    let comparison = compare(&a, &b).unwrap();
    assert!(verdicts(&comparison).contains(&Verdict::None(Reason::FewImages)));
    let said = &comparison.refusals.last().unwrap().detail;
    assert_eq!(said, "faults hit 7 images, fewer than 100");
}
