//! Attention against its definition in f64: a map is rolled, cut into parts, masked and put together
//! again, step by step as torchvision's `shifted_window_attention` and MaxViT's partitions do.

use std::sync::Arc;

use flipside::cases::{OpCase, attention_inputs};
use flipside::device::Device;
use flipside::fault::Site;
use flipside::ops::Op;
use flipside::ops::attention::{Attention, Bias, Form, Partition};
use flipside::ops::constant::Constant;
use flipside::rng::{self, Draw};
use flipside::tape::{PlanKind, Tape};
use flipside::tensor::{Map, Region, Span};

use crate::devices::devices;
use crate::kernels::bits;
use crate::ops::{Bench, input_words, output_gradient};

/// A map of f64 for one image, channels last.
#[derive(Clone)]
pub struct Image {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub values: Vec<f64>,
}

impl Image {
    fn at(&self, row: usize, column: usize, channel: usize) -> f64 {
        self.values[(row * self.width + column) * self.channels + channel]
    }

    fn of(
        height: usize,
        width: usize,
        channels: usize,
        f: impl Fn(usize, usize, usize) -> f64,
    ) -> Image {
        let mut values = Vec::new();
        for row in 0..height {
            for column in 0..width {
                values.extend((0..channels).map(|channel| f(row, column, channel)));
            }
        }
        Image { height, width, channels, values }
    }

    /// `torch.roll` by −`shift`.
    fn roll_back(&self, shift: [usize; 2]) -> Image {
        Image::of(self.height, self.width, self.channels, |row, column, channel| {
            let [row, column] = [(row + shift[0]) % self.height, (column + shift[1]) % self.width];
            self.at(row, column, channel)
        })
    }
}

/// Rows of tokens of one part and the places that they come from.
type Part = Vec<[usize; 2]>;

fn parts(map: Map, partition: Partition) -> Vec<Part> {
    let mut parts = Vec::new();
    match partition {
        Partition::Whole { .. } => {
            parts.push((0..map.pixels()).map(|at| [at / map.width, at % map.width]).collect());
        }
        Partition::Windows { size, .. } => {
            for top in (0..map.height).step_by(size[0]) {
                for left in (0..map.width).step_by(size[1]) {
                    let token = |t: usize| [top + t / size[1], left + t % size[1]];
                    parts.push((0..size[0] * size[1]).map(token).collect());
                }
            }
        }
        Partition::Grid { size } => {
            // Windows of the distance between a part's tokens; then the axes change places.
            let distance = [map.height / size[0], map.width / size[1]];
            let windows = self::parts(map, Partition::Windows { size: distance, shift: [0, 0] });
            for token in 0..distance[0] * distance[1] {
                parts.push(windows.iter().map(|window| window[token]).collect());
            }
        }
    }
    parts
}

/// torchvision's mask labels: three stretches along each axis, those later in the list on top.
fn labels(map: Map, size: [usize; 2], shift: [usize; 2]) -> Image {
    let stretches = |length: usize, size: usize, shift: usize| {
        [(0, length - size), (length - size, length - shift), (length - shift, length)]
    };
    let mut labels = Image::of(map.height, map.width, 1, |_, _, _| -1.0);
    let mut count = 0.0;
    for (top, bottom) in stretches(map.height, size[0], shift[0]) {
        for (left, right) in stretches(map.width, size[1], shift[1]) {
            for row in top..bottom {
                for column in left..right {
                    labels.values[row * map.width + column] = count;
                }
            }
            count += 1.0;
        }
    }
    labels
}

/// What becomes of a score or probability: by site, head, query (its pixel on the map as it is) and key
/// (its number within its part).
pub type Hit<'a> = &'a dyn Fn(Site, [usize; 3], f64) -> f64;

