//! Where in a layer's computation a fault can sit.
//!
//! The GEMM view of one image of a convolution or linear layer: y\[m, n\] = bias\[n\] +
//! Σ_κ A\[m, κ\]·B\[κ, n\]; m = row · width + column of the output map, n = output channel, κ = (kernel
//! row · kernel width + kernel column) · channels of a group + channel, padding taps counted. How far
//! an error at an inner site spreads follows from the kernel's [`crate::ops::KernelVariant`].

use crate::{Error, Result};

/// What handles a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteClass {
    /// The end of a kernel (`_armed`), or the CPU's native code.
    Epilogue,
    /// The inner loop of a kernel (`_armed_inner`); nothing of it exists on the CPU.
    Inner,
    /// The tape, in memory, before or after the layer; on every device.
    Memory,
}

/// What the elements of a site are numbered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressed {
    /// The layer's output map.
    Output,
    /// The map of its first input.
    Input,
    /// A parameter or buffer.
    Parameter,
    /// Head, query and key of an attention.
    Score,
}

/// What is known of the value that a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// An f32 in memory, whose fault-free bits can be read.
    Known,
    /// An f32 inside of a kernel.
    Hidden,
    /// A number inside of a kernel, in the format that the compute mode multiplies in.
    Operand,
}

macro_rules! sites {
    ($($(#[$doc:meta])* $site:ident = $code:literal, $name:literal, $class:ident, $addressed:ident, $value:ident, $term:literal;)+) => {
        /// Where in a layer's computation a fault sits.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[repr(u16)]
        pub enum Site {
            $(
                $(#[$doc])*
                #[serde(rename = $name)]
                $site = $code,
            )+
        }

        impl Site {
            /// Every site, in the order of their codes.
            pub const ALL: [Site; [$($code),+].len()] = [$(Site::$site),+];

            /// The name on the command line and in stores.
            pub const fn name(self) -> &'static str {
                match self { $(Site::$site => $name),+ }
            }

            /// What handles it.
            pub const fn class(self) -> SiteClass {
                match self { $(Site::$site => SiteClass::$class),+ }
            }

            /// What its elements are numbered by.
            pub const fn addressed(self) -> Addressed {
                match self { $(Site::$site => Addressed::$addressed),+ }
            }

            /// What is known of the value that a fault hits.
            pub const fn value(self) -> ValueKind {
                match self { $(Site::$site => ValueKind::$value),+ }
            }

            /// Whether a term κ or a number of terms k belongs to its address.
            pub const fn has_term(self) -> bool {
                match self { $(Site::$site => $term),+ }
            }
        }
    };
}

// Name, code (`Site` of `kernels/fault/fault.cuh`), word, class, what is addressed, the value that is hit,
// whether there is a term.
sites! {
    /// The finished sum y\[m, n\], bias included, before batch norm and activation.
    Output = 0, "output", Epilogue, Output, Known, false;
    /// The accumulator of y\[m, n\] after term κ = k − 1, before the bias.
    Accumulator = 1, "accumulator", Inner, Output, Hidden, true;
    /// The register copy of A\[m, κ\] that feeds y\[m, n\].
    OperandA = 2, "operand-a", Inner, Output, Operand, true;
    /// The register copy of B\[κ, n\] that feeds y\[m, n\].
    OperandB = 3, "operand-b", Inner, Output, Operand, true;
    /// A\[m, κ\] in the shared-memory tile of the block that computes y\[m, n\].
    SharedA = 4, "shared-a", Inner, Output, Operand, true;
    /// B\[κ, n\] in that block's tile.
    SharedB = 5, "shared-b", Inner, Output, Operand, true;
    /// A value of the layer's input in memory, for every reader from this layer on.
    Input = 6, "input", Memory, Input, Known, false;
    /// An entry of a parameter or buffer, as this image alone sees it in its whole inference.
    Weight = 7, "weight", Memory, Parameter, Known, false;
    /// A dropped store: that of y\[m, n\] doesn't happen, and the element reads +0.
    StoreLost = 8, "store-lost", Epilogue, Output, Known, false;
    /// A misdirected store: that of y\[m, n\] goes elsewhere in the image's output; the element reads +0.
    StoreAstray = 9, "store-astray", Memory, Output, Hidden, false;
    /// An attention score after the scale, before bias and mask.
    Scores = 10, "scores", Inner, Score, Hidden, false;
    /// An attention weight exp(s − row maximum), after the row's sum was taken.
    Probabilities = 11, "probabilities", Inner, Score, Hidden, false;
}

impl Site {
    /// The number in a [`super::FaultEntry`].
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The site of a code.
    pub fn of_code(code: u16) -> Option<Site> {
        Site::ALL.get(usize::from(code)).copied()
    }

    /// The site called `name`.
    ///
    /// # Errors
    /// [`Error::Usage`] with the names that there are.
    pub fn parse(name: &str) -> Result<Site> {
        Site::ALL.into_iter().find(|site| site.name() == name).ok_or_else(|| {
            let known = Site::ALL.map(Site::name).join(", ");
            Error::usage(format!("unknown fault site '{name}'; known: {known}"))
        })
    }

    /// Whether it is a store that fails, which has no bits of its own to hit.
    pub const fn is_store(self) -> bool {
        matches!(self, Site::StoreLost | Site::StoreAstray)
    }

    /// Whether the greatest fault-free value of what it hits is measured, for detectors to look at.
    pub const fn has_range(self) -> bool {
        matches!(self, Site::Output | Site::Weight)
    }

    /// Whether it hits a value in memory between two nodes, so that nodes can't be fused.
    pub fn is_between_nodes(self) -> bool {
        self.class() == SiteClass::Memory && self.addressed() != Addressed::Parameter
    }
}

/// How many places a site has in one image of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteSpace {
    /// Elements: see [`super::FaultEntry::element`].
    pub elements: u64,
    /// The first and one past the last k; 0 and 1 where k means nothing.
    pub k: [u32; 2],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_found_by_code_and_name() {
        for site in Site::ALL {
            assert_eq!(Site::of_code(site.code()), Some(site));
            assert_eq!(Site::parse(site.name()).unwrap(), site);
        }
        assert!(Site::of_code(12).is_none());
        assert!(Site::parse("register").unwrap_err().to_string().contains("operand-a"));
    }
}
