//! A range check on the faulted value alone: |v| above the layer's range becomes ±range, NaN +range.

pub const ABOUT: &str = "the faulted value is clamped to the layer's largest fault-free |value|";
pub const NEEDS_RANGES: bool = true;
pub const BOUNDS_THE_MEAN: bool = true;

pub fn see(value: f32, max: f32) -> f32 {
    match value {
        value if value.is_nan() => max,
        value if value.abs() > max => max.copysign(value),
        value => value,
    }
}
