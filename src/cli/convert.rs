//! `flipside convert`.

use std::path::PathBuf;

use super::common::{check_safetensors_name, class_list, file_sha256, print, print_json, progress};
use super::model::ModelArgs;
use crate::device::Device;
use crate::models::{Network, save_state_as};

/// Check that a checkpoint fits a model, and write it as safetensors
///
/// The state dict is found wherever the file has it, and comes out bare, in f32, under the names and
/// shapes that PyTorch's model has: load_state_dict(load_file(OUT), strict=True) takes it. A file that
/// doesn't fit is refused: the error counts the keys that are missing, unexpected or of another shape,
/// and says whose weights they look like.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The file to write, .safetensors; one that is there is replaced, whole or not at all
    #[arg(long)]
    out: PathBuf,
    /// Name the classes in the file, so that nothing needs this list again: lines of index, folder name, class
    /// name
    #[arg(long)]
    class_list: Option<PathBuf>,
    /// Print JSON for machines instead of text
    #[arg(long)]
    json: bool,
    /// Don't say what flags overrule
    #[arg(long, short)]
    quiet: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    check_safetensors_name(&args.out)?;
    let loaded = args.model.load(&Device::cpu(), progress(args.quiet).as_ref())?;
    let Network { model, weights } = &loaded.network;
    let given = class_list(args.class_list.as_deref())?;
    save_state_as(&args.out, &loaded.facts(given.as_ref())?, weights)?;
    let sha256 = file_sha256(&args.out)?;
    if args.json {
        return print_json(&serde_json::json!({
            "model": loaded.file.name, "head": model.head.to_string(), "classes": model.classes,
            "tensors": model.tape.params().len(), "parameters": model.tape.parameter_count(),
            "checkpoint_sha256": loaded.sha256, "out": args.out, "out_sha256": sha256,
        }));
    }
    print(&format!(
        "{}: {}, {} classes, {} tensors, {} parameters\n{} (SHA-256 {sha256})",
        loaded.file.name,
        model.head,
        model.classes,
        model.tape.params().len(),
        model.tape.parameter_count(),
        args.out.display()
    ))
}
