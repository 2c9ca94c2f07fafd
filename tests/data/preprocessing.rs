//! Decoding, resizing, cropping and normalising against PIL and torchvision; the expected values
//! come from `tests/oracle/preprocessing.py`.

use flipside::data::transform::{
    EvalTransform, Filter, IMAGENET_MEAN, IMAGENET_STD, TrainCrop, TrainTransform, flip, normalise,
    random_resized_area,
};
use flipside::data::{Image8, decode_file};
use flipside::models::ModelFile;
use flipside::rng::stream;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    crate::root().join("tests/fixtures/preprocessing").join(name)
}

/// The same picture as `pattern` in the script.
pub fn pattern(height: usize, width: usize) -> Image8 {
    let mut pixels = Vec::with_capacity(height * width * 3);
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                let wave = ((x * (5 + c) + y * (3 + 2 * c)) % 400).abs_diff(200);
                let noise = (x * 7919 + y * 104_729 + c * 1_299_709) % 31;
                let edge = if (x / 11 + y / 13).is_multiple_of(3) { 24 } else { 0 };
                pixels.push((wave + noise + edge) as u8);
            }
        }
    }
    Image8::new(height, width, pixels).unwrap()
}

/// Largest and mean absolute difference, in grey levels.
fn difference(a: &Image8, b: &Image8) -> (u8, f64) {
    assert_eq!((a.height, a.width), (b.height, b.width));
    let differences: Vec<u8> =
        a.pixels.iter().zip(&b.pixels).map(|(a, b)| a.abs_diff(*b)).collect();
    let sum: u64 = differences.iter().map(|&d| u64::from(d)).sum();
    (differences.iter().copied().max().unwrap(), sum as f64 / differences.len() as f64)
}

/// The transform of a line's columns resize (0: none), crop and filter.
fn evaluation(fields: &[&str]) -> EvalTransform {
    let number = |at: usize| fields[at].parse::<usize>().unwrap();
    EvalTransform {
        resize: Some(number(0)).filter(|&size| size > 0),
        crop: number(1),
        filter: match fields[2] {
            "bilinear" => Filter::Bilinear,
            "bicubic" => Filter::Bicubic,
            other => panic!("filter {other}"),
        },
        mean: [0.0; 3],
        std: [1.0; 3],
    }
}

/// The fixed-point arithmetic is Pillow's, so the bytes are equal, not merely close.
#[test]
fn resize_and_centre_crop_equal_torchvision() {
    let cases = std::fs::read_to_string(fixture("cases.tsv")).unwrap();
    for (i, line) in cases.lines().enumerate() {
        let fields: Vec<&str> = line.split('\t').collect();
        let number = |at: usize| fields[at].parse::<usize>().unwrap();
        let transform = evaluation(&fields[2..]);
        let made = transform.picture(&pattern(number(0), number(1)));
        let expected = decode_file(&fixture(&format!("resize_{i}.png"))).unwrap();
        assert_eq!(difference(&made, &expected), (0, 0.0), "case {i}: {line}");
    }
}

/// The fixtures of JPEG, without their ending.
pub const JPEGS: [&str; 16] = [
    "rgb_420",
    "rgb_422",
    "rgb_444",
    "rgb_440",
    "rgb_411",
    "progressive",
    "grey",
    "cmyk",
    "ycck",
    "stored_as_rgb",
    "restarts",
    "progressive_restarts",
    "narrow_420",
    "narrow_422",
    "flat_420",
    "coarse",
];

/// JPEG leaves the inverse transform, the upsampling of chroma and the rounding of colours to the
/// decoder; ours does what libjpeg-turbo, and so PIL, does by default, so the bytes are equal.
#[test]
fn jpegs_decode_to_the_pixels_of_pil() {
    for name in JPEGS {
        let made = decode_file(&fixture(&format!("{name}.jpg"))).unwrap();
        let expected = decode_file(&fixture(&format!("{name}.png"))).unwrap();
        assert_eq!(difference(&made, &expected), (0, 0.0), "{name}");
    }
}

/// From the file to the cut picture, at the sizes and with the filters of several models.
#[test]
fn jpegs_end_as_torchvisions_pictures() {
    let cases = std::fs::read_to_string(fixture("end_to_end.tsv")).unwrap();
    assert_eq!(cases.lines().count(), 64);
    for line in cases.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let image = decode_file(&fixture(&format!("{}.jpg", fields[0]))).unwrap();
        let made = evaluation(&fields[1..4]).picture(&image);
        let digest: String =
            Sha256::digest(&made.pixels).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, fields[4], "{line}");
    }
}

