//! `flipside data preview`.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::augment::AugmentArgs;
use super::super::common::{progress, say};
use super::super::dataset::{SetArgs, SkipArgs, keep_data};
use crate::checkpoint::atomic;
use crate::data::transform::TrainTransform;
use crate::data::{Batches, Dataset, EpochPlan, Image8, contact_sheet, repeated_order, rgb_png};
use crate::models::ModelFile;
use crate::{Error, Result};

/// Draw what training will see
///
/// The picture shows the first images of an epoch as the network gets them: in the epoch's order, cut, augmented and
/// mixed by the same draws as `flipside train` with the same model, data, seed and flags.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    skip: SkipArgs,
    /// Model name or .toml file, whose recipe and preprocessing hold
    #[arg(long)]
    model: String,
    /// Height and width of the images; the model file's if absent
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=8192))]
    image_size: Option<u16>,
    /// Batch size; images of one batch are mixed with each other. The recipe's if absent
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Random seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Epoch, from 1
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    epoch: u64,
    /// Number of images
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    count: u16,
    /// PNG file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Don't show progress
    #[arg(long, short)]
    quiet: bool,
    // Last, since its heading holds for what follows it.
    #[command(flatten)]
    augmentation: AugmentArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.out.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("png")) {
        let out = args.out.display();
        return Err(Error::usage(format!(
            "{out}: what is written is a PNG, whose name should end in .png"
        ))
        .into());
    }
    keep_data(&args.out, &args.set.data)?;
    let progress = progress(args.quiet);
    let file = ModelFile::open(&args.model)?;
    let recipe = file.recipe()?;
    let augmentation = args.augmentation.over(recipe.augmentation)?;
    let size = args.image_size.map_or(file.input.size, usize::from);
    let set = args.set.find(&*progress)?.train()?;
    set.say_notes(&*progress);
    let set: Arc<dyn Dataset> = Arc::new(args.skip.apply(set, &*progress)?);
    let transform = TrainTransform::of_folder(&file.input, size, &augmentation);
    let batch = args.batch.map_or(recipe.batch, |batch| batch as usize).min(set.len());
    let epoch = args.epoch - 1;
    let mut samples =
        repeated_order(set.len(), (augmentation.repetitions, batch), args.seed, epoch);
    let shown = usize::from(args.count).min(samples.len());
    samples.truncate(shown.next_multiple_of(batch));
    let plan = EpochPlan {
        drop_last: false,
        mixing: augmentation.mixing,
        ..EpochPlan::train(batch, args.seed, epoch)
    };
    let mut pictures = Vec::new();
    for batch in Batches::of(set, transform, plan, samples)? {
        let batch = batch?;
        for image in batch.images.chunks_exact(size * size * 3) {
            pictures.push(seen(image, size, &transform)?);
        }
    }
    pictures.truncate(shown);
    let columns = (1..).find(|n| n * n >= shown).unwrap_or(1);
    let png = rgb_png(&contact_sheet(&pictures, columns))?;
    atomic::write(&args.out, |out| out.write_all(&png))?;
    say(&format!("{}: {shown} images of epoch {}", args.out.display(), args.epoch))
}

/// What a network gets, as a picture.
fn seen(values: &[f32], size: usize, transform: &TrainTransform) -> Result<Image8> {
    let TrainTransform { mean, std, .. } = transform;
    let pixel = |(i, value): (usize, &f32)| {
        let channel = i % 3;
        ((value * std[channel] + mean[channel]) * 255.0).round().clamp(0.0, 255.0) as u8
    };
    Image8::new(size, size, values.iter().enumerate().map(pixel).collect())
        .map_err(|error| Error::shape("preview", error.to_string()))
}
