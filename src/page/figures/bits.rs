//! SDC by layer and bit, flips from 0 to 1 and from 1 to 0 apart.

use serde_json::{Value, json};

use super::{of_sides, reasons, short};
use crate::analysis::picture::{self, BitTable, FEWEST_OF_A_CELL, Outcomes, Shown};
use crate::page::figure::{Cell, Column, Figure, Table};
use crate::page::grid::{Grid, Shade, legend};
use crate::page::subject::{PageLayer, Subject};
use crate::page::svg::{Anchor, Mark, Svg};
use crate::results::Direction;

/// Where the first map begins, and what lies between two.
const LEFT: f64 = 152.0;
const GAP: f64 = 14.0;

/// Width of a bit.
const BIT: f64 = 9.0;

/// Height of a run's line in a layer's row, by how many runs there are: names need room.
fn line_height(runs: usize) -> f64 {
    if runs == 1 { 14.0 } else { 11.0 }
}

/// What is apart: the two directions, or neither where they aren't known.
fn ways(tables: &[Shown<BitTable>]) -> Vec<Option<Direction>> {
    match tables.iter().flatten().all(|table| table.has_directions) {
        true => vec![Some(Direction::ZeroToOne), Some(Direction::OneToZero)],
        false => vec![None],
    }
}

fn way_words(way: Option<Direction>) -> &'static str {
    match way {
        Some(Direction::ZeroToOne) => "0 → 1",
        Some(Direction::OneToZero) => "1 → 0",
        None => "either way",
    }
}

/// The figure.
pub(in crate::page) fn figure(subject: &Subject) -> Option<Figure> {
    let tables = of_sides(subject, |side| picture::bits(side.run, subject.detector));
    let mut svg = Svg::new(760.0, 0.0);
    let mut y = reasons(&mut svg, 0.0, subject, &tables);
    let ways = ways(&tables);
    if let Some(format) = tables.iter().flatten().next() {
        y = draw(&mut svg, y, subject, &tables, &ways, format);
    }
    svg.height = y + 4.0;
    let directions = match ways.len() {
        1 => "The values that faults hit aren't known, so that both directions stand together.",
        _ => {
            "The left map has bits that were 0 before the fault and the right one bits that were 1; a bit of the \
              exponent that is set makes a value larger."
        }
    };
    let figure = Figure::new(
        "bits",
        "Which bits matter, layer by layer",
        format!(
            "Each row is a layer, each column a bit of the value that was hit: sign, exponent, fraction, from the highest \
             on the left to the lowest. The darker (on a dark page, the lighter) a cell, the more of its faults changed \
             the answer; shades follow the root of the rate. Cells of fewer than {FEWEST_OF_A_CELL} injections are \
             hatched, those of none are blank. {directions} The table has both directions together."
        ),
        svg,
        table(subject, &tables),
    );
    Some(figure.with_data(data(subject, &tables)))
}

/// The highest rate that is known well enough to be shown.
fn most(tables: &[Shown<BitTable>], ways: &[Option<Direction>]) -> f64 {
    let cells = tables.iter().flatten().flat_map(|table| {
        let of_layer = |layer: &picture::BitLayer| -> Vec<Outcomes> {
            let bits = table.bits();
            bits.flat_map(|bit| ways.iter().map(move |way| (bit, *way)))
                .map(|(bit, way)| layer.outcomes(bit, way))
                .collect()
        };
        table.layers.iter().flat_map(of_layer).collect::<Vec<_>>()
    });
    let layers = cells.map(|cell| (cell.n(), cell.sdc_rate()));
    let network = tables.iter().flatten().flat_map(|table| {
        let drawn = table.network.iter().filter(|of| ways.contains(&of.direction));
        drawn.map(|of| (of.n, of.sdc))
    });
    let known = layers.chain(network).filter(|(n, _)| *n >= FEWEST_OF_A_CELL);
    known.map(|(_, rate)| rate).fold(0.0, f64::max)
}

