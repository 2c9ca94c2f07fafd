//! Results for people: tables and the words around them.

mod bench;
mod census;
mod comparison;
mod models;
mod run;
mod similarity;
mod study;

pub use bench::{kernels_text, overhead_text};
pub use census::census_text;
pub use comparison::comparison_text;
pub use models::{LayerRow, ModelRow, layers_text, models_text};
pub use run::run_text;
pub use similarity::similarity_text;
pub use study::study_text;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::campaign::compare::Improvement;
use crate::campaign::statistics::Estimate;

/// A table in Markdown; all columns but the first are numbers.
fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(header.to_vec());
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

/// `1.23 [1.01, 1.45]`, with `digits` behind the point.
fn interval(estimate: &Estimate, digits: usize) -> String {
    let Estimate { value, low, high } = estimate;
    format!("{value:.digits$} [{low:.digits$}, {high:.digits$}]")
}

/// A rate in percent.
fn percent(estimate: &Estimate) -> String {
    let times = |v| 100.0 * v;
    let Estimate { value, low, high } = *estimate;
    interval(&Estimate { value: times(value), low: times(low), high: times(high) }, 2)
}

/// A ratio and what it says.
fn ratio(improvement: &Improvement) -> String {
    format!("{}, {}", interval(&improvement.ratio, 2), improvement.verdict.words())
}
