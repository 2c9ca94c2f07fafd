//! `flipside convert`.

use std::path::PathBuf;

use super::common::{check_safetensors_name, class_list, file_sha256, print_json, progress, say};
use super::model::ModelArgs;
use crate::data::transform::EvalTransform;
use crate::device::Device;
use crate::error::{MOST_NAMED, shorten, some_of};
use crate::models::{Network, save_state_as};

/// Check that a checkpoint fits a model, and write it as safetensors
///
/// The state dict is found wherever the file has it, and is written without anything around it, in f32, under
/// the names and with the shapes of PyTorch's model: load_state_dict(load_file(OUT), strict=True) accepts it.
/// A file that doesn't fit is refused: the error counts the keys that are missing, unexpected or of another
/// shape, and says which model they seem to belong to. What the file knows of its images and classes is printed.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// File to write, .safetensors; an existing one is replaced as a whole or not at all
    #[arg(long)]
    out: PathBuf,
    /// Class list; tab-separated lines of index, folder name, class name, to be written into the file, so
    /// that no other command needs the list
    #[arg(long)]
    class_list: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Don't say which of the checkpoint's settings are overruled by flags
    #[arg(long, short)]
    quiet: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    check_safetensors_name(&args.out)?;
    let loaded = args.model.load(&Device::cpu(), progress(args.quiet).as_ref())?;
    let Network { model, weights } = &loaded.network;
    let given = class_list(args.class_list.as_deref())?;
    let facts = loaded.facts(given.as_ref())?;
    save_state_as(&args.out, &facts, weights)?;
    let sha256 = file_sha256(&args.out)?;
    if args.json {
        return print_json(&serde_json::json!({
            "model": loaded.file.name, "head": model.head.to_string(), "classes": model.classes,
            "tensors": model.tape.params().len(), "parameters": model.tape.parameter_count(),
            "checkpoint_sha256": loaded.sha256, "out": args.out, "out_sha256": sha256,
            "image_size": model.image_size, "input": loaded.file.input, "class_names": facts.class_names,
        }));
    }
    let names = facts.class_names.unwrap_or_default();
    let names: Vec<String> = names.iter().map(|(_, name)| shorten(name, 40)).collect();
    say(&format!(
        "{}: {}, {} classes, {} tensors, {} parameters\nimages: {}\nclasses: {}\n{} (SHA-256 {sha256})",
        loaded.file.name,
        model.head,
        model.classes,
        model.tape.params().len(),
        model.tape.parameter_count(),
        EvalTransform::of(&loaded.file.input, model.image_size),
        match names.is_empty() {
            true => "without names".into(),
            false => some_of(&names, MOST_NAMED),
        },
        args.out.display()
    ))
}
