//! What safe code can't do to memory: use that of another device or network, or reach out of its own.

use std::sync::Arc;

use flipside::Error;
use flipside::device::Device;
use flipside::fault::{FaultEntry, FaultTable, Site, SiteSpace};
use flipside::models::{Model, ModelFile};
use flipside::nn::Head;
use flipside::number::BitMasks;
use flipside::ops::RunState;
use flipside::ops::activation::Activation;
use flipside::ops::add::Add;
use flipside::ops::constant::Constant;
use flipside::ops::conv2d::Conv2d;
use flipside::ops::sgd::Sgd;
use flipside::tape::{
    Execution, Optimizer, OptimizerOptions, ParamHit, ParamId, PlanKind, Rule, Tape, Undo, Weights,
};
use flipside::tensor::{Map, Region, Span, Spec};

use crate::devices;

fn execution(model: &Model, device: &Device, kind: PlanKind) -> Execution {
    let mut execution = Execution::new(&model.tape, device, kind, 1, &[model.logits]).unwrap();
    if kind == PlanKind::Train {
        execution.begin_training(RunState::default(), &[0]).unwrap();
    } else {
        execution.begin(1).unwrap();
    }
    let pixels = vec![0.5f32; 3 * model.image_size * model.image_size];
    execution.write(model.image, &pixels).unwrap();
    execution
}

fn weights(model: &Model, device: &Device, trained: bool) -> Weights {
    let mut weights = Weights::new(&model.tape, device, trained).unwrap();
    weights.initialize(1).unwrap();
    weights
}

/// The lowest bit of the first parameter's first number, as image 0 sees it.
fn first_entry() -> ParamHit {
    ParamHit { param: ParamId(0), image: 0, index: 0, masks: BitMasks::flip(1) }
}

/// Two openings of one GPU are two streams, whose work nothing orders: an execution on the one takes no
/// weights of the other. The emulator, where it would do no harm, is held to the same.
#[test]
fn memory_of_another_opening_is_refused() {
    let cpu = Device::cpu();
    let device = devices::device();
    let (clone, elsewhere) = (device.clone(), devices::device());
    assert!(cpu.same(&Device::cpu()) && device.same(&clone));
    assert!(!device.same(&elsewhere) && !device.same(&cpu));

    let file = ModelFile::open("resnet_small").unwrap();
    let model = Model::new(&file, Head::Baseline, 3, 8, 0.0).unwrap();
    let mut refused = 0;
    let mut check = |result: flipside::Result<()>, words: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Usage { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
        refused += 1;
    };
    for (other, words) in [(&elsewhere, "opened another time"), (&cpu, "are on cpu, not on")] {
        let (mut ours, mut theirs) = (weights(&model, &clone, true), weights(&model, other, true));
        let layer = model.tape.injectable()[0].node;
        let whole = Region::full(1, model.tape.node(layer).spec.map);
        let mut plain = execution(&model, &device, PlanKind::Golden);
        for graphs in [false, true] {
            plain.use_graphs(graphs);
            plain.forward(&ours).unwrap();
            check(plain.forward(&theirs), words);
            plain.replay_from(&ours, layer).unwrap();
            check(plain.replay_from(&theirs, layer), words);
        }
        // A pass that was refused isn't the clean run that boxes need after the replay before it.
        let undo = &mut Undo::default();
        let stale = plain.replay_image(&ours, layer, 0, &[model.logits], undo).unwrap_err();
        assert!(stale.to_string().contains("needs a clean run"), "{stale}");
        check(plain.forward(&theirs), words);
        let stale = plain.replay_image(&ours, layer, 0, &[model.logits], undo).unwrap_err();
        assert!(stale.to_string().contains("needs a clean run"), "{stale}");
        check(plain.forward_region(&theirs, layer, whole), words);
        check(plain.replay_image(&theirs, layer, 0, &[model.logits], undo).map(drop), words);
        check(plain.golden_box(&theirs, layer, whole, &mut Vec::new()), words);
        check(plain.arm_parameters(&theirs, &[first_entry()]), words);

        let mut training = execution(&model, &device, PlanKind::Train);
        let gradient = [1.0, 0.0, 0.0];
        training.forward_training(&mut ours).unwrap();
        training.backward(&mut ours, model.logits, &gradient, |_| {}).unwrap();
        check(training.backward(&mut theirs, model.logits, &gradient, |_| {}), words);
        let rule = Rule::Sgd(Sgd { momentum: 0.9, nesterov: false });
        let mut optimizer = Optimizer::new(&ours, OptimizerOptions::new(rule, &|_| 0.0)).unwrap();
        training.update(&mut ours, &mut optimizer).unwrap();
        check(training.update(&mut theirs, &mut optimizer), words);
        let mut optimizer = Optimizer::new(&theirs, OptimizerOptions::new(rule, &|_| 0.0)).unwrap();
        check(training.update(&mut ours, &mut optimizer), words);
        check(ours.average(&theirs, 0.5), words);
    }
    assert_eq!(refused, 2 * 13);
    // The CPU's handles have no queue.
    let mut native = execution(&model, &Device::cpu(), PlanKind::Infer);
    native.forward(&weights(&model, &cpu, false)).unwrap();
}

