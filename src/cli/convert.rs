//! `flipside convert`.

use std::path::PathBuf;

use super::common::{ModelArgs, RunArgs, check_safetensors_name, file_sha256, print, print_json};
use crate::models::save_state;

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
    #[command(flatten)]
    run: RunArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    check_safetensors_name(&args.out)?;
    let device = args.run.start()?;
    let loaded = args.model.load(&device)?;
    let model = &loaded.model;
    save_state(&args.out, model, &loaded.file.name, &loaded.weights)?;
    let sha256 = file_sha256(&args.out)?;
    if args.run.json {
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
