//! Products of matrices, both of which are values of the tape: y\[h, m, n\] = Σ_k a\[h, m, k\]·b\[h, k, n\],
//! where a row of a map is a matrix. Queries times keys, and what they attend to times values, are such.
//!
//! Every element is one chain of fused multiply-adds in the order of k, from +0.

mod cpu;
mod cuda;

use super::{Cost, Op, SavedForBackward, Sites, passes};
use crate::tensor::{Map, Region, Span, Spec};
use crate::{Error, Result};

/// Batched matrix products. Inputs: a, a map of batches × rows × terms (height × width × channels: one matrix
/// a row of the map), and b, of batches × terms × columns, or transposed of batches × columns × terms. Output:
/// batches × rows × columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatMul {
    transposed: bool,
}

/// How the factors of C = A·B lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FactorForm {
    /// A as rows × terms, B as terms × columns.
    Plain,
    /// B as columns × terms.
    Transposed,
    /// A as terms × rows, B as terms × columns.
    Outer,
}

/// Products of `batches` matrices an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BatchedProduct {
    form: FactorForm,
    batches: usize,
    rows: usize,
    columns: usize,
    terms: usize,
}

/// A value that a gradient is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GradientFactor {
    OutputGradient,
    Input(usize),
}

impl MatMul {
    /// a · b.
    pub const fn new() -> MatMul {
        MatMul { transposed: false }
    }

    /// a · bᵀ.
    pub const fn transposed() -> MatMul {
        MatMul { transposed: true }
    }

    /// What forward computes, or nothing if the maps don't fit.
    fn product(&self, a: Map, b: Map) -> Option<BatchedProduct> {
        let (form, [terms, columns]) = match self.transposed {
            false => (FactorForm::Plain, [b.width, b.channels]),
            true => (FactorForm::Transposed, [b.channels, b.width]),
        };
        let fits = a.height == b.height && a.channels == terms;
        fits.then_some(BatchedProduct { form, batches: a.height, rows: a.width, columns, terms })
    }

    /// How the gradient of an input is computed, and of what: da = dy·bᵀ and db = aᵀ·dy or, of a transposed b,
    /// da = dy·b and db = dyᵀ·a.
    fn gradient(
        &self,
        input: usize,
        forward: BatchedProduct,
    ) -> (BatchedProduct, [GradientFactor; 2]) {
        use GradientFactor::{Input, OutputGradient};
        let BatchedProduct { rows, columns, terms, .. } = forward;
        match (input, self.transposed) {
            (0, transposed) => {
                let form = if transposed { FactorForm::Plain } else { FactorForm::Transposed };
                let sums = BatchedProduct { form, columns: terms, terms: columns, ..forward };
                (sums, [OutputGradient, Input(1)])
            }
            (_, transposed) => {
                let sums = BatchedProduct { form: FactorForm::Outer, terms: rows, ..forward };
                match transposed {
                    false => (BatchedProduct { rows: terms, ..sums }, [Input(0), OutputGradient]),
                    true => {
                        let sums = BatchedProduct { rows: columns, columns: terms, ..sums };
                        (sums, [OutputGradient, Input(0)])
                    }
                }
            }
        }
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for MatMul {
    passes!("matmul", op => op);

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let &[Spec { map: a, .. }, b] = inputs else {
            return Err(Error::shape("matmul", "takes two inputs"));
        };
        let Some(product) = self.product(a, b.map) else {
            let way = if self.transposed { " transposed" } else { "" };
            let detail = format!("matrices of {a} can't be multiplied by those of {}{way}", b.map);
            return Err(Error::shape("matmul", detail));
        };
        let BatchedProduct { batches, rows, columns, .. } = product;
        Ok(Spec::f32(Map::new(batches, rows, columns)))
    }

    fn needs(&self) -> SavedForBackward {
        SavedForBackward { inputs: vec![true, true], output: false }
    }

    fn cost(&self, inputs: &[Spec]) -> Cost {
        let output = self.output(inputs).map_or(Map::vector(0), |spec| spec.map);
        let bytes = inputs.iter().map(Spec::image_bytes).sum::<usize>()
            + output.elements() * size_of::<f32>();
        let macs = output.elements() * inputs[0].map.channels;
        Cost { macs: macs as u64, bytes: bytes as u64 }
    }

    /// A row of a reaches that row of the output; an element of b, its column of every row.
    fn reach(&self, input: usize, region: Region, _inputs: &[Spec], output: &Spec) -> Region {
        match (input, self.transposed) {
            (0, _) => region.all_channels(output.map.channels),
            (_, transposed) => Region {
                columns: Span::all(output.map.width),
                channels: if transposed { region.columns } else { region.channels },
                ..region
            },
        }
    }

    fn sites(&self, inputs: &[Spec]) -> Sites {
        self.output(inputs).map_or(Sites::None, |output| Sites::Output { map: output.map })
    }
}

/// The tape has checked shapes, so that nobody sees this.
fn misfit(node: &str) -> Error {
    Error::shape(node, "matrices that don't fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(op: MatMul, a: Spec, b: Spec) -> Result<Spec> {
        op.output(&[a, b])
    }

    #[test]
    fn only_matrices_that_fit_are_multiplied() {
        let [a, b, b_t] = [Map::new(3, 4, 5), Map::new(3, 5, 6), Map::new(3, 6, 5)].map(Spec::f32);
        let y = Spec::f32(Map::new(3, 4, 6));
        assert_eq!(output(MatMul::new(), a, b).unwrap(), y);
        assert_eq!(output(MatMul::transposed(), a, b_t).unwrap(), y);
        assert!(output(MatMul::new(), a, b_t).is_err());
        let fewer = Spec::f32(Map::new(2, 5, 6));
        let said = output(MatMul::new(), a, fewer).unwrap_err().to_string();
        assert!(said.contains("5×3×4") && said.contains("6×2×5"), "{said}");
        assert!(output(MatMul::transposed(), a, b).is_err());
        assert!(MatMul::new().output(&[a]).is_err());
    }

    #[test]
    fn a_cost_is_that_of_every_multiply_add() {
        let inputs = [Map::new(3, 4, 5), Map::new(3, 6, 5)].map(Spec::f32);
        let cost = MatMul::transposed().cost(&inputs);
        assert_eq!(cost, Cost { macs: 3 * 4 * 6 * 5, bytes: 4 * (60 + 90 + 72) });
    }
}
