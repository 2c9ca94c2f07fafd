//! Graphs: what a device records and replays, and passes that run as graphs, to the same bits.

use flipside::Error;
use flipside::device::{Buffer, Device, WorkDone};
use flipside::fault::{FaultEntry, FaultTable, Site};
use flipside::models::{Model, ModelFile};
use flipside::nn::Head;
use flipside::number::{BitMasks, Compute};
use flipside::ops::adamw::AdamW;
use flipside::ops::{Role, RunState, ema};
use flipside::rng::{self, Draw};
use flipside::tape::{
    Clipping, Execution, NodeId, Optimizer, OptimizerOptions, ParamId, PlanKind, Rule, Weights,
};

use crate::devices::device;
use crate::models::{MOBILENET, SWIN, own};

fn buffer(device: &Device, values: &[f32]) -> Buffer {
    let mut buffer = device.alloc(4 * values.len()).unwrap();
    buffer.write(0, bytemuck::cast_slice(values)).unwrap();
    buffer
}

fn values(buffer: &Buffer) -> Vec<f32> {
    let mut values = vec![0f32; buffer.bytes() / 4];
    buffer.read(0, bytemuck::cast_slice_mut(&mut values)).unwrap();
    values
}

/// Launch, copy and clearing, in their order; what lies in memory is read anew at each replay.
#[test]
fn a_graph_does_again_what_was_queued() {
    let device = device();
    let averages = buffer(&device, &[0.0, 8.0]);
    let mut inputs = buffer(&device, &[4.0, 4.0]);
    let copy = buffer(&device, &[-1.0, -1.0]);
    let before = device.work_done();
    let mut graph = device
        .capture(|| {
            // SAFETY: live buffers of their own.
            unsafe {
                ema::update(&device, averages.address(), inputs.address(), 2, 0.5)?;
                device.copy(averages.address(), copy.address(), 8)?;
                device.zero(averages.address() + 4, 4)
            }
        })
        .unwrap();
    assert_eq!(graph.launches(), 1);
    assert_eq!(values(&averages), [0.0, 8.0], "nothing runs while a graph is captured");
    assert_eq!(values(&copy), [-1.0, -1.0]);
    // SAFETY: the buffers are still there.
    unsafe { graph.replay() }.unwrap();
    assert_eq!((values(&averages), values(&copy)), (vec![2.0, 0.0], vec![2.0, 6.0]));
    inputs.write(0, bytemuck::cast_slice(&[6.0f32, 2.0])).unwrap();
    // SAFETY: as above.
    unsafe { graph.replay() }.unwrap();
    assert_eq!((values(&averages), values(&copy)), (vec![4.0, 0.0], vec![4.0, 1.0]));
    let after = device.work_done();
    let expected = WorkDone {
        replays: before.replays + 2,
        uploads: before.uploads + 1,
        uploaded_bytes: before.uploaded_bytes + 8,
        downloads: before.downloads + 6,
        downloaded_bytes: before.downloaded_bytes + 6 * 8,
        ..before
    };
    assert_eq!(after, expected);
}

#[test]
fn what_no_graph_can_hold_is_refused_by_name() {
    let device = device();
    let mut memory = buffer(&device, &[1.0; 4]);
    let mut other = device.capture(|| Ok(())).unwrap();
    let spare = std::cell::Cell::new(Some(buffer(&device, &[2.0])));
    let refused = |what: &str, work: &mut dyn FnMut() -> flipside::Result<()>| {
        let error = device.capture(work).map(|graph| graph.launches()).unwrap_err();
        assert!(matches!(error, Error::Device { .. }), "{error:?}");
        assert!(error.to_string().contains(what), "{error}");
        // The device is itself again.
        device.synchronize().unwrap();
    };
    refused("an allocation can't", &mut || device.alloc(16).map(drop));
    refused("a copy from the host can't", &mut || memory.write(0, &[0; 4]));
    let mut word = [0; 4];
    refused("a copy to the host can't", &mut || memory.read(0, &mut word));
    refused("waiting can't", &mut || device.synchronize());
    refused("waiting can't", &mut || device.elapsed_ms(|| Ok(())).map(drop));
    refused("freeing memory can't", &mut || {
        drop(spare.take());
        Ok(())
    });
    refused("captured already", &mut || device.capture(|| Ok(())).map(drop));
    // SAFETY: nothing is in it.
    refused("another graph can't", &mut || unsafe { other.replay() });
    refused("while another thread captures", &mut || {
        std::thread::scope(|threads| threads.spawn(|| device.synchronize()).join().unwrap())
    });
    // An error that whoever captures keeps to himself.
    refused("an allocation can't", &mut || {
        let _ = device.alloc(16);
        Ok(())
    });
    assert_eq!(values(&memory), [1.0; 4]);

    let error = Device::cpu().capture(|| Ok(())).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }) && error.to_string().contains("cpu"));
}

