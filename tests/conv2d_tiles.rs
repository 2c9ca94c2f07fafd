//! Every tile of every convolution kernel, whichever a layer would take: the same bits in each exact one, and faults
//! at the end found wherever in a tile they lie, by tiles that hold one and no others.

use flipside::cases::{CaseInput, OpCase};
use flipside::device::args::{Conv2dArgs, EpilogueArgs};
use flipside::device::{Buffer, Device, KernelInfo, kernels};
use flipside::fault::{FaultEntry, FaultTable};
use flipside::number::BitMasks;
use flipside::ops::RunState;
use flipside::ops::conv2d::Conv2d;
use flipside::tape::{ParamId, PlanKind};
use flipside::tensor::Map;

use crate::devices::device;
use crate::emulator::{download, launch, numbers, upload};
use crate::kernels::bits;
use crate::ops::{Bench, input_words};

/// A forward kernel without faults in its loop, and the tile in its name.
struct Forward {
    kernel: &'static KernelInfo,
    rows: usize,
    columns: usize,
}

impl Forward {
    /// Those whose names end so.
    fn all(end: &str) -> Vec<Forward> {
        let forward = kernels().iter().filter_map(|kernel| {
            let tile = kernel.symbol.strip_prefix("conv2d_forward_")?.strip_suffix(end)?;
            let size = tile.split('_').find(|part| part.contains('x'))?;
            let (rows, columns) = size.split_once('x')?;
            let (rows, columns) = (rows.parse().ok()?, columns.parse().ok()?);
            let is_other = tile.ends_with("_armed") || tile.ends_with("_inner");
            (!is_other).then_some(Forward { kernel, rows, columns })
        });
        forward.collect()
    }

    fn is_exact(&self) -> bool {
        self.kernel.symbol.contains("_f32_")
    }

    /// Whether it computes layers with these channels of a group.
    fn takes(&self, conv: &Conv2d) -> bool {
        let in_fours = |channels: usize| (channels / conv.groups).is_multiple_of(4);
        !self.kernel.symbol.contains("_quads")
            || (in_fours(conv.in_channels) && in_fours(conv.out_channels))
    }
}

/// A convolution of a whole batch on a device.
struct Layer {
    conv: Conv2d,
    input: Map,
    output: Map,
    images: usize,
    x: Buffer,
    w: Buffer,
    y: Buffer,
    state: Buffer,
    device: Device,
}

impl Layer {
    /// `w` as (R, S, C/groups, O).
    fn new(
        device: &Device,
        conv: Conv2d,
        input: Map,
        images: usize,
        x: &[f32],
        w: &[f32],
    ) -> Layer {
        let side = |axis: usize, size: usize| {
            let reach = (conv.kernel[axis] - 1) * conv.dilation[axis] + 1;
            (size + 2 * conv.padding[axis] - reach) / conv.stride[axis] + 1
        };
        let output = Map::new(side(0, input.height), side(1, input.width), conv.out_channels);
        let state = RunState { images: images as u32, ..RunState::default() };
        Layer {
            output,
            x: upload(device, x),
            w: upload(device, w),
            y: device.alloc(4 * images * output.elements()).unwrap(),
            state: upload(device, &[state]),
            device: device.clone(),
            conv,
            input,
            images,
        }
    }

    /// One with a kernel of 1 × 1.
    fn pointwise(
        device: &Device,
        outputs: usize,
        groups: usize,
        input: Map,
        images: usize,
    ) -> Layer {
        let conv = Conv2d { groups, ..Conv2d::square(input.channels, outputs, 1, 1, 0) };
        let x = numbers(images * input.elements(), 1);
        let w = numbers(input.channels / groups * outputs, 2);
        Layer::new(device, conv, input, images, &x, &w)
    }

    fn rows(&self) -> usize {
        self.images * self.output.pixels()
    }

    fn group_columns(&self) -> usize {
        self.conv.out_channels / self.conv.groups
    }

    /// The output of a kernel, with the faults of a table where it looks for any.
    fn run(&self, forward: &Forward, faults: &[(usize, FaultEntry)]) -> Vec<f32> {
        let Layer { conv, input, output, .. } = self;
        let pair = |values: [usize; 2]| values.map(|value| value as u32);
        let table = FaultTable::new("op", self.images, *output, faults).unwrap();
        let table = upload(&self.device, &table.to_bytes());
        let args = Conv2dArgs {
            x: self.x.address(),
            w: self.w.address(),
            y: self.y.address(),
            result: 0,
            partial: 0,
            state: self.state.address(),
            faults: table.address(),
            in_size: pair([input.height, input.width]),
            out_size: pair([output.height, output.width]),
            in_channels: conv.in_channels as u32,
            out_channels: conv.out_channels as u32,
            kernel: pair(conv.kernel),
            stride: pair(conv.stride),
            padding: pair(conv.padding),
            dilation: pair(conv.dilation),
            groups: conv.groups as u32,
            accumulate: 0,
            splits: 1,
            epilogue: EpilogueArgs::default(),
        };
        let down = self.rows().div_ceil(forward.rows) as u32;
        let across = self.group_columns().div_ceil(forward.columns) as u32;
        let groups = conv.groups as u32;
        let grid =
            if forward.is_exact() { [down, across, groups] } else { [down * across, groups, 1] };
        let block = [forward.kernel.max_threads, 1, 1];
        launch(&self.device, forward.kernel.symbol, grid, block, &args).unwrap();
        download(&self.y)
    }
}

