//! Every operation's cases: gradients against finite differences, boxes against whole runs.

use std::sync::Arc;

use flipside::cases::{self, Fill, OpCase};
use flipside::device::Device;
use flipside::ops::RunState;
use flipside::rng::{self, Draw};
use flipside::tape::{Execution, NodeId, ParamId, PlanKind, Tape, Weights};
use flipside::tensor::{DType, Region, Span};

/// A case recorded, with weights and inputs, ready to run on a device.
pub struct Bench {
    pub tape: Arc<Tape>,
    pub inputs: Vec<NodeId>,
    pub node: NodeId,
    pub weights: Weights,
    pub exec: Execution,
}

/// Values of parameters: initial ones, moved off their constants so that nothing is symmetric.
fn disturb(weights: &mut Weights) {
    let tape = weights.tape().clone();
    weights.initialize(1).unwrap();
    for (index, param) in tape.params().iter().enumerate() {
        if param.spec.dtype() == DType::F32 {
            let id = ParamId(index);
            let mut draws = rng::stream(2, &param.name);
            let mut values = weights.get(id).unwrap();
            values.iter_mut().for_each(|v| *v += draws.between(0.05, 0.3) as f32);
            weights.set(id, &values).unwrap();
        }
    }
}

impl Bench {
    pub fn new(case: &OpCase, device: &Device, kind: PlanKind) -> Bench {
        let (tape, inputs, node) = case.tape().unwrap();
        Bench::of_tape(tape, inputs, node, case.batch, device, kind)
    }

    /// A tape of the caller's, with room for `batch` images.
    pub fn of_tape(
        tape: Arc<Tape>,
        inputs: Vec<NodeId>,
        node: NodeId,
        batch: usize,
        device: &Device,
        kind: PlanKind,
    ) -> Bench {
        let mut weights = Weights::new(&tape, device, true).unwrap();
        disturb(&mut weights);
        let exec = Execution::new(&tape, device, kind, batch, &[node]).unwrap();
        Bench { tape, inputs, node, weights, exec }
    }

    /// Begins the batch and feeds the inputs.
    pub fn feed(&mut self, case: &OpCase, words: &[Vec<u32>]) {
        if case.training {
            let samples: Vec<u64> = (0..case.batch as u64).map(|i| 100 + i).collect();
            let state = RunState { seed: 5, epoch: 3, ..RunState::default() };
            self.exec.begin_training(state, &samples).unwrap();
        } else {
            self.exec.begin(case.batch).unwrap();
        }
        for (input, words) in self.inputs.iter().zip(words) {
            self.exec.write(*input, words).unwrap();
        }
    }
}

pub fn input_words(case: &OpCase) -> Vec<Vec<u32>> {
    let label = |i| format!("{} {i}", case.name);
    case.inputs.iter().enumerate().map(|(i, x)| x.words(case.batch, &label(i))).collect()
}

/// A gradient to send backward: uniform in ±1.
pub fn output_gradient(case: &OpCase, count: usize) -> Vec<f32> {
    let mut draws = rng::stream(3, &case.name);
    (0..count).map(|_| draws.between(-1.0, 1.0) as f32).collect()
}

/// Σ output · r of a fresh run, in f64.
fn objective(case: &OpCase, words: &[Vec<u32>], params: &[(ParamId, Vec<f32>)], r: &[f32]) -> f64 {
    let mut bench = Bench::new(case, &Device::cpu(), PlanKind::Train);
    for (id, values) in params {
        bench.weights.set(*id, values).unwrap();
    }
    bench.feed(case, words);
    bench.exec.forward_training(&mut bench.weights).unwrap();
    let y = bench.exec.read(bench.node).unwrap();
    y.iter().zip(r).map(|(y, r)| f64::from(*y) * f64::from(*r)).sum()
}

