//! What a campaign is asked to do.

use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::draw::MAX_BITS;
use super::goldeneye;
use super::ranges::Detector;
use super::stopping::StoppingRule;
use crate::fault::{Site, SiteClass};
use crate::{Error, Result};

/// What to inject. Two stores with equal plans hold parts of one campaign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub seed: u64,
    /// Numbers of the injections of each layer: `0..n` for a whole campaign, `n..n + 1` to look at one
    /// alone. A list of faults has its own numbers, those of its rows. With a rule in `until` the most there
    /// may be.
    pub injections: Range<u64>,
    /// When a layer has enough of them; `None` runs them all.
    #[serde(default)]
    pub until: Option<StoppingRule>,
    /// Where in every layer faults are drawn; [`Site::Weight`] draws entries of parameters and buffers,
    /// and each of those is a layer of the campaign.
    pub site: Site,
    /// How many values of one inference are hit.
    pub flips: Flips,
    /// Distinct bits of a hit value, up to [`MAX_BITS`]; 0 is a rehearsal without faults.
    pub bits: usize,
    pub stratify: Stratify,
    /// SHA-256 of the list that faults are taken from instead of being drawn.
    pub list: Option<String>,
    /// Each injection is judged under each of these.
    pub detectors: Vec<Detector>,
    /// Which layers, see [`super::layers::choose`]; all of them if `None`.
    pub layers: Option<Vec<String>>,
    pub labels: Labels,
    #[serde(default)]
    pub protocol: Protocol,
}

/// Whose rules hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// This project's: every convolution and linear layer by what it computes, outcomes as
    /// [`super::outcome`] has them.
    #[default]
    Strict,
    /// GoldenEye's, see [`super::goldeneye`].
    Goldeneye,
}

impl Protocol {
    /// The word on the command line and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Strict => "strict",
            Protocol::Goldeneye => "goldeneye",
        }
    }

    /// The protocol called `name`.
    pub fn parse(name: &str) -> Result<Protocol> {
        let known = [Protocol::Strict, Protocol::Goldeneye];
        known.into_iter().find(|protocol| protocol.name() == name).ok_or_else(|| {
            Error::usage(format!("unknown protocol '{name}'; known: strict, goldeneye"))
        })
    }
}

/// How many values of one inference are hit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flips {
    /// So many, all of them different.
    Count(u32),
    /// Every bit of the layer on its own, with this probability: a bit error rate.
    Rate(f64),
}

/// How bits are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stratify {
    /// Uniformly.
    No,
    /// Injection n of a layer takes bit n modulo the number of bits, so that each has its share.
    Bit,
}

/// What an answer is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Labels {
    /// The data's labels.
    Data,
    /// The fault-free top-1, for images without labels.
    Golden,
}

impl Plan {
    /// `injections` single-bit faults of outputs a layer, under both detectors.
    pub fn new(seed: u64, injections: u64) -> Plan {
        Plan {
            seed,
            injections: 0..injections,
            until: None,
            site: Site::Output,
            flips: Flips::Count(1),
            bits: 1,
            stratify: Stratify::No,
            list: None,
            detectors: vec![Detector::None, Detector::Range],
            layers: None,
            labels: Labels::Data,
            protocol: Protocol::Strict,
        }
    }

