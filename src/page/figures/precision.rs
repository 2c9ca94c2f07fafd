//! How closely the network's SDC rate is known, what more injections would buy, and which layers it hangs on.

use strum::IntoEnumIterator;

use super::{RUNS, of_sides, reasons, sentences, short};
use crate::analysis::Weighting;
use crate::analysis::picture::{self, AtInjections, Precision, Shown};
use crate::page::axis::Axis;
use crate::page::figure::{Cell, Column, Figure, Table};
use crate::page::outcomes::words;
use crate::page::subject::{PageLayer, Side, Subject};
use crate::page::svg::{Anchor, Mark, Svg, number};

/// Where the curves lie, and the bars.
const CURVES: [f64; 2] = [48.0, 350.0];
const BARS: [f64; 2] = [548.0, 744.0];
const HIGH: f64 = 220.0;

/// Layers that the drawing has; the table has all.
const MOST_LAYERS: usize = 8;

/// Curves of a run: layers alike, by neurons, by multiply-accumulates.
const CLASSES: [[&str; 3]; 4] = [
    ["curve run-0", "curve run-0 dashed", "curve run-0 dotted"],
    ["curve run-1", "curve run-1 dashed", "curve run-1 dotted"],
    ["curve run-2", "curve run-2 dashed", "curve run-2 dotted"],
    ["curve run-3", "curve run-3 dashed", "curve run-3 dotted"],
];

/// What more injections would buy, in the words.
const MORE: [f64; 3] = [2.0, 4.0, 10.0];

/// The figure.
pub(in crate::page) fn figure(subject: &Subject) -> Option<Figure> {
    let of = |side: &Side| picture::precision(side.run, subject.detector, &subject.how);
    let shown = of_sides(subject, of);
    let mut svg = Svg::new(760.0, 0.0);
    let mut y = reasons(&mut svg, 0.0, subject, &shown);
    if shown.iter().any(Result::is_ok) {
        y = draw(&mut svg, y, subject, &shown);
    }
    for (side, shown) in subject.sides.iter().zip(&shown) {
        if let Ok(shown) = shown {
            y = sentences(&mut svg, y, &told(&side.name, subject, shown));
        }
    }
    svg.height = y + 4.0;
    Some(Figure::new(
        "precision",
        "How closely the SDC rate is known",
        "On the left is half the width of the interval of the network's SDC rate, if the campaign had had so many \
         injections a layer and had found the same rate; the dot is what it has. Solid is with layers alike, dashed by \
         neurons, dotted by multiply-accumulates. On the right are the layers with the largest shares in that interval's \
         variance: more injections are worth most there. Four times as many injections halve a width.",
        svg,
        table(subject, &shown),
    ))
}

/// What is known, and what more would buy, layers alike.
fn told(name: &str, subject: &Subject, shown: &Precision) -> String {
    let Some(alike) = shown.weightings.first() else { return String::new() };
    let at = |times: f64| alike.at.iter().find(|at| at.times == times);
    let width = |at: &AtInjections| format!("±{} points", three(100.0 * at.half_width));
    let now = at(1.0).map(width).unwrap_or_default();
    let more = MORE
        .iter()
        .filter_map(|times| Some(format!("{} with {times} times as many", width(at(*times)?))));
    let more: Vec<String> = more.collect();
    let whose = match subject.sides.len() {
        1 => String::new(),
        _ => format!("{name}: "),
    };
    let allocated = match &shown.allocation {
        Ok(times) => {
            let most = times.iter().max_by(|a, b| a.1.total_cmp(&b.1));
            most.map_or_else(String::new, |(layer, times)| {
                let name = subject.first().run.manifest.layers.get(*layer);
                let name = name.map_or("", |layer| layer.name.as_str());
                format!(
                    " Allocated by this campaign (--allocate), the same number of injections would go most to {name}, \
                     {} times what it has: that heeds ΔLoss, too.",
                    three(*times)
                )
            })
        }
        Err(why) => {
            format!(" How injections would be allocated can't be said: {}", super::lower(why))
        }
    };
    format!(
        "{whose}With layers alike and {} injections a layer the SDC rate is known to {now}; it would be {}.{allocated}",
        number(shown.injections),
        more.join(", ")
    )
}

/// A number with three digits.
fn three(value: f64) -> String {
    let digits = (2 - value.abs().log10().floor().max(-4.0) as i32).clamp(0, 6) as usize;
    if value == 0.0 { "0".into() } else { format!("{value:.digits$}") }
}

fn draw(svg: &mut Svg, y: f64, subject: &Subject, shown: &[Shown<Precision>]) -> f64 {
    let (top, bottom) = (y + 26.0, y + 26.0 + HIGH);
    let all = || shown.iter().flatten().flat_map(|of| of.weightings.iter().flat_map(|of| &of.at));
    let ends = |of: fn(&AtInjections) -> f64| {
        let low = all().map(of).fold(f64::INFINITY, f64::min);
        [low, all().map(of).fold(low, f64::max)]
    };
    let across = Axis::log(ends(|at| at.injections), CURVES);
    let [low, high] = ends(|at| at.half_width);
    let up = Axis::log([100.0 * low / 1.15, 100.0 * high * 1.15], [bottom, top]);
    svg.text([0.0, y + 12.0], Anchor::Start, "half-width, percentage points", Mark::new("head"));
    across.draw_below(svg, [top, bottom], 6);
    up.draw_left(svg, CURVES, 6);
    let middle = (CURVES[0] + CURVES[1]) / 2.0;
    svg.text([middle, bottom + 32.0], Anchor::Middle, "injections a layer", Mark::new("head"));
    for (side, shown) in shown.iter().enumerate() {
        let Ok(shown) = shown else { continue };
        for (class, of) in CLASSES[side].into_iter().zip(&shown.weightings) {
            let place =
                |at: &AtInjections| [across.at(at.injections), up.at(100.0 * at.half_width)];
            svg.path(of.at.iter().map(place), Mark::new(class));
            for at in of.at.iter().filter(|at| at.times == 1.0) {
                let hint = format!("{}: ±{}", words(of.weighting), three(100.0 * at.half_width));
                svg.circle(place(at), 4.0, Mark::new(RUNS[side]).hinted(&hint));
            }
        }
    }
    let (x, y) = (BARS[0], y + 12.0);
    svg.text(
        [x - 150.0, y],
        Anchor::Start,
        "share of the variance, layers alike",
        Mark::new("head"),
    );
    let below = bars(svg, top, subject, shown);
    below.max(bottom + 40.0)
}

