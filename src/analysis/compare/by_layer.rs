//! Layers that stand beside each other in two runs, one by one.

use serde::Serialize;

use super::layers::is_one_place;
use super::pair::{Compared, ImprovementName, RunPair};
use super::{Improvement, RateChange};
use crate::Result;
use crate::analysis::scope::{Scope, Weighting};
use crate::detector::Detector;
use crate::results::{Measure, Outcome};

/// A layer that both models have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerChange {
    /// Its name in the baseline.
    pub layer: String,
    /// The ratio of mean ΔLoss under the range detector; `None` where a run has no such injections.
    pub delta_loss: Option<Improvement>,
    /// The SDC rate without a detector; `None` where a run has no such injections.
    pub sdc: Option<RateChange>,
}

impl RunPair<'_> {
    /// The layers that both models have, in the baseline's order; the last one after the scale.
    pub(super) fn by_layer(&self) -> Result<Vec<LayerChange>> {
        let [ours, theirs] = self.each(|run| Scope::ALL.layers(run));
        let manifests = self.runs.map(|run| &run.manifest);
        let [has_range, has_none] = [Detector::Range, Detector::None]
            .map(|detector| manifests[0].plan.detectors.contains(&detector));
        let mut rows = Vec::new();
        for i in ours {
            let layer = &manifests[0].layers[i];
            let is_it = |j: &&usize| is_one_place(manifests, layer, &manifests[1].layers[**j]);
            let Some(j) = theirs.iter().find(is_it) else { continue };
            let has_any = |side: usize, layer: usize| {
                self.runs[side].of(layer, Detector::None).next().is_some()
            };
            let layers = [vec![i], vec![*j]];
            let sdc = match has_none && has_any(0, i) && has_any(1, *j) {
                true => self.rate(&layers, Detector::None, Outcome::Sdc)?,
                false => None,
            };
            let scope =
                Compared { name: ImprovementName::Layer, layers, weighting: Weighting::Uniform };
            let delta_loss =
                has_range.then(|| self.improvement_of(&scope, [Measure::DeltaLoss; 2])).flatten();
            rows.push(LayerChange { layer: layer.name.clone(), delta_loss, sdc });
        }
        Ok(rows)
    }
}
