//! What a comparison may say in words, and when it says nothing.
//!
//! A network that learned nothing answers alike whatever is flipped in it, so a ratio of its ΔLoss speaks of
//! its ignorance. Therefore no verdict is given
//!
//! - where a model is near chance: the interval of its accuracy (Clopper and Pearson, 95 %, over the evaluated
//!   images) reaches down to [`CHANCE_FACTOR`] times 1/classes or, of two or three classes, to half-way between
//!   1/classes and 1;
//! - where accuracies differ by more than [`ACCURACY_MARGIN`] points, and a test at 5 % says that this isn't
//!   chance: McNemar's exact one where it is known which images each gets right, Pearson's χ² of two
//!   proportions where only the counts are, as in stores. The latter is for different images; on the same ones
//!   it finds less;
//! - of ΔLoss, where its ratio says something else at another scale of the logits (`scale.rs`);
//! - where faults hit fewer than [`FEWEST_IMAGES`] images, or images of fewer than half of the classes, or of
//!   fewer than two.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Comparison, Improvement, RateChange};
use crate::analysis::scope::Weighting;
use crate::detector::Detector;
use crate::results::{Outcome, Run};
use crate::statistics::{Confidence, Estimate, clopper_pearson, mcnemar_exact, two_proportions};

/// A model whose accuracy may be no more than this many times 1/classes is near chance.
pub const CHANCE_FACTOR: f64 = 2.0;
/// Percentage points by which accuracies may differ.
pub const ACCURACY_MARGIN: f64 = 5.0;
/// The fewest images.
pub const FEWEST_IMAGES: usize = 100;

/// Ratios of ΔLoss no further from 1 than this may be what f32 rounds: logits have 24 bits, ΔLoss is a difference.
const ROUNDING: f64 = 1e-4;

/// The rules, for a reader of the verdicts.
pub const RULES: &str = "A verdict on reliability is given where ΔLoss (over all layers alike) and the SDC rate (without \
     a detector) say the same, each by its own interval. None is given where a model's accuracy may be less than twice chance, where accuracies \
     differ by more than 5 points (and a test says at 5 % that this isn't chance), or where faults hit fewer than 100 \
     images or fewer than half of the classes. ΔLoss depends on the scale of a model's \
     logits, the SDC rate hardly: a ratio of ΔLoss that says something else at another scale gets no verdict.";

/// What is said of a ratio or a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Faults change the other model's loss less.
    DeltaLossLower,
    DeltaLossHigher,
    SdcRateLower,
    SdcRateHigher,
    NonfiniteRateLower,
    NonfiniteRateHigher,
    /// The interval holds the value of no difference.
    NoDifferenceShown,
    #[serde(untagged)]
    None(Reason),
}

/// Why there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    NearChance,
    AccuraciesDiffer,
    /// A run doesn't say how many images were right.
    AccuracyUnknown,
    FewImages,
    FewClasses,
    /// As trained the ratio says something else than at another scale.
    DependsOnScale,
    NoInterval,
    NotMeasured,
}

impl Verdict {
    /// The verdict on a ratio of mean ΔLoss, baseline ÷ other.
    pub fn of_ratio(ratio: &Estimate) -> Verdict {
        Verdict::of(ratio, 1.0, ROUNDING, [Verdict::DeltaLossHigher, Verdict::DeltaLossLower])
    }

    /// The verdict on a difference of SDC rates, other − baseline.
    pub fn of_sdc(difference: &Estimate) -> Verdict {
        Verdict::of(difference, 0.0, 0.0, [Verdict::SdcRateLower, Verdict::SdcRateHigher])
    }

    /// The verdict on a difference of nonfinite rates, other − baseline.
    pub fn of_nonfinite(difference: &Estimate) -> Verdict {
        Verdict::of(
            difference,
            0.0,
            0.0,
            [Verdict::NonfiniteRateLower, Verdict::NonfiniteRateHigher],
        )
    }

    /// The verdict on a difference of rates of an outcome.
    pub(super) fn of_rate(outcome: Outcome, difference: &Estimate) -> Verdict {
        match outcome {
            Outcome::Nonfinite => Verdict::of_nonfinite(difference),
            _ => Verdict::of_sdc(difference),
        }
    }

    fn of(estimate: &Estimate, equal: f64, rounding: f64, [below, above]: [Verdict; 2]) -> Verdict {
        if estimate.low.is_nan() || estimate.high.is_nan() {
            Verdict::None(Reason::NoInterval)
        } else if estimate.low > equal + rounding {
            above
        } else if estimate.high < equal - rounding {
            below
        } else {
            Verdict::NoDifferenceShown
        }
    }

