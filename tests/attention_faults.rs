//! Faults in attention's scores and probabilities, in emulated kernels, against its definition in f64 with
//! the same values hit.

use flipside::Error;
use flipside::device::Device;
use flipside::fault::{FaultEntry, FaultTable, Site};
use flipside::number::BitMasks;
use flipside::rng::{self, Draw};
use flipside::tape::PlanKind;

use crate::attention::{Image, case_of, definition, floats, logit_scales, problems};
use crate::devices::kernel_devices;
use crate::kernels::bits;
use crate::ops::{Bench, input_words};

const SITES: [Site; 2] = [Site::Scores, Site::Probabilities];
const IMAGES: usize = 3;

/// What is done to a value. A rounding error must not grow under it: signs, exponents (of values that no
/// power of two is near) and values that are set.
fn masks() -> [BitMasks; 7] {
    let set = |value: f32| BitMasks { and: 0, or: value.to_bits(), xor: 0 };
    [
        BitMasks::flip(1 << 31),
        BitMasks::flip(1 << 30),
        set(150.0),
        set(-3.5),
        set(1e30),
        set(f32::INFINITY),
        set(f32::NAN),
    ]
}

/// A fault of one image, by head, query's pixel and key.
#[derive(Clone, Copy, Debug)]
struct Fault {
    image: usize,
    site: Site,
    place: [usize; 3],
    masks: BitMasks,
}

impl Fault {
    fn entry(&self, pixels: usize, keys: usize) -> (usize, FaultEntry) {
        let [head, query, key] = self.place;
        let element = ((head * pixels + query) * keys + key) as u64;
        (self.image, FaultEntry::at(self.site, element, 0, self.masks))
    }
}

/// Image 0 gets one fault, image 1 none, image 2 four: two at one place at both sites, and two in
/// the query's row at another key.
fn draw(trial: usize, [heads, pixels, keys]: [usize; 3], draws: &mut impl Draw) -> Vec<Fault> {
    let mut below = |count: usize| draws.below(count as u64) as usize;
    let mut place = || [below(heads), below(pixels), below(keys)];
    let kinds = masks();
    let mask = |n: usize| kinds[(trial + n) % kinds.len()];
    let alone = Fault { image: 0, site: SITES[trial % 2], place: place(), masks: mask(0) };
    let first = place();
    let beside = [first[0], first[1], (first[2] + 1) % keys];
    let of = |site, place, n| Fault { image: 2, site, place, masks: mask(n) };
    let other = place();
    vec![
        of(Site::Probabilities, first, 1),
        alone,
        of(Site::Scores, first, 2),
        of(SITES[trial / 2 % 2], beside, 3),
        of(SITES[trial / 3 % 2], other, 4),
    ]
}