/// Attention by its definition; `table` is rows × columns × heads of offsets.
pub fn definition(
    op: &Attention,
    qkv: &Image,
    table: &[f64],
    logit_scale: &[f64],
    hit: Hit<'_>,
) -> Image {
    let map = Map::new(qkv.height, qkv.width, qkv.channels);
    let channels = qkv.channels / 3;
    let dim = channels / op.heads;
    let (mut shift, mut size) = ([0, 0], [map.height, map.width]);
    match op.partition {
        Partition::Windows { size: window, shift: by } => {
            size = window;
            for axis in 0..2 {
                shift[axis] =
                    if size[axis] >= [map.height, map.width][axis] { 0 } else { by[axis] };
            }
        }
        Partition::Grid { size: window } => size = window,
        Partition::Whole { .. } => {}
    }
    let rolled = qkv.roll_back(shift);
    let labels = labels(map, size, shift);
    let mut y = Image::of(map.height, map.width, channels, |_, _, _| f64::NAN);
    for part in parts(map, op.partition) {
        for head in 0..op.heads {
            let vector = |which: usize, token: [usize; 2]| -> Vec<f64> {
                let first = which * channels + head * dim;
                (first..first + dim).map(|c| rolled.at(token[0], token[1], c)).collect()
            };
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let values: Vec<Vec<f64>> = part.iter().map(|key| vector(2, *key)).collect();
            for (i, query) in part.iter().enumerate() {
                let q = vector(0, *query);
                let place = [(query[0] + shift[0]) % map.height, (query[1] + shift[1]) % map.width];
                let pixel = place[0] * map.width + place[1];
                let score = |(j, key): (usize, &[usize; 2])| {
                    let k = vector(1, *key);
                    let mut score = dot(&q, &k);
                    score *= match op.form {
                        Form::Dot { scale } => f64::from(scale),
                        Form::Cosine => {
                            let lengths = dot(&q, &q).sqrt() * dot(&k, &k).sqrt();
                            logit_scale[head].min(100f64.ln()).exp() / lengths
                        }
                    };
                    score = hit(Site::Scores, [head, pixel, j], score);
                    if let Some(bias) = op.bias {
                        let row = i / size[1] + size[0] - 1 - j / size[1];
                        let column = i % size[1] + size[1] - 1 - j % size[1];
                        let entry = table[(row * (2 * size[1] - 1) + column) * op.heads + head];
                        score += match bias {
                            Bias::Plain => entry,
                            Bias::Sigmoid16 => 16.0 / (1.0 + (-entry).exp()),
                        };
                    }
                    if shift != [0, 0]
                        && labels.at(query[0], query[1], 0) != labels.at(key[0], key[1], 0)
                    {
                        score -= 100.0;
                    }
                    if op.partition == (Partition::Whole { causal: true }) && j > i {
                        score += f64::NEG_INFINITY;
                    }
                    score
                };
                let scores: Vec<f64> = part.iter().enumerate().map(score).collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let e: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
                let sum: f64 = e.iter().sum();
                let e = e.into_iter().enumerate();
                let e: Vec<f64> =
                    e.map(|(j, e)| hit(Site::Probabilities, [head, pixel, j], e)).collect();
                for c in 0..dim {
                    let terms = e.iter().zip(&values).map(|(e, v)| e * v[c]);
                    y.values[pixel * channels + head * dim + c] = terms.sum::<f64>() / sum;
                }
            }
        }
    }
    y
}

/// Operations of every partition, form and bias, with a map's height and width and channels a head;
/// the last ones of as many tokens as a tile of a kernel, and of more.
pub fn problems() -> Vec<(Attention, [usize; 2], usize)> {
    let attention = |heads, form, partition, bias| Attention { heads, form, partition, bias };
    let windows = |size, shift| Partition::Windows { size, shift };
    let dot = Form::Dot { scale: 0.3 };
    let (plain, sigmoid) = (Some(Bias::Plain), Some(Bias::Sigmoid16));
    vec![
        (attention(2, Form::Cosine, windows([4, 4], [2, 2]), sigmoid), [8, 12], 32),
        (attention(1, Form::Cosine, windows([3, 2], [1, 1]), sigmoid), [9, 4], 5),
        (attention(2, dot, windows([3, 4], [0, 2]), None), [6, 8], 24),
        (attention(2, dot, windows([4, 3], [2, 1]), plain), [4, 9], 5),
        (attention(3, dot, windows([7, 7], [0, 0]), plain), [7, 14], 24),
        (attention(1, dot, Partition::Grid { size: [2, 3] }, plain), [6, 12], 32),
        (attention(2, dot, Partition::Whole { causal: false }, None), [3, 6], 40),
        (attention(3, Form::Cosine, Partition::Whole { causal: true }, None), [1, 19], 5),
        (attention(2, Form::Cosine, windows([8, 8], [4, 4]), sigmoid), [8, 16], 32),
        (attention(2, dot, Partition::Whole { causal: true }, None), [1, 77], 40),
        (attention(1, dot, windows([9, 9], [0, 4]), plain), [9, 18], 33),
    ]
}

