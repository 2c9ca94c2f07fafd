//! A list of faults as a table: CSV as people, spreadsheets, pandas and `flipside export` write it.

use std::collections::HashMap;
use std::path::Path;

use crate::fault::{Addressed, FaultSpec, Site};
use crate::number::FaultModel;
use crate::results::{COLUMNS, is_rescaled};
use crate::{Error, Result};

/// A fault of a list.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ListRow {
    /// Of the file, from 1.
    pub line: u64,
    pub spec: FaultSpec,
    /// What an export says beside the coordinates, for them to agree with.
    pub element: Option<u64>,
    pub sizes: Option<Vec<usize>>,
    pub image_path: Option<String>,
}

/// The faults of a file, and what of it was passed over, in sentences.
pub(super) struct FaultFile {
    pub rows: Vec<ListRow>,
    pub notes: Vec<String>,
}

/// What a column is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ListColumn<'h> {
    /// A key of a fault.
    Key(&'static str),
    /// What an export has for the place and the bits, or to tell rows apart.
    Export(&'static str),
    /// What came of a fault.
    Outcome(&'h str),
    /// The numbers of rows that pandas writes first, under no name.
    Index,
    /// Without name and cells.
    Empty,
}

/// Columns of an export that are read although they are no keys.
const READ: [&str; 7] =
    ["image_path", "element", "flip_mask", "after", "flips", "injection", "detector"];

/// Keys whose cell may not be empty where the fault takes the key: it would be taken for 0.
const NUMBERS: [&str; 7] = ["image", "channel", "row", "column", "head", "key", "seed"];

/// A row's cells, as far as they aren't empty.
struct Cells<'r>(Vec<(ListColumn<'r>, &'r str)>);

impl FaultFile {
    /// Reads the table of a file that holds `bytes`.
    ///
    /// # Errors
    /// The file and line of what can't be read as a fault, the column that isn't understood.
    pub fn read(path: &Path, bytes: &[u8]) -> Result<FaultFile> {
        let refuse = |detail: String| Err(Error::file(path, detail));
        let bad = |error: csv::Error| Error::file(path, format!("isn't a list of faults: {error}"));
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return refuse("is UTF-16 text; a list of faults is CSV in UTF-8".into());
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        check_quotes(bytes).map_err(|detail| Error::file(path, detail))?;
        let delimiter = delimiter(bytes).map_err(|detail| Error::file(path, detail))?;
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .comment(Some(b'#'))
            .delimiter(delimiter)
            .from_reader(bytes);
        let heading = reader.headers().map_err(bad)?.clone();
        let mut records: Vec<csv::StringRecord> =
            reader.records().collect::<std::result::Result<_, _>>().map_err(bad)?;
        // A row of separators alone is a spreadsheet's empty line.
        records.retain(|record| record.iter().any(|cell| !cell.is_empty()));
        if records.is_empty() {
            return refuse("holds no fault".into());
        }
        let columns = columns(&heading, &records).map_err(|detail| Error::file(path, detail))?;
        let mut table = FaultFile { rows: Vec::new(), notes: notes(&columns) };
        let mut seen = SeenRows::default();
        for record in &records {
            let line = record.position().map_or(0, csv::Position::line);
            let filled = columns.iter().copied().zip(record).filter(|(_, cell)| !cell.is_empty());
            let cells = Cells(filled.collect());
            let row = cells.row(line, &columns);
            let row = row.map_err(|detail| Error::file(path, format!("line {line}: {detail}")))?;
            if seen.is_new(&cells, &row) {
                table.rows.push(row);
            }
        }
        let twice = records.len() - table.rows.len();
        if twice > 0 {
            table.notes.push(format!(
                "{twice} rows are of the same injections under another detector, and are taken once"
            ));
        }
        Ok(table)
    }
}

/// Refuses a quotation mark that isn't closed on its line: what it opens would swallow the rows behind it, and
/// no cell of a list has a line break.
fn check_quotes(bytes: &[u8]) -> std::result::Result<(), String> {
    for (at, text) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let is_comment = |part: &&[u8]| part.first() == Some(&b'#');
        let parts = text.split(|byte| *byte == b'\r').filter(|part| !is_comment(part));
        let mut quotes = parts.map(|part| part.iter().filter(|byte| **byte == b'"').count());
        if quotes.any(|count| count % 2 == 1) {
            let line = at + 1;
            return Err(format!("line {line}: a quotation mark is opened and not closed"));
        }
    }
    Ok(())
}

/// What parts the cells of a heading: commas, semicolons or tabs.
fn delimiter(bytes: &[u8]) -> std::result::Result<u8, String> {
    let lines = bytes.split(|byte| matches!(byte, b'\n' | b'\r'));
    let is_heading = |line: &&[u8]| {
        line.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|first| *first != b'#')
    };
    let heading = lines.into_iter().find(is_heading).unwrap_or_default();
    let found: Vec<u8> = b",;\t".iter().copied().filter(|part| heading.contains(part)).collect();
    match found[..] {
        [] => Ok(b','),
        [one] => Ok(one),
        _ => Err("its heading has cells parted by commas and by semicolons or tabs: which it is \
                  can't be told"
            .into()),
    }
}

