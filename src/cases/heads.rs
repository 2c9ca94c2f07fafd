//! What heads are made of: softmax, the scale of logits, normalised vectors, the loss.

use super::{CaseInput, Fill, OpCase};
use crate::ops::binary_cross_entropy::BinaryCrossEntropy;
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::scale::LogitScale;
use crate::ops::softmax::Softmax;
use crate::tensor::Map;

pub(super) fn softmax() -> Vec<OpCase> {
    vec![
        OpCase::new("map", Softmax, vec![CaseInput::uniform(Map::new(4, 3, 21))], 3),
        OpCase::new("rows", Softmax, vec![CaseInput::uniform(Map::new(3, 3, 76))], 2),
        OpCase::new("long rows", Softmax, vec![CaseInput::uniform(Map::vector(1000))], 3),
        OpCase::new("one channel", Softmax, vec![CaseInput::uniform(Map::new(2, 2, 1))], 1),
    ]
}

/// Sums of a thousand signed terms in another order differ by more of a small result than by themselves, hence the
/// wider bound.
pub(super) fn scale() -> Vec<OpCase> {
    [("vector", Map::vector(117), 9), ("map", Map::new(3, 2, 5), 4)]
        .map(|(name, map, batch)| {
            let case =
                OpCase::new(name, LogitScale::default(), vec![CaseInput::uniform(map)], batch);
            OpCase { tolerance: 1e-5, ..case }
        })
        .into()
}

pub(super) fn l2_normalize() -> Vec<OpCase> {
    vec![
        OpCase::new("vector", L2Normalize, vec![CaseInput::uniform(Map::vector(131))], 4),
        OpCase::new("map", L2Normalize, vec![CaseInput::uniform(Map::new(2, 3, 9))], 2),
    ]
}

pub(super) fn cross_entropy() -> Vec<OpCase> {
    let logits = CaseInput::uniform(Map::vector(13));
    let labels = CaseInput { map: Map::vector(1), fill: Fill::Labels(13) };
    let soft = CaseInput { map: Map::vector(13), fill: Fill::Distribution };
    vec![
        OpCase::new("labels", CrossEntropy::new(0.0), vec![logits, labels], 5),
        OpCase::new("labels, smoothed", CrossEntropy::new(0.1), vec![logits, labels], 5),
        OpCase::new("soft", CrossEntropy::new(0.0), vec![logits, soft], 4),
        OpCase::new("soft, smoothed", CrossEntropy::new(0.1), vec![logits, soft], 4),
    ]
}

pub(super) fn binary_cross_entropy() -> Vec<OpCase> {
    let logits = CaseInput::uniform(Map::vector(37));
    let labels = CaseInput { map: Map::vector(1), fill: Fill::Labels(37) };
    let soft = CaseInput { map: Map::vector(37), fill: Fill::Distribution };
    let plain = BinaryCrossEntropy::default();
    let smoothed = BinaryCrossEntropy { label_smoothing: 0.1, ..plain };
    let sum = BinaryCrossEntropy { sum: true, ..smoothed };
    // Half of the shares lie above it.
    let binarized = BinaryCrossEntropy { target_threshold: Some(0.027), ..smoothed };
    vec![
        OpCase::new("labels", plain, vec![logits, labels], 5),
        OpCase::new("labels, smoothed", smoothed, vec![logits, labels], 5),
        OpCase::new("labels, smoothed, summed", sum, vec![logits, labels], 5),
        OpCase::new("soft", plain, vec![logits, soft], 4),
        OpCase::new("soft, smoothed, summed", sum, vec![logits, soft], 4),
        OpCase::new("soft, held against a threshold", binarized, vec![logits, soft], 4),
    ]
}
