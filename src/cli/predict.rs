//! `flipside predict`.

mod told;

use std::path::{Path, PathBuf};

use super::common::{RunArgs, check_safetensors_name, class_list, print, print_json, say, view};
use super::complain;
use super::model::{Loaded, ModelArgs};
use super::pictures::{self, Broken, Read};
use crate::checkpoint::{Checkpoint, TensorView, write_safetensors};
use crate::fault::{FaultSpec, SiteClass};
use crate::logits::{order, probabilities};
use crate::models::Network;
use crate::progress::Progress;
use crate::report::{Injection, Telling, View, injection_json, injections_text, top_json};
use crate::tape::PlanKind;
use crate::train::Evaluator;
use crate::{Error, Result};

/// Classify images, with faults if asked
///
/// Each --fault changes bits of a value of one layer, by default of its output
/// before batch norm and activation:
///
///   --fault 'layer=layer1.0.conv1,site=output,image=0,channel=3,row=4,column=5,bit=30'
///
/// Coordinates are PyTorch's; image 0 is the first of those given, whether it can
/// be read or not. An unknown layer name is answered with the list of layers. Row,
/// column and image are 0 if absent. `flipside help sites` has the sites, the keys
/// of their places and the numbers of bits.
///
/// bit=30+2 flips two bits, bit=20..23 a burst. Instead of flipping bits,
/// model=stuck-at-0, model=stuck-at-1, model=set (value=1.5, or as bits
/// value=0x7fc00000) and model=random (seed=3) change the value in other ways.
/// shape=row hits all channels of one pixel of the output (row, column),
/// shape=column all pixels of one channel, and shape=tile all that one tile of a
/// kernel computes. A key that has no meaning for a fault is an error.
///
/// What each fault hit is printed, with the answer without it and with it. Losses
/// are then against the fault-free top-1, since there is no label.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Images (JPEG, PNG, WebP, BMP, GIF), and folders of them; they are resized and cropped as the
    /// checkpoint or the model file says. Those that can't be read are told at the end, and the exit code is 1 then
    #[arg(required_unless_present = "input", conflicts_with = "input")]
    images: Vec<PathBuf>,
    /// A safetensors file with a tensor `input` instead of images: f32, N×3×H×W, already normalised
    #[arg(long)]
    input: Option<PathBuf>,
    /// Write the logits to this safetensors file, as a tensor `logits` of N×classes
    #[arg(long)]
    logits: Option<PathBuf>,
    /// A fault, as in layer=conv1,channel=3,bit=30; repeatable
    #[arg(long)]
    fault: Vec<FaultSpec>,
    /// Number of classes to print for each image
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Class names; tab-separated lines of index, folder name, class name, in the order of the logits, or in
    /// any order where the checkpoint names its classes
    #[arg(long)]
    class_list: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
}

/// Batch size, where there is no fault.
const BATCH: usize = 32;

pub fn run(args: &Args) -> anyhow::Result<()> {
    args.logits.as_deref().map_or(Ok(()), check_safetensors_name)?;
    let device = args.run.start()?;
    let progress = args.run.progress();
    let loaded = args.model.load(&device, progress.as_ref())?;
    let (Read { names, pixels, mut broken }, faults, logits) = match &args.input {
        Some(path) => {
            let (names, pixels) = tensor_input(path, loaded.network.model.image_size)?;
            let logits = forward(&loaded.network, names.len(), &pixels, &args.fault)?;
            (Read { names, pixels, ..Read::default() }, args.fault.clone(), logits)
        }
        None => {
            let files = pictures::files(&args.images, progress.as_ref())?;
            match args.fault.is_empty() {
                true => {
                    let (read, logits) = classify(&files, &loaded, progress.as_ref())?;
                    (read, Vec::new(), logits)
                }
                false => {
                    let read = pictures::read(&files, 0, &loaded);
                    let faults = pictures::faults_in(&args.fault, files.len(), &read.broken)?;
                    let logits = forward(&loaded.network, read.names.len(), &read.pixels, &faults)?;
                    (read, faults, logits)
                }
            }
        }
    };
    let classes = loaded.network.model.classes;
    let count = names.len() + broken.len();
    if let [Broken { .. }] = broken[..]
        && count == 1
    {
        return Err(broken.remove(0).error.into());
    }
    if let Some(path) = &args.logits {
        if let Some(first) = broken.first() {
            return Err(Error::usage(format!(
                "--logits: {} of {count} images can't be read, so that rows wouldn't be those of the images as given; \
                 the first: {}",
                broken.len(),
                first.error
            ))
            .into());
        }
        let shape = [names.len(), classes];
        let tensor = TensorView::f32(&shape, &logits);
        write_safetensors(path, [("logits", tensor)], &Default::default())?;
    }
    let given = class_list(args.class_list.as_deref())?;
    let labels = loaded.class_names(given.as_ref())?;
    let telling = Telling { classes: &labels, top: args.top as usize };
    let elements = loaded.network.model.image_elements();
    // Without faults pixels aren't kept.
    let rows = pixels.chunks(elements).zip(logits.chunks(classes)).zip(&names).enumerate();
    let faulted = rows.filter(|_| !faults.is_empty());
    let told = faulted.map(|(number, ((pixels, faulty), name))| {
        told::injection(&loaded.network, (number, name), pixels, &faults, faulty)
    });
    let mut told: Vec<Option<Injection>> = told.collect::<Result<_>>()?;
    told.resize_with(names.len(), || None);
    let answers: Vec<_> = logits.chunks(classes).map(|row| top(row, args.top as usize)).collect();
    if args.run.json {
        let rows =
            names.iter().zip(logits.chunks(classes)).zip(&told).map(|((name, row), told)| {
                let mut json = serde_json::json!({ "image": name, "top": top_json(row, &telling) });
                if let Some(injection) = told {
                    json["injection"] = injection_json(injection, &telling);
                }
                json
            });
        let mut rows: Vec<_> = rows.collect();
        for Broken { place, name, error } in &broken {
            // In the order in which they were given: those before are there.
            let row = serde_json::json!({ "image": name, "error": error.to_string() });
            rows.insert(*place, row);
        }
        print_json(&rows)?;
        return tell(&broken, count);
    }
    let mut text = String::new();
    for ((name, answer), told) in names.iter().zip(&answers).zip(&told) {
        if let Some(injection) = told {
            let injection = std::slice::from_ref(injection);
            text.push_str(&injections_text(injection, &telling, view(View::Text)));
            text.push('\n');
            continue;
        }
        text.push_str(&format!("{name}\n"));
        if answer.iter().any(|(_, p, _)| p.is_nan()) {
            text.push_str("  NaN or infinity among the logits: there is no answer\n");
            continue;
        }
        for (class, p, logit) in answer {
            let label = &labels[*class];
            text.push_str(&format!("  {:6.2} %  {label}  (logit {logit:.4})\n", 100.0 * p));
        }
    }
    // Tables fit the screen, and faults are to be copied.
    match told.iter().any(Option::is_some) {
        true => print(text.trim_end())?,
        false if text.is_empty() => {}
        false => say(&text)?,
    }
    tell(&broken, count)
}

