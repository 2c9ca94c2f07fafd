//! The rows of the published tables: a backbone on a data set.

use std::fmt;

use serde::{Serialize, Serializer};
use strum::IntoEnumIterator;

use crate::models::{ModelFile, Published, SmallSet, names};
use crate::{Error, Result};

/// The backbones of the published table, in its order. The first twelve are torchvision's.
pub const BACKBONES: [&str; 14] = [
    "alexnet",
    "vgg16_bn",
    "vgg19_bn",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "mobilenet_v2",
    "maxvit_t",
    "swin_v2_t",
    "swin_v2_s",
    "focalnet_tiny",
    "focalnet_small",
];

/// How many of [`BACKBONES`] are torchvision's: the published headline is their mean.
pub const TORCHVISION: usize = 12;

/// The backbones of the table of other data sets.
const ON_OTHERS: [&str; 2] = ["resnet50", "focalnet_tiny"];

/// The network of the small scale that isn't one of the published ones.
const SMALLEST: &str = "resnet_small";

/// How large a reproduction is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum ReproductionScale {
    /// The published data sets.
    #[default]
    Published,
    /// Any one data set, or the built-in images, at the networks' least sizes.
    Small,
}

/// A data set of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowSet {
    Imagenet,
    Other(SmallSet),
    /// That of the small scale, whatever it is.
    Small,
}

impl RowSet {
    /// All that something was published on.
    pub fn published() -> impl Iterator<Item = RowSet> {
        std::iter::once(RowSet::Imagenet).chain(SmallSet::iter().map(RowSet::Other))
    }

    pub fn name(self) -> &'static str {
        match self {
            RowSet::Imagenet => "imagenet",
            RowSet::Other(set) => set.into(),
            RowSet::Small => "small",
        }
    }
}

/// A row: a backbone on a data set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowName {
    pub set: RowSet,
    /// A model's name.
    pub model: String,
}

impl fmt::Display for RowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.set.name(), self.model)
    }
}

impl Serialize for RowName {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl RowName {
    /// What was published of the row; at the small scale, on ImageNet.
    pub fn published(&self) -> Option<Published> {
        let file = ModelFile::open(&self.model).ok()?;
        match self.set {
            RowSet::Other(set) => file.published_on(set).cloned(),
            RowSet::Imagenet | RowSet::Small => file.published,
        }
    }
}

/// The rows that `asked` names, each once, in the tables' order: `imagenet`, `others`, a data set, a backbone, or both as
/// `cifar10/resnet50`; all of the scale where nothing is asked for.
///
/// # Errors
/// A name that is none of these, with those that are.
pub fn rows(scale: ReproductionScale, asked: &[String]) -> Result<Vec<RowName>> {
    let all = all(scale);
    if asked.is_empty() {
        return Ok(all);
    }
    let mut is_asked = vec![false; all.len()];
    for word in asked {
        let mut found = false;
        for (row, is_asked) in all.iter().zip(&mut is_asked) {
            if is_named(scale, row, word) {
                (found, *is_asked) = (true, true);
            }
        }
        if !found {
            return Err(Error::usage(unknown(scale, word, &all)));
        }
    }
    Ok(all
        .into_iter()
        .zip(is_asked)
        .filter_map(|(row, is_asked)| is_asked.then_some(row))
        .collect())
}

fn all(scale: ReproductionScale) -> Vec<RowName> {
    let row = |set, model: &str| RowName { set, model: model.into() };
    match scale {
        ReproductionScale::Small => {
            let models = std::iter::once(SMALLEST).chain(BACKBONES);
            models.map(|model| row(RowSet::Small, model)).collect()
        }
        ReproductionScale::Published => {
            let others = SmallSet::iter()
                .flat_map(|set| ON_OTHERS.map(|model| row(RowSet::Other(set), model)));
            BACKBONES.iter().map(|model| row(RowSet::Imagenet, model)).chain(others).collect()
        }
    }
}

/// Whether a word of the command line means a row.
fn is_named(scale: ReproductionScale, row: &RowName, word: &str) -> bool {
    match (scale, word) {
        (ReproductionScale::Published, "others") => row.set != RowSet::Imagenet,
        (ReproductionScale::Small, "imagenet") => row.model != SMALLEST,
        (ReproductionScale::Small, _) => word == row.model || word == row.to_string(),
        // A backbone alone is the one of the main table.
        (ReproductionScale::Published, _) => {
            word == row.set.name()
                || word == row.to_string()
                || word == row.model && row.set == RowSet::Imagenet
        }
    }
}

fn unknown(scale: ReproductionScale, word: &str, all: &[RowName]) -> String {
    let is_model = names().any(|name| name == word);
    match scale {
        ReproductionScale::Small => {
            let models: Vec<&str> = all.iter().map(|row| row.model.as_str()).collect();
            format!("no row '{word}' at the small scale; known: imagenet, {}", models.join(", "))
        }
        ReproductionScale::Published if is_model => {
            format!("nothing was published of {word}; --scale small takes resnet_small, too")
        }
        ReproductionScale::Published => format!(
            "no row '{word}'; known: imagenet, others, {}, a backbone ({}), or both as in cifar10/resnet50",
            RowSet::published().skip(1).map(RowSet::name).collect::<Vec<_>>().join(", "),
            BACKBONES.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(scale: ReproductionScale, words: &str) -> Vec<String> {
        let words: Vec<String> = words.split_whitespace().map(String::from).collect();
        rows(scale, &words).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rows_are_named_in_the_tables_order() {
        assert_eq!(named(ReproductionScale::Published, "").len(), 22);
        assert_eq!(named(ReproductionScale::Small, "").len(), 15);
        assert_eq!(named(ReproductionScale::Published, "imagenet").len(), 14);
        assert_eq!(named(ReproductionScale::Published, "others others").len(), 8);
        assert_eq!(
            named(ReproductionScale::Published, "stl10/resnet50 resnet50 cifar100"),
            ["imagenet/resnet50", "cifar100/resnet50", "cifar100/focalnet_tiny", "stl10/resnet50"]
        );
        assert_eq!(
            named(ReproductionScale::Small, "resnet18 small/resnet_small"),
            ["small/resnet_small", "small/resnet18"]
        );
        let refused = |scale, word: &str| rows(scale, &[word.into()]).unwrap_err().to_string();
        assert!(refused(ReproductionScale::Published, "resnet_small").contains("--scale small"));
        assert!(
            refused(ReproductionScale::Published, "cifar10/resnet18")
                .contains("known: imagenet, others")
        );
        assert!(
            refused(ReproductionScale::Small, "cifar10").contains("known: imagenet, resnet_small")
        );
    }

    /// Every row has what was published of it, whose headline is 5.5 times: the mean of the twelve.
    #[test]
    fn every_row_was_published() {
        let all = rows(ReproductionScale::Published, &[]).unwrap();
        let figures: Vec<Published> = all.iter().map(|row| row.published().unwrap()).collect();
        let twelve: f64 = figures[..TORCHVISION].iter().map(|of| of.last_layer).sum();
        assert!((twelve / 12.0 - 5.51).abs() < 0.005, "{twelve}");
        assert_eq!(figures[18].accuracy, [83.13, 83.97]);
    }
}
