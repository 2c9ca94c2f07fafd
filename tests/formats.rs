//! Number formats of tensor cores by their definition: a sign, a whole number of bits, a power of two.

/// A binary floating-point format narrower than f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Format {
    /// Bits of the significand, the hidden one included.
    pub precision: i32,
    /// Exponent of the smallest normal number.
    pub min_exponent: i32,
    /// Exponent of the largest.
    pub max_exponent: i32,
    /// Whether ties go to even, or away from zero.
    pub ties_to_even: bool,
}

pub const TF32: Format =
    Format { precision: 11, min_exponent: -126, max_exponent: 127, ties_to_even: false };
pub const BF16: Format =
    Format { precision: 8, min_exponent: -126, max_exponent: 127, ties_to_even: true };
pub const F16: Format =
    Format { precision: 11, min_exponent: -14, max_exponent: 15, ties_to_even: true };

impl Format {
    /// The nearest number of the format: of f32s, f64 holds every step exactly.
    pub fn round(&self, x: f32) -> f32 {
        if !x.is_finite() || x == 0.0 {
            return x;
        }
        let wide = f64::from(x);
        let exponent = wide.abs().log2().floor() as i32;
        // log2 may round up at a power of two.
        let exponent = if 2f64.powi(exponent) > wide.abs() { exponent - 1 } else { exponent };
        let step = 2f64.powi(exponent.max(self.min_exponent) - self.precision + 1);
        let steps = wide / step;
        let rounded =
            if self.ties_to_even { steps.round_ties_even() } else { steps.round() } * step;
        let largest = (2.0 - 2f64.powi(1 - self.precision)) * 2f64.powi(self.max_exponent);
        if rounded.abs() > largest { f32::INFINITY.copysign(x) } else { rounded as f32 }
    }

    /// The value of a number's 16 bits (of the 16-bit formats).
    pub fn decode(&self, bits: u16) -> f32 {
        let fraction_bits = self.precision - 1;
        let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
        let exponent = i32::from(bits & 0x7fff) >> fraction_bits;
        let fraction = i32::from(bits) & ((1 << fraction_bits) - 1);
        let last = self.max_exponent - self.min_exponent + 2;
        if exponent == last {
            return if fraction == 0 { sign * f32::INFINITY } else { f32::NAN };
        }
        let hidden = if exponent == 0 { 0 } else { 1 << fraction_bits };
        let scale = exponent.max(1) - 1 + self.min_exponent - fraction_bits;
        (f64::from(sign) * f64::from(hidden + fraction) * 2f64.powi(scale)) as f32
    }

    /// The unit roundoff: |round(x) − x| ≤ u·|x| where nothing under- or overflows.
    pub fn unit_roundoff(&self) -> f64 {
        2f64.powi(-self.precision)
    }
}
