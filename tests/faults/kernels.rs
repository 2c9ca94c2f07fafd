//! Faults inside the exact kernels of convolution and linear layers: every site against plain loops over
//! pixels, channels and terms, in bits.

use std::sync::Arc;

use flipside::device::Device;
use flipside::fault::{FaultEntry, Site};
use flipside::number::{BitMasks, Compute};
use flipside::ops::conv2d::Conv2d;
use flipside::ops::{GemmView, KernelVariant, Op};
use flipside::rng::{self, Draw};
use flipside::tape::{Execution, NodeId, PlanKind, Tape, Weights};
use flipside::tensor::{Map, Spec};

use crate::devices::{device, kernel_devices};
use crate::kernels::bits;

/// A layer with its operands, as a user of the kernels would have them.
struct Layer {
    conv: Conv2d,
    input: Map,
    output: Map,
    images: usize,
    x: Vec<f32>,
    /// Stored order: (taps, C/G, O).
    w: Vec<f32>,
    bias: Vec<f32>,
    tape: Arc<Tape>,
    image: NodeId,
    node: NodeId,
}

/// One fault, by its address.
#[derive(Clone, Copy, Debug)]
struct Fault {
    site: Site,
    image: usize,
    m: usize,
    n: usize,
    k: usize,
    masks: BitMasks,
}

impl Fault {
    fn hit(&self, value: f32) -> f32 {
        f32::from_bits(self.masks.apply(value.to_bits()))
    }
}

impl Layer {
    fn new(conv: Conv2d, input: Map, images: usize) -> Layer {
        let mut tape = Tape::new();
        let image = tape.input("x", Spec::f32(input));
        let node = tape.record("layer", conv, &[image]).unwrap();
        let output = tape.node(node).spec.map;
        let mut draws = rng::stream(5, "faults in kernels");
        let mut values = |count: usize| -> Vec<f32> {
            (0..count).map(|_| draws.between(-1.0, 1.0) as f32).collect()
        };
        let terms = conv.kernel[0] * conv.kernel[1] * conv.in_channels / conv.groups;
        let (x, w) = (values(images * input.elements()), values(terms * conv.out_channels));
        let bias = if conv.bias { values(conv.out_channels) } else { vec![] };
        Layer { conv, input, output, images, x, w, bias, tape: Arc::new(tape), image, node }
    }

    fn view(&self) -> GemmView {
        self.conv.sites(&[Spec::f32(self.input)]).gemm_view().unwrap()
    }

    fn variant(&self) -> KernelVariant {
        self.conv.variant(&[Spec::f32(self.input)], Compute::Exact).unwrap()
    }

    /// A[m, κ] of an image and the group of channel n.
    fn a(&self, image: usize, m: usize, n: usize, term: usize) -> f32 {
        let Conv2d { kernel, stride, padding, dilation, in_channels, groups, .. } = self.conv;
        let depth = in_channels / groups;
        let (tap, channel) = (term / depth, term % depth);
        let place = |axis: usize, output: usize, tap: usize, size: usize| {
            (output * stride[axis] + tap * dilation[axis])
                .checked_sub(padding[axis])
                .filter(|at| *at < size)
        };
        let row = place(0, m / self.output.width, tap / kernel[1], self.input.height);
        let column = place(1, m % self.output.width, tap % kernel[1], self.input.width);
        let (Some(row), Some(column)) = (row, column) else { return 0.0 };
        let group = n / (self.conv.out_channels / groups);
        let at =
            image * self.input.elements() + self.input.index(row, column, group * depth + channel);
        self.x[at]
    }

    /// y[m, n] of an image with the faults that reach it.
    fn y(&self, image: usize, m: usize, n: usize, faults: &[Fault]) -> f32 {
        let variant = self.variant();
        let of_image = || faults.iter().filter(|fault| fault.image == image);
        let mut sum = 0f32;
        for term in 0..self.view().k {
            let (mut a, mut b) =
                (self.a(image, m, n, term), self.w[term * self.conv.out_channels + n]);
            let columns = variant.group_columns;
            let one_tile = |other: usize| variant.same_column_tile(n, other);
            for fault in of_image().filter(|fault| fault.k == term) {
                let same_row = fault.m == m && one_tile(fault.n);
                let same_column = fault.n == n && variant.rows.same_tile(fault.m, m);
                let one_owner = variant.columns.same_owner(fault.n % columns, n % columns);
                match fault.site {
                    Site::SharedA if same_row => a = fault.hit(a),
                    Site::OperandA if same_row && one_owner => a = fault.hit(a),
                    Site::SharedB if same_column => b = fault.hit(b),
                    Site::OperandB if same_column && variant.rows.same_owner(fault.m, m) => {
                        b = fault.hit(b)
                    }
                    _ => {}
                }
            }
            sum = a.mul_add(b, sum);
            for fault in of_image().filter(|fault| fault.k == term + 1) {
                if fault.site == Site::Accumulator && (fault.m, fault.n) == (m, n) {
                    sum = fault.hit(sum);
                }
            }
        }
        let sum = if self.conv.bias { sum + self.bias[n] } else { sum };
        of_image().filter(|fault| (fault.m, fault.n) == (m, n)).fold(sum, |sum, fault| match fault
            .site
        {
            Site::Output => fault.hit(sum),
            Site::StoreLost => 0.0,
            _ => sum,
        })
    }

