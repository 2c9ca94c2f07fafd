//! Every logit × bit × image, before the scale and after it.

use super::tail::Clean;
use super::{BITS, Exchange, Exhaustive, Histogram, answers, flipped};
use crate::Result;
use crate::campaign::Layer;

/// Counts of both places; one where there is no scale.
pub(super) struct Logits {
    pub histograms: Vec<Histogram>,
}

impl Logits {
    pub fn new(census: &Exhaustive<'_>) -> Logits {
        let of =
            |layer: &Layer| Histogram::new(&layer.name, census.model.classes, &census.detectors);
        let tail = &census.tail;
        Logits { histograms: std::iter::once(&tail.last).chain(&tail.after).map(of).collect() }
    }

    pub fn count(&mut self, census: &Exhaustive<'_>, clean: &[Clean<'_>]) -> Result<()> {
        let answers = answers(clean);
        let Exhaustive { detectors, tail, max, .. } = census;
        for (place, histogram) in self.histograms.iter_mut().enumerate() {
            let max = max[place];
            histogram.add(|class, tally| {
                for (clean, answer) in clean.iter().zip(&answers) {
                    let values = if place == 0 { &clean.last } else { &clean.golden.logits };
                    let exchange = Exchange { detectors, max, class, before: values[class] };
                    for bit in 0..BITS {
                        let after = flipped(values[class], bit);
                        exchange.count(tally, answer, (bit, after), |value| {
                            if place == 0 { tail.logit(value) } else { value }
                        });
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}
