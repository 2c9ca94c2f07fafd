//! What a run's folder says of how the run was made: args.toml and recipe.toml.

use std::path::Path;

use super::super::args_file::{self, ARGS};
use crate::checkpoint::atomic;
use crate::device::Device;
use crate::train::{Job, Output};
use crate::{Error, Result, commit};

/// The file of the recipe there.
const RECIPE: &str = "recipe.toml";

/// Writes `flags`, a file of them, as OUT/args.toml, and the recipe that they come to as OUT/recipe.toml.
///
/// # Errors
/// Those of the disk.
pub fn write(output: &Output, job: &Job, device: &Device, flags: Option<&str>) -> Result<()> {
    let facts = facts(job, device);
    let recipe = job.recipe.to_toml()?;
    let recipe =
        format!("# The recipe of a training run, with all that flags changed.\n{facts}\n{recipe}");
    write_text(&output.folder.join(RECIPE), &recipe)?;
    // Flags that aren't text can't be kept.
    let Some(flags) = flags else { return Ok(()) };
    let facts = format!("{facts}# recipe: what it came to is in {RECIPE}\n");
    write_text(&output.folder.join(ARGS), &args_file::text("train", &facts, flags))
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    atomic::write(path, |out| out.write_all(text.as_bytes()))
}

/// What a run's folder says of how it was made.
pub struct RunFacts {
    /// By what and on what: names and texts, in order.
    facts: Vec<(String, String)>,
    /// The recipe, as TOML.
    recipe: String,
}

/// Reads OUT/recipe.toml, as [`write`] has written it.
///
/// # Errors
/// Those of the file.
pub fn facts_of(folder: &Path) -> Result<RunFacts> {
    let path = folder.join(RECIPE);
    let text = std::fs::read_to_string(&path).map_err(|source| Error::io(&path, source))?;
    let lines = text.lines().map_while(|line| line.strip_prefix("# "));
    let facts = lines.filter_map(|line| line.split_once(": "));
    let facts = facts.map(|(name, text)| (name.to_string(), text.to_string())).collect();
    let recipe: Vec<&str> = text.lines().skip_while(|line| line.starts_with('#')).collect();
    Ok(RunFacts { facts, recipe: recipe.join("\n") })
}

impl RunFacts {
    /// The first thing in which `other` isn't the same run, in words. The commit may be another.
    pub fn difference(&self, other: &RunFacts) -> Option<String> {
        let plain = |run: &RunFacts| -> Vec<(String, String)> {
            let plain = |(name, text): &(String, String)| (name.clone(), version(name, text).0);
            run.facts.iter().map(plain).collect()
        };
        let (was, is) = (plain(self), plain(other));
        let differing = was.iter().zip(&is).find(|(was, is)| was != is);
        let differing = differing.map(|((name, was), (_, is))| match name.ends_with(" data") {
            true => format!("their {name} differ ({was} and {is})"),
            false => format!("'{name}' differs ({was} and {is})"),
        });
        differing.or_else(|| (self.recipe != other.recipe).then(|| "the recipe differs".into()))
    }

    /// What differs, and no bit depends on.
    pub fn notes(&self, other: &RunFacts) -> Vec<String> {
        let commit = |run: &RunFacts| {
            let found = run.facts.iter().find_map(|(name, text)| version(name, text).1);
            found.unwrap_or_default()
        };
        let (was, is) = (commit(self), commit(other));
        let is_other = was != is;
        is_other.then(|| format!("by another commit: {was}, now {is}")).into_iter().collect()
    }
}

/// A fact's text less the commit, and the commit.
fn version(name: &str, text: &str) -> (String, Option<String>) {
    match text.split_once(", commit ").filter(|_| name == "version") {
        Some((version, commit)) => (version.into(), Some(commit.into())),
        None => (text.into(), None),
    }
}

/// By what and on what, as comments.
fn facts(job: &Job, device: &Device) -> String {
    let validation = job.validation.as_ref();
    let validation = validation.map_or("none".into(), |source| source.dataset.fingerprint());
    let facts = [
        ("version", format!("{}, commit {}", env!("CARGO_PKG_VERSION"), commit::get())),
        ("model", format!("{}, {}, {} pixels", job.file.name, job.head, job.image_size())),
        ("steps", job.rate()),
        ("weights", format!("{}, seed {}", job.start, job.seed)),
        ("device", format!("{}, {}", device.kind(), device.compute())),
        ("training data", job.train.dataset.fingerprint()),
        ("validation data", validation),
    ];
    // Names come from outside, and a comment is a line.
    let line = |text: String| text.replace(|c: char| c.is_control(), " ");
    facts.into_iter().map(|(what, text)| format!("# {what}: {}\n", line(text))).collect()
}