/// Says which images can't be read; an error if there are any.
fn tell(broken: &[Broken], given: usize) -> anyhow::Result<()> {
    broken.iter().for_each(|broken| complain(&broken.error.to_string()));
    let count = broken.len();
    anyhow::ensure!(count == 0, "{count} of {given} images can't be read");
    Ok(())
}

/// Class, probability and logit of the first `count` classes, in the order of [`order`].
fn top(logits: &[f32], count: usize) -> Vec<(usize, f64, f32)> {
    let p = probabilities(logits);
    order(logits).into_iter().take(count).map(|class| (class, p[class], logits[class])).collect()
}

/// The images of a tensor file, channels-last.
fn tensor_input(path: &Path, size: usize) -> Result<(Vec<String>, Vec<f32>)> {
    let file = Checkpoint::open(path)?;
    let tensor = file.get("input")?;
    let &[count, 3, height, width] = tensor.shape.as_slice() else {
        let detail = format!("input: expected shape [N, 3, H, W], found {:?}", tensor.shape);
        return Err(Error::file(path, detail));
    };
    if (height, width) != (size, size) {
        let detail = format!(
            "input: images of {height}×{width}, but the model takes {size}×{size} (--image-size)"
        );
        return Err(Error::file(path, detail));
    }
    if count == 0 {
        return Err(Error::file(path, "input: holds no image"));
    }
    let planes = tensor.to_f32();
    let pixels = height * width;
    let mut values = Vec::with_capacity(planes.len());
    for image in planes.chunks_exact(3 * pixels) {
        for pixel in 0..pixels {
            values.extend([image[pixel], image[pixels + pixel], image[2 * pixels + pixel]]);
        }
    }
    let name = |index| format!("{}[{index}]", path.display());
    Ok(((0..count).map(name).collect(), values))
}

/// The logits of files, a batch after the other, and those that can't be read.
fn classify(
    files: &[PathBuf],
    loaded: &Loaded,
    progress: &dyn Progress,
) -> Result<(Read, Vec<f32>)> {
    let Network { model, weights } = &loaded.network;
    let mut evaluator = Evaluator::new(model, loaded.network.device(), BATCH.min(files.len()))?;
    let (mut all, mut logits) = (Read::default(), Vec::new());
    progress.begin("predict", "images", 0, files.len() as u64);
    for (number, files) in files.chunks(BATCH).enumerate() {
        let read = pictures::read(files, number * BATCH, loaded);
        if !read.names.is_empty() {
            logits.extend(evaluator.logits(weights, &read.pixels, read.names.len())?);
        }
        all.names.extend(read.names);
        all.broken.extend(read.broken);
        progress.advance(files.len() as u64, "");
    }
    progress.end();
    Ok((all, logits))
}

/// One forward pass over all images, with faults.
fn forward(
    network: &Network,
    images: usize,
    pixels: &[f32],
    faults: &[FaultSpec],
) -> Result<Vec<f32>> {
    let Network { model, weights } = network;
    // Faults in memory need every layer's value there.
    let in_memory = faults.iter().any(|fault| fault.site.class() == SiteClass::Memory);
    let plan = if in_memory { PlanKind::Golden } else { PlanKind::Infer };
    let mut exec = network.execution(plan, images, &[model.logits])?;
    exec.begin(images)?;
    exec.arm_all(weights, faults)?;
    exec.write(model.image, pixels)?;
    exec.forward(weights)?;
    exec.read(model.logits)
}
