//! The distribution of ΔLoss: its empirical distribution function, of layers and of the network.

use serde::Serialize;

use super::{Shown, check};
use crate::analysis::rates::{Selection, select};
use crate::analysis::scope::Scope;
use crate::detector::Detector;
use crate::results::{Record, Run};

/// The most points that a curve is drawn through.
const MOST_POINTS: usize = 64;

/// An empirical distribution function of ΔLoss.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LossCurve {
    /// Index into the run's layers; `None` of the network, layers alike.
    pub layer: Option<usize>,
    pub n: u64,
    /// The share of injections with a ΔLoss of exactly 0.
    pub zeros: f64,
    /// The share with nonfinite answers, at which the curve stays below 1.
    pub nonfinite: f64,
    /// ΔLoss at 50, 90, 99 and 99.9 %, as `report` has it without a detector.
    pub quantiles: [f64; 4],
    /// ΔLoss in nats, ascending from the least above 0, and the share of injections whose ΔLoss is as large at most.
    /// Each is a point of the function; between them it rises in steps that are left out.
    pub points: Vec<(f64, f64)>,
}

/// ΔLoss under one detector.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distribution {
    pub detector: Detector,
    pub network: LossCurve,
    pub layers: Vec<LossCurve>,
}

/// The distribution of ΔLoss in a run, weighted as quantiles are.
///
/// # Errors
/// No records; answers without faults that aren't finite, so that nothing has a ΔLoss.
pub fn distribution(run: &Run, detector: Detector) -> Shown<Distribution> {
    check(run, detector)?;
    let of =
        |layer: Option<usize>, layers: Vec<usize>| curve(layer, &select(run, layers, detector));
    let layers = (0..run.manifest.layers.len()).filter_map(|layer| of(Some(layer), vec![layer]));
    let layers = layers.collect();
    let network = of(None, Scope::ALL.layers(run));
    let network = network.ok_or("No injection has a ΔLoss: fault-free answers aren't finite.")?;
    Ok(Distribution { detector, network, layers })
}

/// `None` where no record has a ΔLoss.
fn curve(layer: Option<usize>, selection: &Selection) -> Option<LossCurve> {
    let mut values = selection.weighted_values(Record::worst_delta_loss);
    values.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let total: f64 = values.iter().map(|(_, weight)| weight).sum();
    if values.is_empty() {
        return None;
    }
    let share = |is_in: fn(f64) -> bool| {
        let weights = values.iter().filter(|(value, _)| is_in(*value)).map(|(_, weight)| weight);
        weights.sum::<f64>() / total
    };
    let zeros = share(|value| value == 0.0);
    let nonfinite = share(f64::is_infinite);
    Some(LossCurve {
        layer,
        n: values.len() as u64,
        zeros,
        nonfinite,
        quantiles: selection.delta_loss_quantiles().values,
        points: thinned(&function(&values, total)),
    })
}

/// The points of the distribution function of ascending values above 0 that are finite.
fn function(values: &[(f64, f64)], total: f64) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    let mut sum = 0.0;
    for (value, weight) in values.iter().filter(|(value, _)| value.is_finite()) {
        sum += weight;
        let share = sum / total;
        match points.last_mut().filter(|(last, _)| last == value) {
            Some(last) => last.1 = share,
            None => points.push((*value, share)),
        }
    }
    points.retain(|(value, _)| *value > 0.0);
    points
}

/// At most [`MOST_POINTS`] of the points, at equal steps along the curve as it is seen on a logarithmic axis; the first
/// and the last among them.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else {
        return Vec::new();
    };
    let width = (last / first).log10().max(f64::MIN_POSITIVE);
    let mut along = vec![0.0];
    for pair in points.windows(2) {
        let [(from, low), (to, high)] = [pair[0], pair[1]];
        let step = (to / from).log10() / width + (high - low);
        along.push(along[along.len() - 1] + step);
    }
    let length = along[along.len() - 1];
    let mut kept: Vec<usize> = (0..MOST_POINTS)
        .map(|step| {
            let wanted = length * step as f64 / (MOST_POINTS - 1) as f64;
            along.partition_point(|at| *at < wanted).min(points.len() - 1)
        })
        .collect();
    kept.dedup();
    kept.into_iter().map(|place| points[place]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy 1.17's `stats.ecdf([0, 0, 1e-3, 1e-3, 0.1, 2, inf, inf])`: probabilities 0.25, 0.5, 0.625, 0.75, 1.
    #[test]
    fn functions_are_empirical() {
        let values = [0.0, 0.0, 1e-3, 1e-3, 0.1, 2.0, f64::INFINITY, f64::INFINITY];
        let values: Vec<(f64, f64)> = values.map(|value| (value, 2.0)).to_vec();
        let points = function(&values, 16.0);
        assert_eq!(points, [(1e-3, 0.5), (0.1, 0.625), (2.0, 0.75)]);
        assert_eq!(thinned(&points), points);
        assert_eq!(thinned(&[]), []);
        assert_eq!(thinned(&[(0.5, 1.0)]), [(0.5, 1.0)]);
    }

    /// Of many points few are kept, each of them as it was, both ends among them, and no gap is wide.
    #[test]
    fn curves_are_thinned() {
        let points: Vec<(f64, f64)> = (1..=5000)
            .map(|i| (10f64.powf(f64::from(i) / 500.0 - 6.0), (f64::from(i) / 5000.0).powi(8)))
            .collect();
        let kept = thinned(&points);
        assert!(kept.len() <= MOST_POINTS && kept.len() > MOST_POINTS / 2, "{}", kept.len());
        assert!(kept.iter().all(|point| points.contains(point)));
        assert_eq!((kept[0], kept[kept.len() - 1]), (points[0], points[4999]));
        let gap = |pair: &[(f64, f64)]| pair[1].1 - pair[0].1;
        assert!(kept.windows(2).all(|pair| gap(pair) < 2.0 / 63.0 * 1.01), "{kept:?}");
    }
}
