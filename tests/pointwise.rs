//! Pointwise operations and the loss at their edges, on the CPU and in kernels.

use std::f32::consts::{FRAC_2_SQRT_PI, LN_2};
use std::sync::Arc;

use flipside::device::Device;
use flipside::ops::activation::Activation;
use flipside::ops::add::Add;
use flipside::ops::binary_cross_entropy::BinaryCrossEntropy;
use flipside::ops::cross_entropy::{self, CrossEntropy};
use flipside::ops::dropout::Dropout;
use flipside::ops::l2_normalize::L2Normalize;
use flipside::ops::unary::Unary;
use flipside::ops::{Op, RunState};
use flipside::rng::{self, Draw};
use flipside::tape::{Execution, NodeId, PlanKind, Tape, Weights};
use flipside::tensor::{Map, Spec};
use flipside::{Error, Result};

use crate::devices::{device, devices, kernel_devices};
use crate::kernels::bits;
use crate::mutants;

/// A tape of one operation over `inputs`, each listed as often as it is used, with a capacity.
struct One {
    exec: Execution,
    weights: Weights,
    inputs: Vec<NodeId>,
    node: NodeId,
}

impl One {
    fn new(op: impl Op + 'static, specs: &[Spec], uses: &[usize], device: &Device) -> One {
        let mut tape = Tape::new();
        let inputs: Vec<NodeId> = specs
            .iter()
            .enumerate()
            .map(|(index, spec)| tape.input(&format!("input{index}"), *spec))
            .collect();
        tape.want_gradient(inputs[0]);
        let used: Vec<NodeId> = uses.iter().map(|index| inputs[*index]).collect();
        let node = tape.record("features.1", op, &used).unwrap();
        let tape = Arc::new(tape);
        let weights = Weights::new(&tape, device, true).unwrap();
        let exec = Execution::new(&tape, device, PlanKind::Train, 6, &[node]).unwrap();
        One { exec, weights, inputs, node }
    }

    /// Forward in eval mode.
    fn eval(&mut self, images: usize, words: &[&[u32]]) -> Result<Vec<f32>> {
        self.exec.begin(images)?;
        for (input, words) in self.inputs.iter().zip(words) {
            self.exec.write(*input, words)?;
        }
        self.exec.forward(&self.weights)?;
        self.exec.read(self.node)
    }

    /// Forward and backward of a one-input operation in training mode.
    fn train(&mut self, state: RunState, samples: &[u64], x: &[f32], dy: &[f32]) -> [Vec<f32>; 2] {
        self.exec.begin_training(state, samples).unwrap();
        self.go(x, dy)
    }

    /// Output and gradient of input 0, whose value is `x`, of a batch that has begun.
    fn go(&mut self, x: &[f32], dy: &[f32]) -> [Vec<f32>; 2] {
        self.exec.write(self.inputs[0], x).unwrap();
        self.exec.forward_training(&mut self.weights).unwrap();
        let y = self.exec.read(self.node).unwrap();
        self.exec.backward(&mut self.weights, self.node, dy, |_| {}).unwrap();
        [y, self.exec.read_gradient(self.inputs[0]).unwrap()]
    }
}

