//! Checkpoints: what PyTorch writes is read, what is written is read again.

mod arguments;
mod damage;
pub mod forge;
mod hostile;
mod long_names;
mod mutations;
mod names;
mod npy;
mod repeated;
mod select;
mod writing;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flipside::Result;
use flipside::checkpoint::{Checkpoint, HostTensor, TensorData, write_safetensors};

/// A file of `tests/fixtures/checkpoints`, made by `tests/oracle/checkpoints.py`.
fn fixture(name: &str) -> PathBuf {
    crate::root().join("tests/fixtures/checkpoints").join(name)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&fixture(name)).unwrap_or_else(|e| panic!("{e}"))
}

/// Writes all tensors of a checkpoint as safetensors.
fn write(path: &Path, checkpoint: &Checkpoint, metadata: &BTreeMap<String, String>) -> Result<()> {
    let tensors: Vec<(&str, HostTensor)> = checkpoint.iter().collect();
    write_safetensors(path, tensors.iter().map(|(name, tensor)| (*name, tensor)), metadata)
}

/// The fixtures that open.
const READABLE: [&str; 16] = [
    "state_dict.pth",
    "legacy.pth",
    "bare.pth",
    "parameter.pth",
    "module_prefix.pth",
    "averaged.pth",
    "nested.pth",
    "strided.pth",
    "strided_legacy.pth",
    "dtypes.pth",
    "protocol4.pth",
    "torchvision_training.pth",
    "focalnet_training.pth",
    "timm_training.pth",
    "negated.pth",
    "negated_legacy.pth",
];

/// Names and shapes of the oracle's tiny model.
const TINY: [(&str, &[usize]); 8] = [
    ("conv.weight", &[2, 3, 3, 3]),
    ("bn.weight", &[2]),
    ("bn.bias", &[2]),
    ("bn.running_mean", &[2]),
    ("bn.running_var", &[2]),
    ("bn.num_batches_tracked", &[]),
    ("fc.weight", &[4, 2]),
    ("fc.bias", &[4]),
];

fn f32s(values: impl IntoIterator<Item = usize>) -> Vec<f32> {
    values.into_iter().map(|v| v as f32).collect()
}

#[test]
fn a_state_dict_has_the_oracles_names_shapes_and_values() {
    for name in [
        "state_dict.pth",
        "legacy.pth",
        "module_prefix.pth",
        "averaged.pth",
        "nested.pth",
        "torchvision_training.pth",
        "focalnet_training.pth",
        "timm_training.pth",
    ] {
        let checkpoint = open(name);
        let keys: Vec<&str> = checkpoint.keys().collect();
        assert_eq!(keys, TINY.map(|(key, _)| key), "{name}");
        for (n, (key, shape)) in TINY.into_iter().enumerate() {
            let count = shape.iter().product::<usize>();
            // The oracle's formula: n + i / 64, and 10 n + i for integers.
            let expected = match key {
                "bn.num_batches_tracked" => TensorData::I64(vec![10 * n as i64]),
                _ => TensorData::F32((0..count).map(|i| n as f32 + i as f32 / 64.0).collect()),
            };
            let expected = HostTensor::new(shape, expected).unwrap();
            assert_eq!(checkpoint.get(key).unwrap(), expected, "{name}: {key}");
        }
    }
    assert_eq!(open("nested.pth").wrappers(), ["model"]);
    assert_eq!(open("averaged.pth").wrappers(), ["model_ema"]);
    // The weights themselves, where their average stands beside them.
    assert_eq!(open("torchvision_training.pth").wrappers(), ["model"]);
    assert_eq!(open("timm_training.pth").wrappers(), ["state_dict"]);
    assert!(open("state_dict.pth").wrappers().is_empty());
}