/// A batch of a convolution, its values and what the CPU makes of them.
fn on_the_cpu(
    name: &str,
    conv: Conv2d,
    input: Map,
    images: usize,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let case = OpCase::new(name, conv, vec![CaseInput::uniform(input)], images);
    let mut bench = Bench::new(&case, &Device::cpu(), PlanKind::Golden);
    let words = input_words(&case);
    bench.feed(&case, &words);
    bench.exec.forward_training(&mut bench.weights).unwrap();
    let y = bench.exec.read(bench.node).unwrap();
    let x = words[0].iter().map(|word| f32::from_bits(*word)).collect();
    // (O, C/groups, R, S), as PyTorch has it, to (R, S, C/groups, O).
    let weight = bench.weights.get(ParamId(0)).unwrap();
    let (taps, depth) = (conv.kernel[0] * conv.kernel[1], conv.in_channels / conv.groups);
    let mut w = vec![0.0; weight.len()];
    for output in 0..conv.out_channels {
        for channel in 0..depth {
            for tap in 0..taps {
                w[(tap * depth + channel) * conv.out_channels + output] =
                    weight[(output * depth + channel) * taps + tap];
            }
        }
    }
    (x, w, y)
}

#[test]
pub fn exact_outputs_have_the_same_bits_in_every_tile() {
    let device = device();
    let square = Conv2d::square;
    for (name, conv, input, images) in [
        ("fours", square(8, 136, 3, 1, 1), Map::new(9, 7, 8), 3),
        (
            "groups of fours",
            Conv2d { groups: 2, ..square(24, 72, 3, 2, 1) },
            Map::new(13, 15, 24),
            4,
        ),
        (
            "dilated fours",
            Conv2d { dilation: [2, 3], padding: [2, 4], ..square(4, 36, 3, 1, 2) },
            Map::new(6, 7, 4),
            2,
        ),
        ("one pixel", square(40, 132, 1, 1, 0), Map::new(1, 1, 40), 130),
        ("odd channels", square(5, 131, 3, 1, 1), Map::new(9, 7, 5), 3),
    ] {
        let (x, w, expected) = on_the_cpu(name, conv, input, images);
        let layer = Layer::new(&device, conv, input, images, &x, &w);
        let mut tried = 0;
        for forward in [Forward::all(""), Forward::all("_armed")].iter().flatten() {
            if forward.is_exact() && forward.takes(&conv) {
                let found = layer.run(forward, &[]);
                assert_eq!(bits(&found), bits(&expected), "{name}, {}", forward.kernel.symbol);
                tried += 1;
            }
        }
        assert_eq!(tried, if name == "odd channels" { 8 } else { 18 }, "{name}");
    }
}

/// The places beside the edges of tiles of any size: their last and first rows or columns.
fn edges(end: usize) -> Vec<usize> {
    let mut edges: Vec<usize> =
        [0, 31, 32, 63, 64, 127, 128, end - 1].into_iter().filter(|at| *at < end).collect();
    edges.dedup();
    edges
}

/// One fault alone, at an edge of a tile: the armed kernel of each tile changes this element and no other, and looks the
/// elements up of no tile but its own.
#[test]
pub fn a_fault_is_found_at_every_edge_of_a_tile_and_only_its_tile_is_searched() {
    let device = device();
    for layer in [
        Layer::pointwise(&device, 136, 2, Map::new(3, 3, 8), 15), // several images in a tile
        Layer::pointwise(&device, 132, 1, Map::new(9, 17, 4), 1), // several tiles in an image
        Layer::pointwise(&device, 67, 1, Map::new(1, 1, 3), 131), // an image a row
    ] {
        for armed in Forward::all("_armed").iter().filter(|armed| armed.takes(&layer.conv)) {
            let clean = layer.run(armed, &[]);
            let searches = layer.device.fault_searches();
            assert_eq!(bits(&layer.run(armed, &[])), bits(&clean));
            assert_eq!(layer.device.fault_searches(), searches, "a table without faults");
            for row in edges(layer.rows()) {
                for column in edges(layer.group_columns()) {
                    is_found(&layer, armed, &clean, row, layer.conv.groups - 1, column);
                }
            }
        }
    }
}

fn is_found(
    layer: &Layer,
    armed: &Forward,
    clean: &[f32],
    row: usize,
    group: usize,
    column: usize,
) {
    let (pixels, columns) = (layer.output.pixels(), layer.group_columns());
    let channel = group * columns + column;
    let fault = FaultEntry::output(channel * pixels + row % pixels, BitMasks::flip(1 << 30));
    let before = layer.device.fault_searches();
    let found = layer.run(armed, &[(row / pixels, fault)]);
    let searches = layer.device.fault_searches() - before;
    let mut expected = clean.to_vec();
    let hit = &mut expected[row * layer.conv.out_channels + channel];
    *hit = f32::from_bits(fault.masks().apply(hit.to_bits()));
    let place = format!("{}, row {row}, column {column}", armed.kernel.symbol);
    assert_eq!(bits(&found), bits(&expected), "{place}");

    // Each tile asks for two runs a channel at most, and one an image.
    let tiles =
        layer.rows().div_ceil(armed.rows) * columns.div_ceil(armed.columns) * layer.conv.groups;
    let part = |at: usize, tile: usize, end: usize| tile.min(end - at / tile * tile);
    let of_tile = part(row, armed.rows, layer.rows()) * part(column, armed.columns, columns);
    let asked = tiles * (2 * armed.columns.min(columns) + armed.rows);
    assert!(searches as usize <= of_tile + asked, "{place}: {searches} searches");
}