fn draw(
    svg: &mut Svg,
    y: f64,
    subject: &Subject,
    tables: &[Shown<BitTable>],
    ways: &[Option<Direction>],
    format: &BitTable,
) -> f64 {
    let most = most(tables, ways);
    legend(svg, [LEFT, y], most);
    let (count, several) = (format.bits().len(), subject.sides.len() > 1);
    let left = |way: usize| LEFT + way as f64 * (count as f64 * BIT + GAP);
    let top = y + 76.0;
    for (place, way) in ways.iter().enumerate() {
        let x = |bits: u32| left(place) + f64::from(bits) * BIT;
        svg.text([x(0), top - 24.0], Anchor::Start, way_words(*way), Mark::default());
        svg.text([x(0) + BIT / 2.0, top - 6.0], Anchor::Middle, "±", Mark::new("tick"));
        svg.text([x(1) + 3.0, top - 6.0], Anchor::Start, "exponent", Mark::new("tick"));
        let fraction = x(1 + format.exponent) + 3.0;
        svg.text([fraction, top - 6.0], Anchor::Start, "fraction", Mark::new("tick"));
    }
    let high = line_height(tables.len());
    let height = high * tables.len() as f64 + if several { 3.0 } else { 1.0 };
    // A run's line of one row: what `shade` gives for each way and bit.
    let line = |svg: &mut Svg,
                side: usize,
                y: f64,
                table: &BitTable,
                shade: &dyn Fn(Option<Direction>, u32) -> Option<(f64, u64)>| {
        for (place, way) in ways.iter().enumerate() {
            let grid = Grid { origin: [left(place), y], cell: [BIT, high - 1.0] };
            let cells = table.bits().rev().enumerate().filter_map(|(column, bit)| {
                let (rate, n) = shade(*way, bit)?;
                Some(Shade::rate([0, column], rate, n, most))
            });
            grid.draw(svg, cells);
        }
        if several {
            svg.rect([LEFT - 6.0, y], [LEFT - 3.0, y + high - 1.0], Mark::new(super::RUNS[side]));
        }
    };
    let mut y = top;
    svg.text([LEFT - 10.0, y + height / 2.0 + 3.0], Anchor::End, "network", Mark::new("name"));
    for (side, table) in tables.iter().enumerate() {
        let Ok(table) = table else { continue };
        let of = |way: Option<Direction>, bit: u32| {
            let is_meant = |of: &&picture::NetworkBit| (of.bit, of.direction) == (bit, way);
            table.network.iter().find(is_meant).map(|of| (of.sdc, of.n))
        };
        line(svg, side, y + high * side as f64, table, &of);
    }
    y += height + 6.0;
    for (number, place) in subject.layers.iter().enumerate() {
        svg.row(number, y, |svg| {
            let name = short(&place.label, 19);
            let middle = [LEFT - 10.0, height / 2.0 + 3.0];
            svg.text(middle, Anchor::End, &name, Mark::new("name").hinted(&place.name));
            for (side, table) in tables.iter().enumerate() {
                let (Ok(table), Some(index)) = (table, place.indices[side]) else { continue };
                let of = |way: Option<Direction>, bit: u32| {
                    let outcomes = table.layers[index].outcomes(bit, way);
                    (outcomes.n() > 0).then(|| (outcomes.sdc_rate(), outcomes.n()))
                };
                line(svg, side, high * side as f64, table, &of);
            }
        });
        y += height;
    }
    for place in 0..ways.len() {
        for bits in [1, 1 + format.exponent] {
            let x = left(place) + f64::from(bits) * BIT;
            svg.line([x, top - 16.0], [x, y], Mark::new("rule"));
        }
        let ends = [(0, count), (count - 1, 1)];
        for (column, bit) in ends {
            let x = left(place) + (column as f64 + 0.5) * BIT;
            let bit = format.lowest as usize + bit - 1;
            svg.text([x, y + 13.0], Anchor::Middle, &bit.to_string(), Mark::new("tick"));
        }
        let middle = left(place) + count as f64 * BIT / 2.0;
        svg.text([middle, y + 13.0], Anchor::Middle, "bit", Mark::new("tick"));
    }
    y += 18.0;
    if several {
        for (side, of) in subject.sides.iter().enumerate() {
            svg.rect([LEFT, y + 8.0], [LEFT + 12.0, y + 16.0], Mark::new(super::RUNS[side]));
            svg.text([LEFT + 18.0, y + 16.0], Anchor::Start, &of.name, Mark::new("head"));
            y += 16.0;
        }
    }
    y
}

/// SDC rates of bits, both directions together, as `report --by bit` has them.
fn table(subject: &Subject, tables: &[Shown<BitTable>]) -> Table {
    let Some(format) = tables.iter().flatten().next() else { return Table::default() };
    let bits = || format.bits().rev();
    let columns = bits().map(|bit| Column::rate(format!("bit_{bit}"), bit.to_string()));
    let fixed =
        [Column::text("layer", "layer"), Column::text("run", "run"), Column::count("n", "n")];
    let mut rows = Table::new(fixed.into_iter().chain(columns.map(Column::without_interval)));
    for (side, table) in subject.sides.iter().zip(tables) {
        let Ok(table) = table else { continue };
        let of = |bit: u32| {
            let of_bit = table.network.iter().find(|of| of.bit == bit && of.direction.is_none());
            Cell::from(of_bit.map(|of| of.sdc))
        };
        let first = ["network".into(), side.name.as_str().into(), Cell::Nothing];
        rows.push(None, first.into_iter().chain(bits().map(of)).collect());
    }
    for (number, place) in subject.layers.iter().enumerate() {
        for (side, table) in tables.iter().enumerate() {
            let (Ok(table), Some(index)) = (table, place.indices[side]) else { continue };
            let layer = &table.layers[index];
            let n: u64 = layer.cells.iter().map(|cell| cell.outcomes.n()).sum();
            let of = |bit: u32| {
                let outcomes = layer.outcomes(bit, None);
                Cell::from((outcomes.n() > 0).then(|| outcomes.sdc_rate()))
            };
            let first = [place.name.as_str().into(), subject.sides[side].name.as_str().into()];
            let cells = first.into_iter().chain([n.into()]).chain(bits().map(of));
            rows.push(Some(number), cells.collect());
        }
    }
    rows
}

/// Of each run by layer and direction, masked, benign, SDC and nonfinite of each bit from the lowest.
fn data(subject: &Subject, tables: &[Shown<BitTable>]) -> Value {
    let ways = ways(tables);
    let of_table = |(side, table): (usize, &Shown<BitTable>)| match table {
        Err(why) => json!({ "not_shown": why }),
        Ok(table) => {
            let of_layer = |place: &PageLayer| {
                let layer = &table.layers[place.indices[side]?];
                let of_way = |way: &Option<Direction>| -> Vec<Outcomes> {
                    table.bits().map(|bit| layer.outcomes(bit, *way)).collect()
                };
                Some(ways.iter().map(of_way).collect::<Vec<_>>())
            };
            json!({
                "lowest": table.lowest,
                "directions": ways.iter().map(|way| way.map(Direction::name)).collect::<Vec<_>>(),
                "outcomes": ["masked", "benign", "sdc", "nonfinite"],
                "layers": subject.layers.iter().map(of_layer).collect::<Vec<_>>(),
            })
        }
    };
    Value::Array(tables.iter().enumerate().map(of_table).collect())
}
