//! The pilot of an allocated campaign.

use super::experiment::Experiment;
use super::scheduler::Strategy;
use super::setup::Campaign;
use crate::analysis::{PILOT, check_budget};
use crate::plan::{Allocation, Plan, Stratify};
use crate::progress::Progress;
use crate::results::Run;
use crate::rng::{self, Draw};
use crate::{Error, Result};

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

/// Refuses an allocation that says nothing of `layers`, by pair key and bits of a value, or not how many injections
/// each of their bits gets.
pub(super) fn check<'l>(
    allocation: &Allocation,
    layers: impl Iterator<Item = (&'l str, u32)>,
) -> Result<()> {
    let mut is_known = false;
    for (pair_key, bits) in layers {
        let Some(counts) = allocation.layers.get(pair_key) else { continue };
        is_known = true;
        if counts.len() != bits as usize {
            return Err(Error::usage(format!(
                "injections into the layer '{pair_key}' are allocated to {} bits, but its values have {bits}: the \
                 allocation is of another device or --compute",
                counts.len()
            )));
        }
        if counts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count)).is_none() {
            return Err(Error::usage(format!(
                "the allocation has more injections for the layer '{pair_key}' than there are numbers"
            )));
        }
        if let Some(bit) = counts.iter().position(|count| *count == 0) {
            return Err(Error::usage(format!(
                "the allocation has no injection for bit {bit} of the layer '{pair_key}', so that its figures \
                 wouldn't be of all faults"
            )));
        }
    }
    if !is_known {
        return Err(Error::usage(
            "injections are allocated to none of the layers: the allocation is of another network or site",
        ));
    }
    Ok(())
}