    /// The words in a table.
    pub const fn words(self) -> &'static str {
        match self {
            Verdict::DeltaLossLower => "ΔLoss lower",
            Verdict::DeltaLossHigher => "ΔLoss higher",
            Verdict::SdcRateLower => "SDC rate lower",
            Verdict::SdcRateHigher => "SDC rate higher",
            Verdict::NonfiniteRateLower => "nonfinite rate lower",
            Verdict::NonfiniteRateHigher => "nonfinite rate higher",
            Verdict::NoDifferenceShown => "no difference shown",
            Verdict::None(reason) => reason.words(),
        }
    }
}

impl Reason {
    /// The words in a table.
    pub const fn words(self) -> &'static str {
        match self {
            Reason::NearChance => "no verdict: near chance",
            Reason::AccuraciesDiffer => "no verdict: accuracies differ",
            Reason::AccuracyUnknown => "no verdict: accuracy unknown",
            Reason::FewImages => "no verdict: few images",
            Reason::FewClasses => "no verdict: few classes",
            Reason::DependsOnScale => "no verdict: the ratio depends on the scale of the logits",
            Reason::NoInterval => "no interval",
            Reason::NotMeasured => "not measured",
        }
    }
}

/// What a comparison says of reliability, from all layers alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reliability {
    /// Of the ratio of mean ΔLoss.
    pub delta_loss: Verdict,
    /// Of the difference of SDC rates without a detector.
    pub sdc: Verdict,
}

impl Reliability {
    /// Without any figure.
    pub(super) const UNKNOWN: Reliability = {
        let verdict = Verdict::None(Reason::NotMeasured);
        Reliability { delta_loss: verdict, sdc: verdict }
    };

    /// Both without a verdict, for one reason.
    pub const fn refused(reason: Reason) -> Reliability {
        Reliability { delta_loss: Verdict::None(reason), sdc: Verdict::None(reason) }
    }

    /// From the ratio of mean ΔLoss, baseline ÷ other, and the difference of SDC rates, other − baseline.
    pub fn of(ratio: Option<&Estimate>, sdc: Option<&Estimate>) -> Reliability {
        let unknown = Verdict::None(Reason::NotMeasured);
        Reliability {
            delta_loss: ratio.map_or(unknown, Verdict::of_ratio),
            sdc: sdc.map_or(unknown, Verdict::of_sdc),
        }
    }

    /// Whether both figures are lower, or both higher.
    pub const fn is_agreed(&self) -> bool {
        matches!(
            (self.delta_loss, self.sdc),
            (Verdict::DeltaLossLower, Verdict::SdcRateLower)
                | (Verdict::DeltaLossHigher, Verdict::SdcRateHigher)
        )
    }

    /// A sentence less its stop: one verdict where both figures agree, else what each says.
    pub fn words(&self) -> String {
        let (delta_loss, sdc) = (self.delta_loss.words(), self.sdc.words());
        match (self.delta_loss, self.sdc) {
            (a, b) if a == b => delta_loss.into(),
            _ if self.is_agreed() => format!("{delta_loss}, {sdc}"),
            _ => {
                let of = |figure: &str, verdict: Verdict| match verdict {
                    Verdict::NoDifferenceShown | Verdict::None(_) => {
                        let words = verdict.words();
                        format!("{figure}: {}", words.strip_prefix("no verdict: ").unwrap_or(words))
                    }
                    _ => verdict.words().into(),
                };
                let (delta_loss, sdc) = (of("ΔLoss", self.delta_loss), of("SDC rate", self.sdc));
                format!("no verdict on reliability: {delta_loss}; {sdc}")
            }
        }
    }
}

/// A rule that a pair of runs doesn't keep, with its figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refusal {
    pub reason: Reason,
    /// A sentence less its stop.
    pub detail: String,
}

/// What decides on whether a verdict may be given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// What the two are called.
    pub names: [&'static str; 2],
    pub classes: usize,
    /// Evaluated images, and those of them that are right, of baseline and other; 0 of 0 where it isn't known.
    pub evaluated: [u64; 2],
    pub right: [u64; 2],
    /// Of the same evaluated images: those that only the baseline and only the other gets right.
    pub only_right: Option<[u64; 2]>,
    /// Images that faults hit, and their classes; the fewer of two runs.
    pub images: usize,
    pub classes_hit: usize,
}

