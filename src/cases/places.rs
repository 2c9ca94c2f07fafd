//! Operations that select or pad: rows by index, channels, borders; and constants.

use super::{CaseInput, Fill, OpCase};
use crate::ops::canvas::PadCrop;
use crate::ops::constant::Constant;
use crate::ops::gather::Gather;
use crate::ops::rearrange::{MoveStep, Piece, Rearrange};
use crate::ops::slice::Slice;
use crate::tensor::{Map, Span};

/// Additions are in one order, so that bits are equal, unless several terms of a row are accumulated into a gradient:
/// adding them one by one rounds otherwise than adding their sum.
pub(super) fn gather() -> Vec<OpCase> {
    let indices = |map, rows| CaseInput { map, fill: Fill::Labels(rows) };
    let case =
        |name, op, inputs, batch| OpCase { tolerance: 0.0, ..OpCase::new(name, op, inputs, batch) };
    let from_table = |name, rows, width, batch| {
        let inputs = vec![indices(Map::new(1, 9, 1), rows as u32)];
        case(name, Gather::Table { rows, width }, inputs, batch)
    };
    let of_map = |name, places: Map, batch| {
        let map = Map::new(3, 4, 21);
        let inputs = vec![CaseInput::uniform(map), indices(places, map.pixels() as u32)];
        case(name, Gather::Pixels, inputs, batch)
    };
    vec![
        // More rows than indices, so that some are never asked for, and fewer.
        from_table("table", 40, 19, 3),
        from_table("small table", 5, 8, 2),
        of_map("one pixel", Map::vector(1), 4),
        OpCase { tolerance: 2e-6, ..of_map("pixels, some twice", Map::new(5, 4, 1), 2) },
    ]
}

pub(super) fn slice() -> Vec<OpCase> {
    [("first channels", Span::new(0, 5)), ("last channels", Span::new(5, 21))]
        .map(|(name, channels)| {
            let input = CaseInput::uniform(Map::new(3, 4, 21));
            OpCase::new(name, Slice { channels }, vec![input], 2)
        })
        .into()
}

pub(super) fn canvas() -> Vec<OpCase> {
    [("larger", 7, 6), ("smaller", 3, 2), ("lower and narrower", 8, 1)]
        .map(|(name, height, width)| {
            let input = CaseInput::uniform(Map::new(5, 4, 3));
            OpCase::new(name, PadCrop { height, width }, vec![input], 2)
        })
        .into()
}

/// Bits are equal but where a place has several terms, as in [`gather`].
pub(super) fn rearrange() -> Vec<OpCase> {
    let step = |size, from, to| MoveStep { size, from, to };
    let piece =
        |input, from, to, steps: &[MoveStep]| Piece { input, from, to, steps: steps.to_vec() };
    let case = |name, map, pieces, fill, inputs| {
        // The pieces are written down here.
        let op = Rearrange::new(map, pieces, fill).expect("pieces of one map");
        OpCase::new(name, op, inputs, 3)
    };
    let map = Map::new(3, 4, 10);
    let one = || vec![CaseInput::uniform(map)];
    let shuffle = [step(12, 10, 10), step(5, 1, 2), step(2, 5, 1)];
    let turn = [step(10, 1, 12), step(4, 10, 3), step(3, 40, 1)];
    let mirrored = [step(3, 40, 40), step(4, -10, 10), step(10, 1, 1)];
    let repeated = [step(3, 40, 80), step(2, 0, 40), step(40, 1, 1)];
    vec![
        case("shuffled channels", map, vec![piece(0, 0, 0, &shuffle)], 0.0, one()),
        case("transposed", Map::new(10, 4, 3), vec![piece(0, 0, 0, &turn)], 0.0, one()),
        case("mirrored", map, vec![piece(0, 30, 0, &mirrored)], 0.0, one()),
        OpCase {
            tolerance: 2e-6,
            ..case("repeated", Map::new(6, 4, 10), vec![piece(0, 0, 0, &repeated)], 0.0, one())
        },
        case(
            "rolled",
            map,
            vec![
                piece(0, 40, 0, &[step(2, 40, 40), step(40, 1, 1)]),
                piece(0, 0, 80, &[step(1, 40, 40), step(40, 1, 1)]),
            ],
            0.0,
            one(),
        ),
        case(
            "within a border",
            Map::new(5, 6, 10),
            vec![piece(0, 0, 70, &[step(3, 40, 60), step(40, 1, 1)])],
            -1.5,
            one(),
        ),
        case(
            "side by side, one for all images",
            Map::new(1, 13, 10),
            vec![piece(1, 0, 0, &[step(10, 1, 1)]), piece(0, 0, 10, &[step(120, 1, 1)])],
            0.0,
            vec![CaseInput::uniform(map), CaseInput::shared(Map::vector(10))],
        ),
    ]
}

pub(super) fn constant() -> Vec<OpCase> {
    vec![
        OpCase::new("position bias", Constant::position_bias([3, 2], 4), vec![], 1),
        OpCase::new("log coordinates", Constant::log_coordinates([4, 3]), vec![], 1),
    ]
}
