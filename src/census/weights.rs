//! Every entry of the last layer's parameters × bit × image.

use super::answer::GoldenAnswer;
use super::histogram::{BITS, Histogram};
use super::tail::{Clean, Tail};
use super::verify::{Expected, PopulationFault};
use super::{CensusRunner, Exchange, answers, flipped};
use crate::cpu::gemm;
use crate::detector::Detector;
use crate::models::{Model, Network};
use crate::ops::{Layout, Role};
use crate::tape::ParamId;
use crate::{Error, Result};

const _: () = assert!(BITS == gemm::LANES);

/// The last layer's parameters and their counts.
pub(super) struct LastWeights {
    /// Classes × features, in PyTorch's order, which is that of the sums.
    weight: Vec<f32>,
    /// One number a class, or nothing.
    bias: Vec<f32>,
    /// Of the weight and, where there is one, of the bias.
    pub histograms: Vec<Histogram>,
}

/// The weight and, where there is one, the bias.
///
/// # Errors
/// A last layer whose sums don't go along its weight's rows.
fn params(model: &Model, tail: &Tail) -> Result<Vec<ParamId>> {
    let tape = &model.tape;
    let node = tape.node(tail.last.node);
    let is = |id: &ParamId, role: Role| tape.params()[id.0].spec.role == role;
    let of_role = |role: Role| node.params.iter().copied().find(|id| is(id, role));
    let rows = |id: &ParamId| tape.params()[id.0].spec.layout == Layout::GemmB;
    let Some(weight) = of_role(Role::Weight).filter(rows) else {
        return Err(Error::usage(format!(
            "layer '{}' is no linear layer over a vector: its weights can't be tried one by one",
            node.name
        )));
    };
    Ok(std::iter::once(weight).chain(of_role(Role::Bias)).collect())
}

/// The largest |entry| of each.
///
/// # Errors
/// Those of [`LastWeights::new`].
pub(super) fn largest(network: &Network, tail: &Tail) -> Result<Vec<f32>> {
    let of = |id| {
        let values = network.weights.get(id)?;
        let finite = values.into_iter().map(f32::abs).filter(|value| value.is_finite());
        Ok(finite.fold(0.0, f32::max))
    };
    params(&network.model, tail)?.into_iter().map(of).collect()
}

/// Classes, and entries of a class, of each.
pub(super) fn entries(model: &Model, tail: &Tail) -> Vec<[usize; 2]> {
    let tape = &model.tape;
    let each = |id: ParamId| tape.params()[id.0].spec.elements() / model.classes.max(1);
    // A census of anything else is refused before.
    params(model, tail)
        .unwrap_or_default()
        .into_iter()
        .map(|id| [model.classes, each(id)])
        .collect()
}

impl LastWeights {
    /// Reads the parameters.
    ///
    /// # Errors
    /// A last layer whose sums don't go along its weight's rows.
    pub fn new(census: &CensusRunner<'_>) -> Result<LastWeights> {
        let CensusRunner { experiment, tail, detectors, .. } = census;
        let Network { model, weights } = experiment.network;
        let params = params(model, tail)?;
        let histogram = |id: &ParamId| {
            Histogram::new(&model.tape.params()[id.0].name, model.classes, detectors)
        };
        let values = |place: usize| params.get(place).map(|id| weights.get(*id)).transpose();
        Ok(LastWeights {
            histograms: params.iter().map(histogram).collect(),
            weight: values(0)?.unwrap_or_default(),
            bias: values(1)?.unwrap_or_default(),
        })
    }

