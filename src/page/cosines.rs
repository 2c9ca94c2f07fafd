//! How classes' rows of text features lie to each other: a square of cosines with names, and the scale of its colours.

use super::figures::short;
use super::palette::{file_style, shade};
use super::{Anchor, Mark, Svg};
use crate::data::{Image8, rgb_png};
use crate::text::TextFeatures;
use crate::text::similarity::cosines;
use crate::{Error, Result};

/// The most classes that a drawing has room for.
const MOST: usize = 8192;

/// The side of a cell, of few classes and of many: as high as a line of text.
const CELLS: [f64; 2] = [20.0, 14.0];
/// Up to here classes are few.
const FEW: usize = 30;
/// Names of more characters are cut.
const LONGEST: usize = 28;
/// The width of a character, on average.
const LETTER: f64 = 6.6;

const MARGIN: f64 = 12.0;
const TOP: f64 = 34.0;
/// The bar of colours: its distance, its width, its least height, and the width of its numbers.
const BAR: [f64; 4] = [22.0, 14.0, 120.0, 40.0];
/// Pixels of the bar.
const SHADES: usize = 128;

/// A pixel a share, in so many columns.
fn pixels(shares: impl Iterator<Item = f64>, width: usize, height: usize) -> Result<Vec<u8>> {
    rgb_png(&Image8::new(height, width, shares.flat_map(shade).collect())?)
}

/// All cosines as a drawing: a row and a column for each class under its name, the lowest cosine in the palest colour and 1
/// in the darkest, with a bar that says which is which.
///
/// # Errors
/// [`Error::Usage`] for more classes than fit.
pub fn cosines_svg(features: &TextFeatures) -> Result<String> {
    let classes = features.len();
    if classes > MOST {
        return Err(Error::usage(format!("{classes} classes don't fit a picture; {MOST} do")));
    }
    let cosines = cosines(features);
    let lowest = f64::from(cosines.iter().copied().fold(1.0, f32::min));
    let range = (1.0 - lowest).max(f64::MIN_POSITIVE);
    let shares = cosines.iter().map(|cosine| (f64::from(*cosine) - lowest) / range);
    let cell = if classes <= FEW { CELLS[0] } else { CELLS[1] };
    let side = cell * classes as f64;
    let names: Vec<String> = features.names.iter().map(|name| short(name, LONGEST)).collect();
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let room = longest as f64 * LETTER + 10.0;
    let [gap, bar_width, least, digits] = BAR;
    let (left, bar) = (MARGIN + room, side.max(least).min(20.0 * CELLS[0]));
    let title = format!("Cosines of the text features of {classes} classes");
    let right = (left + side + gap + bar_width + digits).max(title.chars().count() as f64 * 7.0);
    let mut svg = Svg::new(right + MARGIN, TOP + (side + room).max(bar) + MARGIN);
    svg.text([MARGIN, 18.0], Anchor::Start, &title, Mark::new("name"));
    svg.picture([left, TOP], [side, side], &pixels(shares, classes, classes)?);
    for (place, name) in names.iter().enumerate() {
        let middle = (place as f64 + 0.5) * cell + 4.0;
        svg.text([left - 6.0, TOP + middle], Anchor::End, name, Mark::new("small"));
        svg.text_upwards([left + middle, TOP + side + 6.0], name, Mark::new("small"));
    }
    let at = left + side + gap;
    let bar_shades = (0..SHADES).rev().map(|place| place as f64 / (SHADES - 1) as f64);
    svg.picture([at, TOP], [bar_width, bar], &pixels(bar_shades, 1, SHADES)?);
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let y = TOP + bar * (1.0 - share);
        svg.line([at + bar_width, y], [at + bar_width + 4.0, y], Mark::new("base"));
        let value = format!("{:.2}", lowest + share * (1.0 - lowest));
        svg.text([at + bar_width + 7.0, y + 4.0], Anchor::Start, &value, Mark::new("tick"));
    }
    let about = "Each cell is the cosine of the rows of two classes, of its row and of its column; the bar says which \
                 colour is which cosine.";
    Ok(svg.finish("cosines", &title, about, &file_style()))
}
