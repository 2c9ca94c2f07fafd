//! `flipside study`.

use std::path::{Path, PathBuf};

use super::args_file::{self, ARGS};
use super::common::{
    RunArgs, check_bits, class_list_of_features, create_folder, print, print_json, view,
};
use super::dataset::{LayoutArgs, SkipArgs, for_training};
use super::recipe::RecipeArgs;
use crate::analysis::Intervals;
use crate::analysis::compare::Pairing;
use crate::checkpoint::atomic;
use crate::commit;
use crate::models::{Model, ModelFile};
use crate::nn::Head;
use crate::page::{Subject, figures, html, study_page};
use crate::plan::Plan;
use crate::recipe::{Recipe, Schedule};
use crate::report::{View, study_text};
use crate::results::Run;
use crate::study::{self, BUILTIN_SEED, Inputs, Options, STUDY, Study};
use crate::train::{hint_of_few_steps, recipe_words};
use crate::{Error, Result};

/// Train baseline and text-guided models, compare them under faults
///
/// Three models are trained: the baseline, the text-guided head with random rows, and the text-guided head
/// started from text features. The same faults are injected into all three, on images that all three classify
/// correctly. All of it is repeated from other training seeds on the same data (--seeds), since training moves
/// the figures, too.
///
/// Without --data the study runs on built-in synthetic images with a small network, in less than five minutes. With
/// --data it reads a data set, and needs --text-features.
///
/// All models are trained by one recipe, which isn't the model file's: SGD with momentum 0.9, weight decay 5e-4 and a
/// peak learning rate of 0.05, one epoch of warm-up, then a cosine to 0. Flags change it.
#[derive(clap::Args)]
pub struct Args {
    /// A model's name or a .toml file; resnet_small without --data, resnet18 with it
    #[arg(long)]
    model: Option<String>,
    /// A data set; train/CLASS and val/CLASS, or a known set as its download lies (docs/data.md)
    #[arg(long, requires = "text_features")]
    data: Option<PathBuf>,
    #[command(flatten)]
    layout: LayoutArgs,
    #[command(flatten)]
    skip: SkipArgs,
    /// Text features; a matrix of classes × width: .safetensors, .pth or .npy
    #[arg(long, requires = "data")]
    text_features: Option<PathBuf>,
    /// Class list; tab-separated lines of index, folder name, class name, which says which row of the
    /// features belongs to which folder. Not needed where the features name their classes, as those of
    /// `flipside embed` do
    #[arg(long, requires = "data")]
    class_list: Option<PathBuf>,
    /// Height and width of the images of --data
    #[arg(long, requires = "data")]
    image_size: Option<usize>,
    /// Injections per layer; 1000 if absent, 50 with --quick
    #[arg(long)]
    injections: Option<u64>,
    /// Bits flipped per fault, 1 to 4
    #[arg(long, default_value_t = 1)]
    bits: usize,
    /// First training seed; faults are drawn by the same number, the data are the same for all
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of training seeds, from --seed upwards; 3 if absent, 2 with --quick. One leaves open how much training
    /// moves the figures
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// Folder for all that comes of it; checkpoints, the stores of all injections, the table, pages for a browser
    /// (study.html, and one a seed), and the flags (args.toml)
    #[arg(long)]
    out: Option<PathBuf>,
    /// Go on with the study in --out; models that are trained, epochs that are over and injections that are made
    /// aren't made again. Without --model and --data its own flags hold, but for those that are typed
    #[arg(long, requires = "out")]
    resume: bool,
    /// Write no pages
    #[arg(long, requires = "out")]
    no_html: bool,
    /// A trial, done in about a minute; few images, epochs and injections, and no figures to report
    #[arg(long)]
    quick: bool,
    /// Read flags from this TOML file, as OUT/args.toml is one; its keys are their names, and what is typed beside it
    /// takes its place
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
    // Last, since its headings hold for what follows them.
    #[command(flatten)]
    recipe: RecipeArgs,
}

/// The recipe of a study: short, for few images. Recipes of model files are for ImageNet.
///
/// On the built-in images steps are many and small, so that all three forms learn in few epochs, in the quick
/// study, too: with batches of 64 and a rate of 0.1 text rows stay at chance there, and with batches of 32 still
/// near it, unless gradients are clipped.
fn base_recipe(synthetic: bool, quick: bool) -> Recipe {
    let epochs = match (synthetic, quick) {
        (_, true) => 3,
        (true, false) => 4,
        (false, false) => 10,
    };
    let batch = if synthetic { 16 } else { 64 };
    Recipe {
        momentum: 0.9,
        weight_decay: 5e-4,
        warmup_epochs: 1,
        ..Recipe::new(epochs, batch, 0.05, Schedule::Cosine { minimum: 0.0 })
    }
}

