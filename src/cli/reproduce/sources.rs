//! What a reproduction reads: data sets, text features, class lists, checkpoints, each found by flag or by name.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::data::SetLayout;
use crate::error::{MOST_NAMED, some_of};
use crate::models::SmallSet;
use crate::reproduce::{Arm, ReproductionScale, RowName, RowSet};
use crate::{Error, Result};

/// A path of a data set's, as `cifar10=DIR`; of the one set, or of the set that lies there, as `DIR`.
#[derive(Clone, Debug, PartialEq)]
pub struct SetPath {
    set: Option<RowSet>,
    path: PathBuf,
}

impl FromStr for SetPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<SetPath> {
        let named = text.split_once('=').and_then(|(name, path)| {
            let set = RowSet::published().find(|set| set.name() == name)?;
            Some(SetPath { set: Some(set), path: path.into() })
        });
        let found = named.unwrap_or_else(|| SetPath { set: None, path: text.into() });
        match found.path.as_os_str().is_empty() {
            true => Err(Error::usage(format!("'{text}' names no path"))),
            false => Ok(found),
        }
    }
}

/// The paths that a flag gives, by data set.
#[derive(Debug, Default)]
pub struct SetPaths(Vec<(RowSet, PathBuf)>);

impl SetPaths {
    /// Finds out which set each path is of. `sets` are those that are asked for; `flag` is named in errors, and `is_data`
    /// says whether the paths are data sets, which are told by how they lie.
    ///
    /// # Errors
    /// A path of a set that isn't asked for, two paths of one set, a path whose set isn't known.
    pub fn new(flag: &str, given: &[SetPath], sets: &[RowSet], is_data: bool) -> Result<SetPaths> {
        let mut paths: Vec<(RowSet, PathBuf)> = Vec::new();
        for SetPath { set, path } in given {
            let is_one = match (set, sets) {
                (Some(set), _) => Some(*set),
                (None, [one]) => Some(*one),
                (None, _) if is_data => set_of(path)?,
                (None, _) => None,
            };
            let Some(found) = is_one else {
                let names: Vec<&str> = sets.iter().map(|set| set.name()).collect();
                return Err(Error::usage(format!(
                    "{flag} {}: say of which data set it is, as in {flag} {}=… ({})",
                    path.display(),
                    names.first().unwrap_or(&"imagenet"),
                    names.join(", ")
                )));
            };
            if !sets.contains(&found) {
                return Err(Error::usage(format!(
                    "{flag} {}: no row of {} is asked for",
                    path.display(),
                    found.name()
                )));
            }
            if let Some((_, there)) = paths.iter().find(|(set, _)| *set == found) {
                return Err(Error::usage(format!(
                    "{flag}: both {} and {} are given for {}",
                    there.display(),
                    path.display(),
                    found.name()
                )));
            }
            if !path.exists() {
                return Err(Error::usage(format!(
                    "{flag} {}: there is no such path",
                    path.display()
                )));
            }
            paths.push((found, path.clone()));
        }
        Ok(SetPaths(paths))
    }

    /// The path of a set.
    pub fn of(&self, set: RowSet) -> Option<&Path> {
        self.0.iter().find(|(of, _)| *of == set).map(|(_, path)| path.as_path())
    }
}

/// Which published set lies there; `None` for class folders, which could be any.
fn set_of(path: &Path) -> Result<Option<RowSet>> {
    Ok(match SetLayout::of(path)? {
        SetLayout::ImageNet => Some(RowSet::Imagenet),
        SetLayout::Cifar10 => Some(RowSet::Other(SmallSet::Cifar10)),
        SetLayout::Cifar100 => Some(RowSet::Other(SmallSet::Cifar100)),
        SetLayout::Food101 => Some(RowSet::Other(SmallSet::Food101)),
        SetLayout::Stl10 => Some(RowSet::Other(SmallSet::Stl10)),
        SetLayout::Folders | SetLayout::TinyImageNet | SetLayout::WebDataset | SetLayout::Pack => {
            None
        }
    })
}

/// The layout that a set's download has, for its number of images where it isn't at hand.
pub fn layout_of(set: RowSet) -> Option<SetLayout> {
    Some(match set {
        RowSet::Imagenet => SetLayout::ImageNet,
        RowSet::Other(SmallSet::Cifar10) => SetLayout::Cifar10,
        RowSet::Other(SmallSet::Cifar100) => SetLayout::Cifar100,
        RowSet::Other(SmallSet::Food101) => SetLayout::Food101,
        RowSet::Other(SmallSet::Stl10) => SetLayout::Stl10,
        RowSet::Small => return None,
    })
}

