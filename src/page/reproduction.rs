//! The page of a reproduction: the tables, networks beside each other with what was published, the ablation, and where the
//! networks look.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use super::html::frame;
use super::markup::{figure_html, table_html};
use super::{Anchor, Axis, Cell, Column, Figure, Mark, Svg, Table};
use crate::analysis::Weighting;
use crate::plan::Protocol;
use crate::report::{
    ablation_heading, mean_name, reproduction_footer, reproduction_inside,
    reproduction_introduction, reproduction_words, setting_name,
};
use crate::reproduce::{
    Ablation, ProtocolLine, ReproducedRow, Reproduction, ReproductionScale, RowFigure,
};
use crate::statistics::Estimate;

/// The page; `strips` are the names of rows with the SVG of where their networks look.
pub fn reproduction_page(
    found: &Reproduction,
    scale: ReproductionScale,
    strips: &[(String, String)],
) -> String {
    let main = html! {
        main {
            p { (reproduction_introduction(scale)) }
            section {
                h2 { "The table" }
                div.scroll { (table_html(&rows(found))) }
                @if !found.means.is_empty() { h2 { "Means over networks" } div.scroll { (table_html(&means(found))) } }
            }
            @for figure in forests(found) { (figure_html(&figure)) }
            @for ablation in &found.ablations {
                (figure_html(&ablation_figure(ablation)))
            }
            (looks(strips))
            section {
                h2 { "How it was made, and what it doesn't show" }
                ul { @for line in reproduction_footer(found, scale) { li { (line) } } }
            }
        }
    };
    frame("The published tables, reproduced", "A reproduction", html! {}, main)
}

fn looks(strips: &[(String, String)]) -> Markup {
    html! {
        @if !strips.is_empty() {
            section {
                h2 { "Where the networks look" }
                p.note {
                    "Of each row the fault of the strict campaign that changed the baseline's loss most among finite answers: \
                     the image, where each network looks without the fault and with it, and the difference."
                }
                @for (name, svg) in strips {
                    h3 { (name) }
                    div.scroll {
                        img alt=(format!("{name}: maps of the baseline and of the text-guided network"))
                            src=(format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg)));
                    }
                }
            }
        }
    }
}

fn shown(figure: Option<&RowFigure>) -> Cell {
    figure.map(|figure| figure.shown).into()
}

fn rows(found: &Reproduction) -> Table {
    let mut table = Table::new([
        Column::text("row", "row"),
        Column::text("protocol", "protocol"),
        Column::plain("top1_baseline", "top-1, baseline", "%"),
        Column::plain("top1_text_guided", "top-1, text-guided", "%"),
        Column::plain("last_layer_before_scale", "last layer, before the scale", ""),
        Column::plain("last_layer", "last layer, after the scale", ""),
        Column::plain("overall", "overall, layers alike", ""),
        Column::plain("overall_neurons", "overall, by neurons", ""),
        Column::plain("overall_macs", "overall, by MACs", ""),
        Column::plain("top2diff", "Top2Diff", "points"),
        Column::text("inside", "published lies inside"),
    ]);
    for row in &found.rows {
        for line in &row.lines {
            table.push(
                None,
                vec![
                    row.row.to_string().into(),
                    line.protocol.name().into(),
                    shown(line.top1[0].as_ref()),
                    shown(line.top1[1].as_ref()),
                    shown(line.last_layer_before_scale.as_ref()),
                    shown(line.last_layer.as_ref()),
                    shown(line.overall_of(Weighting::Uniform, true)),
                    shown(line.overall_of(Weighting::Neurons, true)),
                    shown(line.overall_of(Weighting::Macs, true)),
                    shown(line.top2diff.as_ref()),
                    reproduction_inside(line).into(),
                ],
            );
        }
        if let Some(of) = &row.published {
            let mut cells: Vec<Cell> = vec![row.row.to_string().into(), "published".into()];
            cells.extend([of.accuracy[0].into(), of.accuracy[1].into(), of.last_layer.into()]);
            cells.extend([Cell::Nothing, of.overall.into(), Cell::Nothing, Cell::Nothing]);
            cells.extend([of.top2diff.into(), Cell::Nothing]);
            table.push(None, cells);
        }
    }
    table
}

fn means(found: &Reproduction) -> Table {
    let mut table = Table::new([
        Column::text("mean", "mean of"),
        Column::text("protocol", "protocol"),
        Column::text("networks", "networks"),
        Column::plain("last_layer", "last layer", ""),
        Column::plain("published_last_layer", "published", "").without_interval(),
        Column::plain("overall", "overall", ""),
        Column::plain("published_overall", "published", "").without_interval(),
    ]);
    for mean in &found.means {
        table.push(
            None,
            vec![
                mean_name(mean.kind).into(),
                mean.protocol.name().into(),
                format!("{} of {}", mean.networks, mean.all).into(),
                mean.last_layer.into(),
                mean.published_last_layer.into(),
                mean.overall.into(),
                mean.published_overall.into(),
            ],
        );
    }
    table
}

