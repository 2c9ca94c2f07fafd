//! Going on with a store: whether the flags ask for what it holds, found out before anything is run.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::model::Loaded;
use super::Args;
use crate::campaign::{Experiment, pilot_seed};
use crate::error::{MOST_NAMED, some_of};
use crate::plan::{Plan, Shard, Stratify};
use crate::progress::Progress;
use crate::results::store::file::is_empty;
use crate::results::{Manifest, Store, choice};
use crate::{Error, Result};

/// The store that is gone on with.
pub(super) struct Resumed {
    path: PathBuf,
    there: Manifest,
    shards: Vec<(Shard, bool)>,
}

/// What differs between a store and the flags: a flag with the store's value, and with the one that was asked for.
type Difference = (String, String);

impl Args {
    /// Whether a store is gone on with, or a census.
    pub(super) fn is_resumed(&self) -> bool {
        self.resume.is_some()
    }

    /// The file that keeps what is run.
    pub(super) fn kept_in(&self) -> Option<&PathBuf> {
        self.resume.as_ref().and_then(Option::as_ref).or(self.out.as_ref())
    }

    /// Refuses paths that come from a file and lead nowhere.
    pub(super) fn check_paths(&self) -> Result<()> {
        let check = |key: &str, path: &PathBuf| self.gathered.check_path(key, path);
        check("data", &self.data)?;
        self.model.checkpoint().iter().try_for_each(|path| check("checkpoint", path))?;
        self.right_in.iter().try_for_each(|path| check("right-in", path))?;
        self.class_list.iter().try_for_each(|path| check("class-list", path))?;
        self.faults.iter().try_for_each(|path| check("faults", path))
    }

    /// The part of the campaign that is run: that of the store, where it is named alone.
    pub(super) fn part(&self) -> Result<Shard> {
        match (&self.shard, &self.resume) {
            (Some(shard), _) => shard.parse(),
            (None, Some(Some(path))) if self.exhaustive.is_none() => {
                match Store::shards(path)?.as_slice() {
                    [(shard, _)] => Ok(*shard),
                    several => Err(Error::usage(format!(
                        "{} holds the shards {}, which are whole: each is gone on with in its own store",
                        path.display(),
                        names(several)
                    ))),
                }
            }
            _ => Ok(Shard::WHOLE),
        }
    }
}

fn names(shards: &[(Shard, bool)]) -> String {
    let names: Vec<String> = shards.iter().map(|(shard, _)| shard.to_string()).collect();
    some_of(&names, MOST_NAMED)
}

impl Resumed {
    /// The store at `path`, unless there is none or a run was killed before it had written anything.
    pub(super) fn open(path: &Path) -> Result<Option<Resumed>> {
        if !path.exists() || is_empty(path)? {
            return Ok(None);
        }
        let (there, shards) = (Store::manifest(path)?, Store::shards(path)?);
        Ok(Some(Resumed { path: path.into(), there, shards }))
    }

    /// Refuses a plan or a part that isn't the store's; a larger number of injections is for [`Resumed::grow`].
    pub(super) fn check_plan(&self, args: &Args, plan: &Plan, shard: Shard) -> Result<()> {
        let mut asked = plan.clone();
        let there = &self.there.plan;
        if let (Some(injections), Some(_), None) = (args.injections, &there.list, &plan.list) {
            self.check_growth(injections, shard)?;
        }
        if let (Some(super::Allocate::Pilot), Stratify::Allocated(allocation)) =
            (&args.allocate, &there.stratify)
            && (there.seed != asked.seed || allocation.pilot.seed == pilot_seed(asked.seed))
        {
            // It is what the pilot says, which has run already.
            asked.stratify = there.stratify.clone();
        }
        let injections = asked.injections.end;
        let has_grown =
            injections != there.injections.end && asked.injections.start == there.injections.start;
        if has_grown {
            asked.injections = there.injections.clone();
        }
        self.refuse(differences(there, &asked)?)?;
        if self.shards.iter().all(|(held, _)| *held != shard) || self.shards.len() > 1 {
            return Err(Error::usage(format!(
                "{} holds shard {}, not {shard}",
                self.path.display(),
                names(&self.shards)
            )));
        }
        if has_grown { self.check_growth(injections, shard) } else { Ok(()) }
    }

    /// Refuses to make a campaign larger that can't be.
    fn check_growth(&self, injections: u64, shard: Shard) -> Result<()> {
        let growth = self.there.plan.check_growth(injections, shard);
        growth.map_err(|error| Error::usage(format!("{} {error}", self.path.display())))
    }

