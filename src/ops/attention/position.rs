//! Position biases: a table of (2h − 1) × (2w − 1) × heads, looked up by `relative_position_index`.

use crate::cpu::exponential::sigmoid;
use crate::ops::{Init, ParamSpec, Role};

/// How the table becomes what is added to scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// As it is, from a trained table (MaxViT); the index has PyTorch's shape \[tokens, tokens\].
    Plain,
    /// 16 · sigmoid of it, from a network of coordinates (Swin V2); the index is flat.
    Sigmoid16,
}

impl Bias {
    /// The table of indices, of tokens i and j of a window: that of their offset, row by row.
    pub(super) fn index_spec(self, window: [usize; 2]) -> ParamSpec {
        let [height, width] = window;
        let tokens = height * width;
        let index = |at: usize| {
            let (i, j) = (at / tokens, at % tokens);
            let row = i / width + height - 1 - j / width;
            let column = i % width + width - 1 - j % width;
            (row * (2 * width - 1) + column) as f32
        };
        let shape = match self {
            Bias::Plain => vec![tokens, tokens],
            Bias::Sigmoid16 => vec![tokens * tokens],
        };
        let table = Init::Given((0..tokens * tokens).map(index).collect());
        ParamSpec::plain("relative_position_index", shape, Role::Index, table)
    }

    /// The bias of a table's entry.
    #[inline(always)]
    fn of(self, entry: f32) -> f32 {
        match self {
            Bias::Plain => entry,
            Bias::Sigmoid16 => 16.0 * sigmoid(entry),
        }
    }

    /// Its derivative.
    fn slope(self, entry: f32) -> f32 {
        match self {
            Bias::Plain => 1.0,
            Bias::Sigmoid16 => {
                let sigmoid = sigmoid(entry);
                16.0 * sigmoid * (1.0 - sigmoid)
            }
        }
    }
}

/// A table and its indices, as a pass reads them.
#[derive(Clone, Copy)]
pub(super) struct Positions<'a> {
    pub bias: Bias,
    /// Entries × heads.
    pub table: &'a [f32],
    pub index: &'a [u32],
    pub heads: usize,
}

impl Positions<'_> {
    /// One head's biases, one an entry of the table; and one more, NaN, which indices outside of the
    /// table read, as in kernels.
    #[inline(always)]
    pub fn of_head(&self, head: usize) -> Vec<f32> {
        let entries = self.table[head..].iter().step_by(self.heads);
        entries.map(|entry| self.bias.of(*entry)).chain([f32::NAN]).collect()
    }

    /// Writes the biases of query `query` towards every key to `row`, from [`Positions::of_head`].
    #[inline(always)]
    pub fn look_up(&self, of_head: &[f32], query: usize, row: &mut [f32]) {
        let outside = of_head.len() - 1;
        let index = &self.index[query * row.len()..][..row.len()];
        for (value, index) in row.iter_mut().zip(index) {
            *value = of_head[(*index as usize).min(outside)];
        }
    }

    /// Gradients of one head's column of the table: `write(element of the table, gradient)` of
    /// each, from `sums`, those of the bias of every pair of tokens.
    pub fn backward(&self, head: usize, sums: &[f64], mut write: impl FnMut(usize, f32)) {
        let entries = self.table.len() / self.heads;
        let mut gradients = vec![0f64; entries + 1];
        for (sum, index) in sums.iter().zip(self.index) {
            gradients[(*index as usize).min(entries)] += sum;
        }
        for (entry, sum) in gradients[..entries].iter().enumerate() {
            let at = entry * self.heads + head;
            write(at, (sum * f64::from(self.bias.slope(self.table[at]))) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_those_of_offsets() {
        let spec = Bias::Plain.index_spec([2, 3]);
        let Init::Given(index) = spec.init else { panic!() };
        // Token 0 is (0, 0) and token 5 is (1, 2): offsets (0, 0), (−1, −2), (1, 2) of 3×5.
        assert_eq!([index[0], index[5], index[5 * 6]], [7.0, 0.0, 14.0]);
        assert_eq!(spec.shape, [6, 6]);
        assert_eq!(Bias::Sigmoid16.index_spec([2, 3]).shape, [36]);
    }

    #[test]
    fn an_index_out_of_the_table_reads_nan() {
        let table = [0.5, -0.5, 0.25, -0.25];
        let positions =
            Positions { bias: Bias::Plain, table: &table, index: &[1, 0, 1 << 20, 2], heads: 2 };
        let of_head = positions.of_head(1);
        let mut row = [0.0; 2];
        positions.look_up(&of_head, 0, &mut row);
        assert_eq!(row, [-0.25, -0.5]);
        positions.look_up(&of_head, 1, &mut row);
        assert!(row.iter().all(|value| value.is_nan()));
        let mut gradient = [0.0; 4];
        positions.backward(1, &[1.0, 2.0, 4.0, 8.0], |at, value| gradient[at] = value);
        assert_eq!(gradient, [0.0, 2.0, 0.0, 1.0]);
    }
}