/// Under which names torchvision and the authors of FocalNet publish baselines for ImageNet.
const PUBLISHED: [(&str, &str); 14] = [
    ("alexnet", "alexnet-owt-7be5be79.pth"),
    ("vgg16_bn", "vgg16_bn-6c64b313.pth"),
    ("vgg19_bn", "vgg19_bn-c79401a0.pth"),
    ("resnet18", "resnet18-f37072fd.pth"),
    ("resnet34", "resnet34-b627a593.pth"),
    ("resnet50", "resnet50-0676ba61.pth"),
    ("resnet101", "resnet101-63fe2227.pth"),
    ("resnet152", "resnet152-394f9c45.pth"),
    ("mobilenet_v2", "mobilenet_v2-b0353104.pth"),
    ("maxvit_t", "maxvit_t-bc5ab103.pth"),
    ("swin_v2_t", "swin_v2_t-b137f0e2.pth"),
    ("swin_v2_s", "swin_v2_s-637d8ceb.pth"),
    ("focalnet_tiny", "focalnet_tiny_srf.pth"),
    ("focalnet_small", "focalnet_small_srf.pth"),
];

/// Files that a network of a row may lie in, best first, as paths below the folder of checkpoints.
///
/// `MODEL_clip` and `MODEL_baseline` are what the published training scripts call their folders, in which PyTorch's
/// training reference leaves `checkpoint.pth`; the published zoo's own links are empty.
pub fn candidates(row: &RowName, arm: Arm) -> Vec<PathBuf> {
    let model = &row.model;
    let word = if arm == Arm::Baseline { "baseline" } else { "clip" };
    let mut names: Vec<String> = ["pth", "safetensors"]
        .iter()
        .map(|ending| format!("{model}_{word}.{ending}"))
        .chain(["checkpoint.pth", "model.safetensors"].map(|file| format!("{model}_{word}/{file}")))
        .collect();
    if arm == Arm::Baseline && row.set == RowSet::Imagenet {
        names.extend(PUBLISHED.iter().find(|(of, _)| of == model).map(|(_, file)| (*file).into()));
    }
    let set = row.set.name();
    let inside = names.iter().map(|name| Path::new(set).join(name));
    // Those of ImageNet may lie in the folder itself.
    let outside = names.iter().filter(|_| row.set == RowSet::Imagenet).map(PathBuf::from);
    inside.chain(outside).collect()
}

/// The checkpoint of a network of a row; `None` where there is none.
///
/// # Errors
/// Several of them.
pub fn checkpoint(folder: &Path, row: &RowName, arm: Arm) -> Result<Option<PathBuf>> {
    let there: Vec<PathBuf> = candidates(row, arm)
        .into_iter()
        .map(|path| folder.join(path))
        .filter(|path| path.is_file())
        .collect();
    match there.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        several => {
            let names: Vec<String> =
                several.iter().map(|path| path.display().to_string()).collect();
            Err(Error::usage(format!(
                "{row}: several files could be its {} network: {}; leave one of them",
                arm.slug(),
                some_of(&names, MOST_NAMED)
            )))
        }
    }
}

/// What a row lacks.
#[derive(Clone, Debug, PartialEq)]
pub struct Lack {
    /// What it is.
    pub what: String,
    /// What helps.
    pub how: String,
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.how)
    }
}

/// A network that isn't there: what is to be put where.
pub fn wanted(folder: Option<&Path>, row: &RowName, arm: Arm) -> Lack {
    let (model, set) = (&row.model, row.set.name());
    let word = if arm == Arm::Baseline { "baseline" } else { "clip" };
    let published = PUBLISHED.iter().find(|(of, _)| of == model && arm == Arm::Baseline);
    let published = published.filter(|_| row.set == RowSet::Imagenet);
    let published = published.map_or_else(String::new, |(_, file)| format!("{file} or "));
    let folder = folder.map_or("the folder of --checkpoints".into(), |at| at.display().to_string());
    let place = match row.set {
        RowSet::Imagenet => format!("{folder} or its folder {set}"),
        _ => format!("the folder {set} in {folder}"),
    };
    Lack {
        what: format!("{} checkpoint", arm.slug()),
        how: format!(
            "put {published}{model}_{word}.pth into {place} (.safetensors, and a folder {model}_{word} with checkpoint.pth or \
             model.safetensors, will do, too), or say --train"
        ),
    }
}

