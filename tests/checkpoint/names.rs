//! Checkpoints whose tensors have other programs' names.

use std::borrow::Cow;
use std::collections::BTreeMap;

use flipside::checkpoint::{Checkpoint, HostTensor, TensorData, TensorView, write_safetensors};
use flipside::device::Device;
use flipside::models::focalnet_names::AUTHORS;
use flipside::models::{Dialect, Model, ModelFile, load_state, save_state};
use flipside::nn::Head;
use flipside::tape::Weights;

use super::fixture;

/// Each line: name and shape in the authors' file, name and shape in timm's.
#[test]
fn focalnets_authors_names_become_timms() {
    let text = std::fs::read_to_string(fixture("focalnet_names.tsv")).unwrap();
    let mut signs = 0;
    for line in text.lines() {
        let [authors, _, timm, _] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        assert_eq!((AUTHORS.rename)(authors), timm);
        signs += usize::from(authors == AUTHORS.sign);
        assert_ne!(timm, AUTHORS.sign, "the sign tells the two apart");
    }
    assert_eq!((text.lines().count(), signs), (212, 1));
    // Layer scales and norms inside of the modulation, which this variant has none of; from timm's
    // conversion.
    for (authors, timm) in [
        ("layers.1.blocks.0.gamma_2", "layers.1.blocks.0.ls2.gamma"),
        ("layers.1.blocks.0.modulation.ln.bias", "layers.1.blocks.0.modulation.norm.bias"),
    ] {
        assert_eq!((AUTHORS.rename)(authors), timm);
    }
    for odd in ["", "head", "layers", "layers.x.downsample.proj", "layers.1", "header.weight"] {
        assert_eq!((AUTHORS.rename)(odd), odd);
    }
}

/// Calls resnet_small's first convolution `first` and its last layer `last`.
static TOY: Dialect = Dialect { sign: "first.weight", rename: toy };

fn toy(key: &str) -> Cow<'_, str> {
    match key.split_once('.') {
        Some(("first", rest)) => Cow::Owned(format!("conv1.{rest}")),
        Some(("last", rest)) => Cow::Owned(format!("fc.{rest}")),
        _ => Cow::Borrowed(key),
    }
}

/// A model with weights, and the tensors of its file.
fn model(head: Head) -> (Model, Weights, Vec<(String, HostTensor)>) {
    let file = ModelFile::open("resnet_small").unwrap();
    let model = Model::new(&file, head, 4, 16, 0.0).unwrap();
    let mut weights = Weights::new(&model.tape, &Device::cpu(), false).unwrap();
    weights.initialize(1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    save_state(&path, &model, "toy", &weights).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let tensors = checkpoint.iter().map(|(name, tensor)| (name.to_string(), tensor)).collect();
    (model, weights, tensors)
}

fn checkpoint(tensors: &[(String, HostTensor)]) -> Checkpoint {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    let views = tensors.iter().map(|(name, tensor)| (name.clone(), TensorView::from(tensor)));
    write_safetensors(&path, views, &BTreeMap::new()).unwrap();
    Checkpoint::open(&path).unwrap()
}

#[test]
fn a_file_in_another_dialect_loads_the_same_weights() {
    for head in [Head::Baseline, Head::text_guided(8)] {
        let (mut model, weights, mut tensors) = model(head);
        model.dialect = Some(&TOY);
        let mut loaded = Weights::new(&model.tape, &Device::cpu(), false).unwrap();
        load_state(&model, &mut loaded, &checkpoint(&tensors)).unwrap();
        assert_eq!(loaded.sha256().unwrap(), weights.sha256().unwrap(), "its own names");

        for (name, tensor) in &mut tensors {
            let (prefix, bare) = name.split_at(name.find("backbone.").map_or(0, |_| 9));
            if bare == "conv1.weight" {
                *name = format!("{prefix}first.weight");
            } else if let Some(part) = bare.strip_prefix("fc.") {
                *name = format!("{prefix}last.{part}");
            }
            // A convolution of 1×1 as a linear layer, and a linear layer as a convolution.
            if name.ends_with("downsample.0.weight") {
                tensor.shape.truncate(2);
            } else if name.ends_with("last.weight") {
                tensor.shape.extend([1, 1]);
            }
        }
        let other = checkpoint(&tensors);
        let mut loaded = Weights::new(&model.tape, &Device::cpu(), false).unwrap();
        load_state(&model, &mut loaded, &other).unwrap();
        assert_eq!(loaded.sha256().unwrap(), weights.sha256().unwrap(), "the other names");

        // Not for a model that has no such dialect.
        model.dialect = None;
        let error = load_state(&model, &mut loaded, &other).unwrap_err().to_string();
        for part in ["missing: ", "conv1.weight", "unexpected: ", "first.weight", "another shape"] {
            assert!(error.contains(part), "{error}");
        }
    }
}

#[test]
fn two_names_for_one_tensor_and_other_shapes_are_reported_in_the_files_names() {
    let (mut model, mut weights, mut tensors) = model(Head::Baseline);
    model.dialect = Some(&TOY);
    let first = tensors.iter().find(|(name, _)| name == "conv1.weight").unwrap().1.clone();
    tensors.push(("first.weight".into(), first));
    let last = tensors.iter_mut().find(|(name, _)| name == "fc.weight").unwrap();
    *last =
        ("last.weight".into(), HostTensor::new([64, 4], TensorData::F32(vec![0.0; 256])).unwrap());
    let error = load_state(&model, &mut weights, &checkpoint(&tensors)).unwrap_err().to_string();
    assert!(error.contains("1 unexpected: "), "{error}");
    assert!(error.contains("last.weight (expected [4, 64], found [64, 4])"), "{error}");
}
