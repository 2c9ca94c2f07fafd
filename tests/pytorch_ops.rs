//! Single operations against PyTorch's f64 figures (tests/oracle/README.md), natively and in kernels.

use std::collections::BTreeMap;
use std::sync::Arc;

use flipside::device::Device;
use flipside::ops::activation::Activation;
use flipside::ops::adamw::AdamW;
use flipside::ops::adaptive_avg_pool::AdaptiveAvgPool;
use flipside::ops::arenas::{BlockOptions, STEP_BLOCK};
use flipside::ops::avg_pool::AvgPool;
use flipside::ops::batch_norm::BatchNorm;
use flipside::ops::binary_cross_entropy::BinaryCrossEntropy;
use flipside::ops::conv2d::Conv2d;
use flipside::ops::cross_entropy::CrossEntropy;
use flipside::ops::l2_normalize::L2Normalize;
use flipside::ops::layer_norm::LayerNorm;
use flipside::ops::linear::Linear;
use flipside::ops::matmul::MatMul;
use flipside::ops::max_pool::MaxPool;
use flipside::ops::multiply::Multiply;
use flipside::ops::reduce::Reduce;
use flipside::ops::rmsprop::RmsProp;
use flipside::ops::sgd::Sgd;
use flipside::ops::softmax::Softmax;
use flipside::ops::unary::Unary;
use flipside::ops::{Op, Role, RunState};
use flipside::tape::{Clipping, Execution, ParamId, PlanKind, Rule, Tape, Weights};
use flipside::tensor::{Map, Spec};

use crate::devices::kernel_devices;
use crate::formula;
use crate::optimizers::{Bench, norm_of};
use crate::pytorch_case::{Case, channels_first, channels_last, map_of};

/// f32 rounds by 6e-8; these sums have up to 100 terms and gradients of normalisations a few steps
/// more, of which the largest |value| of a tensor is the scale.
const TOLERANCE: f64 = 2e-6;

