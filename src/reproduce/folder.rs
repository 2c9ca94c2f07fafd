//! Where the parts of a reproduction lie in its folder.

use std::path::{Path, PathBuf};

use serde::Serialize;
use strum::EnumIter;

use super::RowName;
use crate::Result;
use crate::plan::{Protocol, Shard};
use crate::results::Store;
use crate::results::store::file::is_empty;
use crate::train::Output;

/// A network of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, EnumIter)]
#[serde(rename_all = "kebab-case")]
pub enum Arm {
    /// The backbone with its ordinary last layer.
    Baseline,
    /// As published: rows from descriptions, on the normalised feature, trained with the rest.
    TextGuided,
    /// Its form, with rows at random.
    RandomRows,
    /// Rows from a plain template, "a photo of a …".
    TemplateRows,
    /// The feature isn't normalised.
    Unnormalized,
    /// Rows stay as they came from the text.
    FrozenRows,
}

impl Arm {
    /// The two of every row.
    pub const MAIN: [Arm; 2] = [Arm::Baseline, Arm::TextGuided];

    /// What its files are called.
    pub const fn slug(self) -> &'static str {
        match self {
            Arm::Baseline => "baseline",
            Arm::TextGuided => "text-guided",
            Arm::RandomRows => "random-rows",
            Arm::TemplateRows => "template-rows",
            Arm::Unnormalized => "unnormalized",
            Arm::FrozenRows => "frozen-rows",
        }
    }
}

/// Which campaign of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CampaignKind {
    /// By GoldenEye's rules, as published: its own images, of a fifth of the held-out ones.
    Goldeneye,
    /// Images that baseline and text-guided network get right, the same faults in both.
    Strict,
    /// The same, of all networks of an ablation.
    Ablation,
}

impl CampaignKind {
    pub const fn protocol(self) -> Protocol {
        match self {
            CampaignKind::Goldeneye => Protocol::Goldeneye,
            CampaignKind::Strict | CampaignKind::Ablation => Protocol::Strict,
        }
    }

    pub const fn slug(self) -> &'static str {
        match self {
            CampaignKind::Goldeneye => "goldeneye",
            CampaignKind::Strict => "strict",
            CampaignKind::Ablation => "ablation",
        }
    }
}

/// The file in its folder that says what a reproduction was begun with.
pub const BEGUN: &str = "begun.json";

/// The folder of a reproduction.
#[derive(Clone, Debug)]
pub struct ReproductionFolder {
    root: PathBuf,
}

impl ReproductionFolder {
    pub fn new(root: &Path) -> ReproductionFolder {
        ReproductionFolder { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// That of a row and a seed: what one process works on.
    pub fn seed(&self, row: &RowName, seed: u64) -> PathBuf {
        self.root.join(row.set.name()).join(&row.model).join(format!("seed-{seed}"))
    }

    /// The training run of a network.
    pub fn training(&self, row: &RowName, seed: u64, arm: Arm) -> PathBuf {
        self.seed(row, seed).join(arm.slug())
    }

    /// The store of a campaign.
    pub fn store(&self, row: &RowName, seed: u64, arm: Arm, kind: CampaignKind) -> PathBuf {
        self.seed(row, seed).join(format!("{}.{}.sqlite", arm.slug(), kind.slug()))
    }

    /// Pictures of where the two networks of a row look.
    pub fn strips(&self, row: &RowName, seed: u64) -> PathBuf {
        self.seed(row, seed).join("strips")
    }

    /// The first of them.
    pub fn strip(&self, row: &RowName, seed: u64) -> PathBuf {
        self.strips(row, seed).join("strip-1.svg")
    }
}

/// Whether a training run is over.
pub fn is_trained(folder: &Path) -> bool {
    Output::at(folder.into()).model().exists()
}

/// Whether a store is there and holds a whole campaign.
///
/// # Errors
/// A file that is no store.
pub fn is_whole(store: &Path) -> Result<bool> {
    if !store.exists() || is_empty(store)? || !Store::has_campaign(store)? {
        return Ok(false);
    }
    Ok(match Store::shards(store)?.as_slice() {
        [] => false,
        [(Shard { of, .. }, true), ..] => {
            let shards = Store::shards(store)?;
            shards.len() as u64 == *of && shards.iter().all(|(_, whole)| *whole)
        }
        _ => false,
    })
}
