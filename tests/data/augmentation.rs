//! Augmentation against torchvision on PIL's images; the expected values come from
//! `tests/oracle/augmentation.py`.

mod draws;
mod mixing;
mod policies;

use flipside::data::Image8;
use flipside::data::transform::Area;
use flipside::data::transform::{
    Adjustment, ColorJitter, ErasedTo, FillColour, IMAGENET_MEAN, IMAGENET_STD, Interpolation,
    Operation, RandomErasing, TrainTransform, Transform, grayscale, hue, normalise,
};
use flipside::rng::stream;

/// The columns of each line of a fixture.
fn rows(name: &str) -> Vec<Vec<String>> {
    let path = crate::root().join("tests/fixtures/augmentation").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_string).collect()).collect()
}

/// Bytes of a multiplicative hash, as `noise` in the script.
fn noise(count: usize, seed: u64) -> impl Iterator<Item = u8> {
    (0..count as u64).map(move |at| (((at + seed * 7919) * 2_654_435_761) >> 24) as u8)
}

/// The same picture as `picture` in the script.
fn picture(kind: &str, height: usize, width: usize) -> Image8 {
    let count = height * width * 3;
    let pixels: Vec<u8> = match kind {
        "noise" => noise(count, 0).collect(),
        "dull" => noise(count, 0).map(|value| 60 + value / 2).collect(),
        "flat" => [200, 30, 90].into_iter().cycle().take(count).collect(),
        "colours" => (0..height * width)
            .flat_map(|at| (at * 97 % (1 << 24)).to_le_bytes()[..3].to_vec().into_iter().rev())
            .collect(),
        "smooth" => (0..count)
            .map(|at| {
                let (y, x, c) = (at / 3 / width, at / 3 % width, at % 3);
                (55 + ((x * (5 + c) + y * (3 + 2 * c)) % 400).abs_diff(200)) as u8
            })
            .collect(),
        other => panic!("picture {other}"),
    };
    Image8::new(height, width, pixels).unwrap()
}

/// What the script stores of a picture: small ones as they are, of others the CRC-32.
fn result(image: &Image8) -> String {
    if image.pixels.len() <= 60 {
        return image.pixels.iter().map(|byte| format!("{byte:02x}")).collect();
    }
    format!("{:08x}", crc32fast::hash(&image.pixels))
}

fn crc(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    format!("{:08x}", crc32fast::hash(&bytes))
}

fn interpolation(word: &str) -> Interpolation {
    match word {
        "nearest" => Interpolation::Nearest,
        "bilinear" => Interpolation::Bilinear,
        "bicubic" => Interpolation::Bicubic,
        other => panic!("interpolation {other}"),
    }
}

fn numbers<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> Vec<T> {
    text.split(',').map(|number| number.parse().unwrap()).collect()
}

/// Rows of a fixture of operations whose results are others.
fn differences(
    rows: &[Vec<String>],
    apply: impl Fn(&str, f64, &mut Image8, Interpolation, FillColour),
) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in rows {
        let [kind, height, width, name, magnitude, how, fill, expected] = &row[..] else {
            panic!("{row:?}")
        };
        let mut image = picture(kind, height.parse().unwrap(), width.parse().unwrap());
        let fill: FillColour = numbers(fill).try_into().unwrap();
        apply(name, magnitude.parse().unwrap(), &mut image, interpolation(how), fill);
        if result(&image) != *expected {
            wrong.push(format!("{row:?}: {}", result(&image)));
        }
    }
    wrong
}