/// A model file says how pictures are resized and cut; where it doesn't name a filter, bilinear.
#[test]
fn model_files_say_how_images_become_inputs() {
    let input = ModelFile::open("resnet50").unwrap().input;
    assert_eq!(EvalTransform::of(&input, 224), EvalTransform::imagenet(256, 224));
    // At another size the shorter side is resized to it.
    assert_eq!(EvalTransform::of(&input, 288), EvalTransform::imagenet(288, 288));
    let crop = TrainTransform::imagenet(224).kind;
    assert_eq!(TrainTransform::of(&input, crop), TrainTransform::imagenet(224));

    let text = include_str!("../../models/resnet50.toml");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.toml");
    let with = |line: &str| {
        std::fs::write(&path, text.replace("resize = 256", line)).unwrap();
        ModelFile::open(path.to_str().unwrap())
    };
    let input = with("resize = 260\ninterpolation = \"bicubic\"").unwrap().input;
    let expected = EvalTransform { filter: Filter::Bicubic, ..EvalTransform::imagenet(260, 224) };
    assert_eq!(EvalTransform::of(&input, 224), expected);
    assert_eq!(TrainTransform::of(&input, crop).filter, Filter::Bicubic);
    let error = with("interpolation = \"cubic\"").unwrap_err().to_string();
    assert!(error.contains("own.toml") && error.contains("bicubic"), "{error}");
}

#[test]
fn normalised_values_are_torchvisions_bits() {
    let bytes = std::fs::read(fixture("normalise.bin")).unwrap();
    let expected: Vec<u32> =
        bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let levels = (0..=255u8).flat_map(|level| [level; 3]).collect();
    let mut made = vec![0f32; 256 * 3];
    normalise(&Image8::new(1, 256, levels).unwrap(), IMAGENET_MEAN, IMAGENET_STD, &mut made);
    assert!(made.iter().map(|value| value.to_bits()).eq(expected));
}

/// Means and spreads of 4,000 areas of a 200×160 image, bounds of five standard errors around what
/// the distributions say: share uniform in [0.3, 0.6], log ratio uniform in ±ln(4/3), place uniform.
/// With these bounds every first attempt fits, so nothing is conditioned on fitting.
#[test]
fn random_areas_follow_their_distributions() {
    let source = stream(11, "areas");
    let n = 4000;
    let (mut share, mut log_ratio, mut place) = (0.0, 0.0, 0.0);
    for i in 0..n {
        let mut draws = source.block(i);
        let area = random_resized_area(200, 160, [0.3, 0.6], [0.75, 4.0 / 3.0], &mut draws);
        assert!(area.top + area.height <= 200 && area.left + area.width <= 160);
        share += (area.height * area.width) as f64 / 32_000.0;
        log_ratio += (area.width as f64 / area.height as f64).ln();
        place += area.top as f64 / (200 - area.height) as f64;
    }
    let n = n as f64;
    let within = |sum: f64, mean: f64, deviation: f64| {
        assert!((sum / n - mean).abs() < 5.0 * deviation / n.sqrt(), "{} {mean}", sum / n);
    };
    within(share, 0.45, 0.3 / 12f64.sqrt());
    within(log_ratio, 0.0, 2.0 * (4.0f64 / 3.0).ln() / 12f64.sqrt());
    within(place, 0.5, 1.0 / 12f64.sqrt());
}

#[test]
fn an_area_that_never_fits_falls_back_to_the_centre() {
    let mut draws = stream(1, "narrow").block(0);
    let area = random_resized_area(400, 10, [0.9, 1.0], [0.75, 4.0 / 3.0], &mut draws);
    // Width 10 at ratio 3/4: 13.33 rows, rounded, in the middle.
    assert_eq!((area.height, area.width, area.top, area.left), (13, 10, 193, 0));
    let area = random_resized_area(10, 400, [0.9, 1.0], [0.75, 4.0 / 3.0], &mut draws);
    assert_eq!((area.height, area.width, area.top, area.left), (10, 13, 0, 193));
}

#[test]
fn padded_crops_reach_every_place_and_flip_half_of_the_time() {
    let image = pattern(32, 32);
    let transform = TrainTransform {
        kind: TrainCrop::RandomCrop { size: 32, padding: 1 },
        filter: Filter::Bilinear,
        flip_probability: 0.5,
        mean: [0.0; 3],
        std: [1.0; 3],
        ..TrainTransform::imagenet(32)
    };
    let mut mirrored = image.clone();
    flip(&mut mirrored);
    assert_ne!(image, mirrored);
    let source = stream(5, "crops");
    let mut seen = std::collections::HashMap::new();
    for i in 0..1800 {
        let made = transform.picture(&image, &mut source.block(i)).unwrap();
        *seen.entry(made.pixels).or_insert(0) += 1;
    }
    // 3×3 places times 2, 100 expected each; five standard deviations of a count are 49.
    assert_eq!(seen.len(), 18);
    assert!(seen.values().all(|count| (51..149).contains(count)), "{:?}", seen.values());
    assert!(seen.contains_key(&image.pixels) && seen.contains_key(&mirrored.pixels));
    let small = pattern(8, 40);
    assert!(transform.picture(&small, &mut source.block(0)).is_err());
}

#[test]
fn transforms_survive_toml_and_json() {
    let train = TrainTransform::imagenet(176);
    let text = toml::to_string(&train).unwrap();
    assert_eq!(toml::from_str::<TrainTransform>(&text).unwrap(), train, "{text}");
    let eval = EvalTransform::imagenet(256, 224);
    let text = serde_json::to_string(&eval).unwrap();
    assert_eq!(serde_json::from_str::<EvalTransform>(&text).unwrap(), eval, "{text}");
}
