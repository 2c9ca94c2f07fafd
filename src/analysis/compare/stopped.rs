//! Comparisons of runs whose layers a rule stopped.

use super::{AtScale, Comparison, Improvement};
use crate::statistics::Estimate;

impl Comparison {
    /// Takes the intervals of ratios away, and with them the verdicts, where a rule stopped a run's layers: how
    /// many injections a layer has then follows from what they did, which their intervals don't account for.
    pub(super) fn judged_if_not_stopped(mut self) -> Comparison {
        if self.stopped.contains(&true) {
            let named = [
                &mut self.last_layer,
                &mut self.last_layer_before_scale,
                &mut self.backbone_last_layer,
            ];
            let overall = self.overall.iter_mut().map(|overall| &mut overall.improvement);
            let layers = self.by_layer.iter_mut().filter_map(|layer| layer.delta_loss.as_mut());
            let scales = self.scales.iter_mut().flat_map(AtScale::improvements);
            let all = named.into_iter().flatten().chain(overall).chain(layers).chain(scales);
            all.for_each(Improvement::withhold);
        }
        self
    }
}

impl Improvement {
    /// Takes the interval away.
    pub(super) fn withhold(&mut self) {
        self.ratio = Estimate::alone(self.ratio.value);
        self.p = None;
    }
}
