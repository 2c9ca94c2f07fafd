//! ResNet-18 and -50, in both head forms, against PyTorch's figures (tests/oracle/README.md).

use flipside::device::Device;
use flipside::models::{Model, ModelFile};
use flipside::nn::Head;
use flipside::ops::sgd::Sgd;
use flipside::ops::{Role, RunState};
use flipside::tape::{Execution, Optimizer, ParamId, PlanKind, Rule, Weights};
use serde_json::Value;

use crate::formula::{self, TensorFigures};

fn head(name: &str) -> Head {
    match name {
        "baseline" => Head::Baseline,
        "text-guided" => Head::TextGuided { width: 512 },
        other => panic!("no head is called {other}"),
    }
}

/// Formula weights for every parameter and buffer.
pub fn formula_weights(model: &Model, last_norm: &str, trained: bool) -> Weights {
    let mut weights = Weights::new(&model.tape, &Device::cpu(), trained).unwrap();
    for (index, param) in model.tape.params().iter().enumerate() {
        if param.spec.role != Role::Counter {
            let values = formula::parameter(&param.name, &param.spec.shape, last_norm);
            weights.set(ParamId(index), &values).unwrap();
        }
    }
    weights
}

/// Formula images, channels-last.
pub fn formula_images(count: usize, side: usize) -> Vec<f32> {
    (0..count)
        .flat_map(|number| {
            let planes = formula::image(number, side);
            let pixels = side * side;
            (0..pixels * 3).map(move |i| planes[i % 3 * pixels + i / 3]).collect::<Vec<f32>>()
        })
        .collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("the fixture has no {key}"))
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("the fixture has no {key}"))
}

/// |Δ| ≤ max(1e-4, 4·PyTorch's own f32–f64 error) of max |logit|: f32 differs from f64 by rounding
/// alone, and another order of sums may take a few times as much.
#[test]
fn logits_equal_pytorch() {
    for network in formula::fixture("logits.json")["networks"].as_array().unwrap() {
        let file = ModelFile::open(text(network, "backbone")).unwrap();
        for case in network["cases"].as_array().unwrap() {
            let side = number(case, "side") as usize;
            let classes = number(network, "classes") as usize;
            let model = Model::new(&file, head(text(network, "head")), classes, side, 0.0).unwrap();
            assert_eq!(model.tape.parameter_count(), number(network, "parameter_count") as usize);
            let weights = formula_weights(&model, text(network, "last_norm"), false);
            let device = Device::cpu();
            let mut exec =
                Execution::new(&model.tape, &device, PlanKind::Infer, 2, &[model.logits]).unwrap();
            exec.begin(2).unwrap();
            exec.write(model.image, &formula_images(2, side)).unwrap();
            exec.forward(&weights).unwrap();
            let logits = exec.read(model.logits).unwrap();
            let bound = number(case, "max_abs") * (4.0 * number(case, "f32_error")).max(1e-4);
            assert!(number(case, "images_apart") > 0.01, "images too alike to prove anything");
            for (image, expected) in case["images"].as_array().unwrap().iter().enumerate() {
                let found = &logits[image * classes..(image + 1) * classes];
                let listed = formula::floats(&expected["logits"]);
                for (e, expected) in listed.iter().enumerate() {
                    let found = f64::from(found[e * classes / listed.len()]);
                    assert!(
                        (found - expected).abs() <= bound,
                        "{} {} {side}: logit {found}, PyTorch {expected}, bound {bound}",
                        file.name,
                        text(network, "head")
                    );
                }
                let figures = TensorFigures::from_json(&expected["figures"]).unwrap();
                figures.within(found, 1e-4, 0.0).unwrap();
                let top = (0..classes).max_by(|a, b| found[*a].total_cmp(&found[*b])).unwrap();
                assert_eq!(top as f64, formula::floats(&case["top1"])[image]);
            }
        }
    }
}

