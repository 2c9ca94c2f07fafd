//! Networks out of ONNX files, which PyTorch's two exporters wrote (`tests/oracle/onnx_fixtures.py`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flipside::checkpoint::Checkpoint;
use flipside::device::Device;
use flipside::fault::{FaultEntry, FaultTable};
use flipside::models::{Model, ModelFile, Network, detect_head};
use flipside::nn::{Builder, Head};
use flipside::number::BitMasks;
use flipside::onnx::OnnxFile;
use flipside::tape::{Execution, PlanKind, Tape, Undo};
use flipside::tensor::{Map, Spec};
use serde_json::Value;

use crate::cli::Place;
use crate::formula;

const NETWORKS: [&str; 8] = [
    "residual",
    "mobile",
    "shuffle",
    "channels_last",
    "branches",
    "arithmetic",
    "transformer",
    "numbers",
];
const EXPORTERS: [&str; 2] = ["torchscript", "dynamo"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx")
}

fn path(name: &str, exporter: &str) -> PathBuf {
    folder().join(format!("{name}.{exporter}.onnx"))
}

fn expected() -> Value {
    serde_json::from_str(&fs::read_to_string(folder().join("logits.json")).unwrap()).unwrap()
}

/// The network of a file with its own weights, on `device`.
fn network(path: &Path, device: &Device) -> Network {
    let file = ModelFile::open(&path.to_string_lossy()).unwrap();
    let (checkpoint, _) = file.onnx().unwrap().checkpoint(32).unwrap();
    let (head, classes) = detect_head(&checkpoint, &file).unwrap();
    let model = Model::new(&file, head, classes, 32, 0.0).unwrap();
    Network::load(model, &checkpoint, device).unwrap()
}

/// The fixture's images: channels last.
fn images() -> (Vec<f32>, usize) {
    let fixture = expected();
    let (name, bound) = (fixture["images"].as_str().unwrap(), fixture["bound"].as_f64().unwrap());
    let images = 2;
    let planes = formula::fill(name, images * 3 * 32 * 32, 0.0, bound);
    let mut pixels = Vec::new();
    for image in 0..images {
        for pixel in 0..32 * 32 {
            pixels.extend((0..3).map(|channel| planes[(image * 3 + channel) * 32 * 32 + pixel]));
        }
    }
    (pixels, images)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// A forward pass over the fixture's images.
fn run(network: &Network) -> (Execution, Vec<f32>) {
    let (pixels, images) = images();
    let outputs = [network.model.logits];
    let mut execution = network.execution(PlanKind::Replay, images, &outputs).unwrap();
    network.forward(&mut execution, &pixels).unwrap();
    let logits = execution.read(network.model.logits).unwrap();
    (execution, logits)
}

#[test]
fn both_exporters_networks_give_pytorchs_logits() {
    let fixture = expected();
    for name in NETWORKS {
        let rows = fixture["logits"][name].as_array().unwrap().iter();
        let expected: Vec<f64> = rows
            .flat_map(|row| row.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()))
            .collect();
        let largest = expected.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        for exporter in EXPORTERS {
            let network = network(&path(name, exporter), &Device::cpu());
            let (_, logits) = run(&network);
            assert_eq!(logits.len(), expected.len(), "{name} {exporter}");
            for (found, wanted) in logits.iter().zip(&expected) {
                let error = (f64::from(*found) - wanted).abs() / largest;
                assert!(error < 3e-6, "{name} {exporter}: {found} for {wanted}");
            }
        }
    }
}

#[test]
fn kernels_give_the_bits_of_the_cpu() {
    for name in NETWORKS {
        let path = path(name, "dynamo");
        let (_, clean) = run(&network(&path, &Device::cpu()));
        let (_, emulated) = run(&network(&path, &Device::parse("emulated").unwrap()));
        assert_eq!(bits(&clean), bits(&emulated), "{name}");
    }
}

