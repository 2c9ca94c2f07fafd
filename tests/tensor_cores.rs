//! Convolutions on tensor cores: every type and tile, forward and backward.

use std::sync::Arc;

use flipside::device::Device;
use flipside::number::Compute;
use flipside::ops::activation::Activation;
use flipside::ops::add::Add;
use flipside::ops::batch_norm::BatchNorm;
use flipside::ops::conv2d::Conv2d;
use flipside::ops::{KernelVariant, Op, RunState};
use flipside::rng::{self, Draw};
use flipside::tape::{Execution, NodeId, ParamId, PlanKind, Tape, Weights};
use flipside::tensor::{DType, Map, Spec};
use strum::IntoEnumIterator;

use crate::devices::{device, kernel_devices};
use crate::formats::{BF16, F16, Format, TF32};
use crate::kernels::bits;

pub const TYPES: [(Compute, Format); 3] =
    [(Compute::Tf32, TF32), (Compute::Bf16, BF16), (Compute::F16, F16)];

/// All that tensor cores multiply is among them, and the program's formats are those of the definition: around every
/// number of the 16-bit formats, around the midpoints between neighbours, and all over f32.
#[test]
fn formats_are_those_of_the_definition() {
    assert!(Compute::iter().skip(1).eq(TYPES.map(|(compute, _)| compute)));
    for (compute, format) in TYPES {
        let ours = compute.operands();
        // Numbers that are given as text round to even in tf32, too, where tensor cores' conversion rounds away from 0.
        let format = Format { ties_to_even: true, ..format };
        let check = |x: f32| {
            let (found, expected) = (ours.decode(ours.encode(x)), format.round(x));
            let is_same = found.to_bits() == expected.to_bits() || found.is_nan() && x.is_nan();
            assert!(is_same, "{compute:?} of {x:e}: {found:e}, {expected:e} expected");
        };
        (0..=u32::MAX).step_by(4093).for_each(|bits| check(f32::from_bits(bits)));
        for bits in (0..=u16::MAX).filter(|_| ours.bits() == 16) {
            let [x, next] = [bits, bits.wrapping_add(1)].map(|bits| format.decode(bits));
            let found = ours.decode(bits.into());
            let is_same = found.to_bits() == x.to_bits() || found.is_nan() && x.is_nan();
            assert!(is_same, "{compute:?}: {bits:04x} is {found:e}, {x:e} expected");
            for near in [x, x / 2.0 + next / 2.0] {
                for off in [-1, 0, 1] {
                    check(f32::from_bits(near.to_bits().wrapping_add_signed(off)));
                }
            }
        }
    }
}

/// A convolution with data: numbers of [0.05, 0.95) and either sign, so that no product underflows.
pub struct Case {
    pub conv: Conv2d,
    pub map: Map,
    pub images: usize,
    pub x: Vec<f32>,
    /// In PyTorch's order.
    pub w: Vec<f32>,
    pub bias: Vec<f32>,
    dy: Vec<f32>,
}

fn data(count: usize, label: &str) -> Vec<f32> {
    let mut draws = rng::stream(7, label);
    let mut draw = || {
        let value = draws.between(-0.9, 0.9);
        (value + 0.05f64.copysign(value)) as f32
    };
    (0..count).map(|_| draw()).collect()
}

impl Case {
    pub fn new(conv: Conv2d, map: Map, images: usize) -> Case {
        let outputs = images * output_map(&conv, map).elements();
        let terms = conv.kernel[0] * conv.kernel[1] * conv.in_channels / conv.groups;
        let label = format!("{conv:?} {map}");
        Case {
            conv,
            map,
            images,
            x: data(images * map.elements(), &format!("x {label}")),
            w: data(conv.out_channels * terms, &format!("w {label}")),
            bias: data(conv.out_channels, &format!("bias {label}")),
            dy: data(outputs, &format!("dy {label}")),
        }
    }

    pub fn output_map(&self) -> Map {
        output_map(&self.conv, self.map)
    }

    /// The kernel that computes it.
    pub fn variant(&self, compute: Compute) -> KernelVariant {
        self.conv.variant(&[Spec::f32(self.map)], compute).unwrap()
    }

    /// Terms of a group.
    pub fn terms(&self) -> usize {
        self.conv.kernel[0] * self.conv.kernel[1] * self.conv.in_channels / self.conv.groups
    }

