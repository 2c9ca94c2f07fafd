//! What PyTorch says of norms, softmax and pooling at the edges: NaN, infinities, ties, one value.

use std::sync::Arc;

use flipside::device::Device;
use flipside::ops::avg_pool::AvgPool;
use flipside::ops::batch_norm::BatchNorm;
use flipside::ops::layer_norm::LayerNorm;
use flipside::ops::max_pool::MaxPool;
use flipside::ops::reduce::Reduce;
use flipside::ops::softmax::Softmax;
use flipside::ops::{Op, RunState};
use flipside::tape::{Execution, NodeId, PlanKind, Tape, Weights};
use flipside::tensor::{Map, Spec};

use crate::devices::devices;
use crate::kernels::bits;

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

/// A tape of one operation on one device.
struct One {
    exec: Execution,
    weights: Weights,
    input: NodeId,
    node: NodeId,
}

impl One {
    fn new(op: impl Op + 'static, map: Map, capacity: usize, device: &Device) -> One {
        let mut tape = Tape::new();
        let input = tape.input("x", Spec::f32(map));
        tape.want_gradient(input);
        let node = tape.record("op", op, &[input]).unwrap();
        let tape = Arc::new(tape);
        let mut weights = Weights::new(&tape, device, true).unwrap();
        weights.initialize(0).unwrap();
        let exec = Execution::new(&tape, device, PlanKind::Train, capacity, &[node]).unwrap();
        One { exec, weights, input, node }
    }

    /// The output of `images` images, in training or eval mode.
    fn forward(&mut self, x: &[f32], images: usize, training: bool) -> flipside::Result<Vec<f32>> {
        if training {
            self.exec.begin_training(RunState::default(), &vec![0; images])?;
        } else {
            self.exec.begin(images)?;
        }
        self.exec.write(self.input, x)?;
        self.exec.forward_training(&mut self.weights)?;
        self.exec.read(self.node)
    }

    /// The input's gradient for an output gradient.
    fn backward(&mut self, dy: &[f32]) -> Vec<f32> {
        self.exec.backward(&mut self.weights, self.node, dy, |_| {}).unwrap();
        self.exec.read_gradient(self.input).unwrap()
    }
}

/// torch.amax, mean, sum and linalg.vector_norm of rows of three, and the gradients that they give back for
/// ones.
#[test]
pub fn reductions_pass_nan_on_and_share_gradients_among_ties() {
    let x =
        [[NAN, 1.0, 2.0], [INF, INF, 1.0], [0.0, 0.0, 0.0], [-INF, -INF, -INF], [-5.0, 3.0, 3.0]];
    let third = 1.0 / 3.0;
    for (_, device) in devices() {
        for (op, values, gradients) in [
            (
                Reduce::Max,
                [NAN, INF, 0.0, -INF, 3.0],
                [[NAN; 3], [0.5, 0.5, 0.0], [third; 3], [third; 3], [0.0, 0.5, 0.5]],
            ),
            (Reduce::Mean, [NAN, INF, 0.0, -INF, third], [[third; 3]; 5]),
            (Reduce::Sum, [NAN, INF, 0.0, -INF, 1.0], [[1.0; 3]; 5]),
            (
                Reduce::L2,
                [NAN, INF, 0.0, INF, 43f32.sqrt()],
                [
                    [NAN; 3],
                    [NAN, NAN, 0.0],
                    [0.0; 3],
                    [NAN; 3],
                    [-5.0, 3.0, 3.0].map(|x: f32| x / 43f32.sqrt()),
                ],
            ),
        ] {
            let mut one = One::new(op, Map::new(1, 5, 3), 1, &device);
            let y = one.forward(x.as_flattened(), 1, false).unwrap();
            assert_eq!(bits(&y), bits(&values), "{op:?}: {y:?}");
            let dx = one.backward(&[1.0; 5]);
            assert_eq!(bits(&dx), bits(gradients.as_flattened()), "{op:?}: {dx:?}");
        }
    }
}

