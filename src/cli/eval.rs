//! `flipside eval`.

use std::path::PathBuf;
use std::sync::Arc;

use super::common::{RunArgs, class_list, print_json, say};
use super::dataset::{SkipArgs, SplitArgs};
use super::model::ModelArgs;
use crate::data::Dataset;
use crate::models::Network;
use crate::statistics::{Confidence, Estimate, RateInterval, plain_mean};
use crate::train::{Evaluator, Source};

/// Evaluate a checkpoint on images: top-1, top-5, loss, Top2Diff
///
/// Accuracies have Wilson's interval of 95 %, Top2Diff a t interval over images.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A folder with one folder of images per class, or a data set, of which val is evaluated
    #[arg(long)]
    data: PathBuf,
    #[command(flatten)]
    split: SplitArgs,
    #[command(flatten)]
    skip: SkipArgs,
    /// Class list; tab-separated lines of index, folder name, class name. Not needed where the checkpoint
    /// names its classes, as those trained here do; then it adds names that folders may have
    #[arg(long)]
    class_list: Option<PathBuf>,
    /// Batch size
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    #[command(flatten)]
    run: RunArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let device = args.run.start()?;
    let progress = args.run.progress();
    let loaded = args.model.load(&device, progress.as_ref())?;
    let classes = class_list(args.class_list.as_deref())?;
    let splits = args.split.find(&args.data, &*progress)?;
    let dataset = args.split.evaluated(&splits)?;
    if dataset.root() != args.data {
        progress.line(&format!("{}: evaluating {}", args.data.display(), dataset.root().display()));
    }
    dataset.say_notes(&*progress);
    let dataset = dataset.numbered(&loaded.numbering(classes.as_ref()))?;
    let dataset = args.skip.apply(dataset, &*progress)?;
    let skipped = dataset.skipped();
    let (with_images, all) = (dataset.classes_with_images(), loaded.network.model.classes);
    if with_images < all {
        progress.line(&format!("{with_images} of the network's {all} classes have images here"));
    }
    let source = Source { dataset: Arc::new(dataset), transform: loaded.transform() };
    let Network { model, weights } = &loaded.network;
    let mut evaluator = Evaluator::new(model, &device, args.batch as usize)?;
    let evaluation = evaluator.run(weights, &source, false, progress.as_ref())?;
    let (images, top1) = (evaluation.answers.len(), evaluation.top1_percent());
    let (top5, loss) = (evaluation.top5_percent(), evaluation.mean_loss());
    let within = |places: usize| {
        let hits = evaluation.answers.iter().filter(|answer| answer.is_within(places)).count();
        RateInterval::Wilson.of(hits as f64, images as f64, Confidence::P95).times(100.0)
    };
    let (of_top1, of_top5) = (within(1), within(5));
    let of_top2diff =
        plain_mean(evaluation.answers.iter().map(|answer| answer.score.top2diff), Confidence::P95);
    let (top2diff, nonfinite) = (evaluation.mean_top2diff_percent(), evaluation.nonfinite());
    if args.run.json {
        let mut printed = serde_json::json!({
            "images": images, "top1_percent": top1, "top5_percent": top5, "loss": loss,
            "top2diff_percent": top2diff, "intervals": {
                "top1_percent": of_top1, "top5_percent": of_top5, "top2diff_percent": of_top2diff,
            }, "nonfinite_images": nonfinite, "checkpoint_sha256": loaded.sha256,
        });
        if !skipped.is_empty() {
            printed["skipped"] = skipped.into();
        }
        return print_json(&printed);
    }
    let broken = match nonfinite {
        0 => String::new(),
        count => format!("; NaN or infinity among the logits of {count} images"),
    };
    say(&format!(
        "{images} images: top-1 {top1:.2}{} %, top-5 {top5:.2}{} %, loss {loss:.4}, \
         Top2Diff {top2diff:.2}{} %{broken}",
        ends(&of_top1),
        ends(&of_top5),
        ends(&of_top2diff),
    ))
}

/// The ends of a 95 % interval behind its value; nothing where they aren't known.
fn ends(estimate: &Estimate) -> String {
    match estimate.low.is_nan() || estimate.value.is_nan() {
        true => String::new(),
        false => format!(" [{:.2}, {:.2}]", estimate.low, estimate.high),
    }
}
