//! Every backbone, in both head forms, against PyTorch's figures (tests/oracle/README.md).

use std::collections::BTreeSet;

use flipside::device::Device;
use flipside::models::{self, Model, ModelFile};
use flipside::nn::Head;
use flipside::ops::adamw::AdamW;
use flipside::ops::sgd::Sgd;
use flipside::ops::{Init, ParamSpec, Role};
use flipside::tape::{Execution, Optimizer, OptimizerOptions, ParamId, PlanKind, Rule, Weights};
use serde_json::Value;

use crate::formula::{self, Range, TensorFigures};

const HEADS: [&str; 2] = ["baseline", "text-guided"];

/// Two tests a backbone, and the list of them all.
macro_rules! backbones {
    ($($name:ident)*) => {
        const BACKBONES: &[&str] = &[$(stringify!($name)),*];
        $(mod $name {
            #[test]
            fn logits_equal_pytorch() {
                super::check_both_heads(stringify!($name), super::check_logits);
            }

            #[test]
            fn trains_as_pytorch() {
                super::check_both_heads(stringify!($name), super::check_training);
            }
        })*
    };
}

backbones! {
    alexnet vgg16_bn vgg19_bn resnet18 resnet34 resnet50 resnet101 resnet152 mobilenet_v2 maxvit_t
    swin_v2_t swin_v2_s focalnet_tiny focalnet_tiny_lrf focalnet_small focalnet_small_lrf
}

fn check_both_heads(backbone: &str, check: fn(&Value)) {
    for head in HEADS {
        check(&formula::fixture(&format!("networks/{backbone}-{head}.json")));
    }
}

fn head(fixture: &Value) -> Head {
    match text(fixture, "head") {
        "baseline" => Head::Baseline,
        "text-guided" => Head::text_guided(512),
        other => panic!("no head is called {other}"),
    }
}

/// Formula weights for every parameter and buffer; the operations give the constants.
pub fn formula_weights(model: &Model, own: &[Range], trained: bool) -> Weights {
    let mut weights = Weights::new(&model.tape, &Device::cpu(), trained).unwrap();
    for (index, param) in model.tape.params().iter().enumerate() {
        let is_given = matches!(param.spec.init, Init::Given(_));
        if param.spec.role != Role::Counter && !is_given {
            let values = formula::parameter(&param.name, &param.spec.shape, own);
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

fn size(value: &Value, key: &str) -> usize {
    value[key].as_u64().unwrap_or_else(|| panic!("the fixture has no {key}")) as usize
}

fn rows<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("the fixture has no {key}"))
}

fn figures(value: &Value) -> TensorFigures {
    TensorFigures::from_json(value).unwrap_or_else(|| panic!("these are no figures: {value}"))
}

fn elements(entry: &Value) -> usize {
    formula::usizes(&entry["shape"]).iter().product()
}

/// |Δ| ≤ max(1e-4, 4·PyTorch's own f32–f64 error) of max |logit|: f32 differs from f64 by rounding
/// alone, and another order of sums may take a few times as much.
fn check_logits(fixture: &Value) {
    let file = ModelFile::open(text(fixture, "backbone")).unwrap();
    let (classes, own) = (size(fixture, "classes"), formula::ranges(fixture));
    // Parameters don't depend on the size of images: those of the first size serve the others.
    let mut made: Option<Weights> = None;
    for case in rows(fixture, "cases") {
        let side = size(case, "side");
        let what = format!("{} {} at {side}", file.name, text(fixture, "head"));
        let model = Model::new(&file, head(fixture), classes, side, 0.0).unwrap();
        assert_eq!(model.tape.parameter_count(), size(fixture, "parameter_count"), "{what}");
        let weights = &*made.get_or_insert_with(|| formula_weights(&model, &own, false));
        for (ours, theirs) in weights.tape().params().iter().zip(model.tape.params()) {
            assert!(ours.name == theirs.name && ours.spec == theirs.spec, "{what}: {}", ours.name);
        }
        let device = Device::cpu();
        let mut exec =
            Execution::new(&model.tape, &device, PlanKind::Infer, 2, &[model.logits]).unwrap();
        exec.begin(2).unwrap();
        exec.write(model.image, &formula_images(2, side)).unwrap();
        exec.forward(weights).unwrap();
        let logits = exec.read(model.logits).unwrap();
        let bound = number(case, "max_abs") * (4.0 * number(case, "f32_error")).max(1e-4);
        assert!(number(case, "images_apart") > 0.01, "images too alike to prove anything");
        for (image, expected) in rows(case, "images").iter().enumerate() {
            let found = &logits[image * classes..(image + 1) * classes];
            let expected = figures(expected);
            let worst = expected.compare(found).worst_element;
            assert!(
                worst <= bound,
                "{what}: image {image}: a logit is {worst} off, {bound} allowed"
            );
            let close = expected.within(found, 1e-4 * expected.norm);
            close.unwrap_or_else(|error| panic!("{what}: the logits of image {image}: {error}"));
            let top = (0..classes).max_by(|a, b| found[*a].total_cmp(&found[*b])).unwrap();
            assert_eq!(
                top,
                formula::usizes(&case["top1"])[image],
                "{what}: top-1 of image {image}"
            );
        }
    }
}

/// The fixture's optimiser, with its decays.
fn optimizer(training: &Value, weights: &Weights) -> Optimizer {
    let settings = &training["optimiser"];
    let (rule, decays): (Rule, fn(&ParamSpec) -> bool) = match text(settings, "kind") {
        "sgd" => {
            let nesterov = settings["nesterov"].as_bool().unwrap();
            (Rule::Sgd(Sgd { momentum: number(settings, "momentum") as f32, nesterov }), |_| true)
        }
        "adamw" => {
            let betas = [number(settings, "beta1"), number(settings, "beta2")];
            let rule = Rule::AdamW(AdamW { betas, eps: number(settings, "eps") });
            // Norms, biases, position tables and scales have none.
            (rule, |spec| spec.role == Role::Weight)
        }
        other => panic!("no optimiser is called {other}"),
    };
    for entry in rows(training, "parameters") {
        let id = weights.find(text(entry, "name")).unwrap();
        let spec = &weights.tape().params()[id.0].spec;
        assert_eq!(entry["decays"].as_bool(), Some(decays(spec)), "{}", text(entry, "name"));
    }
    let decay = number(settings, "weight_decay") as f32;
    let of = |spec: &ParamSpec| if decays(spec) { decay } else { 0.0 };
    Optimizer::new(weights, OptimizerOptions::new(rule, &of)).unwrap()
}

/// What is wrong, all of it, so that one run shows every tensor.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn check(&mut self, what: String, reference: &Value, data: &[f32], bound: f64) {
        if let Err(error) = figures(reference).within(data, bound) {
            self.0.push(format!("{what} {error}"));
        }
    }
}

