//! A layer as a plain matrix product of cuBLAS, which `flipside bench kernels` sets beside this crate's
//! kernels. No pass of a network uses it.

use super::Conv2d;
use crate::device::Gemm;
use crate::number::Compute;
use crate::tensor::Map;

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
pub struct ProductOperands {
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

    /// The library's product for a pass of a layer that is a plain one.
    pub fn product(
        &self,
        input: Map,
        images: usize,
        pass: LayerPass,
        operands: ProductOperands,
        accumulate: bool,
        compute: Compute,
    ) -> Option<Gemm> {
        let [rows, outputs, terms] = self.plain_product(input, images)?;
        let ProductOperands { x, w, y } = operands;
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
