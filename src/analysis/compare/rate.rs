//! The change of a rate from one run to the other.

use super::pair::{Beside, RunPair};
use super::{Discordant, RateChange, Verdict};
use crate::analysis::rates::{only, rate_cells, select};
use crate::analysis::scope::{Scope, Weighting};
use crate::detector::Detector;
use crate::plan::Stratify;
use crate::results::{Measure, Outcome, Record};
use crate::statistics::{Estimate, RateDifference, discordance, mcnemar_exact};
use crate::{Error, Result};

impl RunPair<'_> {
    /// SDC and nonfinite under each detector.
    pub(super) fn rates(&self) -> Result<Vec<RateChange>> {
        let mut rates = Vec::new();
        let layers = self.each(|run| Scope::ALL.layers(run));
        for detector in &self.runs[0].manifest.plan.detectors {
            for outcome in [Outcome::Sdc, Outcome::Nonfinite] {
                rates.extend(self.rate(&layers, *detector, outcome)?);
            }
        }
        Ok(rates)
    }

    /// A rate over some layers; `None` where a run has none.
    pub(super) fn rate(
        &self,
        layers: &[Vec<usize>; 2],
        detector: Detector,
        outcome: Outcome,
    ) -> Result<Option<RateChange>> {
        let measure = Measure::Is(outcome);
        if layers.iter().any(Vec::is_empty) {
            return Ok(None);
        }
        let rate = |side: usize| {
            select(self.runs[side], layers[side].clone(), detector).mean(measure, self.how)
        };
        let (baseline, other) = (rate(0)?, rate(1)?);
        let matched = self.match_layers(layers);
        let (difference, p) = if self.is_stopped() {
            (Estimate::alone(other.value - baseline.value), None)
        } else if self.is_of_itself {
            // Every pair is one record; nothing is left to chance.
            (Estimate { value: 0.0, low: 0.0, high: 0.0 }, Some(1.0))
        } else {
            let sum = self.difference(&matched, layers, detector, measure)?;
            let difference = sum.estimate(self.how.rates, self.how.confidence);
            (difference, Some(sum.p_value(self.how.rates)))
        };
        let discordant = match self.is_stopped() {
            true => None,
            false => self.discordant(&matched, detector, measure)?,
        };
        let [baseline, other, difference] =
            [baseline, other, difference].map(|estimate| estimate.times(100.0));
        let verdict = Verdict::of_rate(outcome, &difference);
        Ok(Some(RateChange {
            detector,
            outcome,
            baseline,
            other,
            difference,
            p,
            adjusted_p: None,
            verdict,
            discordant,
        }))
    }

    /// The difference of the rates with layers alike, from their discordant injections where layers got the same
    /// faults, else from the rates of either.
    pub(super) fn difference(
        &self,
        matched: &[Beside],
        layers: &[Vec<usize>; 2],
        detector: Detector,
        measure: Measure,
    ) -> Result<RateDifference> {
        let mut sum = RateDifference::default();
        let total = [0, 1].map(|side| {
            let of =
                |layer: &usize| Weighting::Uniform.of(&self.runs[side].manifest.layers[*layer]);
            layers[side].iter().map(of).sum::<f64>()
        });
        for beside in matched {
            let weights = self.weights(*beside, Weighting::Uniform);
            let shares = [0, 1].map(|side| weights[side] / total[side]);
            if let [Some(a), Some(b)] = *beside {
                let pairs = self
                    .pairs([a, b], detector)?
                    .map(|[a, b]| (a, discordance([measure.of(a), measure.of(b)])));
                sum.add_pairs(shares, &rate_cells(self.runs[0], pairs));
                continue;
            }
            for side in [0, 1] {
                if let Some(layer) = beside[side] {
                    let run = self.runs[side];
                    let observed = run.of(layer, detector).map(|r| (r, [measure.of(r)]));
                    sum.add_alone(side, shares[side], &only(&rate_cells(run, observed)));
                }
            }
        }
        Ok(sum)
    }

    /// The injections of a layer in both runs.
    ///
    /// # Errors
    /// Runs that don't hold the same ones.
    fn pairs(
        &self,
        [a, b]: [usize; 2],
        detector: Detector,
    ) -> Result<impl Iterator<Item = [&Record; 2]>> {
        let [a, b] = [self.runs[0].of(a, detector), self.runs[1].of(b, detector)];
        let numbers = |record: &Record| record.n;
        if !a.clone().map(numbers).eq(b.clone().map(numbers)) {
            return Err(Error::usage(
                "the runs can't be compared: a layer has other injections in the one than in the other; \
                 --unpaired compares runs whose faults aren't the same",
            ));
        }
        Ok(a.zip(b).map(|(a, b)| [a, b]))
    }

    /// How many injections of the layers with the same faults had the outcome in one run alone; `None` where
    /// there is no such layer.
    fn discordant(
        &self,
        matched: &[Beside],
        detector: Detector,
        measure: Measure,
    ) -> Result<Option<Discordant>> {
        let (mut counts, mut any) = ([0.0; 3], false);
        for beside in matched {
            let [Some(a), Some(b)] = *beside else { continue };
            any = true;
            for [a, b] in self.pairs([a, b], detector)? {
                let kinds = discordance([measure.of(a), measure.of(b)]);
                counts.iter_mut().zip(kinds).for_each(|(count, kind)| *count += kind);
            }
        }
        let [only_in_baseline, only_in_other, _] = counts.map(|count| count as u64);
        let mcnemar_p = mcnemar_exact(only_in_baseline, only_in_other);
        // Allocated injections count for unlike shares of the faults, which plain counts don't tell.
        let is_allocated = self
            .runs
            .iter()
            .any(|run| matches!(run.manifest.plan.stratify, Stratify::Allocated(_)));
        Ok((any && !is_allocated).then_some(Discordant {
            only_in_baseline,
            only_in_other,
            mcnemar_p,
        }))
    }

    /// Whether a rule stopped layers of either.
    pub(super) fn is_stopped(&self) -> bool {
        self.runs.iter().any(|run| run.manifest.plan.until.is_some())
    }
}