/// A set that isn't there.
pub fn wanted_data(scale: ReproductionScale, set: RowSet) -> Lack {
    let about = match set {
        RowSet::Imagenet => {
            "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar with ILSVRC2012_devkit_t12.tar.gz, or train/CLASS and val/CLASS"
        }
        RowSet::Other(SmallSet::Cifar10) => {
            "cifar-10-python.tar.gz, cifar-10-binary.tar.gz or their folder"
        }
        RowSet::Other(SmallSet::Cifar100) => {
            "cifar-100-python.tar.gz, cifar-100-binary.tar.gz or their folder"
        }
        RowSet::Other(SmallSet::Food101) => "the folder food-101 with images/ and meta/",
        RowSet::Other(SmallSet::Stl10) => "the folder stl10_binary",
        RowSet::Small => "train/CLASS and val/CLASS",
    };
    let how = match scale {
        ReproductionScale::Published => format!("say --data {}=DIR ({about})", set.name()),
        ReproductionScale::Small => format!("say --data DIR ({about})"),
    };
    Lack { what: "data".into(), how }
}

/// Text features that aren't there.
pub fn wanted_features(scale: ReproductionScale, set: RowSet, flag: &str) -> Lack {
    let how = match scale {
        ReproductionScale::Published => format!("say {flag} {}=FILE", set.name()),
        ReproductionScale::Small => format!("say {flag} FILE"),
    };
    Lack { what: "text features".into(), how }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_of_a_set() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().display().to_string();
        let of = |text: &str| text.parse::<SetPath>().unwrap();
        let (imagenet, cifar) = (RowSet::Imagenet, RowSet::Other(SmallSet::Cifar10));
        let one = SetPaths::new("--data", &[of(&here)], &[imagenet], true).unwrap();
        assert_eq!(one.of(imagenet), Some(folder.path()));
        let refused = |given: &[SetPath], sets: &[RowSet], is_data| {
            SetPaths::new("--data", given, sets, is_data).unwrap_err().to_string()
        };
        let both = [imagenet, cifar];
        assert!(refused(&[of(&here)], &both, false).contains("say of which data set it is"));
        let named = of(&format!("cifar10={here}"));
        assert!(refused(&[named.clone(), named.clone()], &both, true).contains("both"));
        assert!(refused(&[named], &[imagenet], true).contains("no row of cifar10 is asked for"));
        assert!(refused(&[of("cifar10=nowhere")], &both, true).contains("no such path"));
        assert!("cifar10=".parse::<SetPath>().is_err() && "".parse::<SetPath>().is_err());
    }

    #[test]
    fn checkpoints_are_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let row = RowName { set: RowSet::Imagenet, model: "resnet50".into() };
        let other = RowName { set: RowSet::Other(SmallSet::Cifar10), model: "resnet50".into() };
        let found = |row, arm| checkpoint(folder.path(), row, arm);
        assert_eq!(found(&row, Arm::Baseline).unwrap(), None);
        let torchvision = folder.path().join("resnet50-0676ba61.pth");
        std::fs::write(&torchvision, "").unwrap();
        assert_eq!(found(&row, Arm::Baseline).unwrap(), Some(torchvision));
        assert_eq!(found(&other, Arm::Baseline).unwrap(), None);
        for file in ["resnet50_clip/checkpoint.pth", "cifar10/resnet50_baseline.safetensors"] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        assert!(found(&row, Arm::TextGuided).unwrap().unwrap().ends_with("checkpoint.pth"));
        assert!(found(&other, Arm::Baseline).unwrap().is_some());
        std::fs::write(folder.path().join("resnet50_baseline.pth"), "").unwrap();
        let error = found(&row, Arm::Baseline).unwrap_err().to_string();
        assert!(error.contains("several files") && error.contains("resnet50_baseline.pth"));
        let said = wanted(Some(folder.path()), &row, Arm::Baseline).to_string();
        assert!(said.contains("put resnet50-0676ba61.pth or resnet50_baseline.pth into"), "{said}");
    }
}