/// A fault in each layer, run again from there, against all of the network run with it.
#[test]
fn what_is_run_again_from_a_fault_gives_the_bits_of_a_whole_run() {
    for name in NETWORKS {
        let network = network(&path(name, "torchscript"), &Device::cpu());
        let tape = &network.model.tape;
        let (mut sparse, clean) = run(&network);
        let (mut whole, _) = run(&network);
        let (pixels, _) = images();
        let mut undo = Undo::default();
        let mut changed = 0;
        for layer in tape.injectable() {
            for (image, at) in [(0usize, 0.3), (1, 0.8)] {
                let map = tape.node(layer.node).spec.map;
                let [channel, row, column] = map.locate((map.elements() as f64 * at) as usize);
                let element = map.pytorch_index(channel, row, column);
                let fault = [(image, FaultEntry::output(element, BitMasks::flip(1 << 29)))];
                let table = || FaultTable::new(&layer.name, 2, map, &fault).unwrap();
                whole.arm(layer.node, table()).unwrap();
                network.forward(&mut whole, &pixels).unwrap();
                let wanted = whole.image_values(network.model.logits, image).to_vec();
                whole.disarm();
                sparse.arm(layer.node, table()).unwrap();
                let ends = [network.model.logits];
                sparse.replay_image(&network.weights, layer.node, image, &ends, &mut undo).unwrap();
                let found = sparse.image_values(network.model.logits, image).to_vec();
                sparse.restore(&mut undo);
                sparse.disarm();
                assert_eq!(bits(&found), bits(&wanted), "{name}: {} {fault:?}", layer.name);
                let before = &clean[image * wanted.len()..][..wanted.len()];
                changed += usize::from(bits(&wanted) != bits(before));
            }
        }
        assert!(changed > 0, "{name}: no fault changed anything");
    }
}

/// Names, in a file whose exporter kept them.
#[test]
fn layers_have_the_names_of_pytorchs_modules() {
    for exporter in EXPORTERS {
        let network = network(&path("mobile", exporter), &Device::cpu());
        let layers: Vec<String> =
            network.model.tape.injectable().into_iter().map(|layer| layer.name).collect();
        let wanted = [
            "stem.0",
            "expand.0",
            "depthwise",
            "gate.0",
            "gate.2",
            "project",
            "classifier.0",
            "classifier.3",
        ];
        assert_eq!(layers, wanted, "{exporter}");
    }
}

#[test]
fn a_linear_end_takes_a_text_guided_head_and_another_does_not() {
    let head = Head::text_guided(5);
    let open = |name: &str| {
        let file = ModelFile::open(&path(name, "torchscript").to_string_lossy()).unwrap();
        Model::new(&file, head, 4, 32, 0.0)
    };
    let model = open("residual").unwrap();
    assert_eq!((model.classes, model.head), (4, head));
    assert!(model.tape.find("backbone.fc").is_ok() && model.tape.find("head").is_ok());
    let error = open("branches").unwrap_err().to_string();
    assert!(error.contains("doesn't end in a linear layer"), "{error}");
}

