//! One picture of the built-in set: background, clutter, distractors, the figure, occlusion, noise.

use super::SIDE;
use super::draw::{Canvas, Colour, Outline, PlacedShape};
use crate::data::portable::sin_cos_turns;
use crate::rng::Draw;

/// Number of classes.
pub const CLASSES: usize = 10;

/// The outline of each class, in the order of the labels.
const OUTLINES: [Outline; CLASSES] = [
    Outline::Disc,
    Outline::Ring,
    Outline::Square,
    Outline::Triangle,
    Outline::Star,
    Outline::Cross,
    Outline::Crescent,
    Outline::StripesAlongX,
    Outline::StripesAlongY,
    Outline::Checkers,
];

/// Share of pictures whose figure is a blend of its class and another one.
const AMBIGUOUS: f64 = 0.10;

/// Channels of backgrounds and clutter, in grey levels.
const DARK: [f64; 2] = [0.0, 165.0];

/// Channels of figures: mostly brighter than what lies behind.
const BRIGHT: [f64; 2] = [90.0, 255.0];

fn random_colour(draws: &mut impl Draw, [low, high]: [f64; 2]) -> Colour {
    [draws.between(low, high), draws.between(low, high), draws.between(low, high)]
}

/// A colour at least `distance` (Euclidean, in grey levels) from `other`, the first such of up to
/// eight draws, else the last one pushed away in brightness.
fn colour_apart(draws: &mut impl Draw, other: Colour, distance: f64) -> Colour {
    let mut colour = random_colour(draws, BRIGHT);
    for _ in 0..7 {
        let apart: f64 = colour.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum();
        if apart >= distance * distance {
            return colour;
        }
        colour = random_colour(draws, BRIGHT);
    }
    let bright = other.iter().sum::<f64>() / 3.0 > 127.5;
    other.map(|v| if bright { v - distance } else { v + distance }.clamp(0.0, 255.0))
}

fn mix(a: Colour, b: Colour, share: f64) -> Colour {
    [0, 1, 2].map(|c| a[c] + (b[c] - a[c]) * share)
}

/// A gradient between two colours with a soft texture of 5×5 interpolated random heights.
fn background(draws: &mut impl Draw, from: Colour, to: Colour) -> Canvas {
    let (sine, cosine) = sin_cos_turns(draws.unit());
    let strength = draws.between(0.0, 25.0);
    let heights: Vec<f64> = (0..25).map(|_| draws.between(-1.0, 1.0)).collect();
    Canvas::fill_with(|column, row| {
        let u = (column as f64 + 0.5) / SIDE as f64;
        let v = (row as f64 + 0.5) / SIDE as f64;
        let share = (0.5 + (u - 0.5) * cosine + (v - 0.5) * sine).clamp(0.0, 1.0);
        let (gx, gy) = (u * 4.0, v * 4.0);
        let (ix, iy) = (gx.floor(), gy.floor());
        let (fx, fy) = (gx - ix, gy - iy);
        let height = |dx: usize, dy: usize| heights[(iy as usize + dy) * 5 + ix as usize + dx];
        let top = height(0, 0) + (height(1, 0) - height(0, 0)) * fx;
        let bottom = height(0, 1) + (height(1, 1) - height(0, 1)) * fx;
        let texture = (top + (bottom - top) * fy) * strength;
        mix(from, to, share).map(|value| value + texture)
    })
}

/// How far a class may be turned, in turns: patterns keep their direction, so only a little.
fn turn_of(outline: Outline, draws: &mut impl Draw) -> f64 {
    let range = match outline {
        Outline::StripesAlongX | Outline::StripesAlongY => 0.07,
        Outline::Checkers | Outline::Square | Outline::Cross => 0.06,
        _ => 0.1,
    };
    draws.between(-range, range)
}

