//! `flipside bench`.

use std::path::PathBuf;

use clap::Subcommand;

use super::common::{RunArgs, print, print_json};
use crate::bench::{Effort, InjectLoad, Peers, inject_times, kernel_times, overhead, shapes};
use crate::device::Device;
use crate::models::{Model, ModelFile, names};
use crate::nn::Head;
use crate::report::{inject_times_text, kernels_text, overhead_text};
use crate::tape::Weights;
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
    /// Print the list of operations and time nothing
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
/// Random weights and images; single bits of single outputs, uniform over each layer's neurons. A campaign
/// evaluates its images, runs each clean once more and keeps every value, then injects; all of that counts.
#[derive(clap::Args)]
struct InjectArgs {
    #[command(flatten)]
    run: RunArgs,
    /// A model's name or a .toml file
    #[arg(long, default_value = "resnet50")]
    model: String,
    /// Height and width of the images; the model file's if absent
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    image_size: Option<u16>,
    /// Images of the campaign
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    images: u16,
    /// Injections into each layer; as many as there are images if absent
    #[arg(long)]
    injections: Option<u64>,
    /// Campaigns; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Injections into each layer alone, on one core; 0 leaves them out
    #[arg(long, default_value_t = 8)]
    alone: u16,
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
        let file = ModelFile::open(name)?;
        let of_size = |size| Model::new(&file, Head::Baseline, 1000, size, 0.0);
        let model = match self.image_size {
            Some(size) => of_size(size.into())?,
            None if self.quick || device == "emulated" => {
                of_size(SMALL_IMAGES.min(file.input.size)).or_else(|_| of_size(file.input.size))?
            }
            None => of_size(file.input.size)?,
        };
        Ok((file.name.clone(), model))
    }
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
    if run.json { print_json(&times)? } else { print(&kernels_text(&times))? }
    verdict(times.failed(), times.shapes.len())
}

fn whole(args: &OverheadArgs) -> anyhow::Result<()> {
    let OverheadArgs { run, sizes, .. } = args;
    let (name, model) = sizes.record(&args.model, &run.device)?;
    let (device, progress) = (run.start()?, run.progress());
    let batch = sizes.batch(&run.device);
    let overhead =
        overhead((&name, &model), &device, batch, &args.layer, sizes.effort(), progress.as_ref())?;
    if run.json { print_json(&overhead)? } else { print(&overhead_text(&overhead))? }
    let (failed, parts) = overhead.failed();
    verdict(failed, parts)
}

/// Fails where rows have.
fn verdict(failed: usize, rows: usize) -> anyhow::Result<()> {
    anyhow::ensure!(failed == 0, "{failed} of {rows} failed; their rows say why");
    Ok(())
}

fn inject(args: &InjectArgs) -> anyhow::Result<()> {
    let file = ModelFile::open(&args.model)?;
    let size = args.image_size.map_or(file.input.size, usize::from);
    let model = Model::new(&file, Head::Baseline, 1000, size, 0.0)?;
    let (device, progress) = (args.run.start()?, args.run.progress());
    let mut weights = Weights::new(&model.tape, &device, false)?;
    weights.initialize(1)?;
    let load = InjectLoad {
        images: args.images.into(),
        per_layer: args.injections.unwrap_or(args.images.into()),
        rounds: args.rounds.into(),
        alone: args.alone.into(),
    };
    let times = inject_times((&file.name, &model), &weights, load, progress.as_ref())?;
    if args.run.json { print_json(&times) } else { print(&inject_times_text(&times)) }
}
