//! Augmentation against torchvision on PIL's images; the expected values come from
//! `tests/oracle/augmentation.py`.

mod draws;
mod policies;

use flipside::data::Image8;
use flipside::data::transform::{FillColour, Interpolation, Operation, grayscale, hue};

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