fn words(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn numbers(count: usize, label: &str) -> Vec<f32> {
    let mut draws = rng::stream(11, label);
    (0..count).map(|_| draws.between(-1.0, 1.0) as f32).collect()
}

#[test]
fn nan_passes_through_relu_silu_and_dropout() {
    let x = words(&[f32::NAN, -1.0, f32::INFINITY, 0.0, 2.0]);
    let spec = Spec::f32(Map::vector(5));
    for (_, device) in devices() {
        let y = One::new(Activation::Relu, &[spec], &[0], &device).eval(1, &[&x]).unwrap();
        assert_eq!(bits(&y), bits(&[f32::NAN, 0.0, f32::INFINITY, 0.0, 2.0]));
        let y = One::new(Activation::Silu, &[spec], &[0], &device).eval(1, &[&x]).unwrap();
        assert!(y[0].is_nan() && y[1] < 0.0 && y[2] == f32::INFINITY && y[3] == 0.0, "{y:?}");
        let mut one = One::new(Dropout { p: 0.5 }, &[Spec::f32(Map::vector(64))], &[0], &device);
        let [y, dx] = one.train(RunState::default(), &[1], &[f32::NAN; 64], &[f32::NAN; 64]);
        assert!(y.iter().chain(&dx).all(|v| v.is_nan()), "{y:?} {dx:?}");
    }
}

/// As PyTorch's functions on a GPU: −∞ times 0 is NaN, and only that.
#[test]
fn activations_of_nonfinite_numbers() {
    use Activation::*;
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let x = [nan, -inf, -1e38, -0.0, inf];
    let spec = Spec::f32(Map::vector(5));
    for (_, device) in devices() {
        for (activation, expected) in [
            (Relu, [nan, 0.0, 0.0, -0.0, inf]),
            (Relu6, [nan, 0.0, 0.0, -0.0, 6.0]),
            (Silu, [nan, nan, -0.0, -0.0, inf]),
            (Gelu, [nan, nan, -0.0, -0.0, inf]),
            (GeluTanh, [nan, nan, -0.0, -0.0, inf]),
            (QuickGelu, [nan, nan, -0.0, -0.0, inf]),
            (Sigmoid, [nan, 0.0, 0.0, 0.5, 1.0]),
            (HardSigmoid, [nan, 0.0, 0.0, 0.5, 1.0]),
            (HardSwish, [nan, nan, -0.0, -0.0, inf]),
        ] {
            let y = One::new(activation, &[spec], &[0], &device).eval(1, &[&words(&x)]).unwrap();
            assert_eq!(bits(&y), bits(&expected), "{activation:?}: {y:?}");
        }
    }
}

/// Values and derivatives at the edges, as PyTorch's functions on a CPU have them (those of Softsign at
/// infinity are NaN there, a difference of two terms; here they are their limit, 0).
#[test]
fn functions_of_one_number_at_the_edges() {
    use Unary::*;
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let x = [nan, -inf, inf, 0.0, -0.0];
    let slope = 0.125;
    for (_, device) in devices() {
        for (unary, values, derivatives) in [
            (LeakyRelu { slope }, [nan, -inf, inf, 0.0, -0.0], [slope, slope, 1.0, slope, slope]),
            (Clip { low: -1.0, high: 0.0 }, [nan, -1.0, 0.0, 0.0, -0.0], [0.0, 0.0, 0.0, 1.0, 1.0]),
            (Elu { alpha: 1.5 }, [nan, -1.5, inf, 0.0, -0.0], [1.0, 0.0, 1.0, 1.5, 1.5]),
            (
                Selu { alpha: 1.5, gamma: 2.0 },
                [nan, -3.0, inf, 0.0, -0.0],
                [2.0, 0.0, 2.0, 3.0, 3.0],
            ),
            (
                HardSigmoid { slope, shift: 0.5 },
                [nan, 0.0, 1.0, 0.5, 0.5],
                [0.0, 0.0, 0.0, slope, slope],
            ),
            (HardSigmoid { slope, shift: 0.0 }, [nan, 0.0, 1.0, 0.0, 0.0], [0.0; 5]),
            (Softplus, [nan, 0.0, inf, LN_2, LN_2], [nan, 0.0, 1.0, 0.5, 0.5]),
            (Softsign, [nan, nan, nan, 0.0, -0.0], [nan, 0.0, 0.0, 1.0, 1.0]),
            (Mish, [nan, nan, inf, 0.0, -0.0], [nan, nan, nan, 0.6, 0.6]),
            (Erf, [nan, -1.0, 1.0, 0.0, -0.0], [nan, 0.0, 0.0, FRAC_2_SQRT_PI, FRAC_2_SQRT_PI]),
            (Sqrt, [nan, nan, inf, 0.0, -0.0], [nan, nan, 0.0, inf, -inf]),
            (Exp, [nan, 0.0, inf, 1.0, 1.0], [nan, 0.0, inf, 1.0, 1.0]),
            (Log, [nan, nan, inf, -inf, -inf], [nan, -0.0, 0.0, inf, -inf]),
            (Reciprocal, [nan, -0.0, 0.0, inf, -inf], [nan, -0.0, -0.0, -inf, -inf]),
            (Abs, [nan, inf, inf, 0.0, 0.0], [0.0, -1.0, 1.0, 0.0, 0.0]),
        ] {
            let mut one = One::new(unary, &[Spec::f32(Map::vector(5))], &[0], &device);
            let [y, dx] = one.train(RunState::default(), &[1], &x, &[1.0; 5]);
            assert_eq!(bits(&y), bits(&values), "{unary:?}: {y:?}");
            // In Clip, HardSigmoid and Abs a zero is a zero.
            let plus = |values: &[f32]| values.iter().map(|v| v + 0.0).collect::<Vec<f32>>();
            assert_eq!(bits(&plus(&dx)), bits(&plus(&derivatives)), "{unary:?}: {dx:?}");
        }
    }
}

/// Numbers of every size, and some that are none: kernels have the CPU's bits of values and derivatives.
#[test]
pub fn functions_of_any_number_have_the_bits_of_the_cpu() {
    use Unary::*;
    let mut draws = rng::stream(12, "any numbers");
    let mut any = |count: usize| -> Vec<f32> {
        (0..count).map(|_| f32::from_bits(draws.below(1 << 32) as u32)).collect()
    };
    let (mut x, dy) = (any(4000), numbers(8000, "their gradients"));
    x.extend((0..4000).map(|i| (i as f32 - 2000.0) / 19.0));
    for unary in [
        LeakyRelu { slope: 0.3 },
        Clip { low: -3.0, high: 20.0 },
        Elu { alpha: 0.7 },
        Selu { alpha: 1.7, gamma: 1.1 },
        HardSigmoid { slope: 0.2, shift: 0.5 },
        Softplus,
        Softsign,
        Mish,
        Erf,
        Sqrt,
        Exp,
        Log,
        Reciprocal,
        Abs,
    ] {
        if !mutants::concerns(unary.kind()) {
            continue;
        }
        let run = |device: &Device| {
            let mut one = One::new(unary, &[Spec::f32(Map::vector(8000))], &[0], device);
            one.train(RunState::default(), &[1], &x, &dy).map(|values| bits(&values))
        };
        let expected = run(&Device::cpu());
        for (order, device) in kernel_devices() {
            let found = run(&device);
            for (expected, found) in expected.iter().zip(&found) {
                for (at, (e, f)) in expected.iter().zip(found).enumerate() {
                    assert_eq!(e, f, "{unary:?} of {} on {order}", x[at]);
                }
            }
        }
    }
}

/// One draw an image, of its sample: a mask worked out apart from this crate, with Python's hashlib and a
/// Philox of its own, for node `features.1`, p = 1/4, seed 0x700000005, epoch 2 and samples
/// 0x10000000000 and following. The branch is the second input; in eval mode nothing is drawn.
#[test]
fn stochastic_depth_drops_the_branch_of_documented_samples() {
    const KEPT: &str = "kkkk...kk.kkkkkkkkkkkkkk";
    let map = Map::new(1, 3, 5);
    let state = RunState { seed: 0x0000_0007_0000_0005, epoch: 2, ..RunState::default() };
    for (_, device) in devices() {
        let specs = [Spec::f32(map); 2];
        let mut kept = String::new();
        for batch in 0..4 {
            let samples: Vec<u64> = (0..6).map(|i| 0x100_0000_0000 + 6 * batch + i).collect();
            // The gradient that is asked for is that of input 0: first the branch, then the other.
            let mut branch = One::new(Add::with_depth(0.25), &specs, &[1, 0], &device);
            branch.exec.begin_training(state, &samples).unwrap();
            branch.exec.write(branch.inputs[1], &[1f32; 90]).unwrap();
            let [y, dx] = branch.go(&[3.0; 90], &[6.0; 90]);
            for (y, dx) in y.chunks(15).zip(dx.chunks(15)) {
                let is_kept = y[0] == 5.0;
                kept.push(if is_kept { 'k' } else { '.' });
                let expected = if is_kept { (5.0, 8.0) } else { (1.0, 0.0) };
                assert!(y.iter().zip(dx).all(|(y, dx)| (*y, *dx) == expected), "{y:?} {dx:?}");
            }
            let mut other = One::new(Add::with_depth(0.25), &specs, &[0, 1], &device);
            other.exec.begin_training(state, &samples).unwrap();
            other.exec.write(other.inputs[1], &[3f32; 90]).unwrap();
            let [again, dx] = other.go(&[1.0; 90], &[6.0; 90]);
            assert_eq!(again, y);
            assert_eq!(dx, [6.0; 90]);
            let x = [words(&[1.0; 90]), words(&[3.0; 90])];
            assert_eq!(other.eval(6, &[&x[0], &x[1]]).unwrap(), [4.0; 90]);
        }
        assert_eq!(kept, KEPT);
    }
}

/// x + x has one gradient, 2·dy; images past the valid ones are left alone.
#[test]
fn a_value_can_be_added_to_itself() {
    let map = Map::new(2, 3, 7);
    let (x, dy) = (numbers(4 * map.elements(), "x"), numbers(4 * map.elements(), "dy"));
    let twice = |values: &[f32]| values.iter().map(|v| v + v).collect::<Vec<f32>>();
    for (_, device) in devices() {
        let mut one = One::new(Add::new(), &[Spec::f32(map)], &[0, 0], &device);
        let [y, dx] = one.train(RunState::default(), &[0; 4], &x, &dy);
        assert_eq!(y, twice(&x));
        assert_eq!(dx, twice(&dy));
        one.exec.begin(2).unwrap();
        one.exec.write(one.inputs[0], &vec![9f32; 2 * map.elements()]).unwrap();
        one.exec.forward(&one.weights).unwrap();
        one.exec.begin(4).unwrap();
        let y = one.exec.read(one.node).unwrap();
        assert_eq!(y[2 * map.elements()..], twice(&x[2 * map.elements()..]));
    }
}

/// Σ x² = 2e40 is no f32, so that the length is infinite; 0/0 and NaN are NaN.
#[test]
fn lengths_overflow_to_zero_and_vanish_to_nan() {
    let x = [1e20, 1e20, 0.0, 0.0, f32::NAN, 1.0, 3.0, 4.0];
    for (_, device) in devices() {
        let mut one = One::new(L2Normalize, &[Spec::f32(Map::vector(2))], &[0], &device);
        let y = one.eval(4, &[&words(&x)]).unwrap();
        let nan = f32::NAN;
        assert_eq!(bits(&y), bits(&[0.0, 0.0, nan, nan, nan, nan, 0.6, 0.8]));
    }
}

/// Logits with infinities and NaN against a label, unsmoothed: what PyTorch's `cross_entropy` says.
#[test]
fn losses_of_nonfinite_logits() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let logits = [
        [1.0, -inf, 1.0],
        [-inf, 0.0, 0.0],
        [inf, 0.0, 0.0],
        [0.0, nan, 0.0],
        [1000.0, 0.0, 0.0],
        [-1e30, 3e38, 0.0],
    ];
    let expected = [2f32.ln(), inf, nan, nan, 0.0, 3e38];
    let specs = [Spec::f32(Map::vector(3)), Spec::u32(Map::vector(1))];
    for (_, device) in devices() {
        let mut one = One::new(CrossEntropy::new(0.0), &specs, &[0, 1], &device);
        let loss = one.eval(6, &[&words(logits.as_flattened()), &[0; 6]]).unwrap();
        for (image, expected) in expected.into_iter().enumerate() {
            let found = loss[image];
            let close = (found - expected).abs() <= 1e-6 * expected.abs();
            let same = found == expected || found.is_nan() && expected.is_nan();
            assert!(close || same, "{:?}: {found}, not {expected}", logits[image]);
            if device.is_cpu() {
                let plain = cross_entropy::loss(&logits[image], 0) as f32;
                assert_eq!(bits(&[plain]), bits(&[found]), "{:?}", logits[image]);
            }
        }
    }
}

