//! Replay of boxes against whole runs: every backbone, every injectable layer, every kind of bit.

use std::fs;

use flipside::device::Device;
use flipside::fault::{FaultEntry, FaultTable};
use flipside::models::{Model, ModelFile, Network};
use flipside::nn::Head;
use flipside::number::BitMasks;
use flipside::tape::{Execution, PlanKind, Undo};

use crate::formula;
use crate::pytorch_networks::{formula_images, formula_weights};

const CLASSES: usize = 20;
const HEAD: Head = Head::text_guided(24);

/// What a backbone's file says otherwise here, so that it runs in seconds. A family's smallest has all its
/// widths, and a deeper one, whose operations are the same ones more often, thinner layers; all have all
/// their layers.
fn changes(name: &str) -> &'static [(&'static str, &'static str)] {
    match name {
        // Its own partitions of 7×7 want images of 224×224.
        "maxvit_t" => &[("partition = 7", "partition = 2"), ("= 224", "= 64")],
        // AlexNet has the same last layers, as wide as they are.
        "vgg16_bn" | "vgg19_bn" => &[("hidden = [4096, 4096]", "hidden = [512, 512]")],
        "resnet34" | "resnet101" | "resnet152" => {
            &[("widths = [64, 128, 256, 512]", "widths = [32, 64, 128, 256]")]
        }
        "swin_v2_s" => &[("width = 96", "width = 64"), ("[3, 6, 12, 24]", "[2, 4, 8, 16]")],
        "focalnet_small" | "focalnet_small_lrf" | "focalnet_tiny_lrf" => {
            &[("width = 96", "width = 48")]
        }
        _ => &[],
    }
}

/// A backbone at a small image size, with the weights that it is held against PyTorch with.
fn network(name: &str) -> Network {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.toml");
    let mut text = fs::read_to_string(crate::root().join(format!("models/{name}.toml"))).unwrap();
    for (old, new) in changes(name) {
        assert!(text.contains(old), "{name} has no {old}");
        text = text.replace(old, new);
    }
    fs::write(&path, text).unwrap();
    let side = match name {
        "alexnet" | "maxvit_t" | "resnet18" | "mobilenet_v2" => 64,
        _ => 32,
    };
    let file = ModelFile::open(path.to_str().unwrap()).unwrap();
    let model = Model::new(&file, HEAD, CLASSES, side, 0.0).unwrap();
    let fixture = formula::fixture(&format!("networks/{name}-baseline.json"));
    let weights = formula_weights(&model, &formula::ranges(&fixture), false);
    Network { model, weights }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Three images, of which one has its sign hit, one its exponent, one its mantissa, in each layer in turn: a
/// whole run of all three, the boxes of each, and the tail of all three together have the same bits; and
/// afterwards the golden values are back.
fn check(name: &str) {
    let network = network(name);
    let Network { model, weights } = &network;
    let images = formula_images(3, model.image_size);
    let outputs = [model.logits];
    let tail_input = model.tape.tail_input(&outputs).expect("a tail");
    let new = |kind, outputs: &[_]| {
        let mut exec = network.execution(kind, 3, outputs).unwrap();
        exec.begin(3).unwrap();
        exec.write(model.image, &images).unwrap();
        exec
    };
    let mut whole = new(PlanKind::Infer, &outputs);
    let mut golden = new(PlanKind::Replay, &[tail_input, model.logits]);
    golden.forward(weights).unwrap();
    let clean = bits(&golden.read(model.logits).unwrap());
    let mut tail = Execution::behind(&model.tape, &Device::cpu(), 3, &outputs, tail_input).unwrap();
    tail.begin(3).unwrap();
    let mut undo = Undo::default();
    let (mut reached, mut masked) = (0, 0);
    for (number, layer) in model.tape.injectable().iter().filter(|l| !l.shared).enumerate() {
        let map = model.tape.node(layer.node).spec.map;
        let faults = [31, 23 + number % 8, number * 5 % 23].map(|bit| {
            let element = (number * 7919 + bit * 104_729) % map.elements();
            FaultEntry::output(element, BitMasks::flip(1 << bit))
        });
        let table =
            |faults: &[(usize, FaultEntry)]| FaultTable::new(&layer.name, 3, map, faults).unwrap();
        let all: Vec<(usize, FaultEntry)> = faults.into_iter().enumerate().collect();
        whole.write(model.image, &images).unwrap();
        whole.arm(layer.node, table(&all)).unwrap();
        whole.forward(weights).unwrap();
        whole.disarm();
        let expected = bits(&whole.read(model.logits).unwrap());

        let mut values = Vec::new();
        for (image, fault) in all.iter().copied() {
            let of_image = image * CLASSES..(image + 1) * CLASSES;
            golden.arm(layer.node, table(&[(image, fault)])).unwrap();
            let mut replay = |ends: &[_]| {
                golden.replay_image(weights, layer.node, image, ends, &mut undo).unwrap();
                let found = bits(golden.image_values(model.logits, image));
                let input = golden.image_values(tail_input, image).to_vec();
                golden.restore(&mut undo);
                (found, input)
            };
            let (found, input) = replay(&outputs);
            assert_eq!(found, expected[of_image.clone()], "{name}: {} {fault:?}", layer.name);
            if found == clean[of_image.clone()] {
                masked += 1
            } else {
                reached += 1
            }
            values.extend(input);
            if number % 8 == 0 && layer.node <= tail_input {
                let (before_tail, again) = replay(&[tail_input]);
                assert_eq!(before_tail, clean[of_image], "nothing behind it is run");
                assert_eq!(bits(&again), bits(&values[values.len() - again.len()..]));
            }
            golden.disarm();
        }
        tail.write(tail_input, &values).unwrap();
        if layer.node > tail_input {
            tail.arm(layer.node, table(&all)).unwrap();
        }
        tail.forward(weights).unwrap();
        tail.disarm();
        assert_eq!(bits(&tail.read(model.logits).unwrap()), expected, "{name}: {}", layer.name);
    }
    assert_eq!(bits(&golden.read(model.logits).unwrap()), clean, "{name} isn't golden again");
    assert!(reached > 0 && masked > 0, "{name}: {reached} reached the logits, {masked} didn't");
}

macro_rules! every_layer_of {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            check(stringify!($name));
        }
    )*};
}

