//! ΔLoss as a distribution: the share of faults below each value, of the network and of each layer.

use serde_json::{Value, json};

use super::{of_sides, reasons, rounded};
use crate::analysis::picture::{self, Distribution, LossCurve, Shown};
use crate::detector::Detector;
use crate::page::axis::Axis;
use crate::page::figure::{Cell, Column, Figure, Table};
use crate::page::subject::{Side, Subject};
use crate::page::svg::{Anchor, Mark, Svg, number};

/// Where the plot lies.
const LEFT: f64 = 48.0;
const RIGHT: f64 = 744.0;
const HIGH: f64 = 300.0;

/// Curves of networks: without a detector and with one; and of layers.
const NETWORK: [&str; 4] =
    ["curve run-0 whole", "curve run-1 whole", "curve run-2 whole", "curve run-3 whole"];
const GUARDED: [&str; 4] =
    ["curve run-0 dashed", "curve run-1 dashed", "curve run-2 dashed", "curve run-3 dashed"];
const LAYER: [&str; 4] =
    ["curve run-0 faint", "curve run-1 faint", "curve run-2 faint", "curve run-3 faint"];

/// Larger changes, which a bit of the exponent makes without a detector, lie beyond the axis: it would be of nothing else.
const MOST: f64 = 1e3;

/// ΔLoss below this is what rounding leaves of none: axes begin here.
const LEAST: f64 = 1e-8;

/// The figure.
pub(in crate::page) fn figure(subject: &Subject) -> Option<Figure> {
    let of = |detector: Detector| {
        of_sides(subject, |side: &Side| picture::distribution(side.run, detector))
    };
    let shown = of(subject.detector);
    let guarded = subject.bounded.filter(|bounded| *bounded != subject.detector);
    let guarded: Vec<Shown<Distribution>> = guarded.map(of).unwrap_or_default();
    let mut svg = Svg::new(760.0, 0.0);
    let mut y = reasons(&mut svg, 0.0, subject, &shown);
    if shown.iter().any(Result::is_ok) {
        y = draw(&mut svg, y, subject, &shown, &guarded);
    }
    svg.height = y + 4.0;
    let dashed = match guarded.iter().flatten().next() {
        Some(of) => format!(
            " Dashed is the network under the detector {}, which pulls its worst faults back.",
            of.detector.name()
        ),
        None => String::new(),
    };
    let figure = Figure::new(
        "delta-loss",
        "How much the loss changes",
        format!(
            "A curve says which share of faults changed the loss by as much as the axis says, or less. It begins at the \
             share of faults that changed it by nothing, or by less than the axis has, and ends below 100 % by the share \
             of answers that weren't finite; where some changes are larger than the axis has, it ends with a step. The \
             thick line is the network, layers alike, under the detector {}; thin lines are layers, and choosing one leaves \
             it alone beside the network.{dashed} A mean would hang on the few faults at the right.",
            subject.detector.name()
        ),
        svg,
        table(subject, &shown, &guarded),
    );
    Some(figure.with_data(data(&shown, &guarded)))
}

/// All curves, the network's last.
fn curves(shown: &[Shown<Distribution>]) -> impl Iterator<Item = &LossCurve> {
    shown.iter().flatten().flat_map(|of| of.layers.iter().chain([&of.network]))
}

