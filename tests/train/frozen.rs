//! Frozen parameters: what PyTorch makes of the others, and that they stay as they are.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use flipside::checkpoint::Checkpoint;
use flipside::data::transform::{EvalTransform, Filter, Transform};
use flipside::device::Device;
use flipside::models::ModelFile;
use flipside::nn::Head;
use flipside::ops::ParamSpec;
use flipside::progress::Silent;
use flipside::recipe::{Ema, OptimizerKind, Recipe, Schedule};
use flipside::tape::{Execution, Optimizer, OptimizerOptions, ParamId, PlanKind, Weights};
use flipside::train::{Job, Trainer};
use serde_json::Value;

use super::{StopAtStep, job, tiny};
use crate::devices::device;
use crate::formula::{self, TensorFigures};
use crate::pytorch_networks::{formula_images, formula_weights};

/// The oracle's network.
const SMALL: &str = r#"
family = "resnet"
[architecture]
block = "basic"
stages = [1, 1, 1, 1]
widths = [64, 128, 256, 512]
stem = "imagenet"
[input]
size = 32
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
[recipe]
epochs = 1
batch = 4
learning_rate = 0.1
schedule = { kind = "cosine" }
"#;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn recipe(optimizer: &Value, batch: usize) -> Recipe {
    let rate = number(&optimizer["lr"]);
    let recipe = Recipe {
        weight_decay: number(&optimizer["weight_decay"]) as f32,
        clip_grad_norm: Some(number(&optimizer["clip"]) as f32),
        ..Recipe::new(100, batch, rate, Schedule::Step { every: 100, gamma: 1.0 })
    };
    match optimizer["kind"].as_str().unwrap() {
        "sgd" => Recipe { momentum: number(&optimizer["momentum"]) as f32, ..recipe },
        _ => Recipe { optimizer: OptimizerKind::AdamW, eps: number(&optimizer["eps"]), ..recipe },
    }
}

/// Bits of every parameter and buffer, by name.
fn tensors(weights: &Weights) -> Vec<(String, Vec<u32>)> {
    let params = weights.tape().params().iter().enumerate();
    let bits = |id| weights.get(id).unwrap().iter().map(|value| value.to_bits()).collect();
    params.map(|(index, param)| (param.name.clone(), bits(ParamId(index)))).collect()
}

