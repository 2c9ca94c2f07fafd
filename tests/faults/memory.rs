//! Faults of values in memory: inputs, stray stores, and parameters as one image sees them, on the CPU and
//! in kernels, in whole passes and replays.

use std::sync::Arc;

use flipside::device::Device;
use flipside::fault::FaultSpec;
use flipside::number::Compute;
use flipside::ops::activation::Activation;
use flipside::ops::add::Add;
use flipside::ops::batch_norm::BatchNorm;
use flipside::ops::conv2d::Conv2d;
use flipside::rng::{self, Draw};
use flipside::tape::{Execution, NodeId, PlanKind, Tape, Undo, Weights};
use flipside::tensor::{Map, Spec};

use crate::devices::devices;
use crate::kernels::bits;

const MAP: Map = Map::new(6, 5, 8);
const IMAGES: usize = 3;

/// before = relu(x); early = conv(before); late = conv(before); y = norm(early) + late + before.
struct Network {
    tape: Arc<Tape>,
    x: NodeId,
    before: NodeId,
    late: NodeId,
    y: NodeId,
}

fn network() -> Network {
    let mut tape = Tape::new();
    let conv = Conv2d { bias: true, ..Conv2d::square(8, 8, 3, 1, 1) };
    let x = tape.input("x", Spec::f32(MAP));
    let before = tape.record("before", Activation::Relu, &[x]).unwrap();
    let early = tape.record("early", conv, &[before]).unwrap();
    let norm = tape.record("norm", BatchNorm::new(8), &[early]).unwrap();
    let late = tape.record("late", conv, &[before]).unwrap();
    let sum = tape.record("sum", Add::new(), &[norm, late]).unwrap();
    let y = tape.record("y", Add::new(), &[sum, before]).unwrap();
    Network { tape: Arc::new(tape), x, before, late, y }
}

impl Network {
    fn weights(&self, device: &Device) -> Weights {
        let mut weights = Weights::new(&self.tape, device, false).unwrap();
        weights.initialize(3).unwrap();
        weights
    }

    fn execution(&self, device: &Device, kind: PlanKind) -> Execution {
        let mut exec = Execution::new(&self.tape, device, kind, IMAGES, &[self.y]).unwrap();
        exec.begin(IMAGES).unwrap();
        exec.write(self.x, &pixels()).unwrap();
        exec
    }
}

fn pixels() -> Vec<f32> {
    let mut draws = rng::stream(8, "faults in memory");
    (0..IMAGES * MAP.elements()).map(|_| draws.between(-1.0, 1.0) as f32).collect()
}

fn fault(text: &str) -> FaultSpec {
    text.parse().unwrap()
}

/// Whole pass, replay of whole nodes and (CPU) replay of boxes give `expected`; and then the golden
/// values are back.
fn check(
    network: &Network,
    from: NodeId,
    faults: &[FaultSpec],
    expected: impl Fn(&Device) -> Vec<f32>,
) {
    for (place, device) in devices() {
        let expected = bits(&expected(&device));
        let weights = network.weights(&device);
        let mut exec = network.execution(&device, PlanKind::Golden);
        exec.forward(&weights).unwrap();
        let clean = bits(&exec.read(network.y).unwrap());
        let before = bits(&exec.read(network.before).unwrap());
        assert_ne!(clean, expected, "{faults:?} have no effect");

        exec.arm_all(&weights, faults).unwrap();
        exec.replay_from(&weights, from).unwrap();
        assert_eq!(bits(&exec.read(network.y).unwrap()), expected, "replay on {place}");
        assert_eq!(bits(&exec.read(network.before).unwrap()), before, "golden on {place}");
        exec.forward(&weights).unwrap();
        assert_eq!(bits(&exec.read(network.y).unwrap()), expected, "whole pass on {place}");
        exec.disarm();
        exec.forward(&weights).unwrap();
        assert_eq!(bits(&exec.read(network.y).unwrap()), clean, "clean again on {place}");

        if device.is_cpu() && faults.iter().all(|fault| fault.image == 1) {
            let mut undo = Undo::default();
            exec.arm_all(&weights, faults).unwrap();
            exec.replay_image(&weights, from, 1, &[network.y], &mut undo).unwrap();
            assert_eq!(bits(&exec.read(network.y).unwrap()), expected, "boxes");
            exec.restore(&mut undo);
            assert_eq!(bits(&exec.read(network.y).unwrap()), clean, "restored");
            assert_eq!(bits(&exec.read(network.before).unwrap()), before, "restored");
        }
    }
}

