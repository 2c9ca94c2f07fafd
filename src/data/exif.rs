//! The orientation that Exif data name: a TIFF directory of entries.

/// Tag of the orientation.
const ORIENTATION: u16 = 0x112;

/// The orientation, 1 to 8; 1 where there are no data or they make no sense. A header `Exif`, which JPEG has and
/// some WebP files, is passed over.
pub(super) fn orientation(exif: Option<&[u8]>) -> u8 {
    let exif = exif.unwrap_or_default();
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    found(tiff).filter(|value| (1..=8).contains(value)).map_or(1, |value| value as u8)
}

fn found(tiff: &[u8]) -> Option<u16> {
    let is_little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let word = |at: usize| {
        let bytes = *tiff.get(at..)?.first_chunk::<2>()?;
        Some(if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes = *tiff.get(at..)?.first_chunk::<4>()?;
        Some(if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let directory = long(4)? as usize;
    (0..usize::from(word(directory)?))
        .map(|i| directory + 2 + 12 * i)
        .find(|&entry| word(entry) == Some(ORIENTATION))
        .and_then(|entry| match word(entry + 2)? {
            // A short, or, as some write it, a long.
            3 => word(entry + 8),
            4 => u16::try_from(long(entry + 8)?).ok(),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(value: u16, kind: u16, is_little: bool) -> Vec<u8> {
        let word = |word: u16| if is_little { word.to_le_bytes() } else { word.to_be_bytes() };
        let long = |long: u32| if is_little { long.to_le_bytes() } else { long.to_be_bytes() };
        let mut data = if is_little { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
        data.extend(long(8));
        data.extend(word(2));
        for (tag, value) in [(0x100, 77), (ORIENTATION, value)] {
            data.extend([word(tag), word(kind)].concat());
            data.extend(long(1));
            data.extend([word(value), word(0)].concat());
        }
        data
    }

    #[test]
    fn orientation_is_found_in_both_orders_of_bytes() {
        for is_little in [true, false] {
            let data = data(6, 3, is_little);
            assert_eq!(orientation(Some(&data)), 6);
            assert_eq!(orientation(Some(&[b"Exif\0\0", data.as_slice()].concat())), 6);
        }
        assert_eq!(orientation(Some(&data(5, 4, true))), 5);
    }

    #[test]
    fn what_makes_no_sense_is_upright() {
        for data in [data(0, 3, true), data(9, 3, true), data(6, 2, true), Vec::new()] {
            assert_eq!(orientation(Some(&data)), 1);
        }
        assert_eq!(orientation(None), 1);
        let whole = data(6, 3, false);
        for end in 0..whole.len() {
            assert!([1, 6].contains(&orientation(Some(&whole[..end]))));
        }
        let mut far = whole;
        far[4..8].fill(0xff);
        assert_eq!(orientation(Some(&far)), 1);
    }
}
