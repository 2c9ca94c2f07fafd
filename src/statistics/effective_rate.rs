//! Rates of weighted mixtures, with their effective number of trials.

use super::interval::{Confidence, Estimate, RateInterval};

/// Observations of a rate in one stratum: a layer, or a bit of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RateCell {
    /// Sums of weights, of their squares, and of those with an event.
    pub weight: f64,
    squares: f64,
    events: f64,
}

impl RateCell {
    /// Takes an observation: 1 for an event, 0 without.
    pub fn push(&mut self, event: f64, weight: f64) {
        self.weight += weight;
        self.squares += weight * weight;
        self.events += weight * event;
    }

    /// Takes the observations of another cell.
    pub fn join(&mut self, other: RateCell) {
        self.weight += other.weight;
        self.squares += other.squares;
        self.events += other.events;
    }

    /// Trials, less what unequal weights cost (Kish, 1965).
    pub fn trials(&self) -> f64 {
        self.weight * self.weight / self.squares
    }

    pub(super) fn rate(&self) -> f64 {
        self.events / self.weight
    }
}

/// A rate and its effective number of trials: so many independent, unweighted trials would measure it as
/// closely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EffectiveRate {
    pub rate: f64,
    pub trials: f64,
}

impl EffectiveRate {
    /// The rate of a layer: a mixture Σ share·rate of its cells, each of which was drawn in proportion to its
    /// share.
    ///
    /// The effective number of trials is p(1 − p)/V (Korn and Graubard, 1998), V being the variance of
    /// stratified sampling, Σ share²·p_c(1 − p_c)/n_c. Each p_c is shrunk towards p by one trial, so that
    /// cells with no event, or nothing else, have a variance, too.
    pub fn of_layer(cells: &[(f64, RateCell)]) -> EffectiveRate {
        let all_are = |rate: f64| cells.iter().all(|(_, cell)| cell.rate() == rate);
        let rate: f64 = match () {
            // Shares may add up to a little less than 1, of which the variance must know nothing.
            _ if all_are(1.0) => 1.0,
            _ => cells.iter().map(|(share, cell)| share * cell.rate()).sum(),
        };
        let drawn = |p: f64, n: f64| (n * p + rate) / (n + 1.0);
        let spread = |variance: &dyn Fn(f64, f64) -> f64| -> f64 {
            let of = |(share, cell): &(f64, RateCell)| {
                share * share * variance(cell.rate(), cell.trials()) / cell.trials()
            };
            cells.iter().map(of).sum()
        };
        let variance = spread(&|p, n| drawn(p, n) * (1.0 - drawn(p, n)));
        let trials = match rate * (1.0 - rate) / variance {
            trials if trials.is_finite() => trials,
            _ => 1.0 / spread(&|_, _| 1.0), // no event, or nothing else
        };
        EffectiveRate { rate, trials }
    }

    /// Layers weighted by `shares`, whatever was drawn in each. Their effective number of trials is capped at
    /// Kish's (1965), 1/Σ(share²/n), which doesn't depend on the rates: otherwise a heavy layer in which no
    /// event was seen would count as one whose rate is exactly 0.
    pub fn of_layers(layers: &[(f64, EffectiveRate)]) -> EffectiveRate {
        let rate: f64 = layers.iter().map(|(share, layer)| share * layer.rate).sum();
        let spread = |variance: fn(f64) -> f64| spread_of(layers, variance).sum::<f64>();
        let kish = 1.0 / spread(|_| 1.0);
        let trials = match rate * (1.0 - rate) / spread(binomial) {
            trials if trials.is_finite() => trials.min(kish),
            _ => kish,
        };
        EffectiveRate { rate, trials }
    }

    /// The share that each layer has in the variance of [`EffectiveRate::of_layers`]: of Σ share²·p(1 − p)/n. Where no
    /// layer has an event, or nothing else, of Σ share²/n.
    pub fn shares_of_variance(layers: &[(f64, EffectiveRate)]) -> Vec<f64> {
        let varies = layers.iter().any(|(_, layer)| binomial(layer.rate) > 0.0);
        let variance: fn(f64) -> f64 = if varies { binomial } else { |_| 1.0 };
        let total: f64 = spread_of(layers, variance).sum();
        spread_of(layers, variance).map(|part| part / total).collect()
    }

    /// What `times` as many trials would have measured, had the rate stayed what it is.
    pub fn times(self, times: f64) -> EffectiveRate {
        EffectiveRate { trials: times * self.trials, ..self }
    }

    /// The rate with an interval.
    pub fn estimate(&self, interval: RateInterval, confidence: Confidence) -> Estimate {
        interval.of(self.rate * self.trials, self.trials, confidence)
    }
}

/// The variance of one trial.
fn binomial(rate: f64) -> f64 {
    rate * (1.0 - rate)
}

/// What each layer adds to the variance of a rate over layers, one trial's being `variance`.
fn spread_of(
    layers: &[(f64, EffectiveRate)],
    variance: fn(f64) -> f64,
) -> impl Iterator<Item = f64> + '_ {
    layers.iter().map(move |(share, EffectiveRate { rate, trials })| {
        share * share * variance(*rate) / trials
    })
}

#[cfg(test)]
mod tests {
    use super::super::interval::wilson;
    use super::*;
    use crate::rng::{self, Draw};

    fn cell(trials: usize, events: usize) -> RateCell {
        let mut cell = RateCell::default();
        (0..trials).for_each(|i| cell.push(f64::from(u8::from(i < events)), 1.0));
        cell
    }