fn figure<D: Draw>(class: usize, draws: &mut D, radius: f64) -> PlacedShape {
    let outline = OUTLINES[class];
    let margin = radius * 0.95;
    let place = |draws: &mut D| draws.between(margin, SIDE as f64 - margin);
    PlacedShape {
        outline,
        other: outline,
        mix: 0.0,
        x: place(draws),
        y: place(draws),
        radius,
        rotation: sin_cos_turns(turn_of(outline, draws)),
        stretch: draws.between(0.82, 1.22),
        period: draws.between(4.0, 6.5) / radius,
        round: draws.chance(0.5),
    }
}

/// A class other than `class`.
fn another(class: usize, draws: &mut impl Draw) -> usize {
    (class + 1 + draws.below(CLASSES as u64 - 1) as usize) % CLASSES
}

/// Picture of a class, 32×32×3 bytes.
pub fn picture(class: usize, draws: &mut impl Draw) -> Vec<u8> {
    let base = random_colour(draws, DARK);
    let tint = random_colour(draws, DARK);
    let end = mix(base, tint, draws.between(0.0, 0.5));
    let mut canvas = background(draws, base, end);
    let middle = mix(base, end, 0.5);

    // Clutter behind: thin lines and small distractors, never as large as the figure.
    for _ in 0..draws.below(3) {
        let mut point = || (draws.between(0.0, SIDE as f64), draws.between(0.0, SIDE as f64));
        let (from, to) = (point(), point());
        let width = draws.between(0.6, 1.6);
        let colour = random_colour(draws, BRIGHT);
        canvas.line(from, to, width, mix(middle, colour, 0.6));
    }
    let radius = draws.between(8.5, 13.0);
    for _ in 0..draws.below(3) {
        let size = draws.between(2.0, 3.0);
        let small = figure(another(class, draws), draws, size);
        let colour = colour_apart(draws, middle, 60.0);
        canvas.draw(&small, 0.8, |_, _| colour);
    }

    let mut main = figure(class, draws, radius);
    if draws.chance(AMBIGUOUS) {
        main.other = OUTLINES[another(class, draws)];
        main.mix = draws.between(0.3, 0.6);
    }
    let contrast = draws.between(90.0, 190.0);
    let colour = colour_apart(draws, middle, contrast);
    let shade = mix(colour, random_colour(draws, BRIGHT), draws.between(0.0, 0.35));
    let (sine, cosine) = sin_cos_turns(draws.unit());
    canvas.draw(&main, 1.0, |column, row| {
        let u = (column as f64 - main.x) / (2.0 * radius) * cosine;
        let v = (row as f64 - main.y) / (2.0 * radius) * sine;
        mix(colour, shade, (0.5 + u + v).clamp(0.0, 1.0))
    });

    // Occlusion in front: a bar across the figure or a small figure on its rim.
    if draws.chance(0.4) {
        let (sine, cosine) = sin_cos_turns(draws.unit());
        let reach = draws.between(0.3, 0.9) * radius;
        let (x, y) = (main.x + reach * cosine, main.y + reach * sine);
        let cover = colour_apart(draws, colour, 50.0);
        if draws.chance(0.5) {
            let width = draws.between(0.15, 0.4) * radius;
            let length = 1.2 * radius;
            let from = (x - length * sine, y + length * cosine);
            canvas.line(from, (x + length * sine, y - length * cosine), width, cover);
        } else {
            let mut blob = figure(another(class, draws), draws, radius * 0.4);
            (blob.x, blob.y) = (x, y);
            canvas.draw(&blob, 1.0, |_, _| cover);
        }
    }

    // Noise: the sum of four uniforms, close to a bell of the given standard deviation.
    let deviation = draws.between(2.0, 14.0);
    for pixel in &mut canvas.pixels {
        for value in pixel {
            let sum: f64 = (0..4).map(|_| draws.unit()).sum();
            *value += (sum - 2.0) * deviation * 1.7320508076;
        }
    }
    canvas.to_bytes()
}
