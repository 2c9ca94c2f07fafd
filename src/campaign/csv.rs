//! Records as rows of text: bits in hex, floats in the shortest form that reads back exactly.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;
use std::str::FromStr;

use super::golden::Judged;
use super::outcome::{Effect, Outcome};
use super::ranges::Detector;
use super::record::Record;
use super::store::{LayerRow, Manifest};
use crate::fault::Site;
use crate::{Error, Result};

/// The columns, in order. `before`, `after` and `seen` are bits of f32; golden numbers come before
/// faulty ones.
const COLUMNS: [&str; 23] = [
    "layer",
    "site",
    "n",
    "detector",
    "image",
    "channel",
    "row",
    "column",
    "mask",
    "before",
    "after",
    "seen",
    "golden_top1",
    "top1",
    "golden_loss",
    "loss",
    "golden_p_label",
    "p_label",
    "golden_top2diff",
    "top2diff",
    "outcome",
    "sdc5",
    "logits_hash",
];

/// The table of `records`, with a heading.
pub(super) fn write(layers: &[LayerRow], records: &[Record]) -> String {
    let mut out = String::with_capacity(200 * (records.len() + 1));
    out.push_str(&COLUMNS.join(","));
    out.push('\n');
    for r in records {
        let (golden, faulty) = (r.golden, r.effect.judged);
        let layer = &layers[r.layer].name;
        let (site, detector) = (r.site.name(), r.detector.name());
        // Writing to a String can't fail.
        let _ = write!(
            out,
            "{layer},{site},{},{detector},{},{},{},{},{:08x},{:08x},{:08x},{:08x},",
            r.n, r.image, r.channel, r.row, r.column, r.mask, r.before, r.after, r.seen
        );
        let _ = write!(out, "{},{},{:?},{:?},", golden.top1, faulty.top1, golden.loss, faulty.loss);
        let _ = write!(out, "{:?},{:?},", golden.p_label, faulty.p_label);
        let _ = write!(out, "{:?},{:?},", golden.top2diff, faulty.top2diff);
        let (outcome, sdc5) = (r.effect.outcome.name(), u8::from(r.effect.sdc5));
        let _ = writeln!(out, "{outcome},{sdc5},{:016x}", r.effect.hash);
    }
    out
}

/// The records of a table.
///
/// # Errors
/// The line and column that can't be read.
pub(super) fn read(path: &Path, text: &str, manifest: &Manifest) -> Result<Vec<Record>> {
    let names = manifest.layers.iter().enumerate();
    let layers: HashMap<&str, usize> = names.map(|(i, layer)| (layer.name.as_str(), i)).collect();
    let mut lines = text.lines();
    if lines.next() != Some(COLUMNS.join(",").as_str()) {
        return Err(Error::file(path, "hasn't the heading of a run's records"));
    }
    let mut records = Vec::with_capacity(manifest.records as usize);
    for (index, line) in lines.enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        let row = Row { path, line: index + 2, fields };
        if row.fields.len() != COLUMNS.len() {
            let (found, expected) = (row.fields.len(), COLUMNS.len());
            return Err(Error::file(
                path,
                format!("line {}: {found} columns, {expected} expected", row.line),
            ));
        }
        records.push(row.record(&layers)?);
    }
    Ok(records)
}

struct Row<'a> {
    path: &'a Path,
    line: usize,
    fields: Vec<&'a str>,
}

impl Row<'_> {
    fn bad(&self, column: usize) -> Error {
        let (line, name, value) = (self.line, COLUMNS[column], self.fields[column]);
        Error::file(self.path, format!("line {line}: '{value}' makes no sense as {name}"))
    }

    fn number<T: FromStr>(&self, column: usize) -> Result<T> {
        self.fields[column].parse().map_err(|_| self.bad(column))
    }

    fn bits(&self, column: usize) -> Result<u32> {
        u32::from_str_radix(self.fields[column], 16).map_err(|_| self.bad(column))
    }

    fn judged(&self, columns: [usize; 4]) -> Result<Judged> {
        let [top1, loss, p_label, top2diff] = columns;
        Ok(Judged {
            top1: self.number(top1)?,
            loss: self.number(loss)?,
            p_label: self.number(p_label)?,
            top2diff: self.number(top2diff)?,
        })
    }

    fn record(&self, layers: &HashMap<&str, usize>) -> Result<Record> {
        let layer = layers.get(self.fields[0]).copied().ok_or_else(|| self.bad(0))?;
        Ok(Record {
            layer,
            site: Site::parse(self.fields[1]).map_err(|_| self.bad(1))?,
            n: self.number(2)?,
            detector: Detector::parse(self.fields[3]).map_err(|_| self.bad(3))?,
            image: self.number(4)?,
            channel: self.number(5)?,
            row: self.number(6)?,
            column: self.number(7)?,
            mask: self.bits(8)?,
            before: self.bits(9)?,
            after: self.bits(10)?,
            seen: self.bits(11)?,
            golden: self.judged([12, 14, 16, 18])?,
            effect: Effect {
                judged: self.judged([13, 15, 17, 19])?,
                outcome: Outcome::parse(self.fields[20]).ok_or_else(|| self.bad(20))?,
                sdc5: match self.fields[21] {
                    "0" => false,
                    "1" => true,
                    _ => return Err(self.bad(21)),
                },
                hash: u64::from_str_radix(self.fields[22], 16).map_err(|_| self.bad(22))?,
            },
        })
    }
}