/// Readers before the layer have seen the clean value, the layer and everybody behind it the faulty one.
#[test]
fn an_input_fault_is_seen_from_its_layer_on() {
    let network = network();
    let faults = [
        fault("layer=late,site=input,image=1,channel=3,row=2,column=4,bit=30"),
        fault("layer=late,site=input,image=1,channel=0,row=0,column=0,model=set,value=-7.5"),
    ];
    check(&network, network.late, &faults, |device| {
        let weights = network.weights(device);
        let mut exec = network.execution(device, PlanKind::Golden);
        exec.forward(&weights).unwrap();
        let mut values = exec.read(network.before).unwrap();
        let at = MAP.elements() + MAP.index(2, 4, 3);
        values[at] = f32::from_bits(values[at].to_bits() ^ 1 << 30);
        values[MAP.elements()] = -7.5;
        exec.write(network.before, &values).unwrap();
        let all = flipside::tensor::Region::full(IMAGES, MAP);
        for node in network.late.0..=network.y.0 {
            exec.forward_region(&weights, NodeId(node), all).unwrap();
        }
        exec.read(network.y).unwrap()
    });
}

/// What an input was is kept at its fault's number in the table, behind those of other sites: kernels under
/// AddressSanitizer see where that is.
#[test]
fn an_input_fault_may_follow_others_in_its_table() {
    let network = network();
    let outputs = [0, 1, 2].map(|channel| {
        fault(&format!("layer=late,site=output,shape=column,image=1,channel={channel},bit=22"))
    });
    let input = fault("layer=late,site=input,image=1,channel=7,row=5,column=4,model=set,value=3");
    let faults = [outputs.as_slice(), &[input]].concat();
    check(&network, network.late, &faults, |device| {
        let weights = network.weights(device);
        let mut exec = network.execution(device, PlanKind::Golden);
        exec.forward(&weights).unwrap();
        let mut values = exec.read(network.before).unwrap();
        values[MAP.elements() + MAP.index(5, 4, 7)] = 3.0;
        exec.write(network.before, &values).unwrap();
        exec.arm_all(&weights, &outputs).unwrap();
        let all = flipside::tensor::Region::full(IMAGES, MAP);
        for node in network.late.0..=network.y.0 {
            exec.forward_region(&weights, NodeId(node), all).unwrap();
        }
        exec.read(network.y).unwrap()
    });
}

/// What the network gives when image 1 alone has `change` made to a parameter.
fn with_parameter(
    network: &Network,
    device: &Device,
    name: &str,
    change: impl Fn(&mut Vec<f32>),
) -> Vec<f32> {
    let mut weights = network.weights(device);
    let mut exec = network.execution(device, PlanKind::Golden);
    exec.forward(&weights).unwrap();
    let mut y = exec.read(network.y).unwrap();
    let id = weights.find(name).unwrap();
    let mut values = weights.get(id).unwrap();
    change(&mut values);
    weights.set(id, &values).unwrap();
    exec.forward(&weights).unwrap();
    let range = MAP.elements()..2 * MAP.elements();
    y[range.clone()].copy_from_slice(&exec.read(network.y).unwrap()[range]);
    y
}

