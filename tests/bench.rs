//! `flipside bench`: the list of operations, the checks, the figures, the command.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use flipside::bench::{
    Effort, InjectLoad, KernelTimes, OpShape, PeerTime, Peers, inject_times, kernel_times,
    overhead, shapes,
};
use flipside::device::Device;
use flipside::fault::Site;
use flipside::models::{Model, ModelFile, Network, names};
use flipside::nn::Head;
use flipside::ops::linear::as_conv2d;
use flipside::ops::{HostBackward, HostForward, KernelForward, Op};
use flipside::progress::Silent;
use flipside::tensor::{Map, Region, Spec};
use flipside::{Error, Result};

use crate::devices::device;

fn model(name: &str, size: Option<usize>) -> (String, Model) {
    let file = ModelFile::open(name).unwrap();
    let size = size.unwrap_or(file.input.size);
    (name.to_string(), Model::new(&file, Head::Baseline, 1000, size, 0.0).unwrap())
}

/// Every node that runs is one of a shape's, and shapes are distinct by name and id.
#[test]
fn shapes_cover_every_network_once() {
    let models: Vec<(String, Model)> = names().map(|name| model(name, None)).collect();
    let shapes = shapes(&models);
    let ids: std::collections::HashSet<&str> = shapes.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids.len(), shapes.len());
    for (name, model) in &models {
        let needed = model.tape.needed_for(&[model.logits]);
        let runs = |index: &usize| needed[*index] && model.tape.nodes()[*index].op.is_some();
        let nodes = (0..needed.len()).filter(runs).count();
        let counted: usize = shapes
            .iter()
            .flat_map(|s| &s.models)
            .filter(|(of, _)| of == name)
            .map(|(_, n)| n)
            .sum();
        assert_eq!(counted, nodes, "{name}");
    }
    let find = |name: &str| shapes.iter().find(|shape| shape.name == name).unwrap();
    // ResNet's 3×3 convolutions of the first stage: two a block, in 2, 3 and 3 blocks.
    let stage = &find("conv2d 64×56×56 → 64×56×56, 3×3").models;
    for expected in [("resnet18", 4), ("resnet34", 6), ("resnet50", 3)] {
        assert!(stage.contains(&(expected.0.to_string(), expected.1)), "{stage:?}");
    }
    let listed = find("conv2d 3×224×224 → 64×112×112, 7×7, stride 2").listed();
    assert_eq!(listed["settings"]["kernel_size"], serde_json::json!([7, 7]));
    assert_eq!(listed["inputs"], serde_json::json!([[3, 224, 224]]));
    // Files of peers' times go by it.
    assert_eq!(listed["id"], "2090fbf50b52");
}

#[test]
fn kernels_are_checked_timed_and_set_beside_a_peer() {
    let shapes = shapes(&[model("resnet_small", Some(16))]);
    let winograd = shapes.iter().find(|shape| shape.name.ends_with("3×3")).unwrap().id.clone();
    let peer = |shape: &OpShape| PeerTime {
        forward_ms: 1e6,
        forward_tf32_ms: None,
        backward_ms: Some(1e-9),
        winograd: shape.id == winograd,
    };
    let times: BTreeMap<String, PeerTime> =
        shapes.iter().map(|shape| (shape.id.clone(), peer(shape))).collect();
    let peers = Peers { peer: "somebody".into(), batch: 3, times };
    let times =
        kernel_times(&shapes, &device(), 3, true, Effort::QUICK, Some(&peers), &Silent).unwrap();
    assert_eq!(times.shapes.len(), shapes.len());
    assert!(times.ceilings.gb_per_s > 0.0 && times.ceilings.gflop_per_s > 0.0);
    for (time, shape) in times.shapes.iter().zip(&shapes) {
        let [forward, backward] =
            [&time.forward, &time.backward].map(|pass| pass.as_ref().unwrap());
        for pass in [forward, backward] {
            assert!(pass.median_ms >= pass.best_ms && pass.best_ms > 0.0, "{}", time.name);
            assert!(pass.share_percent > 0.0, "{}", time.name);
        }
        assert!(forward.ratio.unwrap() < 1.0 && backward.ratio.unwrap() > 1.0);
        // Chains of fused multiply-adds have the CPU's bits.
        let exact =
            as_conv2d(shape.op.as_ref()).is_some() || time.kind == "relu" || time.kind == "add";
        assert!(time.difference.unwrap() <= if exact { 1e-5 } else { 1e-4 });
    }
    // Bytes by hand: x and y of 3 images; the weights of a convolution, too.
    let relu = times.shapes.iter().find(|time| time.kind == "relu").unwrap();
    let moved = |time: &flipside::bench::KernelTime| {
        let forward = time.forward.as_ref().unwrap();
        forward.gb_per_s * 1e6 * forward.median_ms
    };
    let bytes = moved(relu);
    assert!((bytes - 3.0 * 2.0 * 4.0 * (16 * 16 * 16) as f64).abs() < 1.0, "{bytes}");
    let conv = &times.shapes[0];
    let bytes = moved(conv);
    let expected = 4 * (3 * 16 * 16 * (3 + 16) + 27 * 16);
    assert!((bytes - f64::from(expected)).abs() < 1.0, "{bytes}");

    assert_eq!(times.failed(), 0);
    let seconds = times.seconds;
    let parts = [seconds.ceilings, seconds.checks, seconds.setup, seconds.timing];
    assert!(parts.iter().all(|part| *part > 0.0) && parts.iter().sum::<f64>() <= seconds.total);

    let text = flipside::report::kernels_text(&times, flipside::report::View::Markdown);
    let (others, apart) = text.split_once("Winograd").unwrap();
    assert!(others.contains("relu") && !apart.contains("relu"));
}

