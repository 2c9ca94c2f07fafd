//! `flipside train`.

mod folder;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::common::{
    RunArgs, class_list, class_list_of_features, create_folder, file_sha256, print, say, stop_flag,
    watch_stop,
};
use super::dataset::{LayoutArgs, SkipArgs, for_training};
use super::recipe::RecipeArgs;
use crate::data::ClassList;
use crate::error::{MOST_NAMED, some_of};
use crate::fault::TrainingFault;
use crate::models::{ModelFile, Pretrained, set_head_rows};
use crate::nn::Head;
use crate::recipe::Recipe;
use crate::study::sources;
use crate::text::{self, TextFeatures};
use crate::train::{Job, Output, Source, Trainer};
use crate::{Error, Result};

pub use folder::facts_of;

/// Train a model on a data set
///
/// The result is OUT/model.safetensors, a state dict that PyTorch loads; OUT/best.safetensors is the same of the epoch of
/// the highest top-1 on the validation images. OUT/summary.csv has a line for each epoch, OUT/metrics.jsonl and
/// TensorBoard's event files have steps, too; OUT/args.toml has the flags. A run that was stopped (by ctrl-C, which
/// saves a snapshot, or for whatever reason) is continued by --resume and gives the same bits as a run that wasn't.
#[derive(clap::Args)]
pub struct Args {
    /// Model name or .toml file; see `flipside models`
    #[arg(long)]
    model: String,
    /// A data set; train/CLASS and val/CLASS, or a known set as its download lies (docs/data.md)
    #[arg(long)]
    data: PathBuf,
    #[command(flatten)]
    layout: LayoutArgs,
    #[command(flatten)]
    skip: SkipArgs,
    /// Text features for a text-guided head; it starts from these (.safetensors, .pth or .npy)
    #[arg(long)]
    text_features: Option<PathBuf>,
    /// Text-guided head of this width; it starts from random rows
    #[arg(long, conflicts_with = "text_features")]
    random_rows: Option<usize>,
    /// Text-guided head without the normalisation of its feature: an ablation, whose logit scale starts at 1
    #[arg(long)]
    unnormalized: bool,
    /// Start from this checkpoint; .pth or .safetensors, of the same architecture. Its head is left
    /// out where it is of another kind or width, or for other classes
    #[arg(long = "init", alias = "start", value_name = "FILE")]
    start: Option<PathBuf>,
    /// Class list; tab-separated lines of index, folder name, class name, which says which row of the
    /// features belongs to which folder. Not needed where the features name their classes, as those of
    /// `flipside embed` do
    #[arg(long)]
    class_list: Option<PathBuf>,
    /// Height and width of the images; the model file's if absent
    #[arg(long)]
    image_size: Option<usize>,
    /// Leave parameters as they are; patterns over names of the state dict, as in 'backbone.*' or '*.bias'
    /// (repeatable, or with commas). A batch norm that is left alone uses its running statistics
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    freeze: Vec<String>,
    /// Flip bits while training, to learn to tolerate them: site=output (what convolutions and linear layers store) or
    /// site=weight (parameters, as the passes of each batch read them), and rate=P, the probability for each bit;
    /// optional bits=23..30+sign (0 to 31, sign, exponent, mantissa), layers=GLOB, epochs=A-B. Repeatable
    #[arg(long, value_name = "FAULTS")]
    fault_training: Vec<TrainingFault>,
    /// Random seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder of the run: models, metrics, and snapshots, which --resume goes on from
    #[arg(long)]
    out: PathBuf,
    /// Keep the models of the last N epochs, too, as OUT/epoch-0001.safetensors and so on; the best epoch's is always
    /// there
    #[arg(long, value_name = "N", value_parser = parse_keep)]
    keep: Option<u32>,
    /// Continue from the snapshot in OUT
    #[arg(long)]
    resume: bool,
    /// Save a snapshot every N steps, too; there is one after each epoch in any case
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    snapshot_steps: Option<u32>,
    /// Add a line to OUT/metrics.jsonl every N steps; there is one after each epoch's last step in any case
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    log_steps: u32,
    /// Take every Nth step twice from the same weights, and stop unless both come to the same bits: loss, logits,
    /// gradients, and what the update makes of weights and moments. Each check costs another step, and two copies of
    /// weights, gradients and moments to the host
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    replay_check: Option<u32>,
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

/// A number of epochs whose models are kept.
fn parse_keep(text: &str) -> std::result::Result<u32, String> {
    match text {
        "best" => Err("the best epoch is always kept, as OUT/best.safetensors".into()),
        "last" => Err("the last epoch is always kept, as OUT/model.safetensors".into()),
        number => match number.parse() {
            Ok(epochs) if epochs > 0 => Ok(epochs),
            _ => Err("expected a number of epochs from 1 on".into()),
        },
    }
}

/// Runs it; `flags` are those that were given, as a file of them.
pub fn run(args: &Args, flags: Option<&str>) -> anyhow::Result<()> {
    watch_stop()?;
    if args.unnormalized && args.text_features.is_none() && args.random_rows.is_none() {
        return Err(Error::usage(
            "--unnormalized is of a text-guided head: it needs --text-features or --random-rows",
        )
        .into());
    }
    let device = args.run.start()?;
    let progress = args.run.progress();
    let file = ModelFile::open(&args.model)?;
    let (base, whose) = base_recipe(args, &file)?;
    let recipe = args.recipe.over(base.clone())?;
    let image_size = args.image_size.unwrap_or(file.input.size);
    let classes = match &args.text_features {
        Some(features) => class_list_of_features(args.class_list.as_deref(), features)?,
        None => class_list(args.class_list.as_deref())?,
    };
    let data = (args.layout, args.skip, &*args.data);
    let sets = for_training(data, classes.as_ref(), &*progress)?;
    let [train, validation] = sources(&file, image_size, sets, &recipe.augmentation);
    let head = head(args, classes.as_ref(), &train)?;
    let pretrained = args.start.as_deref().map(|path| Pretrained::open(path, &file)).transpose()?;
    let output = Output {
        folder: args.out.clone(),
        snapshot_steps: args.snapshot_steps.map(|steps| steps as usize),
        log_steps: args.log_steps as usize,
        keep: args.keep.unwrap_or(0) as usize,
    };
    create_folder(&output.folder)?;
    let lock = output.lock()?;
    if !args.resume && output.resumable().is_some() {
        return Err(Error::usage(format!(
            "{} holds a training run already: continue it with --resume, or name another --out",
            args.out.display()
        ))
        .into());
    }
    let job = Job {
        file,
        head: head.head,
        recipe,
        seed: args.seed,
        start: start(args)?,
        train,
        validation: Some(validation),
        workers: rayon::current_num_threads(),
        output: Some(output.clone()),
        freeze: args.freeze.clone(),
        faults: args.fault_training.clone(),
    };
    let mut trainer = Trainer::new(job, &device)?;
    trainer.hold(lock);
    if let Some(every) = args.replay_check {
        trainer.check_replays(every as usize);
    }
    args.recipe.check_model(trainer.model())?;
    let goes_on = args.resume && output.resumable().is_some();
    if args.resume && !goes_on && output.summary().exists() {
        let detail = "isn't there, but the folder holds a run: train it again in another one";
        return Err(Error::file(output.snapshot(), detail).into());
    }
    if args.resume && !goes_on {
        progress.line(&format!("{}: holds no snapshot yet; begins", args.out.display()));
    }
    let mut words = format!("drawn at random (seed {})", args.seed);
    if let (Some(pretrained), Some(path)) = (&pretrained, &args.start) {
        pretrained.notes().iter().for_each(|note| progress.line(note));
        words = start_from(&mut trainer, pretrained, path)?;
    }
    if let (Some(rows), Some(path)) = (head.rows, &args.text_features) {
        set_head_rows(trainer.weights_mut(), &rows.normalized_rows(), rows.width)?;
        words.push_str(&format!("; but the head's rows from {}", path.display()));
    }
    if goes_on {
        trainer.resume()?;
    }
    folder::write(&output, trainer.job(), &device, flags)?;
    let broken = if args.run.json { Some(tell_epochs(&mut trainer)) } else { None };
    let job = trainer.job();
    let (epochs, steps) = (job.recipe.epochs, job.epoch_steps());
    let (epoch, step) = trainer.position();
    if epoch == epochs {
        progress.line("all epochs are over already");
    } else {
        let lines = job.outline(trainer.model(), &words, (&base, &whose));
        lines.iter().for_each(|line| progress.line(line));
        if goes_on {
            let next = epoch + 1;
            progress.line(&format!("goes on in epoch {next}/{epochs} after step {step}/{steps}"));
        }
    }
    // From here on there is something to keep; before, ctrl-C ends the program at once.
    if !trainer.run_until(progress.as_ref(), stop_flag()?)? {
        let (epoch, step) = trainer.position();
        let again = if args.resume { "the same command" } else { "the same command with --resume" };
        anyhow::bail!(
            "stopped in epoch {}/{epochs} after step {step}/{steps}; {} holds the run so far, and {again} goes on from \
             there",
            epoch + 1,
            output.snapshot().display()
        );
    }
    let best = trainer.best_epoch();
    if let Some(broken) = broken {
        // Whoever read the lines may have gone: that doesn't end the run before its end.
        if let Some(error) = broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        // Epochs count from 1 wherever people read them.
        let end = serde_json::json!({
            "kind": "end",
            "epochs": epochs,
            "model": output.model(),
            "best": best.map(|_| output.best()),
            "best_epoch": best.map(|epoch| epoch + 1),
            "skipped_steps": trainer.skipped_steps(),
        });
        return print(&end.to_string());
    }
    say(&format!("{}: epoch {epochs} of {epochs}", output.model().display()))?;
    let best = best.and_then(|best| trainer.history().iter().find(|record| record.epoch == best));
    match best {
        None => Ok(()),
        Some(record) => {
            let top1 = record.validation_top1_percent;
            let top1 = top1.map_or_else(String::new, |top1| format!(", top-1 {top1:.2} %"));
            let epoch = record.epoch + 1;
            say(&format!("{}: epoch {epoch} of {epochs}, the best{top1}", output.best().display()))
        }
    }
}

/// Prints each epoch that is over as a line of JSON; the first error of it, if there is one by the end.
fn tell_epochs(trainer: &mut Trainer) -> Arc<Mutex<Option<anyhow::Error>>> {
    let broken = Arc::new(Mutex::new(None));
    let failure = broken.clone();
    trainer.listen(Box::new(move |line| {
        let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            *failure = print(line).err();
        }
    }));
    broken
}

