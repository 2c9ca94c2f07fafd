//! Attention.

use super::{CaseInput, OpCase};
use crate::ops::attention::{Attention, Bias, Form, Partition};
use crate::tensor::Map;

pub(super) fn attention() -> Vec<OpCase> {
    let windows = |size, shift| Partition::Windows { size, shift };
    let grid = |size| Partition::Grid { size };
    let dot = |dim: usize| Form::Dot { scale: (dim as f32).powf(-0.5) };
    let plain = Some(Bias::Plain);
    let sigmoid = Some(Bias::Sigmoid16);
    // Name, form, partition, bias, heads, channels a head, height and width, batch.
    let table = [
        ("windows", dot(5), windows([2, 3], [0, 0]), plain, 2, 5, [4, 6], 3),
        ("grid", dot(24), grid([2, 3]), plain, 1, 24, [4, 9], 3),
        ("shifted cosines", Form::Cosine, windows([4, 4], [2, 2]), sigmoid, 2, 32, [8, 12], 1),
        ("odd shift, cosines", Form::Cosine, windows([3, 2], [1, 1]), sigmoid, 3, 5, [6, 4], 3),
        ("shift of one axis", dot(5), windows([3, 3], [1, 1]), None, 3, 5, [3, 9], 2),
        ("one window of 49", Form::Cosine, windows([7, 7], [3, 3]), sigmoid, 1, 24, [7, 7], 2),
        ("whole", dot(20), Partition::Whole { causal: false }, None, 1, 20, [3, 5], 3),
        ("causal", dot(5), Partition::Whole { causal: true }, None, 3, 5, [1, 21], 3),
        // More tokens than a block of a kernel takes at once, and heads of more than 32 channels.
        ("causal text", dot(40), Partition::Whole { causal: true }, None, 2, 40, [1, 77], 2),
        ("whole of 70", dot(12), Partition::Whole { causal: false }, None, 2, 12, [5, 14], 2),
        ("windows of 81", Form::Cosine, windows([9, 9], [0, 4]), sigmoid, 2, 33, [9, 18], 2),
    ];
    table
        .into_iter()
        .map(|(name, form, partition, bias, heads, dim, size, batch)| {
            let op = Attention { heads, form, partition, bias };
            OpCase::new(name, op, attention_inputs(&op, size, dim), batch)
        })
        .collect()
}

/// The inputs of attention over a map of (height, width): queries, keys and values with `dim` channels a head;
/// then the table of position biases, where there is one.
pub fn attention_inputs(op: &Attention, [height, width]: [usize; 2], dim: usize) -> Vec<CaseInput> {
    let mut inputs = vec![CaseInput::uniform(Map::new(height, width, 3 * op.heads * dim))];
    if let Some(window) = op.bias.and(op.partition.window()) {
        let [rows, columns] = window.map(|size| 2 * size - 1);
        inputs.push(CaseInput::shared(Map::new(rows, columns, op.heads)));
    }
    inputs
}
