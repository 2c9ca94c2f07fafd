//! Handles of devices: clones are one device, and what is opened another time is another one.

use flipside::Error;
use flipside::device::Device;
use flipside::models::{Model, ModelFile};
use flipside::nn::Head;
use flipside::number::BitMasks;
use flipside::ops::RunState;
use flipside::ops::sgd::Sgd;
use flipside::tape::{
    Execution, Optimizer, OptimizerOptions, ParamId, PlanKind, Rule, Undo, Weights,
};
use flipside::tensor::Region;

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
        let flip = BitMasks::flip(1);
        check(plain.arm_parameter(&theirs, ParamId(0), 0, 0, flip), words);

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
