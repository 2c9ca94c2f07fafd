//! Results for people: tables and the words around them.

mod bench;
mod census;
mod comparison;
mod goldeneye;
mod models;
mod run;
mod similarity;
mod study;

pub use bench::{inject_times_text, kernels_text, overhead_text};
pub use census::{census_json, census_text};
pub use comparison::comparison_text;
pub use models::{LayerRow, ModelRow, layers_text, models_text};
pub use run::{run_json, run_text};
pub use similarity::similarity_text;
pub use study::study_text;

use std::str::FromStr;

use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{CellAlignment, Table, TableComponent};

use crate::{Error, Result};

use crate::analysis::compare::Improvement;
use crate::detector::Detector;
use crate::statistics::Estimate;

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For a terminal.
    #[default]
    Text,
    /// To be pasted into a page.
    Markdown,
    /// For machines.
    Json,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Format> {
        match name {
            "text" => Ok(Format::Text),
            "markdown" => Ok(Format::Markdown),
            "json" => Ok(Format::Json),
            other => {
                Err(Error::usage(format!("unknown format '{other}'; known: text, markdown, json")))
            }
        }
    }
}

/// A table in Markdown; all columns but the first are numbers.
fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    table_as(Format::Markdown, header, rows)
}

/// A table as text or in Markdown; all columns but the first are numbers.
fn table_as(format: Format, header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    if format == Format::Text {
        table.load_preset(NOTHING);
        table.set_style(TableComponent::HeaderLines, '─');
        table.set_style(TableComponent::MiddleHeaderIntersections, '─');
    } else {
        table.load_preset(ASCII_MARKDOWN);
    }
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for index in 1..header.len() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// `1.23 [1.01, 1.45]`, with `digits` behind the point; the value alone where its interval isn't known.
fn interval(estimate: &Estimate, digits: usize) -> String {
    let Estimate { value, low, high } = estimate;
    if value.is_nan() {
        return "–".into();
    }
    if low.is_nan() {
        return format!("{value:.digits$}");
    }
    format!("{value:.digits$} [{low:.digits$}, {high:.digits$}]")
}

/// As [`interval`], with three digits of the value whatever its size; for figures that may be tiny.
fn any_size(estimate: &Estimate) -> String {
    let Estimate { value, low, high } = *estimate;
    if value == 0.0 || value.abs() >= 1e-2 || value.is_nan() {
        interval(estimate, 4)
    } else if low.is_nan() {
        format!("{value:.2e}")
    } else {
        format!("{value:.2e} [{low:.2e}, {high:.2e}]")
    }
}

/// The heading of a column of ΔLoss: a mean, or quantiles where the detector doesn't bound it.
fn delta_loss_heading(detector: Detector) -> &'static str {
    match detector.bounds_the_mean() {
        true => "mean ΔLoss",
        false => "ΔLoss at 50 / 90 / 99 / 99.9 %",
    }
}

/// A rate in percent.
fn percent(estimate: &Estimate) -> String {
    interval(&estimate.times(100.0), 2)
}

/// A ratio and what it says.
fn ratio(improvement: &Improvement) -> String {
    format!("{}, {}", interval(&improvement.ratio, 2), improvement.verdict.words())
}
