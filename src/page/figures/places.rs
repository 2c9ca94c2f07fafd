//! SDC by channel and by position: a small map a layer.

use serde_json::{Value, json};

use super::{of_sides, reasons, sentences, short};
use crate::analysis::picture::{
    self, Binned, FEWEST_OF_A_CELL, LayerPlaces, PlaceGroup, PlaceMaps, Shown,
};
use crate::page::figure::{Cell, Column, Figure, Table};
use crate::page::grid::{Grid, Shade, legend};
use crate::page::subject::{Side, Subject};
use crate::page::svg::{Anchor, Mark, Svg, number};

/// Tiles of a line, their size, and that of a map.
const TILES: usize = 6;
const TILE: [f64; 2] = [127.0, 88.0];
const MAP: f64 = 56.0;

/// The figure.
pub(in crate::page) fn figure(subject: &Subject) -> Option<Figure> {
    let maps = of_sides(subject, |side| picture::places(side.run, subject.detector));
    let mut svg = Svg::new(760.0, 0.0);
    let mut y = reasons(&mut svg, 0.0, subject, &maps);
    let groups = maps.iter().flatten().flat_map(|maps| &maps.layers);
    let groups = groups.flat_map(|layer| layer.channels.iter().chain(&layer.positions));
    let known = groups.filter(|group| group.n >= FEWEST_OF_A_CELL);
    let most = known.map(|group| group.rate).fold(0.0, f64::max);
    if maps.iter().any(Result::is_ok) {
        legend(&mut svg, [0.0, y], most);
        y += 40.0;
    }
    for (at, (side, maps)) in subject.sides.iter().zip(&maps).enumerate() {
        let Ok(maps) = maps else { continue };
        if subject.sides.len() > 1 {
            svg.text([0.0, y + 12.0], Anchor::Start, &side.name, Mark::new("head"));
            y += 20.0;
        }
        y = tiles(&mut svg, y, subject, at, maps, most);
        y = without(&mut svg, y, side, maps);
    }
    svg.height = y + 4.0;
    let figure = Figure::new(
        "places",
        "Channels and positions",
        format!(
            "Each tile is a layer. Its left square has the channels in reading order, in groups of \
             neighbours; its right one the rows and columns of the map, in groups, too. Layers without positions have channels \
             alone. Shades are of the SDC rate, on one scale for all; groups of fewer than {FEWEST_OF_A_CELL} injections \
             are hatched and those without any are blank. A group of few injections is high or low by chance, too. The \
             table says how many channels, rows and columns make a group, and which groups of at least \
             {FEWEST_OF_A_CELL} injections have the highest rates; the page's data has all."
        ),
        svg,
        table(subject, &maps),
    );
    Some(figure.with_data(data(&maps)))
}

fn tiles(
    svg: &mut Svg,
    y: f64,
    subject: &Subject,
    side: usize,
    maps: &PlaceMaps,
    most: f64,
) -> f64 {
    let layers = subject.layers.iter().enumerate().filter_map(|(number, place)| {
        let index = place.indices[side]?;
        let layer = maps.layers.iter().find(|layer| layer.layer == index)?;
        Some((number, place.name.as_str(), layer))
    });
    let mut lines = 0;
    for (tile, (number, name, layer)) in layers.enumerate() {
        let (line, column) = (tile / TILES, tile % TILES);
        lines = line + 1;
        let [x, y] = [TILE[0] * column as f64, y + TILE[1] * line as f64];
        let hint = hint(name, layer);
        svg.group(Mark::default().of_layer(number).hinted(&hint), |svg| {
            svg.text([x, y + 11.0], Anchor::Start, &short(name, 17), Mark::new("small"));
            channels(svg, [x, y + 18.0], layer, most);
            positions(svg, [x + MAP + 5.0, y + 18.0], layer, most);
        });
    }
    y + TILE[1] * lines as f64
}

fn channels(svg: &mut Svg, origin: [f64; 2], layer: &LayerPlaces, most: f64) {
    let columns = (layer.channel_axis.groups as f64).sqrt().ceil().max(1.0) as usize;
    let cell = [MAP / columns as f64; 2];
    let shade = |group: &PlaceGroup| {
        Shade::rate([group.group / columns, group.group % columns], group.rate, group.n, most)
    };
    Grid { origin, cell }.draw(svg, layer.channels.iter().map(shade));
    frame(svg, origin, [MAP, MAP]);
}

fn positions(svg: &mut Svg, origin: [f64; 2], layer: &LayerPlaces, most: f64) {
    let (rows, columns) = (layer.row_axis.groups, layer.column_axis.groups);
    if rows * columns <= 1 {
        return;
    }
    // Cells are square, whatever the map's sides.
    let side = MAP / rows.max(columns) as f64;
    let shade = |group: &PlaceGroup| {
        Shade::rate([group.group / columns, group.group % columns], group.rate, group.n, most)
    };
    Grid { origin, cell: [side; 2] }.draw(svg, layer.positions.iter().map(shade));
    frame(svg, origin, [side * columns as f64, side * rows as f64]);
}

fn frame(svg: &mut Svg, [x, y]: [f64; 2], [width, height]: [f64; 2]) {
    svg.rect([x, y], [x + width, y + height], Mark::new("frame"));
}

