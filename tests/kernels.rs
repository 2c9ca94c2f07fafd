//! Every kernel, emulated, against the CPU; under three thread orders with equal bits among them.

use std::sync::Arc;

use flipside::cases::{self, CaseInput, OpCase};
use flipside::device::Device;
use flipside::fault::{FaultEntry, FaultTable};
use flipside::number::BitMasks;
use flipside::ops::activation::Activation;
use flipside::ops::add::Add;
use flipside::ops::attention::{Attention, Form, Partition};
use flipside::ops::dropout::Dropout;
use flipside::ops::reduce::Reduce;
use flipside::ops::{HostBackward, HostForward, Op, RunState};
use flipside::tape::{Execution, ParamId, PlanKind, Tape, Weights};
use flipside::tensor::{DType, Map, Region, Spec};
use flipside::{Error, Result};

use crate::devices::{device, devices, kernel_devices};
use crate::mutants;
use crate::ops::{Bench, input_words, output_gradient};

/// Every case, but where a mutant is run those of its operation.
fn cases() -> Vec<OpCase> {
    let runs = |case: &OpCase| mutants::concerns(case.op.kind());
    cases::all().into_iter().filter(runs).collect()
}

/// Every tensor that a case's passes write: name and values.
pub fn run(case: &OpCase, device: &Device) -> Vec<(String, Vec<f32>)> {
    run_with_room(case, device, 0)
}

/// The same in memory for `room` more images.
fn run_with_room(case: &OpCase, device: &Device, room: usize) -> Vec<(String, Vec<f32>)> {
    let (tape, inputs, node) = case.tape().unwrap();
    let capacity = case.batch + room;
    let mut bench = Bench::of_tape(tape, inputs, node, capacity, device, PlanKind::Train);
    bench.feed(case, &input_words(case));
    bench.exec.forward_training(&mut bench.weights).unwrap();
    let y = bench.exec.read(bench.node).unwrap();
    let r = output_gradient(case, y.len());
    bench.exec.backward(&mut bench.weights, bench.node, &r, |_| {}).unwrap();
    let mut tensors = vec![("output".to_string(), y)];
    for (index, input) in case.inputs.iter().enumerate() {
        if input.spec().storage == DType::F32 && bench.differentiable(case, index) {
            let gradient = bench.exec.read_gradient(bench.inputs[index]).unwrap();
            tensors.push((format!("gradient of input {index}"), gradient));
        }
    }
    for (index, param) in bench.tape.params().iter().enumerate() {
        let id = ParamId(index);
        if param.spec.dtype() == DType::U32 {
            let count = bench.weights.counter(id).unwrap() as f32;
            tensors.push((param.name.clone(), vec![count]));
        } else if param.spec.role.is_trained() {
            let gradient = bench.weights.gradient(id).unwrap();
            tensors.push((format!("gradient of {}", param.name), gradient));
        } else {
            tensors.push((param.name.clone(), bench.weights.get(id).unwrap()));
        }
    }
    tensors
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() }).collect()
}

/// An operation that the CPU alone can run.
#[derive(Debug)]
struct Native;

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for Native {
    fn kind(&self) -> &'static str {
        "native"
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], _output: &Spec) -> Region {
        region
    }

    fn forward(&self, ctx: &mut HostForward<'_>) -> Result<()> {
        ctx.output().copy_from_slice(ctx.input(0));
        Ok(())
    }

    fn backward(&self, _ctx: &mut HostBackward<'_>) -> Result<()> {
        Ok(())
    }
}

/// An operation without kernels says so on a device, by its name.
#[test]
fn an_operation_without_kernels_says_so() {
    let input = CaseInput::uniform(Map::vector(3));
    let case = OpCase::new("copy", Native, vec![input], 2);
    let forward = |device: &Device| {
        let mut bench = Bench::new(&case, device, PlanKind::Infer);
        bench.feed(&OpCase::new("copy", Native, vec![input], 2).eval(), &input_words(&case));
        bench.exec.forward_training(&mut bench.weights)
    };
    forward(&Device::cpu()).unwrap();
    let device = device();
    match forward(&device) {
        Err(Error::Unsupported { op, device: place }) => {
            assert_eq!((op.as_str(), place), ("native", device.kind().to_string()));
        }
        other => panic!("{other:?}"),
    }
}

