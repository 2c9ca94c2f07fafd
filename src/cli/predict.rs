//! `flipside predict`.

mod told;

use std::path::{Path, PathBuf};

use super::common::{RunArgs, check_safetensors_name, class_list, print, print_json, say, view};
use super::model::{Loaded, ModelArgs};
use crate::checkpoint::{Checkpoint, TensorView, write_safetensors};
use crate::data::decode_file;
use crate::fault::{FaultSpec, SiteClass};
use crate::logits::{order, probabilities};
use crate::models::Network;
use crate::report::{Injection, Telling, View, injection_json, injections_text, top_json};
use crate::rng::stream;
use crate::tape::PlanKind;
use crate::{Error, Result};

/// Classify images, with faults if asked
///
/// Each --fault changes bits of a value of one layer, by default of its output
/// before batch norm and activation:
///
///   --fault 'layer=layer1.0.conv1,site=output,image=0,channel=3,row=4,column=5,bit=30'
///
/// Coordinates are PyTorch's; image 0 is the first of those given. An unknown
/// layer name is answered with the list of layers. Row, column and image are 0 if
/// absent. `flipside help sites` has the sites, the keys of their places and the
/// numbers of bits.
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
    /// Image files (JPEG, PNG); they are resized and cropped as the model file says
    #[arg(required_unless_present = "input", conflicts_with = "input")]
    images: Vec<PathBuf>,
    /// A safetensors file with a tensor `input` instead of images: f32, N×3×H×W, already normalised
    #[arg(long)]
    input: Option<PathBuf>,
    /// Write the logits to this safetensors file, as a tensor `logits` of N×classes
    #[arg(long)]
    logits: Option<PathBuf>,
    /// A fault to inject, written as above; repeatable
    #[arg(long)]
    fault: Vec<FaultSpec>,
    /// Number of classes to print for each image
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Class names: tab-separated lines of index, folder name, class name, in the order of the logits, or in
    /// any order where the checkpoint names its classes
    #[arg(long)]
    class_list: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    args.logits.as_deref().map_or(Ok(()), check_safetensors_name)?;
    let device = args.run.start()?;
    let loaded = args.model.load(&device, args.run.progress().as_ref())?;
    let (names, pixels) = match &args.input {
        Some(path) => tensor_input(path, loaded.network.model.image_size)?,
        None => image_input(&args.images, &loaded)?,
    };
    let logits = forward(&loaded.network, names.len(), &pixels, &args.fault)?;
    let classes = loaded.network.model.classes;
    if let Some(path) = &args.logits {
        let shape = [names.len(), classes];
        let tensor = TensorView::f32(&shape, &logits);
        write_safetensors(path, [("logits", tensor)], &Default::default())?;
    }
    let given = class_list(args.class_list.as_deref())?;
    let labels = loaded.class_names(given.as_ref())?;
    let telling = Telling { classes: &labels, top: args.top as usize };
    let elements = loaded.network.model.image_elements();
    let images = names.iter().enumerate().zip(pixels.chunks(elements)).zip(logits.chunks(classes));
    let told = images.map(|(((number, name), pixels), faulty)| {
        told::injection(&loaded.network, (number, name), pixels, &args.fault, faulty)
    });
    let told: Vec<Option<Injection>> = told.collect::<Result<_>>()?;
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
        return print_json(&rows.collect::<Vec<_>>());
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
        for (class, p, logit) in answer {
            let label = &labels[*class];
            text.push_str(&format!("  {:6.2} %  {label}  (logit {logit:.4})\n", 100.0 * p));
        }
    }
    // Tables fit the screen, and faults are to be copied.
    if told.iter().any(Option::is_some) { print(text.trim_end()) } else { say(&text) }
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

/// Image files, resized, cropped and normalised.
fn image_input(paths: &[PathBuf], loaded: &Loaded) -> Result<(Vec<String>, Vec<f32>)> {
    let (transform, elements) = (loaded.transform(), loaded.network.model.image_elements());
    let mut values = vec![0f32; paths.len() * elements];
    for (path, values) in paths.iter().zip(values.chunks_exact_mut(elements)) {
        let image = decode_file(path)?;
        // Evaluation draws nothing from the stream.
        transform.apply(&image, &mut stream(0, "none").block(0), values)?;
    }
    Ok((paths.iter().map(|path| path.display().to_string()).collect(), values))
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
