//! The top of a page: a sentence that can be quoted, four numbers, and the command that repeats the run.

use maud::{Markup, html};

use super::command::{UNKNOWN, command};
use super::subject::{Side, Subject};
use crate::analysis::Weighting;
use crate::analysis::breakdown::{DeltaLoss, Figures};
use crate::analysis::compare::Reading;
use crate::report::{any_size, comparison_verdict, faults, interval, percent};
use crate::statistics::Estimate;

/// Sentence, numbers and commands.
pub(super) fn quote(subject: &Subject) -> Markup {
    html! {
        @for side in &subject.sides { p.quote { (sentence(subject, side)) } }
        @for (side, row) in subject.sides[1..].iter().zip(subject.comparisons.iter().flat_map(|all| &all.rows)) {
            p.quote { (comparison_verdict(row, &side.name)) }
        }
        dl.numbers { @for number in numbers(subject) { div {
            dt { (number.name) }
            @for (name, value, interval) in &number.values { dd {
                span.value { (value) @if !interval.is_empty() { " " small { (interval) } } }
                @if !name.is_empty() { span.of { (name) } }
            } }
        } } }
        p.note {
            "In brackets: intervals of " (subject.how.confidence.to_string()) ". Layers count alike. Detector: "
            (subject.detector.name()) @if let Some(bounded) = subject.bounded { "; of ΔLoss " (bounded.name()) } ". "
            @if subject.sides.iter().all(|side| side.verified == 0) {
                "Not verified: no record was run again as a whole, uncached inference (" code.whole { "inject --verify" } ")."
            } @else {
                @for side in &subject.sides { (verified(side)) " " }
            }
        }
        section.repeat {
            h2 { "To repeat it" }
            @for (at, side) in subject.sides.iter().enumerate() {
                @if subject.sides.len() > 1 { p.note { (side.name) } }
                pre id={ "command-" (at) } { @for (place, words) in command(&side.run.manifest).iter().enumerate() {
                    @if place > 0 { " " }
                    span.whole { (words) }
                } }
                button type="button" data-copy={ "command-" (at) } { "Copy the command" }
            }
            p.note { (UNKNOWN)
                @if subject.has_own_images() { " These images are the program's own: " code { "flipside study" } " made them." } }
        }
    }
}

/// How much of a run was run again.
fn verified(side: &Side) -> String {
    format!(
        "Verified: {} of {} records of {} were run again as whole, uncached inferences and had the same bits.",
        side.verified,
        side.run.records.len(),
        side.name
    )
}

/// The figures of the network under the detector that rates are of, where there is any record.
fn network<'s>(subject: &Subject, side: &'s Side) -> Option<&'s Figures> {
    side.of_network(Weighting::Uniform, subject.detector).filter(|row| row.rates.records > 0)
}

/// What a person can quote of a run.
fn sentence(subject: &Subject, side: &Side) -> String {
    let manifest = &side.run.manifest;
    let plan = &manifest.plan;
    let Some(row) = network(subject, side) else {
        return format!(
            "{}: no injection under the detector {}, so that nothing can be said.",
            side.name,
            subject.detector.name()
        );
    };
    format!(
        "{}: a fault changed the predicted class in {} of {} injections ({}; site {}, {} images, every layer counts the \
         same, detector {}, protocol {}).",
        side.name,
        with_interval(subject, &row.rates.sdc),
        row.rates.records,
        faults(plan).trim_end_matches(','),
        plan.site.name(),
        manifest.images.len(),
        subject.detector.name(),
        plan.protocol.name(),
    )
}

/// `1.23 % (95 % interval 1.02 to 1.47 %)`.
fn with_interval(subject: &Subject, rate: &Estimate) -> String {
    let Estimate { value, low, high } = rate.times(100.0);
    match low.is_nan() {
        true => format!("{value:.2} %"),
        false => {
            format!("{value:.2} % ({} interval {low:.2} to {high:.2} %)", subject.how.confidence)
        }
    }
}

/// One of the four numbers, for each run.
struct Number {
    name: String,
    /// The run's name where there are several, the value, and its interval.
    values: Vec<(String, String, String)>,
}

fn numbers(subject: &Subject) -> Vec<Number> {
    let several = subject.sides.len() > 1;
    let name = |side: &Side| if several { side.name.clone() } else { String::new() };
    let rate = |heading: &str, of: fn(&Figures) -> Estimate| {
        let value = |side: &Side| {
            let words = network(subject, side).map(|row| percent(&of(row)));
            parts(name(side), words, " %")
        };
        Number { name: heading.into(), values: subject.sides.iter().map(value).collect() }
    };
    let loss = match &subject.comparisons {
        Some(comparisons) => {
            let others = subject.sides[1..].iter().zip(&comparisons.rows);
            let value = |(side, row): (&Side, _)| {
                let ratio = Reading::DeltaLoss.of(row).map(|ratio| interval(&ratio, 2));
                parts(side.name.clone(), ratio, "")
            };
            Number {
                name: format!("mean ΔLoss, {} ÷ other", subject.first().name),
                values: others.map(value).collect(),
            }
        }
        None => {
            let detector = subject.bounded;
            let row = detector.and_then(|at| subject.first().of_network(Weighting::Uniform, at));
            let mean = row.and_then(|row| match &row.delta_loss {
                DeltaLoss::Mean(mean) => Some(any_size(mean)),
                DeltaLoss::Quantiles(_) => None,
            });
            Number {
                name: "mean ΔLoss, nats".into(), values: vec![parts(String::new(), mean, "")]
            }
        }
    };
    vec![
        rate("predicted class changed (SDC)", |row| row.rates.sdc),
        rate("any bit of the answer changed", |row| changed(&row.rates.masked)),
        rate("answer not finite", |row| row.rates.nonfinite),
        loss,
    ]
}

/// A figure as reports write it, `1.23 [1.02, 1.47]`, in its parts; with its unit.
fn parts(name: String, words: Option<String>, unit: &str) -> (String, String, String) {
    let Some(words) = words else { return (name, "–".into(), String::new()) };
    match words.split_once(" [") {
        Some((value, ends)) => (name, format!("{value}{unit}"), format!("[{ends}")),
        None => (name, format!("{words}{unit}"), String::new()),
    }
}

/// The rate of what isn't masked.
pub(super) fn changed(masked: &Estimate) -> Estimate {
    Estimate { value: 1.0 - masked.value, low: 1.0 - masked.high, high: 1.0 - masked.low }
}
