//! Optimisers: scalar loops to the bit, PyTorch's numbers, clipping, decays by parameter kind; on the
//! CPU and in kernels under three thread orders.

use std::sync::Arc;

use flipside::device::{Buffer, Device, EmulatorOptions};
use flipside::ops::adamw::{self, AdamW};
use flipside::ops::arenas::DECAY_BLOCK;
use flipside::ops::batch_norm::BatchNorm;
use flipside::ops::conv2d::Conv2d;
use flipside::ops::ema;
use flipside::ops::grad_norm::{self, GradNorm};
use flipside::ops::scale::LogitScale;
use flipside::ops::sgd::{self, Sgd};
use flipside::ops::{Arenas, ParamSpec, Role};
use flipside::recipe::{Recipe, Schedule};
use flipside::rng::{self, Draw};
use flipside::tape::{Execution, NodeId, Optimizer, ParamId, PlanKind, Rule, Tape, Weights};
use flipside::tensor::{Map, Spec};

use crate::devices::{devices, kernel_devices};
use crate::kernels::bits;

/// No multiple of a block, of four or of a CPU's task.
const COUNT: usize = (1 << 14) + 1027;

const RATES: [f32; 3] = [0.1, 0.05, 0.025];

const ADAMW: AdamW = AdamW { betas: [0.9, 0.95], eps: 1e-6 };

fn numbers(count: usize, label: &str) -> Vec<f32> {
    let mut draws = rng::stream(11, label);
    (0..count).map(|_| draws.between(-1.0, 1.0) as f32).collect()
}

fn upload(device: &Device, values: &[f32]) -> Buffer {
    let mut buffer = device.alloc(4 * values.len()).unwrap();
    buffer.write(0, bytemuck::cast_slice(values)).unwrap();
    buffer
}

fn download(buffer: &Buffer) -> Vec<f32> {
    let mut values = vec![0f32; buffer.bytes() / 4];
    buffer.read(0, bytemuck::cast_slice_mut(&mut values)).unwrap();
    values
}

/// Decays of 0, 0.01 and 0.05 in turn.
fn decay_table(count: usize) -> Vec<f32> {
    [0.0, 0.01, 0.05].into_iter().cycle().take(count.div_ceil(DECAY_BLOCK)).collect()
}

/// Arenas on a device, before the first step.
pub struct Bench {
    device: Device,
    rule: Rule,
    values: Buffer,
    moments: [Buffer; 2],
    decays: Buffer,
    pub max_norm: Option<f32>,
    steps: u32,
}

impl Bench {
    pub fn new(device: &Device, rule: Rule, values: &[f32], decays: &[f32]) -> Bench {
        // SGD's first step must not read its moment, and it has no second.
        let moment = match rule {
            Rule::Sgd(_) => f32::NAN,
            Rule::AdamW(_) => 0.0,
        };
        Bench {
            device: device.clone(),
            rule,
            values: upload(device, values),
            moments: [(); 2].map(|()| upload(device, &vec![moment; values.len()])),
            decays: upload(device, decays),
            max_norm: None,
            steps: 0,
        }
    }

    pub fn step(&mut self, rate: f32, gradients: &[f32]) {
        let (device, count) = (&self.device, gradients.len());
        let gradients = upload(device, gradients);
        let state = self.rule.state(self.steps, rate);
        let mut state_buffer = device.alloc(size_of_val(&state)).unwrap();
        state_buffer.write(0, bytemuck::bytes_of(&state)).unwrap();
        let workspace = device.alloc(grad_norm::workspace_bytes(count)).unwrap();
        let mut arenas = Arenas {
            values: self.values.address(),
            gradients: gradients.address(),
            moments: [self.moments[0].address(), self.moments[1].address()],
            decays: self.decays.address(),
            factor: 0,
            count,
        };
        // SAFETY: buffers of this bench and this function, of `count` floats each, a decay for each
        // block, and a workspace for `count` gradients.
        unsafe {
            if let Some(max_norm) = self.max_norm {
                let (from, to) = (gradients.address(), workspace.address());
                grad_norm::run(device, from, count, to, max_norm).unwrap();
                arenas.factor = to + grad_norm::FACTOR_OFFSET;
            }
            let address = state_buffer.address();
            match &self.rule {
                Rule::Sgd(o) => sgd::step(device, &arenas, &state, address, o).unwrap(),
                Rule::AdamW(o) => adamw::step(device, &arenas, &state, address, o).unwrap(),
            }
        }
        self.steps += 1;
    }

