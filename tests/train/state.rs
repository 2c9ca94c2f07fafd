//! Models in files.

use std::collections::BTreeMap;

use flipside::Result;
use flipside::checkpoint::{Checkpoint, HostTensor, TensorData, TensorView, write_safetensors};
use flipside::device::Device;
use flipside::models::{
    Model, ModelFile, detect_head, load_state, open_checkpoint, save_state, set_head_rows,
};
use flipside::nn::Head;
use flipside::ops::Role;
use flipside::tape::{ParamId, Weights};

use super::tiny;

const TEXT_GUIDED: Head = Head::text_guided(12);
const UNNORMALIZED: Head = Head::TextGuided { width: 12, normalized: false };

/// A tiny model of five classes with weights from `seed`; its counters count, too.
fn model(head: Head, seed: u64) -> (Model, Weights) {
    let folder = tempfile::tempdir().unwrap();
    let model = Model::new(&tiny(folder.path()), head, 5, 16, 0.0).unwrap();
    let mut weights = Weights::new(&model.tape, &Device::cpu(), false).unwrap();
    weights.initialize(seed).unwrap();
    for (index, param) in model.tape.params().iter().enumerate() {
        if param.spec.role == Role::Counter {
            weights.set_counter(ParamId(index), 3 + index as u32).unwrap();
        }
    }
    (model, weights)
}

fn values(weights: &Weights) -> Vec<Vec<u32>> {
    let params = weights.tape().params().iter().enumerate();
    params
        .map(|(index, param)| match param.spec.role {
            Role::Counter => vec![weights.counter(ParamId(index)).unwrap()],
            _ => {
                let values = weights.get(ParamId(index)).unwrap();
                values.into_iter().map(f32::to_bits).collect()
            }
        })
        .collect()
}

/// Writes a model's file after `change` has been at its tensors, and reads it.
fn tampered(head: Head, change: impl Fn(&mut Vec<(String, HostTensor)>)) -> Checkpoint {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let (model, weights) = model(head, 1);
    save_state(&path, &model, "tiny", &weights).unwrap();
    let file = Checkpoint::open(&path).unwrap();
    let mut tensors: Vec<(String, HostTensor)> =
        file.iter().map(|(name, tensor)| (name.to_string(), tensor)).collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, tensor)| (name.clone(), TensorView::from(tensor)));
    write_safetensors(&path, views, &BTreeMap::new()).unwrap();
    Checkpoint::open(&path).unwrap()
}

fn load(head: Head, checkpoint: &Checkpoint) -> Result<Weights> {
    let (model, mut weights) = model(head, 2);
    load_state(&model, &mut weights, checkpoint)?;
    Ok(weights)
}

#[test]
fn a_saved_model_comes_back_to_the_bit() {
    for head in [Head::Baseline, TEXT_GUIDED, UNNORMALIZED] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let (model, weights) = model(head, 1);
        save_state(&path, &model, "tiny", &weights).unwrap();
        let file = Checkpoint::open(&path).unwrap();
        assert_eq!(values(&load(head, &file).unwrap()), values(&weights));
        let metadata = file.metadata();
        assert_eq!(metadata["flipside.model"], "tiny");
        assert_eq!(metadata["flipside.head"], head.to_string());
        assert_eq!(metadata["flipside.classes"], "5");
        assert_eq!(detect_head(&file, &tiny(folder.path())).unwrap(), (head, 5));
    }
}

/// Both forms of the text-guided head have the same keys and shapes: only what the file says tells them apart.
#[test]
fn a_file_says_which_form_of_head_it_is_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let file = tiny(folder.path());
    let (own, weights) = model(UNNORMALIZED, 1);
    save_state(&path, &own, "tiny", &weights).unwrap();
    let plain = Checkpoint::open(&path).unwrap();
    let start = weights.get(weights.find("logit_scale").unwrap()).unwrap();
    assert_eq!(start, [0.0], "a scale of 1");
    let as_said = |says: Option<&str>| {
        let metadata = says.map(|says| ("flipside.head".to_string(), says.to_string()));
        let tensors: Vec<_> = plain.iter().collect();
        let views = tensors.iter().map(|(name, t)| (name.to_string(), TensorView::from(t)));
        write_safetensors(&path, views, &metadata.into_iter().collect()).unwrap();
        Checkpoint::open(&path).unwrap()
    };
    // Those of other programs are the published form.
    let bare = as_said(None);
    assert_eq!(detect_head(&bare, &file).unwrap(), (TEXT_GUIDED, 5));
    for head in [TEXT_GUIDED, UNNORMALIZED] {
        assert_eq!(values(&load(head, &bare).unwrap()), values(&weights));
    }
    for (head, other) in [(TEXT_GUIDED, UNNORMALIZED), (UNNORMALIZED, TEXT_GUIDED)] {
        let said = as_said(Some(&head.to_string()));
        assert_eq!(detect_head(&said, &file).unwrap(), (head, 5));
        load(head, &said).unwrap();
        let error = load(other, &said).err().unwrap().to_string();
        let expected = format!("its metadata says '{head}', but the model is {other}");
        assert!(error.contains("model.safetensors") && error.contains(&expected), "{error}");
    }
    for says in ["baseline", "text-guided 13 unnormalized", "text-guided 12 Unnormalized", ""] {
        let error = detect_head(&as_said(Some(says)), &file).unwrap_err().to_string();
        let expected =
            format!("its metadata says '{says}', but its last layer is that of text-guided 12");
        assert!(error.contains(&expected), "{error}");
    }
}