/// What the columns of a heading are.
fn columns<'h>(
    heading: &'h csv::StringRecord,
    records: &[csv::StringRecord],
) -> std::result::Result<Vec<ListColumn<'h>>, String> {
    let mut columns: Vec<ListColumn<'h>> = Vec::with_capacity(heading.len());
    for (at, name) in heading.iter().enumerate() {
        let mut cells = records.iter().filter_map(|record| record.get(at));
        let is_unnamed = name.is_empty() || name.starts_with("Unnamed: ");
        let is_first = columns.iter().all(|column| *column == ListColumn::Index);
        let known = |names: &[&'static str]| names.iter().copied().find(|known| *known == name);
        let column = if let Some(key) = known(&FaultSpec::KEYS) {
            ListColumn::Key(key)
        } else if let Some(name) = known(&READ) {
            ListColumn::Export(name)
        } else if let Some((name, ..)) = COLUMNS.into_iter().find(|(known, ..)| *known == name) {
            ListColumn::Outcome(name)
        } else if is_rescaled(name) {
            ListColumn::Outcome(name)
        } else if is_unnamed && is_first && cells.clone().all(|cell| cell.parse::<u64>().is_ok()) {
            ListColumn::Index
        } else if is_unnamed && cells.all(str::is_empty) {
            ListColumn::Empty
        } else if is_unnamed {
            return Err(format!("column {} has cells but no name", at + 1));
        } else {
            return Err(format!(
                "the column '{name}' isn't understood; a list of faults has columns of {}, and those of \
                 `flipside export`",
                FaultSpec::KEYS.join(", ")
            ));
        };
        if !matches!(column, ListColumn::Index | ListColumn::Empty) && columns.contains(&column) {
            return Err(format!("the column '{name}' is there twice"));
        }
        columns.push(column);
    }
    for name in ["layer", "image"] {
        if !columns.contains(&ListColumn::Key(name)) {
            return Err(format!("has no column '{name}'; a list of faults needs layer and image"));
        }
    }
    Ok(columns)
}