/// torch.max_pool2d of one row of eight, kernel (1, 2), and the gradient that it gives back.
#[test]
pub fn max_pool_lets_nan_win_and_gives_ties_to_the_first() {
    let x = [1.0, NAN, 3.0, 3.0, NAN, NAN, -INF, -INF];
    let mut pool = MaxPool::square(1, 1, 0);
    pool.window.kernel = [1, 2];
    pool.window.stride = [1, 2];
    for (_, device) in devices() {
        let mut one = One::new(pool, Map::new(1, 8, 1), 1, &device);
        let y = one.forward(&x, 1, false).unwrap();
        assert_eq!(bits(&y), bits(&[NAN, 3.0, NAN, -INF]));
        let dx = one.backward(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(dx, [0.0, 1.0, 2.0, 0.0, 0.0, 3.0, 4.0, 0.0]);
    }
}

/// Padding is −∞ for a maximum, so that it never wins over a value, and is no 0·∞ for a mean.
#[test]
pub fn padding_neither_wins_nor_poisons() {
    let x = [-5.0, -INF, INF, -2.0];
    for (_, device) in devices() {
        let mut max = One::new(MaxPool::square(3, 3, 1), Map::new(2, 2, 1), 1, &device);
        assert_eq!(max.forward(&x, 1, false).unwrap(), [INF]);
        let mut mean = One::new(AvgPool::square(2, 2, 1), Map::new(2, 2, 1), 1, &device);
        let y = mean.forward(&x, 1, false).unwrap();
        assert_eq!(y, [-1.25, -INF, INF, -0.5]);
    }
}

/// A NaN among a channel's pixels makes that channel NaN and its running statistics, no other.
#[test]
fn batch_norm_keeps_a_nan_in_its_channel() {
    let x = [1.0, 2.0, NAN, 4.0, 3.0, 9.0];
    for (_, device) in devices() {
        let mut one = One::new(BatchNorm::new(2), Map::new(1, 3, 2), 1, &device);
        let y = one.forward(&x, 1, false).unwrap();
        let nan: Vec<bool> = y.iter().map(|v| v.is_nan()).collect();
        assert_eq!(nan, [false, false, true, false, false, false]);
        let y = one.forward(&x, 1, true).unwrap();
        let nan: Vec<bool> = y.iter().map(|v| v.is_nan()).collect();
        assert_eq!(nan, [true, false, true, false, true, false]);
        for name in ["op.running_mean", "op.running_var"] {
            let values = one.weights.get(one.weights.find(name).unwrap()).unwrap();
            assert!(values[0].is_nan() && values[1].is_finite(), "{name} {values:?}");
        }
    }
}

/// Mean 1e4 with deviation 1: sums of squares in f32 would have no digit of the variance left.
#[test]
fn batch_norm_survives_a_large_mean() {
    let x: Vec<f32> = (0..64).map(|i| 10_000.0 + if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    for (_, device) in devices() {
        let mut one = One::new(BatchNorm::new(1), Map::new(8, 8, 1), 1, &device);
        for (i, y) in one.forward(&x, 1, true).unwrap().into_iter().enumerate() {
            let expected = if i % 2 == 0 { 1.0 } else { -1.0 };
            // eps moves the deviation by 5e-6.
            assert!((y - expected).abs() < 6e-6, "{y}");
        }
    }
}

/// "Expected more than 1 value per channel when training", as PyTorch says; eval mode has no such
/// need. Images beyond the valid ones count for nothing.
#[test]
pub fn batch_norm_needs_two_values_to_train() {
    for (_, device) in devices() {
        let mut one = One::new(BatchNorm::new(1), Map::vector(1), 4, &device);
        let error = one.forward(&[3.0], 1, true).unwrap_err().to_string();
        assert!(error.contains("more than one value per channel"), "{error}");
        assert!(one.forward(&[3.0], 1, false).is_ok());
        assert!(one.forward(&[9.0; 4], 4, false).is_ok());
        let y = one.forward(&[3.0, 5.0], 2, true).unwrap();
        assert!((y[0] + 1.0).abs() < 1e-5 && (y[1] - 1.0).abs() < 1e-5, "{y:?}");
        let of = |name: &str| one.weights.find(name).unwrap();
        // 0.9·0 + 0.1·4; 0.9·1 + 0.1·2, the unbiased variance of 3 and 5.
        assert_eq!(one.weights.get(of("op.running_mean")).unwrap(), [0.4]);
        assert!((one.weights.get(of("op.running_var")).unwrap()[0] - 1.1).abs() < 1e-6);
        assert_eq!(one.weights.counter(of("op.num_batches_tracked")).unwrap(), 1);
    }
}

/// As above, over channels: 1e4 ± 1, among which a tile's lanes are no whole number of pixels. A NaN stays
/// in its pixel.
#[test]
fn layer_norm_survives_a_large_mean() {
    let sign = |i: usize| [1.0, -1.0][i % 2];
    let mut x: Vec<f32> = (0..3 * 50).map(|i| 10_000.0 + sign(i)).collect();
    x[120] = NAN;
    for (place, device) in devices() {
        let mut one = One::new(LayerNorm::new(50), Map::new(1, 3, 50), 1, &device);
        for (i, y) in one.forward(&x, 1, true).unwrap().into_iter().enumerate() {
            // eps moves the deviation by 5e-6.
            let right = if i < 100 { (y - sign(i)).abs() < 6e-6 } else { y.is_nan() };
            assert!(right, "{i} on {place}: {y}");
        }
    }
}

/// torch.softmax of large numbers and of infinities.
#[test]
fn softmax_does_not_overflow() {
    let x =
        [1000.0, 1000.0, -INF, 3e38, -3e38, 0.0, -INF, -INF, -INF, INF, 0.0, 0.0, NAN, 0.0, 1.0];
    for (place, device) in devices() {
        let mut one = One::new(Softmax, Map::new(1, 5, 3), 1, &device);
        let y = one.forward(&x, 1, false).unwrap();
        let half = [0.5, 0.5, 0.0];
        assert_eq!(y[..6], [half, [1.0, 0.0, 0.0]].concat(), "{place}");
        // ∞ − ∞ is NaN, and so is the sum that it is a part of.
        assert!(y[6..].iter().all(|y| y.is_nan()), "{place}: {y:?}");
    }
}
