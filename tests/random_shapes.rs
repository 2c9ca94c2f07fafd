//! Kernels on shapes that nobody chose: sizes, groups, strides, dilations and paddings are drawn, and
//! every operation is held against the CPU under three thread orders, forward and backward; convolutions
//! against the slow kernels of `conv2d_check.cu`, too. A case's name in a failure holds its number, which
//! is its seed, and its shape. Each test runs the same first cases; with `FLIPSIDE_RANDOM_SECONDS` it goes
//! on with further ones until so many seconds are over.

use std::time::{Duration, Instant};

use flipside::cases::{CaseInput, Fill, OpCase, attention_inputs};
use flipside::device::Device;
use flipside::ops::Op;
use flipside::ops::adaptive_avg_pool::AdaptiveAvgPool;
use flipside::ops::attention::{Attention, Bias, Form, Partition};
use flipside::ops::avg_pool::AvgPool;
use flipside::ops::batch_norm::BatchNorm;
use flipside::ops::conv2d::Conv2d;
use flipside::ops::conv2d::check::Check;
use flipside::ops::l2_normalize::L2Normalize;
use flipside::ops::layer_norm::LayerNorm;
use flipside::ops::linear::Linear;
use flipside::ops::matmul::MatMul;
use flipside::ops::max_pool::MaxPool;
use flipside::ops::reduce::Reduce;
use flipside::ops::softmax::Softmax;
use flipside::rng::{self, Draw, Stream};
use flipside::tape::PlanKind;
use flipside::tensor::{Map, Spec};

use crate::devices::kernel_devices;
use crate::kernels;
use crate::ops::{Bench, input_words, output_gradient};

/// Channels of whole vectors (32), and beside vectors, warps and tiles.
const CHANNELS: [usize; 6] = [1, 3, 5, 32, 33, 130];
const SIDES: [usize; 7] = [1, 2, 3, 5, 7, 11, 14];

fn pick<T: Copy>(draws: &mut Stream, from: &[T]) -> T {
    from[draws.below(from.len() as u64) as usize]
}

/// A whole number from `low` to `high`.
fn from_to(draws: &mut Stream, low: usize, high: usize) -> usize {
    low + draws.below((high - low + 1) as u64) as usize
}

fn map(draws: &mut Stream) -> Map {
    Map::new(pick(draws, &SIDES), pick(draws, &SIDES), pick(draws, &CHANNELS))
}

/// The numbers of a test's cases: `first` of them, and more where `FLIPSIDE_RANDOM_SECONDS` asks for them.
fn numbers(first: u64) -> impl Iterator<Item = u64> {
    let seconds = std::env::var("FLIPSIDE_RANDOM_SECONDS").map_or(0, |text| {
        text.parse().unwrap_or_else(|_| panic!("FLIPSIDE_RANDOM_SECONDS: '{text}' is no number"))
    });
    let end = Instant::now() + Duration::from_secs(seconds);
    (0..).take_while(move |number| *number < first || Instant::now() < end)
}

/// The stream of case `number` of a subject.
fn draws(subject: &str, number: u64) -> Stream {
    rng::stream(number, &format!("random {subject}"))
}

fn case(number: u64, op: impl Op + 'static, inputs: Vec<CaseInput>, batch: usize) -> OpCase {
    let map = inputs[0].map;
    let name = format!("random case {number}, {batch} of {map}, {op:?}");
    OpCase::new(&name, op, inputs, batch)
}

fn uniform(number: u64, op: impl Op + 'static, map: Map, batch: usize) -> OpCase {
    case(number, op, vec![CaseInput::uniform(map)], batch)
}

/// A convolution, its input and batch: the first draw of up to two million multiply-adds, which the
/// emulator does in no time.
fn convolution(number: u64) -> (Conv2d, Map, usize) {
    let mut draws = draws("conv2d", number);
    loop {
        let (conv, map, batch) = any_convolution(&mut draws);
        if batch as u64 * conv.cost(&[Spec::f32(map)]).macs <= 2_000_000 {
            return (conv, map, batch);
        }
    }
}