/// Networks of positions have one value for all images, forward and back.
#[test]
fn values_for_all_images_are_timed_as_one() {
    let mut shapes = shapes(&[model("swin_v2_t", Some(64))]);
    shapes.retain(|shape| shape.output.shared);
    assert!(shapes.iter().any(|shape| as_conv2d(shape.op.as_ref()).is_some()));
    let of = |batch| {
        kernel_times(&shapes, &device(), batch, true, Effort::QUICK, None, &Silent).unwrap().shapes
    };
    for (one, many) in of(1).iter().zip(of(4)) {
        let bytes = |time: &flipside::bench::KernelTime| {
            let forward = time.forward.as_ref().unwrap();
            (forward.gb_per_s * 1e6 * forward.median_ms).round()
        };
        assert_eq!(bytes(one), bytes(&many), "{}", one.name);
    }
}

/// What [`Fails`] does instead of copying.
#[derive(Debug)]
enum Failure {
    /// Nothing is written.
    Idle,
    /// An error of the device that isn't one of its state, as when memory runs out.
    OutOfMemory,
    /// From then on the device refuses what is asked of it, for as long as the sender lives.
    ForGood(Mutex<Option<Receiver<()>>>),
}

/// An operation that fails wherever it has kernels.
#[derive(Debug)]
struct Fails(Failure);

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for Fails {
    fn kind(&self) -> &'static str {
        "fails"
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

    fn launch_forward(&self, ctx: &KernelForward<'_>) -> Result<()> {
        match &self.0 {
            Failure::Idle => Ok(()),
            Failure::OutOfMemory => {
                Err(Error::Device { device: "emulated".into(), detail: "out of memory".into() })
            }
            Failure::ForGood(hold) => {
                let hold = hold.lock().unwrap_or_else(PoisonError::into_inner).take();
                hold.into_iter().for_each(|hold| occupy(ctx.device, hold));
                Ok(())
            }
        }
    }
}

/// An operation that fails, before a network's first one.
fn before_a_convolution(failure: Failure) -> Vec<OpShape> {
    let spec = Spec::f32(Map::new(2, 3, 4));
    let (name, model) = model("resnet_small", Some(16));
    let of_model = shapes(&[(name, model)]);
    vec![OpShape::of(Arc::new(Fails(failure)), vec![spec], spec), of_model[0].clone()]
}

fn quick(shapes: &[OpShape], device: &Device) -> KernelTimes {
    kernel_times(shapes, device, 1, false, Effort::QUICK, None, &Silent).unwrap()
}

