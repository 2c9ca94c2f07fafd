//! Names of kernels.

/// The kernels of one format and tile. Not every tile has a gradient of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbols {
    /// Clean, with faults at its end, with faults in its loop too.
    pub forward: [&'static str; 3],
    pub input_gradient: &'static str,
    pub weight_gradient: &'static str,
}

/// The [`Symbols`] of a name in parts, as `"f32_128x128"`.
macro_rules! symbols {
    ($($variant:literal),+) => {
        Symbols {
            forward: [
                concat!("conv2d_forward_", $($variant),+),
                concat!("conv2d_forward_", $($variant,)+ "_armed"),
                concat!("conv2d_forward_", $($variant,)+ "_armed_inner"),
            ],
            input_gradient: concat!("conv2d_input_gradient_", $($variant),+),
            weight_gradient: concat!("conv2d_weight_gradient_", $($variant),+),
        }
    };
}

pub(super) use symbols;