/// The outputs that change are those whose value the definition moves, to where it moves them; every
/// order of threads gives the same bits; other images, heads and pixels keep theirs.
///
/// A change below 1e-5 is within the rounding of sums, and may or may not show; one of exactly 0 must not.
/// Errors are those of `attention::outputs_are_those_of_the_definition`, and relative for large values.
#[test]
pub fn kernels_change_what_the_definition_with_the_same_faults_changes() {
    let mut changes = [0; 2];
    for (op, [height, width], dim) in problems() {
        let case = case_of(op, [height, width], dim);
        let words = input_words(&case);
        let channels = 3 * op.heads * dim;
        let images = floats(&words[0]);
        let table = words.get(1).map(|words| floats(words)).unwrap_or_default();
        let specs: Vec<_> = case.inputs.iter().map(|input| input.spec()).collect();
        let pixels = height * width;
        let space = |site| case.op.sites(&specs).space(site);
        let keys = space(Site::Scores).unwrap().elements as usize / (op.heads * pixels);
        let mut benches: Vec<(String, Bench)> = kernel_devices()
            .into_iter()
            .map(|(order, device)| (order, Bench::new(&case, &device, PlanKind::Infer)))
            .collect();
        let scales = logit_scales(&benches[0].1);
        let expected = |image: usize, faults: &[Fault]| -> Vec<f64> {
            let values = images[image * channels * pixels..][..channels * pixels].to_vec();
            let hit = |site, place, value: f64| {
                let here =
                    |fault: &&Fault| (fault.image, fault.site, fault.place) == (image, site, place);
                faults.iter().filter(here).fold(value, |value, fault| {
                    let bits = fault.masks.apply((value as f32).to_bits());
                    f64::from(f32::from_bits(bits))
                })
            };
            let image = Image { height, width, channels, values };
            definition(&op, &image, &table, &scales, &hit).values
        };
        let golden: Vec<Vec<f64>> = (0..IMAGES).map(|image| expected(image, &[])).collect();
        let mut run = |faults: Option<&[Fault]>| -> Vec<f32> {
            let mut first: Option<Vec<f32>> = None;
            for (order, bench) in &mut benches {
                bench.feed(&case, &words);
                bench.exec.disarm();
                if let Some(faults) = faults {
                    let entries: Vec<_> = faults.iter().map(|f| f.entry(pixels, keys)).collect();
                    let table = FaultTable::of_sites("op", IMAGES, space, &entries).unwrap();
                    bench.exec.arm(bench.node, table).unwrap();
                }
                bench.exec.forward_training(&mut bench.weights).unwrap();
                let y = bench.exec.read(bench.node).unwrap();
                let first = first.get_or_insert_with(|| y.clone());
                assert_eq!(bits(first), bits(&y), "{}: {faults:?} on {order}", case.name);
            }
            first.unwrap()
        };
        let clean = run(None);
        assert_eq!(bits(&clean), bits(&run(Some(&[]))), "{}: armed without faults", case.name);
        let mut draws = rng::stream(6, &case.name);
        for trial in 0..masks().len() {
            let faults = draw(trial, [op.heads, pixels, keys], &mut draws);
            let found = run(Some(&faults));
            for image in 0..IMAGES {
                let expected = expected(image, &faults);
                let golden = &golden[image];
                for (at, (expected, golden_value)) in expected.iter().zip(golden).enumerate() {
                    let index = image * golden.len() + at;
                    let (found, clean) = (found[index], clean[index]);
                    let message = || {
                        format!(
                            "{}: {at} of image {image} went from {clean} to {found}, expected {golden_value} \
                             to {expected}, by {faults:?}",
                            case.name
                        )
                    };
                    let moved = (expected - golden_value).abs();
                    if moved == 0.0 {
                        assert_eq!(clean.to_bits(), found.to_bits(), "{}", message());
                    } else if moved.is_nan() || moved > 1e-5 {
                        assert_ne!(clean.to_bits(), found.to_bits(), "{}", message());
                        changes[usize::from(image == 2)] += 1;
                    }
                    let error = (f64::from(found) - expected).abs();
                    let close = error <= 4e-6 * expected.abs().max(1.0);
                    let same = found.is_nan() && expected.is_nan()
                        || f64::from(found) == f64::from(*expected as f32);
                    assert!(close || same, "{}", message());
                }
            }
        }
    }
    // Faults show: the loops above weren't empty.
    assert!(changes.iter().all(|count| *count > 500), "{changes:?}");
}

/// A site's places are heads × pixels × keys of a part; attention has no others, the CPU has none.
#[test]
fn attention_says_where_it_can_be_hit() {
    let (op, [height, width], dim) = problems().swap_remove(0);
    let case = case_of(op, [height, width], dim);
    let specs: Vec<_> = case.inputs.iter().map(|input| input.spec()).collect();
    for site in Site::ALL {
        let space = case.op.sites(&specs).space(site).map(|space| (space.elements, space.k));
        let expected = SITES.contains(&site).then_some((2 * 8 * 12 * 16, [0, 1]));
        assert_eq!(space, expected, "{site:?}");
    }
    let last = 2 * 8 * 12 * 16 - 1;
    let mut bench = Bench::new(&case, &Device::cpu(), PlanKind::Infer);
    bench.feed(&case, &input_words(&case));
    let table = |element| {
        let entry = FaultEntry::at(Site::Scores, element, 0, BitMasks::flip(1));
        bench.exec.table_of(bench.node, &[(0, entry)])
    };
    assert!(table(last + 1).is_err());
    let table = table(last).unwrap();
    match bench.exec.arm(bench.node, table) {
        Err(error @ Error::Unsupported { .. }) => {
            let text = error.to_string();
            assert!(
                text.contains("scores") && text.contains("--device cuda or emulated"),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    }
}
