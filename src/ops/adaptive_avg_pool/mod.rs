//! Adaptive average pooling to h × w outputs: output i of an axis of H inputs is the mean of
//! inputs ⌊i·H/h⌋ .. ⌈(i+1)·H/h⌉, as PyTorch's `AdaptiveAvgPool2d`; 1 × 1 is the global mean.

mod cpu;
mod cuda;

use super::{Op, passes};
use crate::tensor::{Map, Region, Span, Spec};
use crate::{Error, Result};

/// Adaptive average pooling to `output` (rows, columns).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveAvgPool {
    pub output: [usize; 2],
}

impl AdaptiveAvgPool {
    /// The mean of the whole map.
    pub const GLOBAL: AdaptiveAvgPool = AdaptiveAvgPool { output: [1; 2] };

    /// The inputs, of `inputs`, that output `output` of `outputs` reads.
    fn span(output: usize, inputs: usize, outputs: usize) -> Span {
        Span::new(output * inputs / outputs, ((output + 1) * inputs).div_ceil(outputs))
    }

    /// The outputs that read any of `span`. (Output o reads input q if o·H/h < q + 1 and
    /// (o + 1)·H/h > q: the formula of [`Self::span`] with the sizes exchanged.)
    fn readers(span: Span, inputs: usize, outputs: usize) -> Span {
        if span.is_empty() {
            return span;
        }
        let (first, last) = (span.start, span.end - 1);
        Span::new(Self::span(first, outputs, inputs).start, Self::span(last, outputs, inputs).end)
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for AdaptiveAvgPool {
    passes!("adaptive_avg_pool");

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let map = inputs[0].map;
        if self.output.contains(&0) || map.pixels() == 0 {
            let detail = format!("can't turn an input of {map} into {:?} outputs", self.output);
            return Err(Error::shape("adaptive_avg_pool", detail));
        }
        Ok(Spec::f32(Map::new(self.output[0], self.output[1], map.channels)))
    }

    fn reach(&self, _input: usize, region: Region, inputs: &[Spec], output: &Spec) -> Region {
        let (from, to) = (inputs[0].map, output.map);
        Region {
            rows: Self::readers(region.rows, from.height, to.height),
            columns: Self::readers(region.columns, from.width, to.width),
            ..region
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_exactly_those_whose_span_holds_the_input() {
        for inputs in 1..9 {
            for outputs in 1..9 {
                for input in 0..inputs {
                    let readers = AdaptiveAvgPool::readers(Span::one(input), inputs, outputs);
                    for output in 0..outputs {
                        let reads = AdaptiveAvgPool::span(output, inputs, outputs).contains(input);
                        assert_eq!(readers.contains(output), reads, "{inputs} {outputs} {input}");
                    }
                }
            }
        }
    }
}
