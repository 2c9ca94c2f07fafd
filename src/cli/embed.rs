//! `flipside embed`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::common::{
    RunArgs, check_safetensors_name, classes_of, file_sha256, print, print_json, refuse_idle, say,
    view,
};
use crate::checkpoint::atomic;
use crate::data::ClassList;
use crate::device::Device;
use crate::error::{MOST_NAMED, some_of};
use crate::ops::Op;
use crate::ops::activation::Activation;
use crate::page::cosines_svg;
use crate::progress::Progress;
use crate::report::{View, similarity_text};
use crate::text::average::{Averaging, class_features};
use crate::text::descriptions::Descriptions;
use crate::text::hashing::NgramHasher;
use crate::text::similarity::{ClassPair, Similarity};
use crate::text::tokenizer::CONTEXT;
use crate::text::{TextEncoder, TextFeatures, Tokenizer, Tokens, file};
use crate::{Error, Result};

/// Compute text features from descriptions, import or inspect them
///
/// --descriptions: each text goes through CLIP's text encoder (or, without weights, is hashed as n-grams). As
/// in the published features from descriptions, the vector of each text is normalised, the vectors of a class
/// are averaged, and the mean is normalised (rows of length 1). --raw-texts leaves out the first
/// normalisation, --raw-rows the last; both together, on plain templates, give rows like the published ones
/// of "a photo of a". The text-guided head normalises its rows in any case.
///
/// --import: a matrix of classes × width that was made elsewhere (.pth, .npy, safetensors), with its values
/// unchanged. The file that is written names its classes, so that --text-features needs no --class-list.
///
/// --describe: prints norms, cosines and the closest classes; --picture draws all cosines.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["descriptions", "import", "describe"]))]
#[command(group = clap::ArgGroup::new("encoders").args(["encoder", "hashing"]))]
pub struct Args {
    /// File of descriptions; lines of {"class": ID, "text": TEXT}, from `flipside describe`, `flipside
    /// prompts --plain`, or elsewhere
    #[arg(long, value_name = "FILE", requires_all = ["classes", "encoders", "out"])]
    descriptions: Option<PathBuf>,
    /// File of features to import
    #[arg(long, value_name = "FILE", requires_all = ["classes", "out"])]
    import: Option<PathBuf>,
    /// File of features to inspect
    #[arg(long, value_name = "FILE")]
    describe: Option<PathBuf>,
    /// Class list or data set; tab-separated lines of index, folder name, class name, in the order of the rows; or a data set's
    /// folder, whose class folders are the classes
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// CLIP's weights; .pth, .bin or safetensors, under the names of Hugging Face, OpenAI or OpenCLIP
    #[arg(long, value_name = "CHECKPOINT", requires = "descriptions")]
    encoder: Option<PathBuf>,
    /// The encoder's merges file, plain or gzipped; CLIP's own if absent
    #[arg(long, value_name = "FILE", requires = "encoder")]
    tokenizer: Option<PathBuf>,
    /// The encoder's activation, gelu or quick_gelu; overrides what the checkpoint's names and configuration
    /// say
    #[arg(long, requires = "encoder", value_parser = parse_activation)]
    activation: Option<Activation>,
    /// Hashed n-grams instead of an encoder; of letters and words, in this many dimensions. They know
    /// spelling but not meaning
    #[arg(long, value_name = "WIDTH", requires = "descriptions", num_args = 0..=1,
          default_missing_value = "512", value_parser = clap::value_parser!(u16).range(1..))]
    hashing: Option<u16>,
    /// Don't normalise the vectors of texts before averaging: longer ones weigh more
    #[arg(long, requires = "descriptions")]
    raw_texts: bool,
    /// Don't normalise the mean of a class
    #[arg(long, requires = "descriptions")]
    raw_rows: bool,
    /// Safetensors file to write; an existing one is replaced as a whole or not at all
    #[arg(long, value_name = "FILE", conflicts_with = "describe")]
    out: Option<PathBuf>,
    /// Draw all cosines; with --describe, with the classes' names and a scale of the colours
    #[arg(long, value_name = "FILE.svg", requires = "describe")]
    picture: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
}

