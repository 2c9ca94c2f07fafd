//! A figure: a drawing, how to read it, and its numbers.

use serde_json::{Value, json};

use super::svg::Svg;
use crate::report::{any_size, interval, percent};
use crate::statistics::Estimate;

/// A figure of a page, which `report --figures` writes as files, too.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The stem of its files' names, and its anchor on the page.
    pub id: &'static str,
    pub title: String,
    /// What stands beneath it, in plain sentences.
    pub how_to_read: String,
    pub svg: Svg,
    pub table: Table,
    /// What the page's data has of it: the table, if nothing else is said.
    pub data: Value,
}

impl Figure {
    /// A figure whose data are its table.
    pub fn new(
        id: &'static str,
        title: impl Into<String>,
        how_to_read: impl Into<String>,
        svg: Svg,
        table: Table,
    ) -> Figure {
        let data = table.to_json();
        Figure { id, title: title.into(), how_to_read: how_to_read.into(), svg, table, data }
    }

    /// The same figure with more data than its table has: what its drawing is of.
    pub fn with_data(mut self, drawn: Value) -> Figure {
        self.data["drawn"] = drawn;
        self
    }
}

/// What the numbers of a column are, and so how they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberForm {
    /// Words.
    Text,
    /// Whole numbers.
    Count,
    /// Shares from 0 to 1, shown in percent.
    Rate,
    /// Numbers that are shown with two decimals: ratios, points, percent.
    Plain,
    /// Numbers that may be tiny, shown with their first digits.
    Amount,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name in files.
    pub key: String,
    /// Its heading.
    pub name: String,
    /// The unit of what is shown; empty where there is none.
    pub unit: &'static str,
    pub form: NumberForm,
    /// Whether files have the ends of intervals, too.
    pub has_interval: bool,
}

impl Column {
    fn new(
        key: impl Into<String>,
        name: impl Into<String>,
        unit: &'static str,
        form: NumberForm,
    ) -> Column {
        Column { key: key.into(), name: name.into(), unit, form, has_interval: false }
    }

    /// Words.
    pub fn text(key: impl Into<String>, name: impl Into<String>) -> Column {
        Column::new(key, name, "", NumberForm::Text)
    }

    /// Whole numbers.
    pub fn count(key: impl Into<String>, name: impl Into<String>) -> Column {
        Column::new(key, name, "", NumberForm::Count)
    }

    /// Shares with intervals, shown in percent.
    pub fn rate(key: impl Into<String>, name: impl Into<String>) -> Column {
        Column { has_interval: true, ..Column::new(key, name, "%", NumberForm::Rate) }
    }

    /// Numbers with intervals in `unit`, shown with two decimals.
    pub fn plain(key: impl Into<String>, name: impl Into<String>, unit: &'static str) -> Column {
        Column { has_interval: true, ..Column::new(key, name, unit, NumberForm::Plain) }
    }

    /// Numbers with intervals in `unit` that may be tiny.
    pub fn amount(key: impl Into<String>, name: impl Into<String>, unit: &'static str) -> Column {
        Column { has_interval: true, ..Column::new(key, name, unit, NumberForm::Amount) }
    }

    /// The same column of numbers that never have an interval.
    pub fn without_interval(self) -> Column {
        Column { has_interval: false, ..self }
    }

    /// The heading with its unit.
    pub fn heading(&self) -> String {
        match self.unit {
            "" => self.name.clone(),
            unit => format!("{}, {unit}", self.name),
        }
    }
}

/// What stands in a cell: exact, whatever is shown of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Text(String),
    Count(u64),
    Number(Estimate),
    Nothing,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text)
    }
}

impl From<u64> for Cell {
    fn from(count: u64) -> Cell {
        Cell::Count(count)
    }
}

impl From<Estimate> for Cell {
    fn from(Estimate { value, low, high }: Estimate) -> Cell {
        // A zero has no sign for a reader.
        let [value, low, high] = [value, low, high].map(|of| of + 0.0);
        Cell::Number(Estimate { value, low, high })
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Cell {
        Estimate::alone(value).into()
    }
}

impl<C: Into<Cell>> From<Option<C>> for Cell {
    fn from(cell: Option<C>) -> Cell {
        cell.map_or(Cell::Nothing, Into::into)
    }
}

impl Cell {
    /// What people see.
    pub fn shown(&self, form: NumberForm) -> String {
        match (self, form) {
            (Cell::Text(text), _) => text.clone(),
            (Cell::Count(count), _) => count.to_string(),
            (Cell::Number(estimate), _) if estimate.value.is_infinite() => "∞".into(),
            (Cell::Number(estimate), NumberForm::Rate) => percent(estimate),
            (Cell::Number(estimate), NumberForm::Amount) if estimate.value.abs() >= 1e6 => {
                format!("{:.2e}", estimate.value)
            }
            (Cell::Number(estimate), NumberForm::Amount) => any_size(estimate),
            (Cell::Number(estimate), _) => interval(estimate, 2),
            (Cell::Nothing, _) => "–".into(),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Cell::Text(text) => json!(text),
            Cell::Count(count) => json!(count),
            Cell::Number(of) if of.low.is_nan() => json!(of.value),
            Cell::Number(of) => json!([of.value, of.low, of.high]),
            Cell::Nothing => Value::Null,
        }
    }
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRow {
    /// The layer that it is about, by its number in [`Subject::layers`](super::Subject); `None`: it always shows.
    pub layer: Option<usize>,
    pub cells: Vec<Cell>,
}

/// The numbers of a figure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    pub columns: Vec<Column>,
    pub rows: Vec<TableRow>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Table {
        Table { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row of as many cells as there are columns.
    pub fn push(&mut self, layer: Option<usize>, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(TableRow { layer, cells });
    }

    /// Columns and rows, exact: a number, or one with the ends of its interval.
    pub fn to_json(&self) -> Value {
        let columns: Vec<&str> = self.columns.iter().map(|column| column.key.as_str()).collect();
        let row = |row: &TableRow| row.cells.iter().map(Cell::to_json).collect::<Vec<Value>>();
        json!({ "columns": columns, "rows": self.rows.iter().map(row).collect::<Vec<_>>() })
    }
}
