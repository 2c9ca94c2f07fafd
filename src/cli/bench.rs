//! `flipside bench`.

use std::path::PathBuf;

use clap::Subcommand;

use super::common::{RunArgs, print, print_json, refuse_idle};
use crate::bench::{Effort, InjectLoad, Peers, inject_times, kernel_times, overhead, shapes};
use crate::device::{Compute, Device, Name};
use crate::fault::Site;
use crate::models::{Model, ModelFile, Network, names};
use crate::nn::Head;
use crate::report::{inject_times_text, kernels_text, overhead_text};
use crate::{Error, Result};

/// Time kernels, and what it costs to stand ready for faults
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Kernels(KernelsArgs),
    Overhead(OverheadArgs),
    Inject(InjectArgs),
}

/// Time every distinct operation of the models, alone
///
/// Each is checked once against the CPU on a small batch, then timed warm: the median of some rounds, by
/// the GPU's own events. Beside the times stand the rates, and the share of what the nearer ceiling of the
/// device (copies, fused multiply-adds; measured in the same run) allows. An operation whose check or kernel
/// fails has a row that says so and no time; the others go on, and the command fails at the end.
#[derive(clap::Args)]
struct KernelsArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Models by name or .toml file; every model of the published table if absent
    #[arg(long)]
    model: Vec<String>,
    /// Only operations whose name holds this text: `conv2d`, `3×3`, `depthwise`
    #[arg(long, default_value = "")]
    filter: String,
    #[command(flatten)]
    sizes: SizeArgs,
    /// Time backward passes, too
    #[arg(long)]
    backward: bool,
    /// Print the list of operations and time nothing; of --device only the sizes follow
    #[arg(long)]
    list: bool,
    /// Times of a peer for the same list: the file that benches/kernels_vs_torch.py writes
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    peers: Option<PathBuf>,
}

/// Time a model's forward pass clean and armed, and single layers
///
/// Clean, with every layer's armed kernel and no faults, and with one fault an image in every layer, in
/// turns within one run. The same for some layers alone. What fails has a row that says so; the command then
/// fails at the end.
#[derive(clap::Args)]
struct OverheadArgs {
    #[command(flatten)]
    run: RunArgs,
    /// A model's name or a .toml file
    #[arg(long, default_value = "resnet50")]
    model: String,
    /// Layers to time alone, at each site; the first, the one with the most multiply-accumulates, the last
    /// and the first attention if absent
    #[arg(long)]
    layer: Vec<String>,
    #[command(flatten)]
    sizes: SizeArgs,
}

/// Time a campaign's injections, and those into each layer alone
///
/// Random weights and images; single bits, uniform over what each layer has of the site. A campaign evaluates
/// its images, runs each clean once more and keeps every value, then injects; all of that counts. The CPU
/// replays boxes of one image at a time, other devices whole nodes for batches in which every image has an
/// injection of its own. Records are the same wherever bits are: so is their SHA-256.
#[derive(clap::Args)]
struct InjectArgs {
    #[command(flatten)]
    run: RunArgs,
    /// A model's name or a .toml file
    #[arg(long, default_value = "resnet50")]
    model: String,
    /// What is hit in each layer: output, weight (each parameter is a layer then), input or, on cuda and
    /// emulated, a site inside kernels
    #[arg(long, default_value = "output", value_parser = super::common::parse_site)]
    site: Site,
    /// Images of a batch, by whole nodes on any device; if absent 32, on the CPU boxes. No more than there
    /// are images
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
    /// Height and width of the images; the model file's, on the emulator and with --quick 64 where the
    /// model takes them
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    image_size: Option<u16>,
    /// Two small images, one campaign, one injection or round a layer alone, where no flag says otherwise: a
    /// look, no figures to report
    #[arg(long)]
    quick: bool,
    /// Images of the campaign; 8, with --quick 2
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    images: Option<u16>,
    /// Injections into each layer; as many as there are images if absent
    #[arg(long)]
    injections: Option<u64>,
    /// Campaigns; the median counts. 3, with --quick 1
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Injections into each layer alone, on one core, or rounds of a batch of them; 0 leaves them out. 8, with
    /// --quick 1
    #[arg(long)]
    alone: Option<u16>,
}

#[derive(clap::Args)]
struct SizeArgs {
    /// Images of a batch; 32, on the emulator 2
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
    /// Height and width of the images; the model file's, on the emulator and with --quick 64 where the
    /// model takes them
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    image_size: Option<u16>,
    /// Three short rounds on small images: a look, no figures to report
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
        Command::Kernels(args) => kernels(args),
        Command::Overhead(args) => whole(args),
        Command::Inject(args) => inject(args),
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
        return print(&lines.join("\n"));
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
        print(&kernels_text(&times))?
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
        print(&overhead_text(&overhead))?
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
    if run.json { print_json(&times) } else { print(&inject_times_text(&times)) }
}
