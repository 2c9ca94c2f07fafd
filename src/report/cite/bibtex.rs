//! Entries for BibTeX: of the program, and of what a campaign's figures rest on.

use super::CitedRun;
use super::marks::cites;
use super::references::{BibEntry, CITED, Reference};
use crate::report::latex::latex;

/// How the program asks to be cited.
const CITATION: &str = include_str!("../../../CITATION.cff");

/// A field of the file that asks for the citation.
pub(crate) fn citation_field(name: &str) -> String {
    let line = CITATION.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_default().trim_matches('"').to_string()
}

/// The entries of what `methods` cites: of this program, as the runs' stores name it.
pub(super) fn entries(runs: &[CitedRun], methods: &str) -> String {
    let cited = CITED.into_iter().filter(|reference| cites(methods, *reference));
    let entry = |reference: Reference| {
        let BibEntry { key, kind, fields, .. } = reference.entry();
        let mut lines: Vec<(&str, String)> =
            fields.iter().map(|(name, value)| (*name, value.to_string())).collect();
        if reference == Reference::Flipside {
            lines.insert(1, ("title", format!("{{{}}}", latex(&citation_field("title")))));
            lines.push(("note", latex(&versions(runs))));
        }
        let lines = lines.iter().map(|(name, value)| format!("  {name} = {{{value}}},\n"));
        format!("@{kind}{{{key},\n{}}}\n", lines.collect::<String>())
    };
    cited.map(entry).collect::<Vec<_>>().join("\n")
}

/// The program's versions and commits that ran the campaigns.
pub(super) fn versions(runs: &[CitedRun]) -> String {
    let mut all: Vec<String> = Vec::new();
    for setting in runs.iter().map(CitedRun::setting) {
        let words = format!("version {}, commit {}", setting.version, setting.commit);
        if !all.contains(&words) {
            all.push(words);
        }
    }
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file that asks for the citation names the same paper.
    #[test]
    fn the_paper_is_the_one_that_the_program_names() {
        let BibEntry { fields, .. } = Reference::Paper.entry();
        let field = |wanted: &str| fields.iter().find(|(name, _)| *name == wanted).unwrap().1;
        assert!(CITATION.contains(&format!("title: {}\n", field("title"))));
        for author in field("author").split(" and ") {
            let (family, given) = author.split_once(", ").unwrap();
            let names = format!("family-names: {family}\n        given-names: {given}\n");
            assert!(CITATION.contains(&names), "{author}");
        }
    }
}
