//! Which campaigns can have more injections than they were begun with.

use super::{Plan, Shard, Stratify};
use crate::{Error, Result};

impl Plan {
    /// Refuses to make this campaign, of which `shard` is at hand, one of `injections` a layer. Where it can be, what
    /// is there is the first part of the larger one: injection n of a layer is the same in both.
    ///
    /// # Errors
    /// [`Error::Usage`] with the reason, which goes on from the store's name.
    pub fn check_growth(&self, injections: u64, shard: Shard) -> Result<()> {
        let there = self.injections.end;
        let refuse = |why: String| {
            Err(Error::usage(format!("can't grow to --injections {injections}: it {why}")))
        };
        if self.list.is_some() {
            return refuse("holds a list's faults, which are as many as they are".into());
        }
        if self.until.is_some() {
            return refuse(
                "holds a campaign that stops by --half-width, whose looks depend on the most injections there may be"
                    .into(),
            );
        }
        if let Stratify::Allocated(_) = self.stratify {
            return refuse(format!(
                "holds an allocated campaign, whose layers and bits have their numbers for {there} injections a layer \
                 on average"
            ));
        }
        if self.injections.start != 0 {
            return refuse("holds one injection of each layer (--only)".into());
        }
        if injections < there {
            return refuse(format!(
                "holds a campaign of {there} injections a layer, and none is taken away"
            ));
        }
        if shard != Shard::WHOLE {
            return refuse(format!(
                "holds shard {shard} of a campaign of {there} injections a layer, and parts of unlike campaigns can't \
                 be merged. Merge all shards and let the whole grow"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Allocation, Pilot};
    use crate::statistics::{Confidence, StoppingRule, Target};

    #[test]
    fn what_can_t_grow_says_why() {
        let plan = Plan::new(1, 500);
        let refused = |plan: &Plan, injections: u64, shard: Shard, why: &str| {
            let error = plan.check_growth(injections, shard).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        assert!(plan.check_growth(1000, Shard::WHOLE).is_ok());
        assert!(plan.check_growth(500, Shard::WHOLE).is_ok());
        // Weights follow from the number of injections that the plan has then.
        let in_turn = Plan { stratify: Stratify::Bit, ..plan.clone() };
        assert!(in_turn.check_growth(1000, Shard::WHOLE).is_ok());
        refused(&plan, 499, Shard::WHOLE, "none is taken away");
        refused(&plan, 1000, Shard { index: 1, of: 2 }, "shard 1/2");
        refused(&Plan { injections: 3..4, ..plan.clone() }, 1000, Shard::WHOLE, "--only");
        refused(&Plan { list: Some("a".into()), ..plan.clone() }, 1000, Shard::WHOLE, "a list's");
        let rule = StoppingRule::new(Target::Sdc, 0.1, Confidence::default()).unwrap();
        refused(&Plan { until: Some(rule), ..plan.clone() }, 1000, Shard::WHOLE, "--half-width");
        let pilot = Pilot { checkpoint: String::new(), seed: 2, injections: 384 };
        let stratify = Stratify::Allocated(Allocation { pilot, layers: Default::default() });
        refused(&Plan { stratify, ..plan.clone() }, 1000, Shard::WHOLE, "allocated");
    }
}