/// Three steps of the smooth twin: losses; every gradient and the update of the first step; running
/// statistics after the third.
fn check_training(fixture: &Value) {
    let training = &fixture["training"];
    let file = ModelFile::open(text(fixture, "backbone")).unwrap().smooth_twin();
    let (batch, side) = (size(training, "batch"), size(training, "side"));
    let model = Model::new(&file, head(fixture), size(training, "classes"), side, 0.0).unwrap();
    assert_eq!(model.tape.parameter_count(), size(training, "parameter_count"));
    let own = formula::ranges(fixture);
    let mut weights = formula_weights(&model, &own, true);
    let device = Device::cpu();
    let mut exec =
        Execution::new(&model.tape, &device, PlanKind::Train, batch, &[model.loss]).unwrap();
    let mut optimizer = optimizer(training, &weights);
    let samples: Vec<u64> = (0..batch as u64).collect();
    let labels = formula::usizes(&training["labels"]);
    let labels: Vec<u32> = labels.into_iter().map(|label| label as u32).collect();
    let images = formula_images(batch, side);
    let losses = formula::floats(&training["losses"]);
    let mut wrong = Wrong::default();
    for (index, expected) in losses.iter().enumerate() {
        let learning_rate = number(&training["optimiser"], "lr") as f32;
        let state = optimizer.rule().state(index as u32, learning_rate);
        exec.begin_training(state, &samples).unwrap();
        exec.write(model.image, &images).unwrap();
        exec.write(model.labels, &labels).unwrap();
        exec.forward_training(&mut weights).unwrap();
        let loss = exec.read(model.loss).unwrap().iter().sum::<f32>() / batch as f32;
        let difference = (f64::from(loss) - expected).abs();
        if difference.is_nan() || difference > 1e-4 * losses[0] {
            wrong.0.push(format!("loss {loss} in step {}, PyTorch {expected}", index + 1));
        }
        let mut finals = 0;
        let gradient = vec![1.0 / batch as f32; batch];
        exec.backward(&mut weights, model.loss, &gradient, |_| finals += 1).unwrap();
        assert_eq!(finals, rows(training, "parameters").len(), "a gradient becomes final once");
        if index == 0 {
            check_gradients(training, &model, &weights, &mut wrong);
        }
        exec.update(&mut weights, &mut optimizer).unwrap();
        if index == 0 {
            check_update(training, &own, &weights, &mut wrong);
        }
    }
    for entry in rows(training, "buffers") {
        let (name, bound) = (text(entry, "name"), 1e-4 * figures(&entry["figures"]).norm);
        let found = weights.get(weights.find(name).unwrap()).unwrap();
        wrong.check(name.to_string(), &entry["figures"], &found, bound);
    }
    for (index, param) in model.tape.params().iter().enumerate() {
        if param.spec.role == Role::Counter {
            let count = weights.counter(ParamId(index)).unwrap();
            assert_eq!(count as usize, losses.len(), "{}", param.name);
        }
    }
    let wrong = wrong.0;
    let what = format!("{} {}", file.name, text(fixture, "head"));
    assert!(wrong.is_empty(), "{what}: {} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A gradient whose reference is below 1e-9 of the largest norm is zero but for rounding.
fn vanishes(training: &Value, entry: &Value) -> bool {
    figures(&entry["gradient"]).norm < 1e-9 * number(training, "largest_gradient_norm")
}

/// A relative L2 of 1e-3; a gradient that vanishes stays below 1e-5 of the largest norm.
fn check_gradients(training: &Value, model: &Model, weights: &Weights, wrong: &mut Wrong) {
    for entry in rows(training, "parameters") {
        let name = text(entry, "name");
        let id = weights.find(name).unwrap();
        let shape = &model.tape.params()[id.0].spec.shape;
        assert_eq!(&formula::usizes(&entry["shape"]), shape, "{name}");
        let bound = if vanishes(training, entry) {
            1e-5 * number(training, "largest_gradient_norm")
        } else {
            1e-3 * figures(&entry["gradient"]).norm
        };
        let gradient = weights.gradient(id).unwrap();
        wrong.check(format!("gradient of {name}"), &entry["gradient"], &gradient, bound);
    }
}

/// A relative L2 of 1e-3, and f32's rounding of the weight itself: 2^-23 of its norm. Where the
/// gradient vanishes, what the optimiser makes of its rounding comes on top.
fn check_update(training: &Value, own: &[Range], weights: &Weights, wrong: &mut Wrong) {
    let settings = &training["optimiser"];
    let gain = number(settings, "lr") / settings["eps"].as_f64().unwrap_or(1.0);
    let rounding = gain * 1e-5 * number(training, "largest_gradient_norm");
    for entry in rows(training, "parameters") {
        let name = text(entry, "name");
        let before = formula::parameter(name, &formula::usizes(&entry["shape"]), own);
        let mut delta = weights.get(weights.find(name).unwrap()).unwrap();
        delta.iter_mut().zip(before).for_each(|(after, before)| *after -= before);
        let bound = 1e-3 * figures(&entry["delta"]).norm + number(entry, "norm") * 2f64.powi(-23);
        let bound = bound + if vanishes(training, entry) { rounding } else { 0.0 };
        wrong.check(format!("step of {name}"), &entry["delta"], &delta, bound);
    }
}

/// No file is missing, none is left over, and each can be read to the end.
#[test]
fn every_backbone_has_its_fixtures() {
    let folder = crate::root().join("tests/fixtures/pytorch/networks");
    let found: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let of_backbone = |name: &&str| HEADS.map(|head| format!("{name}-{head}.json"));
    assert_eq!(found, BACKBONES.iter().flat_map(of_backbone).collect());
    for name in models::names().filter(|name| *name != "resnet_small") {
        assert!(BACKBONES.contains(&name), "{name} isn't held against PyTorch");
    }
    for file in found {
        let fixture = formula::fixture(&format!("networks/{file}"));
        let (stem, head) = (text(&fixture, "backbone"), text(&fixture, "head"));
        assert_eq!(file, format!("{stem}-{head}.json"));
        let training = &fixture["training"];
        let parameters = rows(training, "parameters");
        for entry in parameters {
            let gradient = figures(&entry["gradient"]);
            assert_eq!(gradient.elements.len(), elements(entry).min(8), "{file}");
            let projections = if elements(entry) > 1 << 22 { 4 } else { 16 };
            assert_eq!(gradient.projections.len(), projections, "{file}");
            assert_eq!(figures(&entry["delta"]).projections.len(), 4, "{file}");
        }
        let total: usize = parameters.iter().map(elements).sum();
        assert_eq!(total, size(training, "parameter_count"), "{file}");
        rows(training, "buffers").iter().for_each(|entry| drop(figures(&entry["figures"])));
    }
}
