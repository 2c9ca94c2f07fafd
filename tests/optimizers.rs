//! Optimisers: scalar loops to the bit, PyTorch's numbers, clipping, decays by parameter kind; on the
//! CPU and in kernels under three thread orders.

use std::sync::Arc;

use flipside::device::{Buffer, Device, EmulatorOptions};
use flipside::ops::adamw::{self, AdamW};
use flipside::ops::arenas::{BlockOptions, STEP_BLOCK};
use flipside::ops::batch_norm::BatchNorm;
use flipside::ops::conv2d::Conv2d;
use flipside::ops::ema;
use flipside::ops::grad_norm::{self, GradNorm};
use flipside::ops::rmsprop::{self, RmsProp};
use flipside::ops::scale::LogitScale;
use flipside::ops::sgd::{self, Sgd};
use flipside::ops::{Arenas, ParamSpec, Role};
use flipside::recipe::{Recipe, Schedule};
use flipside::rng::{self, Draw};
use flipside::tape::{
    Clipping, Execution, NodeId, Optimizer, OptimizerOptions, ParamId, PlanKind, Rule, Tape,
    Weights,
};
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

/// Decays of 0, 0.01 and 0.05 in turn, and rates as they are.
fn decay_table(count: usize) -> Vec<BlockOptions> {
    let decays = [0.0, 0.01, 0.05].map(|decay| BlockOptions { decay, rate_scale: 1.0 });
    decays.into_iter().cycle().take(count.div_ceil(STEP_BLOCK)).collect()
}

/// The same decays, and the rate times 1, 0.5, 0 and 0.3 in turn.
fn scaled_table(count: usize) -> Vec<BlockOptions> {
    let scales = [1.0, 0.5, 0.0, 0.3].into_iter().cycle();
    let table = decay_table(count).into_iter().zip(scales);
    table.map(|(own, rate_scale)| BlockOptions { rate_scale, ..own }).collect()
}

/// Every combination of RMSprop's options.
fn every_rmsprop() -> Vec<RmsProp> {
    let either = [false, true];
    let all = either.into_iter().flat_map(|a| either.map(|b| (a, b)));
    let all = all.flat_map(|(a, b)| either.map(|c| (a, b, c)));
    all.map(|(centered, tensorflow, has_momentum)| {
        let momentum = if has_momentum { 0.9 } else { 0.0 };
        RmsProp { alpha: 0.9, eps: 1e-3, momentum, centered, tensorflow }
    })
    .collect()
}

/// A rule of each kind, with all that it can have.
fn every_rule() -> [Rule; 3] {
    let rmsprop =
        RmsProp { alpha: 0.9, eps: 1e-3, momentum: 0.9, centered: true, tensorflow: false };
    let sgd = Sgd { momentum: 0.9, nesterov: true };
    [Rule::Sgd(sgd), Rule::AdamW(ADAMW), Rule::RmsProp(rmsprop)]
}

/// Arenas on a device, before the first step.
pub struct Bench {
    device: Device,
    rule: Rule,
    values: Buffer,
    moments: Vec<Buffer>,
    blocks: Buffer,
    pub clipping: Option<Clipping>,
    steps: u32,
}

impl Bench {
    pub fn new(device: &Device, rule: Rule, values: &[f32], blocks: &[BlockOptions]) -> Bench {
        let moment = |index: usize| {
            let start = match (rule, index) {
                // SGD's first step must not read its moment.
                (Rule::Sgd(_), _) => f32::NAN,
                (_, 0) => rule.start(),
                _ => 0.0,
            };
            upload(device, &vec![start; values.len()])
        };
        let mut table = device.alloc(size_of_val(blocks)).unwrap();
        table.write(0, bytemuck::cast_slice(blocks)).unwrap();
        Bench {
            device: device.clone(),
            rule,
            values: upload(device, values),
            moments: (0..rule.moments().len()).map(moment).collect(),
            blocks: table,
            clipping: None,
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
            blocks: self.blocks.address(),
            count,
            ..Arenas::default()
        };
        for (address, moment) in arenas.moments.iter_mut().zip(&self.moments) {
            *address = moment.address();
        }
        // SAFETY: buffers of this bench and this function, of `count` floats each, options for each
        // block, and a workspace for `count` gradients.
        unsafe {
            match self.clipping {
                Some(Clipping::Norm(max_norm)) => {
                    let (from, to) = (gradients.address(), workspace.address());
                    grad_norm::run(device, from, count, to, max_norm).unwrap();
                    arenas.factor = to + grad_norm::FACTOR_OFFSET;
                }
                Some(Clipping::Value(max_value)) => arenas.max_value = max_value,
                None => (),
            }
            let address = state_buffer.address();
            match &self.rule {
                Rule::Sgd(o) => sgd::step(device, &arenas, &state, address, o).unwrap(),
                Rule::AdamW(o) => adamw::step(device, &arenas, &state, address, o).unwrap(),
                Rule::RmsProp(o) => rmsprop::step(device, &arenas, &state, address, o).unwrap(),
            }
        }
        self.steps += 1;
    }