/// The row of a wrong result says so and has no time; the next one has.
#[test]
fn a_kernel_that_isnt_the_cpus_is_not_timed() {
    let shapes = before_a_convolution(Failure::Idle);
    let times = quick(&shapes, &device());
    let [idle, conv] = &times.shapes[..] else { panic!("{times:?}") };
    let error = idle.error.as_ref().unwrap();
    assert!(error.starts_with("kernel fails") && error.contains("off the CPU's"), "{error}");
    assert!(idle.forward.is_none() && idle.difference.is_none());
    assert!(conv.error.is_none() && conv.forward.as_ref().unwrap().median_ms > 0.0);
    assert_eq!(times.failed(), 1);
    let json = serde_json::to_value(&times).unwrap();
    assert_eq!(json["shapes"][0]["error"], error.as_str());
    assert!(json["shapes"][0]["forward"].is_null() && json["shapes"][1]["error"].is_null());
    let text = flipside::report::kernels_text(&times, flipside::report::View::Markdown);
    let row = text.lines().find(|line| line.starts_with("| fails")).unwrap();
    assert!(row.contains(" failed |"), "{row}");
    assert!(text.contains(&format!("Without figures:\n\n- {}: {error}", idle.name)), "{text}");

    let times = quick(&shapes, &Device::cpu());
    assert!(times.failed() == 0 && times.shapes[0].difference.is_none());
}

/// Has the device capture a graph on another thread until the sender is gone: it refuses copies, waits and
/// allocations meanwhile, as a GPU does after an illegal address.
fn occupy(device: &Device, hold: Receiver<()>) {
    let (begun, begins) = channel();
    let device = device.clone();
    std::thread::spawn(move || {
        device.capture(|| {
            begun.send(()).unwrap();
            let _ = hold.recv();
            Ok(())
        })
    });
    begins.recv().unwrap();
}

#[test]
fn a_failure_of_the_device_ends_the_trying() {
    let device = Device::emulated();
    let times = quick(&before_a_convolution(Failure::OutOfMemory), &device);
    let errors = |times: &KernelTimes| -> Vec<Option<String>> {
        times.shapes.iter().map(|shape| shape.error.clone()).collect()
    };
    // It still answers: only this row has failed.
    assert_eq!(errors(&times), [Some("device emulated: out of memory".into()), None]);

    let (sender, hold): (Sender<()>, _) = channel();
    let failure = Failure::ForGood(Mutex::new(Some(hold)));
    let times = quick(&before_a_convolution(failure), &device);
    let errors = errors(&times);
    let [Some(first), Some(second)] = &errors[..] else { panic!("{errors:?}") };
    assert!(first.contains("while another thread captures"), "{first}");
    assert_eq!(second, "not run: the device failed before");
    assert_eq!(times.failed(), 2);
    drop(sender);
}

#[test]
fn overhead_tells_what_failed() {
    let device = Device::emulated();
    let (name, model) = model("resnet_small", Some(16));
    let (sender, hold): (Sender<()>, _) = channel();
    occupy(&device, hold);
    let costs = overhead((&name, &model), &device, 2, &[], Effort::QUICK, &Silent).unwrap();
    drop(sender);
    assert!(costs.passes.is_empty() && costs.error.as_ref().unwrap().contains("allocation"));
    let not_run = Some("not run: the device failed before".to_string());
    assert!(costs.layers.iter().all(|layer| layer.times.is_none() && layer.error == not_run));
    assert_eq!(costs.failed(), (1 + costs.layers.len(), 1 + costs.layers.len()));
    let text = flipside::report::overhead_text(&costs, flipside::report::View::Markdown);
    assert!(text.contains("- whole passes: ") && text.contains(" failed |"), "{text}");
}

#[test]
fn armed_passes_are_set_beside_clean_ones() {
    let (name, model) = model("resnet_small", Some(16));
    let run =
        |layers: &[String]| overhead((&name, &model), &device(), 2, layers, Effort::QUICK, &Silent);
    let all = run(&[]).unwrap();
    assert_eq!(all.passes.len(), 3);
    assert_eq!((all.passes[0].ratio, all.compute.to_string().as_str()), (1.0, "exact"));
    for pass in &all.passes {
        assert!((pass.images_per_s * pass.median_ms / 2e3 - 1.0).abs() < 1e-9, "{pass:?}");
    }
    assert_eq!(all.failed().0, 0);
    assert!(all.passes.iter().all(|pass| pass.median_ms >= pass.best_ms && pass.best_ms > 0.0));
    let layers: Vec<&str> = all.layers.iter().map(|layer| layer.layer.as_str()).collect();
    assert!(layers.contains(&"conv1") && layers.contains(&"fc"), "{layers:?}");
    let one = run(&["layer1.0.conv2".into()]).unwrap();
    let sites: Vec<&str> = one.layers.iter().map(|layer| layer.site).collect();
    assert!(sites.starts_with(&["output"]) && sites.contains(&"store-lost"), "{sites:?}");
    assert!(one.layers.iter().all(|layer| layer.layer == "layer1.0.conv2"));
    for (layer, part) in [("conv9", "no layer 'conv9'"), ("relu", "'relu' has no fault sites")] {
        let error = run(&[layer.into()]).unwrap_err();
        assert!(
            matches!(error, Error::Usage { .. }) && error.to_string().contains(part),
            "{error}"
        );
    }
}

