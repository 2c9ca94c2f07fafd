//! A campaign's manifest: what of its model, images and device its results are told with.

use super::experiment::Experiment;
use super::layers::{Layer, sizes};
use super::setup::Campaign;
use crate::device::Device;
use crate::results::{Counted, Golden, GoldenRow, LayerRow, Manifest, Record, Run, Setting};
use crate::tape::Tape;

impl Campaign<'_> {
    /// What is run on what.
    pub fn manifest(&self) -> Manifest {
        let Experiment { network, images, goldens, provenance, .. } = self.experiment;
        let (model, device) = (&network.model, network.device());
        let ranged = self.plan().needs_ranges();
        // A parameter's range is of its own entries.
        let is_measured = ranged && self.layers().iter().any(|layer| layer.parameter.is_none());
        let over = self.experiment.ranges.over.clone().filter(|_| is_measured);
        let layer = |(index, layer): (usize, &Layer)| {
            layer_row(layer, ranged.then(|| self.max(index)), &model.tape, device)
        };
        let golden = |golden: &Golden| GoldenRow::new(golden, images.name(golden.image));
        Manifest {
            setting: Setting::new(model, device, goldens, provenance.clone(), over),
            has_scale: model.logits != model.last_layer,
            plan: self.plan().clone(),
            temperatures: self.temperatures().to_vec(),
            fault_free: self.experiment.fault_free(self.plan()),
            config: None,
            layers: self.layers().iter().enumerate().map(layer).collect(),
            images: goldens.iter().map(golden).collect(),
        }
    }

    /// The run that gave `records`.
    pub fn results(&self, records: Vec<Record>) -> Run {
        Run { manifest: self.manifest(), records, counted: Counted::default() }
    }
}

fn layer_row(layer: &Layer, range: Option<f32>, tape: &Tape, device: &Device) -> LayerRow {
    let inputs = tape.input_specs(layer.node);
    let op = tape.node(layer.node).op.as_ref();
    let kernel = op.and_then(|op| op.variant(&inputs, device.compute()));
    let variant = match (kernel, layer.kind) {
        (Some(_), _) if device.is_cpu() => format!("cpu {}", crate::cpu::gemm::variant()),
        (Some(kernel), _) => format!("{} {}", device.kind(), kernel.symbol),
        (None, kind) => format!("{} {kind}", device.kind()),
    };
    LayerRow {
        name: layer.name.clone(),
        pair_key: layer.pair_key.clone(),
        kind: layer.kind.into(),
        part: layer.part,
        shape: match &layer.parameter {
            Some(parameter) => parameter.shape.clone(),
            None => sizes(layer.map).to_vec(),
        },
        input_shape: match (&layer.parameter, inputs.first()) {
            (None, Some(input)) => sizes(input.map).to_vec(),
            _ => Vec::new(),
        },
        macs: layer.macs,
        range,
        variant,
    }
}
