//! The flags of `flipside reproduce`.

use std::path::PathBuf;

use super::super::common::{RunArgs, refuse_idle};
use super::sources::SetPath;
use crate::reproduce::ReproductionScale;
use crate::study;
use crate::{Error, Result};

/// Print the published tables again, from networks found or trained
///
/// A row of the tables is a backbone on a data set: imagenet names the fourteen of ImageNet, others the eight of CIFAR-10,
/// CIFAR-100, Food-101 and STL-10, resnet50 or cifar10/resnet50 one; all of them if no row is named. Each takes two
/// networks, baseline and text-guided, out of --checkpoints or trained (--train), and campaigns by both protocols:
/// goldeneye, as published, and strict. The table has what was published under each row.
///
/// Every step is a command of this program with a file of its own in --out. What is done isn't done again: the same command
/// goes on after whatever ended it, and several processes may work on one folder. --plan prints the steps, how long they
/// take on this machine, and what is missing.
///
/// --scale small takes minutes: resnet_small, and the fourteen backbones a quarter as wide and at their least size, on
/// built-in images or --data.
#[derive(clap::Args)]
pub struct Args {
    /// Rows: imagenet, others, a data set, a backbone, or both as in cifar10/resnet50; all if absent
    #[arg(value_name = "ROW")]
    pub rows: Vec<String>,
    /// Data set of the rows; a folder or file as `train --data` takes it, with its name where it has class folders, as
    /// in cifar10=DIR; repeatable
    #[arg(long, value_name = "[SET=]DIR")]
    pub data: Vec<SetPath>,
    /// Folder of checkpoints; they are found by name, as --plan says them
    #[arg(long, value_name = "DIR")]
    pub checkpoints: Option<PathBuf>,
    /// Train the networks that aren't in --checkpoints, by the model files' recipes
    #[arg(long)]
    pub train: bool,
    /// Text features that text-guided networks start from; for training; repeatable, by data set
    #[arg(long, value_name = "[SET=]FILE")]
    pub text_features: Vec<SetPath>,
    /// Text features of a plain template, for the ablation of the text; repeatable, by data set
    #[arg(long, value_name = "[SET=]FILE")]
    pub template_features: Vec<SetPath>,
    /// Class list; tab-separated lines of index, folder name, class name; repeatable, by data set
    #[arg(long, value_name = "[SET=]FILE")]
    pub class_list: Vec<SetPath>,
    /// Folder for all that comes of it; networks, campaigns, pictures, and the table as reproduction.md, .json and .html
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// published, or small; small takes one data set or the built-in images, small networks and images, and half an hour.
    /// published if absent
    #[arg(
        long,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub scale: ReproductionScale,
    /// Find out what the gain is made of, for the first of the rows; further networks are trained: random rows, those of
    /// a template, a feature that isn't normalised, rows that stay as they are. Done at the small scale in any case
    #[arg(long)]
    pub ablate: bool,
    /// Injections per layer; 1000 if absent, at the small scale 30, and 400 in ablations
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub injections: Option<u64>,
    /// First training seed; faults are drawn by the same number
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Number of training seeds, from --seed upwards; 1 if absent, and 3 of an ablation at the small scale
    #[arg(long, value_name = "N")]
    pub seeds: Option<u64>,
    /// Number of training images to measure ranges on; all of them if absent, of the built-in ones 200
    #[arg(long, value_name = "N")]
    pub range_images: Option<usize>,
    /// Height and width of the images that networks are trained on; the model files' if absent
    #[arg(long, value_name = "SIZE")]
    pub image_size: Option<usize>,
    /// Recipe of every training, as `train --recipe` takes it
    #[arg(long, value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Epochs of every training; the recipe's if absent
    #[arg(long)]
    pub epochs: Option<u32>,
    /// Work on part I of N of the rows and seeds: 1/N to N/N, or auto and auto/N as `inject --shard` has them. Parts share
    /// --out, or their folders are copied into one
    #[arg(long, value_name = "I/N")]
    pub shard: Option<String>,
    /// Print the steps with their commands and times and what is missing, and run nothing
    #[arg(long)]
    pub plan: bool,
    /// Draw no pictures of where networks look, and write no page
    #[arg(long)]
    pub no_html: bool,
    #[command(flatten)]
    pub run: RunArgs,
}

impl Args {
    /// Whether there is an ablation.
    pub fn ablate(&self) -> bool {
        self.ablate || self.scale == ReproductionScale::Small
    }

    /// Whether pictures are drawn.
    pub fn pictures(&self) -> bool {
        !self.no_html
    }

    /// Refuses what has no effect beside the other flags.
    pub fn check(&self) -> Result<()> {
        if let Some(folder) = self.checkpoints.as_ref().filter(|folder| !folder.is_dir()) {
            let folder = folder.display();
            return Err(Error::usage(format!("--checkpoints {folder}: there is no such folder")));
        }
        let is_small = self.scale == ReproductionScale::Small;
        let trains = self.train || is_small;
        refuse_idle([
            ("--train", is_small && self.train, "at the small scale, which always trains"),
            (
                "--ablate",
                is_small && self.ablate,
                "at the small scale, which has an ablation anyway",
            ),
            ("--text-features", !trains && !self.text_features.is_empty(), "without --train"),
            ("--recipe", !trains && self.recipe.is_some(), "without --train"),
            ("--epochs", !trains && self.epochs.is_some(), "without --train"),
            ("--image-size", !trains && self.image_size.is_some(), "without --train"),
            (
                "--template-features",
                !(self.template_features.is_empty() || trains && self.ablate()),
                "without an ablation whose networks are trained",
            ),
            (
                "--text-features",
                is_small && self.data.is_empty() && !self.text_features.is_empty(),
                "without --data: the built-in images have their own",
            ),
            (
                "--template-features",
                is_small && self.data.is_empty() && !self.template_features.is_empty(),
                "without --data: the built-in images have their own",
            ),
            (
                "--class-list",
                is_small && self.data.is_empty() && !self.class_list.is_empty(),
                "without --data: the built-in images have their own",
            ),
        ])
    }

    /// The training seeds.
    pub fn all_seeds(&self) -> Result<Vec<u64>> {
        let usual = if self.scale == ReproductionScale::Small { 3 } else { 1 };
        study::seeds(self.seed, self.seeds.unwrap_or(usual))
    }
}
