//! Packed copies of weights for many small products on the CPU: a box uses a layer's weights for only a few
//! pixels, so that packing them each time would take as long as multiplying.

use super::{NodeId, Tape, Weights};
use crate::cpu::gemm;
use crate::ops::linear::as_conv2d;

/// The weights of convolutions and linear layers in the order of the CPU's matrix products.
pub(crate) struct PackedWeights {
    /// Where the weights lie that these are copies of.
    address: u64,
    /// One a node.
    of_node: Vec<Option<Vec<f32>>>,
}

impl PackedWeights {
    /// Those of the nodes up to `last`, of weights in the host's memory that don't change while the copies
    /// are in use.
    ///
    /// # Panics
    /// Where the weights' memory isn't the host's.
    pub fn new(tape: &Tape, weights: &Weights, last: NodeId) -> PackedWeights {
        assert!(weights.device().host_memory(), "weights of a GPU aren't packed");
        let pack = |index: usize| {
            let node = &tape.nodes()[index];
            let (op, param) = (node.op.as_ref()?, node.params.first()?);
            // SAFETY: host memory of the weights, as asserted, borrowed with them.
            let weight: &[f32] = unsafe { weights.tensor(*param).slice() };
            // Products by groups have no use for a copy.
            let conv = as_conv2d(op.as_ref()).filter(|conv| conv.groups == 1)?;
            Some(gemm::pack(weight, conv.out_channels))
        };
        PackedWeights { address: weights.address(), of_node: (0..=last.0).map(pack).collect() }
    }

    /// A node's copy; none of other weights.
    pub fn of(&self, weights: &Weights, id: NodeId) -> Option<&[f32]> {
        let of_node = self.of_node.get(id.0).filter(|_| self.address == weights.address());
        of_node?.as_deref()
    }
}
