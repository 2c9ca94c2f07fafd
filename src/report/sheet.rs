//! What a report is written on: whole, for pipes, files and pages, or fitted to a screen.

use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{CellAlignment, ColumnConstraint, Table, TableComponent, Width};

use crate::screen::{Ink, Screen};

/// Where a report goes, which decides its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// A pipe or a file: everything, however wide it is.
    Text,
    /// A page: the same in Markdown.
    Markdown,
    /// A terminal: no line wider than it.
    Screen(Screen),
}

/// How a table that is wider than the screen is made to fit.
#[derive(Clone, Copy)]
pub(super) enum Fit<'a> {
    /// In blocks below each other, each with the first column and some of the others.
    Blocks,
    /// The first column and as many others as there is room for, these first; a line names those left out.
    Keep(&'a [&'a str]),
}

/// Spaces between the columns of a table on a screen: a column's padding, and what the table puts between two.
const GAP: usize = 2;

/// A report as it grows, from top to bottom.
pub(super) struct Sheet {
    view: View,
    text: String,
    /// Columns that the screen has no room for.
    left_out: Vec<String>,
}

impl Sheet {
    pub fn new(view: View) -> Sheet {
        Sheet { view, text: String::new(), left_out: Vec::new() }
    }

    /// The screen, if it is one.
    pub fn screen(&self) -> Option<Screen> {
        match self.view {
            View::Screen(screen) => Some(screen),
            View::Text | View::Markdown => None,
        }
    }

    /// An empty line.
    pub fn gap(&mut self) {
        self.text.push('\n');
    }

    /// A paragraph.
    pub fn prose(&mut self, text: &str) {
        self.hanging("", text);
    }

    /// An item of a list.
    pub fn item(&mut self, text: &str) {
        self.hanging("- ", text);
    }

    /// A paragraph behind a mark; on a screen its further lines are indented by the mark's width.
    pub fn hanging(&mut self, mark: &str, text: &str) {
        match self.screen() {
            Some(screen) => self.text.push_str(&screen.wrap(mark, text)),
            None => self.text.extend([mark, text]),
        }
        self.gap();
    }

    /// A line that stands as it is.
    pub fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.gap();
    }

    /// A table; all columns but the first are numbers.
    pub fn table(&mut self, fit: Fit, header: &[&str], rows: Vec<Vec<String>>) {
        let text = match self.view {
            View::Text => whole(NOTHING, header, rows),
            View::Markdown => whole(ASCII_MARKDOWN, header, rows),
            View::Screen(screen) => {
                let mut grid = FittedTable::new(screen, header, rows);
                match fit {
                    Fit::Blocks => grid.blocks(),
                    Fit::Keep(most) => {
                        let (text, left_out) = grid.kept(most);
                        for name in left_out {
                            if !self.left_out.contains(&name) {
                                self.left_out.push(name);
                            }
                        }
                        text
                    }
                }
            }
        };
        self.line(&text);
    }

    /// The report; `how` says how columns that didn't fit are had.
    pub fn finish(mut self, how: &str) -> String {
        if let (Some(screen), false) = (self.screen(), self.left_out.is_empty()) {
            self.gap();
            let text =
                format!("Columns left out to fit the screen: {}. {how}", self.left_out.join(", "));
            let text = screen.wrap("", &text);
            self.line(&text);
        }
        self.text
    }
}

/// How columns that didn't fit are had, of commands with --format.
pub(super) const BY_FORMAT: &str = "--format markdown prints all of them.";

/// How columns that didn't fit are had, of commands that print Markdown into pipes.
pub(super) const BY_PIPE: &str = "A pipe gets all of them: | less -S.";

/// A table that is as wide as its cells.
fn whole(preset: &str, header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(preset);
    if preset == NOTHING {
        underline(&mut table);
    }
    table.set_header(header.to_vec());
    table.add_rows(rows);
    align(&mut table);
    table.to_string()
}

/// A line below the header.
fn underline(table: &mut Table) {
    table.set_style(TableComponent::HeaderLines, '─');
    table.set_style(TableComponent::MiddleHeaderIntersections, '─');
}

/// All columns but the first to the right.
fn align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// A table to be fitted to a screen.
struct FittedTable<'a> {
    screen: Screen,
    header: &'a [&'a str],
    rows: Vec<Vec<String>>,
    /// Each column's width without a line break, and the least: that of its longest cell or, in the first column
    /// and in headers, word.
    full: Vec<usize>,
    least: Vec<usize>,
}

