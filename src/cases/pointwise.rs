//! Element by element: activations, sums, products, dropout.

use super::{CaseInput, Fill, OpCase};
use crate::ops::activation::Activation;
use crate::ops::add::Add;
use crate::ops::broadcast::{Broadcast, BroadcastBy};
use crate::ops::dropout::Dropout;
use crate::ops::gated_sum::GatedSum;
use crate::ops::multiply::Multiply;
use crate::ops::unary::Unary;
use crate::tensor::{Map, Span};

/// Bits are equal, so that no tolerance is needed.
pub(super) fn activation() -> Vec<OpCase> {
    let case = |name, activation, map, batch| {
        let case = OpCase::new(name, activation, vec![CaseInput::uniform(map)], batch);
        OpCase { tolerance: 0.0, ..case }
    };
    Activation::ALL
        .into_iter()
        .flat_map(|activation| {
            [
                case("map", activation, Map::new(5, 7, 19), 3),
                case("vector, eval", activation, Map::vector(3), 1).eval(),
            ]
        })
        .collect()
}

/// Bits are equal, so that no tolerance is needed.
pub(super) fn unary() -> Vec<OpCase> {
    let case = |name, unary, map, batch| {
        let fill = match unary {
            Unary::Sqrt | Unary::Log => Fill::Positive,
            _ => Fill::Uniform,
        };
        let case = OpCase::new(name, unary, vec![CaseInput { map, fill }], batch);
        OpCase { tolerance: 0.0, ..case }
    };
    Unary::EXAMPLES
        .into_iter()
        .flat_map(|unary| {
            [
                case("map", unary, Map::new(5, 7, 19), 3),
                case("vector, eval", unary, Map::vector(3), 1).eval(),
            ]
        })
        .collect()
}

pub(super) fn add() -> Vec<OpCase> {
    let input = CaseInput::uniform(Map::new(4, 3, 17));
    let depth = || OpCase::new("stochastic depth", Add::with_depth(0.5), vec![input; 2], 6);
    vec![OpCase::new("map", Add::new(), vec![input; 2], 3), depth(), depth().eval()]
}

pub(super) fn multiply() -> Vec<OpCase> {
    let (map, all) = (Map::new(4, 3, 21), Multiply::new());
    [
        ("maps", all, map, map),
        ("by a value a channel", all, map, Map::vector(21)),
        ("by a value a pixel", all, map, Map::new(4, 3, 1)),
        ("vectors", all, Map::vector(5), Map::vector(5)),
        ("some channels", Multiply::of_channels(Span::new(2, 19)), map, Map::new(4, 3, 17)),
    ]
    .into_iter()
    .map(|(name, op, a, b)| {
        OpCase::new(name, op, vec![CaseInput::uniform(a), CaseInput::uniform(b)], 3)
    })
    .collect()
}

pub(super) fn broadcast() -> Vec<OpCase> {
    let map = Map::new(6, 5, 7);
    let case = |name, by, table: Map, each| {
        let shape = vec![table.height, table.width, table.channels];
        let op = Broadcast { by, table, each, shape };
        OpCase::new(name, op, vec![CaseInput::uniform(map)], 3)
    };
    use BroadcastBy::{Add, Multiply};
    vec![
        case("an element each", Add, map, [1; 3]),
        case("a factor an element", Multiply, map, [1; 3]),
        case("rows again and again", Add, Map::new(3, 5, 7), [1; 3]),
        case("two rows alike", Multiply, Map::new(3, 5, 7), [2, 1, 1]),
        case("a number a channel", Multiply, Map::vector(7), [1; 3]),
        case("a number a pixel", Add, Map::new(6, 5, 1), [1; 3]),
        // Of the seventh channel there is half a pair.
        case("pairs of channels, pixel by pixel", Multiply, Map::new(2, 2, 2), [2, 1, 2]),
    ]
}

pub(super) fn gated_sum() -> Vec<OpCase> {
    [
        ("two levels", Map::new(4, 3, 19), 6, 2),
        ("the global one alone", Map::new(2, 5, 16), 0, 0),
        // More products than a launch of the kernel takes.
        ("five levels", Map::new(2, 3, 5), 1, 5),
    ]
    .map(|(name, map, first_gate, levels)| {
        OpCase::new(
            name,
            GatedSum::new(first_gate, levels),
            gated_sum_inputs(map, first_gate, levels),
            3,
        )
    })
    .into()
}

fn gated_sum_inputs(map: Map, first_gate: usize, levels: usize) -> Vec<CaseInput> {
    let gates = Map { channels: first_gate + levels + 1, ..map };
    let mut maps = vec![gates];
    maps.extend(vec![map; levels]);
    maps.push(Map::vector(map.channels));
    maps.into_iter().map(CaseInput::uniform).collect()
}

pub(super) fn dropout() -> Vec<OpCase> {
    let map = || vec![CaseInput::uniform(Map::new(3, 5, 7))];
    let vector = || vec![CaseInput::uniform(Map::vector(1028))];
    vec![
        OpCase::new("map", Dropout { p: 0.3 }, map(), 3),
        OpCase::new("map, eval", Dropout { p: 0.3 }, map(), 3).eval(),
        OpCase::new("vector", Dropout { p: 0.5 }, vector(), 2),
        OpCase::new("of nothing", Dropout { p: 0.0 }, map(), 1),
    ]
}
