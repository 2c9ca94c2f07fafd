//! Every entry of the last layer's parameters × bit × image.

use super::tail::Clean;
use super::{BITS, Exchange, Exhaustive, Histogram, answers, flipped};
use crate::ops::gemm;
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

/// Entries of the last layer's parameters.
pub(super) fn places(census: &Exhaustive<'_>) -> usize {
    let tape = &census.model.tape;
    let params = &tape.node(census.tail.last.node).params;
    params.iter().map(|id| tape.params()[id.0].spec.elements()).sum()
}

impl LastWeights {
    /// Reads the parameters.
    ///
    /// # Errors
    /// A last layer whose sums don't go along its weight's rows.
    pub fn new(census: &Exhaustive<'_>) -> Result<LastWeights> {
        let tape = &census.model.tape;
        let node = tape.node(census.tail.last.node);
        let of_role = |role: Role| {
            node.params.iter().copied().find(|id| tape.params()[id.0].spec.role == role)
        };
        let (weight, bias) = (of_role(Role::Weight), of_role(Role::Bias));
        let Some(weight) = weight.filter(|id| tape.params()[id.0].spec.layout == Layout::GemmB)
        else {
            return Err(Error::usage(format!(
                "layer '{}' is no linear layer over a vector: its weights can't be tried one by one",
                node.name
            )));
        };
        let histogram = |id: ParamId| {
            let name = &tape.params()[id.0].name;
            Histogram::new(name, census.model.classes, &census.detectors)
        };
        Ok(LastWeights {
            histograms: std::iter::once(weight).chain(bias).map(histogram).collect(),
            weight: census.weights.get(weight)?,
            bias: bias.map(|id| census.weights.get(id)).transpose()?.unwrap_or_default(),
        })
    }

    pub fn count(&mut self, census: &Exhaustive<'_>, clean: &[Clean<'_>]) -> Result<()> {
        let answers = answers(clean);
        let LastWeights { weight, bias, histograms } = self;
        let width = weight.len() / census.model.classes.max(1);
        let images = || clean.iter().zip(&answers);
        let Exhaustive { detectors, tail, max, .. } = census;
        for (place, histogram) in histograms.iter_mut().enumerate() {
            histogram.add(|class, tally| {
                let row = &weight[class * width..][..width];
                let bias = bias.get(class).copied();
                let factors: Vec<[f32; BITS]> = row.iter().map(|w| flips(*w)).collect();
                let mut sums = vec![[0f32; BITS]; width];
                for (clean, answer) in images() {
                    let sum = golden_sum(clean, class, row, bias)?;
                    let before = clean.last[class];
                    let exchange = Exchange { detectors, max: max[0], class, before };
                    let mut count = |bit: usize, after: f32| {
                        exchange.count(tally, answer, (bit, after), |value| tail.logit(value));
                    };
                    match (place, bias) {
                        (0, bias) => {
                            gemm::exchanged(&clean.input, row, &factors, &mut sums);
                            for (bit, sum) in sums.iter().flat_map(|sums| sums.iter().enumerate()) {
                                count(bit, bias.map_or(*sum, |bias| sum + bias));
                            }
                        }
                        (_, Some(bias)) => {
                            let biases = flips(bias).into_iter().enumerate();
                            biases.for_each(|(bit, bias)| count(bit, sum + bias));
                        }
                        (_, None) => {}
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// A number with each of its bits flipped.
fn flips(number: f32) -> [f32; BITS] {
    std::array::from_fn(|bit| flipped(number, bit))
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
