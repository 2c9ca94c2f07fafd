//! Between two values and beyond, as PIL's `Image.blend`.

/// From `first` towards `second`, and beyond where `share` lies outside 0 to 1; cut off, not rounded.
#[inline(always)]
pub(super) fn blend(first: u8, second: u8, share: f32) -> u8 {
    let value = f32::from(first) + share * f32::from(i16::from(second) - i16::from(first));
    let value = if value > 0.0 { value } else { 0.0 };
    let value = if value < 255.0 { value } else { 255.0 };
    // SAFETY: it lies in 0 to 255, NaN having become 0. A checked cast keeps loops from becoming vectors.
    unsafe { value.to_int_unchecked::<i32>() as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_off_and_stay_in_range() {
        assert_eq!(blend(0, 255, 0.999), 254);
        assert_eq!([blend(7, 200, 0.0), blend(7, 200, 1.0)], [7, 200]);
        assert_eq!([blend(0, 200, 2.0), blend(200, 0, 2.0), blend(200, 0, -9.0)], [255, 0, 255]);
        assert_eq!(blend(3, 9, f32::NAN), 0);
    }
}