#[test]
fn a_weight_fault_is_seen_by_its_image_alone() {
    let network = network();
    // (o·I + i)·9 + tap of PyTorch's (O, I, 3, 3): entry (2, 7, 2, 2) = 2·72 + 7·9 + 8.
    for place in ["index=215", "index=2/7/2/2", "out=2,in=7,row=2,column=2"] {
        let faults = [fault(&format!("layer=late,site=weight,image=1,{place},bit=30"))];
        check(&network, network.late, &faults, |device| {
            with_parameter(&network, device, "late.weight", |values| {
                values[215] = f32::from_bits(values[215].to_bits() ^ 1 << 30);
            })
        });
    }
    for place in ["index=5", "out=5"] {
        let text =
            format!("layer=late,site=weight,parameter=bias,image=1,{place},model=set,value=3");
        check(&network, network.late, &[fault(&text)], |device| {
            with_parameter(&network, device, "late.bias", |values| values[5] = 3.0)
        });
    }
    let norm = network.tape.find("norm").unwrap();
    let faults =
        [fault("layer=norm,site=weight,parameter=running_var,image=1,index=2,model=set,value=9")];
    check(&network, norm, &faults, |device| {
        with_parameter(&network, device, "norm.running_var", |values| values[2] = 9.0)
    });
}

/// The store of channel 1 of pixel (2, 3) with bit 5 of its byte offset wrong lands in the next pixel's
/// channel 1: 8 channels are 32 bytes.
#[test]
fn a_store_goes_astray_within_its_image() {
    let network = network();
    let faults =
        [fault("layer=late,site=store-astray,image=1,channel=1,row=2,column=2,offset-bit=5")];
    check(&network, network.late, &faults, |device| {
        let weights = network.weights(device);
        let mut exec = network.execution(device, PlanKind::Golden);
        exec.forward(&weights).unwrap();
        let mut values = exec.read(network.late).unwrap();
        let at = |row, column| MAP.elements() + MAP.index(row, column, 1);
        values[at(2, 3)] = values[at(2, 2)];
        values[at(2, 2)] = 0.0;
        exec.write(network.late, &values).unwrap();
        let all = flipside::tensor::Region::full(IMAGES, MAP);
        for node in network.late.0 + 1..=network.y.0 {
            exec.forward_region(&weights, NodeId(node), all).unwrap();
        }
        exec.read(network.y).unwrap()
    });
}

#[test]
fn where_a_stray_store_lands_is_known_before_it_is_run() {
    let network = network();
    let mut exec = network.execution(&Device::cpu(), PlanKind::Golden);
    let lands = |text: &str| {
        let entries =
            flipside::tape::entries(&network.tape, network.late, &fault(text), Compute::Exact)
                .unwrap();
        entries[0].lands_at(MAP)
    };
    let inside = "layer=late,site=store-astray,channel=1,row=2,column=2,offset-bit=";
    assert_eq!(lands(&format!("{inside}2")), Some(MAP.pytorch_index(0, 2, 2)));
    assert_eq!(lands(&format!("{inside}5")), Some(MAP.pytorch_index(1, 2, 3)));
    assert_eq!(lands(&format!("{inside}20")), None);
    // Within an element there is no other place.
    let weights = network.weights(&Device::cpu());
    let said = exec.arm_all(&weights, &[fault(&format!("{inside}1"))]).unwrap_err().to_string();
    assert!(said.contains("takes 2 to"), "{said}");
    let said = exec.arm_all(&weights, &[fault(&format!("{inside}20"))]).unwrap_err().to_string();
    assert!(said.contains("DUE"), "{said}");
}

/// The same network with nodes fused has no place for faults in memory, and says so.
#[test]
fn fused_plans_refuse_faults_in_memory() {
    let network = network();
    let device = Device::cpu();
    let weights = network.weights(&device);
    let mut exec = network.execution(&device, PlanKind::Infer);
    let said = exec
        .arm_all(&weights, &[fault("layer=late,site=input,channel=0,bit=1")])
        .unwrap_err()
        .to_string();
    assert!(said.contains("keeps every value"), "{said}");
    // Parameters have.
    exec.arm_all(&weights, &[fault("layer=late,site=weight,image=1,index=7,bit=30")]).unwrap();
    exec.forward(&weights).unwrap();
    let mut golden = network.execution(&device, PlanKind::Golden);
    golden.arm_all(&weights, &[fault("layer=late,site=weight,image=1,index=7,bit=30")]).unwrap();
    golden.forward(&weights).unwrap();
    assert_eq!(bits(&exec.read(network.y).unwrap()), bits(&golden.read(network.y).unwrap()));
}