#[test]
fn a_panic_ends_the_capture() {
    let device = device();
    let caught = std::panic::catch_unwind(|| device.capture(|| panic!("deliberate")));
    assert!(caught.is_err());
    device.synchronize().unwrap();
    device.capture(|| Ok(())).unwrap();
}

struct Bench {
    model: Model,
    weights: Weights,
}

impl Bench {
    fn new(name: &str, side: usize) -> Bench {
        let head = Head::text_guided(24);
        let model = Model::new(&ModelFile::open(name).unwrap(), head, 7, side, 0.0).unwrap();
        Bench { weights: weights(&model, &device(), 3), model }
    }

    fn execution(&self, kind: PlanKind, graphs: bool, images: usize) -> Execution {
        let Bench { model, weights } = self;
        let outputs = [model.logits];
        let mut execution =
            Execution::new(&model.tape, weights.device(), kind, 3, &outputs).unwrap();
        execution.use_graphs(graphs);
        self.begin(&mut execution, images, 0);
        execution
    }

    /// Other pixels for each `seed`.
    fn begin(&self, execution: &mut Execution, images: usize, seed: u64) {
        let mut draws = rng::stream(seed, "pixels");
        let count = images * self.model.image_size * self.model.image_size * 3;
        let pixels: Vec<f32> = (0..count).map(|_| draws.between(-2.0, 2.0) as f32).collect();
        execution.begin(images).unwrap();
        execution.write(self.model.image, &pixels).unwrap();
    }

    fn logits(&self, execution: &Execution) -> Vec<u32> {
        let logits = execution.read(self.model.logits).unwrap();
        logits.iter().map(|v| if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() }).collect()
    }

    /// `each` faults at a site in each of `images` images of a layer.
    fn faults(
        &self,
        (node, site): (NodeId, Site),
        images: usize,
        each: usize,
        draws: &mut impl Draw,
    ) -> FaultTable {
        let sites = self.model.tape.sites(node);
        let node = self.model.tape.node(node);
        let space = |site| sites.space(site);
        let faults: Vec<(usize, FaultEntry)> = (0..each * node.spec.maps(images))
            .map(|fault| {
                let element = draws.below(space(site).unwrap().elements);
                // A stray store moves by a few elements.
                let k = if site == Site::StoreAstray { 2 + draws.below(5) as u32 } else { 0 };
                let masks = BitMasks::flip(1 << (20 + draws.below(12)));
                (fault / each, FaultEntry::at(site, element, k, masks))
            })
            .collect();
        FaultTable::of_sites(&node.name, node.spec.maps(images), space, &faults).unwrap()
    }
}

fn weights(model: &Model, device: &Device, seed: u64) -> Weights {
    let mut weights = Weights::new(&model.tape, device, false).unwrap();
    weights.initialize(seed).unwrap();
    weights
}

