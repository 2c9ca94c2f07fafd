//! The end of a page: what its words mean, what was run, what it doesn't say, and how to cite it.

use maud::{Markup, html};
use serde_json::Value;

use super::markup::table_html;
use super::subject::Subject;
use super::{Cell, Column, Table};
use crate::analysis::goldeneye;
use crate::analysis::stopped_words;
use crate::plan::Protocol;
use crate::report::citation_field;
use crate::results::{Manifest, Run};
use crate::statistics::Estimate;

/// Outcomes here, what they are, and what others call them.
const OUTCOMES: [[&str; 4]; 4] = [
    ["masked", "All logits have the bits that they have without the fault.", "masked", "benign"],
    [
        "benign",
        "Some logit has other bits; the predicted class is the same.",
        "tolerable SDC",
        "SDC: the output is another one",
    ],
    ["SDC", "Another class is predicted.", "critical SDC", "SDC"],
    [
        "nonfinite",
        "A logit is NaN or infinite.",
        "DUE where the output is checked for it, else SDC",
        "DUE where the output is checked for it, else SDC",
    ],
];

/// The words of a page.
pub(super) fn words(subject: &Subject) -> Markup {
    html! {
        section #words {
            h2 { "What the words mean" }
            p {
                "Each injection has one outcome. Studies that put chips into beams and reports from data centres use "
                "other words for it:"
            }
            div.scroll { table.prose {
                thead { tr { @for head in ["here", "what it is", "beam tests of neural networks¹", "Open Compute Project²"] {
                    th scope="col" { (head) }
                } } }
                tbody { @for row in OUTCOMES { tr { @for cell in row { td.words { (cell) } } } } }
            } }
            p.note {
                "SDC: silent data corruption. DUE: detected, unrecoverable error. A hang or a crash, which beams cause, "
                "too, has no counterpart here: only values change. " b { "ΔLoss" } " is the absolute change of the "
                "cross entropy, in nats."
            }
            p.note {
                "¹ Fernandes dos Santos et al., 2023, "
                i { "Characterizing a Neutron-Induced Fault Model for Deep Neural Networks" }
                ", IEEE Transactions on Nuclear Science 70. ² Open Compute Project, 2025, "
                i { "Silent Data Corruption in AI" } "."
            }
        }
        @for side in &subject.sides {
            section {
                h2 { "What was run" @if subject.sides.len() > 1 { ": " (side.name) } }
                (protocol(side.run))
                @if side.run.manifest.plan.protocol == Protocol::Goldeneye {
                    p { "By GoldenEye's own rules, with normal intervals of 99 %:" }
                    div.scroll { (table_html(&goldeneye_table(side.run))) }
                }
                details { summary { "The manifest" } div.scroll { table.prose {
                    tbody { @for (key, value) in manifest(&side.run.manifest) {
                        tr { th scope="row" { (key) } td.words { (value) } }
                    }
                    tr { th scope="row" { "results, SHA-256" } td.words { (side.run.results_sha256()) } } }
                } } }
            }
        }
        section {
            h2 { "What it doesn't say" }
            ul {
                li {
                    "How often hardware errs. Rates are of faults that happened; times a rate of faults they give a rate "
                    "of failures."
                }
                li { "Anything of other faults than those drawn: hangs, errors of control logic or of other memory." }
                @if subject.sides.iter().any(|side| side.run.manifest.plan.layers.is_some()) {
                    li { "Anything of layers that weren't chosen. The network's figures are of the chosen ones." }
                }
                li { "More of other images than intervals do: " (subject.how.words()) }
                @if subject.comparisons.is_some() {
                    li { "Which network is better, where the verdict above gives a reason for saying nothing." }
                }
            }
        }
        section {
            h2 { "To cite it" }
            p { (citation()) }
            p.note {
                "Written by flipside " (env!("CARGO_PKG_VERSION")) ". Rates and means are those that "
                code { "flipside report --json" } " and " code { "flipside compare --json" }
                " print; what is counted besides stands in this file as JSON, too."
            }
        }
    }
}

/// How faults were drawn and answers judged.
fn protocol(run: &Run) -> Markup {
    let plan = &run.manifest.plan;
    html! {
        p { "Protocol " (plan.protocol.name()) ": " (match plan.protocol {
            Protocol::Strict => "every convolution and linear layer by what it computes or, at the site weight, every \
                parameter; no NaN is hidden.",
            Protocol::Goldeneye => "GoldenEye's rules (DSN 2022): layers as forward hooks see them, a fifth of the \
                validation images, NaN left out of means.",
        }) " Strata: " (plan.stratify.words()) "." }
        @if let Some(words) = stopped_words(run) { p { (words) } }
    }
}

/// GoldenEye's figures.
fn goldeneye_table(run: &Run) -> Table {
    let mut table = Table::new([
        Column::text("layer", "layer"),
        Column::count("injections", "injections"),
        Column::count("nan", "NaN losses"),
        Column::amount("delta_loss", "mean ΔLoss", "nats"),
        Column::rate("mismatches", "mismatches"),
    ]);
    let estimate = |of: goldeneye::GoldenEyeFigure| Estimate {
        value: of.value,
        low: of.value - of.half_width,
        high: of.value + of.half_width,
    };
    for (layer, of) in run.manifest.layers.iter().zip(goldeneye::figures(run)) {
        let cells: Vec<Cell> = vec![
            layer.name.clone().into(),
            of.injections.into(),
            of.nan.into(),
            estimate(of.delta_loss).into(),
            estimate(of.mismatches).into(),
        ];
        table.push(None, cells);
    }
    table
}

/// Keys and values of a manifest, those of its parts behind a point.
fn manifest(manifest: &Manifest) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    // Where files lay on somebody's machine is nobody's business.
    let told = Manifest { config: None, ..manifest.clone() };
    flatten("", &serde_json::to_value(told).unwrap_or_default(), &mut rows);
    rows.push(("layers".into(), manifest.layers.len().to_string()));
    rows.push(("images".into(), manifest.images.len().to_string()));
    rows
}

/// Values of a longer text are cut: an allocation is a page of numbers.
const LONGEST: usize = 240;

fn flatten(prefix: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, value, rows);
            }
        }
        Value::Null => {}
        Value::String(text) => rows.push((prefix.into(), text.clone())),
        other => {
            let text = other.to_string();
            let cut = match text.char_indices().nth(LONGEST) {
                Some((at, _)) => format!("{} …", &text[..at]),
                None => text,
            };
            rows.push((prefix.into(), cut));
        }
    }
}

/// The program's title and version, from the file that asks for the citation.
fn citation() -> String {
    format!(
        "The Flipside authors: {}, version {}. {}",
        citation_field("title"),
        citation_field("version"),
        citation_field("message")
    )
}