pub fn case_of(op: Attention, size: [usize; 2], dim: usize) -> OpCase {
    OpCase::new(&format!("{op:?}"), op, attention_inputs(&op, size, dim), 3).eval()
}

pub fn floats(words: &[u32]) -> Vec<f64> {
    words.iter().map(|word| f64::from(f32::from_bits(*word))).collect()
}

pub fn logit_scales(bench: &Bench) -> Vec<f64> {
    let id = bench.weights.find("op.logit_scale");
    id.map_or(vec![], |id| bench.weights.get(id).unwrap().into_iter().map(f64::from).collect())
}

/// Scores are up to 12 for cosines and biases up to 12 again: f32 holds them to 1e-6, and so their
/// exponentials; outputs are means of values below 1.
#[test]
fn outputs_are_those_of_the_definition() {
    for (op, size, dim) in problems() {
        let case = case_of(op, size, dim);
        let words = input_words(&case);
        let channels = 3 * op.heads * dim;
        let images = floats(&words[0]);
        let table = words.get(1).map(|words| floats(words)).unwrap_or_default();
        let scales = logit_scales(&Bench::new(&case, &Device::cpu(), PlanKind::Infer));
        let of_image = |values: &[f64]| {
            let [height, width] = size;
            let image = Image { height, width, channels, values: values.to_vec() };
            let clean = |_, _, value| value;
            definition(&op, &image, &table, &scales, &clean).values
        };
        let expected: Vec<f64> = images.chunks(images.len() / 3).flat_map(of_image).collect();
        for (place, device) in devices() {
            let mut bench = Bench::new(&case, &device, PlanKind::Infer);
            bench.feed(&case, &words);
            bench.exec.forward_training(&mut bench.weights).unwrap();
            let found = bench.exec.read(bench.node).unwrap();
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let error = (f64::from(*found) - expected).abs();
                let name = &case.name;
                assert!(error < 4e-6, "{name} on {place}: {found} at {at}, expected {expected}");
            }
        }
    }
}

/// What an input's change can reach is what changes; images and threads leave no trace.
#[test]
fn changes_stay_within_reach() {
    for (op, size, dim) in problems() {
        let case = case_of(op, size, dim);
        let mut words = input_words(&case);
        let mut bench = Bench::new(&case, &Device::cpu(), PlanKind::Golden);
        let mut run = |words: &[Vec<u32>], parallel: bool| {
            bench.feed(&case, words);
            bench.exec.options.parallel = parallel;
            bench.exec.forward_training(&mut bench.weights).unwrap();
            bench.exec.read(bench.node).unwrap()
        };
        let clean = run(&words, true);
        assert_eq!(bits(&clean), bits(&run(&words, false)), "{} alone", case.name);
        let specs: Vec<_> = case.inputs.iter().map(|input| input.spec()).collect();
        let output = case.op.output(&specs).unwrap();
        let mut draws = rng::stream(4, &case.name);
        for trial in 0..24 {
            let input = trial % specs.len();
            let map = specs[input].map;
            let mut below = |count: usize| draws.below(count as u64) as usize;
            let image = if specs[input].shared { 0 } else { below(3) };
            let [row, column, channel] = [below(map.height), below(map.width), below(map.channels)];
            let at = image * map.elements() + map.index(row, column, channel);
            let before = std::mem::replace(&mut words[input][at], f32::NAN.to_bits());
            let faulty = run(&words, true);
            words[input][at] = before;
            let place = Region::element(image, row, column, channel);
            let mut reach = case.op.reach(input, place, &specs, &output);
            if specs[input].shared {
                reach.images = Span::all(3);
            }
            let mut reached = vec![false; clean.len()];
            reach.for_each_run(output.map, |at| {
                reached[at..at + reach.channels.len()].fill(true);
            });
            let differs: Vec<bool> =
                faulty.iter().zip(&clean).map(|(a, b)| a.to_bits() != b.to_bits()).collect();
            assert!(differs.contains(&true), "{}: input {input} at {place:?}", case.name);
            for at in 0..clean.len() {
                let values = (clean[at], faulty[at]);
                assert!(
                    reached[at] || !differs[at],
                    "{}: {place:?} reached {at}: {values:?}",
                    case.name
                );
            }
        }
    }
}