fn flipside(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_flipside")).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const LOAD: InjectLoad =
    InjectLoad { images: 2, per_layer: 3, site: Site::Output, batch: None, rounds: 1, alone: 4 };

/// Of resnet_small on images of 16×16.
fn injections(device: &Device, load: InjectLoad) -> Result<flipside::bench::InjectTimes> {
    let (name, model) = model("resnet_small", Some(16));
    let network = Network::random(model, 1, device)?;
    inject_times(&name, &network, load, &Silent)
}

/// Every layer has its share, in the campaign and alone.
#[test]
fn injections_are_timed() {
    let (_, model) = model("resnet_small", Some(16));
    let layers: Vec<String> = model.tape.injectable().into_iter().map(|layer| layer.name).collect();
    let names = |times: &flipside::bench::InjectTimes| -> Vec<String> {
        times.layers.iter().map(|layer| layer.layer.clone()).collect()
    };
    let times = injections(&Device::cpu(), LOAD).unwrap();
    assert_eq!((times.injections, names(&times)), (3 * layers.len(), layers.clone()));
    assert!(times.injections_per_s > 0.0 && times.clean_ms > 0.0 && times.batch.is_none());
    // What lies behind a fault is less than everything, and the last layer's is almost nothing.
    assert!(times.layers.iter().all(|layer| layer.mean_ms > 0.0 && layer.share_percent < 100.0));
    assert!(times.layers[layers.len() - 1].share_percent < 1.0);

    let times = injections(&device(), LOAD).unwrap();
    // More images are asked for than there are.
    assert_eq!((times.injections, names(&times), times.batch), (3 * layers.len(), layers, Some(2)));
    // Three injections over two images take two rounds, or three if one image has them all.
    let filled = times.filled_percent.unwrap();
    assert!((50.0..=75.0).contains(&filled), "{filled}");
    for layer in &times.layers {
        assert!(layer.mean_ms > 0.0);
        assert!((layer.round_ms.unwrap() / layer.mean_ms - 2.0).abs() < 1e-9, "{layer:?}");
    }
    // Whole nodes: from the first layer on everything is computed, from the last only itself.
    assert_eq!(times.layers[0].share_percent, 100.0);
    let needed = model.tape.needed_for(&[model.logits]);
    let all: usize = (model.tape.nodes().iter().zip(needed))
        .filter(|(node, needed)| *needed && node.op.is_some())
        .map(|(node, _)| node.spec.map.elements())
        .sum();
    let last = times.layers.last().unwrap().share_percent;
    assert!((last - 100.0 * 1000.0 / all as f64).abs() < 1e-9, "{last}");
    let text = flipside::report::inject_times_text(&times, flipside::report::View::Markdown);
    assert!(text.contains("batches of 2") && text.contains(&times.records_sha256), "{text}");

    let nothing = InjectLoad { images: 0, ..LOAD };
    assert!(injections(&Device::cpu(), nothing).is_err());
    let inside = InjectLoad { site: Site::Accumulator, ..LOAD };
    let error = injections(&Device::cpu(), inside).unwrap_err().to_string();
    assert!(error.contains("accumulator"), "{error}");
}

/// On every device and by every strategy, at every site that all have; another load has another hash.
#[test]
fn records_are_the_same_everywhere() {
    let (cpu, other) = (Device::cpu(), device());
    let mut hashes = std::collections::HashSet::new();
    for site in [Site::Output, Site::Weight, Site::Input] {
        let load = InjectLoad { site, alone: 0, rounds: 2, images: 3, ..LOAD };
        let of = |device: &Device, load| injections(device, load).unwrap().records_sha256;
        let expected = of(&cpu, load);
        assert_eq!(of(&other, load), expected, "{}", site.name());
        for device in [&cpu, &other] {
            let batches = InjectLoad { batch: Some(2), ..load };
            assert_eq!(of(device, batches), expected, "{}", site.name());
        }
        hashes.insert(expected);
        hashes.insert(of(&cpu, InjectLoad { per_layer: 4, ..load }));
    }
    assert_eq!(hashes.len(), 6);
}

/// Batches that the process has no memory for: every row says so, and the command fails behind them.
#[test]
fn the_command_fails_behind_its_rows() {
    // 65,535 images of 16 channels of 32×32 are 4.3 GB; the process may have 2.
    let command = "ulimit -v 2000000 && exec \"$0\" bench kernels --device emulated --threads 2 --quick \
                   --model resnet_small --filter '→ 16×32×32' --batch 65535 --json --quiet";
    let program = env!("CARGO_BIN_EXE_flipside");
    let output = Command::new("sh").args(["-c", command, program]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let times: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = times["shapes"].as_array().unwrap();
    assert!(rows.len() > 2);
    for row in rows {
        assert!(row["error"].as_str().unwrap().contains("out of memory"), "{row}");
        assert!(row["forward"].is_null());
    }
    let said = format!("flipside: {0} of {0} failed; their rows say why", rows.len());
    assert_eq!((output.status.code(), error.trim()), (Some(1), said.as_str()));
}

#[test]
fn the_command_lists_times_and_refuses() {
    let kernels = ["bench", "kernels", "--model", "resnet_small", "--filter", "linear"];
    let (code, out, _) = flipside(&[&kernels[..], &["--list", "--json"]].concat());
    assert_eq!(code, Some(0));
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    let id = list["shapes"][0]["id"].as_str().unwrap();
    assert_eq!((list["batch"].as_u64(), list["shapes"].as_array().unwrap().len()), (Some(32), 1));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("peers.json");
    let peers = serde_json::json!({
        "peer": "torch 9", "batch": 4, "times": { id: { "forward_ms": 0.5 } },
    });
    std::fs::write(&file, peers.to_string()).unwrap();
    let beside = ["--quick", "--json", "--peers", file.to_str().unwrap()];
    let (code, out, _) =
        flipside(&[&kernels[..], &beside, &["--batch", "4", "--device", "emulated"]].concat());
    assert_eq!(code, Some(0));
    let times: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(times["peer"], "torch 9");
    assert!(times["shapes"][0]["forward"]["ratio"].as_f64().unwrap() > 0.0);
    let (code, _, error) = flipside(&[&kernels[..], &beside, &["--batch", "5"]].concat());
    assert!(code == Some(1) && error.contains("batches of 4, not of 5"), "{error}");
    for wrong in ["0", "-1", "1e-320"] {
        let peers = std::fs::read_to_string(&file).unwrap().replace("0.5", wrong);
        std::fs::write(folder.path().join("wrong.json"), peers).unwrap();
        let beside = ["--quick", "--batch", "4", "--peers"];
        let wrong = folder.path().join("wrong.json");
        let (code, _, error) =
            flipside(&[&kernels[..], &beside, &[wrong.to_str().unwrap()]].concat());
        assert!(code == Some(1) && error.contains("has a time of"), "{error}");
    }

    let inject = ["bench", "inject", "--model", "resnet_small", "--quick", "--json", "--quiet"];
    let [cpu, emulated] = ["cpu", "emulated"].map(|device| {
        let (code, out, error) = flipside(&[&inject[..], &["--device", device]].concat());
        assert_eq!(code, Some(0), "{error}");
        serde_json::from_str::<serde_json::Value>(&out).unwrap()
    });
    assert_eq!(cpu["records_sha256"].as_str().unwrap().len(), 64);
    assert_eq!(cpu["records_sha256"], emulated["records_sha256"]);
    assert_eq!((&cpu["batch"], &emulated["batch"]), (&serde_json::Value::Null, &2.into()));

    for (args, part) in [
        (&["bench", "kernels", "--model", "resnet17"][..], "resnet17"),
        (&["bench", "inject", "--model", "resnet_small", "--site", "nowhere"], "nowhere"),
        (&["bench", "overhead", "--model", "resnet17"], "resnet17"),
        (&["bench", "inject", "--model", "resnet17"], "resnet17"),
        (&["bench", "kernels", "--model", "resnet_small", "--filter", "fft"], "'fft'"),
        (&["bench", "overhead", "--model", "resnet_small", "--device", "tpu"], "tpu"),
    ] {
        let (code, _, error) = flipside(args);
        assert!(code == Some(2) && error.contains(part), "{args:?}: {error}");
    }
}
