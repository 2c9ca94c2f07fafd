//! The flags of `flipside inject` that aren't typed: those of a file (`--config`), and those that a store was begun
//! with (`--resume FILE`). What is typed takes their place.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Arg;
use sha2::{Digest, Sha256};

use super::super::config::{Flags, Given};
use crate::census::{Census, Mode};
use crate::results::{Config, Store};
use crate::{Error, Result};

/// Flags that no file holds.
const BESIDE: [&str; 3] = ["config", "print-config", "resume"];

/// Flags of one run, which a store doesn't keep.
const OF_A_RUN: [&str; 6] = ["out", "shard", "verify", "threads", "json", "quiet"];

/// Flags that mean nothing without another one.
const COMPANIONS: [(&str, &str); 3] =
    [("stop-at", "half-width"), ("confidence", "half-width"), ("images", "exhaustive")];

/// What stands above a file of flags.
const HEADING: &str = "Flags of flipside inject, for --config. What is typed takes the place of what stands here. Paths \
     are those of the folder that the command is run in. Lines behind # are flags that are absent, with their defaults.";

/// What is known of the flags beside their values.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// Where the flags come from that weren't typed.
    from: BTreeMap<String, PathBuf>,
    /// What a new store keeps of them.
    pub config: Option<Config>,
}

/// What is to be done about a command line.
pub enum Todo {
    /// Run it.
    Run(Vec<OsString>, Gathered),
    /// Print this instead.
    Print(String),
}

/// The flags that a file of them can hold.
pub fn file_flags(program: &clap::Command) -> Flags {
    Flags::of(program.find_subcommand("inject").cloned().unwrap_or_default(), &BESIDE)
}

/// The command line `words` of `program` with the flags that it takes from files.
///
/// # Errors
/// Files that can't be read, or hold what isn't a flag; a store that doesn't know its flags where some are missing.
pub fn gather(words: Vec<OsString>, program: &clap::Command) -> Result<Todo> {
    let as_it_is = |words| Ok(Todo::Run(words, Gathered::default()));
    if words.get(1).is_none_or(|word| word != "inject") {
        return as_it_is(words);
    }
    let Some(command) = program.find_subcommand("inject").cloned() else {
        return as_it_is(words);
    };
    let flags = Flags::of(command.clone(), &BESIDE);
    // What clap has to say it says better of the whole.
    let Some(typed) = flags.look(&words[1..]) else { return as_it_is(words) };
    let path = |id: &str| typed.get_one::<PathBuf>(id).cloned();
    let (file, store) = (path("config"), path("resume"));
    let prints = typed.get_flag("print_config");
    let own = match flags.given(&typed) {
        // A path that isn't Unicode is no less a path: its store just doesn't keep the flags.
        Err(_) if file.is_none() && store.is_none() && !prints => return as_it_is(words),
        own => own?,
    };

    let mut merged = own.clone();
    let mut gathered = Gathered::default();
    let mut sha256 = None;
    if let Some(path) = &file {
        let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
        let given = flags.read(path, &text)?;
        gathered.add(&flags, &mut merged, given, path);
        sha256 = Some(crate::hex(&Sha256::digest(&text)));
    }
    if let Some(path) = &store {
        if path.to_string_lossy().contains("{shard}") {
            return Err(Error::usage(format!(
                "--resume {}: {{shard}} is replaced in --out alone: name the file of the shard",
                path.display()
            )));
        }
        match kept(path, merged.get("exhaustive"))? {
            Some(Config { flags: text, .. }) => {
                let given = flags.read(path, &text)?;
                gathered.add(&flags, &mut merged, given, path);
            }
            None => check_typed(&flags, &merged, path)?,
        }
    }
    if prints {
        let needless = |arg: Arg| arg.required(false);
        let words = std::iter::once("flipside inject".into()).chain(Flags::words(&merged));
        let checked = command.mut_args(needless).try_get_matches_from(words);
        checked.unwrap_or_else(|error| error.exit());
        return Ok(Todo::Print(flags.template(&merged, HEADING)));
    }
    let mut kept = merged.clone();
    kept.retain(|key, _| !OF_A_RUN.contains(&key.as_str()));
    gathered.config = Some(Config { flags: flags.write(&kept), file: sha256 });

    let mut added: Given = merged.clone();
    added.retain(|key, _| !own.contains_key(key));
    // The numbers of a pilot's store are in this one.
    if let (Some(path), Some(values)) = (&store, added.get_mut("allocate"))
        && gathered.from.get("allocate") == Some(path)
        && values[..] != ["pilot"]
    {
        *values = vec![plain(path)?];
    }
    let mut words = words.into_iter();
    let all = words.by_ref().take(2).collect::<Vec<_>>().into_iter().chain(Flags::words(&added));
    Ok(Todo::Run(all.chain(words).collect(), gathered))
}

