//! A run that is kept: what it was begun with, and what it came to.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::super::args_file::{self, ARGS};
use super::super::config::{Flags, Given};
use super::again::SettingCheck;
use crate::census::{Census, CensusManifest, Mode};
use crate::cli::{command, inject, train};
use crate::plan::Shard;
use crate::reproduce;
use crate::results::{Config, Run, Setting, Store, is_store};
use crate::study::{self, ModelStart, StudiesCompared};
use crate::train::{Output, compare_runs};
use crate::{Error, Result};

/// A run.
pub enum KeptRun {
    Campaign {
        path: PathBuf,
        run: Box<Run>,
        shard: Option<Shard>,
    },
    Census {
        path: PathBuf,
        census: Box<Census>,
        manifest: Box<CensusManifest>,
    },
    Training {
        run: Output,
    },
    /// Its training seeds are those that its folder names.
    Study {
        folder: PathBuf,
        seeds: Vec<u64>,
    },
}

/// How a run is run again.
pub struct Again<'a> {
    /// Where it is kept.
    pub to: &'a Path,
    /// Where its files lie, if not where they lay.
    pub data: Option<&'a Path>,
    pub checkpoint: Option<&'a Path>,
    pub threads: u16,
    pub quiet: bool,
}

/// What came of a comparison.
#[derive(Default)]
pub struct ComparedRun {
    /// What was compared, in words.
    pub compared: String,
    pub difference: Option<String>,
    /// What differs, and no bit depends on.
    pub notes: Vec<String>,
}

impl ComparedRun {
    /// Of a run that was ended when it showed to be another one; `kept` is what it had written by then.
    pub fn ended(difference: String, kept: Option<&Path>) -> ComparedRun {
        let note = |path: &Path| format!("{} holds what was run again until then", path.display());
        let notes = kept.map(note).into_iter().collect();
        ComparedRun { difference: Some(difference), notes, ..ComparedRun::default() }
    }
}

/// Flags that name what a run reads.
const PATHS: [&str; 9] = [
    "data",
    "checkpoint",
    "right-in",
    "class-list",
    "faults",
    "init",
    "text-features",
    "recipe",
    "model",
];

impl KeptRun {
    /// What lies at a path.
    ///
    /// # Errors
    /// What is no run, or one that isn't over; those of the files.
    pub fn all(path: &Path) -> Result<Vec<KeptRun>> {
        if path.is_dir() {
            return KeptRun::folder(path).map(|kept| vec![kept]);
        }
        File::open(path).map_err(|source| Error::io(path, source))?;
        if !is_store(path) {
            let detail =
                "is neither a store of `inject` nor the folder of a training run or a study";
            return Err(Error::file(path, detail));
        }
        let mut all = Vec::new();
        if Store::has_campaign(path)? {
            all.push(KeptRun::campaign(path)?);
        }
        for mode in Census::modes(path)? {
            all.push(KeptRun::census(path, mode)?);
        }
        match all.is_empty() {
            true => Err(Error::file(path, "holds no campaign and no census yet")),
            false => Ok(all),
        }
    }

    fn campaign(path: &Path) -> Result<KeptRun> {
        let (run, shards) = Run::open_partial(path)?;
        let shard = match shards.as_slice() {
            [(shard, true)] => Some(*shard).filter(|shard| *shard != Shard::WHOLE),
            // Several are compared when all are there.
            several if several.iter().all(|(_, whole)| *whole) => Run::open(path).map(|_| None)?,
            _ => {
                let detail = "holds a campaign that isn't over: `inject --resume` goes on with it";
                return Err(Error::file(path, detail));
            }
        };
        Ok(KeptRun::Campaign { path: path.into(), run: Box::new(run), shard })
    }

    fn census(path: &Path, mode: Mode) -> Result<KeptRun> {
        let (census, manifest) = Census::open(path, mode)?;
        if !census.is_complete() {
            let detail = "holds a census that isn't over: `inject --resume` goes on with it";
            return Err(Error::file(path, detail));
        }
        let (census, manifest) = (Box::new(census), Box::new(manifest));
        Ok(KeptRun::Census { path: path.into(), census, manifest })
    }

    fn folder(folder: &Path) -> Result<KeptRun> {
        let run = Output::at(folder.into());
        if folder.join(study::ASKED).exists() {
            if !folder.join(study::STUDY).exists() {
                let detail = "holds a study that isn't over: `study --resume` goes on with it";
                return Err(Error::file(folder, detail));
            }
            let (_, seeds) = study::study_json(folder)?;
            return Ok(KeptRun::Study { folder: folder.into(), seeds });
        }
        if folder.join(reproduce::BEGUN).exists() {
            let detail = "holds a reproduction: name one of its steps, a store or the folder of a training run in it";
            return Err(Error::file(folder, detail));
        }
        if !run.model().exists() {
            let detail = match run.resumable() {
                Some(_) => "holds a training run that isn't over: `train --resume` goes on with it",
                None => "holds no training run: there is no model.safetensors",
            };
            return Err(Error::file(folder, detail));
        }
        Ok(KeptRun::Training { run })
    }

