//! What a campaign is asked to do.

mod allocation;
mod goldeneye;
mod growth;
mod shard;
mod temperature;

use std::ops::Range;

use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr};

pub use allocation::{Allocation, Pilot};
pub use shard::Shard;
pub use temperature::{MOST_TEMPERATURES, Temperature};

use crate::detector::Detector;
use crate::fault::Site;
use crate::number::Format;
pub use crate::number::OnlyBits;
use crate::statistics::StoppingRule;
use crate::{Error, Result};

/// The most bits of a value that one fault flips.
pub const MAX_BITS: usize = 4;

/// The most injections a layer: more don't fit into memory, and no interval asks for them.
pub const MOST_PER_LAYER: u64 = 100_000_000;

/// What to inject. Two stores with equal plans hold parts of one campaign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub seed: u64,
    /// Numbers of the injections of each layer: `0..n` for a whole campaign, `n..n + 1` to look at one
    /// alone. A list of faults has its own numbers, those of its rows. With a rule in `until` the most there
    /// may be; of layers in an allocation see [`Plan::numbers`].
    pub injections: Range<u64>,
    /// The rule by which a layer stops early; `None` runs every injection.
    #[serde(default)]
    pub until: Option<StoppingRule>,
    /// Where in every layer faults are drawn; [`Site::Weight`] draws entries of parameters and buffers,
    /// and each of those is a layer of the campaign.
    pub site: Site,
    /// How many values of one inference are hit.
    pub flips: Flips,
    /// Distinct bits of a hit value, up to [`MAX_BITS`]; 0 is a rehearsal without faults.
    pub bits: usize,
    /// The bits that they are drawn among; all of the value's if it says nothing.
    #[serde(default, skip_serializing_if = "OnlyBits::is_all")]
    pub only_bits: OnlyBits,
    pub stratify: Stratify,
    /// SHA-256 of the list that faults are taken from instead of being drawn.
    pub list: Option<String>,
    /// The error detectors under each of which every injection is judged.
    pub detectors: Vec<Detector>,
    /// Which layers, see [`crate::campaign::choose`]; all of them if `None`.
    pub layers: Option<Vec<String>>,
    pub labels: Labels,
    #[serde(default)]
    pub protocol: Protocol,
    /// What logits are divided by to judge ΔLoss a further time each, [`MOST_TEMPERATURES`] at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub temperatures: Vec<Temperature>,
}

/// By whose rules faults are drawn and answers are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[derive(EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", parse_err_ty = Error, parse_err_fn = unknown)]
pub enum Protocol {
    /// This project's: every convolution and linear layer by what it computes, outcomes as
    /// [`crate::results::Outcome`] has them.
    #[default]
    Strict,
    /// GoldenEye's, see [`crate::campaign::goldeneye`].
    Goldeneye,
}