/// What is passed over.
fn notes(columns: &[ListColumn<'_>]) -> Vec<String> {
    let mut notes = Vec::new();
    if columns.contains(&ListColumn::Index) {
        notes.push("the first column has no name: an index, passed over".to_string());
    }
    let outcome = columns.iter().filter_map(|column| match column {
        ListColumn::Outcome(name) => Some(*name),
        _ => None,
    });
    let outcome: Vec<&str> = outcome.collect();
    if !outcome.is_empty() {
        notes.push(format!(
            "columns that don't say where a fault is are passed over: {}",
            outcome.join(", ")
        ));
    }
    notes
}

impl Cells<'_> {
    fn get(&self, column: ListColumn<'_>) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == column).map(|(_, cell)| *cell)
    }

    fn export(&self, name: &'static str) -> Option<&str> {
        self.get(ListColumn::Export(name))
    }

    /// The fault.
    fn row(&self, line: u64, columns: &[ListColumn<'_>]) -> std::result::Result<ListRow, String> {
        if let Some(flips) = self.export("flips").map(whole)
            && flips != "1"
        {
            return Err(format!(
                "the injection hit {flips} values, whose places a row doesn't hold; a row of a list is a fault \
                 of one value (or a shape)"
            ));
        }
        let mut pairs: Vec<(&str, String)> = Vec::new();
        let mut sizes = None;
        for (column, cell) in &self.0 {
            match column {
                ListColumn::Key("shape") => match sizes_of(cell) {
                    Some(found) => sizes = Some(found),
                    None => pairs.push(("shape", cell.to_string())),
                },
                ListColumn::Key(key) => pairs.push((key, whole(cell).to_string())),
                _ => {}
            }
        }
        let mut element = self.export("element").map(|cell| {
            let number = whole(cell).parse::<u64>();
            number.map_err(|_| format!("element takes a whole number, not '{cell}'"))
        });
        let has_place = ["channel", "row", "column", "head", "key", "out", "in", "index"];
        let has_place = pairs.iter().any(|(key, _)| has_place.contains(key));
        if !has_place && let Some(number) = element.take() {
            pairs.push(("index", number?.to_string()));
        }
        let element = element.transpose()?;
        self.bits(&mut pairs)?;
        let spec = FaultSpec::of_pairs(pairs.iter().map(|(key, value)| (*key, value.as_str())))?;
        let is_given = |key: &str| pairs.iter().any(|(known, _)| *known == key);
        let is_empty = |key: &&'static str| {
            columns.contains(&ListColumn::Key(key)) && !is_given(key) && takes(&spec, key)
        };
        let is_elsewhere = |key: &str| is_given("index") && is_place(key);
        if let Some(key) = NUMBERS.into_iter().find(|key| is_empty(key) && !is_elsewhere(key)) {
            return Err(format!("the cell of {key} is empty, which isn't 0"));
        }
        let image_path = self.export("image_path").map(String::from);
        Ok(ListRow { line, spec, element, sizes, image_path })
    }

    /// Model and bits, where an export has them in its own words.
    fn bits(&self, pairs: &mut Vec<(&str, String)>) -> std::result::Result<(), String> {
        let given = |pairs: &[(&str, String)], key: &str| {
            pairs.iter().find(|(known, _)| *known == key).map(|(_, value)| value.clone())
        };
        let site = given(pairs, "site");
        let Some(cell) = self.export("flip_mask") else { return Ok(()) };
        if site.is_some_and(|site| Site::parse(&site).is_ok_and(Site::is_store)) {
            return Ok(());
        }
        let text = whole(cell);
        let mask = u32::from_str_radix(text, 16);
        let mask =
            mask.map_err(|_| format!("flip_mask takes eight digits in hex, not '{cell}'"))?;
        let bits: Vec<String> =
            (0..32).filter(|bit| mask >> bit & 1 == 1).map(|bit: u32| bit.to_string()).collect();
        match (given(pairs, "bit"), given(pairs, "model")) {
            (Some(bit), _) if bits.join("+") == bit => {}
            (Some(bit), _) => {
                return Err(format!(
                    "flip_mask {cell} isn't bit {bit}; where bits were changed, leave the column flip_mask out"
                ));
            }
            (None, Some(model)) if matches!(model.as_str(), "set" | "random") && mask == 0 => {}
            (None, _) if mask != 0 => {
                // Digits that were taken for a number lose zeros, and more where there is an e among them.
                if text.len() != 8 {
                    return Err(format!(
                        "flip_mask takes eight digits in hex, not '{cell}': read the column as text"
                    ));
                }
                pairs.push(("bit", bits.join("+")));
            }
            (None, Some(_)) => {}
            (None, None) => {
                let after = self.export("after").filter(|after| {
                    after.len() == 8 && after.bytes().all(|digit| digit.is_ascii_hexdigit())
                });
                let Some(after) = after else {
                    return Err("the fault set a value that the row doesn't tell (after, eight digits in hex)"
                        .into());
                };
                pairs.push(("model", "set".into()));
                pairs.push(("value", format!("0x{after}")));
            }
        }
        Ok(())
    }
}

/// Whether `key` is one of those that say where.
fn is_place(key: &str) -> bool {
    !matches!(key, "image" | "seed")
}

/// Whether the fault takes the key.
fn takes(spec: &FaultSpec, key: &str) -> bool {
    match key {
        "image" => true,
        "seed" => spec.model == FaultModel::Random,
        // What of a parameter's place is missing is an error of its own.
        _ => {
            spec.site.addressed() != Addressed::Parameter
                && FaultSpec::place_keys(spec.site, spec.shape).contains(&key)
        }
    }
}

/// A whole number as pandas writes it in a column that has empty cells, less its `.0`; anything else as it is.
fn whole(cell: &str) -> &str {
    match cell.split_once('.') {
        Some((number, zeros))
            if !number.is_empty()
                && number.bytes().all(|digit| digit.is_ascii_digit())
                && zeros.bytes().all(|digit| digit == b'0') =>
        {
            number
        }
        _ => cell,
    }
}

/// Sizes as an export writes them: `64x56x56`.
fn sizes_of(cell: &str) -> Option<Vec<usize>> {
    cell.split('x').map(|size| size.parse().ok()).collect()
}

/// Rows of an export that tell the same injection under several detectors.
#[derive(Default)]
struct SeenRows(HashMap<String, HashMap<String, usize>>);

impl SeenRows {
    /// Whether the row is a fault of its own: of equal rows there are as many as under the detector that has most.
    fn is_new(&mut self, cells: &Cells<'_>, row: &ListRow) -> bool {
        let (Some(injection), Some(detector)) =
            (cells.export("injection"), cells.export("detector"))
        else {
            return true;
        };
        let known = self.0.entry(format!("{injection} {:?}", row.spec)).or_default();
        let most = known.values().copied().max().unwrap_or(0);
        let count = known.entry(detector.to_string()).or_default();
        *count += 1;
        *count > most
    }
}