/// Infinite logits cost nothing on the side that they are right about, and infinitely much on the other; NaN stays.
#[test]
fn binary_losses_of_nonfinite_logits() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let logits = [
        [inf, -inf, -inf],
        [1000.0, -1000.0, 0.0],
        [-inf, -inf, -inf],
        [0.0, inf, 0.0],
        [0.0, nan, 0.0],
        [-3e38, 0.0, -inf],
    ];
    let ln2 = std::f32::consts::LN_2;
    let expected = [0.0, ln2, inf, inf, nan, 3e38 + ln2];
    let specs = [Spec::f32(Map::vector(3)), Spec::u32(Map::vector(1))];
    let op = BinaryCrossEntropy { sum: true, ..BinaryCrossEntropy::default() };
    for (place, device) in devices() {
        let mut one = One::new(op, &specs, &[0, 1], &device);
        let loss = one.eval(6, &[&words(logits.as_flattened()), &[0; 6]]).unwrap();
        for (image, expected) in expected.into_iter().enumerate() {
            let found = loss[image];
            let close = (found - expected).abs() <= 1e-6 * expected.abs();
            let same = found == expected || found.is_nan() && expected.is_nan();
            assert!(close || same, "{place}, {:?}: {found}, not {expected}", logits[image]);
        }
        one.exec.backward(&mut one.weights, one.node, &[1.0; 6], |_| {}).unwrap();
        let dz = one.exec.read_gradient(one.inputs[0]).unwrap();
        assert_eq!(dz[..9], [0.0, 0.0, 0.0, 0.0, 0.0, 0.5, -1.0, 0.0, 0.0], "{place}");
        assert_eq!(dz[9..12], [-0.5, 1.0, 0.5], "{place}");
        assert!(dz[13].is_nan(), "{place}");
    }
}

