//! `flipside cite`.

use std::path::{Path, PathBuf};

use super::common::{IntervalArgs, print, print_json, refuse_idle};
use crate::analysis::Intervals;
use crate::analysis::compare::{Pairing, compare_all};
use crate::census::Census;
use crate::plan::Protocol;
use crate::report::{Citation, CitePart, CitedRun, CitedStudy, run_names};
use crate::results::{Run, Store, verified};
use crate::study::{ModelStart, RUN, model_folder, study_json};
use crate::{Error, Result};

/// Write what a paper must say of campaigns
///
/// Prints a methods paragraph, a table and references, as LaTeX and BibTeX take them, and what a reviewer would miss. RUN is a
/// store of `inject`, or several, the baseline's first, or the folder of a study alone. Several are compared with the
/// baseline; where that can't be, a comment above the table says why. The margin of error is that of Leveugle et al. (2009) at
/// p = 0.5. GoldenEye's protocol has intervals of its own, of 99 %.
#[derive(clap::Args)]
pub struct Args {
    /// Stores of campaigns, or the folder of a study; of several stores the baseline's is first
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Print one part alone; methods, table, bibtex or caveats
    #[arg(long, value_name = "PART")]
    only: Option<CitePart>,
    /// Compare campaigns whose faults differ; as `compare --unpaired` does
    #[arg(long)]
    unpaired: bool,
    /// Print JSON instead of text; with the numbers beside the words
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    intervals: IntervalArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    args.check()?;
    let how = args.intervals.intervals();
    let (runs, study) = match args.runs.iter().find(|path| path.is_dir()) {
        Some(folder) if args.runs.len() > 1 => {
            let detail = "is a folder: a study's is given alone, and beside it no other run";
            return Err(Error::file(folder, detail).into());
        }
        Some(folder) => {
            let (runs, study) = of_study(folder, &how)?;
            refuse_idle([("--unpaired", args.unpaired, "on a study, whose campaigns are paired")])?;
            (runs, Some(study))
        }
        None => (of_stores(args, &how)?, None),
    };
    let is_goldeneye = |of: &CitedRun| of.run.manifest.plan.protocol == Protocol::Goldeneye;
    let goldeneyes = runs.iter().filter(|of| is_goldeneye(of)).count();
    if goldeneyes > 0 && goldeneyes < runs.len() {
        let detail = "runs by GoldenEye's protocol and by the strict one have no figure in common, and no table: name those \
                      of one alone";
        return Err(Error::usage(detail).into());
    }
    let is_bounded = |of: &CitedRun| {
        of.run.manifest.plan.detectors.iter().any(|detector| detector.bounds_the_mean())
    };
    refuse_idle([
        (
            "--confidence, --interval or --unit",
            args.intervals.are_given() && goldeneyes > 0,
            "on a run by GoldenEye's protocol: its figures have normal intervals of 99 %",
        ),
        (
            "--unit",
            args.intervals.has_unit() && !runs.iter().any(is_bounded),
            "on campaigns without a mean of ΔLoss: it takes the range detector",
        ),
    ])?;
    let citation = Citation::of(&runs, study.as_ref(), &how);
    match args.json {
        true => print_json(&citation.json(args.only)),
        false => print(&citation.text(args.only)),
    }
}

impl Args {
    /// Refuses flags that would do nothing.
    fn check(&self) -> Result<()> {
        let is_words = matches!(self.only, Some(CitePart::Bibtex | CitePart::Caveats));
        refuse_idle([
            (
                "--confidence, --interval or --unit",
                is_words && self.intervals.are_given(),
                "on references and caveats (--only), which are of no interval",
            ),
            ("--unpaired", self.unpaired && self.runs.len() < 2, "on a single run"),
            (
                "--unpaired",
                self.unpaired && self.only == Some(CitePart::Bibtex),
                "on references (--only bibtex)",
            ),
        ])
    }
}

/// A store's campaign, under a name that is still to be found.
///
/// # Errors
/// A store that holds no campaign, or a part of one.
fn open(path: &Path) -> Result<CitedRun> {
    if !Store::has_campaign(path)? {
        let detail = "holds no campaign: a census draws no faults, and `flipside report --exhaustive` prints it";
        return Err(Error::file(path, detail));
    }
    Ok(CitedRun {
        name: String::new(),
        store: path.into(),
        run: Run::open(path)?,
        verified: verified(path)?,
        censuses: Census::modes(path)?,
        compared: None,
    })
}

/// Campaigns, each but the first compared with the first.
fn of_stores(args: &Args, how: &Intervals) -> Result<Vec<CitedRun>> {
    let mut runs: Vec<CitedRun> = args.runs.iter().map(|path| open(path)).collect::<Result<_>>()?;
    let names = run_names(&runs.iter().map(|of| &of.run).collect::<Vec<_>>());
    for (of, name) in runs.iter_mut().zip(names) {
        of.name = name;
    }
    let pairing = if args.unpaired { Pairing::Unpaired } else { Pairing::Paired };
    compare_with_first(&mut runs, pairing, how);
    Ok(runs)
}

/// Compares all but the first with the first; what can't be compared says why.
fn compare_with_first(runs: &mut [CitedRun], pairing: Pairing, how: &Intervals) {
    let Some((first, others)) = runs.split_first_mut() else { return };
    for of in others {
        let found = compare_all(&[[&first.run, &of.run]], pairing, how);
        let found = found.map_err(|error| error.to_string()).and_then(|found| {
            found.rows.into_iter().next().map(Box::new).ok_or_else(|| "nothing came of it".into())
        });
        of.compared = Some((first.name.clone(), found));
    }
}

/// The campaigns of a study's folder, each seed's baseline first.
fn of_study(folder: &Path, how: &Intervals) -> Result<(Vec<CitedRun>, CitedStudy)> {
    let (json, seeds) = study_json(folder)?;
    let mut all = Vec::new();
    for seed in seeds {
        let mut runs = Vec::new();
        for start in ModelStart::ALL {
            let store = model_folder(folder, seed, start).join(RUN);
            let name = format!("{} (seed {seed})", start.name());
            runs.push(CitedRun { name, ..open(&store)? });
        }
        compare_with_first(&mut runs, Pairing::Paired, how);
        all.extend(runs);
    }
    Ok((all, CitedStudy { json }))
}
