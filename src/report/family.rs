//! What `compare` says of many readings at once: p-values, the family, and equivalence.

use super::interval;
use crate::analysis::compare::{Comparison, Comparisons, Equivalence, MarginFinding, Verdict};

/// A p-value.
pub(super) fn p_value(p: f64) -> String {
    if p < 0.001 { format!("{p:.0e}") } else { format!("{p:.3}") }
}

/// A verdict with the p-value that decided on it.
pub(super) fn said(verdict: Verdict, adjusted: Option<f64>, own: Option<f64>) -> String {
    match (verdict, adjusted.or(own)) {
        (Verdict::None(_), _) | (_, None) => verdict.words().into(),
        (_, Some(p)) => {
            let which = if adjusted.is_some() { "adjusted p" } else { "p" };
            format!("{}, {which} {}", verdict.words(), p_value(p))
        }
    }
}

/// How verdicts of many readings are come to.
pub(super) fn words(comparisons: &Comparisons) -> String {
    let primary = comparisons.rows.first().map_or("none", |row| row.primary.words());
    let sizes = comparisons.rows.iter().map(|row| row.family);
    format!(
        "Primary reading, named in advance: {primary}; its verdict is its interval's, and its p is its own. The others \
         with an interval, layers included, {}",
        members(sizes, comparisons)
    )
}

/// What is said of figures that are a family, of so many in each row.
pub(super) fn members(sizes: impl Iterator<Item = usize>, comparisons: &Comparisons) -> String {
    let mut sizes: Vec<String> = sizes.map(|size| size.to_string()).collect();
    sizes.dedup();
    let alpha = (1e6 * comparisons.intervals.confidence.alpha()).round() / 1e6;
    format!(
        "are a family of {}: one is called lower or higher only where its p, adjusted over the family by Holm's method, \
         is below {alpha}. An interval is its figure's own, which isn't adjusted: it may leave out what no verdict is \
         given on.",
        sizes.join(" and ")
    )
}

/// What a row says of equivalence.
pub(super) fn equivalence(row: &Comparison, of: &Equivalence) -> String {
    let reading = row.primary.words();
    let margin = match row.primary.is_ratio() {
        true => format!("a factor of {}", of.margin),
        false => format!("{} points", of.margin),
    };
    let shown = match of.shown {
        MarginFinding::Equivalent => format!("the two are equivalent within {margin}"),
        MarginFinding::NotWorse => format!("the other is not worse by {margin} or more"),
        MarginFinding::Neither => {
            format!(
                "neither equivalence within {margin} nor that the other is not worse by {margin} is shown"
            )
        }
        MarginFinding::None(reason) => return format!("Margin: {}.", reason.words()),
    };
    let figure = of.estimate.map_or_else(String::new, |estimate| {
        format!(" ({}, at {})", interval(&estimate, 2), of.confidence)
    });
    format!("Margin: in {reading} {shown}{figure}.")
}
