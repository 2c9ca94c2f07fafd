//! Faults inside products on tensor cores: what they reach, and that armed kernels are the clean ones.

use flipside::fault::{FaultEntry, FaultTable, Site};
use flipside::number::BitMasks;
use flipside::ops::conv2d::Conv2d;
use flipside::ops::{KernelVariant, Op};
use flipside::rng::{self, Draw};
use flipside::tape::PlanKind;
use flipside::tensor::{Map, Spec};

use crate::devices::{device, kernel_devices};
use crate::formats::{Format, TF32};
use crate::kernels::bits;
use crate::tensor_cores::{Case, Run, TYPES, cases};

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
        if shared.is_empty() && register.is_empty() {
            return self.format.round(value);
        }
        let flip = |masks: &[u32]| masks.iter().fold(0, |all, mask| all ^ mask);
        if self.format == TF32 {
            // Rounded on its way into shared memory; the lower 13 bits of what is multiplied count for nothing.
            let bits = self.format.round(value).to_bits() ^ flip(shared) ^ flip(register);
            return f32::from_bits(bits & !0x1fff);
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
            _ => format.precision - 2,
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
        .map(|fault| {
            let element = (fault.n * map.pixels() + fault.m) as u64;
            let masks = BitMasks::flip(fault.mask);
            (fault.image, FaultEntry::at(fault.site, element, fault.k as u32, masks))
        })
        .collect();
    let inputs = [Spec::f32(case.map)];
    let space = |site| case.conv.sites(&inputs).space(site);
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
    for case in fault_cases() {
        for (compute, format) in TYPES {
            let variant = case.variant(compute);
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
                // The model adds in the emulator's order; a GPU's tensor cores have one of their own.
                let emulated = device.host_memory();
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
    let device = device();
    for case in cases().into_iter().take(10).chain(fault_cases()) {
        for (compute, format) in TYPES {
            let mut run = Run::new(&case, &device, compute, PlanKind::Golden, 0);
            let clean = run.forward(&case.x, case.images);
            let variant = case.variant(compute);
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