impl Evidence {
    /// That of two runs; the caller may know more than they say.
    pub(super) fn of(runs: [&Run; 2]) -> Evidence {
        let least = |of: fn(&Run) -> usize| of(runs[0]).min(of(runs[1]));
        let labels = |run: &Run| {
            run.manifest.images.iter().map(|image| image.label).collect::<BTreeSet<_>>().len()
        };
        Evidence {
            names: ["the baseline", "the other"],
            classes: runs[0].manifest.setting.classes,
            evaluated: runs.map(|run| run.manifest.setting.provenance.evaluated as u64),
            right: runs.map(|run| run.manifest.setting.provenance.right as u64),
            only_right: None,
            images: least(|run| run.manifest.images.len()),
            classes_hit: least(labels),
        }
    }

    /// The rules that aren't kept, the weightiest first.
    pub fn refusals(&self) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let mut refuse = |reason, detail| refusals.push(Refusal { reason, detail });
        if self.evaluated.contains(&0) {
            let detail = "a run doesn't say how many of the evaluated images were right";
            refuse(Reason::AccuracyUnknown, detail.into());
        } else {
            for (side, model) in self.names.into_iter().enumerate() {
                if let Some(detail) = self.near_chance(side) {
                    refuse(Reason::NearChance, format!("{model} is near chance: {detail}"));
                }
            }
            if let Some(detail) = self.accuracies_differ() {
                refuse(Reason::AccuraciesDiffer, detail);
            }
        }
        if self.images < FEWEST_IMAGES {
            let detail = format!("faults hit {} images, fewer than {FEWEST_IMAGES}", self.images);
            refuse(Reason::FewImages, detail);
        }
        if 2 * self.classes_hit < self.classes || self.classes_hit < 2 {
            let (hit, classes) = (self.classes_hit, self.classes);
            refuse(Reason::FewClasses, format!("faults hit images of {hit} of {classes} classes"));
        }
        refusals
    }

    fn near_chance(&self, side: usize) -> Option<String> {
        let (right, evaluated) = (self.right[side], self.evaluated[side]);
        let alpha = Confidence::P95.alpha();
        let accuracy = clopper_pearson(right as f64, evaluated as f64, alpha).times(100.0);
        let chance = 100.0 / self.classes as f64;
        let bound = (CHANCE_FACTOR * chance).min((100.0 + chance) / 2.0);
        (accuracy.low <= bound).then(|| {
            format!(
                "{right} of {evaluated} right, {:.1} [{:.1}, {:.1}] %, where guessing gets {chance:.1} %",
                accuracy.value, accuracy.low, accuracy.high
            )
        })
    }

    fn accuracies_differ(&self) -> Option<String> {
        let [a, b] =
            [0, 1].map(|side| 100.0 * self.right[side] as f64 / self.evaluated[side] as f64);
        let (test, p) = match self.only_right {
            Some([a, b]) => ("McNemar's exact test", mcnemar_exact(a, b)),
            None => ("a test for different images", two_proportions(self.right, self.evaluated)),
        };
        let differ = (a - b).abs() > ACCURACY_MARGIN && p < Confidence::P95.alpha();
        differ.then(|| {
            let p = if p < 0.001 { "below 0.001".into() } else { format!("{p:.3}") };
            format!(
                "accuracies of {a:.1} and {b:.1} % differ by more than {ACCURACY_MARGIN} points (p {p}, {test})"
            )
        })
    }
}

impl Comparison {
    /// Over all layers alike: the ratio of mean ΔLoss.
    pub fn all_layers(&self) -> Option<&Improvement> {
        self.overall_of(Weighting::Uniform, true)
    }

    /// The improvement of a weighting, with or without the extra Linear.
    pub fn overall_of(&self, weighting: Weighting, embedding: bool) -> Option<&Improvement> {
        let mut overall = self.overall.iter();
        let wanted = overall.find(|o| o.weighting == weighting && o.embedding == embedding);
        wanted.map(|overall| &overall.improvement)
    }

    /// Over all layers alike: the SDC rate without a detector.
    pub fn sdc(&self) -> Option<&RateChange> {
        let mut rates = self.rates.iter();
        rates.find(|rate| rate.detector == Detector::None && rate.outcome == Outcome::Sdc)
    }

    /// Its difference, other − baseline, in points.
    pub fn sdc_difference(&self) -> Option<&Estimate> {
        self.sdc().map(|rate| &rate.difference)
    }

