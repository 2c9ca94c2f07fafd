//! Single operations against PyTorch's f64 figures (tests/oracle/README.md), natively and in kernels.

use std::collections::BTreeMap;
use std::sync::Arc;

use flipside::device::{Buffer, Device};
use flipside::ops::activation::Activation;
use flipside::ops::adaptive_avg_pool::AdaptiveAvgPool;
use flipside::ops::arenas::DECAY_BLOCK;
use flipside::ops::avg_pool::AvgPool;
use flipside::ops::batch_norm::BatchNorm;
use flipside::ops::conv2d::Conv2d;
use flipside::ops::cross_entropy::CrossEntropy;
use flipside::ops::l2_normalize::L2Normalize;
use flipside::ops::layer_norm::LayerNorm;
use flipside::ops::linear::Linear;
use flipside::ops::max_pool::MaxPool;
use flipside::ops::sgd::{self, Sgd};
use flipside::ops::softmax::Softmax;
use flipside::ops::{Arenas, Op, Role, RunState};
use flipside::tape::{Execution, ParamId, PlanKind, Tape, Weights};
use flipside::tensor::{Map, Spec};
use serde_json::Value;

use crate::formula;

/// f32 rounds by 6e-8; these sums have up to 100 terms and gradients of normalisations a few steps
/// more, of which the largest |value| of a tensor is the scale.
const TOLERANCE: f64 = 2e-6;

/// Operations of the fixture that the crate doesn't have yet.
const TO_COME: [&str; 7] =
    ["relu6", "gelu", "sigmoid", "layer_norm", "multiply", "adamw", "clip_grad_norm"];

/// A case of the fixture.
struct Case<'a>(&'a Value);

