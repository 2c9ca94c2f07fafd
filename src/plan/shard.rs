//! Parts of a campaign, for machines side by side.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A part of a campaign: the injections whose number leaves the remainder `index` − 1 by `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard {
    /// From 1 to `of`.
    pub index: u64,
    pub of: u64,
}

impl Shard {
    /// The whole campaign.
    pub const WHOLE: Shard = Shard { index: 1, of: 1 };

    /// Whether injection number `n` is in it.
    pub fn holds(self, n: u64) -> bool {
        n % self.of == self.index - 1
    }

    /// The part that a job of an array has, by its scheduler's variables: Slurm's
    /// (`SLURM_ARRAY_TASK_ID`, `_MIN`, `_STEP`, `_COUNT`), or those of an indexed job of Kubernetes
    /// (`JOB_COMPLETION_INDEX`, from 0), whose number of parts isn't among them: `of`.
    ///
    /// # Errors
    /// [`Error::Usage`] that says which variable isn't there or isn't a number.
    pub fn of_array(of: Option<u64>, variable: impl Fn(&str) -> Option<String>) -> Result<Shard> {
        let number = |name: &str| -> Result<Option<u64>> {
            let Some(text) = variable(name) else { return Ok(None) };
            let bad = |_| Error::usage(format!("the variable {name} is '{text}', not a number"));
            text.trim().parse().map(Some).map_err(bad)
        };
        let place = if let Some(id) = number("SLURM_ARRAY_TASK_ID")? {
            let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
            let step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
            Some((id.saturating_sub(first) / step, number("SLURM_ARRAY_TASK_COUNT")?))
        } else {
            number("JOB_COMPLETION_INDEX")?.map(|index| (index, None))
        };
        let Some((place, count)) = place else {
            return Err(Error::usage(
                "--shard auto: neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set",
            ));
        };
        let Some(of) = of.or(count) else {
            return Err(Error::usage(
                "--shard auto: the scheduler doesn't say how many parts there are: say --shard auto/N",
            ));
        };
        Shard { index: place.saturating_add(1), of }.checked()
    }

    fn checked(self) -> Result<Shard> {
        let Shard { index, of } = self;
        if of == 0 || index == 0 || index > of || of > u32::MAX.into() {
            return Err(Error::usage(format!(
                "there is no part {index} of {of}: parts count from 1, up to {}",
                u32::MAX
            )));
        }
        Ok(self)
    }
}

impl FromStr for Shard {
    type Err = Error;

    /// `i/n` with i from 1 to n, or `auto` or `auto/n`, see [`Shard::of_array`].
    fn from_str(text: &str) -> Result<Shard> {
        let bad = || Error::usage(format!("a shard is I/N, auto or auto/N, not '{text}'"));
        let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
        let variable = |name: &str| std::env::var(name).ok();
        match text.split_once('/') {
            None if text == "auto" => Shard::of_array(None, variable),
            None => Err(bad()),
            Some(("auto", of)) => Shard::of_array(Some(number(of)?), variable),
            Some((index, of)) => Shard { index: number(index)?, of: number(of)? }.checked(),
        }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_read_from_flags_and_schedulers() {
        assert_eq!("3/7".parse::<Shard>().unwrap(), Shard { index: 3, of: 7 });
        for bad in
            ["0/7", "8/7", "1/0", "1", "x/2", "1/x", "-1/2", "auto/x", "auto/0", "1/4294967296"]
        {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
        let array = |of, pairs: &'static [(&str, &str)]| {
            Shard::of_array(of, |name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
            })
        };
        let slurm: &[_] = &[
            ("SLURM_ARRAY_TASK_ID", "14"),
            ("SLURM_ARRAY_TASK_MIN", "10"),
            ("SLURM_ARRAY_TASK_STEP", "2"),
            ("SLURM_ARRAY_TASK_COUNT", "5"),
        ];
        assert_eq!(array(None, slurm).unwrap(), Shard { index: 3, of: 5 });
        let kubernetes: &[_] = &[("JOB_COMPLETION_INDEX", "0")];
        assert_eq!(array(Some(4), kubernetes).unwrap(), Shard { index: 1, of: 4 });
        assert!(array(None, kubernetes).unwrap_err().to_string().contains("auto/N"));
        assert!(array(Some(2), &[("JOB_COMPLETION_INDEX", "2")]).is_err());
        assert!(array(None, &[]).unwrap_err().to_string().contains("SLURM_ARRAY_TASK_ID"));
        let words: &[_] = &[("SLURM_ARRAY_TASK_ID", "x")];
        assert!(array(Some(2), words).unwrap_err().to_string().contains("not a number"));
    }

    #[test]
    fn shards_part_the_injections() {
        for n in 0..100 {
            let held = (1..=7).filter(|index| Shard { index: *index, of: 7 }.holds(n)).count();
            assert_eq!(held, 1);
        }
    }
}