    /// Values and moments.
    pub fn read(&self) -> [Vec<f32>; 3] {
        [&self.values, &self.moments[0], &self.moments[1]].map(download)
    }

    /// After a step of each rate, with gradients of their own.
    fn run(device: &Device, rule: Rule, max_norm: Option<f32>) -> [Vec<f32>; 3] {
        let mut bench = Bench::new(device, rule, &numbers(COUNT, "p"), &decay_table(COUNT));
        bench.max_norm = max_norm;
        for (step, rate) in RATES.into_iter().enumerate() {
            bench.step(rate, &numbers(COUNT, &format!("g{step}")));
        }
        bench.read()
    }
}

/// Three steps, the learning rate changing between them, to the bit.
#[test]
pub fn sgd_equals_a_scalar_loop() {
    let decays = decay_table(COUNT);
    for (momentum, nesterov) in [(0.9f32, false), (0.9, true), (0.0, false)] {
        let mut p = numbers(COUNT, "p");
        let mut b = vec![0f32; COUNT];
        for (step, rate) in RATES.into_iter().enumerate() {
            let gradient = numbers(COUNT, &format!("g{step}"));
            for i in 0..COUNT {
                let d = decays[i / DECAY_BLOCK].mul_add(p[i], gradient[i]);
                b[i] = if step == 0 { d } else { momentum.mul_add(b[i], d) };
                let by = if nesterov { momentum.mul_add(b[i], d) } else { b[i] };
                p[i] = (-rate).mul_add(by, p[i]);
            }
        }
        for (place, device) in devices() {
            let [values, buffers, _] =
                Bench::run(&device, Rule::Sgd(Sgd { momentum, nesterov }), None);
            assert_eq!(bits(&values), bits(&p), "{place}");
            assert_eq!(bits(&buffers), bits(&b), "{place}");
        }
    }
}

/// Against the formula in f64: three steps at rates of up to 0.1 move a parameter by up to 0.2 or so,
/// of which each f32 step rounds by a few times 6e-8; moments are sums of numbers below 1.
#[test]
pub fn adamw_equals_its_formula() {
    let decays = decay_table(COUNT);
    let [beta1, beta2] = ADAMW.betas;
    let mut p: Vec<f64> = numbers(COUNT, "p").into_iter().map(f64::from).collect();
    let (mut m, mut v) = (vec![0f64; COUNT], vec![0f64; COUNT]);
    for (step, rate) in RATES.into_iter().enumerate() {
        let (gradient, rate) = (numbers(COUNT, &format!("g{step}")), f64::from(rate));
        let t = step as i32 + 1;
        for i in 0..COUNT {
            let g = f64::from(gradient[i]);
            m[i] = beta1 * m[i] + (1.0 - beta1) * g;
            v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
            let (first, second) = (m[i] / (1.0 - beta1.powi(t)), v[i] / (1.0 - beta2.powi(t)));
            p[i] -= rate * f64::from(decays[i / DECAY_BLOCK]) * p[i];
            p[i] -= rate * first / (second.sqrt() + ADAMW.eps);
        }
    }
    let expected = Bench::run(&Device::cpu(), Rule::AdamW(ADAMW), None);
    for (found, (formula, tolerance)) in expected.iter().zip([(p, 1e-6), (m, 3e-7), (v, 3e-7)]) {
        for (i, (found, formula)) in found.iter().zip(formula).enumerate() {
            let difference = (f64::from(*found) - formula).abs();
            assert!(difference <= tolerance, "[{i}] is {found}, {formula} by the formula");
        }
    }
    for (order, device) in kernel_devices() {
        let found = Bench::run(&device, Rule::AdamW(ADAMW), None);
        assert_eq!(
            found.map(|values| bits(&values)),
            expected.each_ref().map(|v| bits(v)),
            "{order}"
        );
    }
}