    /// Every output, channels-last.
    fn all(&self, faults: &[Fault]) -> Vec<f32> {
        let mut y = Vec::with_capacity(self.images * self.output.elements());
        for image in 0..self.images {
            for m in 0..self.output.pixels() {
                y.extend((0..self.output.channels).map(|n| self.y(image, m, n, faults)));
            }
        }
        y
    }

    /// What the kernels make of `faults`; `None`: not armed at all.
    fn run(&self, device: &Device, faults: Option<&[Fault]>) -> Vec<f32> {
        let mut weights = Weights::new(&self.tape, device, false).unwrap();
        let spec = &self.tape.params()[0].spec;
        let w = spec.layout.load(&spec.shape, &self.w);
        weights.set(weights.find("layer.weight").unwrap(), &w).unwrap();
        if self.conv.bias {
            weights.set(weights.find("layer.bias").unwrap(), &self.bias).unwrap();
        }
        let mut exec =
            Execution::new(&self.tape, device, PlanKind::Golden, self.images + 1, &[self.node])
                .unwrap();
        exec.begin(self.images).unwrap();
        exec.write(self.image, &self.x).unwrap();
        if let Some(faults) = faults {
            let entries: Vec<_> =
                faults.iter().map(|fault| (fault.image, self.entry(fault))).collect();
            let table = exec.table_of(self.node, &entries).unwrap();
            exec.arm(self.node, table).unwrap();
        }
        exec.forward(&weights).unwrap();
        exec.read(self.node).unwrap()
    }

    fn entry(&self, fault: &Fault) -> FaultEntry {
        let element = (fault.n * self.output.pixels() + fault.m) as u64;
        let k = if fault.site.has_term() { fault.k as u32 } else { 0 };
        FaultEntry::at(fault.site, element, k, fault.masks)
    }
}

/// Layers that between them have every tile, several of them in both directions, odd sizes, groups,
/// strides and more images than one in a tile.
fn layers() -> Vec<Layer> {
    let square = Conv2d::square;
    vec![
        // 128×128: two tiles of columns, three of rows, in one image.
        Layer::new(Conv2d { bias: true, ..square(5, 150, 1, 1, 0) }, Map::new(17, 16, 5), 2),
        // 128×64, with slices that aren't full.
        Layer::new(square(7, 70, 3, 1, 1), Map::new(9, 9, 7), 3),
        // 64×64: several images in a tile.
        Layer::new(Conv2d { bias: true, ..square(6, 40, 3, 2, 1) }, Map::new(9, 7, 6), 4),
        // 128×32, groups.
        Layer::new(Conv2d { groups: 2, ..square(8, 10, 3, 1, 1) }, Map::new(12, 12, 8), 2),
        // A linear layer: an image a row.
        Layer::new(Conv2d { bias: true, ..square(37, 70, 1, 1, 0) }, Map::vector(37), 5),
    ]
}

const SITES: [Site; 7] = [
    Site::Output,
    Site::StoreLost,
    Site::Accumulator,
    Site::OperandA,
    Site::OperandB,
    Site::SharedA,
    Site::SharedB,
];

/// Faults at drawn places, `count` of them.
fn drawn(layer: &Layer, sites: &[Site], count: usize, label: &str) -> Vec<Fault> {
    let mut draws = rng::stream(6, label);
    let view = layer.view();
    let mut below = |range: usize| draws.below(range as u64) as usize;
    (0..count)
        .map(|index| {
            let site = sites[index % sites.len()];
            let k = below(view.k) + usize::from(site == Site::Accumulator);
            let bit = [30, 23, 31, 12][below(4)];
            let masks = match below(4) {
                0 => BitMasks::stuck_at_1(3 << bit.min(29)),
                1 => BitMasks::set(0x4123_4567),
                _ => BitMasks::flip(1 << bit),
            };
            Fault { site, image: below(layer.images), m: below(view.m), n: below(view.n), k, masks }
        })
        .collect()
}

fn assert_bits(layer: &Layer, faults: &[Fault], found: &[f32], expected: &[f32], order: &str) {
    let (found, expected) = (bits(found), bits(expected));
    let Some(at) = (0..found.len()).find(|at| found[*at] != expected[*at]) else { return };
    let (image, rest) = (at / layer.output.elements(), at % layer.output.elements());
    let (m, n) = (rest / layer.output.channels, rest % layer.output.channels);
    panic!(
        "{:?} on {order}: image {image}, m {m}, n {n} is {:08x}, not {:08x}, with {faults:?}",
        layer.conv, found[at], expected[at]
    );
}

