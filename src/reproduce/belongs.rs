//! Whether stores are those that their places in a reproduction's folder say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::folder::{Arm, CampaignKind};
use super::{ReproductionFolder, RowName, is_whole};
use crate::results::{Manifest, Run};
use crate::{Error, Result};

/// Opens the stores of a row, and holds each against its place and against the others.
pub(super) struct RowStores<'f> {
    pub row: &'f RowName,
    pub folder: &'f ReproductionFolder,
    /// What all stores of the row have in common, each as the first of them had it.
    known: BTreeMap<String, (String, PathBuf)>,
}

impl<'f> RowStores<'f> {
    pub fn new(row: &'f RowName, folder: &'f ReproductionFolder) -> RowStores<'f> {
        RowStores { row, folder, known: BTreeMap::new() }
    }

    /// The campaign of a network; `None` where it isn't whole.
    ///
    /// # Errors
    /// A store that can't be read, or isn't the one of its place: of another network, seed or protocol, or on other data
    /// or with other weights than the row's other stores.
    pub fn open(&mut self, seed: u64, arm: Arm, kind: CampaignKind) -> Result<Option<Run>> {
        let path = self.folder.store(self.row, seed, arm, kind);
        if !is_whole(&path)? {
            return Ok(None);
        }
        let run = Run::open(&path)?;
        self.check_place(&path, &run.manifest, (seed, arm, kind))?;
        self.check_others(&path, &run.manifest, (seed, arm, kind))?;
        Ok(Some(run))
    }

    fn check_place(
        &self,
        path: &Path,
        manifest: &Manifest,
        (seed, arm, kind): (u64, Arm, CampaignKind),
    ) -> Result<()> {
        let (setting, plan) = (&manifest.setting, &manifest.plan);
        let head = match arm {
            Arm::Baseline => "baseline",
            Arm::Unnormalized => "text-guided unnormalized",
            _ => "text-guided",
        };
        let facts = [
            ("model", setting.provenance.model.clone(), self.row.model.clone()),
            ("head", setting.head.clone(), head.into()),
            ("seed", plan.seed.to_string(), seed.to_string()),
            ("protocol", plan.protocol.name().into(), kind.protocol().name().into()),
        ];
        match facts.into_iter().find(|(_, is, belongs)| is != belongs) {
            None => Ok(()),
            Some((what, is, belongs)) => Err(Error::file(
                path,
                format!("isn't this step's: its {what} is {is}, not {belongs}"),
            )),
        }
    }

    fn check_others(
        &mut self,
        path: &Path,
        manifest: &Manifest,
        (seed, arm, kind): (u64, Arm, CampaignKind),
    ) -> Result<()> {
        let setting = &manifest.setting;
        let ranges = setting.ranges_over.as_ref().map_or_else(String::new, |over| {
            format!("{} images of {}", over.images, over.data.as_deref().unwrap_or("unknown data"))
        });
        let injections = manifest.plan.injections.end.to_string();
        let facts = [
            ("data".to_string(), setting.provenance.data.clone()),
            ("ranges".to_string(), ranges),
            (format!("number of injections ({})", kind.slug()), injections),
            (
                format!("checkpoint ({}, seed {seed})", arm.slug()),
                setting.provenance.checkpoint.clone(),
            ),
        ];
        for (what, is) in facts {
            match self.known.get(&what) {
                None => {
                    self.known.insert(what, (is, path.into()));
                }
                Some((was, _)) if *was == is => {}
                Some((was, first)) => {
                    let detail = format!(
                        "its {what} isn't that of {}: {was} there, {is} here",
                        first.display()
                    );
                    return Err(Error::file(path, detail));
                }
            }
        }
        Ok(())
    }
}
