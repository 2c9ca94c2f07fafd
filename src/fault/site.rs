//! Where in a layer's computation a fault can sit, and in which number format.
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

    /// Whether it hits a value in memory between two nodes, so that each node's has to be kept there.
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

/// The format of the number that is hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Format {
    #[default]
    Fp32 = 0,
    /// 19 bits, at the top of 32.
    Tf32 = 1,
    Bf16 = 2,
    Fp16 = 3,
}

impl Format {
    /// The number in a [`super::FaultEntry`].
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// Bits of a value.
    pub const fn bits(self) -> u32 {
        match self {
            Format::Fp32 => 32,
            Format::Tf32 => 19,
            Format::Bf16 | Format::Fp16 => 16,
        }
    }

    /// What a number of it is called.
    pub const fn what(self) -> &'static str {
        match self {
            Format::Fp32 => "an f32",
            Format::Tf32 => "a tf32 number",
            Format::Bf16 => "a bf16 number",
            Format::Fp16 => "an f16 number",
        }
    }

    /// Bits of its fraction: those of the exponent lie above them, and the sign above these.
    pub const fn fraction_bits(self) -> u32 {
        match self {
            Format::Fp32 => 23,
            Format::Tf32 | Format::Fp16 => 10,
            Format::Bf16 => 7,
        }
    }

    /// Where its lowest bit lies in the word that a kernel holds.
    pub const fn shift(self) -> u32 {
        if matches!(self, Format::Tf32) { 13 } else { 0 }
    }

    /// `value` in this format, rounded to nearest, ties to even, as its own bits.
    pub fn encode(self, value: f32) -> u32 {
        let bits = value.to_bits();
        match self {
            Format::Fp32 => bits,
            Format::Tf32 => round_off(bits, 13),
            Format::Bf16 => round_off(bits, 16),
            Format::Fp16 => encode_fp16(value),
        }
    }
}

/// The upper bits of an f32 less its `off` lowest, rounded to nearest even; a NaN stays one.
fn round_off(bits: u32, off: u32) -> u32 {
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        return (bits | 0x0040_0000) >> off;
    }
    let half = (1u32 << (off - 1)) - 1 + (bits >> off & 1);
    bits.wrapping_add(half) >> off
}

fn encode_fp16(value: f32) -> u32 {
    let bits = value.to_bits();
    let sign = bits >> 16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    // From halfway between the largest number and the next power of two on.
    if magnitude >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    if magnitude >= 0x3880_0000 {
        return sign | (round_off(magnitude, 13) - (112 << 10));
    }
    // Subnormal: units of 2^-24, which the addition of 0.5 rounds to.
    sign | ((f32::from_bits(magnitude) + 0.5).to_bits() - 0.5f32.to_bits())
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

    #[test]
    fn formats_round_to_nearest_even() {
        for (value, bits) in [
            (1.0f32, 0x3c00),
            (-2.0, 0xc000),
            (65504.0, 0x7bff),
            (65519.9, 0x7bff),
            (65520.0, 0x7c00),
            (f32::INFINITY, 0x7c00),
            (1.0 + 1.0 / 2048.0, 0x3c00),
            (1.0 + 3.0 / 2048.0, 0x3c02),
            (5.960_464_5e-8, 0x0001),
            (2.980_232_2e-8, 0x0000),
            (6.097_555e-5, 0x03ff),
            (-0.0, 0x8000),
        ] {
            assert_eq!(Format::Fp16.encode(value), bits, "{value}");
        }
        assert_eq!(Format::Bf16.encode(1.0 + 1.0 / 256.0), 0x3f80);
        assert_eq!(Format::Bf16.encode(1.0 + 3.0 / 256.0), 0x3f82);
        assert_eq!(Format::Bf16.encode(f32::MAX), 0x7f80);
        assert_eq!(Format::Tf32.encode(1.0), 0x3f80_0000 >> 13);
        for format in [Format::Fp32, Format::Tf32, Format::Bf16, Format::Fp16] {
            let nan = format.encode(f32::NAN);
            let exponent = if format == Format::Fp16 { 5 } else { 8 };
            let fraction = format.bits() - 1 - exponent;
            assert_eq!(nan >> fraction & ((1 << exponent) - 1), (1 << exponent) - 1);
            assert_ne!(nan & ((1 << fraction) - 1), 0);
            assert_eq!(format.fraction_bits(), fraction);
        }
    }
}
