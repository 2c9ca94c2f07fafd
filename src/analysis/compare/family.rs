//! Many readings at once: which may be called a difference.
//!
//! One reading is the primary one, named before the figures are seen; its verdict is its interval's. All others that
//! have an interval form a family: improvements, rates under each detector, and of each layer the ratio of mean ΔLoss
//! and the difference of SDC rates. One of them is called lower or higher only where its p-value, adjusted over the
//! family by Holm's method, is below 1 − confidence. So the chance of one or more wrong calls in the family is at most
//! that, as is the primary's. A p-value says what the figure's interval says (`Linearized`, `RateDifference`).
//! Figures that are the same by construction (the last layer among the readings and among the layers, all layers with
//! and without an extra Linear that there isn't) count once. Bits are a family of their own.
//!
//! The verdict on reliability says that ΔLoss and the SDC rate are both lower, or both higher. It is wrong if either is,
//! so each is held against 1 − confidence by itself, without adjustment, and the chance that the claim is wrong is
//! at most that (the intersection–union test; Berger, 1982, *Multiparameter hypothesis testing and acceptance
//! sampling*, theorem 1). Where that claim isn't made, each says what it says in its table.

use super::{
    AtScale, BitChange, Comparison, Improvement, RateChange, Reading, Reason, Reliability, Verdict,
};
use crate::statistics::{Confidence, holm};

/// A reading as the family sees it.
struct Member<'c> {
    is_primary: bool,
    /// Readings of one key are one figure.
    key: Option<[u64; 2]>,
    p: Option<f64>,
    /// What its interval says.
    alone: Verdict,
    adjusted_p: &'c mut Option<f64>,
    verdict: &'c mut Verdict,
}

impl<'c> Member<'c> {
    fn of_improvement(improvement: &'c mut Improvement, is_primary: bool) -> Member<'c> {
        Member {
            is_primary,
            key: Some([improvement.baseline.to_bits(), improvement.other.to_bits()]),
            p: improvement.p,
            alone: Verdict::of_ratio(&improvement.ratio),
            adjusted_p: &mut improvement.adjusted_p,
            verdict: &mut improvement.verdict,
        }
    }

    fn of_rate(rate: &'c mut RateChange, is_primary: bool) -> Member<'c> {
        Member {
            is_primary,
            key: None,
            p: rate.p,
            alone: Verdict::of_rate(rate.outcome, &rate.difference),
            adjusted_p: &mut rate.adjusted_p,
            verdict: &mut rate.verdict,
        }
    }
}

impl Comparison {
    /// All readings.
    fn members(&mut self, primary: Reading) -> Vec<Member<'_>> {
        let mut members = Vec::new();
        for (improvement, reading) in [
            (&mut self.last_layer, Some(Reading::DeltaLossLastLayer)),
            (&mut self.last_layer_before_scale, Some(Reading::DeltaLossLastLayerBeforeScale)),
            (&mut self.backbone_last_layer, None),
        ] {
            let is_primary = reading == Some(primary);
            members.extend(improvement.as_mut().map(|of| Member::of_improvement(of, is_primary)));
        }
        for overall in &mut self.overall {
            let is_primary = primary.is_overall(overall.weighting, overall.embedding);
            members.push(Member::of_improvement(&mut overall.improvement, is_primary));
        }
        for rate in &mut self.rates {
            let is_primary = primary.is_rate(rate);
            members.push(Member::of_rate(rate, is_primary));
        }
        for layer in &mut self.by_layer {
            members.extend(layer.delta_loss.as_mut().map(|of| Member::of_improvement(of, false)));
            members.extend(layer.sdc.as_mut().map(|of| Member::of_rate(of, false)));
        }
        members
    }

    /// Gives every reading its verdict, and the family its adjusted p-values; or no verdict, for a reason.
    pub(super) fn judge(&mut self, confidence: Confidence, refused: Option<Reason>) {
        let primary = self.primary;
        self.family = adjust(self.members(primary), confidence, refused);
        // Ratios at other scales are controls of those as trained: no readings of their own.
        for improvement in self.scales.iter_mut().flat_map(AtScale::improvements) {
            let verdict = Verdict::of_ratio(&improvement.ratio);
            improvement.verdict = refused.map_or(verdict, Verdict::None);
            improvement.p = None;
        }
        self.reliability = self.reliability_of(refused);
    }

    fn reliability_of(&self, refused: Option<Reason>) -> Reliability {
        if let Some(reason) = refused {
            return Reliability::refused(reason);
        }
        let ratio = self.all_layers().map(|improvement| &improvement.ratio);
        let scales = self.scales.iter().filter_map(|at| Some(&at.all_layers.as_ref()?.ratio));
        let alone = Reliability::of(ratio, self.sdc_difference()).at_all_scales(scales);
        if alone.is_agreed() {
            return alone;
        }
        let delta_loss = match alone.delta_loss {
            Verdict::None(_) => alone.delta_loss,
            _ => self.all_layers().map_or(alone.delta_loss, |of| of.verdict),
        };
        Reliability { delta_loss, sdc: self.sdc().map_or(alone.sdc, |of| of.verdict) }
    }
}

/// Gives members their verdicts, and those of the family their adjusted p-values; or no verdict, for a reason. How many
/// figures the family has.
fn adjust(mut members: Vec<Member<'_>>, confidence: Confidence, refused: Option<Reason>) -> usize {
    let of_primary: Vec<_> =
        members.iter().filter(|m| m.is_primary).filter_map(|m| m.key).collect();
    let mut keys = Vec::new();
    let mut p_values = Vec::new();
    // Of each member, its place in the family.
    let places: Vec<Option<usize>> = members
        .iter_mut()
        .map(|member| {
            member.is_primary |= member.key.is_some_and(|key| of_primary.contains(&key));
            let p = member.p.filter(|_| !member.is_primary)?;
            let known = member.key.and_then(|key| keys.iter().position(|k| *k == Some(key)));
            Some(known.unwrap_or_else(|| {
                keys.push(member.key);
                p_values.push(p);
                p_values.len() - 1
            }))
        })
        .collect();
    let adjusted = holm(&p_values);
    for (member, place) in members.into_iter().zip(places) {
        *member.adjusted_p = place.map(|place| adjusted[place]);
        let is_shown = member.adjusted_p.is_none_or(|p| p < confidence.alpha());
        *member.verdict = match refused {
            Some(reason) => Verdict::None(reason),
            None if is_shown => member.alone,
            None => Verdict::NoDifferenceShown,
        };
    }
    p_values.len()
}

/// Gives bits their verdicts: their figures are a family.
pub(super) fn judge_bits(
    bits: &mut [BitChange],
    confidence: Confidence,
    refused: Option<Reason>,
) -> usize {
    let members = bits.iter_mut().flat_map(|bit| {
        let delta_loss = bit.delta_loss.as_mut().map(|of| Member::of_improvement(of, false));
        delta_loss.into_iter().chain(bit.sdc.as_mut().map(|of| Member::of_rate(of, false)))
    });
    adjust(members.collect(), confidence, refused)
}
