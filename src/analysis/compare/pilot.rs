//! How many injections and training seeds a comparison needs, from a small one that was run: the pilot.
//!
//! The variance of the logarithm of a ratio of means has two parts. One is of the injections, and falls as 1/n with
//! their number. The other is of the images, which are one draw in all layers, and stays as it is however many
//! injections hit them. Of clusters of n/I injections in each of I images, σ_b² between images and σ_w² within, the
//! variance over images is σ_b²/I + (σ_b² + σ_w²)/n (the numbers of injections of images are chance, too), and the
//! variance over injections is its second term (Cochran, 1977, *Sampling Techniques*, ch. 10, without the finite
//! corrections). So the images' part is what the former has more. Degrees of freedom count the clusters that carry
//! the variance (`statistics/mean.rs`): they grow with n, to the number of images less one.
//!
//! Rates are of these images, so that all of their variance falls as 1/n. It is that of the events which the pilot saw.
//!
//! A layer whose mean is counted has no variance over injections, so that all of its share is of the images. One n stands
//! for every layer of both runs, so it must be one number in the pilot, too; of allocated injections, which stand to each
//! other as the allocation says however many there are, it is the average.

use serde::Serialize;

use super::pair::{Compared, ImprovementName, RunPair};
use super::{Pairing, fields, layers};
use crate::analysis::allocate::fewest_to_allocate;
use crate::analysis::rates::{FEWEST_OF_A_BIT, Intervals, counted};
use crate::analysis::scope::{Scope, Weighting};
use crate::detector::Detector;
use crate::plan::Stratify;
use crate::results::{Measure, Outcome, Run};
use crate::statistics::{
    Confidence, Linearized, Unit, detectable, detectable_normal, fewest, measurements, power,
};
use crate::{Error, Result};

/// No plan goes further.
const MOST: u64 = 1_000_000_000;
/// With more degrees of freedom t is as good as normal.
const MOST_FREEDOM: f64 = 1e6;
/// Nor to more training seeds.
const MOST_SEEDS: u64 = 100_000;

/// What a pilot says of the comparison that is planned.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PilotForecast {
    /// Its model, or both.
    pub models: Vec<String>,
    pub pairing: Pairing,
    /// Of a layer; on average, where they were allocated.
    pub injections: u64,
    /// The fewest that can be allocated; `None` where they weren't.
    pub fewest_allocated: Option<u64>,
    /// Of either model.
    pub layers: [usize; 2],
    pub images: usize,
    /// Of the logarithm of the ratio of mean ΔLoss, all layers alike; `None` where its interval isn't known.
    pub delta_loss: Option<VarianceParts>,
    /// Whether mean ΔLoss of every layer was counted, so that it has nothing to do with the number of injections.
    pub all_counted: bool,
    /// Injections a layer below which a mean has no interval.
    pub fewest: u64,
    /// Of the difference of SDC rates without a detector, in percentage points; `None` where none is known.
    pub sdc_standard_error_points: Option<f64>,
}

/// The parts of a variance, at the pilot's number of injections.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct VarianceParts {
    pub of_injections: f64,
    pub of_images: f64,
    pub freedom: f64,
    /// The most degrees of freedom that there can be.
    #[serde(skip)]
    most: f64,
}

impl VarianceParts {
    /// The standard error with so many times the pilot's injections.
    pub fn standard_error(&self, times: f64) -> f64 {
        (self.of_images + self.of_injections / times).sqrt()
    }

    fn freedom_of(&self, times: f64) -> f64 {
        (self.freedom * times).clamp(1.0, self.most.max(1.0))
    }
}

/// What is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Wish {
    pub power: f64,
    pub confidence: Confidence,
}

impl Wish {
    /// # Errors
    /// [`Error::Usage`] of a power that isn't between 1 − confidence and 1.
    pub fn new(power: f64, confidence: Confidence) -> Result<Wish> {
        if power > confidence.alpha() && power <= 0.9999 {
            return Ok(Wish { power, confidence });
        }
        Err(Error::usage(format!(
            "a power lies between 1 − confidence, {:.4}, and 0.9999, as 0.8 does, not at {power}",
            confidence.alpha()
        )))
    }
}

/// What it takes to show an effect.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Needed {
    /// A ratio, or percentage points.
    pub effect: f64,
    /// Injections a layer; `None` where no number is enough.
    pub injections: Option<u64>,
    /// Images that are too few, however many injections hit them: fewer can't show it.
    pub images: Option<u64>,
}