/// One graph for any number of images, with what lies in memory at its replay; another for armed layers,
/// and other weights.
fn check_forward(name: &str, with_other_weights: bool) {
    let bench = Bench::new(name, 32);
    let others = weights(&bench.model, bench.weights.device(), 4);
    let layer = bench.model.tape.injectable()[2].node;
    let table = bench.faults((layer, Site::Output), 2, 40, &mut rng::stream(1, "places"));
    let mut plain = bench.execution(PlanKind::Infer, false, 3);
    let mut graphed = bench.execution(PlanKind::Infer, true, 3);
    let mut answers = Vec::new();
    // Images of the batch, seed of their pixels, weights, whether the layer is armed.
    let mut rounds = vec![
        (2, 2, &bench.weights, false),
        (3, 0, &bench.weights, false),
        (2, 2, &bench.weights, true),
    ];
    if with_other_weights {
        rounds.extend([(1, 1, &bench.weights, false), (2, 2, &others, false)]);
    }
    for (images, seed, weights, armed) in rounds {
        for execution in [&mut plain, &mut graphed] {
            bench.begin(execution, images, seed);
            if armed {
                execution.arm(layer, table.clone()).unwrap();
            }
            execution.forward(weights).unwrap();
            execution.disarm();
        }
        let expected = bench.logits(&plain);
        assert_eq!(bench.logits(&graphed), expected, "{name}: {images} images, armed: {armed}");
        answers.push(expected);
    }
    assert_ne!(answers[0], answers[2], "{name}: the faults changed nothing");
    if with_other_weights {
        assert_ne!(answers[0], answers[4]);
    }
}

#[test]
fn a_forward_pass_as_a_graph_has_the_same_bits() {
    check_forward("resnet_small", true);
}

/// Layers that multiply otherwise are other launches: the graph of the first ones is no longer run.
#[test]
fn a_graph_is_of_one_arithmetic() {
    let bench = Bench::new("resnet_small", 32);
    let mut graphed = bench.execution(PlanKind::Infer, true, 2);
    let mut plain = bench.execution(PlanKind::Infer, false, 2);
    let mut answers = Vec::new();
    for compute in [Compute::Exact, Compute::Bf16, Compute::Exact] {
        for execution in [&mut graphed, &mut plain] {
            execution.set_compute(compute).unwrap();
            execution.forward(&bench.weights).unwrap();
        }
        assert_eq!(bench.logits(&graphed), bench.logits(&plain), "{compute}");
        answers.push(bench.logits(&graphed));
    }
    assert!(answers[0] == answers[2] && answers[0] != answers[1]);
}

#[test]
fn a_forward_pass_as_a_graph_has_the_same_bits_in_other_families() {
    for name in ["mobilenet_v2", "swin_v2_t", "focalnet_tiny"] {
        check_forward(name, false);
    }
}

/// Replays from nodes in any order, ResNet's side branches among them, with faults in kernels and in
/// memory: an earlier replay's changes are gone, tables that grow are read whole.
#[test]
fn replays_as_graphs_have_the_bits_of_whole_runs() {
    let bench = Bench::new("resnet_small", 16);
    let mut graphed = bench.execution(PlanKind::Golden, true, 3);
    let mut plain = bench.execution(PlanKind::Golden, false, 3);
    let mut whole = bench.execution(PlanKind::Golden, false, 3);
    for execution in [&mut graphed, &mut plain] {
        execution.forward(&bench.weights).unwrap();
    }
    let clean = bench.logits(&plain);
    let layers = bench.model.tape.injectable();
    let mut draws = rng::stream(2, "order");
    let sites = [Site::Output, Site::Input, Site::StoreLost, Site::StoreAstray, Site::Output];
    let (mut changed, mut order) = (0, draws.permutation(layers.len()));
    order.extend(draws.permutation(layers.len()));
    for (visit, index) in order.into_iter().enumerate() {
        let layer = &layers[index];
        // The second visit's tables are larger than the room that the first one made.
        let each = if visit < layers.len() { [1, 1] } else { [1, 9] };
        let site = sites[visit % sites.len()];
        for each in each {
            let table = bench.faults((layer.node, site), 3, each, &mut draws);
            for execution in [&mut whole, &mut plain, &mut graphed] {
                execution.arm(layer.node, table.clone()).unwrap();
            }
            whole.forward(&bench.weights).unwrap();
            plain.replay_from(&bench.weights, layer.node).unwrap();
            graphed.replay_from(&bench.weights, layer.node).unwrap();
            for execution in [&mut whole, &mut plain, &mut graphed] {
                execution.disarm();
            }
            let expected = bench.logits(&whole);
            let what = format!("{} at {}", site.name(), layer.name);
            assert_eq!(bench.logits(&plain), expected, "{what}");
            assert_eq!(bench.logits(&graphed), expected, "{what}, as a graph");
            changed += usize::from(expected != clean);
        }
    }
    assert!(changed > 20, "{changed} of {} replays changed anything", 4 * layers.len());
}

