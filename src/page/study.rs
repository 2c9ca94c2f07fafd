//! The page of a study: each contrast over training seeds, the models, and what the figures do and don't show.

use maud::{Markup, html};

use super::html::frame;
use super::markup::{figure_html, table_html};
use super::{Anchor, Axis, Cell, Column, Figure, Mark, Svg, Table};
use crate::report::{
    study_contrast, study_figure, study_footer, study_introduction, study_verdict,
};
use crate::statistics::Estimate;
use crate::study::{self, Contrast, FigureOverSeeds, OverSeeds, Study};

/// The page; `links` are the names and addresses of the pages of its seeds.
pub fn study_page(study: &Study, links: &[(String, String)]) -> String {
    let title = format!("{}: text-guided and not", study.model);
    let main = html! {
        main {
            p { (study_introduction(study)) }
            ul { @for contrast in &study.contrasts {
                li { (study_contrast(contrast.contrast)) ". " b { (study_verdict(contrast)) } }
            } }
            @for contrast in &study.contrasts {
                (figure_html(&figure(contrast)))
            }
            section {
                h2 { "The models" }
                p.note { "Each with the sampling error of its faults; of accuracy and Top2Diff, of the images." }
                div.scroll { (table_html(&models(study))) }
                @if !links.is_empty() {
                    p { "Campaigns of each seed, layer by layer: " @for (at, (name, address)) in links.iter().enumerate() {
                        @if at > 0 { ", " } a href=(address) { (name) }
                    } "." }
                }
            }
            (notes(study))
        }
    };
    frame(&title, "A study over training seeds", html! {}, main)
}

fn notes(study: &Study) -> Markup {
    html! {
        section {
            h2 { "How it was made, and what it doesn't show" }
            ul { @for line in study_footer(study) { li { (line) } } }
        }
    }
}

/// What a contrast's file and anchor are called.
fn id(contrast: Contrast) -> &'static str {
    match contrast {
        Contrast::Text => "text",
        Contrast::Form => "form",
        Contrast::Both => "both",
    }
}

/// What is shown of a figure: over seeds, or of the one there is.
fn shown(figure: &FigureOverSeeds) -> Estimate {
    match figure.seeds.as_slice() {
        [one] => *one,
        _ => figure.over_seeds.mean,
    }
}

/// Where the parts of a row lie, and how high it is.
const PLACES: [f64; 2] = [300.0, 700.0];
const ROW: f64 = 26.0;

/// A contrast as a forest plot: ratios, and below them differences.
fn figure(contrast: &OverSeeds) -> Figure {
    let parts: [Vec<&FigureOverSeeds>; 2] = [true, false].map(|are_ratios| {
        let figures = contrast.figures.iter();
        figures.filter(|of| of.figure.is_ratio() == are_ratios).collect()
    });
    let rows = contrast.figures.len() as f64;
    let mut svg = Svg::new(880.0, 40.0 + ROW * rows + 90.0);
    let mut top = 24.0;
    for (figures, are_ratios) in parts.iter().zip([true, false]) {
        if figures.is_empty() {
            continue;
        }
        let bottom = top + ROW * figures.len() as f64;
        let (axis, none, head) = axis(figures, are_ratios);
        svg.text([PLACES[0], top - 8.0], Anchor::Start, head, Mark::new("head"));
        axis.draw_below(&mut svg, [top, bottom], 6);
        svg.line([axis.at(none), top], [axis.at(none), bottom], Mark::new("base"));
        for (at, of) in figures.iter().enumerate() {
            draw(&mut svg, &axis, top + ROW * (at as f64 + 0.5), of);
        }
        top = bottom + 56.0;
    }
    svg.height = top - 30.0;
    let seeds = contrast.figures.first().map_or(0, |of| of.seeds.len());
    let words = match seeds {
        1 => "The line is the interval of the one training seed: it covers the sampling of faults, not training.".into(),
        _ => format!(
            "A dot is the mean of {seeds} training seeds, the coloured line its interval of 95 %, the thin grey line where a \
             further seed would lie. Grey dots are the seeds. A line that crosses that of no difference shows none."
        ),
    };
    Figure::new(
        id(contrast.contrast),
        study_contrast(contrast.contrast),
        words,
        svg,
        table(contrast),
    )
}

