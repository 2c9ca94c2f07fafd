//! The network as a strip: layers in the order of the tape, as high as their work, in the colour of their rate.

use super::figures::short;
use super::outcomes::few_rates;
use super::palette::step;
use super::svg::number;
use super::{Anchor, Cell, Column, Figure, Mark, PageLayer, Subject, Svg, Table};
use crate::analysis::Rates;
use crate::report::percent;
use crate::results::LayerRow;

/// Where bars begin and how high the highest is.
const LEFT: f64 = 8.0;
const TOP: f64 = 46.0;
const HIGHEST: f64 = 110.0;

/// Names of more characters are cut.
const LONGEST: usize = 26;

/// The figure; nothing where no layer has a record.
pub(super) fn figure(subject: &Subject) -> Option<Figure> {
    subject.most_vulnerable()?;
    let rates = |place: &PageLayer, side: usize| -> Option<Rates> {
        let row = subject.sides[side].of_layer(place.indices[side]?, subject.detector)?;
        few_rates(row)
    };
    let all = || {
        subject
            .layers
            .iter()
            .flat_map(|place| (0..subject.sides.len()).filter_map(|side| rates(place, side)))
    };
    let most = all().map(|rates| rates.sdc.value).fold(0.0, f64::max);
    let several = subject.sides.len() > 1;

    let mut columns = vec![
        Column::text("layer", "layer"),
        Column::text("shape", "shape"),
        Column::count("macs", "MACs"),
        Column::count("neurons", "neurons"),
    ];
    for (at, side) in subject.sides.iter().enumerate() {
        let name = if several { format!("SDC, {}", side.name) } else { "SDC".into() };
        columns.push(Column::rate(subject.key("sdc", at), name));
    }
    let mut table = Table::new(columns);
    let rows: Vec<&LayerRow> =
        subject.layers.iter().filter_map(|place| subject.row(place)).collect();
    for (at, (place, row)) in subject.layers.iter().zip(&rows).enumerate() {
        let mut cells: Vec<Cell> = vec![
            place.name.clone().into(),
            shape(row).into(),
            row.macs.into(),
            row.neurons().into(),
        ];
        cells.extend(
            (0..subject.sides.len())
                .map(|side| Cell::from(rates(place, side).map(|rates| rates.sdc))),
        );
        table.push(Some(at), cells);
    }

    let pitch = (740.0 / rows.len().max(1) as f64).clamp(12.0, 74.0);
    let width = (2.0 * LEFT + pitch * rows.len() as f64).max(480.0);
    let mut svg = Svg::new(width, 0.0);
    legend(&mut svg, most);
    let x = |at: usize| LEFT + pitch * at as f64;
    let base = TOP + HIGHEST;
    let works = |row: &LayerRow| [row.macs, row.neurons()];
    for (which, form) in ["macs", "neurons"].into_iter().enumerate() {
        let of = |row: &LayerRow| works(row)[which];
        let highest = rows.iter().map(|row| of(row)).max().unwrap_or(0).max(1) as f64;
        svg.variant(form, which == 0, |svg| {
            for (at, (place, row)) in subject.layers.iter().zip(&rows).enumerate() {
                let height = HIGHEST * of(row) as f64 / highest;
                let class = rates(place, 0).map_or("empty", |rates| step(rates.sdc.value, most));
                svg.rect(
                    [x(at) + 0.5, base - height.max(1.0)],
                    [x(at) + pitch - 0.5, base],
                    Mark::new(class).of_layer(at),
                );
            }
        });
    }
    svg.line([LEFT, base + 0.5], [x(rows.len()), base + 0.5], Mark::new("base"));
    // A row of colours for each run, since a low bar's can't be seen.
    let mut y = base + 6.0;
    for (side, of) in subject.sides.iter().enumerate() {
        if several {
            svg.text([LEFT, y + 11.0], Anchor::Start, &of.name, Mark::new("tick"));
            y += 16.0;
        }
        for (at, place) in subject.layers.iter().enumerate() {
            let class = rates(place, side).map_or("empty", |rates| step(rates.sdc.value, most));
            svg.rect(
                [x(at) + 0.5, y],
                [x(at) + pitch - 0.5, y + 12.0],
                Mark::new(class).of_layer(at),
            );
        }
        y += 18.0;
    }
    let mut longest = 0;
    for (at, place) in subject.layers.iter().enumerate() {
        let name = short(&place.label, LONGEST);
        longest = longest.max(name.chars().count());
        svg.text_upwards(
            [x(at) + pitch / 2.0 + 4.0, y + 2.0],
            &name,
            Mark::new("tick").of_layer(at),
        );
    }
    // What is clicked on, over all that is of a layer.
    for (at, (place, row)) in subject.layers.iter().zip(&rows).enumerate() {
        let mut hint = format!("{}: {} MACs, {} neurons", place.name, row.macs, row.neurons());
        for (side, of) in subject.sides.iter().enumerate() {
            if let Some(rates) = rates(place, side) {
                let name = if several { format!(" of {}", of.name) } else { String::new() };
                hint += &format!(
                    "; SDC{name} {} % of {} injections",
                    percent(&rates.sdc),
                    rates.records
                );
            }
        }
        svg.rect([x(at), TOP], [x(at) + pitch, y], Mark::new("choose").of_layer(at).hinted(&hint));
    }
    svg.height = y + 12.0 + 6.3 * longest as f64;
    Some(Figure::new(
        "strip",
        "The network, layer by layer",
        "Layers stand in the order in which the first run computes them; what only another run has follows. A bar is as high as the layer's multiply-accumulates (MACs) \
         or, if you choose so, its neurons; its colour says how often a fault in it changes the predicted class. The row \
         of colours beneath repeats it, for layers whose bar is low. Choose a layer by a click, by the list above or by \
         the arrow keys: figures of layers below then show that layer.",
        svg,
        table,
    ))
}

/// The steps of colours and what they stand for.
fn legend(svg: &mut Svg, most: f64) {
    svg.text([LEFT, 15.0], Anchor::Start, "SDC rate, %", Mark::new("head"));
    for at in 0..7 {
        // As `step` rounds: the lower end of the colour's rates.
        let from = most * ((at as f64 - 0.5).max(0.0) / 6.0).powi(2);
        let x = LEFT + 78.0 + 44.0 * f64::from(at);
        svg.rect(
            [x, 4.0],
            [x + 44.0, 16.0],
            Mark::new(step(most * (f64::from(at) / 6.0).powi(2), most)),
        );
        svg.text([x, 29.0], Anchor::Start, &rounded(100.0 * from), Mark::new("tick"));
    }
    svg.text(
        [LEFT + 78.0 + 44.0 * 7.0, 29.0],
        Anchor::Middle,
        &rounded(100.0 * most),
        Mark::new("tick"),
    );
}

/// Two significant digits, or what has two decimals.
fn rounded(value: f64) -> String {
    if value >= 10.0 {
        format!("{value:.0}")
    } else if value >= 1.0 {
        format!("{value:.1}")
    } else {
        number(value)
    }
}

/// The sizes of a layer's value.
fn shape(row: &LayerRow) -> String {
    row.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
}