/// As the next, of binary cross-entropy.
#[test]
fn labels_past_the_last_class_have_no_binary_loss() {
    let specs = [Spec::f32(Map::vector(3)), Spec::u32(Map::vector(1))];
    let logits = words(&[0.0; 6]);
    let op = BinaryCrossEntropy::default();
    let mut one = One::new(op, &specs, &[0, 1], &Device::cpu());
    let error = one.eval(2, &[&logits, &[2, 3]]).unwrap_err().to_string();
    assert!(error.contains("label 3") && error.contains("3 classes"), "{error}");
    let mut one = One::new(op, &specs, &[0, 1], &device());
    let loss = one.eval(2, &[&logits, &[2, 3]]).unwrap();
    assert!((loss[0] - 2f32.ln()).abs() < 1e-6 && loss[1].is_nan(), "{loss:?}");
    one.exec.backward(&mut one.weights, one.node, &[1.0; 2], |_| {}).unwrap();
    let dz = one.exec.read_gradient(one.inputs[0]).unwrap();
    assert!(dz[..3].iter().all(|g| g.is_finite()) && dz[3..].iter().all(|g| g.is_nan()));
}

/// The CPU refuses a label that is no class; a kernel, which can't, makes that image's loss NaN.
#[test]
fn labels_past_the_last_class_are_noticed() {
    let specs = [Spec::f32(Map::vector(3)), Spec::u32(Map::vector(1))];
    let logits = words(&[0.0; 6]);
    let [cpu, kernels] = [Device::cpu(), device()];
    for smoothing in [0.0, 0.1] {
        let mut one = One::new(CrossEntropy::new(smoothing), &specs, &[0, 1], &cpu);
        match one.eval(2, &[&logits, &[2, 3]]) {
            Err(Error::Shape { what, detail }) => {
                assert_eq!(what, "features.1");
                assert!(detail.contains("label 3") && detail.contains("3 classes"), "{detail}");
            }
            other => panic!("{other:?}"),
        }
        let mut one = One::new(CrossEntropy::new(smoothing), &specs, &[0, 1], &kernels);
        let loss = one.eval(2, &[&logits, &[2, 3]]).unwrap();
        assert!((loss[0] - 3f32.ln()).abs() < 1e-6 && loss[1].is_nan(), "{loss:?}");
        one.exec.backward(&mut one.weights, one.node, &[1.0; 2], |_| {}).unwrap();
        let dz = one.exec.read_gradient(one.inputs[0]).unwrap();
        assert!(dz[..3].iter().all(|v| v.is_finite()) && dz[3..].iter().all(|v| v.is_nan()));
    }
}

