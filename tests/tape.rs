//! The tape on whole networks: plans, batches, threads, replay.

use flipside::device::Device;
use flipside::fault::{FaultEntry, FaultTable};
use flipside::models::{Model, ModelFile, Network};
use flipside::nn::Head;
use flipside::number::BitMasks;
use flipside::ops::{Role, RunState};
use flipside::tape::{Execution, ParamId, PlanKind, Undo, Weights};

use crate::devices::device;
use crate::formula;
use crate::pytorch_networks::{formula_images, formula_weights};

/// A network with the weights that it is held against PyTorch with.
fn network(name: &str, head: Head, side: usize) -> Network {
    let model = Model::new(&ModelFile::open(name).unwrap(), head, 20, side, 0.0).unwrap();
    let of = if name == "resnet_small" { "resnet18" } else { name };
    let fixture = formula::fixture(&format!("networks/{of}-baseline.json"));
    let weights = formula_weights(&model, &formula::ranges(&fixture), false);
    Network { model, weights }
}

fn execution(network: &Network, kind: PlanKind, capacity: usize) -> Execution {
    network.execution(kind, capacity, &[network.model.logits]).unwrap()
}

fn logits(network: &Network, exec: &mut Execution, images: &[f32]) -> Vec<u32> {
    network.forward(exec, images).unwrap();
    exec.read(network.model.logits).unwrap().iter().map(|v| v.to_bits()).collect()
}

#[test]
fn infer_takes_little_more_than_the_largest_live_set() {
    let network = network("resnet50", Head::Baseline, 224);
    let exec = execution(&network, PlanKind::Infer, 8);
    let (bytes, least) = (exec.plan().bytes, exec.plan().largest_live_set);
    assert!(bytes as f64 <= 1.1 * least as f64, "{bytes} bytes for a live set of {least}");
    // Two maps of 256×56×56 and what the block adds to: the plan isn't one where all is kept.
    let golden = execution(&network, PlanKind::Golden, 8);
    assert!(golden.plan().bytes > 5 * bytes, "{} golden, {bytes} infer", golden.plan().bytes);
}

#[test]
fn an_image_has_the_same_bits_alone_in_a_batch_and_on_any_number_of_threads() {
    let sides = [("resnet18", 64), ("mobilenet_v2", 64), ("swin_v2_t", 40), ("focalnet_tiny", 64)];
    for (name, side) in sides {
        let network = network(name, Head::text_guided(64), side);
        let images = formula_images(5, side);
        let of_one = side * side * 3;
        let mut results = Vec::new();
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            results.push(pool.install(|| {
                let mut exec = execution(&network, PlanKind::Infer, 5);
                let batch = logits(&network, &mut exec, &images);
                for image in 0..5 {
                    let one = &images[image * of_one..(image + 1) * of_one];
                    let alone = logits(&network, &mut exec, one);
                    assert_eq!(alone, batch[image * 20..(image + 1) * 20], "{name}, image {image}");
                }
                batch
            }));
        }
        assert_eq!(results[0], results[1], "{name}: threads change the bits");
    }
}