    /// Values and moments.
    pub fn read(&self) -> Vec<Vec<f32>> {
        std::iter::once(&self.values).chain(&self.moments).map(download).collect()
    }

    /// Their bits.
    fn bits(&self) -> Vec<Vec<u32>> {
        self.read().iter().map(|values| bits(values)).collect()
    }

    /// Takes a step of each rate, with gradients of their own.
    fn run(
        device: &Device,
        rule: Rule,
        blocks: &[BlockOptions],
        clipping: Option<Clipping>,
    ) -> Bench {
        let mut bench = Bench::new(device, rule, &numbers(COUNT, "p"), blocks);
        bench.clipping = clipping;
        for (step, rate) in RATES.into_iter().enumerate() {
            bench.step(rate, &numbers(COUNT, &format!("g{step}")));
        }
        bench
    }
}

/// Three steps, the learning rate changing between them, to the bit.
#[test]
pub fn sgd_equals_a_scalar_loop() {
    let blocks = scaled_table(COUNT);
    for (momentum, nesterov) in [(0.9f32, false), (0.9, true), (0.0, false)] {
        let mut p = numbers(COUNT, "p");
        let mut b = vec![0f32; COUNT];
        for (step, rate) in RATES.into_iter().enumerate() {
            let gradient = numbers(COUNT, &format!("g{step}"));
            for i in 0..COUNT {
                let own = blocks[i / STEP_BLOCK];
                let d = own.decay.mul_add(p[i], gradient[i]);
                b[i] = if step == 0 { d } else { momentum.mul_add(b[i], d) };
                let by = if nesterov { momentum.mul_add(b[i], d) } else { b[i] };
                p[i] = (-(rate * own.rate_scale)).mul_add(by, p[i]);
            }
        }
        for (place, device) in devices() {
            let rule = Rule::Sgd(Sgd { momentum, nesterov });
            let found = Bench::run(&device, rule, &blocks, None).bits();
            assert_eq!(found, [bits(&p), bits(&b)], "{place}");
        }
    }
}

/// Whether values and moments are those of a formula in f64, within so much times the larger of 1 and themselves, and
/// kernels have the bits of the CPU.
fn check_formula(rule: Rule, blocks: &[BlockOptions], formula: &[(Vec<f64>, f64)]) {
    let expected = Bench::run(&Device::cpu(), rule, blocks, None);
    assert_eq!(expected.read().len(), formula.len(), "{rule:?}");
    for (array, (found, (formula, tolerance))) in expected.read().iter().zip(formula).enumerate() {
        for (i, (found, formula)) in found.iter().zip(formula).enumerate() {
            let difference = (f64::from(*found) - formula).abs();
            assert!(
                difference <= tolerance * formula.abs().max(1.0),
                "{rule:?}, array {array}: [{i}] is {found}, {formula} by the formula"
            );
        }
    }
    for (order, device) in kernel_devices() {
        let found = Bench::run(&device, rule, blocks, None).bits();
        assert!(found == expected.bits(), "{rule:?}, {order}");
    }
}

