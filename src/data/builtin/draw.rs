//! Drawing on a small f64 canvas: shapes as inside tests, anti-aliased by 4×4 samples a pixel.

use super::SIDE;

/// An RGB colour, 0 to 255 a channel.
pub type Colour = [f64; 3];

/// What a figure looks like, in its own coordinates: the unit disc, x to the right, y downwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outline {
    Disc,
    /// An annulus; the hole has radius 0.58.
    Ring,
    Square,
    /// Equilateral, one corner up.
    Triangle,
    /// Five-pointed, one point up; inner radius 0.42.
    Star,
    /// Two bars of equal width.
    Cross,
    /// A disc less a shifted disc.
    Crescent,
    /// Stripes along x inside a patch.
    StripesAlongX,
    /// Stripes along y inside a patch.
    StripesAlongY,
    /// Checkerboard fields inside a patch.
    Checkers,
}

/// Cosine and sine of k·36° − 90°, k = 0..10: the corners of a star, to 10 digits.
const TENTHS: [(f64, f64); 10] = [
    (0.0, -1.0),
    (0.5877852523, -0.8090169944),
    (0.9510565163, -0.3090169944),
    (0.9510565163, 0.3090169944),
    (0.5877852523, 0.8090169944),
    (0.0, 1.0),
    (-0.5877852523, 0.8090169944),
    (-0.9510565163, 0.3090169944),
    (-0.9510565163, -0.3090169944),
    (-0.5877852523, -0.8090169944),
];

/// Radius of a star's inner corners.
const STAR_INNER: f64 = 0.42;

impl Outline {
    /// Whether (x, y) belongs to the figure. `period` is the width of a pair of stripes or fields,
    /// `round` whether the patch of a pattern is a disc or a square.
    fn contains(self, x: f64, y: f64, period: f64, round: bool) -> bool {
        let radius_squared = x * x + y * y;
        let patch = if round { radius_squared <= 1.0 } else { x.abs().max(y.abs()) <= 0.85 };
        let odd = |v: f64| (v / period * 2.0).floor().rem_euclid(2.0) == 1.0;
        match self {
            Outline::Disc => radius_squared <= 0.85,
            Outline::Ring => (0.3364..=0.9).contains(&radius_squared),
            Outline::Square => x.abs().max(y.abs()) <= 0.78,
            Outline::Triangle => y <= 0.5 && y >= 1.7320508076 * x.abs() - 1.0,
            Outline::Star => in_star(x, y),
            Outline::Cross => x.abs().min(y.abs()) <= 0.27 && x.abs().max(y.abs()) <= 0.95,
            Outline::Crescent => {
                let dx = x - 0.48;
                radius_squared <= 1.0 && dx * dx + y * y >= 0.72
            }
            Outline::StripesAlongX => patch && odd(y),
            Outline::StripesAlongY => patch && odd(x),
            Outline::Checkers => patch && odd(x) != odd(y),
        }
    }
}

/// Even-odd test against the ten corners of a star.
fn in_star(x: f64, y: f64) -> bool {
    let corner = |k: usize| {
        let scale = if k.is_multiple_of(2) { 1.0 } else { STAR_INNER };
        (TENTHS[k].0 * scale, TENTHS[k].1 * scale)
    };
    let mut inside = false;
    for k in 0..10 {
        let ((x0, y0), (x1, y1)) = (corner(k), corner((k + 1) % 10));
        if (y0 > y) != (y1 > y) && x < (x1 - x0) * (y - y0) / (y1 - y0) + x0 {
            inside = !inside;
        }
    }
    inside
}

/// A figure and where it lies on the canvas.
#[derive(Clone, Copy, Debug)]
pub struct PlacedShape {
    pub outline: Outline,
    /// A second outline that some samples follow instead; see `mix`.
    pub other: Outline,
    /// Share of `other` from 0 (none of it) to 1, as coverage.
    pub mix: f64,
    /// Centre, in pixels.
    pub x: f64,
    /// Centre, in pixels.
    pub y: f64,
    /// Pixels to a unit of the outline.
    pub radius: f64,
    /// (sine, cosine) of the rotation.
    pub rotation: (f64, f64),
    /// Horizontal stretch, applied before the rotation.
    pub stretch: f64,
    /// Width of a pair of stripes or fields, in units of the outline.
    pub period: f64,
    /// Whether a pattern's patch is a disc.
    pub round: bool,
}

