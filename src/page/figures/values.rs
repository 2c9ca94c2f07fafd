//! What faults made of values: before against after, a map an outcome.

use serde_json::{Value, json};

use super::{of_sides, reasons, rounded};
use crate::analysis::picture::{self, Outcomes, Shown, ValueBins, ValueMaps};
use crate::page::axis::Axis;
use crate::page::figure::{Cell, Column, Figure, Table};
use crate::page::grid::{Grid, Shade};
use crate::page::outcomes::OUTCOMES;
use crate::page::palette::step;
use crate::page::subject::Subject;
use crate::page::svg::{Anchor, Mark, Svg};

/// Where the first map begins, the side of a bin, and what lies between maps.
const LEFT: f64 = 52.0;
const BIN: f64 = 6.75;
const GAP: f64 = 18.0;

/// The figure.
pub(in crate::page) fn figure(subject: &Subject) -> Option<Figure> {
    let maps = of_sides(subject, |side| picture::values(side.run, subject.detector));
    let mut svg = Svg::new(760.0, 0.0);
    let mut y = reasons(&mut svg, 0.0, subject, &maps);
    let bins = maps.iter().flatten().flat_map(|maps| maps.layers.iter().chain([&maps.network]));
    let counts = bins.flat_map(|bins| bins.cells.iter().flat_map(|cell| cell.outcomes.counts()));
    let most = counts.max().unwrap_or(0);
    if most > 0 {
        legend(&mut svg, y, most);
        y += 40.0;
    }
    for (side, maps) in maps.iter().enumerate() {
        if let Ok(maps) = maps {
            y = draw(&mut svg, y, subject, side, maps, most);
        }
    }
    svg.height = y + 4.0;
    let linear = maps.iter().flatten().next().map_or(0.0, |maps| maps.before.linear);
    let figure = Figure::new(
        "values",
        "What faults made of values, and of answers",
        format!(
            "Each map has the faults with one outcome: across, the value before the fault; up, what the fault made of it. \
             Along the line a value stays about what it was, and mirrored below 0 only its sign changes. Both axes are \
             logarithmic on either side of 0 and linear between ±{linear}. The line at the top has values that became \
             infinite or NaN. Shades count injections as they were run, by powers: all layers that the network's figures \
             count, or the chosen one."
        ),
        svg,
        table(subject, &maps),
    );
    Some(figure.with_data(data(&maps)))
}

/// Ticks without those beside 0, whose words would lie on its.
fn apart(ticks: Vec<(f64, String)>) -> impl Iterator<Item = (f64, String)> {
    ticks.into_iter().filter(|(value, _)| *value == 0.0 || value.abs() >= 0.1)
}

/// The class of a count, on a logarithmic scale.
fn shade(count: u64, most: u64) -> &'static str {
    let share = (count as f64).ln_1p() / (most as f64).ln_1p();
    // Steps follow the root of what they are given.
    step(share * share, 1.0)
}

/// Draws what the shades of counts mean.
fn legend(svg: &mut Svg, y: f64, most: u64) {
    svg.text([LEFT, y + 10.0], Anchor::Start, "injections", Mark::new("head"));
    let from = LEFT + 66.0;
    for place in 1..=6u32 {
        let count = (most as f64).ln_1p() * f64::from(place) / 6.0;
        let count = (count.exp() - 1.0).round().max(1.0) as u64;
        let at = from + 44.0 * f64::from(place - 1);
        svg.rect([at, y], [at + 44.0, y + 12.0], Mark::new(shade(count, most)));
        let words = format!("{count}");
        svg.text([at + 22.0, y + 25.0], Anchor::Middle, &words, Mark::new("tick"));
    }
}

