//! Axes of drawings: from values to places, and the ticks between.

use super::svg::{Anchor, Mark, Svg, number};

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    Linear,
    /// Base 10; values from 0 down have no place.
    Log,
    /// Linear up to a threshold on either side of 0, then logarithmic (Webber, 2012, *A bi-symmetric log transformation
    /// for wide-range data*, equation 1, base 10).
    Symlog {
        threshold: f64,
    },
}

/// An axis: values from `low` to `high` at places from `from` to `to`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis of equal steps. An empty stretch of values is widened.
    pub fn linear([low, high]: [f64; 2], places: [f64; 2]) -> Axis {
        Axis::new(Scale::Linear, low, high, places)
    }

    /// An axis of equal factors; `low` and `high` are above 0.
    pub fn log([low, high]: [f64; 2], places: [f64; 2]) -> Axis {
        let low = if low > 0.0 && low.is_finite() { low } else { 1e-12 };
        Axis::new(Scale::Log, low, if high > low { high } else { low * 10.0 }, places)
    }

    /// An axis that is linear near 0, up to `threshold` on either side, and logarithmic beyond.
    pub fn symlog(threshold: f64, [low, high]: [f64; 2], places: [f64; 2]) -> Axis {
        Axis::new(Scale::Symlog { threshold }, low, high, places)
    }

    fn new(scale: Scale, low: f64, high: f64, [from, to]: [f64; 2]) -> Axis {
        let (low, high) = match (low.is_finite() && high.is_finite(), low < high) {
            (true, true) => (low, high),
            (true, false) => (low, low + if low == 0.0 { 1.0 } else { low.abs() }),
            _ => (0.0, 1.0),
        };
        Axis { scale, low, high, from, to }
    }

    fn scaled(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log => value.log10(),
            Scale::Symlog { threshold } => value.signum() * (value.abs() / threshold).ln_1p(),
        }
    }

    /// The place of a value; NaN where it has none. Values beyond the ends are beyond the places, too.
    pub fn at(&self, value: f64) -> f64 {
        let (low, high) = (self.scaled(self.low), self.scaled(self.high));
        self.from + (self.scaled(value) - low) / (high - low) * (self.to - self.from)
    }

    /// The same, moved to the nearer end where it would be beyond.
    pub fn within(&self, value: f64) -> f64 {
        self.at(value).clamp(self.from.min(self.to), self.from.max(self.to))
    }

    /// Values for ticks with their words; about `most` of them.
    pub fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => self.even_ticks(most),
            Scale::Log => {
                let powers = self.low.log10().ceil() as i32..=self.high.log10().floor() as i32;
                let powers: Vec<i32> = powers.collect();
                if powers.len() < 2 {
                    return self.small_ticks();
                }
                let every = powers.len().div_ceil(most.max(1));
                let power = |power: &i32| (10f64.powi(*power), power_words(*power));
                powers.iter().step_by(every).map(power).collect()
            }
            Scale::Symlog { threshold } => {
                let reach = self.low.abs().max(self.high.abs());
                let first = threshold.log10().round() as i32;
                let last = (reach.log10().floor() as i32).max(first);
                let every = ((last - first + 1) as usize).div_ceil((most / 2).max(1));
                let powers: Vec<i32> = (first..=last).step_by(every).collect();
                let below = powers
                    .iter()
                    .rev()
                    .map(|p| (-(10f64.powi(*p)), format!("−{}", power_words(*p))));
                let above = powers.iter().map(|p| (10f64.powi(*p), power_words(*p)));
                let all = below.chain([(0.0, "0".into())]).chain(above);
                all.filter(|(value, _)| *value >= self.low && *value <= self.high).collect()
            }
        }
    }

    fn even_ticks(&self, most: usize) -> Vec<(f64, String)> {
        let rough = (self.high - self.low) / most.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
        let step = steps.into_iter().find(|step| *step >= rough * 0.999).unwrap_or(steps[3]);
        let digits = (-step.log10().floor()).max(0.0) as usize;
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        let tick = |times: i64| {
            let value = times as f64 * step;
            (value, format!("{value:.digits$}").replace('-', "−"))
        };
        (first..=last).map(tick).collect()
    }

    /// Ticks of a logarithmic axis that spans few powers of ten.
    fn small_ticks(&self) -> Vec<(f64, String)> {
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().floor() as i32;
        let all = (first..=last).flat_map(|power| {
            [1.0, 1.5, 2.0, 3.0, 5.0, 7.0].map(|times| times * 10f64.powi(power))
        });
        let is_inside = |value: &f64| *value >= self.low && *value <= self.high;
        all.filter(is_inside).map(|value| (value, number(value))).collect()
    }

    /// Draws the ticks of a horizontal axis: rules from `top` down to `bottom` and words below.
    pub fn draw_below(&self, svg: &mut Svg, [top, bottom]: [f64; 2], most: usize) {
        for (value, words) in self.ticks(most) {
            let x = self.at(value);
            svg.line([x, top], [x, bottom], Mark::new("grid"));
            svg.text([x, bottom + 16.0], Anchor::Middle, &words, Mark::new("tick"));
        }
    }

    /// Draws percents below an axis of shares, at `y`.
    pub fn draw_percent(&self, svg: &mut Svg, y: f64) {
        for (value, _) in self.ticks(6) {
            let x = self.at(value);
            svg.line([x, y], [x, y + 4.0], Mark::new("base"));
            let words = format!("{} %", number(100.0 * value));
            svg.text([x, y + 17.0], Anchor::Middle, &words, Mark::new("tick"));
        }
    }

    /// Draws the ticks of a vertical axis: rules from `left` to `right` and words at the left.
    pub fn draw_left(&self, svg: &mut Svg, [left, right]: [f64; 2], most: usize) {
        for (value, words) in self.ticks(most) {
            let y = self.at(value);
            svg.line([left, y], [right, y], Mark::new("grid"));
            svg.text([left - 8.0, y + 4.0], Anchor::End, &words, Mark::new("tick"));
        }
    }
}