/// Two parameters with decays of their own, their gradients clipped together. PyTorch 2.15:
///
/// ```python
/// w = torch.tensor([0.5, -1.25, 2.0, 0.0625], requires_grad=True)
/// b = torch.tensor([0.75, -0.375], requires_grad=True)
/// groups = [{"params": [w], "weight_decay": 0.05}, {"params": [b], "weight_decay": 0.0}]
/// o = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95), eps=1e-6)
/// for t in range(1, 4):
///     w.grad = torch.tensor([1.0, -2.0, 0.5, 3.0]) / t
///     b.grad = torch.tensor([-4.0, 0.25]) * t
///     n = torch.nn.utils.clip_grad_norm_([w, b], 5.0); o.step()
///     print(n.item(), w.tolist(), b.tolist())
/// ```
#[test]
fn adamw_with_clipping_equals_pytorch() {
    const EXPECTED: [(f64, [f64; 6]); 3] = [
        (
            5.505678653717041,
            [
                0.4897499978542328,
                -1.2393749952316284,
                1.9889999628067017,
                0.05246875062584877,
                0.7599999904632568,
                -0.38499996066093445,
            ],
        ),
        (
            8.234834671020508,
            [
                0.4807013273239136,
                -1.2299513816833496,
                1.9792016744613647,
                0.04363871365785599,
                0.769936740398407,
                -0.3949366807937622,
            ],
        ),
        (
            12.089078903198242,
            [
                0.4727135896682739,
                -1.2215889692306519,
                1.9704645872116089,
                0.03586951270699501,
                0.7799017429351807,
                -0.4049016237258911,
            ],
        ),
    ];
    // The second parameter has a block of its own.
    let arena = |w: [f32; 4], b: [f32; 2]| {
        let mut values = vec![0f32; DECAY_BLOCK + 2];
        values[..4].copy_from_slice(&w);
        values[DECAY_BLOCK..].copy_from_slice(&b);
        values
    };
    for (place, device) in devices() {
        let values = arena([0.5, -1.25, 2.0, 0.0625], [0.75, -0.375]);
        let mut bench = Bench::new(&device, Rule::AdamW(ADAMW), &values, &[0.05, 0.0]);
        bench.max_norm = Some(5.0);
        for (step, (norm, expected)) in EXPECTED.into_iter().enumerate() {
            let t = step as f32 + 1.0;
            let w = [1.0, -2.0, 0.5, 3.0].map(|g| g / t);
            let gradients = arena(w, [-4.0, 0.25].map(|g| g * t));
            let result = norm_of(&device, &gradients, 5.0);
            assert!((result.norm - norm).abs() < 1e-6 * norm, "{place}: {result:?}, {norm}");
            bench.step(0.01, &gradients);
            let [values, ..] = bench.read();
            let found = values[..4].iter().chain(&values[DECAY_BLOCK..]);
            for (found, expected) in found.zip(expected) {
                // Both round to f32 in each step.
                let difference = (f64::from(*found) - expected).abs();
                assert!(difference < 2e-7, "{place}, step {t}: {found}, PyTorch has {expected}");
            }
        }
    }
}

/// The norm of these gradients, and the factor that clips it to `max_norm`.
pub fn norm_of(device: &Device, gradients: &[f32], max_norm: f32) -> GradNorm {
    let from = upload(device, gradients);
    let workspace = device.alloc(grad_norm::workspace_bytes(gradients.len())).unwrap();
    let (count, to) = (gradients.len(), workspace.address());
    // SAFETY: two buffers of this function, the workspace made for this count.
    unsafe { grad_norm::run(device, from.address(), count, to, max_norm).unwrap() };
    let mut result = GradNorm::default();
    workspace.read(0, bytemuck::bytes_of_mut(&mut result)).unwrap();
    result
}

/// Sums of one tile and of many, whole and broken.
#[test]
pub fn gradient_norms_have_the_bits_of_the_cpu() {
    for count in [0, 1, 31, 255, 257, 1 << 14, COUNT, 5 << 14] {
        let gradients = numbers(count, "gradients");
        let sum: f64 = gradients.iter().map(|g| f64::from(*g) * f64::from(*g)).sum();
        let expected = norm_of(&Device::cpu(), &gradients, 2.0);
        // Sums of up to 82,000 squares in another order, in f64.
        assert!((expected.norm - sum.sqrt()).abs() <= 1e-12 * sum.sqrt(), "{count}: {expected:?}");
        let factor = (2.0 / (expected.norm + 1e-6)).min(1.0) as f32;
        assert_eq!(expected.factor.to_bits(), factor.to_bits(), "{count}");
        for (order, device) in kernel_devices() {
            let found = norm_of(&device, &gradients, 2.0);
            assert_eq!(
                bytemuck::bytes_of(&found),
                bytemuck::bytes_of(&expected),
                "{count} {order}"
            );
        }
    }
}