/// Every injectable layer, a bit of the sign, the exponent and the mantissa each: the replay of
/// boxes, the replay of whole nodes, and a whole unoptimised run agree in bits; and the golden
/// values are back afterwards.
fn check_replay(name: &str, head: Head, side: usize, every: usize) {
    let network = network(name, head, side);
    let Network { model, weights } = &network;
    let images = formula_images(2, side);
    let mut whole = execution(&network, PlanKind::Infer, 2);
    let mut golden = execution(&network, PlanKind::Golden, 2);
    let clean = logits(&network, &mut golden, &images);
    assert_eq!(clean, logits(&network, &mut whole, &images));
    let mut undo = Undo::default();
    let layers = model.tape.injectable();
    let of_images = layers.iter().enumerate().filter(|(_, layer)| !layer.shared);
    for (index, layer) in of_images.rev().step_by(every) {
        let map = model.tape.node(layer.node).spec.map;
        for (image, bit) in [(0, 31), (1, 30), (1, 26), (0, 18), (1, 0)] {
            let element = (index * 7919 + bit * 104_729) % map.elements();
            let fault = FaultEntry::output(element, BitMasks::flip(1 << bit));
            let table = || FaultTable::new(&layer.name, 2, map, &[(image, fault)]).unwrap();
            whole.arm(layer.node, table()).unwrap();
            let expected = logits(&network, &mut whole, &images);
            whole.disarm();

            golden.arm(layer.node, table()).unwrap();
            let outputs = [model.logits];
            let replay =
                golden.replay_image(weights, layer.node, image, &outputs, &mut undo).unwrap();
            let found: Vec<u32> =
                golden.read(model.logits).unwrap().iter().map(|v| v.to_bits()).collect();
            assert_eq!(found, expected, "{name}: {} bit {bit}, boxes", layer.name);
            assert_eq!(replay.reached_output, found != clean);
            golden.restore(&mut undo);
            golden.disarm();
            let back: Vec<u32> =
                golden.read(model.logits).unwrap().iter().map(|v| v.to_bits()).collect();
            assert_eq!(back, clean, "{name}: {} isn't golden again", layer.name);
        }
    }
    // Whole nodes, in descending order and then some in ascending, with faults in both images.
    let layers: Vec<_> = layers.into_iter().filter(|layer| !layer.shared).collect();
    for layer in layers.iter().rev().chain(&layers[..3]).step_by(every) {
        let map = model.tape.node(layer.node).spec.map;
        let flip = |bit: u32| FaultEntry::output(map.elements() / 3, BitMasks::flip(1 << bit));
        let faults = [(0, flip(29)), (1, flip(22))];
        let table = || FaultTable::new(&layer.name, 2, map, &faults).unwrap();
        whole.arm(layer.node, table()).unwrap();
        let expected = logits(&network, &mut whole, &images);
        whole.disarm();
        golden.arm(layer.node, table()).unwrap();
        golden.replay_from(weights, layer.node).unwrap();
        golden.disarm();
        let found: Vec<u32> =
            golden.read(model.logits).unwrap().iter().map(|v| v.to_bits()).collect();
        assert_eq!(found, expected, "{name}: {}, whole nodes", layer.name);
    }
}

#[test]
fn replay_equals_a_whole_run_in_resnet18() {
    check_replay("resnet18", Head::text_guided(64), 64, 1);
}

#[test]
fn replay_equals_a_whole_run_in_resnet50() {
    check_replay("resnet50", Head::Baseline, 64, 4);
}

#[test]
fn replay_equals_a_whole_run_in_a_small_resnet() {
    check_replay("resnet_small", Head::Baseline, 32, 1);
    check_replay("resnet_small", Head::text_guided(32), 32, 1);
}

#[test]
fn replay_equals_a_whole_run_in_alexnet_and_vgg() {
    check_replay("alexnet", Head::Baseline, 96, 3);
    check_replay("vgg16_bn", Head::text_guided(64), 32, 6);
}

#[test]
fn replay_equals_a_whole_run_in_mobilenet_v2() {
    check_replay("mobilenet_v2", Head::text_guided(64), 64, 3);
}

/// 36 tokens in windows of 8 by 8: padded, and shifted in the first stage; odd maps are merged.
#[test]
fn replay_equals_a_whole_run_in_swin_v2() {
    check_replay("swin_v2_t", Head::text_guided(64), 72, 5);
}

#[test]
fn replay_equals_a_whole_run_in_focalnet() {
    check_replay("focalnet_tiny_lrf", Head::Baseline, 64, 9);
}

#[test]
fn replay_equals_a_whole_run_in_maxvit() {
    check_replay("maxvit_t", Head::Baseline, 224, 80);
}

/// In inference a batch norm's input is never in memory; a golden plan has it.
#[test]
fn a_value_inside_a_launch_is_refused() {
    let network = network("resnet_small", Head::Baseline, 32);
    let images = formula_images(1, 32);
    let inside = network.model.tape.find("conv1").unwrap();
    let mut infer = execution(&network, PlanKind::Infer, 1);
    logits(&network, &mut infer, &images);
    let error = infer.read(inside).unwrap_err().to_string();
    assert_eq!(error, "the value of conv1 isn't kept in this plan");
    let mut golden = execution(&network, PlanKind::Golden, 1);
    logits(&network, &mut golden, &images);
    assert!(golden.read(inside).is_ok());
}

