//! Results for people: tables and the words around them.

mod bars;
mod bench;
mod census;
mod cite;
mod compared_parts;
mod comparison;
mod family;
mod goldeneye;
mod injection;
mod latex;
mod models;
mod names;
mod partial;
mod plan;
mod reproduction;
mod requirements;
mod run;
mod scale;
mod sheet;
mod similarity;
mod study;

pub use bench::{inject_times_text, kernel_list, kernels_text, overhead_text};
pub use census::{census_json, census_resumed, census_text};
pub(crate) use cite::citation_field;
pub use cite::{Citation, CitePart, CitedRun, CitedStudy};
pub use compared_parts::{
    compared_bits_json, compared_bits_text, compared_layers_json, compared_layers_text,
};
pub use comparison::comparison_text;
pub(crate) use comparison::verdict as comparison_verdict;
pub use injection::{
    FaultyAnswer, HitBy, HitValue, Injection, Telling, injection_json, injections_table,
    injections_text, top_json,
};
pub(crate) use latex::{latex, latex_numbers};
pub use models::{HeadCost, ModelLayer, ModelRow, layers_text, models_text};
pub(crate) use names::{plain_name, run_names, told_apart};
pub use partial::{partial_json, partial_text};
pub use plan::{Planned, plan_text};
pub use reproduction::reproduction_text;
pub(crate) use reproduction::{
    ablation_heading, footer as reproduction_footer, inside as reproduction_inside,
    introduction as reproduction_introduction, mean_name, setting_name,
    words as reproduction_words,
};
pub use requirements::{requirements_text, write_junit};
pub(crate) use run::faults;
pub use run::{Summary, arranged_text, run_json, run_text, summary_text};
pub use sheet::View;
pub use similarity::similarity_text;
pub use study::study_text;
pub(crate) use study::{
    footer as study_footer, heading as study_contrast, introduction as study_introduction,
    name as study_figure, verdict as study_verdict,
};

use crate::analysis::compare::{Improvement, Refusal};
use crate::detector::Detector;
use crate::results::{RangesOver, Run};
use crate::statistics::Estimate;

/// Layers that a screen shows when a campaign is done.
const MOST_LAYERS: usize = 10;

/// `1.23 [1.01, 1.45]`, with `digits` behind the point; the value alone where its interval isn't known.
pub(crate) fn interval(estimate: &Estimate, digits: usize) -> String {
    let Estimate { value, low, high } = estimate;
    if value.is_nan() {
        return "–".into();
    }
    if low.is_nan() {
        return format!("{value:.digits$}");
    }
    format!("{value:.digits$} [{low:.digits$}, {high:.digits$}]")
}

/// As [`interval`], with three digits of the value whatever its size; for figures that may be tiny.
pub(crate) fn any_size(estimate: &Estimate) -> String {
    let Estimate { value, low, high } = *estimate;
    if value == 0.0 || value.abs() >= 1e-2 || value.is_nan() {
        interval(estimate, 4)
    } else if low.is_nan() {
        format!("{value:.2e}")
    } else {
        format!("{value:.2e} [{low:.2e}, {high:.2e}]")
    }
}

/// The heading of a column of ΔLoss: a mean, or quantiles where the detector doesn't bound it.
fn delta_loss_heading(detector: Detector) -> &'static str {
    match detector.bounds_the_mean() {
        true => "mean ΔLoss",
        false => "ΔLoss at 50 / 90 / 99 / 99.9 %",
    }
}

/// What footers say of means without an interval.
const NO_INTERVAL: &str = "A mean has no interval where a layer has fewer than twelve injections for each bit (384 for \
     32 bits), where nothing but zeros was seen, or where nothing is left to chance.";

/// What the columns of outcomes are.
pub(crate) const OUTCOMES: &str = "Outcomes: masked, the same bits; benign, other logits with the same top-1; SDC, another \
     top-1; SDC-5, one that takes the fault-free top-1 out of the top-5; nonfinite, a logit that is no finite number. More: \
     flipside help outcomes.";

/// What footers say of answers that aren't finite.
const NONFINITE: &str = "Nonfinite answers count 1 in absolute Δp and ∞ in quantiles of ΔLoss, whose means are of \
     the others; they are neither SDC nor SDC-5.";

/// What footers say of the ranges that detectors clamp to.
fn ranges_words(over: &RangesOver) -> String {
    format!("Ranges of layers were measured over {} training images.", over.images)
}

/// What footers say of layers whose faults were counted.
fn counted_words(run: &Run) -> String {
    let layers = || run.counted.iter().filter(|((_, place), _)| *place == 0);
    let names: Vec<&str> =
        layers().map(|((layer, _), _)| run.manifest.layers[layer].name.as_str()).collect();
    let images = layers().map(|(_, images)| images.len()).max().unwrap_or(0);
    format!(
        "Mean ΔLoss of {} is of every single-bit fault in its outputs for {images} images, counted instead of drawn; \
         its interval is over images alone.",
        names.join(" and of "),
    )
}

/// A word of a command as a shell takes it.
pub(crate) fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-:=,".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// What of a value a fault flips.
fn flipped_bits(bits: usize) -> String {
    match bits {
        0 => "no flipped bit".into(),
        1 => "one flipped bit".into(),
        bits => format!("{bits} flipped bits"),
    }
}

/// Quantiles of ΔLoss.
fn quantiles(values: [f64; 4]) -> String {
    let word = |value: f64| match value.is_infinite() {
        true => "∞".into(),
        false => format!("{value:.2e}"),
    };
    values.map(word).join(" / ")
}

/// A rate in percent.
pub(crate) fn percent(estimate: &Estimate) -> String {
    interval(&estimate.times(100.0), 2)
}

/// A ratio and what it says.
fn ratio(improvement: &Improvement) -> String {
    format!("{}, {}", interval(&improvement.ratio, 2), improvement.verdict.words())
}

/// Why there is no verdict, behind the words that say so.
fn reasons(refusals: &[Refusal]) -> String {
    let details: Vec<&str> = refusals.iter().map(|refusal| refusal.detail.as_str()).collect();
    if details.is_empty() { String::new() } else { format!(" ({})", details.join("; ")) }
}
