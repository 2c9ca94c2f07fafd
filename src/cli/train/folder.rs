//! What a run's folder says of how the run was made: args.toml and recipe.toml.

use std::path::Path;

use serde::Serialize;

use crate::checkpoint::atomic;
use crate::device::Device;
use crate::recipe::Recipe;
use crate::train::{Job, Output};
use crate::{Error, Result, commit};

/// What recipe.toml holds: a model file's table of that name.
#[derive(Serialize)]
struct RecipeFile<'a> {
    recipe: &'a Recipe,
}

/// Writes `flags`, a file of them, as OUT/args.toml, and the recipe that they come to as OUT/recipe.toml.
///
/// # Errors
/// Those of the disk.
pub fn write(output: &Output, job: &Job, device: &Device, flags: Option<&str>) -> Result<()> {
    let facts = facts(job, device);
    let recipe = recipe_text(&output.folder.join("recipe.toml"), &job.recipe)?;
    let recipe =
        format!("# The recipe of a training run, with all that flags changed.\n{facts}\n{recipe}");
    write_text(&output.folder.join("recipe.toml"), &recipe)?;
    // Flags that aren't text can't be kept.
    let Some(flags) = flags else { return Ok(()) };
    let about = "# Flags of flipside train, for --config. What is typed takes the place of what stands here. Paths are\n\
                 # those of the folder that the command was run in. What the recipe came to is in recipe.toml.\n";
    write_text(&output.folder.join("args.toml"), &format!("{about}{facts}\n{flags}"))
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    atomic::write(path, |out| out.write_all(text.as_bytes()))
}

/// The recipe as a file of its own.
fn recipe_text(path: &Path, recipe: &Recipe) -> Result<String> {
    let text = toml::to_string(&RecipeFile { recipe });
    text.map_err(|error| Error::file(path, format!("can't be written: {error}")))
}

/// By what and on what, as comments.
fn facts(job: &Job, device: &Device) -> String {
    let validation = job.validation.as_ref();
    let validation = validation.map_or("none".into(), |source| source.dataset.fingerprint());
    let facts = [
        ("version", format!("{}, commit {}", env!("CARGO_PKG_VERSION"), commit::get())),
        ("model", format!("{}, {}, {} pixels", job.file.name, job.head, job.image_size())),
        ("weights", format!("{}, seed {}", job.start, job.seed)),
        ("device", format!("{}, {}", device.kind(), device.compute())),
        ("training data", job.train.dataset.fingerprint()),
        ("validation data", validation),
    ];
    // Names come from outside, and a comment is a line.
    let line = |text: String| text.replace(|c: char| c.is_control(), " ");
    facts.into_iter().map(|(what, text)| format!("# {what}: {}\n", line(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::ModelFile;

    #[derive(serde::Deserialize)]
    struct Read {
        recipe: Recipe,
    }

    #[test]
    fn recipes_come_back_as_they_were() {
        for name in ["resnet18", "resnet_small", "swin_v2_t", "maxvit_t", "focalnet_tiny"] {
            let recipe = ModelFile::open(name).unwrap().recipe().unwrap().clone();
            let text = recipe_text("recipe.toml".as_ref(), &recipe).unwrap();
            let read: Read = toml::from_str(&text).unwrap();
            assert_eq!(read.recipe, recipe, "{text}");
            // Decimals as people write them.
            let digits = |word: &str| word.chars().filter(char::is_ascii_digit).count();
            assert!(text.split_whitespace().all(|word| digits(word) < 12), "{text}");
        }
    }
}