    /// Calls `f(x, w, y)` for every product, padding taps left out: indices of the input and output
    /// (channels-last) and of the weight (PyTorch's order).
    fn each_product(&self, mut f: impl FnMut(usize, usize, usize)) {
        let Conv2d { kernel, stride, padding, dilation, groups, .. } = self.conv;
        let (from, to) = (self.map, self.output_map());
        let (inputs, outputs) = (from.channels / groups, to.channels / groups);
        let input = |axis: usize, out: usize, tap: usize, size: usize| {
            (out * stride[axis] + tap * dilation[axis])
                .checked_sub(padding[axis])
                .filter(|at| *at < size)
        };
        for image in 0..self.images {
            for p in 0..to.height {
                for q in 0..to.width {
                    let y = (image * to.pixels() + p * to.width + q) * to.channels;
                    for r in 0..kernel[0] {
                        let Some(h) = input(0, p, r, from.height) else { continue };
                        for s in 0..kernel[1] {
                            let Some(v) = input(1, q, s, from.width) else { continue };
                            let x = (image * from.pixels() + h * from.width + v) * from.channels;
                            for o in 0..to.channels {
                                for c in 0..inputs {
                                    let w = ((o * inputs + c) * kernel[0] + r) * kernel[1] + s;
                                    f(x + o / outputs * inputs + c, w, y + o);
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// y (less the bias), dx, dw in f64 of factors that `round` has rounded.
    fn exact(&self, round: impl Fn(f32) -> f32) -> [Vec<f64>; 3] {
        let wide =
            |values: &[f32]| -> Vec<f64> { values.iter().map(|v| f64::from(round(*v))).collect() };
        let (x, w, dy) = (wide(&self.x), wide(&self.w), wide(&self.dy));
        let mut sums = [vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]];
        self.each_product(|i, j, k| {
            sums[0][k] += x[i] * w[j];
            sums[1][i] += dy[k] * w[j];
            sums[2][j] += x[i] * dy[k];
        });
        sums
    }
}

fn output_map(conv: &Conv2d, map: Map) -> Map {
    conv.output(&[Spec::f32(map)]).unwrap().map
}

/// A case on a device.
pub struct Run {
    pub exec: Execution,
    weights: Weights,
    pub node: NodeId,
    input: NodeId,
}

impl Run {
    pub fn new(case: &Case, device: &Device, compute: Compute, kind: PlanKind, room: usize) -> Run {
        let mut tape = Tape::new();
        let input = tape.input("x", Spec::f32(case.map));
        tape.want_gradient(input);
        let node = tape.record("op", case.conv, &[input]).unwrap();
        let tape = Arc::new(tape);
        let device = device.clone().with_compute(compute).unwrap();
        let mut weights = Weights::new(&tape, &device, true).unwrap();
        weights.set(ParamId(0), &case.w).unwrap();
        if case.conv.bias {
            weights.set(ParamId(1), &case.bias).unwrap();
        }
        let exec = Execution::new(&tape, &device, kind, case.images + room, &[node]).unwrap();
        Run { exec, weights, node, input }
    }

    pub fn forward(&mut self, x: &[f32], images: usize) -> Vec<f32> {
        let samples: Vec<u64> = (0..images as u64).collect();
        self.exec.begin_training(RunState::default(), &samples).unwrap();
        self.exec.write(self.input, x).unwrap();
        self.exec.forward_training(&mut self.weights).unwrap();
        self.exec.read(self.node).unwrap()
    }

    /// y, dx and dw.
    fn passes(&mut self, case: &Case) -> [Vec<f32>; 3] {
        let y = self.forward(&case.x, case.images);
        self.exec.backward(&mut self.weights, self.node, &case.dy, |_| {}).unwrap();
        let dx = self.exec.read_gradient(self.input).unwrap();
        [y, dx, self.weights.gradient(ParamId(0)).unwrap()]
    }
}

/// Shapes of every path: tiles of each pass, whole and cut off; 16-byte and 4-byte loads; groups, odd
/// channels, strides, dilation, asymmetric kernels; a weight gradient in two splits.
pub fn cases() -> Vec<Case> {
    let square = Conv2d::square;
    [
        (square(5, 7, 3, 1, 1), Map::new(6, 5, 5), 3),
        (Conv2d { bias: true, ..square(8, 12, 3, 2, 1) }, Map::new(7, 8, 8), 3),
        (square(3, 66, 7, 2, 3), Map::new(17, 13, 3), 2),
        (Conv2d { stride: [2; 2], ..square(36, 20, 1, 2, 0) }, Map::new(7, 6, 36), 3),
        (Conv2d { groups: 2, bias: true, ..square(8, 24, 3, 1, 1) }, Map::new(5, 5, 8), 3),
        (Conv2d { groups: 3, ..square(9, 15, 3, 1, 1) }, Map::new(5, 6, 9), 2),
        (
            Conv2d { dilation: [2, 3], padding: [2, 3], ..square(4, 9, 3, 1, 1) },
            Map::new(9, 8, 4),
            2,
        ),
        (
            Conv2d { kernel: [4, 2], stride: [3, 1], padding: [1, 0], ..square(5, 7, 1, 1, 0) },
            Map::new(11, 4, 5),
            3,
        ),
        // A linear layer: an image is a row.
        (Conv2d { bias: true, ..square(100, 130, 1, 1, 0) }, Map::vector(100), 70),
        (square(16, 40, 3, 1, 1), Map::new(12, 13, 16), 2),
        (square(4, 72, 3, 1, 1), Map::new(24, 23, 4), 2),
        // Large tiles of both gradients.
        (square(72, 68, 3, 1, 1), Map::new(24, 22, 72), 1),
        (square(3, 5, 1, 1, 0), Map::new(46, 46, 3), 2),
    ]
    .into_iter()
    .map(|(conv, map, images)| Case::new(conv, map, images))
    .chain(random_cases(8))
    .collect()
}

fn random_cases(count: usize) -> Vec<Case> {
    let mut draws = rng::stream(9, "shapes");
    let mut draw = |from: u64, to: u64| (from + draws.below(to - from)) as usize;
    let mut found = Vec::new();
    while found.len() < count {
        let groups = [1, 1, 1, 2, 4][draw(0, 5)];
        let mut pair = |from, to| [draw(from, to), draw(from, to)];
        let conv = Conv2d {
            kernel: pair(1, 5),
            stride: pair(1, 4),
            padding: pair(0, 4),
            dilation: pair(1, 3),
            groups,
            bias: true,
            ..Conv2d::square(groups * draw(2, 20), groups * draw(1, 40), 1, 1, 0)
        };
        let map = Map::new(draw(1, 14), draw(1, 14), conv.in_channels);
        if conv.output(&[Spec::f32(map)]).is_ok() {
            found.push(Case::new(conv, map, draw(1, 4)));
        }
    }
    found
}

/// Against f64 products. With u the format's unit roundoff each factor is off by u of itself, hence
/// 2u + u² of Σ|a||b|; adding up K products rounds K times by at most 2⁻²⁴ of Σ|a||b|, twice that for
/// hardware that cuts off instead of rounding, and once more for parts that are added up. What is
/// off from the product of rounded factors is the adding alone: without the first summand.
#[test]
pub fn tensor_cores_are_within_their_formats_bounds() {
    for case in cases() {
        let exact = case.exact(|x| x);
        let absolute = Case {
            x: case.x.iter().map(|x| x.abs()).collect(),
            w: case.w.iter().map(|x| x.abs()).collect(),
            dy: case.dy.iter().map(|x| x.abs()).collect(),
            bias: Vec::new(),
            ..case
        };
        let sizes = absolute.exact(|x| x);
        let map = case.output_map();
        let adds = [case.terms(), case.terms() / case.conv.in_channels * map.channels, {
            map.pixels() * case.images
        }];
        for (compute, format) in TYPES {
            let rounded = case.exact(|x| format.round(x));
            let mut first: Option<[Vec<f32>; 3]> = None;
            for (order, device) in kernel_devices() {
                let mut found = Run::new(&case, &device, compute, PlanKind::Train, 2).passes(&case);
                for (place, y) in found[0].iter_mut().enumerate() {
                    let bias = if case.conv.bias { case.bias[place % map.channels] } else { 0.0 };
                    // Exact to within 2⁻²⁴ of the sum, one more addition of K.
                    *y -= bias;
                }
                for (pass, name) in ["y", "dx", "dw"].iter().enumerate() {
                    let summing = (adds[pass] + 4) as f64 * 2f64.powi(-23);
                    let u = format.unit_roundoff();
                    for (at, value) in found[pass].iter().enumerate() {
                        let size = sizes[pass][at] + f64::from(case.conv.bias);
                        let error = |of: f64| (f64::from(*value) - of).abs();
                        let (far, near) = (error(exact[pass][at]), error(rounded[pass][at]));
                        let place = format!("{:?}, {compute}, {order}: {name}[{at}]", case.conv);
                        assert!(
                            near <= summing * size,
                            "{place} is {value}, {} of rounded factors",
                            rounded[pass][at]
                        );
                        let bound = (2.0 * u + u * u + summing) * size;
                        assert!(far <= bound, "{place} is {value}, not {}", exact[pass][at]);
                    }
                }
                match &first {
                    None => first = Some(found),
                    Some(first) => {
                        for (a, b) in first.iter().zip(&found) {
                            assert_eq!(bits(a), bits(b), "{:?} depends on {order}", case.conv);
                        }
                    }
                }
            }
        }
    }
}

/// An image's bits depend neither on its batch nor on how much room there is.
#[test]
fn an_image_on_tensor_cores_does_not_depend_on_its_batch() {
    let device = device();
    for case in cases().into_iter().filter(|case| case.images > 1) {
        for (compute, _) in TYPES {
            let together = Run::new(&case, &device, compute, PlanKind::Golden, 1)
                .forward(&case.x, case.images);
            let (elements, outputs) = (case.map.elements(), case.output_map().elements());
            for image in [1, case.images - 1] {
                let x = &case.x[image * elements..][..elements];
                let alone = Run::new(&case, &device, compute, PlanKind::Golden, 0).forward(x, 1);
                assert_eq!(bits(&alone), bits(&together[image * outputs..][..outputs]));
            }
        }
    }
}

/// A padding tap is a product with zero: of an infinite weight, NaN.
#[test]
fn padding_on_tensor_cores_multiplies_by_zero() {
    let device = device();
    let mut case = Case::new(Conv2d::square(4, 8, 3, 1, 1), Map::new(3, 3, 4), 1);
    // Output 5, channel 0, the tap above to the left.
    case.w[5 * 4 * 9] = f32::INFINITY;
    for (compute, _) in TYPES {
        let y = Run::new(&case, &device, compute, PlanKind::Golden, 0).forward(&case.x, 1);
        for (at, y) in y.iter().enumerate() {
            let (pixel, channel) = (at / 8, at % 8);
            let padded = pixel / 3 == 0 || pixel % 3 == 0;
            assert_eq!(y.is_nan(), channel == 5 && padded, "{compute}: {y} at {at}");
            assert_eq!(y.is_infinite(), channel == 5 && !padded, "{compute}: {y} at {at}");
        }
    }
}

#[test]
fn exact_is_what_it_was_and_the_cpu_has_nothing_else() {
    let case = Case::new(Conv2d::square(4, 8, 3, 1, 1), Map::new(5, 5, 4), 2);
    let device = device();
    let mut run = Run::new(&case, &device, Compute::Tf32, PlanKind::Golden, 0);
    let rounded = run.forward(&case.x, 2);
    run.exec.set_compute(Compute::Exact).unwrap();
    let exact = run.forward(&case.x, 2);
    assert_ne!(rounded, exact);
    let cpu = Run::new(&case, &Device::cpu(), Compute::Exact, PlanKind::Golden, 0);
    assert_eq!({ cpu }.forward(&case.x, 2), exact);
    for (compute, _) in TYPES {
        let text = Device::cpu().with_compute(compute).unwrap_err().to_string();
        assert!(text.contains(compute.name()) && text.contains("not cpu"), "{text}");
    }
    // Depthwise layers stay exact.
    let conv = Conv2d { groups: 6, ..Conv2d::square(6, 6, 3, 1, 1) };
    let case = Case::new(conv, Map::new(5, 5, 6), 2);
    let outputs = [Compute::Exact, Compute::Bf16]
        .map(|compute| Run::new(&case, &device, compute, PlanKind::Golden, 0).forward(&case.x, 2));
    assert_eq!(bits(&outputs[0]), bits(&outputs[1]));
}

/// Batch norm, a residual and an activation in the epilogue: the bits of the nodes alone.
#[test]
fn fused_epilogues_of_tensor_cores_have_the_bits_of_their_nodes() {
    let device = device();
    for (channels, groups, activation) in [
        (24, 1, Activation::Relu),
        (15, 3, Activation::Silu),
        (70, 1, Activation::Gelu),
        (24, 2, Activation::Relu6),
    ] {
        let map = Map::new(6, 5, channels);
        let conv = Conv2d { bias: true, groups, ..Conv2d::square(channels, channels, 3, 1, 1) };
        let mut tape = Tape::new();
        let x = tape.input("x", Spec::f32(map));
        let y = tape.record("conv", conv, &[x]).unwrap();
        let y = tape.record("norm", BatchNorm::new(channels), &[y]).unwrap();
        let y = tape.record("sum", Add::new(), &[y, x]).unwrap();
        let y = tape.record("act", activation, &[y]).unwrap();
        let tape = Arc::new(tape);
        for (compute, _) in TYPES {
            let device = device.clone().with_compute(compute).unwrap();
            let mut weights = Weights::new(&tape, &device, false).unwrap();
            for index in 0..tape.params().len() {
                let id = ParamId(index);
                if tape.params()[index].spec.dtype() == DType::F32 {
                    let count = weights.get(id).unwrap().len();
                    let values = data(count, &tape.params()[index].name);
                    // Variances are no less than 0.
                    let values: Vec<f32> = values.iter().map(|v| v.abs()).collect();
                    weights.set(id, &values).unwrap();
                }
            }
            let outputs = [PlanKind::Infer, PlanKind::Golden].map(|kind| {
                let mut exec = Execution::new(&tape, &device, kind, 3, &[y]).unwrap();
                exec.begin(3).unwrap();
                exec.write(x, &data(3 * map.elements(), "x")).unwrap();
                exec.forward(&weights).unwrap();
                exec.read(y).unwrap()
            });
            assert_eq!(bits(&outputs[0]), bits(&outputs[1]), "{activation:?} {compute}");
        }
    }
}