    /// What it is, in words.
    pub fn what(&self) -> String {
        match self {
            KeptRun::Campaign { run, shard, .. } => {
                let layers = run.manifest.layers.len();
                let part = shard.map_or_else(String::new, |shard| format!(", shard {shard}"));
                format!("a campaign over {layers} layers{part}")
            }
            KeptRun::Census { census, .. } => format!("a census of {}", census.mode.name()),
            KeptRun::Training { .. } => "a training run".into(),
            KeptRun::Study { seeds, .. } => format!("a study over {} training seeds", seeds.len()),
        }
    }

    /// Whether its weights are trained.
    pub fn trains(&self) -> bool {
        matches!(self, KeptRun::Training { .. } | KeptRun::Study { .. })
    }

    /// The command line of the same run.
    ///
    /// # Errors
    /// A run that doesn't keep its flags, or whose flags name what isn't there.
    pub fn words(&self, again: &Again<'_>) -> Result<Vec<OsString>> {
        let program = command();
        let (name, flags, given) = match self {
            KeptRun::Campaign { path, run, .. } => {
                let flags = inject::file_flags(&program);
                let given = flags.read(path, kept_flags(path, run.manifest.config.as_ref())?)?;
                ("inject", flags, given)
            }
            KeptRun::Census { path, manifest, .. } => {
                let flags = inject::file_flags(&program);
                let given = flags.read(path, kept_flags(path, manifest.config.as_ref())?)?;
                ("inject", flags, given)
            }
            KeptRun::Training { run } => {
                let flags = args_file::file_flags(&program, "train");
                let detail = "isn't there: runs of older versions don't keep their flags, and those of a study are run \
                              again with it (`flipside rerun` of the study's folder)";
                let given = args_of(&run.folder, &flags, detail)?;
                ("train", flags, given)
            }
            KeptRun::Study { folder, .. } => {
                let flags = args_file::file_flags(&program, "study");
                let detail = "isn't there: studies of older versions don't keep their flags, and are repeated by the same \
                              `flipside study` command";
                let given = args_of(folder, &flags, detail)?;
                if again.data.is_some() && !given.contains_key("data") {
                    return Err(Error::usage(
                        "--data has no effect with a study of the images that are built in",
                    ));
                }
                ("study", flags, given)
            }
        };
        let given = flags.merge(&self.own(again)?, given);
        for key in PATHS {
            let can_move = match key {
                "data" => true,
                "checkpoint" => !self.trains(),
                _ => false,
            };
            // A model may be a name.
            let is_path = |value: &&String| key != "model" || value.contains('/');
            for value in given.get(key).into_iter().flatten().filter(is_path) {
                require(Path::new(value), key, can_move)?;
            }
        }
        Ok(std::iter::once(OsString::from(name)).chain(Flags::words(&given)).collect())
    }

    /// The flags that aren't the first run's.
    fn own(&self, again: &Again<'_>) -> Result<Given> {
        let mut own = Given::new();
        own.insert("threads".into(), vec![again.threads.to_string()]);
        if again.quiet {
            own.insert("quiet".into(), Vec::new());
        }
        let paths =
            [("out", Some(again.to)), ("data", again.data), ("checkpoint", again.checkpoint)];
        for (key, path) in paths.into_iter().filter_map(|(key, path)| Some((key, path?))) {
            let Some(text) = path.to_str() else {
                return Err(Error::file(path, "has a name that isn't text"));
            };
            own.insert(key.into(), vec![text.into()]);
        }
        if let KeptRun::Campaign { shard: Some(shard), .. } = self {
            own.insert("shard".into(), vec![shard.to_string()]);
        }
        Ok(own)
    }