/// What tensors have moved by in five steps is PyTorch's to 1e-3 of its norm, which is about 1e-5 of the weights', and to
/// what rounding five times is; what PyTorch left as it was is as it was. Losses and the norm of the gradients that are
/// there are PyTorch's to 1e-4.
#[test]
fn five_steps_are_pytorch_s() {
    let fixture = formula::fixture("frozen.json");
    let size = |key: &str| fixture[key].as_u64().unwrap() as usize;
    let (batch, side, classes) = (size("batch"), size("side"), size("classes"));
    let freeze: Vec<String> = serde_json::from_value(fixture["freeze"].clone()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.toml");
    std::fs::write(&path, SMALL).unwrap();
    let file = ModelFile::open(path.to_str().unwrap()).unwrap().smooth_twin();
    for case in fixture["cases"].as_array().unwrap() {
        let mut job = job(tiny(folder.path()), Head::Baseline, 40, None);
        assert_eq!(job.classes(), classes);
        job.file = file.clone();
        let (mean, std) = (file.input.mean, file.input.std);
        let filter = Filter::Bilinear;
        let eval = EvalTransform { resize: Some(side), crop: side, filter, mean, std };
        job.train.transform = Transform::Eval(eval);
        job.validation = None;
        job.recipe = recipe(&case["optimiser"], batch);
        job.freeze = freeze.clone();
        let recipe = job.recipe.clone();
        let model = Trainer::new(job, &Device::cpu()).unwrap().model().clone();
        let mut weights = formula_weights(&model, &formula::ranges(&fixture), true);
        let before = tensors(&weights);
        let decay = |spec: &ParamSpec| recipe.decay_of(spec);
        let options = OptimizerOptions {
            clipping: recipe.clipping(),
            ..OptimizerOptions::new(recipe.rule(), &decay)
        };
        let mut optimizer = Optimizer::new(&weights, options).unwrap();
        let mut execution =
            Execution::new(&model.tape, &Device::cpu(), PlanKind::Train, batch, &[model.loss])
                .unwrap();
        let samples: Vec<u64> = (0..batch as u64).collect();
        let labels: Vec<u32> = (0..batch as u32).map(|i| (7 * i + 3) % classes as u32).collect();
        let (losses, norms) = (formula::floats(&case["losses"]), formula::floats(&case["norms"]));
        for (step, (loss, norm)) in losses.into_iter().zip(norms).enumerate() {
            let state = optimizer.rule().state(step as u32, recipe.learning_rate as f32);
            execution.begin_training(state, &samples).unwrap();
            execution.write(model.image, &formula_images(batch, side)).unwrap();
            execution.write(model.labels, &labels).unwrap();
            execution.forward_training(&mut weights).unwrap();
            let found = execution.read(model.loss).unwrap().iter().sum::<f32>() / batch as f32;
            assert!((f64::from(found) - loss).abs() <= 1e-4 * loss, "{found} and {loss}");
            let gradient = vec![1.0 / batch as f32; batch];
            execution.backward(&mut weights, model.loss, &gradient, |_| {}).unwrap();
            execution.update(&mut weights, &mut optimizer).unwrap();
            let found = optimizer.gradient_norm().unwrap().unwrap();
            assert!((found - norm).abs() <= 1e-4 * norm, "{found} and {norm}");
        }
        let after = tensors(&weights);
        let still: Vec<String> = serde_json::from_value(case["still"].clone()).unwrap();
        assert!(still.contains(&"layer3.0.bn1.running_mean".to_string()));
        for ((name, before), (_, after)) in before.iter().zip(&after) {
            if still.contains(name) {
                assert!(before == after, "{name} has moved");
                continue;
            }
            if name.ends_with("num_batches_tracked") {
                let is_still = still.contains(&name.replace("num_batches_tracked", "running_mean"));
                assert_eq!(f32::from_bits(after[0]), if is_still { 0.0 } else { 5.0 }, "{name}");
                continue;
            }
            let values = |bits: &[u32]| bits.iter().map(|b| f32::from_bits(*b)).collect::<Vec<_>>();
            let (before, after) = (values(before), values(after));
            let moved: Vec<f32> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
            let figures = TensorFigures::from_json(&case["moved"][name]).unwrap();
            let size = after.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            let bound = 1e-3 * figures.norm + 2f64.powi(-22) * size;
            figures.within(&moved, bound).unwrap_or_else(|wrong| panic!("{name} {wrong}"));
        }
    }
}

/// A run with a moving average and a decay of everything.
fn run(folder: &Path, freeze: &[&str]) -> Job {
    let mut job = job(tiny(folder), Head::text_guided(12), 56, Some(folder.join("run")));
    job.recipe.epochs = 2;
    job.recipe.ema = Some(Ema { decay: 0.9, steps: 1 });
    job.recipe.clip_grad_norm = Some(1.0);
    job.freeze = freeze.iter().map(ToString::to_string).collect();
    job
}

/// All of a frozen backbone, its running statistics and counters included, has its bytes in the snapshot and in the
/// average that is saved; resuming in the middle changes nothing; on kernels the same is frozen.
#[test]
fn what_is_frozen_keeps_its_bytes() {
    let whole = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(run(whole.path(), &["backbone.*"]), &Device::cpu()).unwrap();
    let before = tensors(trainer.weights());
    trainer.run(&Silent).unwrap();
    let after = tensors(trainer.weights());
    let mut moved = Vec::new();
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        if before != after {
            moved.push(name.as_str());
        }
    }
    assert_eq!(moved, ["head.weight", "logit_scale"]);
    let saved = Checkpoint::open(&whole.path().join("run/model.safetensors")).unwrap();
    for (name, before) in before.iter().filter(|(name, _)| name.starts_with("backbone.")) {
        if name.ends_with("num_batches_tracked") {
            continue;
        }
        let shape = saved.get(name).unwrap().shape.clone();
        let bits: Vec<u32> = saved.f32(name, &shape).unwrap().iter().map(|v| v.to_bits()).collect();
        assert!(&bits == before, "{name} in the model file");
    }

    let halved = tempfile::tempdir().unwrap();
    let again = || Trainer::new(run(halved.path(), &["backbone.*"]), &Device::cpu()).unwrap();
    let (mut trainer, stop) = (again(), AtomicBool::new(false));
    assert!(!trainer.run_until(&StopAtStep::new(5, &stop), &stop).unwrap());
    assert_eq!(trainer.position(), (1, 1));
    let mut trainer = again();
    trainer.resume().unwrap();
    trainer.run(&Silent).unwrap();
    for file in ["run/model.safetensors", "run/last.safetensors"] {
        let bytes = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
        assert!(bytes(halved.path()) == bytes(whole.path()), "{file} differs");
    }
    let other = run(halved.path(), &["backbone.*", "logit_scale"]);
    let said = Trainer::new(other, &Device::cpu()).unwrap().resume().unwrap_err().to_string();
    assert!(said.contains("freeze was [\"backbone.*\"] and is"), "{said}");

    let folder = tempfile::tempdir().unwrap();
    let mut emulated = run(folder.path(), &["backbone.*"]);
    emulated.recipe.epochs = 1;
    let mut trainer = Trainer::new(emulated, &device()).unwrap();
    trainer.run(&Silent).unwrap();
    for ((name, before), (_, after)) in before.iter().zip(&tensors(trainer.weights())) {
        assert_eq!(before != after, moved.contains(&name.as_str()), "{name} on kernels");
    }
}

/// A frozen front of a network has no gradients in memory.
#[test]
fn backward_stops_where_nothing_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |freeze: &[&str]| {
        let mut job = job(tiny(folder.path()), Head::Baseline, 64, None);
        job.recipe.batch = 64;
        job.freeze = freeze.iter().map(ToString::to_string).collect();
        let mut trainer = Trainer::new(job, &Device::cpu()).unwrap();
        let plan = trainer.execution_mut().plan();
        plan.gradients.iter().map(|slot| slot.bytes).sum::<usize>()
    };
    let (all, head) = (bytes(&[]), bytes(&["backbone.*"]));
    // Logits, log-probabilities' input and the losses of 64 images.
    assert!(head <= 3 * 64 * 10 * 4 && head * 100 < all, "{head} of {all}");
}

#[test]
fn patterns_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |head, freeze: &[&str]| {
        let mut job = job(tiny(folder.path()), head, 48, None);
        job.freeze = freeze.iter().map(ToString::to_string).collect();
        Trainer::new(job, &Device::cpu()).err().expect("refused").to_string()
    };
    let said = refused(Head::Baseline, &["layer1.*", "layer2.0.conv3.weight"]);
    assert!(said.contains("nothing to freeze is called 'layer2.0.conv3.weight'"), "{said}");
    assert!(said.contains("layer2.0.conv1.weight"), "{said}");
    let said = refused(Head::Baseline, &["*.running_mean"]);
    assert!(said.contains("nothing to freeze is called"), "{said}");
    for (head, freeze) in
        [(Head::Baseline, &["backbone.*", "fc.*"][..]), (Head::text_guided(4), &["*"])]
    {
        let said = refused(head, freeze);
        assert!(said.contains("nothing is left to train"), "{said}");
    }
}