/// Beyond ln 100 the scale stays 100 and its gradient is zero; below, it isn't.
#[test]
fn the_scale_of_cosines_is_bounded() {
    let op = Attention {
        heads: 2,
        form: Form::Cosine,
        partition: Partition::Whole { causal: false },
        bias: None,
    };
    let case = OpCase { training: true, ..case_of(op, [2, 3], 5) };
    let words = input_words(&case);
    let run = |device: &Device, scales: [f32; 2]| {
        let mut bench = Bench::new(&case, device, PlanKind::Train);
        let id = bench.weights.find("op.logit_scale").unwrap();
        bench.weights.set(id, &scales).unwrap();
        bench.feed(&case, &words);
        bench.exec.forward_training(&mut bench.weights).unwrap();
        let y = bench.exec.read(bench.node).unwrap();
        let r = output_gradient(&case, y.len());
        bench.exec.backward(&mut bench.weights, bench.node, &r, |_| {}).unwrap();
        (y, bench.weights.gradient(id).unwrap())
    };
    let bound = 100f32.ln();
    for (place, device) in devices() {
        let (y, gradient) = run(&device, [bound + 1.0, 1.0]);
        assert_eq!(gradient[0], 0.0, "{place}");
        assert_ne!(gradient[1], 0.0, "{place}");
        let (at_bound, gradient) = run(&device, [bound, 1.0]);
        assert_eq!(bits(&y), bits(&at_bound), "{place}");
        assert_ne!(gradient[0], 0.0, "{place}");
    }
}

/// Gradients' bits don't depend on the number of threads.
#[test]
fn gradients_do_not_depend_on_threads() {
    for (op, size, dim) in problems() {
        let case = case_of(op, size, dim);
        let words = input_words(&case);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut bench = Bench::new(&case, &Device::cpu(), PlanKind::Train);
                bench.feed(&case, &words);
                bench.exec.forward_training(&mut bench.weights).unwrap();
                let y = bench.exec.read(bench.node).unwrap();
                let r = output_gradient(&case, y.len());
                bench.exec.backward(&mut bench.weights, bench.node, &r, |_| {}).unwrap();
                let mut all = vec![bits(&y)];
                for input in &bench.inputs {
                    all.push(bits(&bench.exec.read_gradient(*input).unwrap()));
                }
                let scale = bench.weights.find("op.logit_scale");
                all.extend(scale.map(|id| bits(&bench.weights.gradient(id).unwrap())));
                all
            })
        };
        assert_eq!(run(1), run(3), "{}", case.name);
    }
}

/// Keys and values that don't fit are refused with a reason.
#[test]
fn what_does_not_fit_is_refused() {
    let windows = |size, shift| Attention {
        heads: 2,
        form: Form::Dot { scale: 1.0 },
        partition: Partition::Windows { size, shift },
        bias: None,
    };
    let output = |op: &Attention, map: Map| op.output(&[flipside::tensor::Spec::f32(map)]);
    let map = Map::new(4, 6, 12);
    assert!(output(&windows([2, 3], [1, 2]), map).is_ok());
    assert!(output(&windows([3, 3], [0, 0]), map).is_err());
    assert!(output(&windows([2, 3], [2, 0]), map).is_err());
    assert!(output(&windows([2, 0], [0, 0]), map).is_err());
    assert!(output(&windows([2, 3], [0, 0]), Map::new(4, 6, 13)).is_err());
    let biased = Attention { bias: Some(Bias::Plain), ..windows([2, 3], [0, 0]) };
    assert!(output(&biased, map).is_err());
}

/// Swin V2's coordinates run from −8 to 8 steps of a logarithm to base 8, rows first.
#[test]
fn tables_of_coordinates_are_swins() {
    let mut tape = Tape::new();
    let name = "attn.relative_coords_table";
    let table = Arc::new(Constant::log_coordinates([8, 8]));
    tape.record_shared(name, table, &[], Some(&[name])).unwrap();
    let tape = Arc::new(tape);
    let mut weights = flipside::tape::Weights::new(&tape, &Device::cpu(), false).unwrap();
    weights.initialize(0).unwrap();
    let values = weights.get(weights.find(name).unwrap()).unwrap();
    let entry = |row: usize, column: usize| &values[(row * 15 + column) * 2..][..2];
    // log₂(1 + 8)/3 at the ends, log₂(1 + 8/7)/3 one step from the centre.
    let (end, step) = (9f32.log2() / 3.0, (1.0 + 8.0 / 7.0f32).log2() / 3.0);
    let close = |found: &[f32], expected: [f32; 2]| {
        found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-6)
    };
    assert!(close(entry(0, 14), [-end, end]));
    assert!(close(entry(7, 7), [0.0, 0.0]));
    assert!(close(entry(8, 6), [step, -step]));
}
