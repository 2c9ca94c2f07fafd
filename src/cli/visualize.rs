//! `flipside visualize`.

mod asked;
mod member;
mod source;

use std::path::{Path, PathBuf};

use self::asked::AskedFault;
pub(super) use self::member::VisualizedNetwork;
pub(super) use self::source::of_campaign;
use self::source::of_images;
use super::common::{RunArgs, class_list, create_folder, print_json, refuse_idle, say};
use super::dataset::LayoutArgs;
use super::model::ModelArgs;
use crate::checkpoint::atomic;
use crate::fault::FaultSpec;
use crate::saliency::{MapTarget, Method, Saliency, Seen, Strip, StripNetwork};
use crate::{Error, Result};

/// Show where networks look in an image, with and without an error
///
/// A map of saliency shows which places of an image speak for a class. Of each fault a strip of pictures is
/// written, as SVG with numbers below the pictures and as PNG without: the image, the map without the error,
/// the map with it, and the difference; with --against the same of a second checkpoint. The maps of one
/// network have one scale of colours.
///
/// Faults are those of --fault, written as `predict --fault` takes them, each in the image that its key
/// `image` names, counted from 0; or the worst ones of a campaign (--campaign).
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A second checkpoint; shown beside the first with the same faults
    #[arg(long, value_name = "CHECKPOINT")]
    against: Option<PathBuf>,
    /// Image files (JPEG, PNG, WebP, BMP, GIF); they are resized and cropped as the model file says
    images: Vec<PathBuf>,
    /// A fault, as `predict --fault` takes it; repeatable. Each is shown alone
    #[arg(long)]
    fault: Vec<FaultSpec>,
    /// Show faults of this campaign; instead of images and faults of one's own
    #[arg(long, value_name = "STORE", conflicts_with_all = ["images", "fault"])]
    campaign: Option<PathBuf>,
    /// How many of the campaign's faults; those with the largest ΔLoss among finite answers without a detector
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    worst: Option<u32>,
    /// Folder of the campaign's images; as `inject --data` had it. Campaigns of `study` on its own images need none
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    layout: LayoutArgs,
    /// How maps are made: grad-cam, hires-cam, grad-cam++ or layer-cam
    #[arg(long, default_value = "grad-cam")]
    method: Method,
    /// Which class the maps are for: predicted (each network's answer without the error), label (the class whose
    /// folder the image lies in), or a class's number. With cosine: before it, as in cosine:label, a text-guided
    /// network's target is the cosine to the class's row, the logit before the scale (of one trained with
    /// --unnormalized, which has none, its logit)
    #[arg(long, default_value = "predicted")]
    target: MapTarget,
    /// Layer whose output maps are made of; the model file's if absent
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// Class names: tab-separated lines of index, folder name, class name, in the order of the logits, or in
    /// any order where the checkpoint names its classes
    #[arg(long)]
    class_list: Option<PathBuf>,
    /// Folder for the strips; strip-1.svg, strip-1.png, strip-2.svg and so on
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    run: RunArgs,
}