#[test]
fn operations_give_pils_bytes() {
    let rows = rows("pixels.tsv");
    assert!(rows.len() > 700);
    let wrong = differences(&rows, |name, magnitude, image, how, fill| match name {
        "Hue" => hue(image, magnitude),
        "Grayscale" => grayscale(image),
        name => Operation { kind: name.parse().unwrap(), magnitude }.apply(image, how, fill),
    });
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn operations_on_tensors_give_torchvisions_bytes() {
    let rows = rows("tensors.tsv");
    assert!(rows.len() > 200);
    let wrong = differences(&rows, |name, magnitude, image, how, fill| {
        let operation = Operation { kind: name.parse().unwrap(), magnitude };
        operation.apply_as_tensor(image, how, fill);
    });
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    // PIL's operations aren't the same.
    let wrong = differences(&rows, |name, magnitude, image, how, fill| {
        Operation { kind: name.parse().unwrap(), magnitude }.apply(image, how, fill);
    });
    assert!(wrong.len() > 50, "{}", wrong.len());
}

#[test]
fn jitter_gives_torchvisions_bytes() {
    for row in rows("jitter.tsv") {
        let mut image = picture(&row[0], row[1].parse().unwrap(), row[2].parse().unwrap());
        for step in row[3].split(';') {
            let (name, factor) = step.split_once(':').unwrap();
            let factor: f64 = factor.parse().unwrap();
            let adjustment = match name {
                "brightness" => Adjustment::Brightness(factor),
                "contrast" => Adjustment::Contrast(factor),
                "saturation" => Adjustment::Saturation(factor),
                "hue" => Adjustment::Hue(factor),
                other => panic!("{other}"),
            };
            adjustment.apply(&mut image);
        }
        assert_eq!(result(&image), row[4], "{row:?}");
    }
}

#[test]
fn erased_values_are_torchvisions_bits() {
    for row in rows("erasing.tsv") {
        let number = |at: usize| row[at].parse::<usize>().unwrap();
        let (height, width) = (number(1), number(2));
        let area = Area { top: number(3), left: number(4), height: number(5), width: number(6) };
        let mut values = vec![0.0; height * width * 3];
        let image = picture(&row[0], height, width);
        normalise(&image, IMAGENET_MEAN, IMAGENET_STD, &mut values);
        let value = ErasedTo::Channels(numbers(&row[7]).try_into().unwrap());
        let erasing = RandomErasing { value, ..RandomErasing::default() };
        erasing.erase(area, width, &mut values, &mut stream(0, "unread"));
        assert_eq!(crc(&values), row[8], "{row:?}");
    }
}

fn transformed(transform: TrainTransform, image: &Image8, sample: u64) -> Vec<f32> {
    let transform = Transform::Train(transform);
    transform.validate().unwrap();
    let size = transform.size();
    let mut out = vec![0.0; size * size * 3];
    transform.apply(image, &mut stream(3, "augment/1").block(sample), &mut out).unwrap();
    out
}

/// The cut and the mirroring are drawn first, so that they are the same whatever comes behind them; what comes
/// behind is done in the reference's order.
#[test]
fn a_transform_does_its_parts_in_the_references_order() {
    let image = picture("smooth", 60, 75);
    let plain = TrainTransform::imagenet(32);
    let jitter = ColorJitter::of(0.4, 0.4, 0.4, 0.1);
    let policy: flipside::data::transform::AugmentPolicy = "ra".parse().unwrap();
    let erasing = RandomErasing { probability: 1.0, ..RandomErasing::default() };
    let full = TrainTransform {
        jitter: Some(jitter),
        policy: Some(policy),
        erasing: Some(erasing),
        ..plain
    };
    let mut changed = 0;
    for sample in 0..20 {
        let mut draws = stream(3, "augment/1").block(sample);
        let mut picture = plain.picture(&image, &mut draws).unwrap();
        let mut values = vec![0.0; 32 * 32 * 3];
        normalise(&picture, plain.mean, plain.std, &mut values);
        assert_eq!(transformed(plain, &image, sample), values);
        jitter.draw(&mut draws).into_iter().flatten().for_each(|one| one.apply(&mut picture));
        let drawn = policy.draw(32, 32, &mut draws);
        policy.apply(&drawn, &mut picture);
        normalise(&picture, plain.mean, plain.std, &mut values);
        if let Some(area) = erasing.draw(32, 32, &mut draws) {
            erasing.erase(area, 32, &mut values, &mut draws);
        }
        let made = transformed(full, &image, sample);
        assert_eq!(made, values, "{sample}");
        changed += usize::from(made != transformed(plain, &image, sample));
    }
    assert_eq!(changed, 20);
}

/// What was stored before there were such parts has none of them, and is stored as it was.
#[test]
fn transforms_of_older_files_are_read() {
    let old = r#"{"kind":{"type":"random_crop","size":32,"padding":4},"filter":"bilinear","flip_probability":0.5,"mean":[0.5,0.5,0.5],"std":[0.25,0.25,0.25]}"#;
    let read: TrainTransform = serde_json::from_str(old).unwrap();
    assert_eq!((read.jitter, read.policy, read.erasing), (None, None, None));
    assert_eq!(serde_json::to_string(&read).unwrap(), old);
    let full = TrainTransform {
        jitter: Some(ColorJitter::of(0.4, 0.0, 0.0, 0.1)),
        policy: Some("augmix".parse().unwrap()),
        erasing: Some(RandomErasing { value: ErasedTo::Random, ..RandomErasing::default() }),
        ..read
    };
    let text = toml::to_string(&full).unwrap();
    assert_eq!(toml::from_str::<TrainTransform>(&text).unwrap(), full, "{text}");
}

#[test]
fn transforms_with_senseless_parts_are_refused() {
    let refused = |transform: TrainTransform, what: &str| {
        let error = Transform::Train(transform).validate().unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    let plain = TrainTransform::imagenet(32);
    let jitter = Some(ColorJitter::of(f64::NAN, 0.0, 0.0, 0.0));
    refused(TrainTransform { jitter, ..plain }, "brightness");
    let erasing = Some(RandomErasing { probability: -0.1, ..RandomErasing::default() });
    refused(TrainTransform { erasing, ..plain }, "erasing's probability");
    let policy = toml::from_str("type = \"ra\"\nmagnitude = 40").unwrap();
    refused(TrainTransform { policy: Some(policy), ..plain }, "magnitude 40");
}
