//! `.npy` files: what numpy saves is read; what isn't numbers is refused in a sentence.

use std::path::PathBuf;

use flipside::checkpoint::{Checkpoint, Dtype};

/// A file of `tests/fixtures/npy`, made by `tests/oracle/npy.py`.
fn fixture(name: &str) -> PathBuf {
    crate::root().join("tests/fixtures/npy").join(format!("{name}.npy"))
}

fn error(bytes: Vec<u8>) -> String {
    Checkpoint::parse("x.npy".as_ref(), bytes).unwrap_err().to_string()
}

/// The oracle's values, row-major.
fn floats(count: usize) -> Vec<f32> {
    (0..count).map(|i| i as f32 / 4.0 - 1.0).collect()
}

#[test]
fn arrays_of_every_kind_have_the_oracles_values() {
    for (name, dtype) in [
        ("little_f2", Dtype::F16),
        ("little_f4", Dtype::F32),
        ("little_f8", Dtype::F64),
        ("big_f2", Dtype::F16),
        ("big_f4", Dtype::F32),
        ("big_f8", Dtype::F64),
        ("fortran", Dtype::F32),
        ("version_2", Dtype::F32),
        ("version_3", Dtype::F32),
    ] {
        let tensor = Checkpoint::open(&fixture(name)).unwrap().tensor_only().unwrap();
        assert_eq!((tensor.shape.as_slice(), tensor.dtype()), ([3, 4].as_slice(), dtype), "{name}");
        assert_eq!(tensor.to_f32(), floats(12), "{name}");
    }
    for (name, shape) in [
        ("fortran_cube", [2, 3, 4].as_slice()),
        ("scalar", &[]),
        ("vector", &[5]),
        ("empty", &[0, 4]),
    ] {
        let tensor = Checkpoint::open(&fixture(name)).unwrap().get("tensor").unwrap();
        assert_eq!(tensor.shape, shape, "{name}");
        assert_eq!(tensor.to_f32(), floats(shape.iter().product()), "{name}");
    }
    for name in ["i1", "i2", "i4", "i8", "u1", "b1"] {
        let expected: Vec<f32> = match name {
            "b1" => (0..6).map(|i| (i % 2) as f32).collect(),
            // -4 and -1 wrap around.
            "u1" => (0..6).map(|i| f32::from((3 * i - 4) as u8)).collect(),
            _ => (0..6).map(|i| (3 * i - 4) as f32).collect(),
        };
        let values = Checkpoint::open(&fixture(name)).unwrap().f32("tensor", &[2, 3]).unwrap();
        assert_eq!(values, expected, "{name}");
    }
}

#[test]
fn what_is_not_numbers_is_refused() {
    for (name, part) in [
        ("objects", "never executed"),
        ("fields", "structured"),
        ("complex", "`<c8` isn't supported"),
        ("text", "`<U2` isn't supported"),
    ] {
        let error = Checkpoint::open(&fixture(name)).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(&format!("{name}.npy")), "{error}");
    }
}

#[test]
fn damage_is_named() {
    let whole = std::fs::read(fixture("little_f4")).unwrap();
    for cut in 6..whole.len() {
        let error = error(whole[..cut].to_vec());
        assert!(error.contains("broken") || error.contains("version"), "{cut}: {error}");
    }
    let longer = error([whole.clone(), vec![0]].concat());
    assert!(longer.contains("49 bytes") && longer.contains("[3, 4]"), "{longer}");
    let with = |from: &str, to: &str| {
        let text: String = whole.iter().map(|&byte| char::from(byte)).collect();
        assert!(text.contains(from), "{from}");
        error(text.replacen(from, to, 1).chars().map(|c| c as u8).collect())
    };
    for (from, to, part) in [
        ("(3, 4)", "(3, 5)", "doesn't take"),
        ("(3, 4)", "(-3,4)", "shape"),
        ("(3, 4)", "[3, 4]", "lacks a ("),
        ("False", "Falsy", "truth value"),
        ("'descr'", "'descs'", "`descs`"),
        ("'shape'", "'descr'", "`(3, 4)"),
        ("'<f4'", "'<f9'", "`<f9`"),
        ("'<f4'", "'?f4'", "`?f4`"),
        ("'<f4'", "'é4'", "isn't"),
        ("{", "(", "lacks a {"),
        ("}", "#", "before `#"),
    ] {
        let error = with(from, to);
        assert!(error.contains(part), "{from} -> {to}: {error}");
    }
    let mut newer = whole.clone();
    newer[6] = 4;
    assert!(error(newer).contains("version 4"));
    let mut endless = whole;
    endless[6] = 2;
    endless[8..12].fill(0xff);
    assert!(error(endless).contains("cut off"));
}

#[test]
fn sizes_that_overflow_are_refused() {
    let max = usize::MAX;
    for shape in [format!("({max}, 2)"), format!("({max}, {max}, {max})"), "(1,".repeat(9)] {
        let header = format!("{{'descr': '<f8', 'fortran_order': True, 'shape': {shape}, }}");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.bytes());
        assert!(error(bytes).contains("broken"), "{shape}");
    }
}
