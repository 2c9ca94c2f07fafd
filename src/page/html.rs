//! The page's HTML: head, controls, sections, and the data as JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::figure::Figure;
use super::markup::figure_html;
use super::subject::Subject;
use super::worst::{Pictures, worst_faults};
use super::{palette, quote, svg, words};
use crate::report::run_json;

/// Filters, sorts and copies; the page says the same without it.
const SCRIPT: &str = include_str!("script.js");

const STYLE: &str = include_str!("style.css");

/// The page of runs and their figures.
pub fn page(subject: &Subject, figures: &[Figure], pictures: Option<&Pictures>) -> String {
    let names: Vec<&str> = subject.sides.iter().map(|side| side.name.as_str()).collect();
    let title = match names.as_slice() {
        [others @ .., last] if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        all => all.concat(),
    };
    let body = html! {
        (controls(subject))
        main {
            @for figure in figures { (figure_html(figure)) }
            (worst_faults(subject, pictures))
            (words::words(subject))
        }
        script type="application/json" id="data" { (PreEscaped(island(subject, figures))) }
        script { (PreEscaped(SCRIPT)) }
    };
    frame(&title, "Fault-injection campaign", quote::quote(subject), body)
}

/// What all pages have: the head, the title, what stands below it, and the body.
pub(super) fn frame(title: &str, eyebrow: &str, top: Markup, body: Markup) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content={ "flipside " (env!("CARGO_PKG_VERSION")) };
                title { (title) " – flipside" }
                style { (PreEscaped(palette::variables())) (PreEscaped(palette::MARKS)) (PreEscaped(STYLE)) }
            }
            body {
                svg.defs aria-hidden="true" width="0" height="0" { (PreEscaped(svg::HATCH)) }
                header {
                    p.eyebrow { (eyebrow) }
                    h1 { (title) }
                    (top)
                }
                (body)
            }
        }
    };
    visible(&markup.into_string(), |c| format!("\\u{{{:x}}}", c as u32))
}

/// A text whose characters that turn the direction of what follows, or that no page may have, are spelled out.
fn visible(text: &str, spell: impl Fn(char) -> String) -> String {
    let is_hidden = |c: char| {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || (c.is_control() && !matches!(c, '\n' | '\t'))
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hidden(c) {
            true => shown.push_str(&spell(c)),
            false => shown.push(c),
        }
    }
    shown
}

/// Nothing from anywhere, and no script but the one.
fn policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(SCRIPT));
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; img-src data:; base-uri 'none'; \
         form-action 'none'"
    )
}

/// What the script reads, in a form that can't end the element that it stands in. Of each run it is what `report --json`
/// prints.
fn island(subject: &Subject, figures: &[Figure]) -> String {
    let run = |side: &super::Side| {
        let report = run_json(side.run, &side.figures, &subject.how);
        json!({ "name": side.name, "verified": side.verified, "report": report })
    };
    let figures = figures.iter().map(|figure| (figure.id.to_string(), figure.data.clone()));
    let rate = |place: &super::PageLayer| {
        let row = subject.first().of_layer(place.indices[0]?, subject.detector)?;
        (row.rates.records > 0).then_some(row.rates.sdc.value)
    };
    let value = json!({
        "runs": subject.sides.iter().map(run).collect::<Vec<Value>>(),
        "comparisons": subject.comparisons,
        "layers": subject.layers.iter().map(|place| place.name.as_str()).collect::<Vec<_>>(),
        "sdc": subject.layers.iter().map(rate).collect::<Vec<_>>(),
        "figures": figures.collect::<serde_json::Map<_, _>>(),
    });
    let text = value.to_string().replace('<', "\\u003c");
    visible(&text, |c| format!("\\u{:04x}", c as u32))
}

/// What a reader can change. Without scripts there is none of it.
fn controls(subject: &Subject) -> Markup {
    html! {
        nav.controls aria-label="What is shown" {
            label { "Layer " select #layer {
                option value="" { "all layers" }
                @for (at, place) in subject.layers.iter().enumerate() { option value=(at) { (place.name) } }
            } }
            label { "Order " select #order {
                option value="depth" { "by depth" }
                option value="rate" { "by SDC rate" }
            } }
            label { "Heights " select #variant {
                option value="macs" { "MACs" }
                option value="neurons" { "neurons" }
            } }
            button #theme type="button" { "Light or dark" }
            output #chosen aria-live="polite" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_turns_the_direction_of_a_page() {
        let page = frame("a\u{202e}b\u{0}", "c", html! {}, html! { p { "d\u{2066}e" } });
        assert!(page.contains("a\\u{202e}b\\u{0}") && page.contains("d\\u{2066}e"), "{page}");
    }
}
