//! The means over networks, one of which is the published headline.

use serde::Serialize;

use super::row::{BACKBONES, TORCHVISION};
use super::{ReproducedRow, RowSet};
use crate::plan::Protocol;
use crate::statistics::{Confidence, Estimate};

/// Which networks a mean is over, and which mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeanKind {
    /// torchvision's twelve: 5.5 is this mean of the published last layers.
    Twelve,
    Fourteen,
    /// The geometric mean of all fourteen.
    Geometric,
}

impl MeanKind {
    pub const ALL: [MeanKind; 3] = [MeanKind::Twelve, MeanKind::Fourteen, MeanKind::Geometric];

    fn networks(self) -> &'static [&'static str] {
        match self {
            MeanKind::Twelve => &BACKBONES[..TORCHVISION],
            MeanKind::Fourteen | MeanKind::Geometric => &BACKBONES,
        }
    }
}

/// A mean over networks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetworkMean {
    pub kind: MeanKind,
    pub protocol: Protocol,
    /// Networks that are there, and that the published mean is over.
    pub networks: usize,
    pub all: usize,
    /// The last layer, before the scale under `goldeneye`, after it under `strict`; with an interval over the
    /// sampling of faults, or over seeds where rows have one over these.
    pub last_layer: Estimate,
    pub overall: Estimate,
    /// Published, of the networks that are there.
    pub published_last_layer: f64,
    pub published_overall: f64,
}

/// The means of the rows of ImageNet, or of the small scale; none without a row that has figures.
pub fn means(rows: &[ReproducedRow]) -> Vec<NetworkMean> {
    let protocols = [Protocol::Goldeneye, Protocol::Strict];
    let pairs = protocols.into_iter().flat_map(|of| MeanKind::ALL.map(|kind| (of, kind)));
    pairs.filter_map(|(protocol, kind)| mean_of(rows, protocol, kind)).collect()
}

fn mean_of(rows: &[ReproducedRow], protocol: Protocol, kind: MeanKind) -> Option<NetworkMean> {
    let of = |row: &ReproducedRow| {
        let is_one = matches!(row.row.set, RowSet::Imagenet | RowSet::Small)
            && kind.networks().contains(&row.row.model.as_str());
        let line = row.line(protocol).filter(|_| is_one)?;
        let published = row.published.as_ref()?;
        let figures = [line.main_last_layer()?.shown, line.overall()?.shown];
        Some((figures, [published.last_layer, published.overall]))
    };
    let found: Vec<([Estimate; 2], [f64; 2])> = rows.iter().filter_map(of).collect();
    if found.is_empty() {
        return None;
    }
    let column = |at: usize| mean(found.iter().map(|(figures, _)| figures[at]), kind);
    let published = |at: usize| {
        let exact = |value| Estimate { value, low: value, high: value };
        mean(found.iter().map(|(_, published)| exact(published[at])), kind).value
    };
    Some(NetworkMean {
        kind,
        protocol,
        networks: found.len(),
        all: kind.networks().len(),
        last_layer: column(0),
        overall: column(1),
        published_last_layer: published(0),
        published_overall: published(1),
    })
}

/// A mean of ratios. Networks are independent: their errors, of logarithms, add up as squares.
fn mean(ratios: impl Iterator<Item = Estimate>, kind: MeanKind) -> Estimate {
    let z = Confidence::P95.z();
    let ratios: Vec<Estimate> = ratios.collect();
    let n = ratios.len() as f64;
    let error = |ratio: &Estimate| (ratio.high.ln() - ratio.low.ln()) / (2.0 * z);
    match kind {
        MeanKind::Geometric => {
            let value = ratios.iter().map(|ratio| ratio.value.ln()).sum::<f64>() / n;
            let half = z * ratios.iter().map(|ratio| error(ratio).powi(2)).sum::<f64>().sqrt() / n;
            Estimate { value, low: value - half, high: value + half }.exponential()
        }
        MeanKind::Twelve | MeanKind::Fourteen => {
            let value = ratios.iter().map(|ratio| ratio.value).sum::<f64>() / n;
            let squares = ratios.iter().map(|ratio| (ratio.value * error(ratio)).powi(2));
            let half = z * squares.sum::<f64>().sqrt() / n;
            Estimate { value, low: value - half, high: value + half }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_add_errors_up_as_squares() {
        let one = Estimate { value: 2.0, low: 2.0 / 1.1, high: 2.0 * 1.1 };
        let eight = Estimate { value: 8.0, low: 8.0 / 1.1, high: 8.0 * 1.1 };
        let ln = 1.1f64.ln();
        let geometric = mean([one, eight].into_iter(), MeanKind::Geometric);
        assert!((geometric.value - 4.0).abs() < 1e-12);
        assert!((geometric.high.ln() - 4f64.ln() - ln / 2f64.sqrt()).abs() < 1e-12);
        let plain = mean([one, eight].into_iter(), MeanKind::Fourteen);
        assert!((plain.value - 5.0).abs() < 1e-12);
        assert!((plain.high - 5.0 - ln * 68f64.sqrt() / 2.0).abs() < 1e-12);
    }

    /// The published means, of the published rows.
    #[test]
    fn published_means_are_those_of_the_paper() {
        let all = super::super::rows(super::super::ReproductionScale::Published, &[]).unwrap();
        let exact = |value| Estimate { value, low: value, high: value };
        let last = |count: usize, kind| {
            let rows = all[..count].iter().map(|row| exact(row.published().unwrap().last_layer));
            mean(rows, kind).value
        };
        assert!((last(12, MeanKind::Twelve) - 5.51).abs() < 0.005);
        assert!((last(14, MeanKind::Fourteen) - 5.05).abs() < 0.005);
        assert!((last(14, MeanKind::Geometric) - 4.02).abs() < 0.005);
    }
}
