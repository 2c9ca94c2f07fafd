//! Blocks of Swin V2, MaxViT and FocalNet against PyTorch's f64 figures (tests/oracle/README.md). Each is
//! taken out of a small backbone that has it, so that what is tested is what the families record.

use std::collections::BTreeSet;
use std::sync::Arc;

use flipside::device::Device;
use flipside::models::ModelFile;
use flipside::nn::Builder;
use flipside::ops::{Init, RunState};
use flipside::tape::{Execution, Node, NodeId, ParamId, PlanKind, Tape, Weights};
use flipside::tensor::{Map, Spec};
use serde_json::Value;

use crate::formula;
use crate::pytorch_case::{Case, channels_first, channels_last};

/// The fixture keeps 15 bits of a mantissa: half of the last one's place, relative to the value.
const STORED: f64 = 1.0 / 65536.0;

/// Relative to the largest |value| of a tensor, which is a sum of up to 512 rounded terms.
const TOLERANCE: f64 = 2e-6;

/// Cosines are multiplied by up to 100 before the softmax, so that what rounds them by 6e-8 moves a
/// probability by up to 6e-6 of itself.
const COSINE_TOLERANCE: f64 = 2e-5;

/// What rounding of its scores (up to 100, half of the last place 4e-6) adds to the gradient of
/// `logit_scale` for each query. The queries' terms cancel: PyTorch's own f32 is 1.6e-4 off for the 128 of
/// `swin_whole`, whose gradient is 0.23.
const QUERY_ROUNDING: f64 = 4e-6;

/// A module of a backbone, on a tape of its own.
struct Module {
    tape: Arc<Tape>,
    x: NodeId,
    y: NodeId,
}

impl Module {
    /// A case's module, out of a backbone of the case's numbers.
    fn of(case: &Case<'_>, map: Map) -> Module {
        let (size, of_map) = (|key| case.size(key), Map { channels: 3, ..map });
        match case.text("module") {
            "patch_merging_v2" => {
                assert_eq!(case.number("eps"), 1e-5, "Swin's layer norms have this one");
                let numbers = format!("width = {}\nstages = [1, 1]\nheads = [1, 1]", size("dim"));
                Module::lift("swin_v2_t", &format!("patch = 1\n{numbers}"), of_map, "features.2")
            }
            "swin_v2_attention" => {
                // The second block of a stage is the shifted one.
                let block = match size("shift") {
                    0 => 0,
                    shift => {
                        assert_eq!(shift, size("window") / 2, "no other shift is Swin's");
                        1
                    }
                };
                let numbers = format!(
                    "patch = 1\nwidth = {}\nstages = [2]\nheads = [{}]\nwindow = {}",
                    size("dim"),
                    size("heads"),
                    size("window")
                );
                let name = format!("features.1.{block}.attn");
                Module::lift("swin_v2_t", &numbers, of_map, &name)
            }
            "partition_attention" => {
                let numbers = format!(
                    "stages = [1]\nwidths = [{}]\nhead_width = {}\npartition = {}\nmlp_ratio = {}.0",
                    size("channels"),
                    size("head_dim"),
                    size("partition"),
                    size("mlp_ratio")
                );
                // The stem and the first layer halve the map.
                let image = Map::new(4 * map.height, 4 * map.width, 3);
                let kind = case.0["attributes"]["kind"].as_str().unwrap();
                let name = format!("blocks.0.layers.0.layers.{kind}_attention");
                Module::lift("maxvit_t", &numbers, image, &name)
            }
            "focal_modulation" => {
                let numbers = format!(
                    "patch = 1\nwidth = {}\nstages = [1]\nlevels = [{}]\nwindows = [{}]",
                    size("dim"),
                    size("levels"),
                    size("window")
                );
                let name = "layers.0.blocks.0.modulation";
                Module::lift("focalnet_tiny", &numbers, of_map, name)
            }
            other => panic!("no module is called {other}"),
        }
    }

