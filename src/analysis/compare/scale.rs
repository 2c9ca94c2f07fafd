//! Ratios at other scales of the logits than as trained.
//!
//! Logits times a constant change no decision, but every loss. With the logits of either model divided by a
//! temperature of its own (that of least loss, or that which gives its logits a range) what is left of a ratio isn't
//! a matter of scale.

use serde::Serialize;

use super::pair::{Compared, ImprovementName, RunPair};
use super::{Comparison, Improvement, Reason, Reliability, Verdict};
use crate::analysis::scope::Weighting;
use crate::plan::Temperature;
use crate::results::Measure;
use crate::statistics::Estimate;

/// Two models compared with logits divided by a temperature that both runs asked for by one name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AtScale {
    /// As it was asked for: `fit`, `range=18.5`, a number.
    pub temperature: Temperature,
    /// What that came to in either.
    pub values: [f64; 2],
    /// The last layer, after the scale.
    pub last_layer: Option<Improvement>,
    /// Layers alike, with the extra Linear and without it.
    pub all_layers: Option<Improvement>,
    pub all_layers_without_embedding: Option<Improvement>,
}

impl AtScale {
    pub(super) fn improvements(&mut self) -> impl Iterator<Item = &mut Improvement> {
        let AtScale { last_layer, all_layers, all_layers_without_embedding, .. } = self;
        [last_layer, all_layers, all_layers_without_embedding].into_iter().flatten()
    }
}

impl Comparison {
    /// The ratio of all layers alike at the first temperature of a kind that both runs have.
    pub fn at_scale(&self, wanted: impl Fn(&Temperature) -> bool) -> Option<&Improvement> {
        let at = self.scales.iter().find(|at| wanted(&at.temperature))?;
        at.all_layers.as_ref()
    }
}

impl RunPair<'_> {
    /// The comparison at each temperature that both runs have, in the baseline's order.
    pub(super) fn scales(&self, scopes: &[Compared]) -> Vec<AtScale> {
        let [baseline, other] = self.runs.map(|run| &run.manifest);
        let at = |(place, label): (usize, &Temperature)| {
            let theirs = other.plan.temperatures.iter().position(|their| their == label)?;
            let places = [place, theirs];
            let of = |name: ImprovementName| {
                let is_wanted =
                    |scope: &&Compared| scope.name == name && scope.weighting == Weighting::Uniform;
                let scope = scopes.iter().find(is_wanted)?;
                self.improvement_of(scope, places.map(Measure::DeltaLossAt))
            };
            Some(AtScale {
                temperature: *label,
                values: [*baseline.temperatures.get(place)?, *other.temperatures.get(theirs)?],
                last_layer: of(ImprovementName::LastLayer),
                all_layers: of(ImprovementName::Overall { embedding: true }),
                all_layers_without_embedding: of(ImprovementName::Overall { embedding: false }),
            })
        };
        baseline.plan.temperatures.iter().enumerate().filter_map(at).collect()
    }
}

impl Reliability {
    /// What is left of the verdict on ΔLoss where `ratios` are those of the same layers at other scales: none,
    /// unless they all say the same.
    pub fn at_all_scales<'e>(self, ratios: impl Iterator<Item = &'e Estimate>) -> Reliability {
        let mut verdicts = ratios.map(Verdict::of_ratio);
        let is_given = !matches!(self.delta_loss, Verdict::None(_));
        match verdicts.find(|verdict| *verdict != self.delta_loss) {
            Some(Verdict::None(reason)) if is_given => {
                Reliability { delta_loss: Verdict::None(reason), ..self }
            }
            Some(_) if is_given => {
                Reliability { delta_loss: Verdict::None(Reason::DependsOnScale), ..self }
            }
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_holds_at_every_scale_or_none_is_given() {
        let estimate = |low, high| Estimate { value: 0.5 * (low + high), low, high };
        let (lower, equal, higher) = (estimate(1.2, 3.0), estimate(0.8, 1.3), estimate(0.4, 0.9));
        let unknown = Estimate::alone(1.5);
        let sdc = estimate(-2.0, -0.5);
        let verdict = |ratio: &Estimate, at: &[Estimate]| {
            Reliability::of(Some(ratio), Some(&sdc)).at_all_scales(at.iter()).words()
        };
        assert_eq!(verdict(&lower, &[]), "ΔLoss lower, SDC rate lower");
        assert_eq!(verdict(&lower, &[lower, lower]), "ΔLoss lower, SDC rate lower");
        let refused = "no verdict on reliability: ΔLoss: the ratio depends on the scale of the logits; SDC rate lower";
        for at in [[lower, equal], [equal, lower], [higher, lower]] {
            assert_eq!(verdict(&lower, &at), refused);
        }
        assert_eq!(verdict(&equal, &[lower]), refused);
        assert_eq!(
            verdict(&lower, &[unknown]),
            "no verdict on reliability: ΔLoss: no interval; SDC rate lower"
        );
        // Nothing is made of no verdict.
        let near_chance = Reliability::refused(Reason::NearChance);
        assert_eq!(near_chance.at_all_scales([lower].iter()), near_chance);
    }
}
