//! Records as CSV: bits in hex, floats in the shortest form that reads back exactly, cells
//! without a value empty.

use std::io::Write;

use sha2::{Digest, Sha256};

use super::rows::{self, RowValue, columns};
use super::run::Run;
use crate::hex;

/// Writes the records of `run` with a heading.
///
/// # Errors
/// Those of `out`.
pub fn write(run: &Run, out: &mut dyn Write) -> std::io::Result<()> {
    write_columns(run, out, |_| true)
}

/// Writes the columns that `is_wanted` picks by name.
pub(super) fn write_columns(
    run: &Run,
    out: &mut dyn Write,
    is_wanted: impl Fn(&str) -> bool,
) -> std::io::Result<()> {
    let mut wanted = columns(&run.manifest.plan);
    wanted.retain(|(name, ..)| is_wanted(name));
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(wanted.iter().map(|(name, ..)| name.as_ref()))?;
    for row in run.rows() {
        writer.write_record(wanted.iter().map(|(_, _, cell)| match cell(&row) {
            RowValue::Text(text) => text,
            RowValue::Int(value) => value.to_string(),
            RowValue::Float(value) => format!("{value:?}"),
            RowValue::Bool(value) => value.to_string(),
            RowValue::None => String::new(),
        }))?;
    }
    writer.flush()
}

impl Run {
    /// SHA-256 of what [`write()`] writes, less the names of the kernels, the pair keys, which follow from layers, and
    /// the directions, which follow from masks and values: equal for equal results, whatever way they came about, on whatever device.
    pub fn results_sha256(&self) -> String {
        let mut hasher = Sha256::new();
        // A hash takes whatever is written.
        let is_left_out =
            |name: &str| matches!(name, rows::KERNEL | rows::PAIR_KEY | rows::DIRECTION);
        let _ = write_columns(self, &mut hasher, |name| !is_left_out(name));
        hex(&hasher.finalize())
    }
}
