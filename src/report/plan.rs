//! What a planned comparison takes, in tables.

use serde::Serialize;

use super::sheet::{BY_PIPE, Fit, Sheet, View};
use crate::analysis::compare::{Needed, PilotForecast, Seeds, Wish};

/// A plan, for ratios, for differences of rates and for training seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Planned {
    pub pilot: PilotForecast,
    #[serde(flatten)]
    pub wish: Wish,
    /// Of the ratios, the one that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_ratio: Option<f64>,
    pub ratios: Vec<Needed>,
    /// The smallest that the pilot's own number of injections shows.
    pub least_ratio: Option<f64>,
    /// Of the points, those that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_points: Option<f64>,
    pub points: Vec<Needed>,
    pub least_points: Option<f64>,
    /// Standard deviation of the logarithm of the ratio between training seeds, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed_spread: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<Seeds>,
}

/// A plan as text.
pub fn plan_text(planned: &Planned, view: View) -> String {
    let Planned { pilot, wish, .. } = planned;
    let mut sheet = Sheet::new(view);
    let power = (1e6 * wish.power).round() / 1e4;
    let at = format!("with {power} % power, at {}", wish.confidence);
    sheet.prose(&introduction(pilot));
    if !planned.ratios.is_empty() {
        sheet.gap();
        sheet.prose(&format!("To show a ratio of mean ΔLoss (all layers alike) {at}:"));
        sheet.gap();
        let rows =
            planned.ratios.iter().map(|needed| row(pilot, needed, planned.asked_ratio)).collect();
        sheet.table(Fit::Blocks, &["ratio", "injections a layer", "in all", "images"], rows);
    }
    if let Some(least) = planned.least_ratio {
        sheet.gap();
        sheet.prose(&format!(
            "{} injections a layer{}, as in the pilot, show a ratio of {least:.2} or more.",
            pilot.injections,
            on_average(pilot)
        ));
    }
    if !planned.points.is_empty() {
        sheet.gap();
        sheet.prose(&format!("To show a difference of SDC rates without a detector {at}:"));
        sheet.gap();
        let rows =
            planned.points.iter().map(|needed| row(pilot, needed, planned.asked_points)).collect();
        sheet.table(Fit::Blocks, &["points", "injections a layer", "in all"], without_last(rows));
    }
    if let Some(least) = planned.least_points {
        sheet.gap();
        sheet.prose(&format!(
            "{} injections a layer{}, as in the pilot, show a difference of {least:.2} points or more.",
            pilot.injections,
            on_average(pilot)
        ));
    }
    if !planned.seeds.is_empty() {
        sheet.gap();
        sheet.prose(&format!("To show a ratio over training seeds {at}:"));
        sheet.gap();
        let seeds = |seeds: &Seeds| {
            let needed = seeds.seeds;
            vec![
                effect(seeds.ratio, planned.asked_ratio),
                needed.map_or_else(many, |n| n.to_string()),
            ]
        };
        sheet.table(Fit::Blocks, &["ratio", "seeds"], planned.seeds.iter().map(seeds).collect());
    }
    sheet.gap();
    for line in footer(planned) {
        sheet.item(&line);
    }
    sheet.finish(BY_PIPE)
}

fn many() -> String {
    "more than a plan goes".into()
}

/// What numbers of injections a layer are, beside what they are.
fn on_average(pilot: &PilotForecast) -> &'static str {
    if pilot.fewest_allocated.is_some() { " on average" } else { "" }
}

/// An effect, marked where it is the one that was asked for.
fn effect(effect: f64, asked: Option<f64>) -> String {
    format!("{effect}{}", if asked == Some(effect) { " (asked)" } else { "" })
}

fn introduction(pilot: &PilotForecast) -> String {
    let PilotForecast { models, injections, layers, images, .. } = pilot;
    let which = match &models[..] {
        [one] => format!(
            "{one}, whose other model is taken to have the same spread and faults of its own"
        ),
        [a, b] if pilot.is_paired() => format!("{a} and {b}, by the same faults"),
        models => format!("{}, each by its own faults", models.join(" and ")),
    };
    let layers = match layers {
        [a, b] if a == b => a.to_string(),
        [a, b] => format!("{a} and {b}"),
    };
    format!(
        "Pilot: {which}; {injections} injections{} into each of {layers} layers, {images} images.",
        on_average(pilot)
    )
}

fn row(pilot: &PilotForecast, needed: &Needed, asked: Option<f64>) -> Vec<String> {
    let layers: usize = pilot.layers.iter().sum();
    let total = |n: u64| n.saturating_mul(layers as u64);
    vec![
        effect(needed.effect, asked),
        needed.injections.map_or_else(
            || if needed.images.is_some() { "none is enough".into() } else { many() },
            |n| n.to_string(),
        ),
        needed.injections.map_or_else(|| "–".into(), |n| total(n).to_string()),
        needed.images.map_or_else(|| pilot.images.to_string(), |n| format!("more than {n}")),
    ]
}

fn without_last(rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    rows.into_iter().map(|row| row.into_iter().take(3).collect()).collect()
}

fn footer(planned: &Planned) -> Vec<String> {
    let pilot = &planned.pilot;
    let mut lines = Vec::new();
    match pilot.delta_loss {
        Some(spread) => {
            let share = spread.of_images / (spread.of_images + spread.of_injections);
            lines.push(format!(
                "Ratios: the logarithm has a standard error of {:.3} in the pilot, with {:.1} degrees of freedom. {:.0} % of \
                 its variance is of the images, which more injections don't lessen; the rest falls as 1/n. A mean needs \
                 {} injections a layer at least.",
                spread.standard_error(1.0),
                spread.freedom,
                100.0 * share,
                pilot.fewest
            ));
        }
        None if pilot.all_counted => lines.push(
            "Ratios: the pilot doesn't say. Mean ΔLoss of all of its layers is counted, so that it doesn't depend on the \
             number of injections. It takes a pilot with other layers, too."
                .into(),
        ),
        None => lines.push(format!(
            "Ratios: the pilot doesn't say. It takes injections under the range detector, at least {} a layer, with \
             answers that change.",
            pilot.fewest.max(1)
        )),
    }
    lines.push(match pilot.sdc_standard_error_points {
        Some(error) => format!(
            "Rates: the difference has a standard error of {error:.3} points in the pilot, all of which falls as 1/n. It \
             is that of the SDC seen here: where the other model has more, it takes more injections."
        ),
        None => "Rates: the pilot doesn't say. It takes injections without a detector, some of which are SDC in one run \
                 alone."
            .into(),
    });
    if let Some(fewest) = pilot.fewest_allocated {
        lines.push(format!(
            "The pilot was allocated: these numbers are for --allocate, {fewest} a layer at least."
        ));
    }
    if let Some(spread) = planned.seed_spread {
        lines.push(format!(
            "Seeds: logarithms of the seeds' ratios have a standard deviation of {spread:.3}, sampling of faults \
             included; each seed is a training of both models. A spread from few seeds is itself uncertain."
        ));
    }
    lines.push(
        "In all: both models. A primary reading is planned for; others need more, for Holm's adjustment. The spread of \
         a pilot is an estimate: plan with some to spare."
            .into(),
    );
    lines
}
