//! WebP, BMP, GIF and more JPEG files against PIL; files and pixels come from `tests/oracle/formats.py`.

use flipside::data::transform::{Area, crop};
use flipside::data::{ColourKind, Image8, ImageFacts, ImageFormat, decode, decode_part, facts};
use flipside::rng::{Draw, stream};
use sha2::{Digest, Sha256};
use std::path::Path;

/// What PIL reads and the decoder refuses, with the cause.
const STRICTER: [(&str, &str); 4] = [
    ("frame_of_other_size.webp", "another size than its header says"),
    ("rle8_of_1_bit.bmp", "1 bits with compression 1"),
    ("gif_code_0.gif", "codes of 0 bits"),
    // Its data are no arithmetic code; PIL makes something of them.
    ("arithmetic.jpg", "arithmetic coding"),
];

/// What PIL refuses and the decoder reads: grey scales of 4 bits, which PIL takes for 8.
const LAXER: [&str; 1] = ["bmp4_ramp.bmp"];

/// What PIL reads as something that it isn't, see `src/data/bmp.rs` and `src/data/gif.rs`: palettes of two greys as
/// single bits, a frame's own grey scale as the screen's colours.
const MISTAKEN: [&str; 4] =
    ["bmp4_two_greys.bmp", "bmp4_one_grey.bmp", "bmp8_two_greys.bmp", "gif_local_greys.gif"];

/// A file of the fixtures: its name, its bytes, and what PIL says, which is width, height and pixels, or nothing.
struct FormatCase {
    name: String,
    bytes: Vec<u8>,
    expected: Option<(usize, usize, String)>,
}

fn cases() -> Vec<FormatCase> {
    let folder = crate::root().join("tests/fixtures/formats");
    let files = std::fs::read(folder.join("files.bin")).unwrap();
    let mut rest = files.as_slice();
    let text = std::fs::read_to_string(folder.join("cases.tsv")).unwrap();
    let case = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let (bytes, behind) = rest.split_at(fields[1].parse().unwrap());
        rest = behind;
        let number = |at: usize| fields[at].parse::<usize>().ok();
        let expected = number(2).map(|width| (width, number(3).unwrap(), fields[4].to_string()));
        FormatCase { name: fields[0].to_string(), bytes: bytes.to_vec(), expected }
    };
    let cases = text.lines().map(case).collect();
    assert!(rest.is_empty());
    cases
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn said(image: &Image8) -> (usize, usize, String) {
    let pixels = &image.pixels;
    let shown = match pixels.len() {
        ..=120 => hex(pixels),
        _ => format!("sha256:{}", hex(&Sha256::digest(pixels))),
    };
    (image.width, image.height, shown)
}