    /// What is known, while the second run goes on, of whether it is of the same setting.
    pub fn setting_difference(&self, to: &Path) -> SettingCheck {
        let difference = match self {
            KeptRun::Campaign { run, .. } => match Run::open_partial(to) {
                Ok((again, _)) => run.manifest.difference(&again.manifest),
                // It isn't there yet, or is being made.
                Err(_) => return SettingCheck::Unknown,
            },
            // What it was counted on is written with the first counts.
            KeptRun::Census { .. } => return SettingCheck::Unknown,
            KeptRun::Training { run } => match train::facts_of(to) {
                Ok(again) => match train::facts_of(&run.folder) {
                    Ok(first) => first.difference(&again),
                    Err(_) => None,
                },
                Err(_) => return SettingCheck::Unknown,
            },
            // The first campaign is the first to say what it is of: when three models are trained.
            KeptRun::Study { folder, seeds } => {
                let (seed, start) = (seeds[0], ModelStart::ALL[0]);
                let store = |of: &Path| study::model_folder(of, seed, start).join(study::RUN);
                let Ok((again, _)) = Run::open_partial(&store(to)) else {
                    return SettingCheck::Unknown;
                };
                match Run::open_partial(&store(folder)) {
                    Ok((first, _)) => first
                        .manifest
                        .difference(&again.manifest)
                        .map(|found| format!("seed {seed}, {}: {found}", start.name())),
                    Err(_) => None,
                }
            }
        };
        difference.map_or(SettingCheck::Equal, SettingCheck::Different)
    }

    /// Compares it with the run at `to`, which is over.
    ///
    /// # Errors
    /// Those of the files.
    pub fn compare(&self, to: &Path) -> Result<ComparedRun> {
        match self {
            KeptRun::Campaign { run, .. } => {
                let (again, _) = Run::open_partial(to)?;
                let (records, images) = (run.records.len(), run.manifest.images.len());
                Ok(ComparedRun {
                    compared: format!("{records} records, {images} fault-free answers"),
                    difference: run.difference(&again),
                    notes: notes(&run.manifest.setting, &again.manifest.setting),
                })
            }
            KeptRun::Census { census, manifest, .. } => {
                let (again, of) = Census::open(to, census.mode)?;
                let (mode, images) = (census.mode.name(), census.images);
                Ok(ComparedRun {
                    compared: format!("the counts of {mode} over {images} images"),
                    difference: manifest.difference(&of).or_else(|| census.difference(&again)),
                    notes: notes(&manifest.setting, &of.setting),
                })
            }
            KeptRun::Training { run } => {
                let again = Output::at(to.into());
                let (first, second) = (train::facts_of(&run.folder)?, train::facts_of(to)?);
                let compared = compare_runs(run, &again)?;
                let (epochs, tensors) = (compared.epochs, compared.tensors);
                Ok(ComparedRun {
                    compared: format!("{epochs} epochs, {tensors} tensors of models and snapshot"),
                    difference: first.difference(&second).or(compared.difference),
                    notes: first.notes(&second),
                })
            }
            KeptRun::Study { folder, .. } => {
                let found = study::compare_studies(folder, to)?;
                let StudiesCompared { models, tensors, records, .. } = found;
                let mut told: Vec<String> =
                    found.settings.iter().flat_map(|[was, is]| notes(was, is)).collect();
                told.dedup();
                Ok(ComparedRun {
                    compared: format!(
                        "{tensors} tensors of {models} models, {records} records, and the study's figures"
                    ),
                    difference: found.difference,
                    notes: told,
                })
            }
        }
    }
}

/// The flags in a run's folder; `detail` says why there may be none.
fn args_of(folder: &Path, flags: &Flags, detail: &str) -> Result<Given> {
    let path = folder.join(ARGS);
    if !path.exists() {
        return Err(Error::file(&path, detail));
    }
    let text = std::fs::read_to_string(&path).map_err(|source| Error::io(&path, source))?;
    flags.read(&path, &text)
}

/// The flags that a store was begun with.
fn kept_flags<'c>(path: &Path, config: Option<&'c Config>) -> Result<&'c str> {
    let detail = "doesn't hold the flags that it was begun with, as stores of older versions don't; those of a study are run \
                  again with it (`flipside rerun` of the study's folder)";
    config.map(|config| config.flags.as_str()).ok_or_else(|| Error::file(path, detail))
}

/// What differs between two settings, and no bit depends on.
fn notes(was: &Setting, is: &Setting) -> Vec<String> {
    let fields = [
        ("commit", &was.commit, &is.commit),
        ("instruction set", &was.instruction_set, &is.instruction_set),
    ];
    let differing = fields.into_iter().filter(|(_, was, is)| was != is);
    differing.map(|(what, was, is)| format!("by another {what}: {was}, now {is}")).collect()
}

/// Refuses a path of the flags that leads nowhere.
fn require(path: &Path, flag: &str, can_move: bool) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let advice = match can_move {
        true => format!(": say --{flag} where it lies now"),
        false => {
            format!(", which --{flag} names: is this the folder that the first command was run in?")
        }
    };
    Err(Error::usage(format!("{}: there is no such file or folder{advice}", path.display())))
}