/// Loss, every gradient, running statistics, and the step that SGD takes, in the smooth twin.
fn check_gradients(fixture: &str) {
    let fixture = formula::fixture(fixture);
    let file = ModelFile::open(text(&fixture, "backbone")).unwrap().smooth_twin();
    let (classes, side) = (number(&fixture, "classes") as usize, number(&fixture, "side") as usize);
    let batch = number(&fixture, "batch") as usize;
    let model = Model::new(&file, head(text(&fixture, "head")), classes, side, 0.0).unwrap();
    assert_eq!(model.tape.parameter_count(), number(&fixture, "parameter_count") as usize);
    let mut weights = formula_weights(&model, text(&fixture, "last_norm"), true);
    let device = Device::cpu();
    let mut exec =
        Execution::new(&model.tape, &device, PlanKind::Train, batch, &[model.loss]).unwrap();
    let options = &fixture["optimiser"];
    let state = RunState { learning_rate: number(options, "lr") as f32, ..RunState::default() };
    let samples: Vec<u64> = (0..batch as u64).collect();
    exec.begin_training(state, &samples).unwrap();
    exec.write(model.image, &formula_images(batch, side)).unwrap();
    let labels: Vec<u32> =
        formula::usizes(&fixture["labels"]).into_iter().map(|l| l as u32).collect();
    exec.write(model.labels, &labels).unwrap();
    exec.forward(&weights).unwrap();
    let loss: f32 = exec.read(model.loss).unwrap().iter().sum::<f32>() / batch as f32;
    let expected = number(&fixture, "loss");
    assert!((f64::from(loss) - expected).abs() < 1e-4 * expected, "loss {loss}, {expected}");

    let mut final_order = Vec::new();
    let gradient = vec![1.0 / batch as f32; batch];
    exec.backward(&mut weights, model.loss, &gradient, |id| final_order.push(id)).unwrap();
    let find = |weights: &Weights, entry: &Value| weights.find(text(entry, "name")).unwrap();
    let parameters = fixture["parameters"].as_array().unwrap();
    assert_eq!(final_order.len(), parameters.len(), "every gradient becomes final once");
    let largest = number(&fixture, "largest_gradient_norm");
    let mut before = Vec::new();
    for entry in parameters {
        let id = find(&weights, entry);
        assert_eq!(formula::usizes(&entry["shape"]), model.tape.params()[id.0].spec.shape);
        let figures = TensorFigures::from_json(&entry["gradient"]).unwrap();
        if let Err(what) = figures.within(&weights.gradient(id).unwrap(), 1e-3, largest) {
            panic!("gradient of {}: {what}", text(entry, "name"));
        }
        before.push(weights.get(id).unwrap());
    }

    let rule = Rule::Sgd(Sgd { momentum: number(options, "momentum") as f32, nesterov: false });
    let decay = number(options, "weight_decay") as f32;
    let mut optimizer = Optimizer::new(&weights, rule, |_| decay, None).unwrap();
    exec.update(&mut weights, &mut optimizer).unwrap();
    for (entry, before) in parameters.iter().zip(before) {
        let after = weights.get(find(&weights, entry)).unwrap();
        let delta: Vec<f32> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
        let figures = TensorFigures::from_json(&entry["delta"]).unwrap();
        if let Err(what) = figures.within(&delta, 1e-3, largest) {
            panic!("step of {}: {what}", text(entry, "name"));
        }
    }
    for entry in fixture["buffers"].as_array().unwrap() {
        let figures = TensorFigures::from_json(&entry["figures"]).unwrap();
        if let Err(what) = figures.within(&weights.get(find(&weights, entry)).unwrap(), 1e-4, 0.0) {
            panic!("{}: {what}", text(entry, "name"));
        }
    }
}

#[test]
fn resnet18_trains_as_pytorch() {
    check_gradients("gradients-resnet18-baseline.json");
    check_gradients("gradients-resnet18-text-guided.json");
}

#[test]
fn resnet50_trains_as_pytorch() {
    check_gradients("gradients-resnet50-baseline.json");
    check_gradients("gradients-resnet50-text-guided.json");
}