/// The pixels are PIL's; what PIL refuses is refused, by name and format.
#[test]
fn images_decode_to_the_pixels_of_pil() {
    let (mut read, mut refused) = (0, 0);
    for FormatCase { name, bytes, expected } in cases() {
        let decoded = decode(&bytes, Path::new(&name));
        let stricter = STRICTER.iter().find(|(stricter, _)| *stricter == name);
        if MISTAKEN.contains(&name.as_str()) || LAXER.contains(&name.as_str()) {
            assert_ne!(Some(said(&decoded.expect(&name))), expected, "{name}");
            continue;
        }
        match (expected, stricter) {
            (Some(expected), None) => {
                assert_eq!(said(&decoded.expect(&name)), expected, "{name}");
                read += 1;
            }
            (_, stricter) => {
                let error = decoded.err().unwrap_or_else(|| panic!("{name} was read")).to_string();
                let cause = stricter.map_or("", |(_, cause)| *cause);
                assert!(error.starts_with(&name) && error.contains(cause), "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!((read, refused), (210, 93));
}

#[test]
fn parts_are_cut_from_the_whole() {
    let mut draws = stream(5, "parts").block(0);
    for FormatCase { name, bytes, .. } in cases() {
        let path = Path::new(&name);
        let Ok(whole) = decode(&bytes, path) else { continue };
        let mut side = |size: usize| {
            let length = 1 + draws.below(size as u64) as usize;
            (draws.below((size - length + 1) as u64) as usize, length)
        };
        let ((top, height), (left, width)) = (side(whole.height), side(whole.width));
        let area = Area { top, left, height, width };
        let part = decode_part(&bytes, path, &mut |_, _| area).unwrap();
        assert_eq!(part, crop(&whole, area), "{name}");
    }
}

/// Headers alone tell what decoding finds, and refuse no file that is read.
#[test]
fn facts_are_those_of_the_pixels() {
    for FormatCase { name, bytes, .. } in cases() {
        let Ok(image) = decode(&bytes, Path::new(&name)) else { continue };
        let found = facts(&bytes, Path::new(&name)).expect(&name);
        assert_eq!((found.height, found.width), (image.height, image.width), "{name}");
        let ending = name.rsplit_once('.').unwrap().1.to_uppercase().replace("JPG", "JPEG");
        assert_eq!(found.format.to_string().to_uppercase(), ending);
        let orientation = match name.as_str() {
            "exif.webp" => 6,
            "exif_orientation.jpg" | "extended_sequential.jpg" => 8,
            _ => 1,
        };
        assert_eq!(found.orientation, orientation, "{name}");
        assert_eq!(found.is_turned(), orientation > 1);
    }
    let of = |name: &str| {
        let path = crate::root().join("tests/fixtures").join(name);
        facts(&std::fs::read(&path).unwrap(), &path).unwrap()
    };
    let (format, width, height) = (ImageFormat::Png, 5, 4);
    let png = |colour, orientation| ImageFacts { format, width, height, colour, orientation };
    assert_eq!(of("png/exif_orientation.png"), png(ColourKind::Rgb, 6));
    assert_eq!(of("png/grey_alpha16.png"), png(ColourKind::GreyAlpha, 1));
    assert_eq!(of("png/rgba8.png"), png(ColourKind::Rgba, 1));
    assert_eq!(of("png/palette4.png"), png(ColourKind::Palette, 1));
    assert_eq!(of("png/grey1.png"), png(ColourKind::Grey, 1));
    assert_eq!(of("preprocessing/cmyk.jpg").colour, ColourKind::Cmyk);
    assert_eq!(of("preprocessing/grey.jpg").colour, ColourKind::Grey);
    assert_eq!(of("preprocessing/progressive.jpg").colour, ColourKind::Rgb);
    assert_eq!(
        [ImageFormat::Webp.to_string(), ColourKind::GreyAlpha.to_string()],
        ["WebP", "grey-alpha"]
    );
    let error = facts(b"\xff\xd8\xff\xe0", Path::new("a.jpg")).unwrap_err().to_string();
    assert!(error.contains("a.jpg") && error.contains("JPEG"), "{error}");
}

/// JPEGs of codings that aren't read are refused by the coding's name, by `facts`, too.
#[test]
fn codings_of_jpegs_are_named() {
    for (name, cause) in [
        ("lossless.jpg", "lossless coding"),
        ("hierarchical.jpg", "hierarchical coding"),
        ("arithmetic.jpg", "arithmetic coding"),
        ("arithmetic_progressive.jpg", "arithmetic coding"),
        ("arithmetic_lossless.jpg", "lossless arithmetic coding"),
        ("bits_12.jpg", "12 bits a sample"),
    ] {
        let case = cases().into_iter().find(|case| case.name == name).expect(name);
        let errors = [
            decode(&case.bytes, Path::new(name)).unwrap_err(),
            facts(&case.bytes, Path::new(name)).unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.to_string().contains(cause)), "{errors:?}");
    }
}

/// Damaged or cut anywhere, a file is a picture or an error, and the program goes on.
#[test]
fn damaged_images_never_panic() {
    let files: Vec<FormatCase> =
        cases().into_iter().filter(|case| !case.name.ends_with(".jpg")).collect();
    let mut draws = stream(6, "damage").block(0);
    let mut pictures = 0;
    const MUTATIONS: usize = 20_000;
    for i in 0..MUTATIONS {
        let mut bytes = files[i % files.len()].bytes.clone();
        for _ in 0..1 + draws.below(3) {
            let at = draws.below(bytes.len() as u64) as usize;
            bytes[at] = match draws.below(4) {
                0 => [0, 1, 0x7f, 0xff][draws.below(4) as usize],
                _ => draws.below(256) as u8,
            };
        }
        if draws.below(8) == 0 {
            bytes.truncate(draws.below(bytes.len() as u64) as usize);
        }
        pictures += usize::from(decode(&bytes, Path::new("x")).is_ok());
        let _ = facts(&bytes, Path::new("x"));
    }
    assert!(pictures > MUTATIONS / 5 && pictures < MUTATIONS * 4 / 5, "{pictures}");
}