/// The recipe that flags change, and whose it is.
fn base_recipe(args: &Args, file: &ModelFile) -> Result<(Recipe, String)> {
    Ok(match (args.recipe.named()?, &args.recipe.recipe) {
        (Some(recipe), Some(path)) => (recipe, path.display().to_string()),
        _ => (file.recipe()?.clone(), format!("the model file {}", file.name)),
    })
}

/// The head that the flags ask for, with the rows that it starts from.
struct AskedHead {
    head: Head,
    rows: Option<TextFeatures>,
}

fn head(args: &Args, classes: Option<&ClassList>, train: &Source) -> Result<AskedHead> {
    let guided = |width| Head::TextGuided { width, normalized: !args.unnormalized };
    let (head, rows) = match (&args.text_features, args.random_rows) {
        (Some(path), _) => {
            let rows = text::file::open_for(path, classes, train.dataset.classes())?;
            (guided(rows.width), Some(rows))
        }
        (None, Some(width)) if (1..=1 << 16).contains(&width) => (guided(width), None),
        (None, Some(_)) => {
            return Err(Error::usage("--random-rows takes a width from 1 to 65536"));
        }
        (None, None) => (Head::Baseline, None),
    };
    Ok(AskedHead { head, rows })
}

/// What the weights start from, as snapshots keep it.
fn start(args: &Args) -> Result<String> {
    let files = [("checkpoint", &args.start), ("text features", &args.text_features)];
    let parts: Vec<String> = files
        .into_iter()
        .filter_map(|(what, path)| Some((what, path.as_deref()?)))
        .map(|(what, path)| Ok(format!("{what} {}", file_sha256(path)?)))
        .collect::<Result<_>>()?;
    Ok(if parts.is_empty() { "random".into() } else { parts.join(", ") })
}

/// Takes a checkpoint's weights; what was taken and what wasn't, in words.
fn start_from(trainer: &mut Trainer, from: &Pretrained, path: &Path) -> Result<String> {
    let model = trainer.model().clone();
    let ids: Vec<String> = trainer.job().class_names().into_iter().map(|(id, _)| id).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let taken = from.start(&model, trainer.weights_mut(), &ids)?;
    let mut words = format!("{} tensors from {}", taken.tensors, path.display());
    if !taken.left_out.is_empty() {
        let left = some_of(&taken.left_out, MOST_NAMED);
        words.push_str(&format!("; left out, since {}: {left}", taken.why));
    }
    if taken.tensors < model.tape.params().len() {
        words.push_str(&format!("; the rest drawn at random (seed {})", trainer.job().seed));
    }
    Ok(words)
}
