//! Batch norm, layer norm, and operations that reduce a pixel's channels.

use super::{CaseInput, Fill, OpCase};
use crate::ops::batch_norm::BatchNorm;
use crate::ops::layer_norm::LayerNorm;
use crate::ops::reduce::Reduce;
use crate::tensor::Map;

pub(super) fn batch_norm() -> Vec<OpCase> {
    let slow = BatchNorm { eps: 1e-3, momentum: 0.01, ..BatchNorm::new(24) };
    [
        ("map", BatchNorm::new(37), Map::new(5, 7, 37), 3),
        ("vector", BatchNorm::new(66), Map::vector(66), 6),
        ("other constants", slow, Map::new(9, 8, 24), 2),
        ("one image", BatchNorm::new(3), Map::new(33, 31, 3), 1),
    ]
    .into_iter()
    .flat_map(|(name, op, map, batch)| {
        OpCase::new(name, op, vec![CaseInput::uniform(map)], batch).in_both_modes()
    })
    .collect()
}

pub(super) fn layer_norm() -> Vec<OpCase> {
    [
        ("map", LayerNorm::new(37), Map::new(5, 3, 37), 3),
        ("whole tiles", LayerNorm { eps: 1e-6, ..LayerNorm::new(32) }, Map::new(2, 4, 32), 2),
        ("rows", LayerNorm::new(100), Map::new(3, 3, 100), 2),
        ("long rows", LayerNorm::new(772), Map::new(1, 3, 772), 3),
        ("longer rows", LayerNorm::new(1060), Map::new(1, 2, 1060), 1),
        ("vector", LayerNorm::new(9), Map::vector(9), 4),
    ]
    .into_iter()
    .map(|(name, op, map, batch)| OpCase::new(name, op, vec![CaseInput::uniform(map)], batch))
    .collect()
}

/// Sums are in one order, so that no tolerance is needed.
pub(super) fn reduce() -> Vec<OpCase> {
    let case = |name, op, map, batch| {
        let fill = if op == Reduce::Max { Fill::Distinct } else { Fill::Uniform };
        let case = OpCase::new(name, op, vec![CaseInput { map, fill }], batch);
        OpCase { tolerance: 0.0, ..case }
    };
    Reduce::ALL
        .into_iter()
        .flat_map(|op| {
            [
                case("map", op, Map::new(5, 3, 37), 3),
                case("whole tiles", op, Map::new(2, 9, 32), 2),
                case("few channels", op, Map::new(3, 4, 5), 2),
                case("one channel", op, Map::new(2, 3, 1), 2),
                case("vector", op, Map::vector(131), 4),
            ]
        })
        .collect()
}
