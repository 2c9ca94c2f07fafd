//! Layers as a forest plot: estimate and interval of each, runs side by side, and what compares them.

use super::figures::short;
use super::outcomes::few_rates;
use super::{Anchor, Axis, Cell, Column, Figure, Mark, PageLayer, Subject, Svg, Table};
use crate::analysis::Rates;
use crate::analysis::compare::LayerChange;
use crate::report::{interval, percent};
use crate::statistics::Estimate;

/// Classes of the runs' marks.
const RUNS: [&str; 4] = ["run-0", "run-1", "run-2", "run-3"];
const DOTS: [&str; 4] = ["dot run-0", "dot run-1", "dot run-2", "dot run-3"];

/// Where the parts of a row begin.
const RATES: [f64; 2] = [190.0, 520.0];
const RATIOS: [f64; 2] = [560.0, 800.0];

const TOP: f64 = 46.0;

/// Names of more characters are cut.
const LONGEST: usize = 24;

/// What a comparison has of a layer.
fn change<'s>(subject: &'s Subject, place: &PageLayer, other: usize) -> Option<&'s LayerChange> {
    place.indices[0]?;
    let comparison = subject.comparisons.as_ref()?.rows.get(other - 1)?;
    comparison.by_layer.iter().find(|change| change.layer == place.name)
}

/// The figure; nothing where no layer has a record.
pub(super) fn figure(subject: &Subject) -> Option<Figure> {
    subject.most_vulnerable()?;
    let runs = subject.sides.len();
    let rates = |place: &PageLayer, side: usize| -> Option<Rates> {
        few_rates(subject.sides[side].of_layer(place.indices[side]?, subject.detector)?)
    };
    let ratio = |place: &PageLayer, other: usize| -> Option<Estimate> {
        Some(change(subject, place, other)?.delta_loss.as_ref()?.ratio)
    };
    let difference = |place: &PageLayer, other: usize| -> Option<Estimate> {
        Some(change(subject, place, other)?.sdc.as_ref()?.difference)
    };
    let pairs =
        || subject.layers.iter().flat_map(|place| (1..runs).map(move |other| (place, other)));
    let has_ratios =
        pairs().any(|(place, other)| ratio(place, other).is_some_and(|of| of.value.is_finite()));
    let compared = |place: &PageLayer, other: usize| {
        if has_ratios { ratio(place, other) } else { difference(place, other) }
    };

    let mut columns = vec![Column::text("layer", "layer")];
    for (at, side) in subject.sides.iter().enumerate() {
        let of =
            |what: &str| if runs > 1 { format!("{what}, {}", side.name) } else { what.to_string() };
        columns.push(Column::count(subject.key("n", at), of("n")));
        columns.push(Column::rate(subject.key("sdc", at), of("SDC")));
    }
    for other in 1..runs {
        let name = &subject.sides[other].name;
        columns.push(Column::plain(
            subject.key("delta_loss_ratio", other),
            format!("mean ΔLoss, {} ÷ {name}", subject.first().name),
            "",
        ));
        columns.push(Column::plain(
            subject.key("sdc_difference", other),
            format!("SDC, {name} − {}", subject.first().name),
            "points",
        ));
    }
    let mut table = Table::new(columns);
    for (at, place) in subject.layers.iter().enumerate() {
        let mut cells: Vec<Cell> = vec![place.name.clone().into()];
        for side in 0..runs {
            let rates = rates(place, side);
            cells.extend([
                rates.map(|rates| rates.records).into(),
                rates.map(|rates| rates.sdc).into(),
            ]);
        }
        for other in 1..runs {
            cells.extend([ratio(place, other).into(), difference(place, other).into()]);
        }
        table.push(Some(at), cells);
    }

    let high =
        |rates: &Rates| if rates.sdc.high.is_finite() { rates.sdc.high } else { rates.sdc.value };
    let all =
        subject.layers.iter().flat_map(|place| (0..runs).filter_map(|side| rates(place, side)));
    let most = all.map(|rates| high(&rates)).fold(0.0, f64::max);
    let axis = Axis::linear([0.0, most], RATES);
    let row_height = 12.0 + 9.0 * runs as f64;
    let bottom = TOP + row_height * subject.layers.len() as f64;
    let width = if runs > 1 { 930.0 } else { 700.0 };
    let mut svg = Svg::new(width, bottom + 28.0);
    if runs > 1 {
        let mut x = RATES[0];
        for (at, side) in subject.sides.iter().enumerate() {
            svg.circle([x + 4.0, 8.0], 4.0, Mark::new(DOTS[at]));
            svg.text([x + 14.0, 12.0], Anchor::Start, &side.name, Mark::default());
            x += 34.0 + 6.6 * side.name.chars().count() as f64;
        }
    }
    svg.text([RATES[0], TOP - 12.0], Anchor::Start, "SDC rate", Mark::new("head"));
    axis.draw_percent(&mut svg, bottom + 2.0);
    for (value, _) in axis.ticks(6) {
        svg.line([axis.at(value), TOP], [axis.at(value), bottom], Mark::new("grid"));
    }
    let beside = (runs > 1).then(|| {
        beside(
            &mut svg,
            has_ratios,
            bottom,
            pairs().filter_map(|(place, other)| compared(place, other)),
        )
    });
    for (at, place) in subject.layers.iter().enumerate() {
        svg.row(at, TOP + row_height * at as f64, |svg| {
            let middle = row_height / 2.0;
            svg.text(
                [RATES[0] - 12.0, middle + 4.0],
                Anchor::End,
                &short(&place.label, LONGEST),
                Mark::new("name"),
            );
            for (side, of) in subject.sides.iter().enumerate() {
                let y = middle + 9.0 * (side as f64 - (runs as f64 - 1.0) / 2.0);
                let Some(rates) = rates(place, side) else { continue };
                let hint = format!(
                    "{}, {}: SDC {} % of {} injections",
                    place.name,
                    of.name,
                    percent(&rates.sdc),
                    rates.records
                );
                svg.line(
                    [axis.at(rates.sdc.low), y],
                    [axis.at(rates.sdc.high), y],
                    Mark::new(RUNS[side]),
                );
                svg.circle([axis.at(rates.sdc.value), y], 3.5, Mark::new(DOTS[side]).hinted(&hint));
                if runs == 1 {
                    svg.text(
                        [RATES[1] + 16.0, y + 4.0],
                        Anchor::Start,
                        &percent(&rates.sdc),
                        Mark::new("small number"),
                    );
                }
            }
            let Some(axis) = beside else { return };
            let mut words = Vec::new();
            for other in 1..runs {
                let y = middle + 9.0 * (other as f64 - runs as f64 / 2.0);
                let Some(of) = compared(place, other).filter(|of| of.value.is_finite()) else {
                    continue;
                };
                let hint =
                    format!("{}, {}: {}", place.name, subject.sides[other].name, interval(&of, 2));
                svg.line(
                    [axis.within(of.low), y],
                    [axis.within(of.high), y],
                    Mark::new(RUNS[other]),
                );
                svg.circle([axis.within(of.value), y], 3.5, Mark::new(DOTS[other]).hinted(&hint));
                words.push(interval(&of, 2));
            }
            if let ([one], 2) = (words.as_slice(), runs) {
                svg.text(
                    [RATIOS[1] + 16.0, middle + 4.0],
                    Anchor::Start,
                    one,
                    Mark::new("small number"),
                );
            }
        });
    }
    let mut words = format!(
        "A dot is a layer's rate of silent data corruption (SDC) under the detector {}, the line through it its interval of \
         {}. Lines that don't overlap are a sign that rates differ, the weaker the more layers there are to look at.",
        subject.detector.name(),
        subject.how.confidence
    );
    if runs > 1 {
        words = format!("{words} {}", subject.how.words());
        words += match has_ratios {
            true => {
                " Beside it, on a logarithmic axis: the mean ΔLoss of the first run divided by the other's, under the range \
                  detector. Above 1 the other is harmed less."
            }
            false => {
                " Beside it: the difference of the two rates in percentage points. Below 0 the other is harmed less often."
            }
        };
    }
    Some(Figure::new("forest", "Layers compared", words, svg, table))
}

