//! Every logit × bit × image, before the scale and after it.

use rayon::prelude::*;

use super::answer::GoldenAnswer;
use super::histogram::{BITS, Histogram};
use super::tail::Clean;
use super::verify::{Expected, PopulationFault};
use super::{CensusRunner, Exchange, answers, flipped};
use crate::Result;
use crate::campaign::layers::Layer;

/// Counts of both places; one where there is no scale.
pub(super) struct Logits {
    pub histograms: Vec<Histogram>,
}

impl Logits {
    pub fn new(census: &CensusRunner<'_>) -> Logits {
        let classes = census.experiment.network.model.classes;
        let of = |layer: &Layer| Histogram::new(&layer.name, classes, &census.detectors);
        let tail = &census.tail;
        Logits { histograms: std::iter::once(&tail.last).chain(&tail.after).map(of).collect() }
    }

    pub fn count(&mut self, census: &CensusRunner<'_>, clean: &[Clean<'_>]) -> Result<()> {
        let answers = answers(clean);
        for (place, histogram) in self.histograms.iter_mut().enumerate() {
            histogram.add(|class, tally| {
                for (clean, answer) in clean.iter().zip(&answers) {
                    let exchange = Exchange { answer, class, detectors: census.detectors.len() };
                    for bit in 0..BITS {
                        let after = flipped(value(clean, place, class), bit);
                        exchange.count(tally, bit, |detector| {
                            logit(census, place, seen(census, place, detector, after))
                        });
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Of each image, the mean ΔLoss of all faults in its logits at a place, with the logits that come of it divided by a
/// temperature; NaN where no answer is finite.
pub(super) fn means(
    census: &CensusRunner<'_>,
    clean: &[Clean<'_>],
    place: usize,
    detector: usize,
    temperature: f64,
) -> Vec<f64> {
    let of_image = |clean: &Clean<'_>| {
        let answer = match temperature {
            1.0 => GoldenAnswer::new(clean.golden),
            _ => GoldenAnswer::at(clean.golden, temperature),
        };
        let golden = *answer.score();
        let (mut sum, mut measured) = (0.0, 0u32);
        for class in 0..clean.golden.logits.len() {
            for bit in 0..BITS {
                let after = flipped(value(clean, place, class), bit);
                let logit = logit(census, place, seen(census, place, detector, after));
                let delta_loss = (golden.loss - answer.with(class, logit).score.loss).abs();
                if !delta_loss.is_nan() {
                    sum += delta_loss;
                    measured += 1;
                }
            }
        }
        sum / f64::from(measured)
    };
    clean.par_iter().map(of_image).collect()
}

/// The golden number at a place.
#[inline]
fn value(clean: &Clean<'_>, place: usize, class: usize) -> f32 {
    if place == 0 { clean.last[class] } else { clean.golden.logits[class] }
}

/// What a detector lets through.
#[inline]
fn seen(census: &CensusRunner<'_>, place: usize, detector: usize, after: f32) -> f32 {
    census.detectors[detector].see(after, census.max[place])
}

/// The logit that a number at a place becomes.
#[inline]
fn logit(census: &CensusRunner<'_>, place: usize, value: f32) -> f32 {
    if place == 0 { census.tail.logit(value) } else { value }
}

/// One fault.
pub(super) fn expect(
    census: &CensusRunner<'_>,
    clean: &Clean<'_>,
    fault: &PopulationFault,
) -> Expected {
    let PopulationFault { place, unit, bit, detector, .. } = *fault;
    let before = value(clean, place, unit);
    let seen = seen(census, place, detector, flipped(before, bit));
    let faulty = GoldenAnswer::new(clean.golden).with(unit, logit(census, place, seen));
    Expected { before, seen, faulty }
}