fn any_convolution(draws: &mut Stream) -> (Conv2d, Map, usize) {
    let map = map(draws);
    let channels = map.channels;
    let divisors: Vec<usize> = (1..=channels).filter(|n| channels.is_multiple_of(*n)).collect();
    let some = pick(draws, &divisors);
    let groups = pick(draws, &[1, 1, channels, some]);
    let out_channels = match from_to(draws, 0, 2) {
        0 => groups,
        1 => groups * from_to(draws, 1, 2),
        _ => groups * pick(draws, &CHANNELS).div_ceil(groups),
    };
    let mut pair = |low, high| [(); 2].map(|()| from_to(draws, low, high));
    let (kernel, stride, dilation) = (pair(1, 4), pair(1, 3), pair(1, 3));
    let mut padding = pair(0, 6);
    for axis in 0..2 {
        let size = [map.height, map.width][axis];
        let reach = (kernel[axis] - 1) * dilation[axis] + 1;
        padding[axis] = padding[axis].max(reach.saturating_sub(size).div_ceil(2));
    }
    let (bias, batch) = (draws.chance(0.5), from_to(draws, 1, 3));
    let base = Conv2d::square(channels, out_channels, 1, 1, 0);
    (Conv2d { kernel, stride, padding, dilation, groups, bias, ..base }, map, batch)
}

/// The slow kernels' results: bits of output and input gradient; the weight's gradient within what
/// rounding of each of its `terms` additions and products can do, n·2⁻²⁴·Σ|x·dy| to first order.
fn agrees_with_the_slow_kernels(
    case: &OpCase,
    conv: &Conv2d,
    found: &[(String, Vec<f32>)],
    device: &Device,
) {
    let bench = Bench::new(case, device, PlanKind::Train);
    let get = |name| bench.weights.find(name).map(|id| bench.weights.get(id).unwrap());
    let x: Vec<f32> = input_words(case)[0].iter().map(|word| f32::from_bits(*word)).collect();
    let weight = get("op.weight").unwrap();
    let bias = get("op.bias").ok();
    let tensor = |name: &str| &found.iter().find(|(known, _)| known == name).unwrap().1;
    let output = tensor("output");
    let gradient = output_gradient(case, output.len());
    let input = case.inputs[0].map;
    let check = Check {
        conv,
        input,
        images: case.batch,
        x: &x,
        weight: &weight,
        bias: bias.as_deref(),
        gradient: &gradient,
    };
    let place = "the slow kernel and the fast one";
    kernels::assert_same_bits(case, "output", &check.output(device).unwrap(), output, place);
    let dx = check.input_gradient(device).unwrap();
    kernels::assert_same_bits(case, "dx", &dx, tensor("gradient of input 0"), place);

    let absolute = |values: &[f32]| values.iter().map(|v| v.abs()).collect::<Vec<f32>>();
    let [x, weight, gradient] = [&x, &weight, &gradient].map(|values| absolute(values));
    let bias = bias.as_deref().map(absolute);
    let sizes =
        Check { x: &x, weight: &weight, gradient: &gradient, bias: bias.as_deref(), ..check };
    let pixels = output.len() / conv.out_channels;
    let within = |name: &str, found: &[f32], exact: Vec<f64>, sizes: Vec<f64>, terms: usize| {
        for (at, ((f, e), size)) in found.iter().zip(exact).zip(sizes).enumerate() {
            let bound = (terms + 2) as f64 * 2f64.powi(-24) * size;
            let error = (f64::from(*f) - e).abs();
            assert!(error <= bound, "{}: {name}[{at}] is {f}, {e} in f64", case.name);
        }
    };
    let (exact, size) = (check.output_f64(device).unwrap(), sizes.output_f64(device).unwrap());
    within(
        "output",
        output,
        exact,
        size,
        conv.kernel[0] * conv.kernel[1] * conv.in_channels / conv.groups,
    );
    let exact = check.input_gradient_f64(device).unwrap();
    let size = sizes.input_gradient_f64(device).unwrap();
    let terms = conv.kernel[0] * conv.kernel[1] * conv.out_channels / conv.groups;
    within("dx", &dx, exact, size, terms);
    let exact = check.weight_gradient_f64(device).unwrap();
    let size = sizes.weight_gradient_f64(device).unwrap();
    within("dw", tensor("gradient of op.weight"), exact, size, pixels);
}