impl Protocol {
    /// The word on the command line and in tables.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

fn unknown(word: &str) -> Error {
    Error::unknown::<Protocol>("protocol", word)
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stratify {
    /// Uniformly.
    No,
    /// Injection n of a layer takes bit n modulo the number of those that are drawn among, so that each has its
    /// share.
    Bit,
    /// Each layer and bit has a number of injections of its own.
    Allocated(Allocation),
}

impl Stratify {
    /// In few words.
    pub fn words(&self) -> String {
        match self {
            Stratify::No => "none".into(),
            Stratify::Bit => "bits in turn".into(),
            Stratify::Allocated(Allocation { pilot, .. }) => {
                let checkpoint: String = pilot.checkpoint.chars().take(12).collect();
                format!(
                    "allocated by a pilot of {} injections a layer on checkpoint {checkpoint}, seed {}",
                    pilot.injections, pilot.seed
                )
            }
        }
    }
}

/// The label that an answer is compared with.
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
            only_bits: OnlyBits::default(),
            stratify: Stratify::No,
            list: None,
            detectors: vec![Detector::None, Detector::Range],
            layers: None,
            labels: Labels::Data,
            protocol: Protocol::Strict,
            temperatures: Vec::new(),
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
        if self.injections_per_layer() > MOST_PER_LAYER && !self.injections.is_empty() {
            return refuse(format!(
                "a campaign has up to {MOST_PER_LAYER} injections a layer, not {}",
                self.injections_per_layer()
            ));
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
        self.check_only_bits()?;
        if self.stratify != Stratify::No && !(is_single && self.bits == 1) {
            return refuse("bits are strata of faults that flip one bit of one value".into());
        }
        if let Stratify::Allocated(allocation) = &self.stratify {
            self.check_allocation(allocation)?;
        }
        if self.site == Site::StoreAstray {
            return refuse(
                "a campaign doesn't draw misdirected stores: most leave the output, which is detected \
                 without running anything; `predict --fault` runs one"
                    .into(),
            );
        }
        if self.protocol == Protocol::Goldeneye {
            goldeneye::check(self)?;
        }
        temperature::check(self)?;
        if let Some(rule) = &self.until {
            self.check_rule(rule)?;
        }
        match Detector::needing_ranges(&self.detectors) {
            Some(detector) if self.list.is_none() && !self.site.has_range() => refuse(format!(
                "the {} detector looks at outputs and parameters, not at the site {}: say --detector none",
                detector.name(),
                self.site.name()
            )),
            _ => Ok(()),
        }
    }

    /// Refuses a choice of bits where none is drawn, or where all of them have to be.
    fn check_only_bits(&self) -> Result<()> {
        let why = match self {
            _ if self.only_bits.is_all() => return Ok(()),
            Plan { list: Some(_), .. } => "a list says itself which bits its faults flip",
            Plan { site, .. } if site.is_store() => "a store that fails flips no bit",
            Plan { flips: Flips::Rate(_), .. } => {
                "a bit error rate is that of every bit of a value"
            }
            Plan { stratify: Stratify::Allocated(_), .. } => {
                "injections are allocated to every bit of a value"
            }
            _ => return Ok(()),
        };
        Err(Error::usage(format!("bits can't be restricted to {}: {why}", self.only_bits)))
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
        if start != 0 || rule.looks_within(end).is_empty() {
            return refuse(format!(
                "a half-width of {} takes {} injections a layer at least, as without any event; there are \
                 injections {start} to {end}",
                rule.half_width,
                rule.look_at(0)
            ));
        }
        Ok(())
    }

    /// Refuses an allocation that these injections can't follow, or that isn't independent of them.
    fn check_allocation(&self, allocation: &Allocation) -> Result<()> {
        let refuse = |detail: &str| Err(Error::usage(detail));
        if self.injections.start != 0 || self.list.is_some() {
            return refuse(
                "injections are allocated to the layers and bits of a whole campaign, whose faults are drawn",
            );
        }
        if allocation.pilot.seed == self.seed {
            return Err(Error::usage(format!(
                "the pilot and the campaign have the same seed ({}) and so the same faults: what decides on an \
                 allocation must be independent of what it is for; give another --seed",
                self.seed
            )));
        }
        Ok(())
    }

    /// Whether a detector has to know ranges.
    pub fn needs_ranges(&self) -> bool {
        Detector::needing_ranges(&self.detectors).is_some()
    }

    /// Injections a layer.
    pub fn injections_per_layer(&self) -> u64 {
        self.injections.end.saturating_sub(self.injections.start)
    }

    /// Numbers of the injections of the layer of `pair_key`.
    pub fn numbers(&self, pair_key: &str) -> Range<u64> {
        match &self.stratify {
            Stratify::Allocated(allocation) => {
                allocation.injections(pair_key).map_or(self.injections.clone(), |n| 0..n)
            }
            Stratify::No | Stratify::Bit => self.injections.clone(),
        }
    }

    /// How many bits of a value of `format` faults are drawn among.
    pub fn bits_among(&self, format: Format) -> u32 {
        self.only_bits.within(format).count_ones()
    }

    /// How much injection `n` of a layer whose faults are drawn among `bits` bits counts, on average 1: strata of bits that
    /// the number of injections doesn't fill evenly are evened out. Injections that don't fill every stratum
    /// count alike.
    pub fn weight(&self, n: u64, bits: u32) -> f64 {
        let (total, bits) = (self.injections_per_layer(), u64::from(bits.max(1)));
        if self.stratify == Stratify::No || total < bits {
            return 1.0;
        }
        let of_bit = (total + bits - 1 - (n - self.injections.start) % bits) / bits;
        total as f64 / (bits * of_bit) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_injections_than_fit_into_memory_are_refused() {
        assert!(Plan::new(1, MOST_PER_LAYER).check().is_ok());
        let said = Plan::new(1, MOST_PER_LAYER + 1).check().unwrap_err().to_string();
        assert!(said.contains("up to 100000000 injections a layer"), "{said}");
        // One with a large number is one.
        let one = Plan { injections: 1 << 40..(1 << 40) + 1, ..Plan::new(1, 1) };
        assert!(one.check().is_ok());
    }

    #[test]
    fn weights_even_out_strata() {
        let plan = Plan { stratify: Stratify::Bit, ..Plan::new(1, 100) };
        // Of f32, tf32, and what has 16 bits.
        for bits in [32, 19, 16] {
            let mut by_bit = vec![0.0; bits as usize];
            (0..100).for_each(|n| by_bit[n as usize % bits as usize] += plan.weight(n, bits));
            let share = 100.0 / f64::from(bits);
            assert!(by_bit.iter().all(|weight| (weight - share).abs() < 1e-12), "{by_bit:?}");
        }
        assert_eq!(Plan::new(1, 100).weight(7, 32), 1.0);
        // 20 injections fill the strata of 16 bits, of which four have two, and not those of 32.
        let plan = Plan { stratify: Stratify::Bit, ..Plan::new(1, 20) };
        assert_eq!([0, 3, 4, 16].map(|n| plan.weight(n, 16)), [0.625, 0.625, 1.25, 0.625]);
        assert_eq!(plan.weight(0, 32), 1.0);
    }
}