/// The axis of ratios or of differences, where there is no difference, and what it is an axis of.
fn axis(figures: &[&FigureOverSeeds], are_ratios: bool) -> (Axis, f64, &'static str) {
    let of = |figure: &&FigureOverSeeds| {
        let ends = |of: Estimate| [of.value, of.low, of.high];
        let seeds: Vec<f64> = figure.seeds.iter().map(|seed| seed.value).collect();
        [&ends(shown(figure))[..], &ends(figure.over_seeds.prediction), &seeds].concat()
    };
    let ends: Vec<f64> = figures.iter().flat_map(of).filter(|end| end.is_finite()).collect();
    let reach = |with: f64, pick: fn(f64, f64) -> f64| ends.iter().copied().fold(with, pick);
    match are_ratios {
        true => {
            let low = ends.iter().copied().filter(|end| *end > 0.0).fold(0.8, f64::min).max(1e-4);
            let axis = Axis::log([low, reach(1.25, f64::max).min(1e4)], PLACES);
            (
                axis,
                1.0,
                "ratio of mean ΔLoss; above 1 faults change the loss of the model that is named first less",
            )
        }
        false => {
            let axis = Axis::linear([reach(-0.5, f64::min), reach(0.5, f64::max)], PLACES);
            (axis, 0.0, "difference in percentage points")
        }
    }
}

/// A figure's row.
fn draw(svg: &mut Svg, axis: &Axis, y: f64, of: &FigureOverSeeds) {
    let name = study_figure(of.figure);
    svg.text([PLACES[0] - 14.0, y + 4.0], Anchor::End, name, Mark::new("name"));
    let estimate = shown(of);
    let line = |svg: &mut Svg, of: Estimate, class| {
        svg.line([axis.within(of.low), y], [axis.within(of.high), y], Mark::new(class));
    };
    if of.seeds.len() > 1 {
        line(svg, of.over_seeds.prediction, "base");
    }
    line(svg, estimate, "run-0");
    if of.seeds.len() > 1 {
        for seed in &of.seeds {
            svg.circle([axis.within(seed.value), y], 2.5, Mark::new("masked"));
        }
    }
    let words = crate::report::interval(&estimate, 2);
    let hint = format!("{name}: {words}");
    svg.circle([axis.within(estimate.value), y], 4.0, Mark::new("dot run-0").hinted(&hint));
    svg.text([PLACES[1] + 16.0, y + 4.0], Anchor::Start, &words, Mark::new("small number"));
}

fn table(contrast: &OverSeeds) -> Table {
    let seeds = contrast.figures.first().map_or(0, |of| of.seeds.len());
    let mut columns = vec![Column::text("figure", "figure")];
    if seeds > 1 {
        columns.push(Column::plain("over_seeds", "over seeds", ""));
        columns.push(Column::plain("further_seed", "a further seed", ""));
        columns.push(Column::plain("i_squared", "I²", "%").without_interval());
    }
    columns.extend((1..=seeds).map(|at| {
        Column::plain(
            format!("seed_{at}"),
            if seeds > 1 { format!("seed {at}") } else { "one seed".into() },
            "",
        )
    }));
    let mut table = Table::new(columns);
    for of in &contrast.figures {
        let mut cells: Vec<Cell> = vec![study_figure(of.figure).into()];
        if seeds > 1 {
            let found = &of.over_seeds;
            cells.extend([
                found.mean.into(),
                found.prediction.into(),
                (100.0 * found.i_squared).into(),
            ]);
        }
        cells.extend(of.seeds.iter().map(|seed| Cell::from(*seed)));
        table.push(None, cells);
    }
    table
}

fn models(study: &Study) -> Table {
    let mut table = Table::new([
        Column::text("model", "model"),
        Column::count("seed", "seed"),
        Column::plain("top1", "top-1", "%"),
        Column::count("common_images", "common images"),
        Column::rate("sdc", "SDC"),
        Column::rate("nonfinite", "nonfinite"),
        Column::amount("delta_loss_last_layer", "ΔLoss, last layer after scale", "nats"),
        Column::amount("delta_loss_all_layers", "ΔLoss, all layers", "nats"),
        Column::plain("top2diff", "Top2Diff", "%"),
    ]);
    for row in &study.rows {
        let study::StudyRow { seed, start, common_images, sdc, nonfinite, .. } = row;
        let cells: Vec<Cell> = vec![
            start.slug().replace('-', " ").into(),
            (*seed).into(),
            row.top1_percent.into(),
            (*common_images as u64).into(),
            (*sdc).into(),
            (*nonfinite).into(),
            row.delta_loss_after_scale.into(),
            row.delta_loss_all_layers.into(),
            row.top2diff_percent.into(),
        ];
        table.push(None, cells);
    }
    table
}