/// Where the parts of a row lie, and how high it is.
const PLACES: [f64; 2] = [250.0, 690.0];
const ROW: f64 = 34.0;
const TOP: f64 = 52.0;

/// What a forest is of: its anchor, its title, the figure of a line, whether it is a ratio.
type Forest = (&'static str, &'static str, fn(&ProtocolLine) -> Option<&RowFigure>, bool);

const FORESTS: [Forest; 3] = [
    ("last-layer", "Last layer, network by network", ProtocolLine::main_last_layer, true),
    ("overall", "Over all layers, network by network", ProtocolLine::overall, true),
    ("top2diff", "Top2Diff, network by network", |line| line.top2diff.as_ref(), false),
];

fn forests(found: &Reproduction) -> Vec<Figure> {
    FORESTS.iter().filter_map(|forest| forest_figure(found, forest)).collect()
}

fn forest_figure(found: &Reproduction, (id, title, of, is_ratio): &Forest) -> Option<Figure> {
    let lines: Vec<(&ReproducedRow, Vec<(Protocol, &RowFigure)>)> = found
        .rows
        .iter()
        .map(|row| {
            let figures = row.lines.iter().filter_map(|line| Some((line.protocol, of(line)?)));
            (row, figures.collect::<Vec<_>>())
        })
        .filter(|(_, figures)| !figures.is_empty())
        .collect();
    if lines.is_empty() {
        return None;
    }
    let all = lines.iter().flat_map(|(_, figures)| figures);
    let ends = all.flat_map(|(_, figure)| {
        let Estimate { value, low, high } = figure.shown;
        [Some(value), Some(low), Some(high), figure.published]
    });
    let (axis, none) = axis(ends.flatten(), *is_ratio);
    let bottom = TOP + ROW * lines.len() as f64;
    let mut svg = Svg::new(900.0, bottom + 40.0);
    legend(&mut svg);
    axis.draw_below(&mut svg, [TOP, bottom], 6);
    svg.line([axis.at(none), TOP], [axis.at(none), bottom], Mark::new("base"));
    let mut table = Table::new([
        Column::text("row", "row"),
        Column::text("protocol", "protocol"),
        Column::plain("figure", *title, if *is_ratio { "" } else { "points" }),
        Column::plain("published", "published", "").without_interval(),
    ]);
    for (at, (row, figures)) in lines.iter().enumerate() {
        let middle = TOP + ROW * (at as f64 + 0.5);
        let name = row.row.to_string();
        svg.text([PLACES[0] - 14.0, middle + 4.0], Anchor::End, &name, Mark::new("name"));
        for (protocol, figure) in figures {
            let (class, dot, shift) = match protocol {
                Protocol::Goldeneye => ("run-0", "dot run-0", -6.0),
                Protocol::Strict => ("run-1", "dot run-1", 6.0),
            };
            let hint =
                format!("{name}, {}: {}", protocol.name(), reproduction_words(&figure.shown));
            draw(&mut svg, &axis, middle + shift, figure.shown, [class, dot], &hint);
            let words = reproduction_words(&figure.shown);
            let place = [PLACES[1] + 16.0, middle + shift + 4.0];
            svg.text(place, Anchor::Start, &words, Mark::new("small number"));
            let cells: Vec<Cell> = vec![
                name.clone().into(),
                protocol.name().into(),
                figure.shown.into(),
                figure.published.into(),
            ];
            table.push(None, cells);
        }
        if let Some(published) = figures.iter().find_map(|(_, figure)| figure.published) {
            diamond(
                &mut svg,
                [axis.within(published), middle],
                &format!("{name}, published: {published:.2}"),
            );
        }
    }
    let words = "A dot is what was measured here, the line through it its interval of 95 % where there is one: above by \
                 GoldenEye's rules, below by strict ones. The diamond is what was published. The vertical line is no \
                 difference.";
    Some(Figure::new(id, *title, words, svg, table))
}

fn legend(svg: &mut Svg) {
    let entries = [("dot run-0", "goldeneye"), ("dot run-1", "strict")];
    let mut x = PLACES[0];
    for (class, name) in entries {
        svg.circle([x + 4.0, 12.0], 4.0, Mark::new(class));
        svg.text([x + 14.0, 16.0], Anchor::Start, name, Mark::default());
        x += 110.0;
    }
    diamond(svg, [x + 4.0, 12.0], "published");
    svg.text([x + 14.0, 16.0], Anchor::Start, "published", Mark::default());
}