    /// Records the backbone `model` with `numbers` for its architecture's, and takes out the nodes
    /// under `name`, which have to follow from one value. Parameters keep their names less `name`.
    fn lift(model: &str, numbers: &str, image: Map, name: &str) -> Module {
        let mut file = toml::Table::try_from(ModelFile::open(model).unwrap()).unwrap();
        let architecture = file["architecture"].as_table_mut().unwrap();
        architecture.extend(numbers.parse::<toml::Table>().unwrap());
        let file: ModelFile = file.try_into().unwrap();
        let mut whole = Tape::new();
        let image = whole.input("image", Spec::f32(image));
        let mut builder = Builder { tape: &mut whole, prefix: String::new(), smooth: false };
        file.record_backbone(&mut builder, image).unwrap();

        let within = format!("{name}.");
        let is_inside = |node: &Node| node.name == name || node.name.starts_with(&within);
        let mut tape = Tape::new();
        // The module's nodes and the value that it reads, as (in the backbone, here).
        let mut places: Vec<(NodeId, NodeId)> = vec![];
        for (index, node) in whole.nodes().iter().enumerate() {
            if !is_inside(node) {
                continue;
            }
            for input in node.inputs.iter().filter(|input| !is_inside(whole.node(**input))) {
                if places.iter().all(|(place, _)| place != input) {
                    places.push((*input, tape.input("x", whole.node(*input).spec)));
                }
            }
            let here = |input: &NodeId| places.iter().find(|(place, _)| place == input).unwrap().1;
            let inputs: Vec<NodeId> = node.inputs.iter().map(here).collect();
            let names = node.params.iter().map(|id| &whole.params()[id.0].name);
            let names: Vec<&str> = names.map(|n| n.strip_prefix(&within).unwrap()).collect();
            let op = node.op.clone().unwrap();
            let copy = tape.record_shared(&node.name, op, &inputs, Some(&names)).unwrap();
            places.push((NodeId(index), copy));
        }
        let inputs: Vec<NodeId> =
            places.iter().map(|(_, here)| *here).filter(|id| tape.node(*id).op.is_none()).collect();
        let [x] = inputs[..] else { panic!("{name} reads {} values", inputs.len()) };
        tape.want_gradient(x);
        let y = places.last().unwrap().1;
        Module { tape: Arc::new(tape), x, y }
    }
}

/// An (N, …) tensor of a case, whose `layout` says where the channels are, as the tape has it.
struct Layout {
    channels_last: bool,
}

impl Layout {
    fn of(case: &Case<'_>) -> Layout {
        let channels_last = match case.text("layout") {
            "NHWC" => true,
            "NCHW" => false,
            other => panic!("no layout is called {other}"),
        };
        Layout { channels_last }
    }

    fn map(&self, shape: &[usize]) -> Map {
        match *shape {
            [_, height, width, channels] if self.channels_last => Map::new(height, width, channels),
            [_, channels, height, width] => Map::new(height, width, channels),
            _ => panic!("no map has the shape {shape:?}"),
        }
    }

    /// PyTorch's order to the tape's.
    fn store(&self, map: Map, values: Vec<f32>) -> Vec<f32> {
        if self.channels_last { values } else { channels_last(map, &values) }
    }

    /// The tape's order to PyTorch's.
    fn load(&self, map: Map, values: Vec<f32>) -> Vec<f32> {
        if self.channels_last { values } else { channels_first(map, &values) }
    }
}

fn stored(value: &Value) -> Vec<f64> {
    formula::decode_f24(value.as_str().unwrap()).unwrap()
}

/// What is off, all of it, so that one run shows every tensor.
struct Comparison {
    tolerance: f64,
    wrong: Vec<String>,
}

impl Comparison {
    fn check(&mut self, what: &str, found: &[f32], expected: &Value) {
        self.check_with(0.0, what, found, expected);
    }

