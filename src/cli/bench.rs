//! `flipside bench`.

use std::path::PathBuf;

use clap::Subcommand;

use super::common::{RunArgs, print, print_json, refuse_idle, say, view};
use crate::bench::{Effort, InjectLoad, Peers, inject_times, kernel_times, overhead, shapes};
use crate::device::{Device, Name};
use crate::fault::Site;
use crate::models::{Model, ModelFile, Network, names};
use crate::nn::Head;
use crate::number::Compute;
use crate::report::{View, inject_times_text, kernels_text, overhead_text};
use crate::{Error, Result};

/// Measure kernels, the overhead of faults, and injections a second
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    Kernels(KernelsArgs),
    Overhead(OverheadArgs),
    Inject(InjectArgs),
}

/// Time every distinct operation of the models on its own
///
/// Each operation is checked once against the CPU on a small batch, then timed warm: the median of several
/// rounds, by the GPU's own events. Beside the times are the rates, and the share of the nearer hardware
/// ceiling (copies or fused multiply-adds, measured in the same run). An operation whose check or kernel
/// fails has a row that says so instead of a time; the others go on, and the command fails at the end.
#[derive(clap::Args)]
struct KernelsArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Model names, .toml or .onnx files; every model of the published table if absent
    #[arg(long)]
    model: Vec<String>,
    /// Only operations whose name contains this text, such as `conv2d`, `3×3` or `depthwise`
    #[arg(long, default_value = "")]
    filter: String,
    #[command(flatten)]
    sizes: SizeArgs,
    /// Time backward passes, too
    #[arg(long)]
    backward: bool,
    /// Only list the operations, without timing them; --device has an effect on their sizes alone
    #[arg(long)]
    list: bool,
    /// Times of another program for the same operations: the file that benches/kernels_vs_torch.py writes
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    peers: Option<PathBuf>,
}

/// Measure the overhead of fault-capable kernels on a forward pass and on single layers
///
/// Times the forward pass in three ways, in turns within one run: with plain kernels; with fault-capable
/// (armed) kernels in every layer and no fault; and with one fault per image in every layer. Some layers are
/// timed alone in the same way. What fails has a row that says so; the command then fails at the end.
#[derive(clap::Args)]
struct OverheadArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Model name, .toml file or .onnx file
    #[arg(long, default_value = "resnet50")]
    model: String,
    /// Layers to time alone, at each site; if absent the first, the last, the one with the most
    /// multiply-accumulates, and the first attention
    #[arg(long)]
    layer: Vec<String>,
    #[command(flatten)]
    sizes: SizeArgs,
}

/// Measure the injections per second of a campaign, and of each layer alone
///
/// Weights and images are random; faults are single bits, drawn uniformly over each layer's site. A campaign
/// evaluates its images, runs each of them fault-free once more while keeping every value, and then injects;
/// all of this is timed. The CPU recomputes, image by image, only the region that a fault can reach (sparse
/// replay); other devices recompute whole layers for batches in which every image has a fault of its own. The
/// records, and so their SHA-256, are the same either way.
#[derive(clap::Args)]
struct InjectArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Model name, .toml file or .onnx file
    #[arg(long, default_value = "resnet50")]
    model: String,
    /// Fault site: output, weight (where each parameter counts as a layer), input or, on cuda and emulated, a
    /// site inside kernels
    #[arg(long, default_value = "output", value_parser = super::common::parse_site)]
    site: Site,
    /// Batch size for recomputing whole layers, at most the number of images. If absent 32; on the CPU, if
    /// absent, sparse replay of single images
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
    /// Height and width of the images; the model file's if absent, or 64 on the emulator and with --quick
    /// where the model allows it
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    image_size: Option<u16>,
    /// A trial with two small images, one campaign, and one injection or round for each layer alone, unless
    /// other flags say otherwise; no figures to report
    #[arg(long)]
    quick: bool,
    /// Number of images of the campaign; 8 if absent, 2 with --quick
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    images: Option<u16>,
    /// Injections into each layer; as many as there are images if absent
    #[arg(long)]
    injections: Option<u64>,
    /// Number of campaigns, whose median is reported; 3 if absent, 1 with --quick
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Injections into each layer alone, on one core, or rounds of a batch of them; 8 if absent, 1 with
    /// --quick; 0 leaves them out
    #[arg(long)]
    alone: Option<u16>,
}

#[derive(clap::Args)]
struct SizeArgs {
    /// Batch size; 32 if absent, 2 on the emulator
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
    /// Height and width of the images; the model file's if absent, or 64 on the emulator and with --quick
    /// where the model allows it
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    image_size: Option<u16>,
    /// A trial of three short rounds on small images; no figures to report
    #[arg(long)]
    quick: bool,
}

const SMALL_IMAGES: usize = 64;