/// Heads that no kernel has room for.
#[test]
fn attention_with_heads_too_wide_for_kernels_says_so() {
    let op = Attention {
        heads: 2,
        form: Form::Dot { scale: 0.1 },
        partition: Partition::Whole { causal: false },
        bias: None,
    };
    let case = OpCase::new("wide", op, vec![CaseInput::uniform(Map::new(1, 4, 3 * 2 * 65))], 1);
    let mut bench = Bench::new(&case, &device(), PlanKind::Train);
    bench.feed(&case, &input_words(&case));
    match bench.exec.forward_training(&mut bench.weights) {
        Err(Error::Unsupported { op, .. }) => assert!(op.contains("65 channels"), "{op}"),
        other => panic!("{other:?}"),
    }
}

/// Whether tensors are the CPU's, within the case's tolerance.
fn assert_close(
    case: &OpCase,
    expected: &[(String, Vec<f32>)],
    found: &[(String, Vec<f32>)],
    place: &str,
) {
    for ((name, expected), (_, found)) in expected.iter().zip(found) {
        let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (at, (e, f)) in expected.iter().zip(found).enumerate() {
            let close = (e - f).abs() <= case.tolerance * largest;
            assert!(
                close || (e.is_nan() && f.is_nan()) || e == f,
                "{}: {name}[{at}] is {f} on {place}, {e} on the CPU",
                case.name
            );
        }
    }
}

/// A batch that doesn't fill its memory: kernels leave the rest out, of their sums, too.
#[test]
pub fn emulated_kernels_leave_out_images_that_are_not_there() {
    let (order, device) = kernel_devices().remove(0);
    for case in cases() {
        let found = run_with_room(&case, &device, 5);
        assert_close(&case, &run(&case, &Device::cpu()), &found, &order);
    }
}

#[test]
pub fn emulated_kernels_equal_the_cpu_under_every_thread_order() {
    for case in cases() {
        equals_the_cpu(&case, |_| false);
    }
}

/// One case in every thread order: the CPU's tensors within the case's tolerance, those that are
/// `promised`, by their names, to the bit; and the same bits in each order. What the first order gave.
pub fn equals_the_cpu(case: &OpCase, promised: impl Fn(&str) -> bool) -> Vec<(String, Vec<f32>)> {
    let expected = run(case, &Device::cpu());
    let mut first: Option<Vec<(String, Vec<f32>)>> = None;
    for (order, device) in kernel_devices() {
        let found = run(case, &device);
        assert_close(case, &expected, &found, &order);
        for ((name, expected), (_, found)) in expected.iter().zip(&found) {
            if promised(name) {
                assert_same_bits(case, name, expected, found, &format!("the CPU and {order}"));
            }
        }
        match &first {
            None => first = Some(found),
            Some(first) => {
                for ((name, a), (_, b)) in first.iter().zip(&found) {
                    assert_same_bits(case, name, a, b, &format!("the first order and {order}"));
                }
            }
        }
    }
    first.unwrap_or_default()
}

/// `places`: of which devices the two are.
pub fn assert_same_bits(case: &OpCase, name: &str, a: &[f32], b: &[f32], places: &str) {
    assert_eq!(a.len(), b.len(), "{}: {name}", case.name);
    for (at, (x, y)) in bits(a).into_iter().zip(bits(b)).enumerate() {
        let name = format!("{}: {name}[{at}]", case.name);
        assert_eq!(x, y, "{name} is {} and {} on {places}", a[at], b[at]);
    }
}

/// Convolutions and linear layers promise the CPU's bits, not just closeness; but sums over pixels,
/// the gradients of their parameters, are taken in parts.
#[test]
pub fn emulated_convolutions_have_the_bits_of_the_cpu() {
    let of_chains = |name: &str| ["output", "gradient of input 0"].contains(&name);
    kernels_have_the_bits_of_the_cpu(&["conv2d", "linear"], of_chains);
}

