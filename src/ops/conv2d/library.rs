//! A layer as a plain matrix product, for cuBLAS: where fast training and evaluation may use it. Exact
//! passes and campaigns don't.

use super::Conv2d;
use crate::device::{Compute, Gemm};
use crate::tensor::Map;

/// Multiply-accumulates from which a library's product is worth its launch.
const LARGE: usize = 1 << 26;

/// A pass of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerPass {
    /// Y = X·W, without the bias.
    Forward,
    /// dX = dY·Wᵀ.
    InputGradient,
    /// dW = Xᵀ·dY.
    WeightGradient,
}

/// Where a layer's tensors lie: values of the input and the output, or their gradients, whichever the
/// pass reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct LayerTensors {
    pub x: u64,
    pub w: u64,
    pub y: u64,
}

impl Conv2d {
    /// Rows, columns and terms of the product that this layer is over `images` images of `input`: of
    /// every pixel where the kernel is 1×1 with stride 1, of every image where it is the whole map.
    /// `None` for other layers, and for grouped ones.
    pub fn plain_product(&self, input: Map, images: usize) -> Option<[usize; 3]> {
        let unpadded = self.padding == [0, 0] && self.groups == 1;
        let pointwise = self.kernel == [1, 1] && self.stride == [1, 1];
        let flat = self.kernel == [input.height, input.width] && self.dilation == [1, 1];
        let rows = match (pointwise, flat) {
            (true, _) => images * input.pixels(),
            (_, true) => images,
            _ => return None,
        };
        unpadded.then(|| [rows, self.out_channels, self.terms()])
    }

    /// Whether the library may take this layer where it multiplies as `compute` says: a plain product, a
    /// large one, and never an exact one.
    pub fn suits_library(&self, input: Map, images: usize, compute: Compute) -> bool {
        let sizes = self.plain_product(input, images).filter(|_| compute != Compute::Exact);
        sizes.is_some_and(|sizes| sizes.iter().product::<usize>() >= LARGE)
    }

    /// The library's product for a pass of a layer that is a plain one.
    pub fn product(
        &self,
        input: Map,
        images: usize,
        pass: LayerPass,
        tensors: LayerTensors,
        accumulate: bool,
        compute: Compute,
    ) -> Option<Gemm> {
        let [rows, outputs, terms] = self.plain_product(input, images)?;
        let LayerTensors { x, w, y } = tensors;
        // X is rows × terms, W terms × outputs, Y rows × outputs.
        let (sizes, factors, transposed, c) = match pass {
            LayerPass::Forward => ([rows, outputs, terms], [x, w], [false, false], y),
            LayerPass::InputGradient => ([rows, terms, outputs], [y, w], [false, true], x),
            LayerPass::WeightGradient => ([terms, outputs, rows], [x, y], [true, false], w),
        };
        let ([m, n, k], [a, b], [a_transposed, b_transposed]) = (sizes, factors, transposed);
        Some(Gemm { m, n, k, a, b, c, a_transposed, b_transposed, accumulate, compute })
    }
}