/// Training seeds that it takes to show a ratio; `None` where it takes very many.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Seeds {
    pub ratio: f64,
    pub seeds: Option<u64>,
}

impl PilotForecast {
    /// From one run, as if another model had the same spread and faults of its own, or from two.
    ///
    /// # Errors
    /// Runs that don't belong together; layers that a rule stopped; unlike numbers of injections.
    pub fn of(
        baseline: &Run,
        other: Option<&Run>,
        pairing: Pairing,
        unit: Unit,
    ) -> Result<PilotForecast> {
        let pairing = if other.is_some() { pairing } else { Pairing::Unpaired };
        let runs = [baseline, other.unwrap_or(baseline)];
        if runs.iter().any(|run| run.manifest.plan.until.is_some()) {
            return Err(Error::usage(
                "a plan needs a pilot with a number of injections; a rule stopped the layers of this one",
            ));
        }
        fields::check(&runs[0].manifest, &runs[1].manifest, pairing)?;
        if pairing == Pairing::Paired {
            layers::check_faults(runs[0], runs[1])?;
        }
        let all = runs.map(|run| Scope::ALL.layers(run));
        if all.iter().any(Vec::is_empty) {
            return Err(Error::usage("a plan needs a pilot with injections into layers"));
        }
        let drawn = [0, 1].map(|side| {
            let run = runs[side];
            let is_drawn =
                |layer: &usize| counted(run, *layer, Detector::Range, Measure::DeltaLoss).is_none();
            let layers = all[side].iter().copied().filter(is_drawn);
            // Of every bit that there is, whichever a small pilot has drawn.
            let plan = &run.manifest.plan;
            let bits =
                |layer: usize| plan.bits_among(run.manifest.layers[layer].format_at(plan.site));
            layers.map(|layer| FEWEST_OF_A_BIT * bits(layer) as usize).max()
        });
        let (injections, fewest_allocated) = injections(runs)?;
        let of_unit = |unit| {
            let how = Intervals { unit, ..Intervals::default() };
            // Another model's run is meant, not this one itself.
            let pair = RunPair::new(runs, pairing, &how);
            log_ratio(&RunPair { is_of_itself: false, ..pair }, &all)
        };
        let images = runs[0].manifest.images.len().min(runs[1].manifest.images.len());
        let delta_loss = match (of_unit(Unit::Injections), of_unit(unit)) {
            (Some(of_injections), Some(found)) => {
                let least = of_injections.standard_error.powi(2);
                let most = match unit {
                    Unit::Images => images as f64 - 1.0,
                    Unit::Injections => MOST_FREEDOM,
                };
                Some(VarianceParts {
                    of_injections: least,
                    of_images: (found.standard_error.powi(2) - least).max(0.0),
                    freedom: found.freedom,
                    most,
                })
            }
            _ => None,
        };
        let how = Intervals::default();
        let pair = RunPair::new(runs, pairing, &how);
        let has_sdc = runs.iter().all(|run| run.manifest.plan.detectors.contains(&Detector::None));
        let sdc = match has_sdc {
            true => {
                let (matched, measure) = (pair.match_layers(&all), Measure::Is(Outcome::Sdc));
                let sum = pair.difference(&matched, &all, Detector::None, measure)?;
                Some(100.0 * sum.standard_error()).filter(|error| *error > 0.0)
            }
            false => None,
        };
        let name = |run: &Run| {
            format!("{} {}", run.manifest.setting.provenance.model, run.manifest.setting.head)
        };
        Ok(PilotForecast {
            models: std::iter::once(baseline).chain(other).map(name).collect(),
            pairing,
            injections,
            fewest_allocated,
            layers: all.each_ref().map(Vec::len),
            images,
            delta_loss,
            all_counted: drawn == [None; 2],
            fewest: drawn.into_iter().flatten().max().unwrap_or(0) as u64,
            sdc_standard_error_points: sdc,
        })
    }

    /// Whether two runs have the same faults.
    pub fn is_paired(&self) -> bool {
        self.pairing == Pairing::Paired
    }

    /// The fewest injections a layer that a campaign like the pilot can have.
    fn fewest_of_a_layer(&self) -> u64 {
        self.fewest_allocated.unwrap_or(1)
    }

    fn times(&self, injections: u64) -> f64 {
        injections as f64 / self.injections as f64
    }