    pub fn count(&mut self, census: &CensusRunner<'_>, clean: &[Clean<'_>]) -> Result<()> {
        let answers = answers(clean);
        let LastWeights { weight, bias, histograms } = self;
        let width = weight.len() / census.experiment.network.model.classes.max(1);
        let CensusRunner { detectors, tail, max, .. } = census;
        let (count, no_sums) = (detectors.len(), vec![[0f32; BITS]; width]);
        if let Some(histogram) = histograms.first_mut() {
            histogram.add(|class, tally| {
                let row = &weight[class * width..][..width];
                let bias = bias.get(class).copied();
                let factors: Vec<Vec<[f32; BITS]>> = detectors
                    .iter()
                    .map(|detector| row.iter().map(|w| seen(*w, *detector, max[0])).collect())
                    .collect();
                let mut sums = vec![no_sums.clone(); count];
                for (clean, answer) in clean.iter().zip(&answers) {
                    golden_sum(clean, class, row, bias)?;
                    for (factors, sums) in factors.iter().zip(&mut sums) {
                        gemm::exchanged(&clean.input, row, factors, sums);
                    }
                    let exchange = Exchange { answer, class, detectors: count };
                    for (feature, bit) in
                        (0..width).flat_map(|d| (0..BITS).map(move |bit| (d, bit)))
                    {
                        exchange.count(tally, bit, |detector| {
                            let sum = sums[detector][feature][bit];
                            tail.logit(bias.map_or(sum, |bias| sum + bias))
                        });
                    }
                }
                Ok(())
            })?;
        }
        if let Some(histogram) = histograms.get_mut(1) {
            histogram.add(|class, tally| {
                let row = &weight[class * width..][..width];
                let biases: Vec<[f32; BITS]> =
                    detectors.iter().map(|detector| seen(bias[class], *detector, max[1])).collect();
                for (clean, answer) in clean.iter().zip(&answers) {
                    let sum = golden_sum(clean, class, row, Some(bias[class]))?;
                    let exchange = Exchange { answer, class, detectors: count };
                    (0..BITS).for_each(|bit| {
                        exchange
                            .count(tally, bit, |detector| tail.logit(sum + biases[detector][bit]));
                    });
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

impl LastWeights {
    fn row(&self, class: usize) -> &[f32] {
        let width = self.weight.len() / self.histograms[0].units.max(1);
        &self.weight[class * width..][..width]
    }

    /// One fault.
    pub fn expect(
        &self,
        census: &CensusRunner<'_>,
        clean: &Clean<'_>,
        fault: &PopulationFault,
    ) -> Result<Expected> {
        let PopulationFault { place, unit, entry, bit, detector, .. } = *fault;
        let CensusRunner { detectors, tail, max, .. } = census;
        let (row, bias) = (self.row(unit), self.bias.get(unit).copied());
        let before = if place == 0 { row[entry] } else { bias.unwrap_or_default() };
        let seen = detectors[detector].see(flipped(before, bit), max[place]);
        let (mut sum, mut bias) = (golden_sum(clean, unit, row, bias)?, bias);
        if place == 0 {
            let mut factors: Vec<[f32; BITS]> = row.iter().map(|w| [*w; BITS]).collect();
            factors[entry][bit] = seen;
            let mut sums = vec![[0f32; BITS]; row.len()];
            gemm::exchanged(&clean.input, row, &factors, &mut sums);
            sum = sums[entry][bit];
        } else {
            bias = Some(seen);
        }
        let logit = tail.logit(bias.map_or(sum, |bias| sum + bias));
        Ok(Expected { before, seen, faulty: GoldenAnswer::new(clean.golden).with(unit, logit) })
    }
}

/// What a detector lets through of a number with each of its bits flipped.
fn seen(number: f32, detector: Detector, max: f32) -> [f32; BITS] {
    std::array::from_fn(|bit| detector.see(flipped(number, bit), max))
}
/// The sum of a class, less its bias.
///
/// # Errors
/// One that isn't the layer's to the bit: a device that adds in another order.
fn golden_sum(clean: &Clean<'_>, class: usize, row: &[f32], bias: Option<f32>) -> Result<f32> {
    let sum = gemm::chain(&clean.input, row);
    let whole = bias.map_or(sum, |bias| sum + bias);
    let golden = clean.last[class];
    if whole.to_bits() == golden.to_bits() || whole.is_nan() && golden.is_nan() {
        return Ok(sum);
    }
    Err(Error::usage(format!(
        "image {}: the last layer's output {class} is {golden}, but its chain of multiply-adds gives \
         {whole}",
        clean.golden.image
    )))
}