/// Once a layer is captured, a round moves its table up, replays, and moves the answers down.
#[test]
fn a_round_is_a_table_a_replay_and_an_answer() {
    let bench = Bench::new("resnet_small", 16);
    let device = bench.weights.device().clone();
    let mut execution = bench.execution(PlanKind::Golden, true, 3);
    execution.forward(&bench.weights).unwrap();
    let layers = bench.model.tape.injectable();
    let mut draws = rng::stream(3, "places");
    let mut round = |layer: usize, each: usize| {
        let node = layers[layer].node;
        let table = bench.faults((node, Site::Output), 3, each, &mut draws);
        execution.arm(node, table).unwrap();
        execution.replay_from(&bench.weights, node).unwrap();
        execution.disarm();
        execution.read(bench.model.logits).unwrap();
    };
    // Of so many faults in each of three images, whose logits are 7 each.
    let rounds_of = |before: WorkDone, count: u64, each: usize| WorkDone {
        replays: before.replays + count,
        uploads: before.uploads + count,
        uploaded_bytes: before.uploaded_bytes + count * FaultTable::byte_len(3, 3 * each) as u64,
        downloads: before.downloads + count,
        downloaded_bytes: before.downloaded_bytes + count * 4 * 3 * 7,
        ..before
    };
    round(5, 1);
    let before = device.work_done();
    (0..4).for_each(|_| round(5, 1));
    assert_eq!(device.work_done(), rounds_of(before, 4, 1));
    // A table that outgrows its memory takes one allocation, and another capture, which launches nothing.
    round(5, 8);
    let grown = WorkDone {
        allocations: before.allocations + 1,
        ..rounds_of(rounds_of(before, 4, 1), 1, 8)
    };
    assert_eq!(device.work_done(), grown);
    (0..3).for_each(|_| round(5, 8));
    assert_eq!(device.work_done(), rounds_of(grown, 3, 8));
    // Back to a layer before it and forth: both are captured by now, and what 5 changed apart from 2 is
    // run one by one.
    round(2, 1);
    round(5, 1);
    let before = device.work_done();
    round(2, 1);
    round(2, 1);
    let after = device.work_done();
    assert_eq!(WorkDone { launches: before.launches, ..after }, rounds_of(before, 2, 1));
}

/// A model in training, its passes as graphs or not.
struct Training {
    model: Model,
    weights: Weights,
    optimizer: Optimizer,
    execution: Execution,
}

impl Training {
    fn new(model: &Model, graphs: bool) -> Training {
        let device = device();
        let mut weights = Weights::new(&model.tape, &device, true).unwrap();
        weights.initialize(3).unwrap();
        let rule = Rule::AdamW(AdamW { betas: [0.9, 0.999], eps: 1e-8 });
        let options = OptimizerOptions {
            clipping: Some(Clipping::Norm(1.0)),
            ..OptimizerOptions::new(rule, &|_| 0.01)
        };
        let optimizer = Optimizer::new(&weights, options).unwrap();
        let outputs = [model.loss, model.logits];
        let mut execution =
            Execution::new(&model.tape, &device, PlanKind::Train, 3, &outputs).unwrap();
        execution.use_graphs(graphs);
        Training { model: model.clone(), weights, optimizer, execution }
    }