/// A fault in a layer that all images share reaches every image that is asked about.
#[test]
fn a_fault_in_a_shared_layer_is_replayed_for_each_image() {
    let network = network("swin_v2_t", Head::Baseline, 32);
    let Network { model, weights } = &network;
    let images = formula_images(2, 32);
    let mut whole = execution(&network, PlanKind::Infer, 2);
    let mut golden = execution(&network, PlanKind::Golden, 2);
    let clean = logits(&network, &mut golden, &images);
    let mut undo = Undo::default();
    let shared: Vec<_> = model.tape.injectable().into_iter().filter(|l| l.shared).collect();
    assert_eq!(shared.len(), 24, "two layers a block");
    for layer in [&shared[1], &shared[6], &shared[23]] {
        let map = model.tape.node(layer.node).spec.map;
        let fault = FaultEntry::output(map.elements() / 2, BitMasks::flip(1 << 29));
        let table = || FaultTable::new(&layer.name, 1, map, &[(0, fault)]).unwrap();
        whole.arm(layer.node, table()).unwrap();
        let expected = logits(&network, &mut whole, &images);
        whole.disarm();
        golden.arm(layer.node, table()).unwrap();
        for image in 0..2 {
            let outputs = [model.logits];
            golden.replay_image(weights, layer.node, image, &outputs, &mut undo).unwrap();
            let found = golden.image_values(model.logits, image);
            let found: Vec<u32> = found.iter().map(|v| v.to_bits()).collect();
            let of_image = image * model.classes..(image + 1) * model.classes;
            assert_eq!(found, expected[of_image.clone()], "{} image {image}", layer.name);
            golden.restore(&mut undo);
            assert_eq!(golden.read(model.logits).unwrap()[0].to_bits(), clean[0]);
        }
        golden.disarm();
        assert_ne!(expected, clean, "{}: the fault reached nothing", layer.name);
    }
}

/// One training step of a whole network, kernels against the CPU: losses, every gradient, running
/// statistics. Batch norm's sums and the loss are rounded differently, so bits differ; the bound is
/// that of f32 sums of a few thousand terms that pass through seven layers.
#[test]
fn an_emulated_training_step_equals_the_cpus() {
    let file = ModelFile::open("resnet_small").unwrap().smooth_twin();
    for head in [Head::Baseline, Head::text_guided(24)] {
        let model = Model::new(&file, head, 10, 16, 0.1).unwrap();
        let step = |device: &Device| {
            let mut weights = Weights::new(&model.tape, device, true).unwrap();
            weights.initialize(3).unwrap();
            let outputs = [model.loss];
            let mut exec =
                Execution::new(&model.tape, device, PlanKind::Train, 4, &outputs).unwrap();
            exec.begin_training(RunState::default(), &[0, 1, 2]).unwrap();
            exec.write(model.image, &formula_images(3, 16)).unwrap();
            exec.write(model.labels, &[1u32, 9, 4]).unwrap();
            exec.forward_training(&mut weights).unwrap();
            let mut tensors = vec![("loss".to_string(), exec.read(model.loss).unwrap())];
            exec.backward(&mut weights, model.loss, &[1.0 / 3.0; 3], |_| {}).unwrap();
            for (index, param) in model.tape.params().iter().enumerate() {
                let values = match param.spec.role {
                    Role::Counter => continue,
                    Role::Buffer => weights.get(ParamId(index)),
                    _ => weights.gradient(ParamId(index)),
                };
                tensors.push((param.name.clone(), values.unwrap()));
            }
            tensors
        };
        for ((name, cpu), (_, emulated)) in step(&Device::cpu()).iter().zip(&step(&device())) {
            let largest = cpu.iter().fold(0f32, |m, v| m.max(v.abs()));
            for (at, (c, e)) in cpu.iter().zip(emulated).enumerate() {
                assert!((c - e).abs() <= 1e-4 * largest, "{name}[{at}]: {e}, {c} on the CPU");
            }
        }
    }
}