impl Case<'_> {
    /// The operation, from attributes and the shapes of operands.
    fn op(&self) -> Arc<dyn Op> {
        let (x, _) = self.operand("x");
        let weight = || self.operand("weight").0;
        let bias = self.find("bias").is_some();
        let window = || (self.size("kernel"), self.size("stride"), self.size("padding"));
        match self.text("op") {
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
                Arc::new(LayerNorm { eps: self.number("eps") as f32, ..LayerNorm::new(x[1]) })
            }
            "multiply" => Arc::new(Multiply::new()),
            "matmul" if self.flag("transposed") => Arc::new(MatMul::transposed()),
            "matmul" => Arc::new(MatMul::new()),
            "l2_normalize" => Arc::new(L2Normalize),
            "cross_entropy" => Arc::new(CrossEntropy::new(self.number("label_smoothing") as f32)),
            "binary_cross_entropy" => Arc::new(BinaryCrossEntropy {
                label_smoothing: self.number("label_smoothing") as f32,
                sum: self.flag("sum"),
                target_threshold: self.0["attributes"]["target_threshold"]
                    .as_f64()
                    .map(|threshold| threshold as f32),
            }),
            "unary" => Arc::new(self.unary()),
            "reduce" => {
                let reduce = Reduce::ALL.into_iter().find(|op| op.kind() == self.text("name"));
                Arc::new(reduce.unwrap())
            }
            other => {
                let activation = Activation::ALL.into_iter().find(|op| op.kind() == other);
                Arc::new(activation.unwrap_or_else(|| panic!("no operation is called {other}")))
            }
        }
    }

    /// The function by the case's name, with attributes as its numbers.
    fn unary(&self) -> Unary {
        let number = |key| self.number(key) as f32;
        match self.text("name") {
            "leaky_relu" => Unary::LeakyRelu { slope: number("slope") },
            "clip" => Unary::Clip { low: number("low"), high: number("high") },
            "elu" => Unary::Elu { alpha: number("alpha") },
            "selu" => Unary::Selu { alpha: number("alpha"), gamma: number("gamma") },
            "hard_sigmoid_of_onnx" => {
                Unary::HardSigmoid { slope: number("slope"), shift: number("shift") }
            }
            "softplus" => Unary::Softplus,
            "softsign" => Unary::Softsign,
            "mish" => Unary::Mish,
            "erf" => Unary::Erf,
            "sqrt" => Unary::Sqrt,
            "exp" => Unary::Exp,
            "log" => Unary::Log,
            "reciprocal" => Unary::Reciprocal,
            "abs" => Unary::Abs,
            other => panic!("no function is called {other}"),
        }
    }

    /// Runs both passes; every tensor that they write, by its key in the fixture, in PyTorch's
    /// order. Gradients are called "gradient of" the operand.
    fn run(&self, op: Arc<dyn Op>, device: &Device) -> BTreeMap<String, Vec<f32>> {
        let (shape, x) = self.operand("x");
        let (images, map) = (shape[0], map_of(&shape));
        let is_loss = self.is_loss();
        let mut tape = Tape::new();
        let input = tape.input("x", Spec::f32(map));
        tape.want_gradient(input);
        let mut inputs = vec![input];
        if is_loss {
            let soft = self.flag("soft");
            let spec = if soft { Spec::f32(map) } else { Spec::u32(Map::vector(1)) };
            inputs.push(tape.input("targets", spec));
        }
        let factor = self.find("s").map(|(shape, s)| {
            let map = map_of(&shape);
            let input = tape.input("s", Spec::f32(map));
            tape.want_gradient(input);
            inputs.push(input);
            (input, map, s)
        });
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
        if let Some((input, map, s)) = &factor {
            exec.write(*input, &channels_last(*map, s)).unwrap();
        }
        if is_loss && self.flag("soft") {
            exec.write(inputs[1], &self.shares(map.channels)).unwrap();
        } else if is_loss {
            let labels = formula::usizes(&self.0["attributes"]["labels"]);
            let labels: Vec<u32> = labels.into_iter().map(|label| label as u32).collect();
            exec.write(inputs[1], &labels).unwrap();
        }
        exec.forward_training(&mut weights).unwrap();
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
        if let Some((input, map, _)) = factor {
            let ds = channels_first(map, &exec.read_gradient(input).unwrap());
            found.insert("gradient of s".to_string(), ds);
        }
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

    fn is_loss(&self) -> bool {
        self.text("op").ends_with("cross_entropy")
    }

    /// The soft targets of a loss: those of two labels, or a softmax.
    fn shares(&self, classes: usize) -> Vec<f32> {
        let attributes = &self.0["attributes"];
        if attributes["partners"].is_null() {
            return softmax(classes, &self.operand("target").1);
        }
        let [labels, partners] =
            ["labels", "partners"].map(|key| formula::usizes(&attributes[key]));
        let mut shares = vec![0f32; labels.len() * classes];
        let rows = shares.chunks_exact_mut(classes).zip(labels.into_iter().zip(partners));
        for (row, (label, partner)) in rows {
            row[label] += self.number("share") as f32;
            row[partner] += (1.0 - self.number("share")) as f32;
        }
        shares
    }

    /// The bound of a difference, of a tensor's largest |value|: optimisers and losses take few steps in f32, or none.
    fn tolerance(&self) -> f64 {
        let is_optimizer = ["sgd", "adamw", "rmsprop"].contains(&self.text("op"));
        if is_optimizer || self.is_loss() { 1e-6 } else { TOLERANCE }
    }

    /// The rule of an optimiser's case.
    fn rule(&self) -> Rule {
        match self.text("op") {
            "sgd" => {
                assert_eq!(self.number("dampening"), 0.0, "there is none here");
                let momentum = self.number("momentum") as f32;
                Rule::Sgd(Sgd { momentum, nesterov: self.flag("nesterov") })
            }
            "adamw" => {
                let betas = formula::floats(&self.0["attributes"]["betas"]).try_into().unwrap();
                Rule::AdamW(AdamW { betas, eps: self.number("eps") })
            }
            "rmsprop" => Rule::RmsProp(RmsProp {
                alpha: self.number("alpha"),
                eps: self.number("eps"),
                momentum: self.number("momentum") as f32,
                centered: self.flag("centered"),
                tensorflow: self.flag("tensorflow"),
            }),
            other => panic!("no optimiser is called {other}"),
        }
    }

    /// Three steps of the optimiser: "w1" to "w3".
    fn run_steps(&self, device: &Device) -> BTreeMap<String, Vec<f32>> {
        let (_, weight) = self.operand("weight");
        assert!(weight.len() <= STEP_BLOCK, "there is one block");
        let attributes = &self.0["attributes"];
        let decay = self.number("weight_decay") as f32;
        let rate_scale = attributes["rate_scale"].as_f64().unwrap_or(1.0) as f32;
        let blocks = [BlockOptions { decay, rate_scale }];
        let mut bench = Bench::new(device, self.rule(), &weight, &blocks);
        let rates = match attributes.get("rates") {
            Some(rates) => formula::floats(rates),
            None => vec![self.number("lr"); 3],
        };
        let step = |number: usize| {
            bench.step(rates[number - 1] as f32, &self.operand(&format!("g{number}")).1);
            (format!("w{number}"), bench.read().swap_remove(0))
        };
        (1..=3).map(step).collect()
    }

    /// "norm" of both gradients, and what a step reads of each.
    fn run_clipping(&self, device: &Device) -> BTreeMap<String, Vec<f32>> {
        let [(_, a), (_, b)] = ["a", "b"].map(|key| self.operand(key));
        assert!(a.len() <= STEP_BLOCK, "b has a block of its own");
        let mut gradients = a.clone();
        gradients.resize(STEP_BLOCK, 0.0);
        gradients.extend(&b);
        let max_norm = self.number("max_norm") as f32;
        let clipped = clipped(device, &gradients, Clipping::Norm(max_norm));
        BTreeMap::from([
            ("norm".to_string(), vec![norm_of(device, &gradients, max_norm).norm as f32]),
            ("a".to_string(), clipped[..a.len()].to_vec()),
            ("b".to_string(), clipped[STEP_BLOCK..].to_vec()),
        ])
    }

    /// What a step reads of the gradient.
    fn run_value_clipping(&self, device: &Device) -> BTreeMap<String, Vec<f32>> {
        let (_, a) = self.operand("a");
        let clipping = Clipping::Value(self.number("max_value") as f32);
        BTreeMap::from([("a".to_string(), clipped(device, &a, clipping))])
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
                    difference <= self.tolerance() * largest,
                    "{what}: [{at}] is {f}, PyTorch has {e}; the largest is {largest}"
                );
            }
        }
    }
}

/// What a step reads of gradients: plain SGD at rate 1 takes it off zeros.
fn clipped(device: &Device, gradients: &[f32], clipping: Clipping) -> Vec<f32> {
    let rule = Rule::Sgd(Sgd { momentum: 0.0, nesterov: false });
    let blocks = vec![BlockOptions::default(); gradients.len().div_ceil(STEP_BLOCK)];
    let mut bench = Bench::new(device, rule, &vec![0.0; gradients.len()], &blocks);
    bench.clipping = Some(clipping);
    bench.step(1.0, gradients);
    bench.read().swap_remove(0).into_iter().map(|value| -value).collect()
}

fn mean(values: &[f32]) -> f32 {
    (values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64) as f32
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
    for case in cases.iter().map(Case) {
        let found = match case.text("op") {
            "sgd" | "adamw" | "rmsprop" => case.run_steps(device),
            "clip_grad_norm" => case.run_clipping(device),
            "clip_grad_value" => case.run_value_clipping(device),
            _ => {
                let op = case.op();
                case.run(op, device)
            }
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
    let (place, device) = kernel_devices().remove(0);
    compare(&device, &place);
}