/// Runs it; `flags` are those that were given, as a file of them.
pub fn run(args: &Args, flags: Option<&str>) -> anyhow::Result<()> {
    let injections = args.injections.unwrap_or(if args.quick { 50 } else { 1000 });
    args.layout.check(args.data.as_deref())?;
    args.skip.check(args.data.as_deref())?;
    // Now rather than after the training.
    check_bits(args.bits)?;
    Plan::new(args.seed, injections).check()?;
    let seeds = study::seeds(args.seed, args.seeds.unwrap_or(if args.quick { 2 } else { 3 }))?;
    let device = args.run.start()?;
    let progress = args.run.progress();
    let synthetic = args.data.is_none();
    let default = if synthetic { "resnet_small" } else { "resnet18" };
    let file = ModelFile::open(args.model.as_deref().unwrap_or(default))?;
    let base = args.recipe.named()?.unwrap_or_else(|| base_recipe(synthetic, args.quick));
    let recipe = args.recipe.over(base)?;
    let inputs = match (&args.data, &args.text_features) {
        (Some(data), Some(features)) => {
            let classes = class_list_of_features(args.class_list.as_deref(), features)?;
            let size = args.image_size.unwrap_or(file.input.size);
            let data = (args.layout, args.skip, &**data);
            let sets = for_training(data, classes.as_ref(), &*progress)?;
            Inputs::of(&file, size, sets, features, classes.as_ref(), &recipe.augmentation)?
        }
        (Some(_), None) => {
            return Err(Error::usage("--data needs --text-features").into());
        }
        (None, _) => {
            let counts = if args.quick { [1500, 300] } else { [5000, 1000] };
            Inputs::builtin(&file, BUILTIN_SEED, counts, &recipe.augmentation)?
        }
    };
    progress.line(&format!("recipe: {}, batches of {}", recipe_words(&recipe), recipe.batch));
    if !synthetic {
        let images = inputs.train.dataset.len();
        let of_step = recipe.batch.saturating_mul(recipe.accumulate);
        let steps = images.div_ceil(of_step.min(images).max(1));
        if let Some(hint) = hint_of_few_steps(steps, recipe.epochs) {
            progress.line(&hint);
        }
    }
    let classes = inputs.test.dataset.classes().len();
    let model = Model::new(&file, Head::Baseline, classes, inputs.image_size(), 0.0)?;
    args.recipe.check_model(&model)?;
    let options = Options {
        file,
        recipe,
        seeds,
        injections,
        bits: args.bits,
        batch: 50,
        folder: args.out.clone(),
        resume: args.resume,
        note: flags.map(|flags| (ARGS, args_file::text("study", &facts(), flags))),
    };
    if let Some(folder) = &args.out {
        create_folder(folder)?;
    }
    let (study, timing) = study::run(&options, &inputs, &device, progress.as_ref())?;
    progress.line(&format!(
        "training took {:.0} s, {} injections {:.0} s ({:.0} a second)",
        timing.training_s,
        timing.injections,
        timing.injection_s,
        timing.injections as f64 / timing.injection_s.max(1e-9),
    ));
    if let Some(folder) = &args.out {
        write(&folder.join(STUDY), &serde_json::to_string_pretty(&study)?)?;
        write(&folder.join("study.md"), &study_text(&study, View::Markdown))?;
        // What was gone on with may have further seeds now.
        if let Some((name, text)) = &options.note {
            write(&folder.join(name), text)?;
        }
        if !args.no_html {
            pages(&study, &options, folder)?;
        }
    }
    if args.run.json {
        return print_json(&study);
    }
    print(&study_text(&study, view(View::Markdown)))
}

fn write(path: &Path, text: &str) -> Result<()> {
    atomic::write(path, |out| out.write_all(text.as_bytes()))
}

/// By what it is made, as a comment.
fn facts() -> String {
    format!("# version: {}, commit {}\n", env!("CARGO_PKG_VERSION"), commit::get())
}

/// Writes `study.html`, and beside each seed's campaigns a page of them.
fn pages(study: &Study, options: &Options, folder: &Path) -> Result<()> {
    let mut links = Vec::new();
    for seed in &study.seeds {
        let stores = options.stores(*seed);
        let runs: Vec<Run> =
            stores.iter().map(|(_, store)| Run::open(store)).collect::<Result<_>>()?;
        let names: Vec<String> =
            stores.iter().map(|(start, _)| start.slug().replace('-', " ")).collect();
        let runs: Vec<&Run> = runs.iter().collect();
        let mut subject = Subject::new(&runs, Pairing::Paired, &Intervals::default())?;
        subject.tell_apart(&names);
        let address = format!("seed-{seed}/report.html");
        write(&folder.join(&address), &html(&subject, &figures(&subject)?, None))?;
        links.push((format!("seed {seed}"), address));
    }
    write(&folder.join("study.html"), &study_page(study, &links))
}
