//! A figure as files: drawings for screens and for print, its numbers as CSV, its table as LaTeX.

use super::figure::{Cell, Column, Figure, NumberForm, Table};
use super::palette;
use crate::report::{latex, latex_numbers};

impl Figure {
    /// Names and texts of its files: SVG in light and dark, SVG for print (the light colours written out), CSV with exact
    /// numbers, and a table for LaTeX's booktabs.
    pub fn files(&self) -> [(String, String); 4] {
        let drawing = |style: &str| self.svg.finish(self.id, &self.title, &self.how_to_read, style);
        let name = |end: &str| format!("{}{end}", self.id);
        [
            (name(".svg"), drawing(&palette::file_style())),
            (name("-print.svg"), drawing(&palette::print_style())),
            (name(".csv"), self.table.to_csv()),
            (name(".tex"), self.table.to_latex(&self.title)),
        ]
    }
}

impl Table {
    /// The exact numbers: of columns with intervals their ends, too. What isn't known is empty.
    pub fn to_csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let header = self.columns.iter().flat_map(names);
        let rows = self.rows.iter().map(|row| {
            row.cells
                .iter()
                .zip(&self.columns)
                .flat_map(|(cell, column)| exact(cell, column))
                .collect()
        });
        for row in [header.collect::<Vec<String>>()].into_iter().chain(rows) {
            // A vector takes everything.
            let _ = writer.write_record(&row);
        }
        String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
    }

    /// A table for LaTeX with the package booktabs, as it is shown on a page.
    pub fn to_latex(&self, title: &str) -> String {
        let kind = |column: &Column| if column.form == NumberForm::Text { 'l' } else { 'r' };
        let kinds: String = self.columns.iter().map(kind).collect();
        let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
        let head = line(self.columns.iter().map(|column| latex(&column.heading())).collect());
        let row = |row: &super::TableRow| {
            let cells = row.cells.iter().zip(&self.columns);
            line(
                cells
                    .map(|(cell, column)| match column.form {
                        NumberForm::Text => latex(&cell.shown(column.form)),
                        _ => latex_numbers(&cell.shown(column.form)),
                    })
                    .collect(),
            )
        };
        let rows: String = self.rows.iter().map(row).collect();
        let title = title.replace(['\n', '\r'], " ");
        format!(
            "% {title}\n\\begin{{tabular}}{{{kinds}}}\n\\toprule\n{head}\\midrule\n{rows}\\bottomrule\n\\end{{tabular}}\n"
        )
    }
}

/// The columns of a file that a column becomes.
fn names(column: &Column) -> Vec<String> {
    let key = &column.key;
    match column.has_interval {
        true => vec![key.clone(), format!("{key}_low"), format!("{key}_high")],
        false => vec![key.clone()],
    }
}

/// What stands in them.
fn exact(cell: &Cell, column: &Column) -> Vec<String> {
    let number = |value: f64| if value.is_nan() { String::new() } else { value.to_string() };
    let mut cells = match cell {
        Cell::Text(text) => vec![text.clone()],
        Cell::Count(count) => vec![count.to_string()],
        Cell::Number(of) => [of.value, of.low, of.high].map(number).into(),
        Cell::Nothing => Vec::new(),
    };
    cells.resize(names(column).len(), String::new());
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Estimate;

    fn table() -> Table {
        let mut table = Table::new([
            Column::text("layer", "layer"),
            Column::count("n", "n"),
            Column::rate("sdc", "SDC"),
            Column::plain("ratio", "ΔLoss, a ÷ b", "").without_interval(),
        ]);
        let rate = Estimate { value: 0.0123456789, low: 0.01, high: 0.02 };
        table.push(Some(0), vec!["a_1, \"x\"".into(), 7.into(), rate.into(), 2.5.into()]);
        table.push(
            Some(1),
            vec!["50 % & more\\".into(), Cell::Nothing, f64::NAN.into(), Cell::Nothing],
        );
        table
    }

    #[test]
    fn csv_has_exact_numbers() {
        let text = table().to_csv();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "layer,n,sdc,sdc_low,sdc_high,ratio");
        assert_eq!(lines[1], "\"a_1, \"\"x\"\"\",7,0.0123456789,0.01,0.02,2.5");
        assert_eq!(lines[2], "50 % & more\\,,,,,");
    }

    #[test]
    fn latex_has_what_is_shown() {
        let text = table().to_latex("Layers");
        assert!(text.contains("\\begin{tabular}{lrrr}\n\\toprule\nlayer & n & SDC, \\% & $\\Delta$Loss, a $\\div$ b \\\\\n"), "{text}");
        assert!(
            text.contains(
                "a\\_1, \\textquotedbl{}x\\textquotedbl{} & 7 & 1.23 [1.00, 2.00] & 2.50 \\\\\n"
            ),
            "{text}"
        );
        assert!(text.contains("50 \\% \\& more\\textbackslash{} & -- & -- & -- \\\\\n"), "{text}");
    }
}
