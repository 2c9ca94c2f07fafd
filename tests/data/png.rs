//! PNG files of every kind against PIL; files and pixels come from `tests/oracle/png.py`.

use flipside::data::{Image8, decode};
use std::path::{Path, PathBuf};

/// What PIL reads and the decoder refuses, with the cause: damage, and what is no PNG to others.
const STRICTER: [(&str, &str); 6] = [
    ("no_palette", "indices, but no palette"),
    ("two_headers", "two headers"),
    ("header_behind", "doesn't begin with a header"),
    ("animated_small_interlaced", "a part of an interlaced image"),
    ("animated_data_alone", "no image data"),
    ("image_data_a_row_short", "enough data"),
];

fn folder() -> PathBuf {
    crate::root().join("tests/fixtures/png")
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// The pixels are PIL's; what PIL refuses is refused, by name.
#[test]
fn pngs_decode_to_the_pixels_of_pil() {
    let cases = std::fs::read_to_string(folder().join("cases.tsv")).unwrap();
    let (mut read, mut refused) = (0, 0);
    for line in cases.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let name = fields[0];
        let path = folder().join(name).with_extension("png");
        let decoded = decode(&std::fs::read(&path).unwrap(), &path);
        let stricter = STRICTER.iter().find(|(stricter, _)| *stricter == name);
        match (&fields[1..], stricter) {
            ([width, height, pixels], None) => {
                let [width, height] = [width, height].map(|size| size.parse().unwrap());
                let expected = Image8 { height, width, pixels: bytes_of(pixels) };
                assert_eq!(decoded.expect(name), expected, "{name}");
                read += 1;
            }
            (_, stricter) => {
                let error = decoded.err().unwrap_or_else(|| panic!("{name} was read")).to_string();
                let cause = stricter.map_or("PNG", |(_, cause)| *cause);
                assert!(error.contains(&format!("{name}.png")) && error.contains(cause), "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!((read, refused), (108, 53));
}

/// Damaged anywhere, a file is a picture or an error, and the program goes on. Checksums are mended, so that
/// the damage is seen.
#[test]
fn damaged_pngs_never_panic() {
    for name in ["grey1_interlaced", "palette4_tRNS", "rgb16", "animated", "animated_small_rgba8"] {
        let whole = std::fs::read(folder().join(name).with_extension("png")).unwrap();
        let mut pictures = 0;
        for at in 8..whole.len() {
            for value in [0, 1, 0x7f, 0xff, whole[at] ^ 0x10] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                mend(&mut bytes);
                pictures += usize::from(decode(&bytes, Path::new("x")).is_ok());
            }
        }
        assert!(pictures > whole.len() / 4 && pictures < 4 * whole.len(), "{name}: {pictures}");
    }
}

/// Sets the checksum of every whole chunk.
fn mend(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = bytes.get(at..at + 4) {
        let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let end = at + 8 + length;
        let Some(body) = bytes.get(at + 4..end).filter(|_| end + 4 <= bytes.len()) else { return };
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(body);
        bytes[end..end + 4].copy_from_slice(&hasher.finalize().to_be_bytes());
        at = end + 4;
    }
}

/// Names say nothing; other formats that PIL reads are refused by name.
#[test]
fn other_formats_are_refused_by_name() {
    for (start, format) in [
        (&b"II*\0\x08\0\0\0"[..], "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"P6\n2 2\n255\n", "PNM"),
        (b"\0\0\0 ftypavif", "AVIF"),
        (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
        (b"\xff\xd8ab", "neither"),
    ] {
        let error = decode(start, Path::new("picture.jpg")).unwrap_err().to_string();
        assert!(error.contains("picture.jpg") && error.contains(format), "{error}");
    }
}