/// Things that aren't there.
#[test]
fn impossible_faults_in_memory_are_refused() {
    let network = network();
    let device = Device::cpu();
    let weights = network.weights(&device);
    let mut exec = network.execution(&device, PlanKind::Golden);
    for (text, word) in [
        ("layer=late,site=weight,index=576,bit=1", "index 576"),
        ("layer=late,site=weight,bit=1", "out is missing"),
        ("layer=late,site=weight,out=1,in=2,row=0,bit=1", "column is missing"),
        (
            "layer=late,site=weight,out=1,in=8,row=0,column=0,bit=1",
            "in 8 lies outside of out 8, in 8",
        ),
        ("layer=late,site=weight,index=1/2,bit=1", "each of 4 dimensions"),
        ("layer=late,site=weight,parameter=bias,out=1,in=0,bit=1", "it has no in"),
        ("layer=late.weight,site=weight,parameter=bias,out=1,bit=1", "late.weight.bias"),
        ("layer=late,site=weight,parameter=scale,index=0,bit=1", "late.scale"),
        ("layer=late,site=weight,image=3,index=0,bit=1", "image 3"),
        ("layer=norm,site=weight,parameter=num_batches_tracked,index=0,bit=1", "whole numbers"),
        ("layer=late,site=input,channel=8,bit=1", "channel 8"),
        ("layer=before,site=output,channel=0,bit=1", "can't be put"),
    ] {
        let said = exec.arm_all(&weights, &[fault(text)]).unwrap_err().to_string();
        assert!(said.contains(word), "{text}: {said}");
    }
}

/// A parameter of a value that all images share: one image can't have its own, but alone it can.
#[test]
fn a_shared_layers_weights_are_hit_for_an_image_alone() {
    let mut tape = Tape::new();
    let x = tape.input("x", Spec::f32(MAP));
    let table = tape.input("table", Spec::f32(MAP).shared());
    let shared = tape.record("shared", Conv2d::square(8, 8, 1, 1, 0), &[table]).unwrap();
    assert!(tape.node(shared).spec.shared);
    let tape = Arc::new(tape);
    let device = Device::cpu();
    let mut weights = Weights::new(&tape, &device, false).unwrap();
    weights.initialize(4).unwrap();
    let spec = fault("layer=shared,site=weight,index=3,bit=30");
    let run = |images: usize| -> flipside::Result<[Vec<u32>; 2]> {
        let mut exec = Execution::new(&tape, &device, PlanKind::Golden, 2, &[x, shared])?;
        exec.begin(images)?;
        exec.write(table, &pixels()[..MAP.elements()])?;
        exec.forward(&weights)?;
        let clean = exec.read(shared)?;
        exec.arm_all(&weights, std::slice::from_ref(&spec))?;
        exec.forward(&weights)?;
        Ok([bits(&clean), bits(&exec.read(shared)?)])
    };
    let [clean, faulty] = run(1).unwrap();
    assert_ne!(clean, faulty);
    let said = run(2).unwrap_err().to_string();
    assert!(said.contains("shared.weight") && said.contains("alone"), "{said}");
}

/// Plans that reuse memory have no place to put inputs right again.
#[test]
fn training_plans_refuse_faults_in_memory() {
    let network = network();
    let device = Device::cpu();
    let weights = network.weights(&device);
    let mut exec = network.execution(&device, PlanKind::Train);
    let of_input = fault("layer=late,site=input,channel=0,bit=1");
    let said = exec.arm_all(&weights, &[of_input]).unwrap_err().to_string();
    assert!(said.contains("keeps every value"), "{said}");
}
