//! What a run's folder says of how the run was made: args.toml and recipe.toml.

use std::path::Path;

use crate::checkpoint::atomic;
use crate::device::Device;
use crate::train::{Job, Output};
use crate::{Result, commit};

/// The file of flags in a run's folder.
pub const ARGS: &str = "args.toml";

/// Writes `flags`, a file of them, as OUT/args.toml, and the recipe that they come to as OUT/recipe.toml.
///
/// # Errors
/// Those of the disk.
pub fn write(output: &Output, job: &Job, device: &Device, flags: Option<&str>) -> Result<()> {
    let facts = facts(job, device);
    let recipe = job.recipe.to_toml()?;
    let recipe =
        format!("# The recipe of a training run, with all that flags changed.\n{facts}\n{recipe}");
    write_text(&output.folder.join("recipe.toml"), &recipe)?;
    // Flags that aren't text can't be kept.
    let Some(flags) = flags else { return Ok(()) };
    let about = "# Flags of flipside train, for --config. What is typed takes the place of what stands here. Paths are\n\
                 # those of the folder that the command was run in. What the recipe came to is in recipe.toml.\n";
    write_text(&output.folder.join(ARGS), &format!("{about}{facts}\n{flags}"))
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    atomic::write(path, |out| out.write_all(text.as_bytes()))
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
