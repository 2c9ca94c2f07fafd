//! What a folder was begun with: what its figures depend on must stay.

use serde::{Deserialize, Serialize};

use super::flags::Args;
use crate::checkpoint::atomic;
use crate::reproduce::{BEGUN, ReproductionScale};
use crate::{Error, Result};

/// The flags that no step may have otherwise. Rows, seeds and an ablation can be added.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptFlags {
    scale: ReproductionScale,
    injections: Option<u64>,
    range_images: Option<usize>,
    image_size: Option<usize>,
    epochs: Option<u32>,
    /// The recipe's text.
    recipe: Option<String>,
    device: String,
    compute: String,
    /// Whether images are the built-in ones.
    built_in: bool,
}

/// Writes down what is asked for, or compares it with what the folder was begun with.
///
/// # Errors
/// [`Error::Usage`] that names the flag that differs; files.
pub fn keep(args: &Args) -> Result<()> {
    let path = args.out.join(BEGUN);
    let recipe = args
        .recipe
        .as_ref()
        .map(|path| std::fs::read_to_string(path).map_err(|source| Error::io(path, source)));
    let is = KeptFlags {
        scale: args.scale,
        injections: args.injections,
        range_images: args.range_images,
        image_size: args.image_size,
        epochs: args.epochs,
        recipe: recipe.transpose()?,
        device: args.run.device.clone(),
        compute: args.run.compute.to_string(),
        built_in: args.scale == ReproductionScale::Small && args.data.is_empty(),
    };
    if !path.exists() {
        let text = serde_json::to_string(&is).unwrap_or_default();
        return atomic::write(&path, |out| out.write_all(text.as_bytes()));
    }
    let text = std::fs::read_to_string(&path).map_err(|source| Error::io(&path, source))?;
    let was: KeptFlags = serde_json::from_str(&text)
        .map_err(|error| Error::file(&path, format!("isn't what a reproduction keeps: {error}")))?;
    match was.difference(&is) {
        None => Ok(()),
        Some(difference) => Err(Error::usage(format!(
            "{} was begun otherwise: {difference}; name another --out",
            args.out.display()
        ))),
    }
}

impl KeptFlags {
    /// The first flag that differs, in words.
    fn difference(&self, is: &KeptFlags) -> Option<String> {
        fn told<T: std::fmt::Display>(value: &Option<T>) -> String {
            value.as_ref().map_or_else(|| "not given".into(), |value| value.to_string())
        }
        let of = |kept: &KeptFlags| {
            [
                ("--scale", format!("{:?}", kept.scale).to_lowercase()),
                ("--injections", told(&kept.injections)),
                ("--range-images", told(&kept.range_images)),
                ("--image-size", told(&kept.image_size)),
                ("--epochs", told(&kept.epochs)),
                ("--device", kept.device.clone()),
                ("--compute", kept.compute.clone()),
                ("--data", if kept.built_in { "not given" } else { "given" }.into()),
            ]
        };
        let mut pairs = of(self).into_iter().zip(of(is));
        let flag = pairs.find_map(|((flag, was), (_, is))| {
            (was != is).then(|| format!("{flag} was {was} and is {is}"))
        });
        flag.or_else(|| (self.recipe != is.recipe).then(|| "--recipe says something else".into()))
    }
}