impl SizeArgs {
    fn batch(&self, device: &str) -> usize {
        let default = if device == "emulated" { 2 } else { 32 };
        self.batch.map_or(default, usize::from)
    }

    fn effort(&self) -> Effort {
        if self.quick { Effort::QUICK } else { Effort::FULL }
    }

    fn record(&self, name: &str, device: &str) -> Result<(String, Model)> {
        record(name, self.image_size, self.quick || device == "emulated")
    }
}

/// A model on images of `size`, or of the model file's, or small ones where it takes them.
fn record(name: &str, size: Option<u16>, is_small: bool) -> Result<(String, Model)> {
    let file = ModelFile::open(name)?;
    let of_size = |size| Model::new(&file, Head::Baseline, 1000, size, 0.0);
    let model = match size {
        Some(size) => of_size(size.into())?,
        None if is_small => {
            of_size(SMALL_IMAGES.min(file.input.size)).or_else(|_| of_size(file.input.size))?
        }
        None => of_size(file.input.size)?,
    };
    Ok((file.name.clone(), model))
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Benchmark::Kernels(args) => kernels(args),
        Benchmark::Overhead(args) => whole(args),
        Benchmark::Inject(args) => inject(args),
    }
}

fn kernels(args: &KernelsArgs) -> anyhow::Result<()> {
    let KernelsArgs { run, sizes, .. } = args;
    let mut models = Vec::new();
    let published: Vec<String> = names().map(String::from).collect();
    for name in if args.model.is_empty() { &published } else { &args.model } {
        models.push(sizes.record(name, &run.device)?);
    }
    let mut shapes = shapes(&models);
    shapes.retain(|shape| shape.name.contains(&args.filter));
    if shapes.is_empty() {
        return Err(Error::usage(format!("no operation's name holds '{}'", args.filter)).into());
    }
    let batch = sizes.batch(&run.device);
    if args.list {
        Name::parse(&run.device)?;
        let nothing = "with --list, which times nothing";
        refuse_idle([
            ("--backward", args.backward, nothing),
            ("--compute", run.compute != Compute::Exact, nothing),
            ("--threads", run.threads != 0, nothing),
        ])?;
        if run.json {
            let listed: Vec<_> = shapes.iter().map(|shape| shape.listed()).collect();
            return print_json(&serde_json::json!({ "batch": batch, "shapes": listed }));
        }
        let lines: Vec<String> =
            shapes.iter().map(|shape| format!("{}  {}", shape.id, shape.name)).collect();
        return say(&lines.join("\n"));
    }
    let peers = args.peers.as_deref().map(|path| Peers::open(path, batch)).transpose()?;
    let (device, progress): (Device, _) = (run.start()?, run.progress());
    let effort = sizes.effort();
    let times = kernel_times(
        &shapes,
        &device,
        batch,
        args.backward,
        effort,
        peers.as_ref(),
        progress.as_ref(),
    )?;
    if run.json {
        print_json(&times)?
    } else {
        print(&kernels_text(&times, view(View::Markdown)))?
    }
    verdict(times.failed(), times.shapes.len())
}

fn whole(args: &OverheadArgs) -> anyhow::Result<()> {
    let OverheadArgs { run, sizes, .. } = args;
    let (name, model) = sizes.record(&args.model, &run.device)?;
    let (device, progress) = (run.start()?, run.progress());
    let batch = sizes.batch(&run.device);
    let overhead =
        overhead((&name, &model), &device, batch, &args.layer, sizes.effort(), progress.as_ref())?;
    if run.json {
        print_json(&overhead)?
    } else {
        print(&overhead_text(&overhead, view(View::Markdown)))?
    }
    let (failed, parts) = overhead.failed();
    verdict(failed, parts)
}

/// Fails where rows have.
fn verdict(failed: usize, rows: usize) -> anyhow::Result<()> {
    anyhow::ensure!(failed == 0, "{failed} of {rows} failed; their rows say why");
    Ok(())
}

fn inject(args: &InjectArgs) -> anyhow::Result<()> {
    let InjectArgs { run, quick, .. } = args;
    let is_small = *quick || run.device == "emulated";
    let (name, model) = record(&args.model, args.image_size, is_small)?;
    let (device, progress) = (run.start()?, run.progress());
    let network = Network::random(model, 1, &device)?;
    let or = |flag: Option<u16>, full: u16, quick_one: u16| -> usize {
        flag.unwrap_or(if *quick { quick_one } else { full }).into()
    };
    let images = or(args.images, 8, 2);
    let load = InjectLoad {
        images,
        per_layer: args.injections.unwrap_or(images as u64),
        site: args.site,
        batch: args.batch.map(usize::from),
        rounds: or(args.rounds, 3, 1),
        alone: or(args.alone, 8, 1),
    };
    let times = inject_times(&name, &network, load, progress.as_ref())?;
    if run.json {
        return print_json(&times);
    }
    print(&inject_times_text(&times, view(View::Markdown)))
}