/// Directional derivatives along seeded directions, one tensor at a time, against backward's.
///
/// The step of 1/512 keeps f32 rounding of outputs near 1e-5 of the difference and the cubic term
/// below 1e-4 of it for these operations; hence the bound of 4e-3 of Σ|g·v|.
#[test]
fn gradients_equal_finite_differences() {
    for case in cases::all() {
        let words = input_words(&case);
        let mut bench = Bench::new(&case, &Device::cpu(), PlanKind::Train);
        bench.feed(&case, &words);
        bench.exec.forward_training(&mut bench.weights).unwrap();
        let count = bench.exec.read(bench.node).unwrap().len();
        let r = output_gradient(&case, count);
        bench.exec.backward(&mut bench.weights, bench.node, &r, |_| {}).unwrap();

        let step = 1.0 / 512.0;
        let check = |what: String, gradient: &[f32], nudged: &dyn Fn(f32, &[f32]) -> f64| {
            for trial in 0..3 {
                let mut draws = rng::stream(trial, &format!("{what} direction"));
                let v: Vec<f32> =
                    gradient.iter().map(|_| draws.between(-1.0, 1.0) as f32).collect();
                let numeric = (nudged(step, &v) - nudged(-step, &v)) / (2.0 * f64::from(step));
                let terms = gradient.iter().zip(&v).map(|(g, v)| f64::from(*g) * f64::from(*v));
                let analytic: f64 = terms.clone().sum();
                let scale: f64 = terms.map(f64::abs).sum::<f64>() + 1e-3;
                assert!(
                    (numeric - analytic).abs() <= 4e-3 * scale,
                    "{}: {what}: finite difference {numeric}, backward {analytic}, scale {scale}",
                    case.name
                );
            }
        };
        for (index, input) in case.inputs.iter().enumerate() {
            if input.spec().storage != DType::F32 || !bench.differentiable(&case, index) {
                continue;
            }
            let gradient = bench.exec.read_gradient(bench.inputs[index]).unwrap();
            check(format!("input {index}"), &gradient, &|step, v| {
                let mut words = words.clone();
                for (word, v) in words[index].iter_mut().zip(v) {
                    *word = (f32::from_bits(*word) + step * v).to_bits();
                }
                objective(&case, &words, &[], &r)
            });
        }
        for (index, param) in bench.tape.params().iter().enumerate() {
            if !param.spec.role.is_trained() {
                continue;
            }
            let id = ParamId(index);
            let gradient = bench.weights.gradient(id).unwrap();
            let values = bench.weights.get(id).unwrap();
            check(param.name.clone(), &gradient, &|step, v| {
                let moved = values.iter().zip(v).map(|(w, v)| w + step * v).collect();
                objective(&case, &words, &[(id, moved)], &r)
            });
        }
    }
}

impl Bench {
    /// Whether an input's gradient is one that the operation promises (targets have none).
    pub fn differentiable(&self, case: &OpCase, index: usize) -> bool {
        case.inputs[index].fill != Fill::Distribution
    }
}

/// Seeded boxes, recomputed over a poisoned output, equal the whole run; nothing else is written.
#[test]
fn boxes_equal_the_whole_run() {
    for case in cases::all() {
        let case = case.eval();
        let words = input_words(&case);
        let mut bench = Bench::new(&case, &Device::cpu(), PlanKind::Golden);
        bench.feed(&case, &words);
        bench.exec.forward_training(&mut bench.weights).unwrap();
        let whole = bench.exec.read(bench.node).unwrap();
        let map = bench.tape.node(bench.node).spec.map;
        let mut draws = rng::stream(9, &case.name);
        let mut span = |size: usize| {
            let start = draws.below(size as u64) as usize;
            Span::new(start, start + 1 + draws.below((size - start) as u64) as usize)
        };
        for _ in 0..20 {
            let region = Region {
                images: span(case.batch),
                rows: span(map.height),
                columns: span(map.width),
                channels: span(map.channels),
            };
            bench.exec.write(bench.node, &vec![f32::NAN; whole.len()]).unwrap();
            bench.exec.forward_region(&bench.weights, bench.node, region).unwrap();
            let part = bench.exec.read(bench.node).unwrap();
            let mut inside = vec![false; whole.len()];
            region.for_each_run(map, |at| {
                inside[at..at + region.channels.len()].fill(true);
            });
            for (at, inside) in inside.into_iter().enumerate() {
                if inside {
                    let (new, old) = (part[at].to_bits(), whole[at].to_bits());
                    assert_eq!(new, old, "{} {region:?} at {at}", case.name);
                } else {
                    assert!(part[at].is_nan(), "{} wrote outside of {region:?}", case.name);
                }
            }
        }
    }
}
