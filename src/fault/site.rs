//! Where in a layer's computation a fault can sit, and in which number format.
//!
//! The GEMM view of one image of a convolution or linear layer: y\[m, n\] = bias\[n\] +
//! Σ_κ A\[m, κ\]·B\[κ, n\]; m = row · width + column of the output map, n = output channel, κ = (kernel
//! row · kernel width + kernel column) · channels of a group + channel, padding taps counted. How far
//! an error at an inner site spreads follows from the kernel's [`crate::ops::KernelVariant`].

use crate::{Error, Result};

/// Where in a layer's computation a fault sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u16)]
pub enum Site {
    /// The finished sum y\[m, n\], bias included, before batch norm and activation.
    Output = 0,
    /// The accumulator of y\[m, n\] after term κ = k − 1, before the bias.
    Accumulator = 1,
    /// The register copy of A\[m, κ\] that feeds y\[m, n\].
    OperandA = 2,
    /// The register copy of B\[κ, n\] that feeds y\[m, n\].
    OperandB = 3,
    /// A\[m, κ\] in the shared-memory tile of the block that computes y\[m, n\].
    SharedA = 4,
    /// B\[κ, n\] in that block's tile.
    SharedB = 5,
    /// A value of the layer's input in memory, for every reader from this layer on.
    Input = 6,
    /// An entry of a parameter or buffer, as this image alone sees it in its whole inference.
    Weight = 7,
    /// The store of y\[m, n\] doesn't happen; the element reads +0.
    StoreLost = 8,
    /// The store of y\[m, n\] goes elsewhere in the image's output; the element reads +0.
    StoreAstray = 9,
    /// An attention score after the scale, before bias and mask.
    Scores = 10,
    /// An attention weight exp(s − row maximum), after the row's sum was taken.
    Probabilities = 11,
}

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

impl Site {
    /// Every site, in the order of their codes.
    pub const ALL: [Site; 12] = [
        Site::Output,
        Site::Accumulator,
        Site::OperandA,
        Site::OperandB,
        Site::SharedA,
        Site::SharedB,
        Site::Input,
        Site::Weight,
        Site::StoreLost,
        Site::StoreAstray,
        Site::Scores,
        Site::Probabilities,
    ];

    /// The number in a [`super::FaultEntry`], `Site` of `kernels/fault.cuh`.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The site of a code.
    pub fn of_code(code: u16) -> Option<Site> {
        Site::ALL.get(usize::from(code)).copied()
    }

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Site::Output => "output",
            Site::Accumulator => "accumulator",
            Site::OperandA => "operand-a",
            Site::OperandB => "operand-b",
            Site::SharedA => "shared-a",
            Site::SharedB => "shared-b",
            Site::Input => "input",
            Site::Weight => "weight",
            Site::StoreLost => "store-lost",
            Site::StoreAstray => "store-astray",
            Site::Scores => "scores",
            Site::Probabilities => "probabilities",
        }
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

    /// What handles it.
    pub const fn class(self) -> SiteClass {
        match self {
            Site::Output | Site::StoreLost => SiteClass::Epilogue,
            Site::Input | Site::Weight | Site::StoreAstray => SiteClass::Memory,
            _ => SiteClass::Inner,
        }
    }

    /// Whether a term κ or a number of terms k belongs to its address.
    pub const fn has_term(self) -> bool {
        matches!(
            self,
            Site::Accumulator | Site::OperandA | Site::OperandB | Site::SharedA | Site::SharedB
        )
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
        }
    }
}
