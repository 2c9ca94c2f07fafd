//! A campaign as one HTML page that needs nothing else: no network, no other file. Its drawings are made here, and it is
//! readable without its script, which filters and sorts.

mod axis;
mod command;
mod cosines;
mod detectors;
mod figure;
mod figures;
mod files;
mod forest;
mod grid;
mod html;
mod markup;
mod outcomes;
mod palette;
mod quote;
mod reproduction;
mod strip;
mod study;
mod subject;
mod svg;
mod words;
mod worst;

pub use axis::Axis;
pub use cosines::cosines_svg;
pub use figure::{Cell, Column, Figure, NumberForm, Table, TableRow};
pub use html::page as html;
pub use reproduction::reproduction_page;
pub use study::study_page;
pub use subject::{MOST_RUNS, PageLayer, Side, Subject};
pub use svg::{Anchor, Mark, Svg};
pub use worst::{FaultPictures, MOST_FAULTS, Pictures};

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
    Ok(html(&subject, &figures, None))
}

/// The figures of runs, in the order in which a page has them. What runs don't have has no figure.
pub fn figures(subject: &Subject) -> Result<Vec<Figure>> {
    let network = [outcomes::figure(subject), strip::figure(subject), forest::figure(subject)];
    let faults = [
        figures::bits(subject),
        figures::places(subject),
        figures::distribution(subject),
        figures::values(subject),
    ];
    let mut all: Vec<Figure> = network.into_iter().chain(faults).flatten().collect();
    all.extend(detectors::figures(subject));
    all.extend(figures::precision(subject));
    Ok(all)
}
