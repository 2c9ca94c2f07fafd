//! What runs are called beside each other.

use crate::results::Run;

/// Model and head.
pub(crate) fn plain_name(run: &Run) -> String {
    let setting = &run.manifest.setting;
    format!("{} {}", setting.provenance.model, setting.head)
}

/// What runs are called: those of one model and head by their checkpoints, too, and those of one checkpoint by number.
pub(crate) fn run_names(runs: &[&Run]) -> Vec<String> {
    let plain = runs.iter().map(|run| plain_name(run)).collect();
    let checkpoint = |at: usize| {
        let of: &str = &runs[at].manifest.setting.provenance.checkpoint;
        format!(" {}", of.chars().take(6).collect::<String>())
    };
    let named = told_apart(plain, checkpoint);
    told_apart(named, |at| format!(", run {}", at + 1))
}

/// Names with what tells those apart that are alike.
pub(crate) fn told_apart(names: Vec<String>, what: impl Fn(usize) -> String) -> Vec<String> {
    let is_alone = |name: &String| names.iter().filter(|other| *other == name).count() == 1;
    let told = |(at, name): (usize, &String)| match is_alone(name) {
        true => name.clone(),
        false => format!("{name}{}", what(at)),
    };
    names.iter().enumerate().map(told).collect()
}