impl Case<'_> {
    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap()
    }

    fn flag(&self, key: &str) -> bool {
        self.0["attributes"][key].as_bool().unwrap()
    }

    fn number(&self, key: &str) -> f64 {
        self.0["attributes"][key].as_f64().unwrap()
    }

    fn size(&self, key: &str) -> usize {
        self.0["attributes"][key].as_u64().unwrap() as usize
    }

    fn pair(&self, key: &str) -> [usize; 2] {
        formula::usizes(&self.0["attributes"][key]).try_into().unwrap()
    }

    /// Shape and values of an operand, if the case has it, in PyTorch's order.
    fn find(&self, key: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        let operands = self.0["operands"].as_array().unwrap();
        let operand = operands.iter().find(|operand| operand["key"] == key)?;
        let shape = formula::usizes(&operand["shape"]);
        let [centre, bound] = ["centre", "bound"].map(|key| operand[key].as_f64().unwrap());
        let name = operand["name"].as_str().unwrap();
        let values = formula::fill(name, shape.iter().product(), centre, bound);
        Some((shape, values))
    }

    fn operand(&self, key: &str) -> (Vec<usize>, Vec<f32>) {
        self.find(key).unwrap_or_else(|| panic!("no operand {key}"))
    }

    /// The operation, from attributes and the shapes of operands.
    fn op(&self) -> Option<Arc<dyn Op>> {
        let (x, _) = self.find("x")?;
        let weight = || self.operand("weight").0;
        let bias = self.find("bias").is_some();
        let window = || (self.size("kernel"), self.size("stride"), self.size("padding"));
        Some(match self.text("op") {
            "conv2d" => Arc::new(Conv2d {
                in_channels: x[1],
                out_channels: weight()[0],
                kernel: [weight()[2], weight()[3]],
                stride: self.pair("stride"),
                padding: self.pair("padding"),
                dilation: self.pair("dilation"),
                groups: self.size("groups"),
                bias,
                ..Conv2d::square(x[1], weight()[0], 1, 1, 0)
            }),
            "linear" => Arc::new(Linear::new(x[1], weight()[0], bias)),
            "batch_norm" => Arc::new(BatchNorm {
                channels: x[1],
                eps: self.number("eps") as f32,
                momentum: self.number("momentum") as f32,
            }),
            "max_pool2d" => {
                let (kernel, stride, padding) = window();
                Arc::new(MaxPool::square(kernel, stride, padding))
            }
            "avg_pool2d" => {
                let (kernel, stride, padding) = window();
                let count_include_pad = self.flag("count_include_pad");
                let pool = AvgPool::square(kernel, stride, padding);
                Arc::new(AvgPool { count_include_pad, ..pool })
            }
            "adaptive_avg_pool2d" => Arc::new(AdaptiveAvgPool { output: [self.size("output"); 2] }),
            "softmax" => Arc::new(Softmax),
            "layer_norm" => {
                let eps = self.number("eps") as f32;
                Arc::new(LayerNorm { eps, ..LayerNorm::new(x[1]) })
            }
            "l2_normalize" => Arc::new(L2Normalize),
            "cross_entropy" => Arc::new(CrossEntropy::new(self.number("label_smoothing") as f32)),
            other => {
                let activation = Activation::ALL.into_iter().find(|op| op.kind() == other);
                Arc::new(activation.unwrap_or_else(|| panic!("no operation is called {other}")))
            }
        })
    }

    /// Runs both passes; every tensor that they write, by its key in the fixture, in PyTorch's
    /// order. Gradients are called "gradient of" the operand.
    fn run(&self, op: Arc<dyn Op>, device: &Device) -> BTreeMap<String, Vec<f32>> {
        let (shape, x) = self.operand("x");
        let (images, map) = (shape[0], map_of(&shape));
        let is_loss = self.text("op") == "cross_entropy";
        let mut tape = Tape::new();
        let input = tape.input("x", Spec::f32(map));
        tape.want_gradient(input);
        let mut inputs = vec![input];
        if is_loss {
            let soft = self.flag("soft");
            let spec = if soft { Spec::f32(map) } else { Spec::u32(Map::vector(1)) };
            inputs.push(tape.input("targets", spec));
        }
        let node = tape.record_shared("op", op, &inputs, None).unwrap();
        let tape = Arc::new(tape);
        let mut weights = Weights::new(&tape, device, true).unwrap();
        weights.initialize(0).unwrap();
        for (index, param) in tape.params().iter().enumerate() {
            if param.spec.role != Role::Counter {
                weights.set(ParamId(index), &self.operand(param.spec.name).1).unwrap();
            }
        }
        let mut exec = Execution::new(&tape, device, PlanKind::Train, images, &[node]).unwrap();
        if self.0["attributes"]["training"] == true {
            exec.begin_training(RunState::default(), &vec![0; images]).unwrap();
        } else {
            exec.begin(images).unwrap();
        }
        exec.write(input, &channels_last(map, &x)).unwrap();
        if is_loss && self.flag("soft") {
            exec.write(inputs[1], &softmax(map.channels, &self.operand("target").1)).unwrap();
        } else if is_loss {
            let labels = formula::usizes(&self.0["attributes"]["labels"]);
            let labels: Vec<u32> = labels.into_iter().map(|label| label as u32).collect();
            exec.write(inputs[1], &labels).unwrap();
        }
        exec.forward(&weights).unwrap();
        let output = tape.node(node).spec.map;
        let y = exec.read(node).unwrap();
        let gradient = match self.find("grad") {
            Some((_, r)) => channels_last(output, &r),
            None => vec![1.0 / images as f32; images],
        };
        exec.backward(&mut weights, node, &gradient, |_| {}).unwrap();

        let mut found = BTreeMap::new();
        let y = if is_loss { vec![mean(&y)] } else { channels_first(output, &y) };
        found.insert("y".to_string(), y);
        let dx = channels_first(map, &exec.read_gradient(input).unwrap());
        found.insert("gradient of x".to_string(), dx);
        for (index, param) in tape.params().iter().enumerate() {
            let (id, name) = (ParamId(index), param.spec.name);
            if param.spec.role.is_trained() {
                found.insert(format!("gradient of {name}"), weights.gradient(id).unwrap());
            } else if param.spec.role == Role::Buffer {
                found.insert(name.to_string(), weights.get(id).unwrap());
            }
        }
        found
    }

    /// Three steps of the optimiser: "w1" to "w3".
    fn run_sgd(&self, device: &Device) -> BTreeMap<String, Vec<f32>> {
        let (_, weight) = self.operand("weight");
        let bytes = size_of_val(weight.as_slice());
        let [mut values, mut gradients, momentum] = [(); 3].map(|()| device.alloc(bytes).unwrap());
        values.write(0, bytemuck::cast_slice(&weight)).unwrap();
        let mut state =
            RunState { learning_rate: self.number("lr") as f32, training: 1, ..Default::default() };
        let mut state_buffer = device.alloc(size_of::<RunState>()).unwrap();
        let mut decays = device.alloc(4).unwrap();
        let decay = self.number("weight_decay") as f32;
        decays.write(0, bytemuck::bytes_of(&decay)).unwrap();
        let arenas = Arenas {
            values: values.address(),
            gradients: gradients.address(),
            moments: [momentum.address(), 0],
            decays: decays.address(),
            factor: 0,
            count: weight.len(),
        };
        assert!(arenas.count <= DECAY_BLOCK, "there is one decay");
        let mut found = BTreeMap::new();
        for step in 1..=3 {
            let gradient = self.operand(&format!("g{step}")).1;
            gradients.write(0, bytemuck::cast_slice(&gradient)).unwrap();
            state.step = step - 1;
            state_buffer.write(0, bytemuck::bytes_of(&state)).unwrap();
            let options =
                Sgd { momentum: self.number("momentum") as f32, nesterov: self.flag("nesterov") };
            // SAFETY: three buffers of this function, of `count` floats each, and one decay.
            unsafe {
                sgd::step(device, &arenas, &state, state_buffer.address(), &options).unwrap();
            }
            found.insert(format!("w{step}"), read(&values, weight.len()));
        }
        found
    }

    /// Whether `found` is what PyTorch has, every output and gradient of it.
    fn check(&self, found: &BTreeMap<String, Vec<f32>>, place: &str) {
        let outputs = self.0["outputs"].as_object().unwrap().iter();
        let outputs = outputs.map(|(key, value)| (key.clone(), &value["values"]));
        let gradients = self.0["gradients"].as_object().unwrap().iter();
        let gradients = gradients.map(|(key, value)| (format!("gradient of {key}"), value));
        for (key, values) in outputs.chain(gradients) {
            let what = format!("{} {key} on {place}", self.text("name"));
            let expected = formula::floats(values);
            let found = found.get(&key).unwrap_or_else(|| panic!("{what} is missing"));
            assert_eq!(found.len(), expected.len(), "{what}");
            let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
            for (at, (e, f)) in expected.iter().zip(found).enumerate() {
                let difference = (e - f64::from(*f)).abs();
                assert!(
                    difference <= TOLERANCE * largest,
                    "{what}: [{at}] is {f}, PyTorch has {e}; the largest is {largest}"
                );
            }
        }
    }
}