impl<'a> FittedTable<'a> {
    fn new(screen: Screen, header: &'a [&'a str], rows: Vec<Vec<String>>) -> FittedTable<'a> {
        let mut table = Table::new();
        table.add_rows(&rows);
        let mut cells: Vec<usize> =
            table.column_max_content_widths().iter().map(|width| (*width).into()).collect();
        cells.resize(header.len(), 0);
        let word = |text: &str| text.split(' ').map(|word| word.chars().count()).max().unwrap_or(0);
        let at = |column: usize| (cells[column], header[column]);
        let full = |column| at(column).0.max(at(column).1.chars().count());
        let least = |column| match column {
            0 => rows.iter().map(|row| word(&row[0])).max().unwrap_or(0).max(word(header[0])),
            _ => at(column).0.max(word(at(column).1)),
        };
        FittedTable {
            screen,
            header,
            full: (0..header.len()).map(full).collect(),
            least: (0..header.len()).map(least).collect(),
            rows,
        }
    }

    /// All columns, in as many blocks as they need.
    fn blocks(&self) -> String {
        let mut blocks = Vec::new();
        let mut block = vec![0];
        for column in 1..self.header.len() {
            block.push(column);
            if self.room(&block).is_none() && block.len() > 2 {
                block.pop();
                blocks.push(self.draw(&block));
                block = vec![0, column];
            }
        }
        blocks.push(self.draw(&block));
        blocks.join("\n\n")
    }

    /// The columns that there is room for, `most` before others, and the names of those left out.
    fn kept(&mut self, most: &[&str]) -> (String, Vec<String>) {
        // Many rows are easier to read if each is a line.
        if self.full[0] <= self.screen.width / 3 {
            self.least[0] = self.full[0];
        }
        let header = self.header;
        let columns = 1..header.len();
        let wanted = most
            .iter()
            .flat_map(|name| columns.clone().filter(move |column| header[*column] == *name));
        let others = columns.clone().filter(|column| !most.contains(&header[*column]));
        let mut kept = vec![0];
        let mut left_out = Vec::new();
        for column in wanted.chain(others) {
            kept.push(column);
            if self.room(&kept).is_none() {
                kept.pop();
                left_out.push(column);
            }
        }
        kept.sort_unstable();
        left_out.sort_unstable();
        let name = |column: usize| self.header[column].to_string();
        (self.draw(&kept), left_out.into_iter().map(name).collect())
    }

    /// How many characters of a line some columns leave free when they are as narrow as can be.
    fn room(&self, columns: &[usize]) -> Option<usize> {
        (self.screen.width + GAP).checked_sub(self.needed(columns))
    }

    /// The characters of some columns, each with a gap behind it.
    fn needed(&self, columns: &[usize]) -> usize {
        columns.iter().map(|column| self.least[*column] + GAP).sum()
    }

    /// A table of some columns. What is free goes to the first, then to the others, as far as they have use for
    /// it; what is lacking is taken from the last, whose cells are broken between words.
    fn draw(&self, columns: &[usize]) -> String {
        let mut free = self.room(columns).unwrap_or(0);
        let lacking = self.needed(columns).saturating_sub(self.screen.width + GAP);
        let mut table = Table::new();
        table.load_preset(NOTHING);
        underline(&mut table);
        table.set_header(columns.iter().map(|column| self.header[*column]));
        table.add_rows(self.rows.iter().map(|row| columns.iter().map(|column| &row[*column])));
        align(&mut table);
        for (place, column) in columns.iter().enumerate() {
            let more = free.min(self.full[*column] - self.least[*column]);
            free -= more;
            let mut width = self.least[*column] + more;
            let mut padding = GAP - 1;
            if place + 1 == columns.len() {
                width = width.saturating_sub(lacking).max(1);
                padding = 0;
            }
            if let Some(drawn) = table.column_mut(place) {
                drawn.set_padding((0, padding as u16));
                let width = Width::Fixed((width + padding) as u16);
                drawn.set_constraint(ColumnConstraint::Absolute(width));
            }
        }
        self.painted(&table.to_string())
    }

    /// A drawn table in colours.
    fn painted(&self, table: &str) -> String {
        let screen = self.screen;
        let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
        let rule = lines.iter().position(|line| line.starts_with('─')).unwrap_or(0);
        let paint = |(place, line): (usize, &&str)| match place {
            _ if place < rule => screen.paint(Ink::Heading, line),
            _ => marked(screen, line),
        };
        lines.iter().enumerate().map(paint).collect::<Vec<_>>().join("\n")
    }
}

/// A line with its bar and its verdict in colours.
fn marked(screen: Screen, line: &str) -> String {
    if !screen.colour {
        return line.into();
    }
    let mut text = line.to_string();
    if let (Some(from), Some(last)) = (line.find(is_bar), line.rfind(is_bar)) {
        let to = last + line[last..].chars().next().map_or(0, char::len_utf8);
        text =
            format!("{}{}{}", &line[..from], screen.paint(Ink::Bad, &line[from..to]), &line[to..]);
    }
    for (word, ink) in [("lower", Ink::Good), ("higher", Ink::Bad), ("failed", Ink::Bad)] {
        text = text.replace(&format!(" {word}"), &format!(" {}", screen.paint(ink, word)));
    }
    text
}

/// The characters of bars: blocks of one to eight eighths.
fn is_bar(c: char) -> bool {
    ('\u{2588}'..='\u{258f}').contains(&c)
}
