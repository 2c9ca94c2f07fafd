//! The pilot of an allocated campaign.

use super::experiment::Experiment;
use super::scheduler::Strategy;
use super::setup::Campaign;
use crate::Result;
use crate::analysis::{PILOT, check_budget};
use crate::plan::{Plan, Stratify};
use crate::progress::Progress;
use crate::results::Run;
use crate::rng::{self, Draw};

/// What the pilot of a campaign is drawn from: streams of their own, so that its faults are independent of the
/// campaign's.
pub fn pilot_seed(seed: u64) -> u64 {
    rng::stream(seed, "pilot").next_u64()
}

/// Runs a pilot of the campaign that `plan` asks for: [`PILOT`] injections into each of its layers, bits in turn. What
/// [`allocate`](crate::analysis::allocate) makes of them is the same wherever and however they are run.
///
/// # Errors
/// A plan whose injections can't be allocated; what running says.
pub fn pilot(
    experiment: &Experiment<'_>,
    plan: &Plan,
    strategy: impl Fn(&Campaign<'_>) -> Strategy,
    progress: &dyn Progress,
) -> Result<Run> {
    let of_pilot = Plan {
        seed: pilot_seed(plan.seed),
        injections: 0..PILOT,
        stratify: Stratify::Bit,
        ..plan.clone()
    };
    let campaign = Campaign::new(experiment, of_pilot)?;
    check_budget(&campaign.manifest(), plan.injections.end)?;
    let records = campaign.run(strategy(&campaign), progress)?;
    Ok(campaign.results(records))
}
