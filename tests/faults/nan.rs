//! Faults of values that are NaN: every device finds the same one, whatever its arithmetic makes.

use flipside::cases::{CaseInput, OpCase};
use flipside::device::Device;
use flipside::fault::{FaultEntry, Site, SiteClass};
use flipside::number::{BitMasks, Compute, Format};
use flipside::ops::attention::{Attention, Form, Partition};
use flipside::ops::conv2d::Conv2d;
use flipside::tape::{ParamHit, ParamId, PlanKind};
use flipside::tensor::Map;

use crate::devices::kernel_devices;
use crate::mutants;
use crate::ops::{Bench, input_words};
use crate::tensor_cores::TYPES;

/// The NaN of x86's arithmetic, of NVIDIA's GPUs, the one that faults find, and a signalling one.
const NANS: [u32; 4] = [0xffc0_0000, 0x7fff_ffff, 0x7fc0_0000, 0x7fa1_2345];

/// The image that is hit, of two.
const IMAGE: usize = 1;

/// Where a NaN lies, and the fault that hits it or what follows from it.
struct Subject {
    case: OpCase,
    compute: Compute,
    format: Format,
    /// Index into the first input (memory order) or, of the sites of B, into the weight.
    nan: usize,
    site: Site,
    element: usize,
    k: usize,
    /// Index of an output that the fault changes to a number.
    at: usize,
}

impl Subject {
    fn is_of_weight(&self) -> bool {
        matches!(self.site, Site::OperandB | Site::SharedB | Site::Weight)
    }

    /// The output under faults of the one place, one after the other.
    fn run(&self, device: &Device, nan: u32, masks: &[BitMasks]) -> Vec<u32> {
        let device = device.clone().with_compute(self.compute).unwrap();
        let mut words = input_words(&self.case);
        let mut bench = Bench::new(&self.case, &device, PlanKind::Golden);
        if self.is_of_weight() {
            let mut weight = bench.weights.get(ParamId(0)).unwrap();
            weight[self.nan] = f32::from_bits(nan);
            bench.weights.set(ParamId(0), &weight).unwrap();
        } else {
            words[0][self.nan] = nan;
        }
        bench.feed(&self.case, &words);
        let entry = |masks: &BitMasks| {
            (IMAGE, FaultEntry::at(self.site, self.element as u64, self.k as u32, *masks))
        };
        if self.site == Site::Weight {
            for masks in masks {
                let (exec, id) = (&mut bench.exec, ParamId(0));
                let hit = ParamHit { param: id, image: IMAGE, index: self.element, masks: *masks };
                exec.arm_parameters(&bench.weights, &[hit]).unwrap();
            }
        } else {
            let entries: Vec<_> = masks.iter().map(entry).collect();
            let table = bench.exec.table_of(bench.node, &entries).unwrap();
            bench.exec.arm(bench.node, table).unwrap();
        }
        bench.exec.forward_training(&mut bench.weights).unwrap();
        let input = bench.exec.read(bench.inputs[0]).unwrap();
        assert_eq!(bits(&input), words[0], "{} stays as it was in memory", self.name());
        bits(&bench.exec.read(bench.node).unwrap())
    }