/// Chains of fmaf in the order of κ; sums over pixels may be taken otherwise.
fn of_maps(name: &str) -> bool {
    ["output", "gradient of input 0"].contains(&name)
}

#[test]
pub fn random_convolutions() {
    let mut seen = [0; 5];
    for number in numbers(80) {
        let (conv, map, batch) = convolution(number);
        let case = uniform(number, conv, map, batch);
        let found = kernels::equals_the_cpu(&case, of_maps);
        let (place, device) = &kernel_devices()[0];
        agrees_with_the_slow_kernels(&case, &conv, &found, device);
        kernels::changes_exactly_the_faulted_elements(&case, place, device);
        for (seen, here) in seen.iter_mut().zip([
            (0..2).any(|axis| conv.padding[axis] > conv.kernel[axis]),
            map.pixels() == 1,
            conv.groups > 1 && conv.groups < conv.in_channels,
            conv.groups > 1 && conv.groups == conv.in_channels,
            conv.dilation != [1; 2] && conv.stride != [1; 2],
        ]) {
            *seen += usize::from(here);
        }
    }
    assert!(seen.iter().all(|seen| *seen > 1), "{seen:?}: draw other numbers");
}

#[test]
pub fn random_linear_layers() {
    for number in numbers(16) {
        let mut draws = draws("linear", number);
        let draws = &mut draws;
        let bias = draws.chance(0.5);
        let (inputs, outputs) = (pick(draws, &CHANNELS), pick(draws, &CHANNELS));
        let flat = Map::new(from_to(draws, 1, 3), from_to(draws, 1, 3), pick(draws, &[1, 3, 33]));
        let (op, map) = match from_to(draws, 0, 2) {
            0 => (Linear::new(inputs, outputs, bias), Map::vector(inputs)),
            1 => (Linear::new(inputs, outputs, bias), Map::new(flat.height, flat.width, inputs)),
            _ => (Linear::flattened(flat, outputs, bias), flat),
        };
        let case = uniform(number, op, map, from_to(draws, 1, 9));
        kernels::equals_the_cpu(&case, of_maps);
        let (place, device) = &kernel_devices()[0];
        kernels::changes_exactly_the_faulted_elements(&case, place, device);
    }
}

#[test]
pub fn random_matrix_products() {
    let mut tiled = 0;
    for number in numbers(24) {
        let mut draws = draws("matmul", number);
        let draws = &mut draws;
        let sizes = [1, 2, 3, 4, 7, 16, 33, 64, 70, 130];
        let [rows, terms, columns] = [(); 3].map(|()| pick(draws, &sizes));
        let (batches, batch) = (from_to(draws, 1, 3), from_to(draws, 1, 2));
        let (op, b) = match draws.chance(0.5) {
            true => (MatMul::transposed(), Map::new(batches, columns, terms)),
            false => (MatMul::new(), Map::new(batches, terms, columns)),
        };
        tiled += usize::from(rows > 64 && columns > 64);
        let inputs =
            vec![CaseInput::uniform(Map::new(batches, rows, terms)), CaseInput::uniform(b)];
        let case = case(number, op, inputs, batch);
        kernels::equals_the_cpu(&case, |_| true);
        let (place, device) = &kernel_devices()[0];
        kernels::changes_exactly_the_faulted_elements(&case, place, device);
    }
    assert!(tiled > 0, "no case of several tiles: draw other numbers");
}

