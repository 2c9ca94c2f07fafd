//! What a paper says of campaigns: how they were run, a table, what to cite, and what a reviewer would miss.

mod bibtex;
mod caveats;
mod marks;
mod methods;
mod references;
mod sample;
mod sites;
mod table;

use std::path::PathBuf;

use serde_json::{Value, json};
use strum::{EnumIter, EnumString, IntoStaticStr};

pub(crate) use bibtex::citation_field;

use self::sample::SampleFacts;
use crate::Error;
use crate::analysis::Intervals;
use crate::analysis::compare::Comparison;
use crate::census::Mode;
use crate::plan::Protocol;
use crate::results::{Run, Setting};
use crate::statistics::Confidence;

/// A part of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", parse_err_ty = Error, parse_err_fn = unknown)]
pub enum CitePart {
    Methods,
    Table,
    Bibtex,
    Caveats,
}

fn unknown(word: &str) -> Error {
    Error::unknown::<CitePart>("part of a citation", word)
}

/// A campaign that a paper is about.
pub struct CitedRun {
    /// What it is called beside the others.
    pub name: String,
    pub store: PathBuf,
    pub run: Run,
    /// How many of its records were run again, whole, and had the same bits.
    pub verified: u64,
    /// Censuses that its store holds beside it.
    pub censuses: Vec<Mode>,
    /// What it is compared with by name, and what came of it, or why that can't be.
    pub compared: Option<(String, Result<Box<Comparison>, String>)>,
}

impl CitedRun {
    fn setting(&self) -> &Setting {
        &self.run.manifest.setting
    }

    fn is_goldeneye(&self) -> bool {
        self.run.manifest.plan.protocol == Protocol::Goldeneye
    }

    /// At which confidence its figures are told: GoldenEye's protocol has one of its own.
    fn confidence(&self, how: &Intervals) -> Confidence {
        match self.is_goldeneye() {
            true => Confidence::new(0.99).unwrap_or(how.confidence),
            false => how.confidence,
        }
    }
}

/// What a study's `study.json` says beside its stores.
pub struct CitedStudy {
    /// As `flipside study` writes it.
    pub json: Value,
}

/// What a paper says of some campaigns.
pub struct Citation {
    /// Sentences, with marks where something is cited.
    methods: String,
    table: String,
    bibtex: String,
    caveats: Vec<String>,
    facts: Vec<Value>,
}

impl Citation {
    /// That of `runs`, which are those of `study` where there is one.
    pub fn of(runs: &[CitedRun], study: Option<&CitedStudy>, how: &Intervals) -> Citation {
        let samples: Vec<SampleFacts> =
            runs.iter().map(|of| SampleFacts::of(&of.run, of.confidence(how))).collect();
        let methods = methods::paragraph(runs, &samples, study, how);
        let facts = runs.iter().zip(&samples).map(|(of, sample)| facts(of, sample)).collect();
        Citation {
            table: table::tables(runs, study, how),
            bibtex: bibtex::entries(runs, &methods),
            caveats: caveats::all(runs, &samples, study, how),
            methods,
            facts,
        }
    }

    /// All of it as text that LaTeX takes, or one part.
    pub fn text(&self, only: Option<CitePart>) -> String {
        let items: String = self.caveats.iter().map(|words| format!("- {words}\n")).collect();
        let methods = marks::latex_cited(&self.methods) + "\n";
        match only {
            Some(CitePart::Methods) => methods,
            Some(CitePart::Table) => self.table.clone(),
            Some(CitePart::Bibtex) => self.bibtex.clone(),
            Some(CitePart::Caveats) => items,
            None => format!(
                "% Methods\n{methods}\n% Table\n{}\n% References, for BibTeX\n{}\n% What a reviewer would miss\n{items}",
                self.table, self.bibtex
            ),
        }
    }

    /// The same for machines, with the numbers that the paragraph has.
    pub fn json(&self, only: Option<CitePart>) -> Value {
        let methods = marks::plainly_cited(&self.methods);
        let latex = marks::latex_cited(&self.methods);
        match only {
            Some(CitePart::Methods) => json!({ "methods": methods, "methods_latex": latex }),
            Some(CitePart::Table) => json!({ "table": self.table }),
            Some(CitePart::Bibtex) => json!({ "bibtex": self.bibtex }),
            Some(CitePart::Caveats) => json!({ "caveats": self.caveats }),
            None => json!({
                "runs": self.facts,
                "methods": methods,
                "methods_latex": latex,
                "table": self.table,
                "bibtex": self.bibtex,
                "caveats": self.caveats,
            }),
        }
    }
}

/// What the words of a run are made of.
fn facts(of: &CitedRun, sample: &SampleFacts) -> Value {
    let setting = of.setting();
    let compared = of.compared.as_ref().map(|(with, found)| match found {
        Ok(_) => json!({ "with": with, "refused": null }),
        Err(why) => json!({ "with": with, "refused": why }),
    });
    json!({
        "name": of.name,
        "store": of.store,
        "model": setting.provenance.model,
        "head": setting.head,
        "version": setting.version,
        "commit": setting.commit,
        "checkpoint": setting.provenance.checkpoint,
        "data": setting.provenance.data,
        "evaluated": setting.provenance.evaluated,
        "right": setting.provenance.right,
        "sample": sample,
        "verified": of.verified,
        "compared": compared,
        "results_sha256": of.run.results_sha256(),
    })
}