/// An image's mask follows its sample id, seed and epoch, not its slot; kept elements are doubled;
/// backward uses the same mask.
#[test]
fn dropout_masks_belong_to_samples() {
    let map = Map::new(3, 5, 131);
    let count = map.elements();
    let state = RunState { seed: 7 << 32 | 5, epoch: 2, ..RunState::default() };
    let (x, dy) = (vec![1f32; 3 * count], vec![3f32; 3 * count]);
    let samples = [4, 9, 1 << 40 | 4];
    let mut first: Option<Vec<f32>> = None;
    for (_, device) in devices() {
        let mut one = One::new(Dropout { p: 0.5 }, &[Spec::f32(map)], &[0], &device);
        let [y, dx] = one.train(state, &samples, &x, &dy);
        assert!(y.iter().all(|v| [0.0, 2.0].contains(v)));
        assert!(y.iter().zip(&dx).all(|(y, dx)| *dx == 3.0 * y));
        let image = |y: &[f32], i: usize| y[i * count..(i + 1) * count].to_vec();
        // Binomial with n = 1965, p = 1/2: a standard deviation is 22.2, five are 111.
        for i in 0..3 {
            let kept = image(&y, i).iter().filter(|v| **v != 0.0).count();
            assert!((871..=1094).contains(&kept), "{kept} of {count} kept");
        }
        assert_ne!(image(&y, 0), image(&y, 1));
        assert_ne!(image(&y, 0), image(&y, 2), "the id's upper half is lost");

        let [moved, _] = one.train(state, &[9, 77], &x[..2 * count], &dy[..2 * count]);
        assert_eq!(image(&moved, 0), image(&y, 1));
        let low = RunState { seed: state.seed ^ 1, ..state };
        let high = RunState { seed: state.seed ^ 1 << 32, ..state };
        for other in [low, high, RunState { epoch: 3, ..state }] {
            let [changed, _] = one.train(other, &samples, &x, &dy);
            assert_ne!(changed, y);
        }
        assert_eq!(one.eval(3, &[&words(&x)]).unwrap(), x);
        match &first {
            None => first = Some(y),
            Some(first) => assert_eq!(first, &y),
        }
    }
}