fn parse_activation(text: &str) -> std::result::Result<Activation, String> {
    match text {
        "gelu" => Ok(Activation::Gelu),
        "quick_gelu" => Ok(Activation::QuickGelu),
        _ => Err("is gelu or quick_gelu".into()),
    }
}

impl Args {
    /// Refuses what has no effect in the way that is asked for.
    fn check(&self) -> Result<()> {
        let (no_encoder, no_texts) = (self.encoder.is_none(), self.descriptions.is_none());
        let (of_encoder, of_texts) = ("without --encoder", "without --descriptions");
        refuse_idle([
            ("--tokenizer", no_encoder && self.tokenizer.is_some(), of_encoder),
            ("--activation", no_encoder && self.activation.is_some(), of_encoder),
            ("--device or --compute", no_encoder && !self.run.is_default(), of_encoder),
            ("--encoder", no_texts && self.encoder.is_some(), of_texts),
            ("--hashing", no_texts && self.hashing.is_some(), of_texts),
            ("--raw-texts", no_texts && self.raw_texts, of_texts),
            ("--raw-rows", no_texts && self.raw_rows, of_texts),
            ("--picture", self.describe.is_none() && self.picture.is_some(), "without --describe"),
        ])?;
        match self.picture.as_deref().filter(|path| !is_svg(path)) {
            None => Ok(()),
            Some(path) => Err(Error::usage(format!(
                "{}: the picture is an SVG file, whose name should end in .svg",
                path.display()
            ))),
        }
    }
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    args.check()?;
    args.out.as_deref().map_or(Ok(()), check_safetensors_name)?;
    let device = args.run.start()?;
    let classes = args.classes.as_deref().map(classes_of).transpose()?;
    match (args, classes) {
        (Args { describe: Some(path), .. }, classes) => look(args, path, classes.as_ref()),
        (Args { import: Some(path), out: Some(out), .. }, Some(classes)) => {
            let features = file::open_for(path, Some(&classes), classes.entries())?;
            let facts = BTreeMap::from([
                ("imported".into(), file_name(path)),
                ("imported_sha256".into(), file_sha256(path)?),
            ]);
            file::save(out, &features, &classes, &facts)?;
            done(args, out, &features, facts)
        }
        (Args { descriptions: Some(path), out: Some(out), .. }, Some(classes)) => {
            embed(args, path, out, &classes, &device)
        }
        _ => Err(Error::usage("--out and --classes are needed").into()),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// From descriptions to a file of features.
fn embed(
    args: &Args,
    path: &Path,
    out: &Path,
    classes: &ClassList,
    device: &Device,
) -> anyhow::Result<()> {
    let progress = args.run.progress();
    let descriptions = Descriptions::open(path, classes)?;
    if !descriptions.foreign.is_empty() {
        let foreign = some_of(&descriptions.foreign, MOST_NAMED);
        let text = format!("{}: left out, not in the class list: {foreign}", path.display());
        progress.line(&text);
    }
    let names = classes.entries().iter().map(|entry| entry.name.clone()).collect();
    let texts = &descriptions.texts;
    let averaging = Averaging { unit_texts: !args.raw_texts, unit_rows: !args.raw_rows };
    let mut facts = BTreeMap::from([
        ("averaging".to_string(), averaging.describe().to_string()),
        ("descriptions".into(), file_name(path)),
        ("descriptions_sha256".into(), file_sha256(path)?),
        ("texts".into(), descriptions.len().to_string()),
    ]);
    let features = match (&args.encoder, args.hashing) {
        (Some(checkpoint), _) => {
            let tokenizer = match &args.tokenizer {
                Some(path) => {
                    facts.insert("tokenizer_sha256".into(), file_sha256(path)?);
                    Tokenizer::from_file(path)?
                }
                None => Tokenizer::clip(),
            };
            let mut encoder = TextEncoder::open_as(checkpoint, device, args.activation)?;
            facts.insert("encoder".into(), file_name(checkpoint));
            facts.insert("encoder_sha256".into(), file_sha256(checkpoint)?);
            let config = encoder.config();
            // Names and files don't always tell: a wrong one spoils the features, and nothing else shows it.
            let activation = format!("{}, {}", config.activation.kind(), config.activation_source);
            progress.line(&format!("{}: activation {activation}", checkpoint.display()));
            facts.insert("activation".into(), activation);
            let width = encoder.width();
            let mut truncated = 0;
            let features = class_features(names, texts, width, averaging, |texts| {
                let tokens: Vec<Tokens> = texts.iter().map(|text| tokenizer.encode(text)).collect();
                truncated = tokens.iter().filter(|tokens| tokens.truncated).count();
                encoder.encode_with(&tokens, progress.as_ref())
            })?;
            facts.insert("truncated".into(), truncated.to_string());
            features
        }
        (None, Some(width)) => {
            let hasher = NgramHasher::new(width.into())?;
            facts.insert("encoder".into(), "hashed n-grams".into());
            class_features(names, texts, hasher.width(), averaging, |texts| {
                Ok(hasher.encode_all(texts))
            })?
        }
        (None, None) => return Err(Error::usage("--encoder or --hashing is needed").into()),
    };
    warn_of_uneven(texts, progress.as_ref());
    file::save(out, &features, classes, &facts)?;
    done(args, out, &features, facts)
}

/// Classes of fewer texts than others are noisier; most often a run of `describe` isn't over.
fn warn_of_uneven(texts: &[Vec<String>], progress: &dyn Progress) {
    let counts = || texts.iter().map(Vec::len);
    if let (Some(least), Some(most)) = (counts().min(), counts().max())
        && least < most
    {
        progress.line(&format!("warning: classes have {least} to {most} texts each"));
    }
}

/// Says what was written.
fn done(
    args: &Args,
    out: &Path,
    features: &TextFeatures,
    facts: BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let (classes, width) = (features.len(), features.width);
    let sha256 = file_sha256(out)?;
    if args.run.json {
        return print_json(&serde_json::json!({
            "out": out, "out_sha256": sha256, "classes": classes, "width": width, "made_of": facts,
        }));
    }
    let texts = facts.get("texts").map_or_else(String::new, |n| format!(" from {n} texts"));
    let truncated = match facts.get("truncated") {
        Some(n) if n != "0" => format!(", {n} of them cut off at {CONTEXT} tokens"),
        _ => String::new(),
    };
    let out = out.display();
    say(&format!("{out}: {classes} classes × {width}{texts}{truncated} (SHA-256 {sha256})"))
}

/// `--describe`.
fn look(args: &Args, path: &Path, classes: Option<&ClassList>) -> anyhow::Result<()> {
    let features = file::open(path, classes)?;
    let similarity = Similarity::of(&features);
    if let Some(out) = &args.picture {
        let drawing = cosines_svg(&features)?;
        atomic::write(out, |file| file.write_all(drawing.as_bytes()))?;
    }
    if !args.run.json {
        return print(&similarity_text(&features, &similarity, view(View::Markdown)));
    }
    let names = &features.names;
    let pairs = |pairs: &[ClassPair]| -> Vec<serde_json::Value> {
        pairs
            .iter()
            .map(|pair| {
                let (first, second) = (pair.first, pair.second);
                serde_json::json!({
                    "row": first, "name": names[first], "other_row": second,
                    "other_name": names[second], "cosine": pair.cosine,
                })
            })
            .collect()
    };
    let [least, mean, most] = similarity.norms;
    print_json(&serde_json::json!({
        "classes": similarity.classes, "width": similarity.width,
        "norms": {"least": least, "mean": mean, "most": most},
        "mean_cosine": similarity.mean_cosine,
        "nearest": pairs(&similarity.nearest),
        "near_duplicates": pairs(&similarity.near_duplicates),
    }))
}

fn is_svg(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg"))
}