/// Armed without faults is clean, in bits; both are the plain loops'.
#[test]
fn armed_kernels_without_faults_have_the_clean_bits() {
    for layer in layers() {
        let expected = layer.all(&[]);
        for (order, device) in kernel_devices() {
            assert_bits(&layer, &[], &layer.run(&device, None), &expected, &order);
            assert_bits(&layer, &[], &layer.run(&device, Some(&[])), &expected, &order);
        }
        // The loop is searched, and the fault changes nothing.
        let nothing = BitMasks::flip(0);
        let idle = Fault { site: Site::SharedB, image: 0, m: 0, n: 0, k: 1, masks: nothing };
        let (order, device) = kernel_devices().remove(0);
        assert_bits(&layer, &[idle], &layer.run(&device, Some(&[idle])), &expected, &order);
    }
}

/// One fault of each site: the outputs that it reaches have the bits of a loop that it is applied in, all
/// others the clean ones.
#[test]
pub fn a_fault_reaches_what_its_site_says_and_nothing_else() {
    for layer in layers() {
        let clean = layer.all(&[]);
        for (site, fault) in SITES.iter().zip(drawn(&layer, &SITES, SITES.len(), "one fault")) {
            let fault = Fault { site: *site, masks: BitMasks::flip(1 << 30), ..fault };
            let expected = layer.all(&[fault]);
            assert_ne!(bits(&expected), bits(&clean), "{site:?} has no effect in {:?}", layer.conv);
            for (order, device) in kernel_devices() {
                assert_bits(
                    &layer,
                    &[fault],
                    &layer.run(&device, Some(&[fault])),
                    &expected,
                    &order,
                );
            }
        }
    }
}

/// Many faults of all sites and models at once, in every image of its own, several on one element too.
#[test]
fn many_faults_in_one_launch_keep_to_their_images() {
    for layer in layers() {
        let mut faults = drawn(&layer, &SITES, 40, "many faults");
        let twice = Fault { masks: BitMasks::flip(1), ..faults[3] };
        faults.push(twice);
        // The table has them by element; of one element in this order.
        faults.sort_by_key(|fault| fault.n * layer.output.pixels() + fault.m);
        let expected = layer.all(&faults);
        for (order, device) in kernel_devices() {
            assert_bits(&layer, &faults, &layer.run(&device, Some(&faults)), &expected, &order);
        }
    }
}

/// The first and the last row, column and term.
#[test]
fn faults_at_the_edges_are_found() {
    for layer in layers() {
        let view = layer.view();
        for site in SITES {
            for (m, n, k) in [(0, 0, 0), (view.m - 1, view.n - 1, view.k - 1)] {
                let k = k + usize::from(site == Site::Accumulator);
                let image = if m == 0 { 0 } else { layer.images - 1 };
                let fault = Fault { site, image, m, n, k, masks: BitMasks::flip(1 << 30) };
                let (order, device) = kernel_devices().remove(0);
                let expected = layer.all(&[fault]);
                assert_bits(
                    &layer,
                    &[fault],
                    &layer.run(&device, Some(&[fault])),
                    &expected,
                    &order,
                );
            }
        }
    }
}

/// Places that aren't there, and sites that the layer or the device doesn't have, are refused by name.
#[test]
fn impossible_faults_are_refused() {
    let layer = layers().remove(0);
    let said = |device: &Device, fault: Fault| {
        let mut exec =
            Execution::new(&layer.tape, device, PlanKind::Golden, 2, &[layer.node]).unwrap();
        exec.begin(2).unwrap();
        let table = exec.table_of(layer.node, &[(fault.image, layer.entry(&fault))]);
        table.and_then(|table| exec.arm(layer.node, table)).unwrap_err().to_string()
    };
    let device = device();
    let masks = BitMasks::flip(1);
    let fault = Fault { site: Site::Accumulator, image: 0, m: 0, n: 0, k: 1, masks };
    assert!(said(&device, Fault { k: 0, ..fault }).contains("takes 1 to 5"));
    assert!(said(&device, Fault { k: 6, ..fault }).contains("k = 6"));
    assert!(said(&device, Fault { n: 150, ..fault }).contains("accumulator"));
    assert!(said(&device, Fault { image: 2, ..fault }).contains("image 2"));
    assert!(said(&device, Fault { site: Site::Scores, ..fault }).contains("no fault site scores"));
    let said = said(&Device::cpu(), fault);
    assert!(said.contains("accumulator") && said.contains("--device cuda or emulated"), "{said}");
}