    /// Refuses what can't be run.
    pub fn check(&self) -> Result<()> {
        let refuse = |detail: String| Err(Error::usage(detail));
        if self.bits > MAX_BITS {
            return refuse(format!("a fault flips up to {MAX_BITS} bits, not {}", self.bits));
        }
        // Stores keep numbers as signed ones.
        if self.injections.end > i64::MAX as u64 {
            return refuse(format!("injections have numbers below {}", i64::MAX));
        }
        if self.injections.is_empty() {
            return refuse("a campaign needs at least one injection a layer".into());
        }
        let mut sorted = self.detectors.clone();
        sorted.sort();
        sorted.dedup();
        if sorted.is_empty() || sorted.len() != self.detectors.len() {
            return refuse("a campaign needs one detector at least, none of them twice".into());
        }
        match self.flips {
            Flips::Count(0) => return refuse("a fault hits at least one value".into()),
            Flips::Rate(p) if !(p > 0.0 && p < 1.0) => {
                return refuse(format!("a bit error rate lies between 0 and 1, not at {p}"));
            }
            Flips::Rate(_) if self.bits != 1 => {
                return refuse(
                    "a bit error rate draws bits one by one: it takes no number of bits".into(),
                );
            }
            _ => {}
        }
        let is_single = self.flips == Flips::Count(1);
        if self.stratify == Stratify::Bit && !(is_single && self.bits == 1) {
            return refuse("bits are strata of faults that flip one bit of one value".into());
        }
        if self.site == Site::StoreAstray {
            return refuse(
                "a campaign doesn't draw stores that go astray: most leave the output, which is detected \
                 without running anything; `predict --fault` runs one"
                    .into(),
            );
        }
        if self.protocol == Protocol::Goldeneye {
            goldeneye::check(self)?;
        }
        if let Some(rule) = &self.until {
            self.check_rule(rule)?;
        }
        let ranged = self.detectors.contains(&Detector::Range);
        if ranged && self.list.is_none() && !self.has_range() {
            return refuse(format!(
                "the range detector looks at outputs and parameters, not at the site {}: say --detector none",
                self.site.name()
            ));
        }
        Ok(())
    }

    /// Refuses a rule whose intervals wouldn't hold, or that can't stop anything.
    fn check_rule(&self, rule: &StoppingRule) -> Result<()> {
        let refuse = |detail: String| Err(Error::usage(detail));
        rule.check()?;
        if self.list.is_some() || self.stratify != Stratify::No {
            let what = if self.list.is_some() { "a list's faults" } else { "strata" };
            return refuse(format!(
                "a half-width to stop at is of faults drawn uniformly, not of {what}"
            ));
        }
        if self.protocol == Protocol::Goldeneye {
            return refuse(
                "the goldeneye protocol has a number of injections, no rule that stops".into(),
            );
        }
        let Range { start, end } = self.injections;
        if start != 0 || rule.looks_within(end).next().is_none() {
            return refuse(format!(
                "a half-width of {} takes {} injections a layer at least, as without any event; there are \
                 injections {start} to {end}",
                rule.half_width,
                rule.look_at(0)
            ));
        }
        Ok(())
    }

    /// Whether there is a range for what the site hits.
    pub fn has_range(&self) -> bool {
        matches!(self.site, Site::Output | Site::Weight)
    }

    /// Whether the site is inside kernels, which the CPU's native code doesn't have.
    pub fn needs_kernels(&self) -> bool {
        self.site.class() == SiteClass::Inner
    }

    /// Injections a layer.
    pub fn injections_per_layer(&self) -> u64 {
        self.injections.end - self.injections.start
    }

    /// How much injection `n` of a layer counts, on average 1: strata of bits that the number of injections
    /// doesn't fill evenly are evened out.
    pub fn weight(&self, n: u64) -> f64 {
        let total = self.injections_per_layer();
        if self.stratify == Stratify::No || total < 32 {
            return 1.0;
        }
        let of_bit = (total + 31 - (n - self.injections.start) % 32) / 32;
        total as f64 / (32 * of_bit) as f64
    }
}

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

    #[test]
    fn weights_even_out_strata() {
        let plan = Plan { stratify: Stratify::Bit, ..Plan::new(1, 100) };
        let mut by_bit = [0.0; 32];
        (0..100).for_each(|n| by_bit[n as usize % 32] += plan.weight(n));
        assert!(by_bit.iter().all(|weight| (weight - 100.0 / 32.0).abs() < 1e-12), "{by_bit:?}");
        assert_eq!(Plan::new(1, 100).weight(7), 1.0);
    }
}