    fn name(&self) -> String {
        format!("{} ({}), {}", self.case.name, self.compute, self.site.name())
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Numbers to the bit; which NaN an operation makes of another is the device's matter.
fn agree(a: &[u32], b: &[u32]) -> bool {
    let nan = |bits: u32| f32::from_bits(bits).is_nan();
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || nan(*a) && nan(*b))
}

/// A linear layer of 37 terms and 70 outputs. Term 5 of output 66 is NaN.
fn of_linear(compute: Compute, site: Site) -> Subject {
    let conv = Conv2d { bias: true, ..Conv2d::square(37, 70, 1, 1, 0) };
    let case = OpCase::new("nan", conv, vec![CaseInput::uniform(Map::vector(37))], 2).eval();
    let (term, output) = (5, 66);
    let is_operand =
        matches!(site, Site::OperandA | Site::OperandB | Site::SharedA | Site::SharedB);
    let of_weight = matches!(site, Site::OperandB | Site::SharedB | Site::Weight);
    Subject {
        case,
        compute,
        format: if is_operand { compute.operands() } else { Format::F32 },
        nan: if of_weight { output * 37 + term } else { IMAGE * 37 + term },
        site,
        element: match site {
            Site::Input => term,
            Site::Weight => output * 37 + term,
            _ => output,
        },
        k: match site {
            Site::Accumulator => 37,
            _ if is_operand => term,
            _ => 0,
        },
        at: IMAGE * 70 + output,
    }
}

/// A depthwise layer of 3 × 3 on 4 × 5 pixels. The pixel (1, 2) of channel 6 is NaN, or the middle tap.
fn of_depthwise(site: Site) -> Subject {
    let conv = Conv2d { groups: 8, ..Conv2d::square(8, 8, 3, 1, 1) };
    let case = OpCase::new("nan", conv, vec![CaseInput::uniform(Map::new(4, 5, 8))], 2).eval();
    let (pixel, channel) = (5 + 2, 6);
    let of_pixel = (IMAGE * 20 + pixel) * 8 + channel;
    Subject {
        case,
        compute: Compute::Exact,
        format: Format::F32,
        nan: if site == Site::OperandB { channel * 9 + 4 } else { of_pixel },
        site,
        element: channel * 20 + pixel,
        k: match site {
            Site::Accumulator => 9,
            Site::OperandA | Site::OperandB => 4,
            _ => 0,
        },
        at: of_pixel,
    }
}

/// Attention over 3 × 6 tokens: the key of token 4 in head 1 is NaN, and so are all its scores; that of the
/// query at token 9 is hit. (The sum of a row that has such a probability is NaN already.)
fn of_attention() -> Subject {
    let form = Form::Dot { scale: 0.3 };
    let op =
        Attention { heads: 2, form, partition: Partition::Whole { causal: false }, bias: None };
    let (dim, pixels) = (5, 18);
    let input = CaseInput::uniform(Map::new(3, 6, 3 * 2 * dim));
    Subject {
        case: OpCase::new("nan", op, vec![input], 2).eval(),
        compute: Compute::Exact,
        format: Format::F32,
        nan: (IMAGE * pixels + 4) * 6 * dim + 2 * dim + dim,
        site: Site::Scores,
        element: (pixels + 9) * pixels + 4,
        k: 0,
        at: (IMAGE * pixels + 9) * 2 * dim + dim,
    }
}

fn subjects() -> Vec<Subject> {
    use Site::{Accumulator, Input, OperandA, OperandB, Output, SharedA, SharedB, Weight};
    let inner = [Accumulator, OperandA, OperandB, SharedA, SharedB];
    let mut subjects: Vec<Subject> = [Output, Input, Weight]
        .into_iter()
        .chain(inner)
        .map(|site| of_linear(Compute::Exact, site))
        .collect();
    for (compute, _) in TYPES {
        let sites = [Output].into_iter().chain(inner);
        subjects.extend(sites.map(|site| of_linear(compute, site)));
    }
    subjects.extend([Output, Input, Accumulator, OperandA, OperandB].map(of_depthwise));
    subjects.push(of_attention());
    subjects.retain(|subject| mutants::concerns(subject.case.op.kind()));
    subjects
}

/// The devices that have the site.
fn devices(subject: &Subject) -> Vec<(String, Device)> {
    let mut devices = kernel_devices();
    if subject.site.class() != SiteClass::Inner && subject.compute == Compute::Exact {
        devices.push(("cpu".into(), Device::cpu()));
    }
    devices
}

/// The upper bit of the exponent flips. Of any NaN that makes what is made of the canonical one, a number:
/// all outputs are those of a fault that sets it. So they are where an earlier fault of the same value left
/// or made a NaN, whose payload the second finds no more.
#[test]
pub fn every_device_hits_the_same_nan() {
    for subject in subjects() {
        let halves = subject.format.word_bits() == 16;
        let (quiet, top) = if halves { (0x7fff, 1 << 14) } else { (0x7fc0_0000, 1 << 30) };
        let number = BitMasks::set(quiet ^ top);
        // A NaN in any of the formats, negative.
        let other = BitMasks::set(if halves { 0xffa1 } else { 0xffa1_2345 });
        let mut first: Option<Vec<u32>> = None;
        for (place, device) in devices(&subject) {
            for nan in NANS {
                let place = format!("{} of {nan:08x} on {place}", subject.name());
                let expected = subject.run(&device, nan, &[number]);
                let found = f32::from_bits(expected[subject.at]);
                assert!(found.is_finite(), "{place}: {found} has no number in it");
                for masks in [
                    vec![BitMasks::flip(top)],
                    vec![BitMasks::flip(1), BitMasks::flip(top)],
                    vec![other, BitMasks::flip(top)],
                ] {
                    let found = subject.run(&device, nan, &masks);
                    let hit = [found[subject.at], expected[subject.at]];
                    assert!(agree(&found, &expected), "{place}, {masks:?}: {hit:08x?}");
                }
                let first = first.get_or_insert_with(|| expected.clone());
                assert!(agree(first, &expected), "{place} differs from the first device's");
            }
        }
    }
}

/// What masks leave a NaN is the same one everywhere, to the bit.
#[test]
fn an_output_that_stays_nan_has_the_same_bits_everywhere() {
    let masks = [
        (BitMasks::flip(1 << 31 | 1), 0xffc0_0001),
        (BitMasks::flip(1 << 22), 0x7f80_0000),
        (BitMasks::stuck_at_1(1 << 3), 0x7fc0_0008),
        (BitMasks::flip(0), 0x7fc0_0000),
    ];
    for subject in subjects().iter().filter(|subject| subject.site == Site::Output) {
        for (place, device) in devices(subject) {
            for nan in NANS {
                for (masks, expected) in masks {
                    let found = subject.run(&device, nan, &[masks]);
                    let found = found[subject.at];
                    assert_eq!(found, expected, "{} on {place}: {found:08x}", subject.name());
                }
            }
        }
    }
}
