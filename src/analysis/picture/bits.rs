//! Outcomes by layer, bit and direction of the flip.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Outcomes, Shown, check, faults_words};
use crate::analysis::scope::Scope;
use crate::detector::Detector;
use crate::number::Format;
use crate::results::{Direction, Record, Run};

/// Faults into one bit of a layer's values that flipped one way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BitCell {
    /// As exports number it: 0 the least significant of an f32, 31 its sign.
    pub bit: u32,
    /// `None` where the values that faults hit aren't known.
    pub direction: Option<Direction>,
    pub outcomes: Outcomes,
}

/// The cells of one layer that have records, by bit and direction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BitLayer {
    /// Index into the run's layers.
    pub layer: usize,
    pub cells: Vec<BitCell>,
}

impl BitLayer {
    /// The outcomes in a bit of either direction, or of one.
    pub fn outcomes(&self, bit: u32, direction: Option<Direction>) -> Outcomes {
        let is_meant = |cell: &&BitCell| {
            cell.bit == bit && (direction.is_none() || cell.direction == direction)
        };
        let mut all = Outcomes::default();
        self.cells.iter().filter(is_meant).for_each(|cell| all.join(cell.outcomes));
        all
    }
}

/// A bit of the whole network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NetworkBit {
    pub bit: u32,
    /// `None`: either way.
    pub direction: Option<Direction>,
    /// The share with SDC, layers alike, as `report --by bit` has it.
    pub sdc: f64,
    /// The records that it is of.
    pub n: u64,
}

/// Outcomes by layer and bit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BitTable {
    /// The lowest bit of the values' format, and how many it has: those of the fraction, of the exponent, and a sign.
    pub lowest: u32,
    pub fraction: u32,
    pub exponent: u32,
    /// Whether directions are known, so that cells are apart by them.
    pub has_directions: bool,
    /// In the model's order; those without records have no cells.
    pub layers: Vec<BitLayer>,
    /// Each bit of the network, and each way it flips where that is known.
    pub network: Vec<NetworkBit>,
}

impl BitTable {
    /// The bits of the format, from the lowest.
    pub fn bits(&self) -> std::ops::Range<u32> {
        self.lowest..self.lowest + self.fraction + self.exponent + 1
    }
}

/// Outcomes of a run's records by layer, bit and direction.
///
/// # Errors
/// Faults that aren't one bit of one value; values of several formats.
pub fn bits(run: &Run, detector: Detector) -> Shown<BitTable> {
    check(run, detector)?;
    let manifest = &run.manifest;
    let bit_of = |record: &Record| {
        let mask = record.mask().filter(|mask| mask.is_power_of_two());
        mask.map(u32::trailing_zeros).ok_or_else(|| {
            format!(
                "{} don't flip a single bit of a single value, so that there is no rate of a bit.",
                faults_words(&manifest.plan)
            )
        })
    };
    let mut format: Option<Format> = None;
    let (mut layers, mut has_directions) = (Vec::new(), true);
    for (index, layer) in manifest.layers.iter().enumerate() {
        let mut cells = BTreeMap::<(u32, Option<Direction>), Outcomes>::new();
        for record in run.of(index, detector) {
            let of_record = layer.format_at(record.site);
            if *format.get_or_insert(of_record) != of_record {
                return Err(
                    "Faults hit values of several number formats, whose bits can't share a table."
                        .into(),
                );
            }
            let direction = record.direction();
            has_directions &= direction.is_some();
            cells.entry((bit_of(record)?, direction)).or_default().push(record.effect.outcome);
        }
        let cell = |((bit, direction), outcomes)| BitCell { bit, direction, outcomes };
        layers.push(BitLayer { layer: index, cells: cells.into_iter().map(cell).collect() });
    }
    let format = format.unwrap_or_default();
    let mut table = BitTable {
        lowest: format.shift(),
        fraction: format.mantissa_bits(),
        exponent: format.exponent_bits(),
        has_directions,
        layers,
        network: Vec::new(),
    };
    let counts = Scope::ALL.layers(run);
    let mut ways = vec![None];
    if table.has_directions {
        ways.extend([Some(Direction::ZeroToOne), Some(Direction::OneToZero)]);
    }
    let cells = ways.iter().flat_map(|way| table.bits().map(|bit| (bit, *way)));
    table.network = cells.filter_map(|(bit, way)| network(&table, &counts, bit, way)).collect();
    Ok(table)
}

/// The mean of layers' rates of a bit, of those that have any record of it.
fn network(
    table: &BitTable,
    layers: &[usize],
    bit: u32,
    direction: Option<Direction>,
) -> Option<NetworkBit> {
    let of = |layer: &usize| {
        let outcomes = table.layers[*layer].outcomes(bit, direction);
        (outcomes.n() > 0).then(|| (outcomes.n(), outcomes.sdc_rate()))
    };
    let rates: Vec<(u64, f64)> = layers.iter().filter_map(of).collect();
    let sdc = rates.iter().map(|of| of.1).sum::<f64>() / rates.len() as f64;
    let n = rates.iter().map(|of| of.0).sum();
    (!rates.is_empty()).then_some(NetworkBit { bit, direction, sdc, n })
}
