//! Where faults can hit an operation, besides its parameters.

use crate::fault::{Site, SiteClass, SiteSpace};
use crate::tensor::Map;

/// The GEMM view of one image of an injectable layer: y\[m, n\] = bias\[n\] + Σ_κ A\[m, κ\]·B\[κ, n\].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GemmView {
    /// Output pixels.
    pub m: usize,
    /// Output channels.
    pub n: usize,
    /// Terms a sum, padding taps counted (a group's, for grouped convolutions).
    pub k: usize,
}

/// The fault sites of an operation, for one image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sites {
    #[default]
    None,
    /// Those at the end of a kernel.
    Output { map: Map },
    /// Attention's: a score, or a probability, for each head, query and key of the query's part.
    Scores { heads: usize, queries: Map, keys: usize },
    /// A convolution's or linear layer's: all but attention's. Its forward in eval mode also runs the nodes fused with it.
    Product {
        view: GemmView,
        input: Map,
        /// Whether operands pass through shared memory.
        shares_operands: bool,
        /// Whether PyTorch's forward hooks see the layer: not one that is called as a bare function.
        is_hooked: bool,
    },
}

impl Sites {
    /// How many places a site has; `None` where the operation doesn't have it.
    pub fn space(&self, site: Site) -> Option<SiteSpace> {
        let (elements, k) = match (*self, site) {
            (Sites::Output { map }, _) if site.class() == SiteClass::Epilogue => {
                (map.elements(), [0, 1])
            }
            (Sites::Scores { heads, queries, keys }, Site::Scores | Site::Probabilities) => {
                (heads * queries.pixels() * keys, [0, 1])
            }
            (Sites::Product { view: GemmView { m, n, k }, input, shares_operands, .. }, _) => {
                let terms = k as u32;
                match site {
                    Site::SharedA | Site::SharedB if !shares_operands => return None,
                    Site::Output | Site::StoreLost => (m * n, [0, 1]),
                    Site::Accumulator => (m * n, [1, terms + 1]),
                    Site::OperandA | Site::OperandB | Site::SharedA | Site::SharedB => {
                        (m * n, [0, terms])
                    }
                    // Bits of a byte offset: lower ones don't move whole elements, higher ones leave any output.
                    Site::StoreAstray => (m * n, [2, 48]),
                    Site::Input => (input.elements(), [0, 1]),
                    Site::Weight | Site::Scores | Site::Probabilities => return None,
                }
            }
            _ => return None,
        };
        Some(SiteSpace { elements: elements as u64, k })
    }

    /// The GEMM view of a matrix product.
    pub fn gemm_view(&self) -> Option<GemmView> {
        match self {
            Sites::Product { view, .. } => Some(*view),
            _ => None,
        }
    }
}
