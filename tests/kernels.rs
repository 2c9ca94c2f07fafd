//! Every kernel, emulated, against the CPU; under three thread orders with equal bits among them.

use std::sync::Arc;

use flipside::device::{self, Device, EmulatorOptions, ThreadOrder};
use flipside::fault::{BitMasks, FaultEntry, FaultTable};
use flipside::ops::add::Add;
use flipside::ops::case::{self, OpCase};
use flipside::tape::{ParamId, PlanKind};
use flipside::tensor::DType;

use crate::ops::{Bench, input_words, output_gradient};

/// The devices that run kernels here: the emulator under three thread orders, or the GPU where
/// `FLIPSIDE_TEST_DEVICE` names one.
fn kernel_devices() -> Vec<(String, Device)> {
    if let Ok(name) = std::env::var("FLIPSIDE_TEST_DEVICE") {
        return vec![(name.clone(), Device::parse(&name).unwrap())];
    }
    [ThreadOrder::Forward, ThreadOrder::Reverse, ThreadOrder::Shuffle(7)]
        .into_iter()
        .map(|order| {
            let options = EmulatorOptions { order, parallel: true };
            (format!("{order:?}"), Device::emulated_with(options))
        })
        .collect()
}

/// Every tensor that a case's passes write: name and values.
fn run(case: &OpCase, device: &Device) -> Vec<(String, Vec<f32>)> {
    let mut bench = Bench::new(case, device, PlanKind::Train);
    bench.feed(case, &input_words(case));
    bench.exec.forward(&bench.weights).unwrap();
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

#[test]
fn emulated_kernels_equal_the_cpu_under_every_thread_order() {
    for case in case::all() {
        let expected = run(&case, &Device::cpu());
        let mut first: Option<Vec<(String, Vec<f32>)>> = None;
        for (order, device) in kernel_devices() {
            let found = run(&case, &device);
            for ((name, expected), (_, found)) in expected.iter().zip(&found) {
                let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
                for (at, (e, f)) in expected.iter().zip(found).enumerate() {
                    let close = (e - f).abs() <= case.tolerance * largest;
                    assert!(
                        close || (e.is_nan() && f.is_nan()) || e == f,
                        "{}: {name}[{at}] is {f} on {order}, {e} on the CPU",
                        case.name
                    );
                }
            }
            match &first {
                None => first = Some(found),
                Some(first) => {
                    for ((name, a), (_, b)) in first.iter().zip(&found) {
                        assert_eq!(bits(a), bits(b), "{}: {name} depends on {order}", case.name);
                    }
                }
            }
        }
    }
}

/// Convolutions and linear layers promise the CPU's bits, not just closeness.
#[test]
fn emulated_convolutions_have_the_bits_of_the_cpu() {
    kernels_have_the_bits_of_the_cpu(&["conv2d", "linear"]);
}

/// So do operations without sums or with sums in the CPU's order.
#[test]
fn emulated_kernels_of_single_chains_have_the_bits_of_the_cpu() {
    kernels_have_the_bits_of_the_cpu(&["relu", "add", "l2_normalize", "dropout"]);
}

fn kernels_have_the_bits_of_the_cpu(kinds: &[&str]) {
    let cases: Vec<_> =
        case::all().into_iter().filter(|case| kinds.contains(&case.op.kind())).collect();
    assert!(kinds.iter().all(|kind| cases.iter().any(|case| case.op.kind() == *kind)));
    for case in cases {
        let expected = run(&case, &Device::cpu());
        for (order, device) in kernel_devices() {
            for ((name, e), (_, f)) in expected.iter().zip(&run(&case, &device)) {
                assert_eq!(bits(e), bits(f), "{}: {name} on {order}", case.name);
            }
        }
    }
}

/// Operations with a fault path: armed without faults gives the clean bits, one fault changes
/// exactly its element, and a batch whose images carry faults of their own changes just those.
#[test]
fn armed_kernels_change_exactly_the_faulted_elements() {
    let mut devices = kernel_devices();
    devices.truncate(1);
    devices.push(("cpu".into(), Device::cpu()));
    for case in case::all() {
        let kind = case.op.kind();
        if !["conv2d", "linear", "scale"].contains(&kind) {
            continue;
        }
        for (place, device) in &devices {
            let mut bench = Bench::new(&case, device, PlanKind::Golden);
            bench.feed(&case, &input_words(&case));
            bench.exec.forward(&bench.weights).unwrap();
            let clean = bench.exec.read(bench.node).unwrap();
            let map = bench.tape.node(bench.node).spec.map;

            let mut forward = |faults: &[(usize, FaultEntry)]| {
                let table = FaultTable::new("op", case.batch, map, faults).unwrap();
                bench.exec.arm(bench.node, table).unwrap();
                bench.exec.forward(&bench.weights).unwrap();
                bench.exec.disarm();
                bench.exec.read(bench.node).unwrap()
            };
            assert_eq!(bits(&forward(&[])), bits(&clean), "{} armed on {place}", case.name);

            // One fault in each image but the first, two in the last.
            let mut faults = Vec::new();
            for image in 1..case.batch {
                let element = (image * 31) % map.elements();
                let flip = BitMasks::flip(1 << (image % 32) | 1 << 30);
                faults.push((image, FaultEntry::output(element, flip, 0)));
            }
            let last = FaultEntry::output(map.elements() - 1, BitMasks::flip(1), 1);
            if faults.iter().all(|(image, f)| *image + 1 < case.batch || f.element != last.element)
            {
                faults.push((case.batch - 1, last));
            }
            let mut expected = clean.clone();
            for (image, fault) in &faults {
                let element = fault.element as usize;
                let (channel, pixel) = (element / map.pixels(), element % map.pixels());
                let at = image * map.elements()
                    + map.index(pixel / map.width, pixel % map.width, channel);
                expected[at] = f32::from_bits(fault.masks().apply(expected[at].to_bits()));
                assert_ne!(expected[at].to_bits(), clean[at].to_bits());
            }
            assert_eq!(bits(&forward(&faults)), bits(&expected), "{} on {place}", case.name);
        }
    }
}

#[test]
fn every_kernel_has_arguments_that_were_held_against_the_cuda_source() {
    let mut checked = flipside::ops::check_layouts().unwrap();
    checked.sort_unstable();
    assert_eq!(checked, device::kernels::struct_names(false));
}

/// Two nodes of one operation read the same inputs, so that backward adds where it assigned: kernels
/// as the CPU; and where the nodes are alike (no parameters, no masks), twice one node's gradient.
#[test]
fn gradients_of_several_readers_are_added() {
    let device = kernel_devices().swap_remove(0).1;
    for case in case::all() {
        let words = input_words(&case);
        let once = run(&case, &Device::cpu());
        let added = |device: &Device| -> Vec<(String, Vec<f32>)> {
            let (tape, inputs, first) = case.tape().unwrap();
            let mut tape = Arc::into_inner(tape).unwrap();
            let second = tape.record_shared("second", case.op.clone(), &inputs, None).unwrap();
            let sum = tape.record("sum", Add, &[first, second]).unwrap();
            let mut bench =
                Bench::of_tape(Arc::new(tape), inputs, sum, case.batch, device, PlanKind::Train);
            bench.feed(&case, &words);
            bench.exec.forward(&bench.weights).unwrap();
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
            if case.op.params().is_empty() && case.op.kind() != "dropout" {
                let (_, once) = once.iter().find(|(n, _)| n == name).unwrap();
                for (at, (e, once)) in expected.iter().zip(once).enumerate() {
                    let close = (e - 2.0 * once).abs() <= 4.0 * case.tolerance * largest;
                    assert!(close, "{}: {name}[{at}] is {e}, twice {once} expected", case.name);
                }
            }
        }
    }
}