/// A power of ten in words.
fn power_words(power: i32) -> String {
    match power {
        -2..=4 => number(10f64.powi(power)),
        _ => format!("1e{power}").replace('-', "−"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_ticks_are_round() {
        let axis = Axis::linear([0.0, 3.7], [0.0, 370.0]);
        let words: Vec<String> = axis.ticks(5).into_iter().map(|tick| tick.1).collect();
        assert_eq!(words, ["0", "1", "2", "3"]);
        assert_eq!(axis.at(1.85), 185.0);
        assert_eq!([axis.within(9.0), axis.within(-1.0)], [370.0, 0.0]);
        let words: Vec<String> =
            Axis::linear([0.0, 0.05], [0.0, 1.0]).ticks(5).into_iter().map(|tick| tick.1).collect();
        assert_eq!(words, ["0.00", "0.01", "0.02", "0.03", "0.04", "0.05"]);
    }

    #[test]
    fn logarithmic_places_are_those_of_powers() {
        let axis = Axis::log([1e-3, 1e3], [0.0, 60.0]);
        assert!((axis.at(1.0) - 30.0).abs() < 1e-9);
        assert!((axis.at(0.1) - 20.0).abs() < 1e-9);
        assert!(axis.at(-1.0).is_nan());
        assert_eq!(axis.ticks(10).len(), 7);
        let few: Vec<f64> =
            Axis::log([0.8, 2.5], [0.0, 1.0]).ticks(6).into_iter().map(|tick| tick.0).collect();
        assert_eq!(few, [1.0, 1.5, 2.0]);
    }

    #[test]
    fn symlog_is_odd_and_finite_everywhere() {
        let axis = Axis::symlog(1e-3, [-1e38, 1e38], [-1.0, 1.0]);
        assert!(axis.at(0.0).abs() < 1e-12);
        for value in [1e-6, 1.0, 3e20] {
            assert!((axis.at(value) + axis.at(-value)).abs() < 1e-12);
        }
        let ticks = axis.ticks(9);
        assert!(ticks.iter().any(|(value, words)| *value == 0.0 && words == "0"), "{ticks:?}");
        assert!(ticks.len() <= 11, "{ticks:?}");
    }

    #[test]
    fn no_stretch_of_values_is_empty() {
        for values in [[0.0, 0.0], [2.0, 2.0], [f64::NAN, 1.0], [0.0, f64::INFINITY]] {
            let axis = Axis::linear(values, [0.0, 100.0]);
            assert!(axis.at(0.5).is_finite());
            assert!(axis.ticks(5).len() < 20);
        }
    }
}