/// Says which layers have no map.
fn without(svg: &mut Svg, y: f64, side: &Side, maps: &PlaceMaps) -> f64 {
    let name = |layer: &usize| side.run.manifest.layers[*layer].name.clone();
    let names: Vec<String> = maps.without.iter().map(name).collect();
    match names.is_empty() {
        true => y,
        false => {
            let some = crate::error::some_of(&names, crate::error::MOST_NAMED);
            sentences(svg, y, &format!("Faults of {some} don't lie in one map."))
        }
    }
}

/// The group with the highest rate, the first of equals.
fn worst(groups: &[PlaceGroup]) -> Option<&PlaceGroup> {
    let known = groups.iter().rev().filter(|group| group.n >= FEWEST_OF_A_CELL);
    known.max_by(|a, b| a.rate.total_cmp(&b.rate)).filter(|group| group.sdc > 0)
}

/// `12`, or `12 to 15`.
fn places((first, last): (usize, usize)) -> String {
    if first == last { first.to_string() } else { format!("{first} to {last}") }
}

/// Channels of a group.
fn channel_words(layer: &LayerPlaces, group: &PlaceGroup) -> String {
    places(layer.channel_axis.places(group.group))
}

/// Rows and columns of a group.
fn position_words(layer: &LayerPlaces, group: &PlaceGroup) -> String {
    let columns = layer.column_axis.groups;
    let row = places(layer.row_axis.places(group.group / columns));
    let column = places(layer.column_axis.places(group.group % columns));
    format!("row {row}, column {column}")
}

fn hint(name: &str, layer: &LayerPlaces) -> String {
    let rate = |group: &PlaceGroup| {
        format!("{} % SDC, {} of {}", number(100.0 * group.rate), group.sdc, group.n)
    };
    let channels = worst(&layer.channels)
        .map(|of| format!("; channel {}: {}", channel_words(layer, of), rate(of)));
    let positions =
        worst(&layer.positions).map(|of| format!("; {}: {}", position_words(layer, of), rate(of)));
    format!("{name}{}{}", channels.unwrap_or_default(), positions.unwrap_or_default())
}

fn table(subject: &Subject, maps: &[Shown<PlaceMaps>]) -> Table {
    let mut table = Table::new([
        Column::text("layer", "layer"),
        Column::text("run", "run"),
        Column::count("channels", "channels"),
        Column::count("channels_of_a_group", "of a group"),
        Column::text("map", "rows × columns"),
        Column::text("map_of_a_group", "of a group"),
        Column::text("worst_channels", "worst channels"),
        Column::count("worst_channels_n", "n"),
        Column::rate("worst_channels_sdc", "SDC").without_interval(),
        Column::text("worst_position", "worst position"),
        Column::count("worst_position_n", "n"),
        Column::rate("worst_position_sdc", "SDC").without_interval(),
    ]);
    let pair = |of: fn(&Binned) -> usize, layer: &LayerPlaces| {
        format!("{}×{}", of(&layer.row_axis), of(&layer.column_axis))
    };
    for (at, place) in subject.layers.iter().enumerate() {
        for ((side, maps), index) in subject.sides.iter().zip(maps).zip(&place.indices) {
            let (Ok(maps), Some(index)) = (maps, index) else { continue };
            let Some(layer) = maps.layers.iter().find(|layer| layer.layer == *index) else {
                continue;
            };
            let (channel, position) = (worst(&layer.channels), worst(&layer.positions));
            let cells: Vec<Cell> = vec![
                place.name.as_str().into(),
                side.name.as_str().into(),
                (layer.channel_axis.size as u64).into(),
                (layer.channel_axis.of_a_group as u64).into(),
                pair(|axis| axis.size, layer).into(),
                pair(|axis| axis.of_a_group, layer).into(),
                channel.map(|of| channel_words(layer, of)).into(),
                channel.map(|of| of.n).into(),
                channel.map(|of| of.rate).into(),
                position.map(|of| position_words(layer, of)).into(),
                position.map(|of| of.n).into(),
                position.map(|of| of.rate).into(),
            ];
            table.push(Some(at), cells);
        }
    }
    table
}

/// Of each run and layer, by group: injections, and those with SDC. Groups are those of the table, in reading order.
fn data(maps: &[Shown<PlaceMaps>]) -> Value {
    let of_groups = |groups: &[PlaceGroup], count: usize| {
        let mut all = vec![[0, 0]; count];
        groups.iter().for_each(|group| all[group.group] = [group.n, group.sdc]);
        let [n, sdc] = [0, 1].map(|which| all.iter().map(|of| of[which]).collect::<Vec<u64>>());
        json!([n, sdc])
    };
    let of_layer = |layer: &LayerPlaces| {
        let positions = layer.row_axis.groups * layer.column_axis.groups;
        json!({
            "layer": layer.layer,
            "channels": of_groups(&layer.channels, layer.channel_axis.groups),
            "positions": of_groups(&layer.positions, positions),
        })
    };
    let of = |maps: &Shown<PlaceMaps>| match maps {
        Ok(maps) => json!({
            "counts": ["n", "sdc"],
            "layers": maps.layers.iter().map(of_layer).collect::<Vec<_>>(),
        }),
        Err(why) => json!({ "not_shown": why }),
    };
    Value::Array(maps.iter().map(of).collect())
}
