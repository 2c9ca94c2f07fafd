//! Convolutions, linear layers, and products of two values.

use super::{CaseInput, OpCase};
use crate::ops::conv2d::Conv2d;
use crate::ops::linear::Linear;
use crate::ops::matmul::MatMul;
use crate::tensor::{Map, Span};

pub(super) fn conv2d() -> Vec<OpCase> {
    let base = Conv2d::square(5, 7, 3, 1, 1);
    [
        ("3x3", base, Map::new(6, 5, 5)),
        ("3x3 stride 2, bias", Conv2d { stride: [2, 2], bias: true, ..base }, Map::new(7, 8, 5)),
        (
            "1x1 stride 2",
            Conv2d { stride: [2; 2], ..Conv2d::square(6, 20, 1, 2, 0) },
            Map::new(7, 6, 6),
        ),
        ("7x7 stride 2", Conv2d::square(3, 66, 7, 2, 3), Map::new(17, 13, 3)),
        (
            "groups",
            Conv2d { groups: 2, bias: true, ..Conv2d::square(6, 4, 3, 1, 1) },
            Map::new(5, 5, 6),
        ),
        ("depthwise", Conv2d { groups: 6, ..Conv2d::square(6, 6, 3, 2, 1) }, Map::new(6, 9, 6)),
        (
            "depthwise, dilation, bias",
            Conv2d {
                groups: 70,
                dilation: [1, 2],
                padding: [2, 4],
                bias: true,
                ..Conv2d::square(70, 70, 5, 1, 2)
            },
            Map::new(6, 11, 70),
        ),
        (
            "depthwise, stride over the kernel",
            Conv2d { groups: 17, stride: [3, 2], ..Conv2d::square(17, 17, 2, 1, 1) },
            Map::new(7, 6, 17),
        ),
        (
            "depthwise 3x3, bias",
            Conv2d { groups: 20, bias: true, ..Conv2d::square(20, 20, 3, 1, 1) },
            Map::new(5, 18, 20),
        ),
        (
            "depthwise 3x3 stride 2",
            Conv2d { groups: 44, ..Conv2d::square(44, 44, 3, 2, 1) },
            Map::new(9, 14, 44),
        ),
        (
            "depthwise 5x5 stride 2, dilated rows",
            Conv2d {
                groups: 8,
                dilation: [2, 1],
                padding: [4, 2],
                silent_bias: Span::new(2, 5),
                bias: true,
                ..Conv2d::square(8, 8, 5, 2, 2)
            },
            Map::new(11, 10, 8),
        ),
        (
            "depthwise 7x7",
            Conv2d { groups: 36, ..Conv2d::square(36, 36, 7, 1, 3) },
            Map::new(9, 19, 36),
        ),
        (
            "depthwise 3x7 stride 1x2",
            Conv2d {
                groups: 4,
                kernel: [3, 7],
                stride: [1, 2],
                padding: [0, 4],
                ..Conv2d::square(4, 4, 3, 1, 1)
            },
            Map::new(7, 21, 4),
        ),
        ("dilation", Conv2d { dilation: [2, 3], padding: [2, 3], ..base }, Map::new(9, 8, 5)),
        (
            "4x2, asymmetric",
            Conv2d { kernel: [4, 2], stride: [3, 1], padding: [1, 0], ..base },
            Map::new(11, 4, 5),
        ),
    ]
    .into_iter()
    .map(|(name, op, map)| OpCase::new(name, op, vec![CaseInput::uniform(map)], 3))
    .collect()
}

pub(super) fn linear() -> Vec<OpCase> {
    [
        ("vector", Linear::new(37, 10, true), Map::vector(37)),
        ("no bias", Linear::new(64, 65, false), Map::vector(64)),
        ("map", Linear::new(9, 5, true), Map::new(3, 4, 9)),
        ("flattened", Linear::flattened(Map::new(3, 2, 5), 7, true), Map::new(3, 2, 5)),
        ("patch merging", Linear::patch_merging(5, 9), Map::new(6, 4, 5)),
        ("silent bias", Linear::new(9, 21, true).silence_bias(7, 14), Map::new(3, 4, 9)),
    ]
    .into_iter()
    .map(|(name, op, map)| OpCase::new(name, op, vec![CaseInput::uniform(map)], 5))
    .collect()
}

/// Every sum is one chain, so that bits are equal, unless a gradient is accumulated: adding a finished sum to it
/// rounds otherwise than continuing the chain from it.
pub(super) fn matmul() -> Vec<OpCase> {
    let case = |name: &str, sizes: [usize; 4], input: fn(Map) -> CaseInput, batch| {
        let [batches, rows, terms, columns] = sizes;
        let a = input(Map::new(batches, rows, terms));
        let of = |name: &str, op, b| OpCase::new(name, op, vec![a, input(b)], batch);
        [
            of(name, MatMul::new(), Map::new(batches, terms, columns)),
            of(
                &format!("{name}, transposed"),
                MatMul::transposed(),
                Map::new(batches, columns, terms),
            ),
        ]
    };
    let uniform = CaseInput::uniform;
    [
        case("vectors", [1, 1, 5, 3], uniform, 4),
        case("heads", [3, 20, 16, 24], uniform, 2),
        case("rows of odd sizes", [2, 67, 33, 70], uniform, 2),
        // Both large tiles and small ones, forward and backward.
        case("a large tile", [1, 70, 68, 125], uniform, 2),
        case("many terms", [2, 5, 401, 6], uniform, 2),
        case("one for all images", [2, 9, 8, 7], CaseInput::shared, 1),
    ]
    .into_iter()
    .flatten()
    .collect()
}