fn read(buffer: &Buffer, count: usize) -> Vec<f32> {
    let mut values = vec![0f32; count];
    buffer.read(0, bytemuck::cast_slice_mut(&mut values)).unwrap();
    values
}

fn mean(values: &[f32]) -> f32 {
    (values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64) as f32
}

/// The map of one image of an (N, C, H, W) or (N, C) tensor.
fn map_of(shape: &[usize]) -> Map {
    match *shape {
        [_, channels, height, width] => Map::new(height, width, channels),
        [_, channels] => Map::vector(channels),
        _ => panic!("no map has the shape {shape:?}"),
    }
}

fn channels_last(map: Map, values: &[f32]) -> Vec<f32> {
    transpose(map.elements(), map.channels, values)
}

fn channels_first(map: Map, values: &[f32]) -> Vec<f32> {
    transpose(map.elements(), map.pixels(), values)
}

/// Each image, a matrix of `rows` rows, transposed.
fn transpose(image: usize, rows: usize, values: &[f32]) -> Vec<f32> {
    let columns = image / rows;
    let of_image = |image: &[f32]| -> Vec<f32> {
        (0..image.len()).map(|at| image[at % rows * columns + at / rows]).collect()
    };
    values.chunks_exact(image).flat_map(of_image).collect()
}

/// Each row's softmax, in f64.
fn softmax(classes: usize, values: &[f32]) -> Vec<f32> {
    let of_row = |row: &[f32]| -> Vec<f32> {
        let exp: Vec<f64> = row.iter().map(|v| f64::from(*v).exp()).collect();
        let sum: f64 = exp.iter().sum();
        exp.into_iter().map(|e| (e / sum) as f32).collect()
    };
    values.chunks_exact(classes).flat_map(of_row).collect()
}

fn compare(device: &Device, place: &str) {
    let fixture = formula::fixture("ops.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() >= 25, "the fixture has only {} cases", cases.len());
    for case in cases.iter().map(Case).filter(|case| !TO_COME.contains(&case.text("op"))) {
        let found = match case.op() {
            Some(op) if !device.is_cpu() && !op.has_kernels() => continue,
            Some(op) => case.run(op, device),
            None => case.run_sgd(device),
        };
        case.check(&found, place);
    }
}

#[test]
fn operations_equal_pytorch_on_the_cpu() {
    compare(&Device::cpu(), "the CPU");
}

#[test]
fn kernels_equal_pytorch() {
    compare(&Device::emulated(), "the emulator");
}
