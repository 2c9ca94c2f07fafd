//! Arithmetic with a parameter that is broadcast over a map: y = x + t or y = x · t. Position embeddings, biases and
//! masks of attention, layer scales.

mod cpu;
mod cuda;

use super::{Cost, Init, Op, ParamSpec, Role, SavedForBackward, passes};
use crate::tensor::{Map, Region, Spec};
use crate::{Error, Result};

/// What is done to an element and the parameter's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BroadcastBy {
    Add,
    Multiply,
}

/// x and a parameter, `value`. The parameter's row for row r of x is r / each, modulo its height; columns and
/// channels alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    pub by: BroadcastBy,
    /// The parameter as a map; it is kept row-major.
    pub table: Map,
    /// Neighbouring rows, columns and channels that read the same of the parameter.
    pub each: [usize; 3],
    /// The parameter's shape in a state dict, of as many elements.
    pub shape: Vec<usize>,
}

/// An axis of x and of the parameter.
#[derive(Clone, Copy)]
struct SpreadAxis {
    size: usize,
    table: usize,
    each: usize,
}

impl SpreadAxis {
    /// Where the parameter is read for place `at`.
    #[inline(always)]
    fn of(self, at: usize) -> usize {
        at / self.each % self.table
    }

    /// Whether neighbours read neighbours, all along.
    fn is_one_to_one(self) -> bool {
        self.each == 1 && self.table == self.size
    }

    /// The places that read place `at` of the parameter, in order.
    fn readers(self, at: usize) -> impl Iterator<Item = usize> {
        let first = (at * self.each..self.size).step_by(self.table * self.each);
        first.flat_map(move |start| start..(start + self.each).min(self.size))
    }
}

impl Broadcast {
    /// Each element of a map by one of its own.
    pub fn one_to_one(by: BroadcastBy, map: Map) -> Broadcast {
        let Map { height, width, channels } = map;
        Broadcast { by, table: map, each: [1; 3], shape: vec![height, width, channels] }
    }

    /// The axes of an x of `map`: rows, columns, channels.
    fn axes(&self, map: Map) -> [SpreadAxis; 3] {
        let axis = |size, table, at: usize| SpreadAxis { size, table, each: self.each[at] };
        [
            axis(map.height, self.table.height, 0),
            axis(map.width, self.table.width, 1),
            axis(map.channels, self.table.channels, 2),
        ]
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for Broadcast {
    passes!("broadcast", op => op);

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let map = inputs[0].map;
        let fits = |axis: SpreadAxis| {
            axis.table > 0 && axis.each > 0 && axis.each.saturating_mul(axis.table) <= axis.size
        };
        let elements: usize = self.shape.iter().product();
        if !self.axes(map).into_iter().all(fits) || elements != self.table.elements() {
            let (table, shape) = (self.table, &self.shape);
            let detail =
                format!("a parameter of {shape:?}, {table}, can't be broadcast over {map}");
            return Err(Error::shape("broadcast", detail));
        }
        Ok(Spec::f32(map))
    }

    fn params(&self) -> Vec<ParamSpec> {
        vec![ParamSpec::plain(
            "value",
            self.shape.clone(),
            Role::Position,
            Init::TruncatedNormal(0.02),
        )]
    }

    fn needs(&self) -> SavedForBackward {
        SavedForBackward { inputs: vec![self.by == BroadcastBy::Multiply], output: false }
    }

    fn cost(&self, inputs: &[Spec]) -> Cost {
        Cost { macs: 0, bytes: 2 * inputs[0].image_bytes() as u64 }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], _output: &Spec) -> Region {
        region
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_read_by_those_that_read_it() {
        for (size, table, each) in
            [(6, 3, 2), (7, 3, 2), (6, 6, 1), (5, 1, 1), (6, 2, 1), (6, 2, 3)]
        {
            let axis = SpreadAxis { size, table, each };
            for at in 0..table {
                let expected: Vec<usize> =
                    (0..size).filter(|place| axis.of(*place) == at).collect();
                assert_eq!(axis.readers(at).collect::<Vec<_>>(), expected, "{size} {table} {each}");
            }
        }
    }

    #[test]
    fn a_parameter_that_is_larger_than_the_map_is_refused() {
        let map = Map::new(2, 3, 4);
        let op = Broadcast::one_to_one(BroadcastBy::Add, map);
        assert!(op.output(&[Spec::f32(map)]).is_ok());
        assert!(op.output(&[Spec::f32(Map::new(4, 3, 4))]).is_ok(), "read twice");
        assert!(op.output(&[Spec::f32(Map::new(1, 3, 4))]).is_err());
        let wrong = Broadcast { shape: vec![5], ..op };
        assert!(wrong.output(&[Spec::f32(map)]).is_err());
    }
}