fn draw(svg: &mut Svg, y: f64, subject: &Subject, side: usize, maps: &ValueMaps, most: u64) -> f64 {
    let mut y = y;
    if subject.sides.len() > 1 {
        svg.text([0.0, y + 12.0], Anchor::Start, &subject.sides[side].name, Mark::new("head"));
        y += 20.0;
    }
    let bins = maps.after.bins;
    let side_of = BIN * bins as f64;
    let left = |map: usize| LEFT + (side_of + GAP) * map as f64;
    // Values that aren't finite have a line of their own, above the others.
    let (top, above) = (y + 24.0 + BIN + 4.0, y + 24.0);
    let bottom = top + side_of;
    let axis =
        |of: &picture::SymlogAxis, places| Axis::symlog(of.linear, [-of.most, of.most], places);
    let up = axis(&maps.after, [bottom, top]);
    for (map, (_, word)) in OUTCOMES.into_iter().enumerate() {
        let x = left(map);
        svg.text([x, y + 14.0], Anchor::Start, word, Mark::default());
        svg.rect([x, above], [x + side_of, above + BIN], Mark::new("empty"));
        svg.rect([x, top], [x + side_of, bottom], Mark::new("empty"));
        let across = axis(&maps.before, [x, x + side_of]);
        for (value, words) in apart(across.ticks(4)) {
            let at = across.at(value);
            svg.line([at, bottom], [at, bottom + 4.0], Mark::new("base"));
            svg.text([at, bottom + 16.0], Anchor::Middle, &words, Mark::new("tick"));
        }
    }
    svg.text([LEFT - 8.0, above + BIN], Anchor::End, "∞, NaN", Mark::new("tick"));
    for (value, words) in apart(up.ticks(6)) {
        let at = up.at(value);
        svg.line([LEFT - 4.0, at], [LEFT, at], Mark::new("base"));
        svg.text([LEFT - 8.0, at + 4.0], Anchor::End, &words, Mark::new("tick"));
    }
    let panel = |svg: &mut Svg, of: &ValueBins| {
        for map in 0..OUTCOMES.len() {
            let shades = of.cells.iter().filter_map(|cell| {
                let count = cell.outcomes.counts()[map];
                let is_drawn = count > 0 && cell.before < maps.before.bins;
                let class = shade(count, most);
                is_drawn.then_some((cell.after, Shade { row: 0, column: cell.before, class }))
            });
            let (lost, known): (Vec<_>, Vec<_>) = shades.partition(|(after, _)| *after == bins);
            let cell = [BIN; 2];
            let known =
                known.into_iter().map(|(after, shade)| Shade { row: bins - 1 - after, ..shade });
            Grid { origin: [left(map), top], cell }.draw(svg, known);
            let lost = lost.into_iter().map(|(_, shade)| shade);
            Grid { origin: [left(map), above], cell }.draw(svg, lost);
        }
    };
    svg.group(Mark::default(), |svg| {
        svg.panel(None, true, |svg| panel(svg, &maps.network));
        for (layer, place) in subject.layers.iter().enumerate() {
            let is_here = |of: &&ValueBins| of.layer.is_some() && of.layer == place.indices[side];
            if let Some(of) = maps.layers.iter().find(is_here) {
                svg.panel(Some(layer), false, |svg| panel(svg, of));
            }
        }
    });
    // Zero's lines lie above the bins.
    for map in 0..OUTCOMES.len() {
        let (x, middle) = (left(map), left(map) + side_of / 2.0);
        svg.line([x, up.at(0.0)], [x + side_of, up.at(0.0)], Mark::new("grid"));
        svg.line([middle, top], [middle, bottom], Mark::new("grid"));
        let across = axis(&maps.before, [x, x + side_of]);
        let edges = (0..=maps.before.bins).map(|bin| maps.before.edge(bin));
        svg.path(edges.map(|edge| [across.at(edge), up.at(edge)]), Mark::new("curve base"));
    }
    svg.text([left(0), bottom + 32.0], Anchor::Start, "value before the fault", Mark::new("head"));
    svg.text([0.0, y + 14.0], Anchor::Start, "after", Mark::new("head"));
    bottom + 42.0
}

/// The network's bins.
fn table(subject: &Subject, maps: &[Shown<ValueMaps>]) -> Table {
    let ends = [
        ("before_from", "before: from"),
        ("before_to", "to"),
        ("after_from", "after: from"),
        ("after_to", "to"),
    ];
    let ends = ends.map(|(key, name)| Column::text(key, name));
    let counts = OUTCOMES.map(|(key, name)| Column::count(key, name));
    let first = [Column::text("run", "run")].into_iter();
    let mut table = Table::new(first.chain(ends).chain(counts));
    for (side, maps) in subject.sides.iter().zip(maps) {
        let Ok(maps) = maps else { continue };
        for cell in &maps.network.cells {
            let between = |axis: &picture::SymlogAxis, bin: usize| match bin < axis.bins {
                true => [bin, bin + 1].map(|edge| Cell::from(edge_words(axis.edge(edge)))),
                false => [Cell::from("∞, NaN"), Cell::Nothing],
            };
            let ends = between(&maps.before, cell.before).into_iter();
            let ends = ends.chain(between(&maps.after, cell.after));
            let counts = cell.outcomes.counts().map(Cell::from);
            let first = [Cell::from(side.name.as_str())].into_iter();
            table.push(None, first.chain(ends).chain(counts).collect());
        }
    }
    table
}

/// An end of a bin, in few digits.
fn edge_words(edge: f64) -> String {
    if edge == 0.0 { "0".into() } else { format!("{edge:.2e}") }
}

/// Of each run the edges of bins, and of the network its cells: bins before and after, then outcomes.
fn data(maps: &[Shown<ValueMaps>]) -> Value {
    let edges = |axis: &picture::SymlogAxis| {
        (0..=axis.bins).map(|bin| rounded(axis.edge(bin))).collect::<Vec<f64>>()
    };
    let bins = |of: &ValueBins| {
        let cells = of.cells.iter().map(|cell| {
            let Outcomes { masked, benign, sdc, nonfinite } = cell.outcomes;
            [cell.before as u64, cell.after as u64, masked, benign, sdc, nonfinite]
        });
        json!(cells.collect::<Vec<_>>())
    };
    let of = |maps: &Shown<ValueMaps>| match maps {
        Ok(maps) => json!({
            "before": edges(&maps.before),
            "after": edges(&maps.after),
            "cells": ["before", "after", "masked", "benign", "sdc", "nonfinite"],
            "network": bins(&maps.network),
        }),
        Err(why) => json!({ "not_shown": why }),
    };
    Value::Array(maps.iter().map(of).collect())
}