/// The clipped step is the step of gradients that were multiplied by the factor beforehand.
#[test]
pub fn clipping_multiplies_gradients_as_they_are_read() {
    let rules = [Rule::Sgd(Sgd { momentum: 0.9, nesterov: true }), Rule::AdamW(ADAMW)];
    for rule in rules {
        let mut bench = Bench::new(&Device::cpu(), rule, &numbers(COUNT, "p"), &decay_table(COUNT));
        for (step, rate) in RATES.into_iter().enumerate() {
            let mut gradients = numbers(COUNT, &format!("g{step}"));
            let factor = norm_of(&Device::cpu(), &gradients, 2.0).factor;
            assert!(factor < 0.1, "{factor}");
            gradients.iter_mut().for_each(|g| *g *= factor);
            bench.step(rate, &gradients);
        }
        let expected = bench.read().map(|values| bits(&values));
        for (place, device) in devices() {
            let found = Bench::run(&device, rule, Some(2.0)).map(|values| bits(&values));
            assert!(found == expected, "{rule:?} on {place}");
        }
    }
}

/// A NaN or an infinity among the gradients: the norm says so, and the step changes nothing.
#[test]
pub fn a_step_without_a_finite_norm_changes_nothing() {
    for rule in [Rule::Sgd(Sgd { momentum: 0.9, nesterov: false }), Rule::AdamW(ADAMW)] {
        for (place, device) in devices() {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut gradients = numbers(COUNT, "g");
                gradients[COUNT - 5] = bad;
                let result = norm_of(&device, &gradients, 1.0);
                assert!(!result.norm.is_finite() && result.factor.is_nan(), "{result:?}");
                let mut bench =
                    Bench::new(&device, rule, &numbers(COUNT, "p"), &decay_table(COUNT));
                bench.max_norm = Some(1.0);
                let before = bench.read().map(|values| bits(&values));
                bench.step(0.1, &gradients);
                assert!(bench.read().map(|values| bits(&values)) == before, "{rule:?} on {place}");
            }
        }
    }
}

#[test]
fn averages_equal_a_scalar_loop() {
    let (share, kept) = (0.3f64 as f32, 0.7f64 as f32);
    let (averages, values) = (numbers(COUNT, "a"), numbers(COUNT, "p"));
    let expected: Vec<f32> =
        averages.iter().zip(&values).map(|(a, p)| share.mul_add(*p, kept * a)).collect();
    for (place, device) in devices() {
        let (to, from) = (upload(&device, &averages), upload(&device, &values));
        // SAFETY: two buffers of this function, of `COUNT` floats each.
        unsafe { ema::update(&device, to.address(), from.address(), COUNT, 0.3).unwrap() };
        assert_eq!(bits(&download(&to)), bits(&expected), "{place}");
    }
}

/// Floats move by their share, running statistics too; counters, which lie behind them, are copied.
#[test]
fn averaged_weights_have_the_newcomers_counters() {
    let tape = small_tape();
    let is_counter = |index: usize| tape.params()[index].spec.role == Role::Counter;
    let filled = |device: &Device, value: f32, count: u32| {
        let mut weights = Weights::new(&tape, device, false).unwrap();
        for index in 0..tape.params().len() {
            let (id, elements) = (ParamId(index), tape.params()[index].spec.elements());
            match is_counter(index) {
                true => weights.set_counter(id, count).unwrap(),
                false => weights.set(id, &vec![value; elements]).unwrap(),
            }
        }
        weights
    };
    for (place, device) in devices() {
        let (mut average, newcomers) = (filled(&device, 1.0, 7), filled(&device, 3.0, 9));
        for (share, expected) in [(0.25, 1.5), (0.5, 2.25), (1.0, 3.0)] {
            average.average(&newcomers, share).unwrap();
            for index in 0..tape.params().len() {
                let id = ParamId(index);
                if is_counter(index) {
                    assert_eq!(average.counter(id).unwrap(), 9, "{place}");
                } else {
                    let found = average.get(id).unwrap();
                    assert!(found.iter().all(|found| *found == expected), "{place}: {found:?}");
                }
            }
        }
    }
}