fn draw(
    svg: &mut Svg,
    y: f64,
    subject: &Subject,
    shown: &[Shown<Distribution>],
    guarded: &[Shown<Distribution>],
) -> f64 {
    let points = || curves(shown).chain(curves(guarded)).flat_map(|curve| &curve.points);
    let least = points().map(|point| point.0).fold(f64::INFINITY, f64::min).max(LEAST);
    // Where nothing changed there is no point.
    let low = if least.is_finite() { least } else { LEAST };
    let high = points().map(|point| point.0).fold(low, f64::max).min(MOST);
    let power = |value: f64, round: fn(f64) -> f64| 10f64.powf(round(value.log10()));
    let (top, bottom) = (y + 34.0, y + 34.0 + HIGH);
    let across = Axis::log([power(low, f64::floor), power(high, f64::ceil)], [LEFT, RIGHT]);
    let up = Axis::linear([0.0, 1.0], [bottom, top]);
    across.draw_below(svg, [top, bottom], 12);
    for (share, _) in up.ticks(5) {
        let y = up.at(share);
        svg.line([LEFT, y], [RIGHT, y], Mark::new("grid"));
        let words = format!("{} %", number(100.0 * share));
        svg.text([LEFT - 8.0, y + 4.0], Anchor::End, &words, Mark::new("tick"));
    }
    svg.text([LEFT, top - 10.0], Anchor::Start, "share of faults", Mark::new("head"));
    svg.text([RIGHT, bottom + 32.0], Anchor::End, "ΔLoss, nats", Mark::new("head"));
    let trace = |curve: &LossCurve| -> Vec<[f64; 2]> {
        let place = |(value, share): &(f64, f64)| [across.at(*value), up.at(*share)];
        let left = curve.points.iter().take_while(|(value, _)| across.at(*value) < LEFT).last();
        let is_inside = |value: f64| across.at(value) >= LEFT && across.at(value) <= RIGHT;
        let inside = curve.points.iter().filter(|(value, _)| is_inside(*value));
        let inside: Vec<[f64; 2]> = inside.map(place).collect();
        let mut all = match (left.map(place), inside.first()) {
            // It comes from left of the axis.
            (Some([x0, y0]), Some([x, y])) => {
                vec![[LEFT, y0 + (y - y0) * (LEFT - x0) / (x - x0)]]
            }
            (Some([_, y0]), None) => vec![[LEFT, y0]],
            // Flat up to the first value, then rising.
            (None, first) => {
                let start = up.at(curve.zeros);
                [LEFT].into_iter().chain(first.map(|first| first[0])).map(|x| [x, start]).collect()
            }
        };
        all.extend(inside);
        // Flat to the end of the axis, where all that is finite is reached at the latest.
        let last = all[all.len() - 1][1];
        all.extend([[RIGHT, last], [RIGHT, up.at(1.0 - curve.nonfinite)]]);
        all
    };
    for (side, shown) in shown.iter().enumerate() {
        let Ok(shown) = shown else { continue };
        for curve in &shown.layers {
            let is_here =
                |index: usize| subject.layers.iter().position(|of| of.indices[side] == Some(index));
            let Some(layer) = curve.layer.and_then(is_here) else { continue };
            let mark = Mark::new(LAYER[side]).of_layer(layer);
            svg.path(trace(curve), mark.hinted(&subject.layers[layer].name));
        }
    }
    for (classes, shown) in [(GUARDED, guarded), (NETWORK, shown)] {
        for (side, shown) in shown.iter().enumerate() {
            if let Ok(shown) = shown {
                svg.path(trace(&shown.network), Mark::new(classes[side]));
            }
        }
    }
    let mut y = bottom + 32.0;
    for (side, of) in subject.sides.iter().enumerate() {
        let guarded = guarded.get(side).and_then(|of| of.as_ref().ok());
        let with = guarded.map(|of| (GUARDED[side], format!("with {}", of.detector.name())));
        let lines = [Some((NETWORK[side], format!("{}, network", of.name))), with];
        let mut x = LEFT;
        for (class, words) in lines.into_iter().flatten() {
            svg.path([[x, y - 4.0], [x + 26.0, y - 4.0]], Mark::new(class));
            svg.text([x + 32.0, y], Anchor::Start, &words, Mark::new("head"));
            x += 48.0 + 6.6 * words.chars().count() as f64;
        }
        y += 18.0;
    }
    y - 4.0
}

fn table(
    subject: &Subject,
    shown: &[Shown<Distribution>],
    guarded: &[Shown<Distribution>],
) -> Table {
    let quantiles = ["50 %", "90 %", "99 %", "99.9 %"];
    let keys = ["delta_loss_50", "delta_loss_90", "delta_loss_99", "delta_loss_999"];
    let columns = keys.into_iter().zip(quantiles).map(|(key, share)| {
        Column::amount(key, format!("ΔLoss at {share}"), "nats").without_interval()
    });
    let fixed = [
        Column::text("layer", "layer"),
        Column::text("run", "run"),
        Column::text("detector", "detector"),
        Column::count("n", "n"),
        Column::rate("zeros", "no change").without_interval(),
        Column::rate("nonfinite", "nonfinite").without_interval(),
    ];
    let mut table = Table::new(fixed.into_iter().chain(columns));
    let row = |name: &str, side: usize, detector: Detector, curve: &LossCurve| -> Vec<Cell> {
        let fixed: [Cell; 6] = [
            name.into(),
            subject.sides[side].name.as_str().into(),
            detector.name().into(),
            curve.n.into(),
            curve.zeros.into(),
            curve.nonfinite.into(),
        ];
        fixed.into_iter().chain(curve.quantiles.map(Cell::from)).collect()
    };
    for of in [shown, guarded] {
        for (side, of) in of.iter().enumerate() {
            if let Ok(of) = of {
                table.push(None, row("network", side, of.detector, &of.network));
            }
        }
    }
    for (layer, place) in subject.layers.iter().enumerate() {
        for (side, of) in shown.iter().enumerate() {
            let (Ok(of), Some(index)) = (of, place.indices[side]) else { continue };
            if let Some(curve) = of.layers.iter().find(|curve| curve.layer == Some(index)) {
                table.push(Some(layer), row(&place.name, side, of.detector, curve));
            }
        }
    }
    table
}

/// Of each run and detector the points of the network's curve: [ΔLoss, share].
fn data(shown: &[Shown<Distribution>], guarded: &[Shown<Distribution>]) -> Value {
    let curve = |curve: &LossCurve| {
        let points = curve.points.iter().map(|(value, share)| [rounded(*value), rounded(*share)]);
        json!({
            "n": curve.n,
            "zeros": curve.zeros,
            "nonfinite": curve.nonfinite,
            "points": points.collect::<Vec<_>>(),
        })
    };
    let of = |shown: &Shown<Distribution>| match shown {
        Ok(of) => json!({ "detector": of.detector.name(), "network": curve(&of.network) }),
        Err(why) => json!({ "not_shown": why }),
    };
    Value::Array(shown.iter().chain(guarded).map(of).collect())
}
