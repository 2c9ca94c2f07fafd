//! Fault sites in words for a paper.

use crate::fault::Site;

/// What a fault hits.
pub(super) const fn site_words(site: Site) -> &'static str {
    match site {
        Site::Output => "an output of a layer (before batch norm and activation)",
        Site::Accumulator => "an accumulator of a matrix product",
        Site::OperandA => "a register that holds an input of a matrix product",
        Site::OperandB => "a register that holds a weight of a matrix product",
        Site::SharedA => "an input of a matrix product in shared memory",
        Site::SharedB => "a weight of a matrix product in shared memory",
        Site::Input => "a value of a layer's input in memory",
        Site::Weight => "an entry of a parameter or buffer",
        Site::StoreLost => "a store of an output, which doesn't happen",
        Site::StoreAstray => "a store of an output, which goes elsewhere",
        Site::Scores => "an attention score before the softmax",
        Site::Probabilities => "an attention weight",
    }
}