    /// As `check`, with `rounding` on top.
    fn check_with(&mut self, rounding: f64, what: &str, found: &[f32], expected: &Value) {
        let expected = stored(expected);
        assert_eq!(found.len(), expected.len(), "{what}");
        let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
        let excess = |(e, f): (&f64, &f32)| {
            let off = (e - f64::from(*f)).abs() - STORED * e.abs();
            // `f64::max` would drop a NaN.
            if off.is_nan() { f64::INFINITY } else { off }
        };
        let worst = expected.iter().zip(found).map(excess).fold(0f64, f64::max);
        let bound = self.tolerance * largest + rounding;
        if worst > bound {
            self.wrong.push(format!(
                "{what} is {worst:.1e} off, {bound:.1e} allowed; the largest is {largest:.1e}"
            ));
        }
    }
}

fn check(case: &Case<'_>) {
    let (name, layout) = (case.text("name"), Layout::of(case));
    let (shape, x) = case.operand("x");
    let map = layout.map(&shape);
    let Module { tape, x: input, y: output } = Module::of(case, map);
    assert_eq!(tape.node(input).spec.map, map, "{name}");

    let device = Device::cpu();
    let mut weights = Weights::new(&tape, &device, true).unwrap();
    let gradients = case.0["gradients"].as_object().unwrap();
    let mut names = BTreeSet::from(["x"]);
    let is_cosine = gradients.contains_key("logit_scale");
    let tolerance = if is_cosine { COSINE_TOLERANCE } else { TOLERANCE };
    let mut comparison = Comparison { tolerance, wrong: vec![] };
    for (index, param) in tape.params().iter().enumerate() {
        let id = ParamId(index);
        if matches!(param.spec.init, Init::Given(_)) {
            let constant = weights.get(id).unwrap();
            comparison.check(&param.name, &constant, &case.0["constants"][&param.name]);
        } else {
            assert!(names.insert(&param.name), "{name}: {} twice", param.name);
            let (shape, values) = case.operand(&param.name);
            assert_eq!(param.spec.shape, shape, "{name}: {}", param.name);
            weights.set(id, &values).unwrap();
        }
    }
    assert_eq!(names, gradients.keys().map(String::as_str).collect(), "{name}");

    let mut exec = Execution::new(&tape, &device, PlanKind::Train, shape[0], &[output]).unwrap();
    exec.begin_training(RunState::default(), &vec![0; shape[0]]).unwrap();
    exec.write(input, &layout.store(map, x)).unwrap();
    exec.forward_training(&mut weights).unwrap();
    let y_map = tape.node(output).spec.map;
    assert_eq!(y_map, layout.map(&formula::usizes(&case.0["output"]["shape"])), "{name}");
    let y = layout.load(y_map, exec.read(output).unwrap());
    comparison.check("output", &y, &case.0["output"]["values"]);
    let gradient = layout.store(y_map, case.operand("grad").1);
    exec.backward(&mut weights, output, &gradient, |_| {}).unwrap();
    let dx = layout.load(map, exec.read_gradient(input).unwrap());
    comparison.check("gradient of x", &dx, &gradients["x"]);
    for (index, param) in tape.params().iter().enumerate() {
        if param.spec.role.is_trained() {
            let found = weights.gradient(ParamId(index)).unwrap();
            let what = format!("gradient of {}", param.name);
            let queries = if param.name == "logit_scale" { shape[0] * map.pixels() } else { 0 };
            let rounding = QUERY_ROUNDING * queries as f64;
            comparison.check_with(rounding, &what, &found, &gradients[&param.name]);
        }
    }
    assert!(comparison.wrong.is_empty(), "{name}:\n{}", comparison.wrong.join("\n"));
}

#[test]
fn modules_equal_pytorch() {
    let fixture = formula::fixture("modules.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() >= 9, "the fixture has only {} modules", cases.len());
    cases.iter().map(Case).for_each(|case| check(&case));
}