    /// Step number `step`, of batches of so many images: what it came to, in bits, and the parameters in the order in
    /// which their gradients are complete.
    fn step(&mut self, step: u32, batches: &[usize]) -> (Vec<u32>, Vec<ParamId>) {
        let Training { model, weights, optimizer, execution } = self;
        let mut draws = rng::stream(u64::from(step), "pixels");
        let (mut found, mut finals) = (Vec::new(), Vec::new());
        for (index, images) in batches.iter().enumerate() {
            let count = images * model.image_size * model.image_size * 3;
            let pixels: Vec<f32> = (0..count).map(|_| draws.between(-2.0, 2.0) as f32).collect();
            let labels: Vec<u32> = (0..*images).map(|_| draws.below(10) as u32).collect();
            let samples: Vec<u64> = (0..*images).map(|_| draws.below(1000)).collect();
            let state = RunState { seed: 5, ..optimizer.rule().state(step, 0.01) };
            execution.begin_training(state, &samples).unwrap();
            execution.write(model.image, &pixels).unwrap();
            execution.write(model.labels, &labels).unwrap();
            execution.forward_training(weights).unwrap();
            let (seed, of) = (vec![1.0 / *images as f32; *images], model.loss);
            let hear = |id| finals.push(id);
            match index {
                0 => execution.backward(weights, of, &seed, hear),
                _ => execution.backward_adding(weights, of, &seed, hear),
            }
            .unwrap();
            found.extend(execution.read(of).unwrap());
        }
        execution.update(weights, optimizer).unwrap();
        for (index, param) in model.tape.params().iter().enumerate() {
            if !matches!(param.spec.role, Role::Counter | Role::Index) {
                found.extend(weights.get(ParamId(index)).unwrap());
            }
        }
        (found.iter().map(|value| value.to_bits()).collect(), finals)
    }
}

/// Whole batches and smaller ones, several in a step; masks of dropout and of stochastic depth, running statistics and
/// clipping are in it.
#[test]
fn training_as_graphs_has_the_same_bits() {
    for (name, architecture, side) in [("mobilenet", MOBILENET, 8), ("swin", SWIN, 16)] {
        let model = own(architecture, side).unwrap();
        let (mut plain, mut graphed) = (Training::new(&model, false), Training::new(&model, true));
        let trained = model.tape.params().iter().filter(|param| param.is_trained()).count();
        let mut before = Vec::new();
        for (step, batches) in [&[3][..], &[2], &[3, 1, 2], &[1, 3]].into_iter().enumerate() {
            let expected = plain.step(step as u32, batches);
            assert!(graphed.step(step as u32, batches) == expected, "{name}: step {step}");
            assert_eq!(expected.1.len(), trained * batches.len());
            assert_ne!(std::mem::replace(&mut before, expected.0), before, "{name}: step {step}");
        }
    }
}

/// Once its passes are captured, a step of training launches the update's kernels and nothing else.
#[test]
fn a_step_of_training_is_two_replays_and_an_update() {
    let model = own(SWIN, 8).unwrap();
    let mut training = Training::new(&model, true);
    let device = training.weights.device().clone();
    training.step(0, &[3]);
    let kept = model
        .tape
        .params()
        .iter()
        .filter(|param| !matches!(param.spec.role, Role::Counter | Role::Index));
    let kept = kept.count() as u64;
    let mut before = device.work_done();
    for (step, images) in [(1, 3), (2, 1), (3, 3)] {
        training.step(step, &[images]);
        let after = device.work_done();
        let expected = WorkDone {
            // Two of the norm, one of the rule.
            launches: before.launches + 3,
            replays: before.replays + 2,
            // The state for batches and for values of all images, samples; pixels, labels; where backward starts.
            uploads: before.uploads + 6,
            // The loss, and what this test looks at.
            downloads: before.downloads + 1 + kept,
            // Those of as many images as the batch has.
            uploaded_bytes: after.uploaded_bytes,
            downloaded_bytes: after.downloaded_bytes,
            ..before
        };
        assert_eq!(after, expected, "step {step}");
        before = after;
    }
}
