//! SDC by the channel and by the position of the value that was hit.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Shown, check, faults_words};
use crate::detector::Detector;
use crate::results::{LayerRow, Outcome, Record, Run};

/// Groups of channels at most, and groups of rows and of columns.
const MOST_CHANNELS: usize = 64;
const MOST_ROWS: usize = 16;

/// So many injections a group has on average at least, where that leaves a few groups.
const OF_A_GROUP: usize = 8;

/// An axis of places, in groups of neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Binned {
    /// Places on the axis.
    pub size: usize,
    /// Places of a group; the last one may have fewer.
    pub of_a_group: usize,
    /// Groups.
    pub groups: usize,
}

impl Binned {
    fn new(size: usize, most: usize) -> Binned {
        let of_a_group = size.div_ceil(most).max(1);
        Binned { size, of_a_group, groups: size.div_ceil(of_a_group) }
    }

    /// First and last place of a group.
    pub fn places(&self, group: usize) -> (usize, usize) {
        let first = group * self.of_a_group;
        (first, (first + self.of_a_group).min(self.size) - 1)
    }
}

/// The injections into a group of places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PlaceGroup {
    /// Number of the group; of positions row group · column groups + column group.
    pub group: usize,
    pub n: u64,
    /// Those with SDC.
    pub sdc: u64,
    /// The share with SDC, weighted as `report --by channel` and `--by position` do.
    pub rate: f64,
}

/// The maps of one layer; groups without injections are left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerPlaces {
    /// Index into the run's layers.
    pub layer: usize,
    pub channel_axis: Binned,
    pub row_axis: Binned,
    pub column_axis: Binned,
    pub channels: Vec<PlaceGroup>,
    pub positions: Vec<PlaceGroup>,
}

/// SDC by place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlaceMaps {
    /// Layers whose faults lie in a map.
    pub layers: Vec<LayerPlaces>,
    /// Layers with faults that don't: parameters, attention's scores, lists that mix sites.
    pub without: Vec<usize>,
}

/// What is added up for a group.
#[derive(Default)]
struct Sum {
    n: u64,
    sdc: u64,
    weight: f64,
    events: f64,
}

impl Sum {
    fn push(&mut self, is_sdc: bool, weight: f64) {
        self.n += 1;
        self.weight += weight;
        if is_sdc {
            self.sdc += 1;
            self.events += weight;
        }
    }
}

fn cells(sums: BTreeMap<usize, Sum>) -> Vec<PlaceGroup> {
    let cell = |(group, Sum { n, sdc, weight, events })| PlaceGroup {
        group,
        n,
        sdc,
        rate: events / weight,
    };
    sums.into_iter().map(cell).collect()
}

/// SDC of a run's records by channel and position, layer by layer.
///
/// # Errors
/// Faults that hit several values; no layer whose faults lie in a map.
pub fn places(run: &Run, detector: Detector) -> Shown<PlaceMaps> {
    check(run, detector)?;
    let mut maps = PlaceMaps { layers: Vec::new(), without: Vec::new() };
    for (index, layer) in run.manifest.layers.iter().enumerate() {
        if run.of(index, detector).next().is_none() {
            continue;
        }
        match of_layer(run, index, layer, detector)? {
            Some(places) => maps.layers.push(places),
            None => maps.without.push(index),
        }
    }
    match maps.layers.is_empty() {
        true => Err("No fault lies in a map of channels, rows and columns.".into()),
        false => Ok(maps),
    }
}

fn of_layer(
    run: &Run,
    index: usize,
    layer: &LayerRow,
    detector: Detector,
) -> Shown<Option<LayerPlaces>> {
    let mut records = run.of(index, detector).peekable();
    let Some(site) = records.peek().map(|record| record.site) else { return Ok(None) };
    let Some(&[channels, height, width]) = layer.shape_at(site) else { return Ok(None) };
    // As many groups as the injections can fill.
    let groups = run.of(index, detector).count() / OF_A_GROUP;
    let channel_axis = Binned::new(channels, groups.clamp(8, MOST_CHANNELS));
    let most = groups.isqrt().clamp(4, MOST_ROWS);
    let (row_axis, column_axis) = (Binned::new(height, most), Binned::new(width, most));
    let (mut by_channel, mut by_position) = (BTreeMap::new(), BTreeMap::new());
    let element = |record: &Record| {
        record.place.map(|place| place.element).ok_or_else(|| {
            let words = faults_words(&run.manifest.plan);
            format!("{words} don't hit a single value, so that they have no place.")
        })
    };
    for record in records {
        let element = element(record)?;
        let place = layer.coordinates(record.site, element).filter(|_| record.site == site);
        let Some([channel, row, column]) = place.map(|place| place.map(|at| at as usize)) else {
            return Ok(None);
        };
        let is_sdc = record.effect.outcome == Outcome::Sdc;
        let weight = run.manifest.weight(record);
        let position =
            row / row_axis.of_a_group * column_axis.groups + column / column_axis.of_a_group;
        let channel = channel / channel_axis.of_a_group;
        by_channel.entry(channel).or_insert_with(Sum::default).push(is_sdc, weight);
        by_position.entry(position).or_insert_with(Sum::default).push(is_sdc, weight);
    }
    Ok(Some(LayerPlaces {
        layer: index,
        channel_axis,
        row_axis,
        column_axis,
        channels: cells(by_channel),
        positions: cells(by_position),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_few_groups() {
        let axis = |size, most| {
            let Binned { of_a_group, groups, .. } = Binned::new(size, most);
            (of_a_group, groups)
        };
        assert_eq!(axis(64, 64), (1, 64));
        assert_eq!(axis(65, 64), (2, 33));
        assert_eq!(axis(1000, 64), (16, 63));
        assert_eq!(axis(7, 16), (1, 7));
        assert_eq!(axis(56, 16), (4, 14));
        assert_eq!(axis(0, 16), (1, 0));
        assert_eq!(Binned::new(1000, 64).places(62), (992, 999));
    }
}