/// A mask worked out apart from this crate: Python's hashlib and a Philox of its own.
#[test]
pub fn dropout_masks_are_the_documented_ones() {
    let state = RunState { seed: 0x0000_0007_0000_0005, epoch: 2, ..RunState::default() };
    for (_, device) in devices() {
        let mut one = One::new(Dropout { p: 0.25 }, &[Spec::f32(Map::vector(24))], &[0], &device);
        let [y, _] = one.train(state, &[0x0000_0100_0000_0004], &[3.0; 24], &[0.0; 24]);
        let kept: String = y.iter().map(|v| if *v == 0.0 { '.' } else { 'k' }).collect();
        assert_eq!(kept, DOCUMENTED_MASK);
        assert!(y.iter().all(|v| [0.0, 4.0].contains(v)), "{y:?}");
    }
}

/// `features.1`, p = 1/4, seed 0x700000005, epoch 2, sample 0x10000000004.
const DOCUMENTED_MASK: &str = ".k..k.kk.kk.kkk..k.k.kkk";

#[test]
fn masks_refuse_impossible_probabilities() {
    for p in [-0.1, 1.0, f32::NAN] {
        assert!(Add::with_depth(p).output(&[Spec::f32(Map::vector(3)); 2]).is_err(), "{p}");
        assert!(Dropout { p }.output(&[Spec::f32(Map::vector(3))]).is_err(), "{p}");
    }
}