/// A square picture, `SIDE` × `SIDE`, before it is rounded to bytes.
pub struct Canvas {
    pub pixels: Vec<Colour>,
}

impl Canvas {
    /// Paints each pixel with the colour that `colour` gives at its column and row.
    pub fn fill_with(mut colour: impl FnMut(usize, usize) -> Colour) -> Self {
        let mut pixels = Vec::with_capacity(SIDE * SIDE);
        for row in 0..SIDE {
            for column in 0..SIDE {
                pixels.push(colour(column, row));
            }
        }
        Canvas { pixels }
    }

    /// Lays `colour` over a pixel.
    fn blend(&mut self, column: usize, row: usize, colour: Colour, coverage: f64) {
        let pixel = &mut self.pixels[row * SIDE + column];
        for (below, above) in pixel.iter_mut().zip(colour) {
            *below += (above - *below) * coverage;
        }
    }

    /// Draws a figure with the given opacity; `fill` gives the colour at a column and a row.
    pub fn draw(
        &mut self,
        figure: &PlacedShape,
        opacity: f64,
        fill: impl Fn(usize, usize) -> Colour,
    ) {
        let (sine, cosine) = figure.rotation;
        // No outline reaches beyond 1.21 (the corner of a square patch).
        let reach = figure.radius * 1.25 * figure.stretch.max(1.0) + 1.0;
        let span = |centre: f64| {
            let low = (centre - reach).floor().max(0.0) as usize;
            let high = (centre + reach).ceil().clamp(0.0, SIDE as f64) as usize;
            low.min(SIDE)..high
        };
        for row in span(figure.y) {
            for column in span(figure.x) {
                let mut covered = 0.0;
                for sample in 0..16 {
                    let dx = column as f64 + (f64::from(sample % 4) + 0.5) / 4.0 - figure.x;
                    let dy = row as f64 + (f64::from(sample / 4) + 0.5) / 4.0 - figure.y;
                    let x = (dx * cosine + dy * sine) / (figure.radius * figure.stretch);
                    let y = (dy * cosine - dx * sine) / figure.radius;
                    if figure.outline.contains(x, y, figure.period, figure.round) {
                        covered += 1.0 - figure.mix;
                    }
                    if figure.mix > 0.0 && figure.other.contains(x, y, figure.period, figure.round)
                    {
                        covered += figure.mix;
                    }
                }
                if covered > 0.0 {
                    self.blend(column, row, fill(column, row), covered / 16.0 * opacity);
                }
            }
        }
    }

    /// Draws a straight bar from one point to another; width in pixels.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), width: f64, colour: Colour) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length_squared = (dx * dx + dy * dy).max(1e-9);
        for row in 0..SIDE {
            for column in 0..SIDE {
                let mut covered = 0.0;
                for sample in 0..4 {
                    let x = column as f64 + 0.25 + 0.5 * f64::from(sample % 2) - from.0;
                    let y = row as f64 + 0.25 + 0.5 * f64::from(sample / 2) - from.1;
                    let along = ((x * dx + y * dy) / length_squared).clamp(0.0, 1.0);
                    let (ex, ey) = (x - along * dx, y - along * dy);
                    if ex * ex + ey * ey <= width * width / 4.0 {
                        covered += 0.25;
                    }
                }
                if covered > 0.0 {
                    self.blend(column, row, colour, covered);
                }
            }
        }
    }

    /// The picture in bytes, RGB interleaved; values are clamped to 0..=255 and rounded.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.pixels.iter().flatten().map(|v| v.clamp(0.0, 255.0).round() as u8).collect()
    }
}
