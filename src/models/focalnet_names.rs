//! The names of FocalNet's tensors (Yang et al., 2022, "Focal Modulation Networks") in checkpoints of
//! its authors. The model itself has timm's.
//!
//! | authors | timm |
//! |---|---|
//! | `patch_embed.*` | `stem.*` |
//! | `layers.{i}.downsample.*`, at a stage's end | `layers.{i+1}.downsample.*`, at the next one's start |
//! | `layers.{i}.blocks.{j}.gamma_{n}` | `layers.{i}.blocks.{j}.ls{n}.gamma` |
//! | `layers.{i}.blocks.{j}.modulation.ln.*` | `layers.{i}.blocks.{j}.modulation.norm.*` |
//! | `head.*` | `head.fc.*` |
//!
//! `modulation.f`, `modulation.proj`, `mlp.fc1` and `mlp.fc2` are linear layers there, 1×1
//! convolutions here. Norms that follow their layer (`use_postln`; none of the models here) would need
//! names of their own.

use std::borrow::Cow;

use super::dialect::Dialect;

/// The authors' names.
pub static AUTHORS: Dialect = Dialect { sign: "patch_embed.proj.weight", rename };

fn rename(key: &str) -> Cow<'_, str> {
    let renamed = match key.split_once('.') {
        Some(("patch_embed", rest)) => Some(format!("stem.{rest}")),
        Some(("head", rest)) => Some(format!("head.fc.{rest}")),
        Some(("layers", rest)) => rename_in_stage(rest),
        _ => None,
    };
    renamed.map_or(Cow::Borrowed(key), Cow::Owned)
}

/// The new name of `layers.{key}`, where it has one.
fn rename_in_stage(key: &str) -> Option<String> {
    let parts: Vec<&str> = key.split('.').collect();
    match parts.as_slice() {
        [stage, "downsample", rest @ ..] => {
            let next = stage.parse::<usize>().ok()?.checked_add(1)?;
            Some(format!("layers.{next}.downsample.{}", rest.join(".")))
        }
        [stage, "blocks", block, "modulation", "ln", rest @ ..] => {
            Some(format!("layers.{stage}.blocks.{block}.modulation.norm.{}", rest.join(".")))
        }
        [stage, "blocks", block, gamma] => {
            let number = gamma.strip_prefix("gamma_")?;
            Some(format!("layers.{stage}.blocks.{block}.ls{number}.gamma"))
        }
        _ => None,
    }
}