mod every_layer_of {
    use super::check;
    every_layer_of!(
        alexnet,
        vgg16_bn,
        vgg19_bn,
        resnet18,
        resnet34,
        resnet50,
        resnet101,
        resnet152,
        mobilenet_v2,
        maxvit_t,
        swin_v2_t,
        swin_v2_s,
        focalnet_tiny,
        focalnet_tiny_lrf,
        focalnet_small,
        focalnet_small_lrf
    );
}

/// Values inside a launch are computed anew, box by box, to the bits that a plan keeps which has them all.
#[test]
fn golden_values_inside_launches_are_those_of_nodes_that_run_alone() {
    let network = network("mobilenet_v2");
    let Network { model, weights } = &network;
    let images = formula_images(2, model.image_size);
    let new = |kind| {
        let mut exec = network.execution(kind, 2, &[model.logits]).unwrap();
        network.forward(&mut exec, &images).unwrap();
        exec
    };
    let (all, mut launches) = (new(PlanKind::Golden), new(PlanKind::Replay));
    let clean = bits(&launches.read(model.logits).unwrap());
    let mut values = Vec::new();
    for layer in model.tape.injectable() {
        let map = model.tape.node(layer.node).spec.map;
        let image = map.channels % 2;
        let corner = |at: usize| {
            let (row, column) = (at % map.height, at * 7 % map.width);
            flipside::tensor::Region::element(image, row, column, at * 13 % map.channels)
        };
        let region = corner(3).hull(corner(8));
        launches.golden_box(weights, layer.node, region, &mut values).unwrap();
        let expected = all.image_values(layer.node, image);
        region.for_each_run(map, |offset| {
            let run = offset - image * map.elements()..;
            let run = run.start..run.start + region.channels.len();
            assert_eq!(bits(&values[run.clone()]), bits(&expected[run]), "{}", layer.name);
        });
    }
    assert_eq!(bits(&launches.read(model.logits).unwrap()), clean);
}