    /// What it takes to show a ratio of mean ΔLoss; `None` where the pilot doesn't say.
    pub fn for_ratio(&self, ratio: f64, wish: &Wish) -> Option<Needed> {
        let spread = self.delta_loss?;
        let effect = ratio.ln().abs();
        let is_enough = |injections: u64| {
            let times = self.times(injections);
            let delta = effect / spread.standard_error(times);
            power(delta, spread.freedom_of(times), wish.confidence) >= wish.power
        };
        let injections = fewest(self.fewest.max(self.fewest_of_a_layer()), MOST, is_enough);
        let images = match injections {
            Some(_) => None,
            None => {
                let wanted = effect / detectable(spread.most, wish.power, wish.confidence);
                Some((self.images as f64 * spread.of_images / (wanted * wanted)).ceil() as u64)
            }
        };
        Some(Needed { effect: ratio, injections, images })
    }

    /// What it takes to show a difference of SDC rates of so many points; `None` where the pilot doesn't say.
    pub fn for_points(&self, points: f64, wish: &Wish) -> Option<Needed> {
        let wanted = points / detectable_normal(wish.power, wish.confidence);
        let times = (self.sdc_standard_error_points? / wanted).powi(2);
        let injections = (self.injections as f64 * times).ceil();
        let injections = injections.max(self.fewest_of_a_layer() as f64);
        let injections = (injections <= MOST as f64).then_some(injections as u64);
        Some(Needed { effect: points, injections, images: None })
    }

    /// The smallest ratio above 1 that the pilot's own number of injections shows.
    pub fn least_ratio(&self, wish: &Wish) -> Option<f64> {
        let spread = self.delta_loss?;
        let delta = detectable(spread.freedom_of(1.0), wish.power, wish.confidence);
        Some((delta * spread.standard_error(1.0)).exp())
    }

    /// The smallest difference of SDC rates that it shows, in points.
    pub fn least_points(&self, wish: &Wish) -> Option<f64> {
        Some(self.sdc_standard_error_points? * detectable_normal(wish.power, wish.confidence))
    }
}

/// Injections a layer of both runs, and where they were allocated the fewest that can be.
///
/// # Errors
/// Other numbers in one run or layer than in another: a variance of unlike numbers is that of neither.
fn injections(runs: [&Run; 2]) -> Result<(u64, Option<u64>)> {
    let is_allocated = runs.map(|run| matches!(run.manifest.plan.stratify, Stratify::Allocated(_)));
    if is_allocated[0] != is_allocated[1] {
        return Err(Error::usage(
            "a plan needs a pilot of two campaigns that were drawn alike: the injections of the one were allocated \
             (--allocate), and those of the other weren't",
        ));
    }
    let mut of_runs = [0; 2];
    for (number, run) in of_runs.iter_mut().zip(runs) {
        let (fewest, most) = run.injections();
        *number = match is_allocated[0] {
            true => run.manifest.plan.injections_per_layer(),
            false => most,
        };
        if !is_allocated[0] && fewest != most {
            let model = &run.manifest.setting.provenance.model;
            return Err(Error::usage(format!(
                "a plan needs a pilot with as many injections into each layer: the campaign of {model} has {fewest} in \
                 one layer and {most} in another"
            )));
        }
    }
    let [a, b] = of_runs;
    if a != b {
        return Err(Error::usage(format!(
            "a plan needs a pilot of two campaigns with the same number of injections a layer: the first has {a} and \
             the other {b}"
        )));
    }
    let fewest = runs.map(|run| fewest_to_allocate(&run.manifest));
    Ok((a, is_allocated[0].then_some(fewest[0].max(fewest[1]))))
}

/// Training seeds that it takes to show ratios, where the logarithms of seeds' ratios have the standard deviation
/// `spread`, from sampling and training together: Student's test of their mean.
pub fn seeds_for(ratio: f64, spread: f64, wish: &Wish) -> Seeds {
    let seeds = measurements(ratio.ln(), spread, wish.power, wish.confidence, MOST_SEEDS);
    Seeds { ratio, seeds }
}

/// The ratio of mean ΔLoss of all layers; `None` where its error isn't known.
fn log_ratio(pair: &RunPair<'_>, layers: &[Vec<usize>; 2]) -> Option<Linearized> {
    let has_range = |run: &&Run| run.manifest.plan.detectors.contains(&Detector::Range);
    if !pair.runs.iter().all(has_range) {
        return None;
    }
    let scope = Compared {
        name: ImprovementName::Overall { embedding: true },
        layers: layers.clone(),
        weighting: Weighting::Uniform,
    };
    let (found, _) = pair.linearized(&scope, [Measure::DeltaLoss; 2]);
    (found.standard_error > 0.0 && found.is_log).then_some(found)
}
