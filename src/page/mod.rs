//! A campaign as one HTML page that needs nothing else: no network, no other file. Its drawings are made here, and it is
//! readable without its script, which filters and sorts.

mod axis;
mod figure;
mod figures;
mod grid;
mod html;
mod outcomes;
mod palette;
mod subject;
mod svg;

pub use axis::Axis;
pub use figure::{Cell, Column, Figure, Form, Row, Table};
pub use subject::{MOST_RUNS, Place, Side, Subject};
pub use svg::{Anchor, Mark, Svg};

use crate::Result;
use crate::analysis::Intervals;
use crate::analysis::compare::Pairing;
use crate::results::Run;

/// The page of one run, or of a baseline and others.
///
/// # Errors
/// Those of [`Subject::new`].
pub fn page(runs: &[&Run], pairing: Pairing, how: &Intervals) -> Result<String> {
    let subject = Subject::new(runs, pairing, how)?;
    let figures = figures(&subject)?;
    Ok(html::page(&subject, &figures))
}

/// The figures of runs, in the order in which a page has them. What runs don't have has no figure.
pub fn figures(subject: &Subject) -> Result<Vec<Figure>> {
    let all = [
        outcomes::figure(subject)?,
        figures::bits(subject),
        figures::places(subject),
        figures::distribution(subject),
        figures::values(subject),
        figures::precision(subject),
    ];
    Ok(all.into_iter().flatten().collect())
}