fn diamond(svg: &mut Svg, [x, y]: [f64; 2], hint: &str) {
    let points = [[x, y - 5.0], [x + 5.0, y], [x, y + 5.0], [x - 5.0, y], [x, y - 5.0]];
    svg.path(points, Mark::new("run-3").hinted(hint));
}

fn draw(
    svg: &mut Svg,
    axis: &Axis,
    y: f64,
    of: Estimate,
    [class, dot]: [&'static str; 2],
    hint: &str,
) {
    if of.low.is_finite() && of.high.is_finite() {
        svg.line([axis.within(of.low), y], [axis.within(of.high), y], Mark::new(class));
    }
    if of.value.is_finite() {
        svg.circle([axis.within(of.value), y], 4.0, Mark::new(dot).hinted(hint));
    }
}

/// An axis that holds these values, and where there is no difference.
fn axis(ends: impl Iterator<Item = f64>, is_ratio: bool) -> (Axis, f64) {
    let ends: Vec<f64> = ends.filter(|end| end.is_finite() && (!is_ratio || *end > 0.0)).collect();
    let reach = |with: f64, pick: fn(f64, f64) -> f64| ends.iter().copied().fold(with, pick);
    match is_ratio {
        true => {
            let range = [reach(0.8, f64::min).max(1e-4), reach(1.25, f64::max).min(1e4)];
            (Axis::log(range, PLACES), 1.0)
        }
        false => (Axis::linear([reach(-0.5, f64::min), reach(0.5, f64::max)], PLACES), 0.0),
    }
}

/// The ablation: both ratios of each setting.
fn ablation_figure(ablation: &Ablation) -> Figure {
    let lines = &ablation.lines;
    let ends = lines.iter().flat_map(|line| [&line.last_layer, &line.overall]).flatten();
    let ends = ends.flat_map(|of| [of.shown.value, of.shown.low, of.shown.high]);
    let (axis, none) = axis(ends.filter(|end| *end < 1e3), true);
    let bottom = TOP + ROW * lines.len() as f64;
    let mut svg = Svg::new(900.0, bottom + 40.0);
    let entries = [("dot run-0", "last layer"), ("dot run-1", "overall")];
    for (at, (class, name)) in entries.iter().enumerate() {
        let x = PLACES[0] + 110.0 * at as f64;
        svg.circle([x + 4.0, 12.0], 4.0, Mark::new(class));
        svg.text([x + 14.0, 16.0], Anchor::Start, name, Mark::default());
    }
    axis.draw_below(&mut svg, [TOP, bottom], 6);
    svg.line([axis.at(none), TOP], [axis.at(none), bottom], Mark::new("base"));
    let mut table = Table::new([
        Column::text("setting", "setting"),
        Column::plain("top1", "top-1", "%"),
        Column::plain("last_layer", "last layer", ""),
        Column::plain("last_layer_change", "÷ published setting's", ""),
        Column::plain("overall", "overall", ""),
        Column::plain("overall_change", "÷ published setting's", ""),
        Column::plain("sdc", "SDC, difference to the baseline", "points"),
    ]);
    for (at, line) in lines.iter().enumerate() {
        let middle = TOP + ROW * (at as f64 + 0.5);
        let name = setting_name(line.setting);
        svg.text([PLACES[0] - 14.0, middle + 4.0], Anchor::End, short(name), Mark::new("name"));
        let parts = [
            (&line.last_layer, ["run-0", "dot run-0"], -6.0),
            (&line.overall, ["run-1", "dot run-1"], 6.0),
        ];
        for (figure, classes, shift) in parts {
            let Some(figure) = figure else { continue };
            let words = reproduction_words(&figure.shown);
            draw(
                &mut svg,
                &axis,
                middle + shift,
                figure.shown,
                classes,
                &format!("{name}: {words}"),
            );
            let place = [PLACES[1] + 16.0, middle + shift + 4.0];
            svg.text(place, Anchor::Start, &words, Mark::new("small number"));
        }
        let cells: Vec<Cell> = vec![
            name.into(),
            shown(line.top1.as_ref()),
            shown(line.last_layer.as_ref()),
            shown(line.last_layer_change.as_ref()),
            shown(line.overall.as_ref()),
            shown(line.overall_change.as_ref()),
            shown(line.sdc.as_ref()),
        ];
        table.push(None, cells);
    }
    Figure::new(
        "ablation",
        "What the gain is made of",
        format!(
            "{} A dot is the ratio of mean ΔLoss, baseline ÷ this, above of the last layer, below of all layers alike.",
            ablation_heading(ablation)
        ),
        svg,
        table,
    )
}

/// A setting's name less what stands behind a colon.
fn short(name: &str) -> &str {
    name.split(':').next().unwrap_or(name)
}
