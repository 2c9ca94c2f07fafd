//! `flipside inject --allocate`: how many injections layers and bits get.

use std::path::{Path, PathBuf};

use crate::analysis::{PILOT, allocate};
use crate::campaign::{Campaign, Experiment, Strategy, pilot, pilot_seed};
use crate::fault::Site;
use crate::plan::{Allocation, Pilot, Plan, Stratify};
use crate::progress::Progress;
use crate::results::{Run, Store};
use crate::{Error, Result};

/// What injections are allocated by.
#[derive(Clone, Debug)]
pub(super) enum Allocate {
    /// A pilot of the campaign's own.
    Pilot,
    /// The campaign that a store keeps.
    Store(PathBuf),
}

impl std::str::FromStr for Allocate {
    type Err = std::convert::Infallible;

    fn from_str(word: &str) -> std::result::Result<Allocate, Self::Err> {
        Ok(match word {
            "pilot" => Allocate::Pilot,
            path => Allocate::Store(path.into()),
        })
    }
}

impl Allocate {
    /// The plan with its injections allocated, where that is by a store; refuses what can't be allocated. `injections`
    /// is what was asked for of a layer.
    pub(super) fn by_store(&self, plan: Plan, injections: Option<u64>) -> Result<Plan> {
        if plan.site == Site::StoreLost {
            return Err(Error::usage(
                "--allocate: a lost store flips no bit, so that nothing can be allocated to bits",
            ));
        }
        // What bits in turn can't be, allocated ones can't be either.
        Plan { stratify: Stratify::Bit, ..plan.clone() }
            .check()
            .map_err(|error| Error::usage(format!("--allocate: {error}")))?;
        let plan = match self {
            Allocate::Pilot => plan,
            Allocate::Store(path) => by_store(path, plan, injections)?,
        };
        plan.check()?;
        Ok(plan)
    }

    /// The plan with its injections allocated by a pilot, where that is asked for. It isn't run again for a store that
    /// is gone on with, `resumed`.
    pub(super) fn by_pilot(
        &self,
        plan: Plan,
        experiment: &Experiment<'_>,
        strategy: impl Fn(&Campaign<'_>) -> Strategy,
        resumed: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<Plan> {
        let Allocate::Pilot = self else { return Ok(plan) };
        let own = Pilot {
            checkpoint: experiment.provenance.checkpoint.clone(),
            seed: pilot_seed(plan.seed),
            injections: PILOT,
        };
        let allocation = match resumed.and_then(|path| kept(path, &own)) {
            Some(allocation) => allocation,
            None => {
                progress.line(&format!(
                    "a pilot of {PILOT} injections a layer allocates {} a layer",
                    plan.injections.end
                ));
                let pilot = pilot(experiment, &plan, strategy, progress)?;
                allocate(&pilot, plan.injections.end)?
            }
        };
        Ok(Plan { stratify: Stratify::Allocated(allocation), ..plan })
    }
}

/// The plan with the allocation of a store, or else one by its records.
fn by_store(path: &Path, plan: Plan, asked: Option<u64>) -> Result<Plan> {
    let there = Store::manifest(path)?;
    let refusal = |detail: String| Error::usage(format!("--allocate: {} {detail}", path.display()));
    if there.plan.site != plan.site {
        let [theirs, ours] = [there.plan.site, plan.site].map(Site::name);
        return Err(refusal(format!("is of the site {theirs}, not {ours}")));
    }
    if there.plan.list.is_some() {
        return Err(refusal("holds a list's faults, which say nothing of others".into()));
    }
    if let Stratify::Allocated(_) = there.plan.stratify {
        let injections = there.plan.injections;
        return match asked {
            Some(n) if n != injections.end => Err(refusal(format!(
                "has {} injections a layer on average, not {n}: leave out --injections to take its numbers",
                injections.end
            ))),
            _ => Ok(Plan { injections, stratify: there.plan.stratify, ..plan }),
        };
    }
    let allocation = allocate(&Run::open(path)?, plan.injections.end)
        .map_err(|error| refusal(format!("can't serve as a pilot: {error}")))?;
    Ok(Plan { stratify: Stratify::Allocated(allocation), ..plan })
}

/// The allocation of a store, if it is by the pilot `own`. A file that can't be read is for whoever goes on with it to
/// refuse.
fn kept(path: &Path, own: &Pilot) -> Option<Allocation> {
    match Store::manifest(path).ok()?.plan.stratify {
        Stratify::Allocated(allocation) if allocation.pilot == *own => Some(allocation),
        _ => None,
    }
}