    /// One cell is a plain sample; cells of one rate are one sample of all their trials; cells without an
    /// event have 1 / Σ (share²/n) trials; and cells that differ make a narrower interval than one sample.
    #[test]
    fn cells_have_effective_trials() {
        let near = |cells: &[(f64, RateCell)], rate: f64, trials: f64| {
            let known = EffectiveRate::of_layer(cells);
            let off = (known.rate - rate).abs() + (known.trials - trials).abs() / trials;
            assert!(off < 1e-12, "{known:?}");
        };
        near(&[(1.0, cell(50, 3))], 0.06, 50.0);
        near(&[(0.5, cell(40, 10)), (0.5, cell(40, 10))], 0.25, 80.0);
        let none = 1.0 / (0.75f64.powi(2) / 30.0 + 0.25f64.powi(2) / 50.0);
        near(&[(0.75, cell(30, 0)), (0.25, cell(50, 0))], 0.0, none);
        near(&[(1.0, cell(50, 50))], 1.0, 50.0);
        // Six times a sixth is less than 1 in f64.
        let sixths = [1.0 / 6.0; 6].map(|share| (share, cell(8, 8)));
        assert!(sixths.iter().map(|(share, _)| share).sum::<f64>() < 1.0);
        near(&sixths, 1.0, 48.0);
        let apart = EffectiveRate::of_layer(&[(0.5, cell(100, 1)), (0.5, cell(100, 99))]);
        assert!(apart.rate == 0.5 && apart.trials > 1000.0, "{apart:?}");
        // Weights that differ within a cell cost trials: (3·1 + 3·3)²/(3·1 + 3·9) of 6.
        let mut uneven = RateCell::default();
        [1.0, 1.0, 1.0, 3.0, 3.0, 3.0].into_iter().for_each(|weight| uneven.push(0.0, weight));
        assert!((uneven.trials() - 144.0 / 30.0).abs() < 1e-12);
    }

    /// Layers of 0.75 and 0.25 with rates 0.1 and 0.5 in 100 trials each: 0.050625 and 0.015625 hundredths.
    #[test]
    fn layers_share_a_variance() {
        let layer =
            |share: f64, events| (share, EffectiveRate::of_layer(&[(1.0, cell(100, events))]));
        let near = |layers: &[(f64, EffectiveRate)], expected: [f64; 2]| {
            let shares = EffectiveRate::shares_of_variance(layers);
            let off: f64 = shares.iter().zip(expected).map(|(a, b)| (a - b).abs()).sum();
            assert!(shares.len() == 2 && off < 1e-12, "{shares:?}");
        };
        let sum = 0.050625 + 0.015625;
        near(&[layer(0.75, 10), layer(0.25, 50)], [0.050625 / sum, 0.015625 / sum]);
        near(&[layer(0.75, 0), layer(0.25, 50)], [0.0, 1.0]);
        near(&[layer(0.75, 0), layer(0.25, 0)], [0.9, 0.1]);
        near(&[layer(0.75, 100), layer(0.25, 0)], [0.9, 0.1]);
    }

    /// Half-widths of 50 of 1,000 and 200 of 4,000: statsmodels 0.15's `proportion_confint(…, method="wilson")`.
    #[test]
    fn more_trials_make_a_narrower_interval() {
        let known = EffectiveRate { rate: 0.05, trials: 1000.0 };
        for (times, half_width) in [(1.0, 0.013591778925750999), (4.0, 0.006764611139941201)] {
            let of = known.times(times).estimate(RateInterval::Wilson, Confidence::P95);
            assert!(((of.high - of.low) / 2.0 - half_width).abs() < 1e-12, "{of:?}");
        }
    }

    /// A layer that weighs much and has hardly any event, and one that weighs little and has many: the
    /// interval doesn't forget what the first may hide.
    #[test]
    fn rates_of_unequal_layers_cover() {
        for rates in [[0.0005, 0.2], [0.002, 0.05], [0.1, 0.1]] {
            let truth = 0.95 * rates[0] + 0.05 * rates[1];
            let covered = (0..500).filter(|trial| {
                let mut draws = rng::stream(*trial, "unequal");
                let layer = rates.map(|rate| {
                    let events = (0..1000).filter(|_| draws.chance(rate)).count();
                    EffectiveRate::of_layer(&[(1.0, cell(1000, events))])
                });
                let layers = [(0.95, layer[0]), (0.05, layer[1])];
                EffectiveRate::of_layers(&layers)
                    .estimate(RateInterval::default(), Confidence::P95)
                    .holds(truth)
            });
            let covered = covered.count();
            assert!(covered >= 460, "{rates:?}: {covered} of 500");
        }
    }

    /// 32 bits of which six matter, as in a last layer: intervals of stratified draws cover the rate. 500
    /// trials have a standard error of 1 %.
    #[test]
    fn stratified_rates_cover() {
        let rates = [0.13, 0.13, 0.13, 0.13, 0.13, 0.54];
        let truth = rates.iter().sum::<f64>() / 32.0;
        let (mut covered, mut narrower) = (0, 0);
        for trial in 0..500 {
            let mut draws = rng::stream(trial, "stratified");
            let cells: Vec<(f64, RateCell)> = (0..32)
                .map(|bit| {
                    let mut cell = RateCell::default();
                    for _ in 0..10 {
                        let event = draws.chance(*rates.get(bit).unwrap_or(&0.0));
                        cell.push(f64::from(u8::from(event)), 1.0);
                    }
                    (1.0 / 32.0, cell)
                })
                .collect();
            let estimate =
                EffectiveRate::of_layer(&cells).estimate(RateInterval::default(), Confidence::P95);
            let plain = wilson(estimate.value * 320.0, 320.0, Confidence::P95.z());
            covered += usize::from(estimate.holds(truth));
            narrower += usize::from(estimate.high - estimate.low < plain.high - plain.low);
        }
        assert!((460..=490).contains(&covered), "{covered} of 500");
        assert_eq!(narrower, 500);
    }
}
