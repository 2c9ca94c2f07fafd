//! Pictures of a campaign's worst faults, for its page.

use std::path::{Path, PathBuf};

use super::super::common::class_list;
use super::super::dataset::LayoutArgs;
use super::super::model::ModelArgs;
use super::super::visualize::{VisualizedNetwork, of_campaign};
use crate::analysis::worst::worst;
use crate::data::rgb_png;
use crate::data::transform::{Filter, resize};
use crate::device::Device;
use crate::page::{FaultPictures, MOST_FAULTS, Pictures};
use crate::progress::Progress;
use crate::results::Run;
use crate::saliency::{Class, MapTarget, Method, Panels};
use crate::{Error, Result};

/// Where the network and the images are.
#[derive(clap::Args)]
pub struct PictureArgs {
    /// With --html: show the worst faults in their images, and where this network, the first campaign's, looked
    #[arg(long)]
    checkpoint: Option<PathBuf>,
    /// Model name or .toml file of --checkpoint; needed unless it names its model
    #[arg(long, requires = "checkpoint")]
    model: Option<String>,
    /// Folder of the campaign's images, as `inject --data` had it; campaigns of `study` on its own images need none
    #[arg(long, value_name = "DIR", requires = "checkpoint")]
    data: Option<PathBuf>,
    #[command(flatten)]
    layout: LayoutArgs,
    /// Class names: tab-separated lines of index, folder name, class name
    #[arg(long, requires = "checkpoint")]
    class_list: Option<PathBuf>,
}

/// Pixels of the longer side of a picture: as many as a page of a megabyte has room for.
const SIDE: usize = 64;

impl PictureArgs {
    /// Refuses what has no effect beside the others.
    pub fn check(&self) -> Result<()> {
        self.layout.check(self.data.as_deref())
    }

    /// The file of the network, which is read.
    pub fn checkpoint(&self) -> Option<&Path> {
        self.checkpoint.as_deref()
    }

    /// The pictures of the worst faults of `store`; `None` where they aren't asked for.
    ///
    /// # Errors
    /// Those of the checkpoint and the images; a checkpoint that isn't the campaign's; a model file that names no layer for
    /// maps.
    pub fn pictures(&self, store: &Path, progress: &dyn Progress) -> Result<Option<Pictures>> {
        let Some(checkpoint) = &self.checkpoint else { return Ok(None) };
        let run = Run::open(store)?;
        if worst(&run, 1, |_, _| true).is_empty() {
            progress.line(&format!(
                "{}: no pictures, since there is no fault of one value with a finite answer without a detector",
                store.display()
            ));
            return Ok(None);
        }
        let flags = ModelArgs::of(self.model.clone(), checkpoint.clone());
        // Sites inside kernels are on the device of the campaign alone.
        let setting = &run.manifest.setting;
        let device = Device::parse(&setting.device)?.with_compute(setting.compute)?;
        let loaded = flags.load(&device, progress)?;
        if loaded.file.saliency.is_none() {
            return Err(Error::usage(format!(
                "the model file of {} names no layer for maps ([saliency] layer), which pictures of faults need",
                loaded.file.name
            )));
        }
        let list = class_list(self.class_list.as_deref())?;
        let subject = VisualizedNetwork::new(loaded, checkpoint, list.as_ref(), None)?;
        let subjects = std::slice::from_ref(&subject);
        let data = self.data.as_deref();
        let data = data.map(|data| self.layout.find(data, progress)).transpose()?;
        let asked = of_campaign(store, MOST_FAULTS, data.as_ref(), subjects, progress)?;
        let target = MapTarget { class: Class::Predicted, cosine: false };
        let mut faults = Vec::new();
        for asked in &asked {
            let member = subject.member(asked, Method::GradCam, target)?;
            let picture = &member.picture;
            let longer = picture.height.max(picture.width).max(SIDE);
            let of = |side: usize| (side * SIDE / longer).max(1);
            let small = resize(picture, of(picture.height), of(picture.width), Filter::Bilinear);
            let panels = Panels::of(&member.pair, &small);
            let seen = [(&member.pair.clean, "without"), (&member.pair.faulty, "with")];
            faults.push(FaultPictures {
                image: rgb_png(&small)?,
                clean: rgb_png(&panels.clean)?,
                faulty: rgb_png(&panels.faulty)?,
                notes: seen
                    .iter()
                    .filter_map(|(seen, when)| {
                        let why = seen.map.as_ref().err()?;
                        Some(format!("No map {when} the fault: {why}."))
                    })
                    .collect(),
            });
        }
        Ok(Some(Pictures {
            about: format!(
                "Maps: {} of {}, for the class that is predicted without the fault; both maps of a fault have one scale, from \
                 dark to pale. A fault behind that layer changes no map.",
                Method::GradCam.title(),
                subject.layer_words()
            ),
            classes: subject.class_names().to_vec(),
            faults,
        }))
    }
}