    /// `plan`, whose one injection is to be told, as one of this store's campaign.
    ///
    /// # Errors
    /// Flags by which the campaign's injections are others; an injection or layers that it doesn't have.
    pub(super) fn told(&self, plan: Plan) -> Result<Plan> {
        let (there, path) = (&self.there.plan, self.path.display());
        let refuse = |why: String| Err(Error::usage(format!("{path} {why}")));
        if there.list.is_some() {
            return refuse(
                "holds a list's faults, which --only doesn't know: --faults runs a list".into(),
            );
        }
        if let Stratify::Allocated(_) = there.stratify {
            return refuse(
                "holds an allocated campaign, whose injections --only can't draw".into(),
            );
        }
        // What doesn't decide on which fault an injection is.
        let asked = Plan {
            injections: there.injections.clone(),
            until: there.until,
            layers: there.layers.clone(),
            detectors: there.detectors.clone(),
            temperatures: there.temperatures.clone(),
            ..plan.clone()
        };
        self.refuse(differences(there, &asked)?)?;
        let (number, Range { start, end }) = (plan.injections.start, there.injections.clone());
        if !there.injections.contains(&number) {
            let last = end.saturating_sub(1);
            return refuse(format!(
                "holds injections {start} to {last} of each layer, not {number}"
            ));
        }
        let layers = match &plan.layers {
            Some(patterns) if plan.layers != there.layers => {
                let rows = &self.there.layers;
                let layers: Vec<_> = rows.iter().map(|row| (&*row.name, &*row.kind)).collect();
                let lacks = format!("{path} has no layer");
                let words = choice::Words { lacks: &lacks, known: "its layers are" };
                let chosen = choice::choose(&layers, patterns, &words)?;
                Some(chosen.into_iter().map(|at| rows[at].name.clone()).collect())
            }
            layers => layers.clone(),
        };
        Ok(Plan { layers, ..plan })
    }

    /// Refuses to hit other images than the store's faults do.
    pub(super) fn check_images(&self, experiment: &Experiment<'_>) -> Result<()> {
        let there = self.there.images.iter().map(|row| row.image);
        let here = experiment.goldens.iter().map(|golden| golden.image);
        match there.collect::<BTreeSet<_>>() == here.collect() {
            true => Ok(()),
            false => Err(Error::usage(format!(
                "{}: its faults hit {} images, and with these flags they would hit {} others",
                self.path.display(),
                self.there.images.len(),
                experiment.goldens.len()
            ))),
        }
    }

    /// Refuses another network or other images than the store's.
    pub(super) fn check_network(&self, loaded: &Loaded, data: String) -> Result<()> {
        let there = &self.there.setting;
        let (from, device) = (&there.provenance, loaded.network.device());
        let model = &loaded.network.model;
        let short = |hash: &str| hash.chars().take(12).collect::<String>();
        let sha256 = |hash: &str| format!("--checkpoint (SHA-256 {})", short(hash));
        let images =
            |hash: &str| format!("--data (names and sizes of its images: {})", short(hash));
        let pairs = [
            (
                format!("version {}", there.version),
                format!("version {}", env!("CARGO_PKG_VERSION")),
            ),
            (format!("--model {}", from.model), format!("--model {}", loaded.file.name)),
            (sha256(&from.checkpoint), sha256(&loaded.sha256)),
            (images(&from.data), images(&data)),
            (format!("--device {}", there.device), format!("--device {}", device.kind())),
            (format!("--compute {}", there.compute), format!("--compute {}", device.compute())),
            (
                format!("--image-size {}", there.image_size),
                format!("--image-size {}", model.image_size),
            ),
        ];
        // Told apart by all of a hash.
        let differs = [
            there.version != env!("CARGO_PKG_VERSION"),
            from.model != loaded.file.name,
            from.checkpoint != loaded.sha256,
            from.data != data,
            there.device != device.kind().to_string(),
            there.compute != device.compute(),
            there.image_size != model.image_size,
        ];
        let differing = pairs.into_iter().zip(differs).filter(|(_, differs)| *differs);
        self.refuse(differing.map(|(pair, _)| pair).collect())
    }

    /// Refuses ranges over another number of images than the store's.
    pub(super) fn check_ranges(&self, images: usize) -> Result<()> {
        let flag = |images: usize| format!("--range-images {images}");
        let there = self.there.setting.ranges_over.as_ref().filter(|over| over.images != images);
        self.refuse(there.iter().map(|over| (flag(over.images), flag(images))).collect())
    }

    fn refuse(&self, differences: Vec<Difference>) -> Result<()> {
        if differences.is_empty() {
            return Ok(());
        }
        let (there, asked): (Vec<_>, Vec<_>) = differences.into_iter().unzip();
        Err(Error::usage(format!(
            "{} holds another campaign than this one: it was begun with {}, not {}",
            self.path.display(),
            there.join(" and "),
            asked.join(" and ")
        )))
    }