    /// Gives the verdicts, or says why there are none.
    pub(super) fn settle(&mut self, evidence: &Evidence, confidence: Confidence) {
        self.refusals = evidence.refusals();
        self.judge(confidence, self.refusals.first().map(|refusal| refusal.reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pair of which nothing is to be said.
    fn sound() -> Evidence {
        Evidence {
            names: ["the baseline", "the other"],
            classes: 10,
            evaluated: [1000; 2],
            right: [899, 924],
            only_right: None,
            images: 868,
            classes_hit: 10,
        }
    }

    fn reasons(evidence: Evidence) -> Vec<Reason> {
        evidence.refusals().into_iter().map(|refusal| refusal.reason).collect()
    }

    #[test]
    fn a_sound_pair_gets_a_verdict() {
        assert_eq!(reasons(sound()), []);
        assert_eq!(reasons(Evidence { only_right: Some([30, 55]), ..sound() }), []);
    }

    /// The quick study's: 30 of 300 images right with text rows, 10 classes.
    #[test]
    fn a_model_at_chance_is_refused() {
        let evidence = Evidence { evaluated: [300; 2], right: [150, 30], ..sound() };
        assert_eq!(reasons(evidence), [Reason::NearChance, Reason::AccuraciesDiffer]);
        let said = &evidence.refusals()[0].detail;
        assert!(said.starts_with("the other is near chance: 30 of 300 right, 10.0 ["), "{said}");
        // 25 % of 1,000 are surely above 20 %, 22 % aren't.
        let of = |right| reasons(Evidence { right: [right; 2], ..sound() });
        assert_eq!(of(250), []);
        assert_eq!(of(220), [Reason::NearChance; 2]);
        // Twice chance of two classes is everything; half-way is 75 %.
        let two =
            |right| reasons(Evidence { classes: 2, classes_hit: 2, right: [right; 2], ..sound() });
        assert_eq!(two(790), []);
        assert_eq!(two(760), [Reason::NearChance; 2]);
    }

    #[test]
    fn accuracies_that_differ_are_refused() {
        let of = |right, only_right| reasons(Evidence { right, only_right, ..sound() });
        assert_eq!(of([850, 899], None), []); // 4.9 points
        assert_eq!(of([840, 899], None), [Reason::AccuraciesDiffer]);
        assert_eq!(of([840, 899], Some([20, 79])), [Reason::AccuraciesDiffer]);
        // Six points of 100 images: the paired test finds what the other doesn't.
        let few = |only_right| {
            reasons(Evidence { evaluated: [100; 2], right: [84, 90], only_right, ..sound() })
        };
        assert_eq!(few(None), []);
        assert_eq!(few(Some([0, 6])), [Reason::AccuraciesDiffer]);
        assert_eq!(few(Some([4, 10])), []);
    }

    #[test]
    fn few_images_and_classes_are_refused() {
        assert_eq!(reasons(Evidence { images: 99, ..sound() }), [Reason::FewImages]);
        assert_eq!(reasons(Evidence { classes_hit: 4, ..sound() }), [Reason::FewClasses]);
        assert_eq!(reasons(Evidence { classes_hit: 5, ..sound() }), []);
        let one = Evidence { classes: 2, classes_hit: 1, ..sound() };
        assert_eq!(reasons(one), [Reason::FewClasses]);
        let unknown = Evidence { evaluated: [0, 1000], right: [0, 924], ..sound() };
        assert_eq!(reasons(unknown), [Reason::AccuracyUnknown]);
    }

    #[test]
    fn reliability_needs_both_figures_to_agree() {
        let estimate = |low, high| Estimate { value: 0.5 * (low + high), low, high };
        let words = |ratio: Option<Estimate>, sdc: Option<Estimate>| {
            Reliability::of(ratio.as_ref(), sdc.as_ref()).words()
        };
        let (lower, equal) = (Some(estimate(1.2, 3.0)), Some(estimate(0.8, 1.3)));
        assert_eq!(words(lower, Some(estimate(-2.0, -0.5))), "ΔLoss lower, SDC rate lower");
        assert_eq!(
            words(lower, Some(estimate(0.5, 1.0))),
            "no verdict on reliability: ΔLoss lower; SDC rate higher"
        );
        assert_eq!(
            words(lower, Some(estimate(-0.5, 1.0))),
            "no verdict on reliability: ΔLoss lower; SDC rate: no difference shown"
        );
        assert_eq!(words(equal, Some(estimate(-0.5, 1.0))), "no difference shown");
        assert_eq!(
            words(equal, None),
            "no verdict on reliability: ΔLoss: no difference shown; SDC rate: not measured"
        );
        let unknown = Some(estimate(f64::NAN, f64::NAN));
        assert_eq!(words(unknown, unknown), "no interval");
        assert_eq!(Reliability::refused(Reason::NearChance).words(), "no verdict: near chance");
    }

    #[test]
    fn verdicts_are_words_in_json() {
        let json = |verdict: Verdict| serde_json::to_value(verdict).unwrap();
        assert_eq!(json(Verdict::DeltaLossLower), "delta-loss-lower");
        assert_eq!(json(Verdict::None(Reason::NearChance)), "near-chance");
    }
}