/// The flags that the campaign of a store was begun with; beside --exhaustive, and where there is no campaign, those of a
/// census.
fn kept(path: &Path, exhaustive: Option<&Vec<String>>) -> Result<Option<Config>> {
    let of_census = |mode: Mode| Ok(Census::open(path, mode)?.1.config);
    match (exhaustive.and_then(|words| words.first()), Census::modes(path)?.as_slice()) {
        (Some(mode), _) => of_census(mode.parse()?),
        (None, [only]) if !Store::has_campaign(path)? => of_census(*only),
        _ => Ok(Store::manifest(path)?.config),
    }
}

/// A path as a word that isn't `pilot`.
fn plain(path: &Path) -> Result<String> {
    let path = Path::new(".").join(path);
    let text = path.to_str().map(str::to_string);
    text.ok_or_else(|| Error::file(&path, "has a name that isn't text"))
}

/// Refuses to go on with a store that doesn't keep its flags unless they are there.
fn check_typed(flags: &Flags, given: &Given, path: &Path) -> Result<()> {
    let missing = flags.missing(given);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{} doesn't hold the flags that it was begun with, as stores of older versions of this program don't: give all of \
         them beside --resume (there is no {})",
        path.display(),
        missing.join(", no ")
    )))
}

impl Gathered {
    /// Adds flags of a file where nothing is said of them yet, and nothing that excludes them. Where one gives way, so do
    /// those that mean nothing without it.
    fn add(&mut self, flags: &Flags, merged: &mut Given, given: Given, path: &Path) {
        let known: Vec<String> = merged.keys().cloned().collect();
        let is_said = |key: &str| {
            let is_of_one = |other: &String| other == key || flags.conflict(other, key);
            // A file's store is its whole campaign's.
            known.iter().any(is_of_one) || key == "out" && known.iter().any(|key| key == "only")
        };
        let has_gone =
            |key: &str| given.contains_key(key) && is_said(key) && !merged.contains_key(key);
        let gone = COMPANIONS.into_iter().filter(|(_, of)| has_gone(of));
        let gone: Vec<&str> = gone.map(|(key, _)| key).collect();
        for (key, values) in given {
            if !is_said(&key) && !gone.contains(&key.as_str()) {
                self.from.insert(key.clone(), path.into());
                merged.insert(key, values);
            }
        }
    }

    /// Whether a flag comes from a file, and wasn't typed.
    pub fn is_from_file(&self, key: &str) -> bool {
        self.from.contains_key(key)
    }

    /// Refuses a path that comes from a file and leads nowhere; of one that was typed whoever opens it says so.
    ///
    /// # Errors
    /// [`Error::Usage`] that says to type it.
    pub fn check_path(&self, key: &str, path: &Path) -> Result<()> {
        match self.is_from_file(key) && !path.exists() {
            true => Err(Error::usage(format!(
                "{}: there is no such file or folder: say --{key} where it has moved",
                path.display()
            ))),
            false => Ok(()),
        }
    }

    /// `result`, whose error says where the flags that it names come from.
    pub fn explain(&self, result: anyhow::Result<()>) -> anyhow::Result<()> {
        result.map_err(|error| match error.downcast_ref::<Error>() {
            Some(Error::Usage { detail }) => {
                let is_named = |key: &str| {
                    let flag = format!("--{key}");
                    let behind = |at: usize| detail[at + flag.len()..].chars().next();
                    let is_end =
                        |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '-');
                    detail.match_indices(&flag).any(|(at, _)| is_end(behind(at)))
                };
                let named = self.from.iter().filter(|(key, _)| is_named(key));
                let named: Vec<String> = named
                    .map(|(key, path)| format!("--{key} comes from {}", path.display()))
                    .collect();
                match named.is_empty() {
                    true => error,
                    false => Error::usage(format!("{detail} ({})", named.join(", "))).into(),
                }
            }
            _ => error,
        })
    }
}