    /// Makes the store's campaign as large as that of `manifest`, where that has more injections.
    pub(super) fn grow(&self, manifest: &Manifest, progress: &dyn Progress) -> Result<()> {
        let (from, to) = (self.there.plan.injections.end, manifest.plan.injections.end);
        if to <= from {
            return Ok(());
        }
        let path = self.path.display();
        progress.line(&format!(
            "{path} grows from {from} to {to} injections a layer: until they are there, `report --partial` alone reads it"
        ));
        Store::grow(&self.path, manifest)
    }
}

/// What two plans differ in, as flags.
fn differences(there: &Plan, asked: &Plan) -> Result<Vec<Difference>> {
    let json = |plan: &Plan| {
        serde_json::to_value(plan).map_err(|error| Error::usage(format!("the plan: {error}")))
    };
    let (there, asked) = (json(there)?, json(asked)?);
    // What is empty may have no key.
    let keys = [&there, &asked].into_iter().filter_map(Value::as_object);
    let mut keys: Vec<&String> = keys.flat_map(|plan| plan.keys()).collect();
    keys.sort();
    keys.dedup();
    let differing = keys.into_iter().filter(|key| there[*key] != asked[*key]);
    Ok(differing.map(|key| (flag(key, &there[key]), flag(key, &asked[key]))).collect())
}

/// A field of a plan as the flag that it comes from.
fn flag(key: &str, value: &Value) -> String {
    let name = match key {
        "until" => "half-width",
        "list" => "faults",
        "detectors" => "detector",
        "layers" => "layer",
        "temperatures" => "temperature",
        key => key,
    };
    let name = format!("--{}", name.replace('_', "-"));
    match (key, value) {
        ("injections", value) => match (value["start"].as_u64(), value["end"].as_u64()) {
            (Some(0), Some(end)) => format!("--injections {end}"),
            (Some(start), _) => format!("--only {start}"),
            _ => name,
        },
        ("until", Value::Object(rule)) => format!(
            "{name} {} --stop-at {} --confidence {}",
            word(&rule["half_width"]),
            word(&rule["target"]),
            word(&rule["confidence"])
        ),
        ("flips", Value::Object(flips)) => match flips.get("rate") {
            Some(rate) => format!("--ber {}", word(rate)),
            None => format!("{name} {}", word(&flips["count"])),
        },
        ("stratify", Value::Object(_)) => "--allocate".into(),
        ("stratify", Value::String(by)) if by == "no" => "no --stratify".into(),
        ("list", Value::String(hash)) => {
            format!("{name} (SHA-256 {})", hash.chars().take(12).collect::<String>())
        }
        ("layers", Value::Array(layers)) => {
            let layers: Vec<String> =
                layers.iter().map(|layer| format!("{name} {}", word(layer))).collect();
            layers.join(" ")
        }
        (_, Value::Null) => format!("no {name}"),
        (_, value) => format!("{name} {}", word(value)),
    }
}

/// A value as it is typed.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(word).collect::<Vec<_>>().join(","),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::Detector;
    use crate::plan::{Flips, Temperature};
    use crate::statistics::{Confidence, StoppingRule, Target};

    #[test]
    fn differences_are_told_as_flags() {
        let plan = Plan::new(1, 500);
        let rule = StoppingRule::new(Target::Sdc5, 0.25, Confidence::default()).unwrap();
        for (asked, there_says, asked_says) in [
            (Plan { seed: 2, ..plan.clone() }, "--seed 1", "--seed 2"),
            (Plan { injections: 3..4, ..plan.clone() }, "--injections 500", "--only 3"),
            (
                Plan { until: Some(rule), ..plan.clone() },
                "no --half-width",
                "--half-width 0.25 --stop-at sdc5 --confidence 0.95",
            ),
            (Plan { flips: Flips::Rate(0.5), ..plan.clone() }, "--flips 1", "--ber 0.5"),
            (Plan { stratify: Stratify::Bit, ..plan.clone() }, "no --stratify", "--stratify bit"),
            (
                Plan { list: Some("0123456789abcdef".into()), ..plan.clone() },
                "no --faults",
                "--faults (SHA-256 0123456789ab)",
            ),
            (
                Plan { detectors: vec![Detector::None], ..plan.clone() },
                "--detector none,range",
                "--detector none",
            ),
            (
                Plan { layers: Some(vec!["fc".into(), "conv*".into()]), ..plan.clone() },
                "no --layer",
                "--layer fc --layer conv*",
            ),
            (
                Plan { temperatures: vec![Temperature::Range(2.0)], ..plan.clone() },
                "no --temperature",
                "--temperature range=2",
            ),
        ] {
            let found = differences(&plan, &asked).unwrap();
            assert_eq!(found, [(there_says.to_string(), asked_says.to_string())]);
        }
        assert_eq!(differences(&plan, &plan.clone()).unwrap(), []);
        let both = differences(&plan, &Plan { seed: 2, bits: 3, ..plan.clone() }).unwrap();
        assert_eq!(both.len(), 2);
    }
}