impl Args {
    /// Refuses what has no effect in the way that is asked for, and what is missing.
    fn check(&self) -> Result<()> {
        let alone = self.campaign.is_none();
        refuse_idle([
            ("--worst", alone && self.worst.is_some(), "without --campaign"),
            ("--data", alone && self.data.is_some(), "without --campaign"),
        ])?;
        self.layout.check(self.data.as_deref())?;
        let missing = match self.campaign {
            Some(_) if self.worst.is_none() => "--campaign needs --worst, how many of its faults",
            None if self.images.is_empty() => "images and --fault are needed, or --campaign",
            None if self.fault.is_empty() => {
                "--fault is needed: without one there is nothing to show"
            }
            _ => return Ok(()),
        };
        Err(Error::usage(missing))
    }
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    args.check()?;
    let device = args.run.start()?;
    let progress = args.run.progress();
    let list = class_list(args.class_list.as_deref())?;
    let mut flags = vec![args.model.clone()];
    flags.extend(args.against.iter().map(|path| args.model.with(path)));
    let mut subjects = Vec::new();
    for flags in &flags {
        let loaded = flags.load(&device, progress.as_ref())?;
        subjects.push(VisualizedNetwork::new(
            loaded,
            flags.weights_file(),
            list.as_ref(),
            args.layer.as_deref(),
        )?);
    }
    if args.target.cosine && !subjects.iter().any(VisualizedNetwork::has_cosines) {
        return Err(Error::usage(
            "--target cosine: takes a text-guided checkpoint whose feature is normalised, and there is none",
        )
        .into());
    }
    let asked = match (&args.campaign, args.worst) {
        (Some(store), Some(count)) => {
            let data = args.data.as_deref();
            let data = data.map(|data| args.layout.find(data, &*progress)).transpose()?;
            of_campaign(store, count as usize, data.as_ref(), &subjects, progress.as_ref())?
        }
        _ => of_images(&args.images, &args.fault, &subjects)?,
    };
    create_folder(&args.out)?;
    let mut told = Vec::new();
    for (number, asked) in (1..).zip(&asked) {
        let members: Vec<StripNetwork<'_>> = subjects
            .iter()
            .map(|subject| subject.member(asked, args.method, args.target))
            .collect::<Result<_>>()?;
        let strip = Strip {
            title: asked.fault.to_string(),
            about: about(args.method, &subjects),
            image: asked.name.clone(),
            members,
        };
        let files = ["svg", "png"].map(|ending| args.out.join(format!("strip-{number}.{ending}")));
        write(&files[0], strip.svg()?.as_bytes())?;
        write(&files[1], &strip.png()?)?;
        told.push((files, asked, strip));
    }
    match args.run.json {
        true => print_json(
            &told
                .iter()
                .map(|(files, asked, strip)| json(files, asked, strip, &subjects))
                .collect::<Vec<_>>(),
        ),
        false => {
            say(&told.iter().map(|(files, _, strip)| text(&files[0], strip)).collect::<String>())
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    atomic::write(path, |out| out.write_all(bytes))
}

/// How the maps were made.
fn about(method: Method, subjects: &[VisualizedNetwork]) -> String {
    let mut layers: Vec<String> = subjects.iter().map(VisualizedNetwork::layer_words).collect();
    layers.dedup();
    format!("{} of {}", method.title(), layers.join(" and of "))
}

/// A figure with so many digits; a dash where there is none.
fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
}

/// A strip in lines: where it lies, what the fault is, and what it did to each network.
fn text(file: &Path, strip: &Strip<'_>) -> String {
    let mut text = format!("{}: {} in {}\n", file.display(), strip.title, strip.image);
    for member in &strip.members {
        let pair = &member.pair;
        let figures = pair.figures(member.picture.height, member.picture.width);
        let name = |class: usize| &member.classes[class];
        let (before, after) = (name(pair.clean.top1()), name(pair.faulty.top1()));
        text.push_str(&format!(
            "  {}, for {}: correlation {}, IoU of the top 20 % {}, centre moves {} pixels, Δp {}; {}\n",
            member.name,
            name(pair.aim.class),
            figure(figures.and_then(|f| f.correlation), 3),
            figure(figures.and_then(|f| f.overlap), 3),
            figure(figures.and_then(|f| f.shift), 1),
            figure(pair.delta_p(), 3),
            match pair.faulty.p(pair.aim.class) {
                None => format!("{before} becomes NaN or infinity, no answer"),
                Some(_) if before == after => format!("still {before}"),
                Some(_) => format!("{before} becomes {after}"),
            },
        ));
        for (seen, when) in [(&pair.clean, "without"), (&pair.faulty, "with")] {
            if let Err(why) = &seen.map {
                text.push_str(&format!("    no map {when} the error: {why}\n"));
            }
        }
    }
    text
}

fn json(
    files: &[PathBuf; 2],
    asked: &AskedFault,
    strip: &Strip<'_>,
    subjects: &[VisualizedNetwork],
) -> serde_json::Value {
    let networks = strip.members.iter().zip(subjects).map(|(member, subject)| {
        let pair = &member.pair;
        let figures = pair.figures(member.picture.height, member.picture.width);
        let class = |class: usize| serde_json::json!({"class": class, "name": member.classes[class]});
        let seen = |seen: &Seen| {
            serde_json::json!({
                "top1": class(seen.top1()), "nonfinite": seen.p(pair.aim.class).is_none(), "p_target": seen.p(pair.aim.class),
                "largest": seen.map.as_ref().ok().map(Saliency::largest),
                "no_map": seen.map.as_ref().err(),
            })
        };
        serde_json::json!({
            "checkpoint": subject.checkpoint, "layer": subject.layer_name(), "map": subject.map_size(),
            "target": class(pair.aim.class), "cosine": pair.aim.cosine,
            "clean": seen(&pair.clean), "faulty": seen(&pair.faulty),
            "correlation": figures.and_then(|f| f.correlation),
            "overlap_top20": figures.and_then(|f| f.overlap),
            "centre_shift_pixels": figures.and_then(|f| f.shift), "delta_p": pair.delta_p(),
        })
    });
    let [svg, png] = files;
    serde_json::json!({
        "svg": svg, "png": png, "fault": strip.title, "image": asked.name,
        "injection": asked.injection, "networks": networks.collect::<Vec<_>>(),
    })
}
