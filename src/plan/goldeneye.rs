//! What GoldenEye's protocol asks of a plan.

use super::{Flips, Labels, Plan, Stratify};
use crate::detector::Detector;
use crate::fault::Site;
use crate::{Error, Result};

/// Refuses plans that its rules don't hold.
pub(super) fn check(plan: &Plan) -> Result<()> {
    let refuse = |detail| Err(Error::usage(format!("the goldeneye protocol {detail}")));
    if plan.site != Site::Output {
        return refuse("knows the site output alone");
    }
    if plan.flips != Flips::Count(1)
        || plan.bits != 1
        || !plan.only_bits.is_all()
        || plan.stratify != Stratify::No
    {
        return refuse("flips one uniformly drawn bit of one value");
    }
    if plan.detectors != [Detector::Range] {
        return refuse("has the range detector always on: say --detector range, or nothing");
    }
    if plan.labels != Labels::Data {
        return refuse("judges by the data's labels");
    }
    Ok(())
}
