//! Top-1 accuracy of two models.

use serde::Serialize;

use crate::results::Run;
use crate::statistics::{
    Confidence, Estimate, PairedCell, RateCell, RateDifference, RateInterval, discordance,
};

/// Top-1 over the evaluated images, in percent, and the difference in points.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    pub baseline: Estimate,
    pub other: Estimate,
    /// other − baseline: of the same images where it is known which each gets right, else as if each had images of its
    /// own, which is wider.
    pub difference: Estimate,
}

impl Accuracy {
    /// From what runs say: how many images were right. `None` where one doesn't.
    pub(super) fn of_counts(
        runs: [&Run; 2],
        interval: RateInterval,
        confidence: Confidence,
    ) -> Option<Accuracy> {
        let counts = runs.map(|run| {
            let provenance = &run.manifest.setting.provenance;
            [provenance.right, provenance.evaluated]
        });
        if counts.iter().any(|[_, evaluated]| *evaluated == 0) {
            return None;
        }
        let mut difference = RateDifference::default();
        for (side, [right, evaluated]) in counts.into_iter().enumerate() {
            let mut cell = RateCell::default();
            (0..evaluated).for_each(|image| cell.push(f64::from(u8::from(image < right)), 1.0));
            difference.add_alone(side, 1.0, &[(1.0, cell)]);
        }
        let [baseline, other] = counts.map(|[right, evaluated]| {
            interval.of(right as f64, evaluated as f64, confidence).times(100.0)
        });
        let difference = difference.estimate(interval, confidence).times(100.0);
        Some(Accuracy { baseline, other, difference })
    }

    /// With the difference of the same images, of each of which it is known whether either model is right.
    pub(super) fn paired(
        self,
        [a, b]: [&[bool]; 2],
        interval: RateInterval,
        confidence: Confidence,
    ) -> Accuracy {
        if a.is_empty() {
            return self;
        }
        let mut cell = PairedCell::default();
        for right in a.iter().zip(b) {
            let events = [*right.0, *right.1].map(|right| f64::from(u8::from(right)));
            cell.iter_mut()
                .zip(discordance(events))
                .for_each(|(cell, event)| cell.push(event, 1.0));
        }
        let mut sum = RateDifference::default();
        sum.add_pairs([1.0, 1.0], &[(1.0, cell)]);
        Accuracy { difference: sum.estimate(interval, confidence).times(100.0), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 90 and 93 of 100, 2 right in the first alone and 5 in the second: as independent samples Newcombe's method 10
    /// has [-5.10, 11.25] points, statsmodels' `confint_proportions_2indep(93, 100, 90, 100, method="newcomb")`.
    #[test]
    fn the_same_images_make_a_narrower_difference() {
        let estimate = Estimate { value: 3.0, low: -5.10, high: 11.25 };
        let unpaired = Accuracy { baseline: estimate, other: estimate, difference: estimate };
        let right = |from: usize, to: usize| (0..100).map(|i| (from..to).contains(&i)).collect();
        let (a, b): (Vec<bool>, Vec<bool>) = (right(0, 90), right(2, 95));
        let paired = unpaired.paired([&a, &b], RateInterval::Wilson, Confidence::P95).difference;
        assert!((paired.value - 3.0).abs() < 1e-12, "{paired:?}");
        assert!(paired.low > -4.0 && paired.low < 0.0 && paired.high < 10.0, "{paired:?}");
    }
}