#[test]
fn strided_and_shared_storages_are_copied_out_row_major() {
    for name in ["strided.pth", "strided_legacy.pth"] {
        let checkpoint = open(name);
        // All but two are views of 0..24 as 2 x 3 x 4; element (a, b, c) is 12 a + 4 b + c.
        let transposed = (0..4).flat_map(|c| (0..6).map(move |ab| 4 * ab + c));
        assert_eq!(checkpoint.f32("transposed", &[4, 2, 3]).unwrap(), f32s(transposed));
        let every_other = (0..24).filter(|i| i % 2 == 1);
        assert_eq!(checkpoint.f32("every_other", &[2, 3, 2]).unwrap(), f32s(every_other));
        assert_eq!(checkpoint.f32("expanded", &[2, 3]).unwrap(), [1., 1., 1., 2., 2., 2.]);
        assert_eq!(checkpoint.f32("tail", &[4]).unwrap(), f32s(20..24));
        assert_eq!(checkpoint.f32("scalar", &[]).unwrap(), [23.0]);
        assert!(checkpoint.f32("empty", &[0, 3]).unwrap().is_empty());
        assert_eq!(checkpoint.f32("channels_last", &[1, 2, 3, 4]).unwrap(), f32s(0..24));
    }
}

#[test]
fn every_element_type_keeps_its_values_and_widens_to_f32() {
    let checkpoint = open("dtypes.pth");
    let values = |key| checkpoint.get(key).unwrap().to_f32();
    assert_eq!(checkpoint.get("f64").unwrap().data, TensorData::F64(vec![0.5, -2.0]));
    assert_eq!(values("f64"), [0.5, -2.0]);
    assert_eq!(values("f16"), [0.5, -2.0, 65504.0, 2f32.powi(-24)]);
    assert_eq!(values("bf16"), [0.5, -2.0, 2f32.powi(100)]);
    assert_eq!(checkpoint.get("i64").unwrap().data, TensorData::I64(vec![1, -(1 << 40)]));
    assert_eq!(checkpoint.get("i32").unwrap().data, TensorData::I32(vec![1, -2]));
    assert_eq!(checkpoint.get("i16").unwrap().data, TensorData::I16(vec![1, -2]));
    assert_eq!(checkpoint.get("i8").unwrap().data, TensorData::I8(vec![1, -2]));
    assert_eq!(checkpoint.get("u8").unwrap().data, TensorData::U8(vec![1, 255]));
    assert_eq!(checkpoint.get("bool").unwrap().data, TensorData::Bool(vec![true, false]));
    assert_eq!(values("bool"), [1.0, 0.0]);
}

#[test]
fn bare_tensors_and_parameters_are_read() {
    let expected = f32s(0..6);
    assert_eq!(open("bare.pth").tensor_only().unwrap().to_f32(), expected);
    for name in ["parameter.pth", "protocol4.pth", "no_checksums.pth"] {
        assert_eq!(open(name).f32("weight", &[2, 3]).unwrap(), expected, "{name}");
    }
}

#[test]
fn a_wrong_question_names_file_key_and_shapes() {
    let checkpoint = open("state_dict.pth");
    let missing = checkpoint.get("fc.wieght").unwrap_err().to_string();
    for part in ["state_dict.pth", "`fc.wieght`", "nearest", "`fc.weight`"] {
        assert!(missing.contains(part), "{missing}");
    }
    let shape = checkpoint.f32("fc.weight", &[1000, 2]).unwrap_err().to_string();
    for part in ["state_dict.pth", "`fc.weight`", "[1000, 2]", "[4, 2]"] {
        assert!(shape.contains(part), "{shape}");
    }
    let many = checkpoint.tensor_only().unwrap_err().to_string();
    assert!(many.contains("single tensor") && many.contains('8'), "{many}");
}

/// The published text features: 1000 x 512, the first with rows of norm 1, the second with norms
/// between 6.5 and 11.9.
#[test]
fn the_published_text_features_are_read() {
    let files = [
        ("text-features-imagenet-gpt3.pth", 0.9999..1.0001),
        ("text-features-imagenet-a-photo-of-a.pth", 6.45..11.95),
    ];
    for (name, norms) in files {
        let path = crate::root().join("../shared/data").join(name);
        if !path.exists() {
            println!("skipped: {} isn't there", path.display());
            continue;
        }
        let checkpoint = Checkpoint::open(&path).unwrap();
        let features = checkpoint.tensor_only().unwrap();
        assert_eq!(features.shape, [1000, 512]);
        for row in features.to_f32().chunks_exact(512) {
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            assert!(norms.contains(&norm), "{name}: norm {norm}");
        }
    }
}
