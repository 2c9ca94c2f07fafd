//! Convolutions on tensor cores: every type and tile, forward and backward, and faults inside them.

use std::sync::Arc;

use flipside::device::{Compute, Device};
use flipside::fault::{BitMasks, FaultEntry, FaultTable, Site};
use flipside::ops::activation::Activation;
use flipside::ops::add::Add;
use flipside::ops::batch_norm::BatchNorm;
use flipside::ops::conv2d::{Conv2d, Operands};
use flipside::ops::{KernelVariant, Op, RunState};
use flipside::rng::{self, Draw};
use flipside::tape::{Execution, NodeId, ParamId, PlanKind, Tape, Weights};
use flipside::tensor::{DType, Map, Spec};

use crate::formats::{BF16, F16, Format, TF32};
use crate::kernels::{bits, kernel_devices};

const TYPES: [(Compute, Operands, Format); 3] = [
    (Compute::Tf32, Operands::Tf32, TF32),
    (Compute::Bf16, Operands::Bf16, BF16),
    (Compute::F16, Operands::F16, F16),
];

/// A convolution with data: numbers of [0.05, 0.95) and either sign, so that no product underflows.
struct Case {
    conv: Conv2d,
    map: Map,
    images: usize,
    x: Vec<f32>,
    /// In PyTorch's order.
    w: Vec<f32>,
    bias: Vec<f32>,
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
    fn new(conv: Conv2d, map: Map, images: usize) -> Case {
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

    fn output_map(&self) -> Map {
        output_map(&self.conv, self.map)
    }

    /// Terms of a group.
    fn terms(&self) -> usize {
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
struct Run {
    exec: Execution,
    weights: Weights,
    node: NodeId,
    input: NodeId,
}

impl Run {
    fn new(case: &Case, device: &Device, compute: Compute, kind: PlanKind, room: usize) -> Run {
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

    fn forward(&mut self, x: &[f32], images: usize) -> Vec<f32> {
        let samples: Vec<u64> = (0..images as u64).collect();
        self.exec.begin_training(RunState::default(), &samples).unwrap();
        self.exec.write(self.input, x).unwrap();
        self.exec.forward(&self.weights).unwrap();
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
fn cases() -> Vec<Case> {
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
        for (compute, _, format) in TYPES {
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
    let device = kernel_devices().remove(0).1;
    for case in cases().into_iter().filter(|case| case.images > 1) {
        for (compute, _, _) in TYPES {
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
    let device = kernel_devices().remove(0).1;
    let mut case = Case::new(Conv2d::square(4, 8, 3, 1, 1), Map::new(3, 3, 4), 1);
    // Output 5, channel 0, the tap above to the left.
    case.w[5 * 4 * 9] = f32::INFINITY;
    for (compute, _, _) in TYPES {
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
    let device = kernel_devices().remove(0).1;
    let mut run = Run::new(&case, &device, Compute::Tf32, PlanKind::Golden, 0);
    let rounded = run.forward(&case.x, 2);
    run.exec.set_compute(Compute::Exact).unwrap();
    let exact = run.forward(&case.x, 2);
    assert_ne!(rounded, exact);
    let cpu = Run::new(&case, &Device::cpu(), Compute::Exact, PlanKind::Golden, 0);
    assert_eq!({ cpu }.forward(&case.x, 2), exact);
    for compute in [Compute::Tf32, Compute::Bf16, Compute::F16] {
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
    let device = kernel_devices().remove(0).1;
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
        for (compute, _, _) in TYPES {
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

/// A fault inside the product of an image.
#[derive(Clone, Copy, Debug)]
struct Inside {
    image: usize,
    site: Site,
    m: usize,
    n: usize,
    k: usize,
    mask: u32,
}

/// The sums of one image as the emulation documents them: the terms in order, one fused multiply-add
/// each, of operands with the faults that reach (m, n).
struct Model<'a> {
    case: &'a Case,
    variant: KernelVariant,
    format: Format,
}

impl Model<'_> {
    /// κ's factors for an output of an image, as they lie in memory; 0 for padding.
    fn factors(&self, image: usize, m: usize, n: usize, k: usize) -> [f32; 2] {
        let Conv2d { kernel, stride, padding, dilation, groups, .. } = self.case.conv;
        let (from, to) = (self.case.map, self.case.output_map());
        let inputs = from.channels / groups;
        let (tap, c) = (k / inputs, k % inputs);
        let (r, s) = (tap / kernel[1], tap % kernel[1]);
        let w = self.case.w[((n * inputs + c) * kernel[0] + r) * kernel[1] + s];
        let h = (m / to.width * stride[0] + r * dilation[0]).checked_sub(padding[0]);
        let v = (m % to.width * stride[1] + s * dilation[1]).checked_sub(padding[1]);
        let x = match (h, v) {
            (Some(h), Some(v)) if h < from.height && v < from.width => {
                let pixel = image * from.pixels() + h * from.width + v;
                self.case.x[pixel * from.channels + n / (to.channels / groups) * inputs + c]
            }
            _ => 0.0,
        };
        [x, w]
    }

    /// A factor as the tensor core sees it, after the faults of its copies in shared memory and in
    /// registers.
    fn operand(&self, value: f32, shared: &[u32], register: &[u32]) -> f32 {
        let flip = |masks: &[u32]| masks.iter().fold(0, |all, mask| all ^ mask);
        if self.format == TF32 {
            let raw = f32::from_bits(value.to_bits() ^ flip(shared));
            return f32::from_bits(self.format.round(raw).to_bits() ^ flip(register));
        }
        let exact = self.format.round(value);
        let bits =
            (0..=u16::MAX).find(|bits| self.format.decode(*bits).to_bits() == exact.to_bits());
        self.format.decode(bits.unwrap() ^ (flip(shared) ^ flip(register)) as u16)
    }

    /// Whether a fault reaches the copy of A (or B) that feeds (m, n).
    fn reaches(&self, fault: &Inside, m: usize, n: usize) -> bool {
        let variant = &self.variant;
        let group = variant.group_columns;
        let same_tile = variant.same_column_tile(fault.n, n);
        let same_warp =
            fault.n / group == n / group && variant.columns.same_owner(fault.n % group, n % group);
        match fault.site {
            Site::SharedA => fault.m == m && same_tile,
            Site::OperandA => fault.m == m && same_warp,
            Site::SharedB => fault.n == n && variant.rows.same_tile(fault.m, m),
            Site::OperandB => fault.n == n && variant.rows.same_owner(fault.m, m),
            _ => fault.m == m && fault.n == n,
        }
    }

    fn output(&self, faults: &[Inside], image: usize, m: usize, n: usize) -> f32 {
        let reaching: Vec<&Inside> =
            faults.iter().filter(|f| f.image == image && self.reaches(f, m, n)).collect();
        let terms = self.case.terms();
        let mut sum = 0f32;
        for k in 0..terms {
            let masks = |site| -> Vec<u32> {
                reaching.iter().filter(|f| f.site == site && f.k == k).map(|f| f.mask).collect()
            };
            let [a, b] = self.factors(image, m, n, k);
            let (a, b) = if reaching.is_empty() {
                (self.format.round(a), self.format.round(b))
            } else {
                (
                    self.operand(a, &masks(Site::SharedA), &masks(Site::OperandA)),
                    self.operand(b, &masks(Site::SharedB), &masks(Site::OperandB)),
                )
            };
            sum = a.mul_add(b, sum);
            // The instruction ends here.
            if (k + 1) % self.variant.step == 0 || k + 1 == terms {
                let first = k / self.variant.step * self.variant.step;
                for fault in reaching.iter().filter(|f| f.site == Site::Accumulator) {
                    if (first..=k).contains(&(fault.k - 1)) {
                        sum = f32::from_bits(sum.to_bits() ^ fault.mask);
                    }
                }
            }
        }
        if self.case.conv.bias { sum + self.case.bias[n] } else { sum }
    }

    /// Every output; those that no fault reaches are taken from `clean`, where that is known.
    fn outputs(&self, faults: &[Inside], clean: Option<&[f32]>) -> Vec<f32> {
        let map = self.case.output_map();
        let mut outputs = Vec::new();
        for image in 0..self.case.images {
            for m in 0..map.pixels() {
                for n in 0..map.channels {
                    let reached = faults.iter().any(|f| f.image == image && self.reaches(f, m, n));
                    outputs.push(match clean {
                        Some(clean) if !reached => clean[outputs.len()],
                        _ => self.output(faults, image, m, n),
                    });
                }
            }
        }
        outputs
    }
}

const SITES: [Site; 5] =
    [Site::Accumulator, Site::OperandA, Site::OperandB, Site::SharedA, Site::SharedB];

/// Draws faults; masks flip high bits of the mantissa of numbers that aren't zero (of padding), so that
/// nothing vanishes in rounding.
fn draw_faults(model: &Model<'_>, sites: &[Site], count: usize) -> Vec<Inside> {
    let Model { case, format, .. } = model;
    let mut draws = rng::stream(5, &format!("faults {:?} {format:?} {sites:?}", case.conv));
    let mut below = |count: usize| draws.below(count as u64) as usize;
    let map = case.output_map();
    let mut faults = Vec::new();
    while faults.len() < count {
        let site = sites[below(sites.len())];
        let accumulator = site == Site::Accumulator;
        let top = match *format {
            _ if accumulator || *format == TF32 => 22,
            BF16 => 6,
            _ => 9,
        };
        let fault = Inside {
            image: below(case.images),
            site,
            m: below(map.pixels()),
            n: below(map.channels),
            k: below(case.terms()) + usize::from(accumulator),
            mask: 1 << top | 1 << (top - 1),
        };
        if accumulator || model.factors(fault.image, fault.m, fault.n, fault.k)[0] != 0.0 {
            faults.push(fault);
        }
    }
    faults
}

fn table(case: &Case, faults: &[Inside]) -> FaultTable {
    let map = case.output_map();
    let entries: Vec<(usize, FaultEntry)> = faults
        .iter()
        .zip(0..)
        .map(|(fault, id)| {
            let element = (fault.n * map.pixels() + fault.m) as u64;
            let masks = BitMasks::flip(fault.mask);
            (fault.image, FaultEntry::at(fault.site, element, fault.k as u32, masks, id))
        })
        .collect();
    let inputs = [Spec::f32(case.map)];
    let space = |site| case.conv.site_space(site, &inputs);
    FaultTable::of_sites("op", case.images, space, &entries).unwrap()
}

/// Cases whose images begin within tiles and warps: of 30, 132 and 552 rows, and of a single one.
fn fault_cases() -> Vec<Case> {
    let square = Conv2d::square;
    [
        (Conv2d { bias: true, ..square(5, 80, 3, 1, 1) }, Map::new(6, 5, 5), 5),
        (Conv2d { groups: 2, ..square(8, 140, 3, 1, 1) }, Map::new(5, 5, 8), 3),
        (square(8, 68, 3, 1, 1), Map::new(12, 11, 8), 2),
        (square(20, 132, 1, 1, 0), Map::new(24, 23, 20), 2),
        (Conv2d { bias: true, ..square(70, 90, 1, 1, 0) }, Map::vector(70), 67),
    ]
    .into_iter()
    .map(|(conv, map, images)| Case::new(conv, map, images))
    .collect()
}

/// Each site alone, then all of them at once with several in one image. The changed outputs are those
/// that tile and warp numbers of [`KernelVariant`] give; under emulation the bits are, too.
#[test]
pub fn faults_inside_tensor_core_products_reach_exactly_their_set() {
    let emulated = std::env::var("FLIPSIDE_TEST_DEVICE").is_err();
    for case in fault_cases() {
        for (compute, operands, format) in TYPES {
            let variant = operands.variant(&case.conv, case.output_map());
            let model = Model { case: &case, variant, format };
            let expected_clean = model.outputs(&[], None);
            let mut sets: Vec<Vec<Inside>> =
                SITES.iter().map(|site| draw_faults(&model, &[*site], 2)).collect();
            sets.push(draw_faults(&model, &SITES, 24));
            // Two wrong terms of one instruction in one column, seen by a tile and by a warp.
            let at = |site, k| Inside { k, site, ..sets[2][0] };
            sets.push(vec![at(Site::SharedB, 0), at(Site::OperandB, 1)]);
            let sets: Vec<_> = sets
                .into_iter()
                .map(|faults| (model.outputs(&faults, Some(&expected_clean)), faults))
                .collect();
            for (order, device) in kernel_devices() {
                let mut run = Run::new(&case, &device, compute, PlanKind::Golden, 0);
                let clean = run.forward(&case.x, case.images);
                if emulated {
                    assert_eq!(bits(&clean), bits(&expected_clean), "{:?} {compute}", case.conv);
                }
                for (expected, faults) in &sets {
                    run.exec.arm(run.node, table(&case, faults)).unwrap();
                    let found = run.forward(&case.x, case.images);
                    run.exec.disarm();
                    let changed = |a: &[f32], b: &[f32]| -> Vec<usize> {
                        let (a, b) = (bits(a), bits(b));
                        (0..a.len()).filter(|at| a[*at] != b[*at]).collect()
                    };
                    let place = format!("{:?} {compute} {order} {faults:?}", case.conv);
                    let set = changed(expected, &expected_clean);
                    assert!(!set.is_empty(), "{place}");
                    assert_eq!(changed(&found, &clean), set, "{place}");
                    if emulated {
                        assert_eq!(bits(&found), bits(expected), "{place}");
                    }
                }
            }
        }
    }
}

/// Armed kernels without faults, and with faults that change no bit, have the clean kernel's bits; an
/// output fault beside an inner one is hit.
#[test]
fn armed_tensor_core_kernels_have_the_clean_bits() {
    let device = kernel_devices().remove(0).1;
    for case in cases().into_iter().take(10).chain(fault_cases()) {
        for (compute, operands, format) in TYPES {
            let mut run = Run::new(&case, &device, compute, PlanKind::Golden, 0);
            let clean = run.forward(&case.x, case.images);
            let variant = operands.variant(&case.conv, case.output_map());
            let model = Model { case: &case, variant, format };
            let mut faults = draw_faults(&model, &SITES, 12);
            faults.iter_mut().for_each(|fault| fault.mask = 0);
            for faults in [&[][..], &faults] {
                run.exec.arm(run.node, table(&case, faults)).unwrap();
                let found = run.forward(&case.x, case.images);
                assert_eq!(bits(&found), bits(&clean), "{:?} {compute}", case.conv);
            }
            let output = Inside { site: Site::Output, mask: 1 << 30, k: 0, ..faults[0] };
            faults.push(output);
            for faults in [&[output][..], &faults] {
                run.exec.arm(run.node, table(&case, faults)).unwrap();
                let found = run.forward(&case.x, case.images);
                let map = case.output_map();
                let at = (output.image * map.pixels() + output.m) * map.channels + output.n;
                let mut expected = clean.clone();
                expected[at] = f32::from_bits(expected[at].to_bits() ^ 1 << 30);
                assert_eq!(bits(&found), bits(&expected), "{:?} {compute}", case.conv);
            }
        }
    }
}