/// So do operations without sums or with sums in the CPU's order.
#[test]
pub fn emulated_kernels_of_single_chains_have_the_bits_of_the_cpu() {
    let kinds = ["add", "l2_normalize", "dropout", "constant", "slice", "canvas", "softmax"];
    kernels_have_the_bits_of_the_cpu(&kinds, |_| true);
    kernels_have_the_bits_of_the_cpu(&["matmul"], |_| true);
    let pools = ["max_pool", "avg_pool", "adaptive_avg_pool"];
    kernels_have_the_bits_of_the_cpu(&pools, |_| true);
    let kinds = Activation::ALL.map(|activation| activation.kind());
    kernels_have_the_bits_of_the_cpu(&kinds, |_| true);
    let kinds = ["leaky_relu", "clip", "elu", "selu", "hard_sigmoid", "softplus", "softsign"];
    kernels_have_the_bits_of_the_cpu(&kinds, |_| true);
    let kinds = ["mish", "erf", "sqrt", "exp", "log", "reciprocal", "abs"];
    kernels_have_the_bits_of_the_cpu(&kinds, |_| true);
    let kinds = Reduce::ALL.map(|reduce| reduce.kind());
    kernels_have_the_bits_of_the_cpu(&kinds, |_| true);
}

/// These sum over a row in the CPU's order, but over pixels in two stages.
#[test]
pub fn emulated_sums_over_channels_have_the_bits_of_the_cpu() {
    let kinds = ["multiply", "gated_sum", "layer_norm", "attention"];
    let of_rows = |name: &str| ["output", "gradient of input 0"].contains(&name);
    kernels_have_the_bits_of_the_cpu(&kinds, of_rows);
}

/// `promised`: which tensors, by their names.
fn kernels_have_the_bits_of_the_cpu(kinds: &[&str], promised: impl Fn(&str) -> bool) {
    let cases: Vec<_> =
        cases().into_iter().filter(|case| kinds.contains(&case.op.kind())).collect();
    let there = |kind: &str| cases.iter().any(|case| case.op.kind() == kind);
    assert!(kinds.iter().all(|kind| there(kind) || !mutants::concerns(kind)));
    for case in cases {
        let expected = run(&case, &Device::cpu());
        for (order, device) in kernel_devices() {
            let found = run(&case, &device);
            let tensors = expected.iter().zip(&found).filter(|((name, _), _)| promised(name));
            for ((name, e), (_, f)) in tensors {
                assert_same_bits(&case, name, e, f, &format!("the CPU and {order}"));
            }
        }
    }
}

#[test]
pub fn armed_kernels_change_exactly_the_faulted_elements() {
    for case in cases() {
        if ["conv2d", "linear", "matmul", "scale"].contains(&case.op.kind()) {
            for (place, device) in &devices() {
                changes_exactly_the_faulted_elements(&case, place, device);
            }
        }
    }
}

/// An operation with a fault path: armed without faults gives the clean bits, one fault changes exactly
/// its element, and a batch whose images carry faults of their own changes just those.
pub fn changes_exactly_the_faulted_elements(case: &OpCase, place: &str, device: &Device) {
    let mut bench = Bench::new(case, device, PlanKind::Golden);
    bench.feed(case, &input_words(case));
    bench.exec.forward_training(&mut bench.weights).unwrap();
    let clean = bench.exec.read(bench.node).unwrap();
    let map = bench.tape.node(bench.node).spec.map;

    let mut forward = |faults: &[(usize, FaultEntry)]| {
        let table = FaultTable::new("op", case.batch, map, faults).unwrap();
        bench.exec.arm(bench.node, table).unwrap();
        bench.exec.forward_training(&mut bench.weights).unwrap();
        bench.exec.disarm();
        bench.exec.read(bench.node).unwrap()
    };
    assert_same_bits(case, "output, armed", &clean, &forward(&[]), place);

    // One fault in each image but the first, two in the last.
    let mut faults = Vec::new();
    for image in 1..case.batch {
        let element = (image * 31) % map.elements();
        let flip = BitMasks::flip(1 << (image % 32) | 1 << 30);
        faults.push((image, FaultEntry::output(element, flip)));
    }
    let last = FaultEntry::output(map.elements() - 1, BitMasks::flip(1));
    if faults.iter().all(|(image, f)| *image + 1 < case.batch || f.element != last.element) {
        faults.push((case.batch - 1, last));
    }
    let mut expected = clean.clone();
    for (image, fault) in &faults {
        let element = fault.element as usize;
        let (channel, pixel) = (element / map.pixels(), element % map.pixels());
        let at = image * map.elements() + map.index(pixel / map.width, pixel % map.width, channel);
        expected[at] = f32::from_bits(fault.masks().apply(expected[at].to_bits()));
        assert_ne!(expected[at].to_bits(), clean[at].to_bits());
    }
    assert_same_bits(case, "output, faulty", &expected, &forward(&faults), place);
}

