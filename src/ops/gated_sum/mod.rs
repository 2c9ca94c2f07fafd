//! The gated aggregation of focal modulation (Yang et al., 2022, "Focal Modulation Networks"): at every
//! pixel, y = Σ_l context_l · gate_l, where the gates are channels of a value and the last context is
//! one vector for the whole map. Products are added from the first level on, in a chain of fused
//! multiply-adds.

mod cpu;
mod cuda;

use super::product::{self, FactorPlace, Spread};
use super::{Cost, Op, PassBytes, SavedForBackward, passes};
use crate::tensor::{Map, Region, Spec, Tensor};
use crate::{Error, Result};

/// The gated sum. Inputs: the value with the gates (height × width × any), then the contexts, each
/// height × width × channels but the last, which is 1×1×channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatedSum {
    first_gate: usize,
    levels: usize,
}

impl GatedSum {
    /// Of `levels` contexts and the global one; the gates are channels `first_gate` to `first_gate` +
    /// `levels` of the first input.
    pub const fn new(first_gate: usize, levels: usize) -> GatedSum {
        GatedSum { first_gate, levels }
    }

    /// Where gate and context number `context` lie.
    fn places(
        &self,
        context: usize,
        gates: Map,
        map: Map,
        output: Map,
    ) -> Option<[FactorPlace; 2]> {
        let channel = self.first_gate + context;
        let spread = Spread::of(map, map.channels, output)?;
        // Gates are one a pixel, even where there is but one channel.
        let gate = FactorPlace { map: gates, channel, spread: Spread::OverChannels };
        (channel < gates.channels).then_some([gate, FactorPlace { map, channel: 0, spread }])
    }

    /// Where gate and context of each term lie.
    fn all_places(
        &self,
        node: &str,
        inputs: &[Tensor],
        output: Map,
    ) -> Result<Vec<[FactorPlace; 2]>> {
        let gates = inputs[0].map();
        let of =
            |(context, input): (usize, &Tensor)| self.places(context, gates, input.map(), output);
        // The tape has checked shapes, so that nobody sees the error.
        let places: Option<Vec<_>> = inputs[1..].iter().enumerate().map(of).collect();
        places.ok_or_else(|| Error::shape(node, "contexts that don't fit"))
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for GatedSum {
    passes!("gated_sum", op => op);

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let wrong = |detail: String| Err(Error::shape("gated_sum", detail));
        let [gates, contexts @ .., global] = inputs else {
            return wrong("needs gates and contexts".into());
        };
        if contexts.len() != self.levels {
            return wrong(format!("{} levels, not {}", contexts.len(), self.levels));
        }
        let output = Map { channels: global.map.channels, ..gates.map };
        let last = self.first_gate + self.levels;
        if last >= gates.map.channels {
            return wrong(format!("gate {last} is no channel of {}", gates.map));
        }
        let levels = contexts.iter().find(|spec| spec.map != output);
        if let Some(misfit) = levels.or((global.map.pixels() != 1).then_some(global)) {
            return wrong(format!("a context of {} for an output of {output}", misfit.map));
        }
        Ok(Spec::f32(output))
    }

    fn needs(&self) -> SavedForBackward {
        SavedForBackward { inputs: vec![true; self.levels + 2], output: false }
    }

    /// Partial sums of the global context's gradient.
    fn bytes(&self, inputs: &[Spec], batch: usize, training: bool) -> PassBytes {
        let output = self.output(inputs).map_or(Map::vector(0), |spec| spec.map);
        let workspace = if training { product::cuda::workspace_bytes(output, batch) } else { 0 };
        PassBytes { saved: 0, workspace }
    }

    fn cost(&self, inputs: &[Spec]) -> Cost {
        let contexts = &inputs[1..];
        let gates = inputs[0].map.pixels() * contexts.len() * size_of::<f32>();
        let read: usize = contexts.iter().map(Spec::image_bytes).sum();
        let written = self.output(inputs).map_or(0, |spec| spec.image_bytes());
        Cost { macs: 0, bytes: (gates + read + written) as u64 }
    }

    fn reach(&self, input: usize, region: Region, inputs: &[Spec], output: &Spec) -> Region {
        let gates = inputs[0].map;
        let of = |context: usize| {
            self.places(context, gates, inputs[context + 1].map, output.map)
                .map(|places| places[usize::from(input > 0)].reach(region, output.map))
        };
        if input > 0 {
            return of(input - 1).unwrap_or(region);
        }
        let reached = (0..inputs.len() - 1).filter_map(of);
        reached.reduce(Region::hull).unwrap_or(region)
    }
}