/// Each of these wrote or read beyond its memory once.
#[test]
fn what_would_leave_memory_is_refused() {
    let file = ModelFile::open("resnet_small").unwrap();
    let model = Model::new(&file, Head::Baseline, 3, 8, 0.0).unwrap();
    let other = Model::new(&file, Head::Baseline, 4, 8, 0.0).unwrap();
    let same = Model::new(&file, Head::Baseline, 3, 8, 0.0).unwrap();
    let layer = model.tape.injectable()[0].node;
    let map = model.tape.node(layer).spec.map;
    let refused = |result: flipside::Result<()>, words: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    for (_, device) in devices::devices() {
        let mut exec = execution(&model, &device, PlanKind::Golden);
        let ours = weights(&model, &device, true);
        exec.forward(&weights(&same, &device, false)).unwrap();
        // Weights of another network.
        let theirs = weights(&other, &device, false);
        refused(exec.forward(&theirs), "another network's");
        refused(exec.replay_from(&theirs, layer), "another network's");
        refused(exec.arm_parameters(&theirs, &[first_entry()]), "another network's");
        // Values of another width.
        let wide = vec![0f64; 3 * model.image_size * model.image_size];
        refused(exec.write(model.image, &wide), "of 8 bytes each");
        // Boxes that reach out of their value, in each direction.
        let whole = Region::full(1, map);
        for region in [
            Region { images: Span::all(2), ..whole },
            Region { rows: Span::all(map.height + 1), ..whole },
            Region { columns: Span::all(map.width + 1), ..whole },
            Region { channels: Span::all(map.channels + 1), ..whole },
        ] {
            refused(exec.forward_region(&ours, layer, region), "has no box");
        }
        // Faults at places that the layer doesn't have.
        let anywhere = |_: Site| Some(SiteSpace { elements: u64::MAX, k: [0, 64] });
        let table = |images, image, site, element| {
            let entry = FaultEntry::at(site, element, 0, BitMasks::flip(1));
            FaultTable::of_sites("it", images, anywhere, &[(image, entry)]).unwrap()
        };
        let beyond = map.elements() as u64;
        refused(exec.arm(layer, table(1, 0, Site::Output, beyond)), "lies at element");
        refused(exec.arm(layer, table(1, 0, Site::Input, 1 << 40)), "lies at element");
        refused(exec.arm(layer, table(1, 0, Site::Scores, 0)), "has no fault site scores");
        refused(exec.arm(layer, table(2, 1, Site::Output, 0)), "a table of 2 images");
        refused(exec.arm(model.image, table(1, 0, Site::Output, 0)), "has no fault site output");
        // State in a buffer of another size.
        refused(ours.keep_state(&mut Some(device.alloc(4).unwrap())), "4 were kept");
    }
}

/// Operations that read one map an image would read beyond one for all.
#[test]
fn values_for_all_images_are_refused_beside_those_of_one() {
    let mut tape = Tape::new();
    let shared = tape.record("shared", Constant::log_coordinates([2, 2]), &[]).unwrap();
    let x = tape.input("x", Spec::f32(tape.node(shared).spec.map));
    let conv = Conv2d::square(2, 2, 1, 1, 0);
    for inputs in [[x, shared], [shared, x]] {
        let error = tape.record("conv", conv, &inputs).unwrap_err().to_string();
        assert!(error.contains("value for all images"), "{error}");
        assert!(tape.record("add", Add::new(), &inputs).is_err());
    }
    assert!(tape.record("both", Add::new(), &[shared, shared]).is_ok());
}

#[test]
fn sizes_that_wrap_around_are_refused() {
    let mut tape = Tape::new();
    let x = tape.input("x", Spec::f32(Map::vector((1 << 62) + 1)));
    let error = tape.record("relu", Activation::Relu, &[x]).unwrap_err().to_string();
    assert!(error.contains("2^31 elements"), "{error}");
    let result = Execution::new(&Arc::new(tape), &Device::cpu(), PlanKind::Infer, 1, &[x]);
    assert!(result.err().unwrap().to_string().contains("2^31 elements"));
    let mut tape = Tape::new();
    let x = tape.input("x", Spec::f32(Map::vector(1 << 20)));
    let conv = Conv2d::square(1 << 20, 1 << 20, 1, 1, 0);
    let error = tape.record("conv", conv, &[x]).unwrap_err().to_string();
    assert!(error.contains("2^31 elements"), "{error}");
}

/// A node that reads a value from before the tail's would read memory that the tail never wrote.
#[test]
fn a_tail_that_reads_more_than_its_input_is_refused() {
    let mut tape = Tape::new();
    let x = tape.input("x", Spec::f32(Map::vector(4)));
    let y = tape.record("y", Activation::Relu, &[x]).unwrap();
    let z = tape.record("z", Activation::Relu, &[y]).unwrap();
    let sum = tape.record("sum", Add::new(), &[z, x]).unwrap();
    let tape = Arc::new(tape);
    for (_, device) in devices::devices() {
        let behind = |input, output| Execution::behind(&tape, &device, 1, &[output], input);
        assert!(behind(y, z).is_ok());
        let error = behind(y, sum).err().unwrap().to_string();
        assert!(error.contains("'sum' reads more than 'y' from before it"), "{error}");
    }
}