/// Two nodes of one operation read the same inputs, so that backward adds where it assigned: kernels
/// as the CPU; and where the nodes are alike (no parameters, no masks), twice one node's gradient.
#[test]
pub fn gradients_of_several_readers_are_added() {
    let device = device();
    for case in cases() {
        // Which are the node's own.
        let has_masks =
            case.training && (case.op.kind() == "dropout" || case.name == "add stochastic depth");
        let words = input_words(&case);
        let once = run(&case, &Device::cpu());
        let added = |device: &Device| -> Vec<(String, Vec<f32>)> {
            let (tape, inputs, first) = case.tape().unwrap();
            let mut tape = Arc::into_inner(tape).unwrap();
            let second = tape.record_shared("second", case.op.clone(), &inputs, None).unwrap();
            let sum = tape.record("sum", Add::new(), &[first, second]).unwrap();
            let mut bench =
                Bench::of_tape(Arc::new(tape), inputs, sum, case.batch, device, PlanKind::Train);
            bench.feed(&case, &words);
            bench.exec.forward_training(&mut bench.weights).unwrap();
            let r = output_gradient(&case, bench.exec.read(sum).unwrap().len());
            bench.exec.backward(&mut bench.weights, sum, &r, |_| {}).unwrap();
            let differentiable = (0..case.inputs.len()).filter(|index| {
                case.inputs[*index].spec().storage == DType::F32
                    && bench.differentiable(&case, *index)
            });
            differentiable
                .map(|index| {
                    let gradient = bench.exec.read_gradient(bench.inputs[index]).unwrap();
                    (format!("gradient of input {index}"), gradient)
                })
                .collect()
        };
        let expected = added(&Device::cpu());
        for ((name, expected), (_, found)) in expected.iter().zip(&added(&device)) {
            let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
            for (at, (e, f)) in expected.iter().zip(found).enumerate() {
                let close = (e - f).abs() <= 2.0 * case.tolerance * largest;
                assert!(close, "{}: {name}[{at}] is {f}, {e} on the CPU", case.name);
            }
            if case.op.params().is_empty() && !has_masks {
                let (_, once) = once.iter().find(|(n, _)| n == name).unwrap();
                for (at, (e, once)) in expected.iter().zip(once).enumerate() {
                    let close = (e - 2.0 * once).abs() <= 4.0 * case.tolerance * largest;
                    assert!(close, "{}: {name}[{at}] is {e}, twice {once} expected", case.name);
                }
            }
        }
    }
}
/// A second batch's gradients of parameters are added to the first one's: twice the same is twice as much, on every
/// device.
#[test]
pub fn gradients_of_several_batches_are_added() {
    for (place, device) in devices() {
        for case in cases() {
            let mut bench = Bench::new(&case, &device, PlanKind::Train);
            bench.feed(&case, &input_words(&case));
            bench.exec.forward_training(&mut bench.weights).unwrap();
            let r = output_gradient(&case, bench.exec.read(bench.node).unwrap().len());
            bench.exec.backward(&mut bench.weights, bench.node, &r, |_| {}).unwrap();
            let ids = || (0..bench.tape.params().len()).map(ParamId);
            let trained = |id: &ParamId| bench.tape.params()[id.0].is_trained();
            let read = |bench: &Bench| -> Vec<Vec<f32>> {
                ids().filter(trained).map(|id| bench.weights.gradient(id).unwrap()).collect()
            };
            let once = read(&bench);
            let (weights, node) = (&mut bench.weights, bench.node);
            let mut finals = 0;
            bench.exec.backward_adding(weights, node, &r, |_| finals += 1).unwrap();
            assert_eq!(finals, once.len(), "{}: a gradient becomes final once", case.name);
            for (once, twice) in once.iter().zip(read(&bench)) {
                let largest = once.iter().fold(0f32, |most, value| most.max(value.abs()));
                // Sums begin with what is there.
                let bound = 2.0 * case.tolerance.max(1e-6) * largest;
                for (once, twice) in once.iter().zip(twice) {
                    let close = (twice - 2.0 * once).abs() <= bound;
                    assert!(close, "{} on {place}: {twice} is not twice {once}", case.name);
                }
            }
        }
    }
}

