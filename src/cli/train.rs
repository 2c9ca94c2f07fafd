//! `flipside train`.

use std::path::PathBuf;

use super::common::{
    RecipeArgs, RunArgs, class_list, class_list_of_features, create_folder, file_sha256,
    print_json, say,
};
use crate::Error;
use crate::models::{ModelFile, set_head_rows};
use crate::nn::Head;
use crate::study::folder_sources;
use crate::text;
use crate::train::{Job, Output, Trainer};

/// Train a model on an image folder
///
/// The result is OUT/model.safetensors, a state dict that PyTorch loads. A run that was stopped, for whatever
/// reason, is continued by --resume and gives the same bits as a run that wasn't.
#[derive(clap::Args)]
pub struct Args {
    /// Model name (see `flipside models`) or .toml file
    #[arg(long)]
    model: String,
    /// A folder with train and val, each with one folder of images per class
    #[arg(long)]
    data: PathBuf,
    /// Start a text-guided head from these text features (.safetensors, .pth or .npy)
    #[arg(long)]
    text_features: Option<PathBuf>,
    /// Use a text-guided head of this width, started from random rows
    #[arg(long, conflicts_with = "text_features")]
    random_rows: Option<usize>,
    /// Class list: tab-separated lines of index, folder name, class name, which says which row of the
    /// features belongs to which folder. Not needed where the features name their classes, as those of
    /// `flipside embed` do
    #[arg(long)]
    class_list: Option<PathBuf>,
    /// Height and width of the images; the model file's if absent
    #[arg(long)]
    image_size: Option<usize>,
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Random seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for the snapshots and the trained model
    #[arg(long)]
    out: PathBuf,
    /// Continue from the snapshot in OUT
    #[arg(long)]
    resume: bool,
    /// Save a snapshot every N steps, too; there is one after each epoch in any case
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    snapshot_steps: Option<u32>,
    #[command(flatten)]
    run: RunArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let device = args.run.start()?;
    let progress = args.run.progress();
    let file = ModelFile::open(&args.model)?;
    let recipe = args.recipe.over(file.recipe()?.clone())?;
    let image_size = args.image_size.unwrap_or(file.input.size);
    let classes = match &args.text_features {
        Some(features) => class_list_of_features(args.class_list.as_deref(), features)?,
        None => class_list(args.class_list.as_deref())?,
    };
    let [train, validation] =
        folder_sources(&file, image_size, &args.data, classes.as_ref(), &*progress)?;
    let (head, start, rows) = match (&args.text_features, args.random_rows) {
        (Some(path), _) => {
            let rows = text::file::open_for(path, classes.as_ref(), train.dataset.classes())?;
            let start = format!("text features {}", file_sha256(path)?);
            (Head::TextGuided { width: rows.width }, start, Some(rows))
        }
        (None, Some(width)) if (1..=1 << 16).contains(&width) => {
            (Head::TextGuided { width }, "random".to_string(), None)
        }
        (None, Some(_)) => {
            return Err(Error::usage("--random-rows takes a width from 1 to 65536").into());
        }
        (None, None) => (Head::Baseline, "random".to_string(), None),
    };
    let output = Output {
        folder: args.out.clone(),
        snapshot_steps: args.snapshot_steps.map(|steps| steps as usize),
    };
    create_folder(&output.folder)?;
    if !args.resume && output.snapshot().exists() {
        return Err(Error::usage(format!(
            "{} holds a training run already: continue it with --resume, or name another --out",
            args.out.display()
        ))
        .into());
    }
    let job = Job {
        file,
        head,
        recipe,
        seed: args.seed,
        start,
        train,
        validation: Some(validation),
        workers: 2,
        output: Some(output.clone()),
    };
    let mut trainer = Trainer::new(job, &device)?;
    args.recipe.check_model(trainer.model())?;
    if let Some(rows) = rows {
        set_head_rows(trainer.weights_mut(), &rows.normalized_rows(), rows.width)?;
    }
    if args.resume && output.snapshot().exists() {
        trainer.resume()?;
    }
    trainer.run(progress.as_ref())?;
    if args.run.json {
        return print_json(&serde_json::json!({
            "model": output.model(), "history": trainer.history(),
        }));
    }
    let last = trainer.history().last().and_then(|epoch| epoch.validation_top1_percent);
    let top1 = last.map_or_else(String::new, |top1| format!(", top-1 {top1:.2} %"));
    say(&format!("{}{top1}", output.model().display()))
}
