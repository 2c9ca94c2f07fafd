//! Figures of many records: each is a file that draws what `analysis::picture` counted.

mod bits;
mod distribution;
mod places;
mod precision;
mod values;

pub(super) use bits::figure as bits;
pub(super) use distribution::figure as distribution;
pub(super) use places::figure as places;
pub(super) use precision::figure as precision;
pub(super) use values::figure as values;

use super::subject::{MOST_RUNS, Side, Subject};
use super::svg::{Anchor, Mark, Svg};
use crate::analysis::picture::Shown;

/// What each run has of a figure, or why it has nothing.
fn of_sides<T>(subject: &Subject, of: impl Fn(&Side) -> Shown<T>) -> Vec<Shown<T>> {
    subject.sides.iter().map(of).collect()
}

/// The colours of runs.
const RUNS: [&str; MOST_RUNS] = ["run-0", "run-1", "run-2", "run-3"];

/// Characters of a line of a drawing's whole width.
const LINE: usize = 112;

/// Draws sentences from `y` on, and gives the place below them.
fn sentences(svg: &mut Svg, mut y: f64, words: &str) -> f64 {
    let mut line = String::new();
    let mut lines = Vec::new();
    for word in words.split(' ') {
        if !line.is_empty() && line.chars().count() + word.chars().count() >= LINE {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    for line in lines {
        y += 16.0;
        svg.text([0.0, y], Anchor::Start, &line, Mark::new("head"));
    }
    y + 10.0
}

/// Draws why runs have no such figure: nothing where all have it.
fn reasons<T>(svg: &mut Svg, mut y: f64, subject: &Subject, shown: &[Shown<T>]) -> f64 {
    for (side, shown) in subject.sides.iter().zip(shown) {
        if let Err(why) = shown {
            let words = match subject.sides.len() {
                1 => format!("Not shown: {}", lower(why)),
                _ => format!("Not shown of {}: {}", side.name, lower(why)),
            };
            y = sentences(svg, y, &words);
        }
    }
    y
}

/// A sentence as the part of another one; names keep their first letter.
fn lower(sentence: &str) -> String {
    match sentence.starts_with("GoldenEye") {
        true => sentence.into(),
        false => {
            let mut rest = sentence.chars();
            let first = rest.next().into_iter().flat_map(char::to_lowercase);
            first.chain(rest).collect()
        }
    }
}

/// The end of a name that has more than `most` characters, which says more than its beginning.
pub(super) fn short(name: &str, most: usize) -> String {
    let count = name.chars().count();
    match count <= most {
        true => name.into(),
        false => "…".chars().chain(name.chars().skip(count + 1 - most)).collect(),
    }
}

/// A number with so many digits that no drawing shows a difference, for data that would be long.
fn rounded(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_ends() {
        assert_eq!(short("layer4.1.conv2", 20), "layer4.1.conv2");
        assert_eq!(short("features.7.block.2.attn.qkv", 12), "….2.attn.qkv");
        assert_eq!(short("äöüß", 3), "…üß");
        assert_eq!(lower("Faults of"), "faults of");
        assert_eq!([rounded(0.123456789), rounded(f64::INFINITY)], [0.12346, f64::INFINITY]);
    }

    #[test]
    fn sentences_are_broken_into_lines() {
        let mut svg = Svg::new(760.0, 0.0);
        assert_eq!(sentences(&mut svg, 0.0, "Not shown."), 26.0);
        assert_eq!(sentences(&mut svg, 0.0, &"word ".repeat(40)), 42.0);
    }
}
