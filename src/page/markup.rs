//! Figures and tables as HTML.

use maud::{Markup, PreEscaped, html};

use super::figure::{Figure, NumberForm, Table};

/// Tables of more rows aren't printed.
const MOST_PRINTED: usize = 80;

/// A figure, what it says, and its numbers.
pub(super) fn figure_html(figure: &Figure) -> Markup {
    let drawing = figure.svg.finish(figure.id, &figure.title, &figure.how_to_read, "");
    html! {
        figure id={ "figure-" (figure.id) } {
            h2 { (figure.title) }
            @if figure.id == "strip" {
                div.scroll tabindex="0" role="group" data-arrows aria-label="Layers; the arrow keys choose one" {
                    (PreEscaped(drawing))
                }
            } @else {
                div.scroll { (PreEscaped(drawing)) }
            }
            figcaption { b { "How to read this. " } (figure.how_to_read) }
            details.long[figure.table.rows.len() > MOST_PRINTED] {
                summary { "The numbers as a table" }
                div.scroll { (table_html(&figure.table)) }
            }
        }
    }
}

/// A table.
pub(super) fn table_html(table: &Table) -> Markup {
    let class = |form: NumberForm| if form == NumberForm::Text { "words" } else { "number" };
    html! {
        table {
            thead { tr { @for column in &table.columns {
                th scope="col" class=(class(column.form)) { (column.heading()) }
            } } }
            tbody { @for row in &table.rows {
                tr data-layer=[row.layer] { @for (cell, column) in row.cells.iter().zip(&table.columns) {
                    td class=(class(column.form)) { (cell.shown(column.form)) }
                } }
            } }
        }
    }
}