#[test]
pub fn random_pools() {
    for number in numbers(24) {
        let mut draws = draws("pools", number);
        let draws = &mut draws;
        let (map, batch) = (map(draws), from_to(draws, 1, 3));
        let mut pair = |low: usize, high: [usize; 2]| high.map(|high| from_to(draws, low, high));
        let output = pair(1, [7, 7]);
        case_of_pool(number, AdaptiveAvgPool { output }, map, batch);
        // PyTorch's limit: half of the kernel.
        let kernel = pair(1, [map.height.min(5), map.width.min(5)]);
        let (stride, padding) = (pair(1, [3, 3]), pair(0, kernel.map(|k| k / 2)));
        let mut max = MaxPool::square(1, 1, 0);
        (max.window.kernel, max.window.stride, max.window.padding) = (kernel, stride, padding);
        for axis in 0..2 {
            let room = [map.height, map.width][axis] + 2 * padding[axis];
            let most = if kernel[axis] > 1 { (room - 1) / (kernel[axis] - 1) } else { 2 };
            max.window.dilation[axis] = from_to(draws, 1, most.min(3));
        }
        let distinct = vec![CaseInput { map, fill: Fill::Distinct }];
        kernels::equals_the_cpu(&case(number, max, distinct, batch), |_| true);
        let count_include_pad = draws.chance(0.5);
        case_of_pool(number, AvgPool { kernel, stride, padding, count_include_pad }, map, batch);
    }
}

/// Means are added up in row-major order on every device.
fn case_of_pool(number: u64, op: impl Op + 'static, map: Map, batch: usize) {
    kernels::equals_the_cpu(&uniform(number, op, map, batch), |_| true);
}

#[test]
pub fn random_norms_and_softmax() {
    for number in numbers(24) {
        let mut draws = draws("norms", number);
        let draws = &mut draws;
        let (map, batch) = (map(draws), from_to(draws, 1, 3));
        kernels::equals_the_cpu(
            &uniform(number, LayerNorm::new(map.channels), map, batch),
            of_maps,
        );
        kernels::equals_the_cpu(&uniform(number, L2Normalize, map, batch), |_| true);
        kernels::equals_the_cpu(&uniform(number, Softmax, map, batch), |_| true);
        let reduce = pick(draws, &Reduce::ALL);
        kernels::equals_the_cpu(&uniform(number, reduce, map, batch), |_| true);
        // Of few values a channel the input's gradient is a difference of nearly equal numbers, and its
        // size no measure of its rounding.
        let batch = batch.max(12usize.div_ceil(map.pixels()));
        let norm = BatchNorm::new(map.channels);
        kernels::equals_the_cpu(&uniform(number, norm, map, batch), |_| false);
        kernels::equals_the_cpu(&uniform(number, norm, map, batch).eval(), |name| name == "output");
    }
}

#[test]
pub fn random_attention() {
    let mut tiled = 0;
    for number in numbers(36) {
        let mut draws = draws("attention", number);
        let draws = &mut draws;
        let heads = from_to(draws, 1, 3);
        let dim = pick(draws, &[1, 3, 5, 16, 32, 33, 64]);
        let form = match draws.chance(0.5) {
            true => Form::Cosine,
            false => Form::Dot { scale: (dim as f32).powf(-0.5) },
        };
        let size = [(); 2].map(|()| pick(draws, &[1, 2, 3, 5, 7, 9]));
        let repeats = [(); 2].map(|()| from_to(draws, 1, 3));
        let mut bias = pick(draws, &[None, Some(Bias::Plain), Some(Bias::Sigmoid16)]);
        let partition = match from_to(draws, 0, 4) {
            0 => Partition::Grid { size },
            1 | 2 => Partition::Whole { causal: draws.chance(0.5) },
            _ => Partition::Windows { size, shift: size.map(|n| from_to(draws, 0, n - 1)) },
        };
        if let Partition::Whole { .. } = partition {
            bias = None;
        }
        let attention = Attention { heads, form, partition, bias };
        let [height, width] = [size[0] * repeats[0], size[1] * repeats[1]];
        let inputs = attention_inputs(&attention, [height, width], dim);
        let tokens = match partition {
            Partition::Whole { .. } => height * width,
            _ => size[0] * size[1],
        };
        tiled += usize::from(tokens > 64);
        let batch = from_to(draws, 1, 2);
        kernels::equals_the_cpu(&case(number, attention, inputs, batch), of_maps);
    }
    assert!(tiled > 1, "{tiled} cases of more tokens than a tile: draw other numbers");
}
