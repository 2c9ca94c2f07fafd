//! Whole networks by their kernels against the CPU: every operation of the zoo's blocks, one
//! behind the other.

use flipside::device::Device;
use flipside::models::{Model, ModelFile};
use flipside::nn::Head;
use flipside::rng::{self, Draw};
use flipside::tape::{Execution, ParamId, PlanKind, Weights};

use crate::devices::device;

const SIDE: usize = 64;
const CLASSES: usize = 10;
const IMAGES: usize = 2;

/// Initial weights, with the constants among them (biases, norms, biases of positions) moved off, so
/// that nothing is multiplied by zero.
fn weights(model: &Model, device: &Device) -> Weights {
    let mut weights = Weights::new(&model.tape, device, true).unwrap();
    weights.initialize(3).unwrap();
    for (index, param) in model.tape.params().iter().enumerate() {
        if param.spec.role.is_trained() {
            let id = ParamId(index);
            let mut draws = rng::stream(4, &param.name);
            let mut values = weights.get(id).unwrap();
            values.iter_mut().for_each(|v| *v += draws.between(-0.02, 0.02) as f32);
            weights.set(id, &values).unwrap();
        }
    }
    weights
}

fn pixels() -> Vec<f32> {
    let mut draws = rng::stream(5, "pixels");
    (0..IMAGES * SIDE * SIDE * 3).map(|_| draws.between(-2.0, 2.0) as f32).collect()
}

/// The largest |a − b| as a share of the largest |a|; 0 for equal ones.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().chain(b).all(|v| v.is_finite()));
    let largest = a.iter().fold(0f32, |m, v| m.max(v.abs()));
    let apart = a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    if apart == 0.0 { 0.0 } else { apart / largest }
}

/// Logits, losses and every gradient, in eval mode, where no branch is dropped: names and values.
fn run(model: &Model, device: &Device) -> Vec<(String, Vec<f32>)> {
    let mut weights = weights(model, device);
    let outputs = [model.logits, model.loss];
    let mut exec = Execution::new(&model.tape, device, PlanKind::Train, IMAGES, &outputs).unwrap();
    exec.begin(IMAGES).unwrap();
    exec.write(model.image, &pixels()).unwrap();
    exec.write(model.labels, &[2u32, 9]).unwrap();
    exec.forward(&weights).unwrap();
    let mut tensors = vec![
        ("the logits".to_string(), exec.read(model.logits).unwrap()),
        ("the losses".to_string(), exec.read(model.loss).unwrap()),
    ];
    exec.backward(&mut weights, model.loss, &[1.0 / IMAGES as f32; IMAGES], |_| {}).unwrap();
    for (index, param) in model.tape.params().iter().enumerate() {
        if param.spec.role.is_trained() {
            tensors.push((param.name.clone(), weights.gradient(ParamId(index)).unwrap()));
        }
    }
    tensors
}

/// |Δ| ≤ 1e-5 of the largest logit, and of the largest of each gradient 5e-5: exponentials of attention
/// differ by an ulp or two between the devices, and gradients of `logit_scale` and of networks of
/// positions are sums over all parts of a map that mostly cancel.
fn check(backbone: &str) {
    let file = ModelFile::open(backbone).unwrap();
    let head = Head::text_guided(64);
    let model = Model::new(&file, head, CLASSES, SIDE, 0.1).unwrap();
    let expected = run(&model, &Device::cpu());
    let found = run(&model, &device());
    for ((name, expected), (_, found)) in expected.iter().zip(&found) {
        let bound = if name == "the logits" { 1e-5 } else { 5e-5 };
        let distance = distance(expected, found);
        assert!(distance <= bound, "{backbone}: {name} is {distance} of its largest off");
    }
    let silent = expected.iter().filter(|(_, values)| values.iter().all(|v| *v == 0.0)).count();
    assert_eq!(silent, 0, "{backbone}: gradients of zeros prove nothing");
}

#[test]
fn swin_v2_is_the_cpu_s() {
    check("swin_v2_t");
}

#[test]
fn focalnet_is_the_cpu_s() {
    check("focalnet_tiny");
}

#[test]
fn mobilenet_is_the_cpu_s() {
    check("mobilenet_v2");
}

#[test]
fn resnet_is_the_cpu_s() {
    check("resnet18");
}
