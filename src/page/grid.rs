//! Maps of equal cells, drawn as one shape for all cells that look alike: a page has thousands of them.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::palette::step;
use super::svg::{Anchor, Mark, Svg, number};
use crate::analysis::picture::FEWEST_OF_A_CELL;

/// Where a map lies, and how large its cells are.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Its upper left corner.
    pub origin: [f64; 2],
    /// Width and height of a cell.
    pub cell: [f64; 2],
}

/// The class of cells of few records.
const HATCHED: &str = "hatched";

/// What is shown of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shade {
    pub row: usize,
    pub column: usize,
    /// Of the marks of `marks.css`.
    pub class: &'static str,
}

impl Shade {
    /// A rate of `n` records; hatched where these are few.
    pub fn rate([row, column]: [usize; 2], rate: f64, n: u64, most: f64) -> Shade {
        let class = if n < FEWEST_OF_A_CELL { HATCHED } else { step(rate, most) };
        Shade { row, column, class }
    }
}

impl Grid {
    /// Draws cells, neighbours of one look in a row as one.
    pub fn draw(&self, svg: &mut Svg, shades: impl IntoIterator<Item = Shade>) {
        let mut of_class = BTreeMap::<&'static str, Vec<[usize; 2]>>::new();
        for Shade { row, column, class } in shades {
            of_class.entry(class).or_default().push([row, column]);
        }
        of_class.values_mut().for_each(|cells| cells.sort());
        // A pattern would be scaled with its cells.
        if let Some(cells) = of_class.remove(HATCHED) {
            svg.shape(&commands(&cells, self.origin, self.cell), Mark::new(HATCHED));
        }
        if !of_class.is_empty() {
            svg.scaled(self.origin, self.cell, |svg| {
                for (class, cells) in of_class {
                    svg.shape(&commands(&cells, [0.0; 2], [1.0; 2]), Mark::new(class));
                }
            });
        }
    }
}

/// The path of cells (row, column) in order, each as large as `cell`. A shape that is filled closes by itself.
fn commands(cells: &[[usize; 2]], [left, top]: [f64; 2], [width, height]: [f64; 2]) -> String {
    let mut commands = String::new();
    let mut rest = cells;
    while let Some([row, column]) = rest.first().copied() {
        let follows = |(place, cell): &(usize, &[usize; 2])| **cell == [row, column + place];
        let count = rest.iter().enumerate().take_while(follows).count();
        let [x, y] = [left + width * column as f64, top + height * row as f64];
        let [wide, high] = [width * count as f64, height].map(number);
        let _ = write!(commands, "M{} {}h{wide}v{high}h-{wide}", number(x), number(y));
        rest = &rest[count..];
    }
    commands
}

/// Draws what the steps of rates mean, up to the highest of them, and what is hatched.
pub fn legend(svg: &mut Svg, [x, y]: [f64; 2], most: f64) {
    svg.text([x, y + 10.0], Anchor::Start, "SDC rate", Mark::new("head"));
    let from = x + 58.0;
    for place in 0..7usize {
        // The middle of what has this step.
        let rate = most * (place as f64 / 6.0).powi(2);
        let at = from + 22.0 * place as f64;
        svg.rect([at, y], [at + 22.0, y + 12.0], Mark::new(step(rate, most)));
    }
    for (place, share) in [(0.5, 0.0), (3.5, 0.25), (6.5, 1.0)] {
        let words = format!("{} %", number(100.0 * most * share));
        svg.text([from + 22.0 * place, y + 25.0], Anchor::Middle, &words, Mark::new("tick"));
    }
    let at = from + 22.0 * 7.0 + 24.0;
    svg.rect([at, y], [at + 22.0, y + 12.0], Mark::new("empty"));
    svg.rect([at, y], [at + 22.0, y + 12.0], Mark::new(HATCHED));
    let words = format!("fewer than {FEWEST_OF_A_CELL} injections");
    svg.text([at + 30.0, y + 10.0], Anchor::Start, &words, Mark::new("head"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_look_are_one_shape() {
        let cells = [[0, 0], [0, 1], [0, 3], [1, 4]];
        let shapes = commands(&cells, [10.0, 20.0], [3.0, 2.0]);
        assert_eq!(shapes, "M10 20h6v2h-6M19 20h3v2h-3M22 22h3v2h-3");
        let grid = Grid { origin: [10.0, 20.0], cell: [3.0, 2.0] };
        let mut svg = Svg::new(1.0, 1.0);
        let shade = |column, n| Shade::rate([0, column], 0.5, n, 0.5);
        grid.draw(&mut svg, [shade(1, 9), shade(0, 9), shade(2, 4)]);
        let text = svg.finish("x", "", "", "");
        assert!(text.contains("<path d=\"M16 20h3v2h-3\" class=\"hatched\"/>"), "{text}");
        let whole = "<g transform=\"translate(10 20)scale(3 2)\" shape-rendering=\"crispEdges\">\
                     <path d=\"M0 0h2v1h-2\" class=\"q6\"/></g>";
        assert!(text.contains(whole), "{text}");
    }
}