/// By the command line: its own weights, those of a checkpoint of its names, and campaigns.
#[test]
fn commands_take_the_file_as_a_model() {
    let place = Place::new();
    let model = place.at("net.onnx");
    fs::copy(path("residual", "torchscript"), &model).unwrap();
    fs::copy(path("branches", "torchscript"), place.at("other.onnx")).unwrap();
    assert_eq!(
        place.json("models net.onnx")["layers"].as_array().unwrap().last().unwrap()["shape"],
        serde_json::json!([7, 1, 1])
    );
    fs::write(
        place.at("input.toml"),
        "[input]\nsize = 32\nmean = [0.5, 0.5, 0.5]\nstd = [0.2, 0.2, 0.2]\n",
    )
    .unwrap();
    let (own, _) =
        ModelFile::open(&model.to_string_lossy()).unwrap().onnx().unwrap().checkpoint(32).unwrap();
    let output = place.run("predict --model net.onnx data/val/n0/0.png");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("--preprocess"), "{said}");
    let image = "data/val/n0/0.png --preprocess input.toml --json";
    let alone = place.done(&format!("predict --model net.onnx {image}"));
    let faulty = place
        .done(&format!("predict --model net.onnx {image} --fault layer=conv2,channel=1,bit=30"));
    assert_ne!(alone, faulty);
    place.done("convert --model net.onnx --preprocess input.toml --out weights.safetensors");
    let written = Checkpoint::open(&place.at("weights.safetensors")).unwrap();
    let name = "downsample.weight";
    assert_eq!(written.get(name).unwrap(), own.get(name).unwrap());
    let other = place
        .done("predict --model net.onnx --checkpoint weights.safetensors data/val/n0/0.png --json");
    assert_eq!(answers(&alone), answers(&other));
    // A network that doesn't end in a linear layer.
    let campaign =
        "--preprocess input.toml --data data --labels golden --detector none --injections 5";
    place.done(&format!("inject --model other.onnx {campaign} --out other.sqlite"));
    place.done("report other.sqlite --html other.html");
    let page = fs::read_to_string(place.at("other.html")).unwrap();
    assert!(page.contains("--model other.onnx") && !page.contains("CHECKPOINT"));
    for (command, code, parts) in [
        ("predict data/val/n0/0.png", 2, ["--checkpoint", ".onnx"]),
        ("predict --model tiny.toml data/val/n0/0.png", 2, ["--checkpoint", ".onnx"]),
        ("train --model net.onnx --data data --out run", 2, ["net.onnx", "recipe"]),
        (
            "predict --model net.onnx --checkpoint other.onnx data/val/n0/0.png",
            2,
            ["other.onnx", "a network of its own"],
        ),
        ("models other.onnx --classes 9", 2, ["other.onnx has 7 classes", "linear layer"]),
        (
            "eval --model net.onnx --data data/val --preprocess tiny.toml",
            1,
            ["tiny.toml", "[input]"],
        ),
    ] {
        place.fails(command, code, &parts);
    }
}

/// What a command's JSON says of images.
fn answers(text: &str) -> Value {
    serde_json::from_str::<Value>(text).unwrap()["images"].clone()
}

/// A byte here and there, and the file cut off. `FLIPSIDE_ONNX_DAMAGES` says how many files of each network.
#[test]
fn damaged_files_end_in_a_sentence() {
    let rounds = std::env::var("FLIPSIDE_ONNX_DAMAGES").map_or(125, |text| text.parse().unwrap());
    let damaged = Path::new("damaged.onnx");
    let mut state = 1u64;
    let mut next = || {
        state = formula::splitmix64(state);
        state as usize
    };
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    for round in 0..rounds * NETWORKS.len() {
        let name = NETWORKS[round % NETWORKS.len()];
        let exporter = EXPORTERS[round / NETWORKS.len() % EXPORTERS.len()];
        let mut copy = fs::read(path(name, exporter)).unwrap();
        if round % 5 == 0 {
            copy.truncate(next() % copy.len());
        }
        for _ in 0..1 + next() % 3 {
            if !copy.is_empty() {
                let at = next() % copy.len();
                copy[at] = next() as u8;
            }
        }
        let start = Instant::now();
        let recorded = OnnxFile::parse(damaged, copy).and_then(|file| {
            let mut tape = Tape::new();
            let image = tape.input("image", Spec::f32(Map::new(32, 32, 3)));
            let mut builder = Builder { tape: &mut tape, prefix: String::new(), smooth: false };
            file.record(&mut builder, image)
        });
        slowest = slowest.max(start.elapsed());
        if let Err(error) = recorded {
            refused += 1;
            assert!(error.to_string().len() < 10_000, "{error}");
        }
    }
    println!("{refused} of {} refused, the slowest took {slowest:?}", rounds * NETWORKS.len());
    assert!(refused > rounds * NETWORKS.len() / 5, "{refused}");
}