/// Names and shapes of `torchvision.models.ResNet` with one basic block a stage.
#[test]
fn a_saved_model_looks_like_a_state_dict() {
    let file = tampered(TEXT_GUIDED, |_| ());
    let shape = |key: &str| file.shape(key).unwrap().to_vec();
    assert_eq!(shape("backbone.conv1.weight"), [16, 3, 3, 3]);
    assert_eq!(shape("backbone.layer2.0.downsample.0.weight"), [32, 16, 1, 1]);
    assert_eq!(shape("backbone.fc.weight"), [12, 32]);
    assert_eq!(shape("backbone.fc.bias"), [12]);
    assert_eq!(shape("head.weight"), [5, 12]);
    assert_eq!(shape("logit_scale"), [0usize; 0]);
    let counter = file.get("backbone.bn1.num_batches_tracked").unwrap();
    assert_eq!(counter.shape, [0usize; 0]);
    assert!(matches!(counter.data, TensorData::I64(_)));
}

#[test]
fn all_keys_that_dont_fit_are_listed_at_once() {
    let file = tampered(Head::Baseline, |tensors| {
        tensors.retain(|(name, _)| name != "conv1.weight" && name != "bn1.running_var");
        tensors.push(("extra".into(), HostTensor::new([1], TensorData::F32(vec![1.0])).unwrap()));
        let bias = tensors.iter_mut().find(|(name, _)| name == "fc.bias").unwrap();
        bias.1 = HostTensor::new([7], TensorData::F32(vec![0.0; 7])).unwrap();
        let count = tensors.iter_mut().find(|(name, _)| name == "bn1.num_batches_tracked").unwrap();
        count.1 = HostTensor::new([], TensorData::I64(vec![-1])).unwrap();
    });
    let error = load(Head::Baseline, &file).err().unwrap().to_string();
    for part in [
        "model.safetensors",
        "2 missing: conv1.weight, bn1.running_var",
        "1 unexpected: extra",
        "fc.bias (expected [5], found [7])",
        "1 of another type: bn1.num_batches_tracked (expected a whole number",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}

/// PyTorch copies any number into a counter, cut to a whole one, and takes scalars of one dimension.
#[test]
fn counters_of_any_number_type_load() {
    for (data, count) in [
        (TensorData::I64(vec![7]), 7),
        (TensorData::I32(vec![i32::MAX]), i32::MAX as u32),
        (TensorData::I16(vec![7]), 7),
        (TensorData::I8(vec![7]), 7),
        (TensorData::U8(vec![255]), 255),
        (TensorData::F64(vec![4294967295.0]), u32::MAX),
        (TensorData::F32(vec![7.9]), 7),
        // 7 and 2.5 in half precision.
        (TensorData::F16(vec![0x4700]), 7),
        (TensorData::BF16(vec![0x4020]), 2),
    ] {
        for shape in [vec![], vec![1]] {
            let file = tampered(Head::Baseline, |tensors| {
                let counter = tensors.iter_mut().find(|(name, _)| name.ends_with("tracked"));
                counter.unwrap().1 = HostTensor::new(shape.clone(), data.clone()).unwrap();
            });
            let weights = load(Head::Baseline, &file).unwrap();
            let counter = weights.find("bn1.num_batches_tracked").unwrap();
            assert_eq!(weights.counter(counter).unwrap(), count, "{data:?} {shape:?}");
        }
    }
    for data in [
        TensorData::F32(vec![f32::NAN]),
        TensorData::F32(vec![-1.0]),
        TensorData::F64(vec![4294967296.0]),
        TensorData::Bool(vec![true]),
    ] {
        let file = tampered(Head::Baseline, |tensors| {
            let counter = tensors.iter_mut().find(|(name, _)| name.ends_with("tracked"));
            counter.unwrap().1 = HostTensor::new([], data.clone()).unwrap();
        });
        let error = load(Head::Baseline, &file).err().unwrap().to_string();
        assert!(error.contains("1 of another type: bn1.num_batches_tracked"), "{error}");
    }
}

#[test]
fn floats_of_any_width_load_and_whole_numbers_are_no_weights() {
    let with = |data: TensorData| {
        tampered(TEXT_GUIDED, |tensors| {
            let bias = tensors.iter_mut().find(|(name, _)| name == "backbone.fc.bias").unwrap();
            bias.1 = HostTensor::new([12], data.clone()).unwrap();
            // A scalar of one dimension.
            let scale = tensors.iter_mut().find(|(name, _)| name == "logit_scale").unwrap();
            scale.1.shape = vec![1];
        })
    };
    for data in [
        TensorData::F64(vec![2.5; 12]),
        TensorData::F16(vec![0x4100; 12]),
        TensorData::BF16(vec![0x4020; 12]),
    ] {
        let weights = load(TEXT_GUIDED, &with(data)).unwrap();
        let bias = weights.find("backbone.fc.bias").unwrap();
        assert_eq!(weights.get(bias).unwrap(), [2.5; 12]);
    }
    let data = [
        TensorData::I8(vec![1; 12]),
        TensorData::I64(vec![1; 12]),
        TensorData::Bool(vec![true; 12]),
    ];
    for data in data {
        let error = load(TEXT_GUIDED, &with(data.clone())).err().unwrap().to_string();
        let part = format!("backbone.fc.bias (expected floats, found {:?})", data.dtype());
        assert!(error.contains(&part), "{error}");
    }
}

/// At most five keys of a kind are named.
#[test]
fn another_models_file_is_called_what_it_looks_like() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    for head in [Head::Baseline, TEXT_GUIDED] {
        let file = ModelFile::open("resnet_small").unwrap();
        let other = Model::new(&file, head, 7, 32, 0.0).unwrap();
        let weights = Weights::new(&other.tape, &Device::cpu(), false).unwrap();
        save_state(&path, &other, "other", &weights).unwrap();
        let own = tiny(folder.path());
        let checkpoint = open_checkpoint(&path, &own, None).unwrap();
        let (mut model, mut weights) = (model(head, 2).0, model(head, 2).1);
        model.classes = 7;
        let error = load_state(&model, &mut weights, &checkpoint).unwrap_err().to_string();
        assert!(error.contains("it looks like resnet_small"), "{error}");
        assert!(error.contains(" more") && error.len() < 1500, "{} {error}", error.len());
        let vgg = ModelFile::open("vgg16_bn").unwrap();
        let checkpoint = open_checkpoint(&path, &vgg, None).unwrap();
        let (wrong_head, error) = match detect_head(&checkpoint, &vgg) {
            Ok((head, _)) => (head, String::new()),
            Err(error) => (Head::Baseline, error.to_string()),
        };
        let is_told = error.contains("it looks like resnet_small");
        assert!(is_told || wrong_head == head, "{error}");
    }
}