/// Where one parameter is frozen, every other gradient has the bits that it has without that.
#[test]
pub fn a_frozen_parameter_changes_no_other_gradient() {
    for (place, device) in devices() {
        for case in cases() {
            let clean = run(&case, &device);
            let params = case.tape().unwrap().0.params().to_vec();
            let trained: Vec<usize> =
                (0..params.len()).filter(|i| params[*i].is_trained()).collect();
            // With both of a batch norm's it is another operation.
            let is_alone = case.op.kind() == "batch_norm" && trained.len() == 1;
            for frozen in trained.into_iter().filter(|_| !is_alone) {
                let (tape, inputs, node) = case.tape().unwrap();
                let mut tape = Arc::into_inner(tape).unwrap();
                tape.freeze(&[ParamId(frozen)]);
                let tape = Arc::new(tape);
                let mut bench =
                    Bench::of_tape(tape, inputs, node, case.batch, &device, PlanKind::Train);
                bench.feed(&case, &input_words(&case));
                bench.exec.forward_training(&mut bench.weights).unwrap();
                let r = output_gradient(&case, bench.exec.read(node).unwrap().len());
                bench.exec.backward(&mut bench.weights, node, &r, |_| {}).unwrap();
                let expect = |name: String, found: Vec<f32>| {
                    let (_, expected) = clean.iter().find(|(n, _)| *n == name).unwrap();
                    let what =
                        format!("{} without {}: {name} on {place}", case.name, params[frozen].name);
                    assert_eq!(bits(&found), bits(expected), "{what}");
                };
                for (index, input) in case.inputs.iter().enumerate() {
                    if input.spec().storage == DType::F32 && bench.differentiable(&case, index) {
                        let gradient = bench.exec.read_gradient(bench.inputs[index]).unwrap();
                        expect(format!("gradient of input {index}"), gradient);
                    }
                }
                for (index, param) in bench.tape.params().iter().enumerate() {
                    let gradient = bench.weights.gradient(ParamId(index));
                    assert_eq!(gradient.is_ok(), param.is_trained(), "{}", param.name);
                    if let Ok(gradient) = gradient {
                        expect(format!("gradient of {}", param.name), gradient);
                    }
                }
            }
        }
    }
}

/// Outputs of the logit scale are single products, of a factor that was rounded once.
#[test]
fn the_emulated_logit_scale_has_the_bits_of_the_cpu() {
    for case in cases().into_iter().filter(|case| case.op.kind() == "scale") {
        let (_, expected) = &run(&case, &Device::cpu())[0];
        for (order, device) in kernel_devices() {
            let (name, found) = &run(&case, &device)[0];
            assert_eq!(bits(expected), bits(found), "{}: {name} on {order}", case.name);
        }
    }
}