/// Draws the axis of what compares runs.
fn beside(
    svg: &mut Svg,
    has_ratios: bool,
    bottom: f64,
    all: impl Iterator<Item = Estimate>,
) -> Axis {
    let ends: Vec<f64> =
        all.flat_map(|of| [of.value, of.low, of.high]).filter(|end| end.is_finite()).collect();
    let reach = |with: f64, pick: fn(f64, f64) -> f64| ends.iter().copied().fold(with, pick);
    let (axis, none, head) = match has_ratios {
        true => {
            let positive: Vec<f64> = ends.iter().copied().filter(|end| *end > 0.0).collect();
            let low = positive.iter().copied().fold(0.8, f64::min).max(1e-3);
            let high = positive.iter().copied().fold(1.25, f64::max).min(1e3);
            (Axis::log([low, high], RATIOS), 1.0, "mean ΔLoss, first ÷ other")
        }
        false => (
            Axis::linear([reach(-0.5, f64::min), reach(0.5, f64::max)], RATIOS),
            0.0,
            "SDC, other − first, points",
        ),
    };
    svg.text([RATIOS[0], TOP - 12.0], Anchor::Start, head, Mark::new("head"));
    axis.draw_below(svg, [TOP, bottom + 2.0], 5);
    svg.line([axis.at(none), TOP], [axis.at(none), bottom], Mark::new("base"));
    axis
}
