//! Pooling.

use super::{CaseInput, Fill, OpCase};
use crate::ops::adaptive_avg_pool::AdaptiveAvgPool;
use crate::ops::avg_pool::AvgPool;
use crate::ops::max_pool::MaxPool;
use crate::ops::window::Window;
use crate::tensor::Map;

pub(super) fn max_pool() -> Vec<OpCase> {
    let odd = Window { kernel: [2, 3], stride: [1, 2], padding: [1, 0], dilation: [2, 2] };
    [
        ("3x3 stride 2", MaxPool::square(3, 2, 1), Map::new(9, 8, 21), 3),
        ("2x2", MaxPool::square(2, 2, 0), Map::new(7, 6, 16), 2),
        ("5x5, overlapping", MaxPool::square(5, 1, 2), Map::new(6, 7, 3), 2),
        ("dilated", MaxPool { window: odd }, Map::new(6, 9, 33), 2),
    ]
    .into_iter()
    .flat_map(|(name, op, map, batch)| {
        OpCase::new(name, op, vec![CaseInput { map, fill: Fill::Distinct }], batch).in_both_modes()
    })
    .collect()
}

pub(super) fn avg_pool() -> Vec<OpCase> {
    let padded = AvgPool::square(3, 2, 1);
    let odd = AvgPool { kernel: [2, 3], stride: [3, 1], padding: [1, 0], count_include_pad: false };
    [
        ("2x2", AvgPool::square(2, 2, 0), Map::new(7, 6, 21), 3),
        ("3x3 stride 2, padding counts", padded, Map::new(8, 9, 16), 2),
        (
            "3x3 stride 2, padding doesn't",
            AvgPool { count_include_pad: false, ..padded },
            Map::new(8, 9, 5),
            2,
        ),
        ("2x3, gaps", odd, Map::new(9, 5, 33), 2),
    ]
    .into_iter()
    .flat_map(|(name, op, map, batch)| {
        OpCase::new(name, op, vec![CaseInput::uniform(map)], batch).in_both_modes()
    })
    .collect()
}

pub(super) fn adaptive_avg_pool() -> Vec<OpCase> {
    [
        ("global", AdaptiveAvgPool::GLOBAL, Map::new(7, 7, 37), 3),
        ("7x5 to 3x2", AdaptiveAvgPool { output: [3, 2] }, Map::new(7, 5, 16), 2),
        ("up, 3x4 to 7x6", AdaptiveAvgPool { output: [7, 6] }, Map::new(3, 4, 5), 2),
        ("13x13 to 6x6", AdaptiveAvgPool { output: [6, 6] }, Map::new(13, 13, 9), 1),
    ]
    .into_iter()
    .flat_map(|(name, op, map, batch)| {
        OpCase::new(name, op, vec![CaseInput::uniform(map)], batch).in_both_modes()
    })
    .collect()
}