/// A label that is no class: NaN for its image and no other, since a kernel can't refuse.
#[test]
fn a_label_beyond_the_classes_gives_nan() {
    let case = cases().into_iter().find(|c| c.op.kind() == "cross_entropy").unwrap();
    let mut words = input_words(&case);
    words[1][2] = 13;
    let mut bench = Bench::new(&case, &device(), PlanKind::Train);
    bench.feed(&case, &words);
    bench.exec.forward_training(&mut bench.weights).unwrap();
    let losses = bench.exec.read(bench.node).unwrap();
    bench.exec.backward(&mut bench.weights, bench.node, &vec![1.0; losses.len()], |_| {}).unwrap();
    let gradient = bench.exec.read_gradient(bench.inputs[0]).unwrap();
    for (image, loss) in losses.iter().enumerate() {
        assert_eq!(loss.is_nan(), image == 2);
        assert!(gradient[image * 13..][..13].iter().all(|g| g.is_nan() == (image == 2)));
    }
}

/// x + x: both gradients go to one place.
#[test]
fn a_sum_of_a_value_with_itself_has_both_gradients() {
    for device in [device(), Device::cpu()] {
        let mut tape = Tape::new();
        let x = tape.input("x", Spec::f32(Map::vector(5)));
        tape.want_gradient(x);
        let y = tape.record("sum", Add::new(), &[x, x]).unwrap();
        let tape = Arc::new(tape);
        let mut weights = Weights::new(&tape, &device, true).unwrap();
        let mut exec = Execution::new(&tape, &device, PlanKind::Train, 1, &[y]).unwrap();
        exec.begin_training(RunState::default(), &[0]).unwrap();
        exec.write(x, &[1.0f32, 2.0, 3.0, 4.0, 5.0]).unwrap();
        exec.forward_training(&mut weights).unwrap();
        assert_eq!(exec.read(y).unwrap(), [2.0, 4.0, 6.0, 8.0, 10.0]);
        exec.backward(&mut weights, y, &[1.0, 0.5, 0.25, -1.0, 0.0], |_| {}).unwrap();
        assert_eq!(exec.read_gradient(x).unwrap(), [2.0, 1.0, 0.5, -2.0, 0.0]);
    }
}

/// The mask belongs to the sample, not to its place in the batch; epochs and seeds change it, and
/// it keeps the share of elements that it should.
#[test]
fn dropout_masks_belong_to_samples() {
    const ELEMENTS: usize = 4099;
    let map = Map::vector(ELEMENTS);
    for device in [device(), Device::cpu()] {
        let mut tape = Tape::new();
        let x = tape.input("x", Spec::f32(map));
        let y = tape.record("head.dropout", Dropout { p: 0.25 }, &[x]).unwrap();
        let tape = Arc::new(tape);
        let mut weights = Weights::new(&tape, &device, false).unwrap();
        let mut exec = Execution::new(&tape, &device, PlanKind::Train, 3, &[y]).unwrap();
        let mut kept = |seed: u64, epoch: u64, samples: &[u64]| -> Vec<Vec<bool>> {
            let state = RunState { seed, epoch, ..RunState::default() };
            exec.begin_training(state, samples).unwrap();
            exec.write(x, &vec![3.0f32; samples.len() * ELEMENTS]).unwrap();
            exec.forward_training(&mut weights).unwrap();
            let y = exec.read(y).unwrap();
            assert!(y.iter().all(|v| *v == 0.0 || *v == 4.0));
            y.chunks(ELEMENTS).map(|image| image.iter().map(|v| *v > 0.0).collect()).collect()
        };
        let high = 7 | 1 << 40;
        let masks = kept(1, 2, &[7, high, 9]);
        assert!(masks[0] != masks[1] && masks[0] != masks[2]);
        assert_eq!(kept(1, 2, &[9, 7]), [masks[2].clone(), masks[0].clone()]);
        assert_ne!(kept(1, 3, &[7])[0], masks[0]);
        assert_ne!(kept(1 << 35 | 1, 2, &[7])[0], masks[0]);
        // Five standard deviations of a binomial share.
        let share = masks.iter().flatten().filter(|kept| **kept).count() as f64 / 3.0;
        let deviation = (0.25f64 * 0.75 / (3.0 * ELEMENTS as f64)).sqrt();
        assert!((share / ELEMENTS as f64 - 0.75).abs() < 5.0 * deviation);
    }
}