/// The layers with the largest shares in the variance, layers alike; runs beside each other.
fn bars(svg: &mut Svg, top: f64, subject: &Subject, shown: &[Shown<Precision>]) -> f64 {
    let share = |side: usize, index: Option<usize>| {
        let shares = &shown[side].as_ref().ok()?.weightings.first()?.shares;
        shares.iter().find(|share| Some(share.layer) == index).map(|share| share.variance)
    };
    let of_place = |place: &PageLayer| -> Vec<f64> {
        let sides = 0..subject.sides.len();
        sides.map(|side| share(side, place.indices[side]).unwrap_or(0.0)).collect()
    };
    let mut layers: Vec<(usize, Vec<f64>)> =
        subject.layers.iter().map(of_place).enumerate().collect();
    let most_of = |shares: &[f64]| shares.iter().copied().fold(0.0, f64::max);
    layers.sort_by(|a, b| most_of(&b.1).total_cmp(&most_of(&a.1)));
    layers.truncate(MOST_LAYERS);
    layers.retain(|(_, shares)| most_of(shares) > 0.0);
    let most = layers.first().map_or(1.0, |(_, shares)| most_of(shares));
    let axis = Axis::linear([0.0, most], BARS);
    let height = HIGH / MOST_LAYERS as f64;
    let line = (height - 8.0) / subject.sides.len() as f64;
    let mut y = top + 4.0;
    for (layer, shares) in layers {
        let name = &subject.layers[layer].name;
        svg.group(Mark::default().of_layer(layer), |svg| {
            let middle = [BARS[0] - 8.0, y + height / 2.0];
            svg.text(middle, Anchor::End, &short(name, 24), Mark::new("name").hinted(name));
            for (side, share) in shares.iter().enumerate() {
                let hint = format!("{name}: {} % of the variance", three(100.0 * share));
                let from = y + line * side as f64;
                let mark = Mark::new(RUNS[side]).hinted(&hint);
                svg.rect([BARS[0], from], [axis.at(*share), from + line - 1.0], mark);
            }
        });
        y += height;
    }
    axis.draw_percent(svg, y);
    y + 24.0
}

fn table(subject: &Subject, shown: &[Shown<Precision>]) -> Table {
    let rate = |key: &str, name: String| Column::rate(key, name).without_interval();
    let shares = Weighting::iter().map(|weighting| {
        let key = format!("variance_{}", words(weighting).replace(' ', "_").to_lowercase());
        rate(&key, format!("share of the variance, {}", words(weighting)))
    });
    let first = [
        Column::text("layer", "part"),
        Column::text("run", "run"),
        Column::text("weighting", "layers count"),
        Column::plain("times", "injections", "times as many").without_interval(),
        Column::rate("sdc", "SDC"),
        Column::amount("half_width_points", "half-width", "points").without_interval(),
    ];
    let allocated = Column::plain("allocated", "allocated", "times as many").without_interval();
    let mut table = Table::new(first.into_iter().chain(shares).chain([allocated]));
    for (side, shown) in subject.sides.iter().zip(shown) {
        let Ok(shown) = shown else { continue };
        for of in &shown.weightings {
            for at in &of.at {
                let mut cells: Vec<Cell> = vec![
                    "network".into(),
                    side.name.as_str().into(),
                    words(of.weighting).into(),
                    at.times.into(),
                    at.estimate.into(),
                    (100.0 * at.half_width).into(),
                ];
                cells.resize(table.columns.len(), Cell::Nothing);
                table.push(None, cells);
            }
        }
    }
    for (number, place) in subject.layers.iter().enumerate() {
        for (side, shown) in shown.iter().enumerate() {
            let (Ok(shown), Some(index)) = (shown, place.indices[side]) else { continue };
            let share = |weighting: Weighting| {
                let of = shown.weightings.iter().find(|of| of.weighting == weighting)?;
                let share = of.shares.iter().find(|share| share.layer == index)?;
                Some(share.variance)
            };
            let shares = Weighting::iter().map(|weighting| Cell::from(share(weighting)));
            let mut allocated = shown.allocation.as_ref().ok().into_iter().flatten();
            let times = allocated.find(|(layer, _)| *layer == index).map(|(_, times)| *times);
            let name = [place.name.as_str(), subject.sides[side].name.as_str()];
            let cells = name.map(Cell::from).into_iter().chain([const { Cell::Nothing }; 4]);
            table.push(Some(number), cells.chain(shares).chain([times.into()]).collect());
        }
    }
    table
}