/// Against the formula in f64: three steps at rates of up to 0.1 move a parameter by up to 0.2 or so,
/// of which each f32 step rounds by a few times 6e-8; moments are sums of numbers below 1.
#[test]
pub fn adamw_equals_its_formula() {
    let blocks = scaled_table(COUNT);
    let [beta1, beta2] = ADAMW.betas;
    let mut p: Vec<f64> = numbers(COUNT, "p").into_iter().map(f64::from).collect();
    let (mut m, mut v) = (vec![0f64; COUNT], vec![0f64; COUNT]);
    for (step, rate) in RATES.into_iter().enumerate() {
        let gradient = numbers(COUNT, &format!("g{step}"));
        let t = step as i32 + 1;
        for i in 0..COUNT {
            let own = blocks[i / STEP_BLOCK];
            let (g, rate) = (f64::from(gradient[i]), f64::from(rate) * f64::from(own.rate_scale));
            m[i] = beta1 * m[i] + (1.0 - beta1) * g;
            v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
            let (first, second) = (m[i] / (1.0 - beta1.powi(t)), v[i] / (1.0 - beta2.powi(t)));
            p[i] -= rate * f64::from(own.decay) * p[i];
            p[i] -= rate * first / (second.sqrt() + ADAMW.eps);
        }
    }
    check_formula(Rule::AdamW(ADAMW), &blocks, &[(p, 1e-6), (m, 3e-7), (v, 3e-7)]);
}

/// What RMSprop comes to in f64: p and the moments.
fn rmsprop_formula(options: RmsProp, blocks: &[BlockOptions]) -> Vec<Vec<f64>> {
    let RmsProp { alpha, eps, centered, tensorflow, .. } = options;
    let momentum = f64::from(options.momentum);
    let mut p: Vec<f64> = numbers(COUNT, "p").into_iter().map(f64::from).collect();
    let mut v = vec![if tensorflow { 1.0 } else { 0.0 }; COUNT];
    let (mut b, mut a) = (vec![0f64; COUNT], vec![0f64; COUNT]);
    for (step, rate) in RATES.into_iter().enumerate() {
        let gradient = numbers(COUNT, &format!("g{step}"));
        for i in 0..COUNT {
            let own = blocks[i / STEP_BLOCK];
            let rate = f64::from(rate) * f64::from(own.rate_scale);
            let g = f64::from(gradient[i]) + f64::from(own.decay) * p[i];
            v[i] = alpha * v[i] + (1.0 - alpha) * g * g;
            a[i] = alpha * a[i] + (1.0 - alpha) * g;
            let w = v[i] - if centered { a[i] * a[i] } else { 0.0 };
            let s = g / if tensorflow { (w + eps).sqrt() } else { w.sqrt() + eps };
            let (inside, outside) = if tensorflow { (rate, 1.0) } else { (1.0, rate) };
            b[i] = momentum * b[i] + inside * s;
            p[i] -= outside * b[i];
        }
    }
    let mut arrays = vec![p, v];
    arrays.extend((momentum > 0.0).then_some(b));
    arrays.extend(centered.then_some(a));
    arrays
}

/// Against the formula in f64, as for AdamW; a step is some ten times larger here, since the first divisors are roots of
/// a tenth of a square, and where g almost vanishes ε = 0.001 lets its rounding grow a thousandfold.
#[test]
pub fn rmsprop_equals_its_formula() {
    let blocks = scaled_table(COUNT);
    for options in every_rmsprop() {
        let arrays = rmsprop_formula(options, &blocks);
        assert_eq!(arrays.len(), 1 + options.moments().len());
        let formula: Vec<_> = arrays.into_iter().map(|array| (array, 5e-6)).collect();
        check_formula(Rule::RmsProp(options), &blocks, &formula);
    }
}