#[test]
fn files_from_before_batches_were_counted_load() {
    let file = tampered(Head::Baseline, |tensors| {
        tensors.retain(|(name, _)| !name.ends_with("num_batches_tracked"));
    });
    let weights = load(Head::Baseline, &file).unwrap();
    let counter = weights.find("bn1.num_batches_tracked").unwrap();
    assert_eq!(weights.counter(counter).unwrap(), 0);
}

#[test]
fn a_file_with_no_head_says_what_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = tampered(Head::Baseline, |tensors| tensors.retain(|(n, _)| !n.starts_with("fc")));
    let error = detect_head(&file, &tiny(folder.path())).unwrap_err().to_string();
    assert!(error.contains("fc.weight") && error.contains("head.weight"), "{error}");
}

#[test]
fn head_rows_are_set_or_refused_in_one_sentence() {
    let (_, mut weights) = model(TEXT_GUIDED, 1);
    let rows: Vec<f32> = (0..60).map(|i| i as f32).collect();
    set_head_rows(&mut weights, &rows, 12).unwrap();
    assert_eq!(weights.get(weights.find("head.weight").unwrap()).unwrap(), rows);
    let error = set_head_rows(&mut weights, &rows, 10).unwrap_err().to_string();
    assert!(error.contains("wants 5 classes of 12 dimensions, found 6 of 10"), "{error}");
    let (_, mut baseline) = model(Head::Baseline, 1);
    let error = set_head_rows(&mut baseline, &rows, 12).unwrap_err().to_string();
    assert!(error.contains("baseline"), "{error}");
}