/// A convolution with a bias, a batch norm and a scale.
fn small_tape() -> Arc<Tape> {
    let mut tape = Tape::new();
    let x = tape.input("x", Spec::f32(Map::new(4, 4, 3)));
    let conv = Conv2d { bias: true, ..Conv2d::square(3, 21, 3, 1, 1) };
    let x = tape.record("conv", conv, &[x]).unwrap();
    let x =
        tape.record("norm", BatchNorm { channels: 21, eps: 1e-5, momentum: 0.1 }, &[x]).unwrap();
    tape.record("scaled", LogitScale, &[x]).unwrap();
    Arc::new(tape)
}

/// Without gradients a step of plain SGD at rate 1 takes off each parameter's decay, and no more.
#[test]
fn each_kind_of_parameter_has_its_own_decay() {
    let recipe = Recipe {
        weight_decay: 0.5,
        norm_weight_decay: Some(0.25),
        bias_weight_decay: Some(0.125),
        ..Recipe::new(1, 8, 1.0, Schedule::Cosine { minimum: 0.0 })
    };
    let tape = small_tape();
    for (place, device) in devices() {
        let mut weights = Weights::new(&tape, &device, true).unwrap();
        let output = NodeId(tape.nodes().len() - 1);
        let mut exec = Execution::new(&tape, &device, PlanKind::Train, 1, &[output]).unwrap();
        for index in 0..tape.params().len() {
            let (id, spec) = (ParamId(index), &tape.params()[index].spec);
            if spec.role != Role::Counter {
                weights.set(id, &vec![1.0; spec.elements()]).unwrap();
            }
        }
        let decay = |spec: &ParamSpec| recipe.decay_of(spec);
        let mut optimizer = Optimizer::new(&weights, recipe.rule(), decay, None).unwrap();
        exec.begin_training(optimizer.rule().state(0, 1.0), &[0]).unwrap();
        exec.update(&mut weights, &mut optimizer).unwrap();
        assert_eq!(optimizer.gradient_norm().unwrap(), None);
        let expected = [
            ("conv.weight", 0.5),
            ("conv.bias", 0.875),
            ("norm.weight", 0.75),
            ("norm.bias", 0.875),
            ("norm.running_mean", 1.0),
            ("norm.running_var", 1.0),
            ("scaled", 0.5),
        ];
        let floats = tape.params().iter().filter(|param| param.spec.role != Role::Counter);
        assert_eq!(floats.count(), expected.len());
        for (name, value) in expected {
            let id = tape.params().iter().position(|p| p.name.starts_with(name)).unwrap();
            let found = weights.get(ParamId(id)).unwrap();
            assert!(found.iter().all(|found| *found == value), "{name} on {place}: {found:?}");
        }
    }
}

/// An optimiser's memory fits the weights that it was made for, and those alone.
#[test]
fn an_optimizer_of_other_weights_is_refused() {
    let (device, tape) = (Device::cpu(), small_tape());
    let output = NodeId(tape.nodes().len() - 1);
    let exec = Execution::new(&tape, &device, PlanKind::Train, 1, &[output]).unwrap();
    let mut other = Tape::new();
    let x = other.input("x", Spec::f32(Map::vector(3)));
    other.record("scaled", LogitScale, &[x]).unwrap();
    let other = Weights::new(&Arc::new(other), &device, true).unwrap();
    let mut optimizer = Optimizer::new(&other, Rule::AdamW(ADAMW), |_| 0.0, None).unwrap();
    let mut weights = Weights::new(&tape, &device, true).unwrap();
    let error = exec.update(&mut weights, &mut optimizer).unwrap_err().to_string();
    assert!(error.contains("exp_avg: has 64 bytes"), "{error}");
    let mut untrained = Weights::new(&tape, &device, false).unwrap();
    let error = exec.update(&mut untrained, &mut optimizer).unwrap_err().to_string();
    assert!(error.contains("no gradients"), "{error}");
    let elsewhere = Device::emulated_with(EmulatorOptions::default());
    let mut elsewhere = Weights::new(&tape, &elsewhere, true).unwrap();
    for error in [exec.update(&mut elsewhere, &mut optimizer), elsewhere.average(&weights, 0.5)] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("emulated") && error.contains("cpu"), "{error}");
    }
}