/// The deviation of gradients that never change is 0, whichever way their squares were rounded: a divisor of ε, no NaN.
#[test]
pub fn a_centered_step_of_constant_gradients_is_finite() {
    let options =
        RmsProp { alpha: 0.5, eps: 1e-2, momentum: 0.0, centered: true, tensorflow: false };
    for (place, device) in devices() {
        let values = vec![0.0; COUNT];
        let mut bench =
            Bench::new(&device, Rule::RmsProp(options), &values, &scaled_table(COUNT)[..]);
        let gradients = numbers(COUNT, "g");
        (0..40).for_each(|_| bench.step(1e-3, &gradients));
        assert!(bench.read().iter().flatten().all(|value| value.is_finite()), "{place}");
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
        let mut values = vec![0f32; STEP_BLOCK + 2];
        values[..4].copy_from_slice(&w);
        values[STEP_BLOCK..].copy_from_slice(&b);
        values
    };
    let blocks = [0.05, 0.0].map(|decay| BlockOptions { decay, ..BlockOptions::default() });
    for (place, device) in devices() {
        let values = arena([0.5, -1.25, 2.0, 0.0625], [0.75, -0.375]);
        let mut bench = Bench::new(&device, Rule::AdamW(ADAMW), &values, &blocks);
        bench.clipping = Some(Clipping::Norm(5.0));
        for (step, (norm, expected)) in EXPECTED.into_iter().enumerate() {
            let t = step as f32 + 1.0;
            let w = [1.0, -2.0, 0.5, 3.0].map(|g| g / t);
            let gradients = arena(w, [-4.0, 0.25].map(|g| g * t));
            let result = norm_of(&device, &gradients, 5.0);
            assert!((result.norm - norm).abs() < 1e-6 * norm, "{place}: {result:?}, {norm}");
            bench.step(0.01, &gradients);
            let values = bench.read().swap_remove(0);
            let found = values[..4].iter().chain(&values[STEP_BLOCK..]);
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

/// The clipped step is the step of gradients that were clipped beforehand.
#[test]
pub fn clipping_multiplies_gradients_as_they_are_read() {
    for rule in every_rule() {
        for clipping in [Clipping::Norm(2.0), Clipping::Value(0.3)] {
            let blocks = decay_table(COUNT);
            let mut bench = Bench::new(&Device::cpu(), rule, &numbers(COUNT, "p"), &blocks);
            for (step, rate) in RATES.into_iter().enumerate() {
                let mut gradients = numbers(COUNT, &format!("g{step}"));
                match clipping {
                    Clipping::Norm(max_norm) => {
                        let factor = norm_of(&Device::cpu(), &gradients, max_norm).factor;
                        assert!(factor < 0.1, "{factor}");
                        gradients.iter_mut().for_each(|g| *g *= factor);
                    }
                    Clipping::Value(max) => {
                        gradients.iter_mut().for_each(|g| *g = g.clamp(-max, max));
                    }
                }
                bench.step(rate, &gradients);
            }
            let expected = bench.bits();
            for (place, device) in devices() {
                let found = Bench::run(&device, rule, &blocks, Some(clipping)).bits();
                assert!(found == expected, "{rule:?}, {clipping:?} on {place}");
            }
        }
    }
}

/// Infinities are clipped like every other number; NaN stays NaN, as with PyTorch's `clip_grad_value_`.
#[test]
pub fn clipping_by_value_keeps_nan() {
    let rule = Rule::Sgd(Sgd { momentum: 0.0, nesterov: false });
    let gradients = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 0.25, -0.0, 3.0, -0.5];
    for (place, device) in devices() {
        let mut bench = Bench::new(&device, rule, &[1.0; 7], &[BlockOptions::default()]);
        bench.clipping = Some(Clipping::Value(0.5));
        bench.step(1.0, &gradients);
        let values = bench.read().swap_remove(0);
        assert!(values[2].is_nan(), "{place}: {values:?}");
        assert_eq!([values[0], values[1], values[3]], [0.5, 1.5, 0.75], "{place}");
        assert_eq!(values[4..], [1.0, 0.5, 1.5], "{place}");
    }
}

/// Scales that are powers of two change no more than where the rate stands.
#[test]
fn a_scale_is_a_rate_of_ones_own() {
    for rule in every_rule() {
        let plain = decay_table(COUNT);
        let halved: Vec<BlockOptions> =
            plain.iter().map(|own| BlockOptions { rate_scale: 0.5, ..*own }).collect();
        let mut expected = Bench::new(&Device::cpu(), rule, &numbers(COUNT, "p"), &plain);
        for (step, rate) in RATES.into_iter().enumerate() {
            expected.step(0.5 * rate, &numbers(COUNT, &format!("g{step}")));
        }
        for (place, device) in devices() {
            let found = Bench::run(&device, rule, &halved, None);
            assert!(found.bits() == expected.bits(), "{rule:?} on {place}");
        }
    }
}

/// A NaN or an infinity among the gradients: the norm says so, and the step changes nothing.
#[test]
pub fn a_step_without_a_finite_norm_changes_nothing() {
    for rule in every_rule() {
        for (place, device) in devices() {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut gradients = numbers(COUNT, "g");
                gradients[COUNT - 5] = bad;
                let result = norm_of(&device, &gradients, 1.0);
                assert!(!result.norm.is_finite() && result.factor.is_nan(), "{result:?}");
                let mut bench =
                    Bench::new(&device, rule, &numbers(COUNT, "p"), &decay_table(COUNT));
                bench.clipping = Some(Clipping::Norm(1.0));
                let before = bench.bits();
                bench.step(0.1, &gradients);
                assert!(bench.bits() == before, "{rule:?} on {place}");
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
    tape.record("scaled", LogitScale::default(), &[x]).unwrap();
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
        let mut optimizer =
            Optimizer::new(&weights, OptimizerOptions::new(recipe.rule(), &decay)).unwrap();
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

/// Scales are given by the tape's parameters, running statistics and counters among them.
#[test]
fn each_parameter_has_its_own_scale_of_the_rate() {
    let tape = small_tape();
    let rule = Rule::Sgd(Sgd { momentum: 0.0, nesterov: false });
    for (place, device) in devices() {
        let mut weights = Weights::new(&tape, &device, true).unwrap();
        let output = NodeId(tape.nodes().len() - 1);
        let exec = Execution::new(&tape, &device, PlanKind::Train, 1, &[output]);
        let mut exec = exec.unwrap();
        let trained = |id: ParamId| tape.params()[id.0].spec.role.is_trained();
        let ids = (0..tape.params().len()).map(ParamId).filter(|id| trained(*id));
        let ids: Vec<ParamId> = ids.collect();
        for id in &ids {
            weights.set(*id, &vec![1.0; tape.params()[id.0].spec.elements()]).unwrap();
        }
        let scales: Vec<f32> = (0..tape.params().len()).map(|id| id as f32 / 16.0).collect();
        let options = OptimizerOptions::new(rule, &|_| 0.5);
        let options = OptimizerOptions { rate_scales: Some(&scales), ..options };
        let mut optimizer = Optimizer::new(&weights, options).unwrap();
        exec.begin_training(optimizer.rule().state(0, 1.0), &[0]).unwrap();
        exec.update(&mut weights, &mut optimizer).unwrap();
        for id in ids {
            let (expected, found) = (1.0 - 0.5 * scales[id.0], weights.get(id).unwrap());
            assert!(found.iter().all(|found| *found == expected), "{place}: {found:?}");
        }
        let options = OptimizerOptions::new(rule, &|_| 0.5);
        let options = OptimizerOptions { rate_scales: Some(&scales[1..]), ..options };
        let error = Optimizer::new(&weights, options).err().unwrap().to_string();
        assert!(error.contains("scales of the learning rate are given"), "{error}");
    }
}

/// What isn't there from the options takes no memory; TensorFlow's squares begin with ones.
#[test]
fn moments_are_those_of_the_options() {
    let weights = Weights::new(&small_tape(), &Device::cpu(), true).unwrap();
    for options in every_rmsprop() {
        let rule = Rule::RmsProp(options);
        let optimizer = Optimizer::new(&weights, OptimizerOptions::new(rule, &|_| 0.0)).unwrap();
        let found: Vec<(&str, f32)> =
            optimizer.moments().map(|(name, buffer)| (name, download(buffer)[20])).collect();
        let mut expected = vec![("square_avg", if options.tensorflow { 1.0 } else { 0.0 })];
        expected.extend((options.momentum > 0.0).then_some(("momentum_buffer", 0.0)));
        expected.extend(options.centered.then_some(("grad_avg", 0.0)));
        assert_eq!(found, expected, "{options:?}");
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
    other.record("scaled", LogitScale::default(), &[x]).unwrap();
    let other = Weights::new(&Arc::new(other), &device, true).unwrap();
    let options = OptimizerOptions::new(Rule::AdamW(ADAMW), &|_| 0.0);
    let mut optimizer = Optimizer::new(&other, options).unwrap();
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
