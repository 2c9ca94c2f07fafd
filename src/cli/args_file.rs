//! The flags of `flipside train` and `flipside study` that aren't typed but stand in a file (`--config`, or args.toml of the
//! folder that `--resume` goes on with). What is typed takes their place.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::config::{Flags, Given};
use crate::{Error, Result};

/// The file of flags in a run's folder.
pub const ARGS: &str = "args.toml";

/// The commands whose folders have it.
const COMMANDS: [&str; 2] = ["train", "study"];

/// Flags that no file holds: they are about one start of a run, not about what it comes to.
const BESIDE: [&str; 4] = ["config", "resume", "quiet", "json"];

/// The flags of a command that a file of them can hold.
pub fn file_flags(program: &clap::Command, command: &str) -> Flags {
    Flags::of(program.find_subcommand(command).cloned().unwrap_or_default(), &BESIDE)
}

/// `flags`, as a file of them, under what `facts` says of the run, lines that are comments.
pub fn text(command: &str, facts: &str, flags: &str) -> String {
    format!(
        "# Flags of flipside {command}, for --config. What is typed takes the place of what stands here. Paths are\n\
         # those of the folder that the command was run in.\n{facts}\n{flags}"
    )
}

/// The command line `words` of `program` with the flags of the file that it names, if it is one of a command that has
/// them; and all its flags as such a file.
///
/// # Errors
/// A file that can't be read, or holds what isn't a flag.
pub fn gather(
    words: Vec<OsString>,
    program: &clap::Command,
) -> Result<(Vec<OsString>, Option<String>)> {
    let command = COMMANDS.into_iter().find(|name| words.get(1).is_some_and(|word| word == name));
    let Some(command) = command else { return Ok((words, None)) };
    let flags = file_flags(program, command);
    // What clap has to say it says better of the whole.
    let Some(typed) = flags.look(&words[1..]) else { return Ok((words, None)) };
    let file = typed.get_one::<PathBuf>("config").cloned().or_else(|| kept(&typed));
    let own = match flags.given(&typed) {
        // A path that isn't Unicode is no less a path: the run just doesn't keep its flags.
        Err(_) if file.is_none() => return Ok((words, None)),
        own => own?,
    };
    let Some(file) = file else {
        let text = flags.write(&own);
        return Ok((words, Some(text)));
    };
    let text = std::fs::read_to_string(&file).map_err(|source| Error::io(&file, source))?;
    let merged = flags.merge(&own, flags.read(&file, &text)?);
    let mut added: Given = merged.clone();
    added.retain(|key, _| !own.contains_key(key));
    let mut words = words.into_iter();
    let mut all: Vec<OsString> = words.by_ref().take(2).collect();
    all.extend(Flags::words(&added).chain(words));
    Ok((all, Some(flags.write(&merged))))
}

/// The flags that the folder of a run to be resumed holds, where no others say what is trained on what.
fn kept(typed: &ArgMatches) -> Option<PathBuf> {
    let says = |id| typed.value_source(id) == Some(ValueSource::CommandLine);
    if !typed.get_flag("resume") || says("model") || says("data") {
        return None;
    }
    let path = typed.get_one::<PathBuf>("out")?.join(ARGS);
    path.exists().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    /// A study's flags ask for each other: what a file has of them and what is typed are looked at together.
    #[test]
    fn flags_of_a_study_are_taken_from_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("args.toml");
        let program = crate::cli::command();
        let typed = format!(
            "flipside study --data d --text-features f.npy --seeds 2 --quick --out {}",
            folder.path().display()
        );
        let (same, text) = gather(words(&typed), &program).unwrap();
        assert_eq!(same, words(&typed));
        std::fs::write(&path, text.clone().unwrap()).unwrap();
        let resume = format!("flipside study --resume --seeds 3 --out {}", folder.path().display());
        let (all, again) = gather(words(&resume), &program).unwrap();
        assert!(program.clone().try_get_matches_from(&all).is_ok(), "{all:?}");
        assert_eq!(again.unwrap(), text.unwrap().replace("seeds = 2", "seeds = 3"));
        // What a file lacks is still asked for.
        std::fs::write(&path, "data = 'd'").unwrap();
        let (all, _) =
            gather(words(&format!("flipside study --config {}", path.display())), &program)
                .unwrap();
        let said = program.clone().try_get_matches_from(&all).unwrap_err().to_string();
        assert!(said.contains("--text-features"), "{said}");
    }

    #[test]
    fn what_is_typed_takes_the_place_of_what_a_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("args.toml");
        let typed = "flipside train --model tiny --data d --out o --learning-rate 0.1 --momentum 0.5 --model-ema --quiet --keep 3";
        let program = crate::cli::command();
        let (same, text) = gather(words(typed), &program).unwrap();
        assert_eq!(same, words(typed));
        std::fs::write(&path, text.clone().unwrap()).unwrap();
        let config = format!("--config {}", path.display());
        let (all, again) = gather(words(&format!("flipside train {config}")), &program).unwrap();
        assert_eq!(again, text);
        assert!(program.clone().try_get_matches_from(&all).is_ok(), "{all:?}");
        let (_, other) = gather(
            words(&format!("flipside train {config} --out p --no-model-ema --resume")),
            &program,
        )
        .unwrap();
        let other = other.unwrap();
        for line in ["out = \"p\"", "no-model-ema = true", "keep = 3", "lr = 0.1"] {
            assert!(other.lines().any(|known| known == line), "{line}: {other}");
        }
        let absent = ["\nmodel-ema = ", "resume", "quiet"];
        assert!(absent.iter().all(|key| !other.contains(key)), "{other}");
        // A run's folder alone says what is resumed.
        let run = folder.path().display();
        let (all, _) =
            gather(words(&format!("flipside train --resume --out {run}")), &program).unwrap();
        assert!(
            all.contains(&"--keep=3".into()) && all.contains(&"--model=tiny".into()),
            "{all:?}"
        );
        let whole = format!("flipside train --resume --model other --data d --out {run}");
        assert_eq!(gather(words(&whole), &program).unwrap().0, words(&whole));
        std::fs::write(&path, "learning_rate = 1").unwrap();
        let said = gather(words(&format!("flipside train {config}")), &program);
        let said = said.unwrap_err().to_string();
        assert!(said.contains("there is no key 'learning_rate'"), "{said}");
        // Other commands go as they came.
        assert_eq!(gather(words("flipside eval --config x"), &program).unwrap().1, None);
    }
}
