//! The ranges of `flipside inject`: out of a file beside the store, or measured.

use std::path::Path;
use std::sync::Arc;

use super::super::common::{create_folder_of, file_sha256, refuse_idle};
use super::super::model::Loaded;
use super::Args;
use crate::campaign::{Experiment, Layer, RangesFile, RangesOf};
use crate::census::Mode;
use crate::data::{Dataset, Splits};
use crate::detector::Detector;
use crate::fault::Site;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::results::RangesOver;
use crate::train::Source;
use crate::{Error, Result};

/// Training images over which ranges are taken, and where those are kept.
pub(super) struct Ranging {
    train: Source,
    /// The images among them that count.
    list: Vec<usize>,
    /// Beside the store, where there is one.
    file: Option<RangesFile>,
}

/// SHA-256 of the program that runs.
fn program_sha256() -> Result<String> {
    // What it was started from, even where another has been put in its place meanwhile.
    let own = Path::new("/proc/self/exe");
    if own.exists() {
        return file_sha256(own);
    }
    let path = std::env::current_exe();
    file_sha256(&path.map_err(|source| Error::io(Path::new("the program's own file"), source))?)
}

impl Ranging {
    /// That of a plan; `None` where no detector asks for ranges of outputs.
    pub(super) fn of(
        args: &Args,
        plan: &Plan,
        loaded: &Loaded,
        (splits, store): (&Splits, Option<&Path>),
        progress: &dyn Progress,
    ) -> Result<Option<Ranging>> {
        let asks_images = plan.site == Site::Output && args.exhaustive != Some(Mode::Weights);
        let ranging = Detector::needing_ranges(&plan.detectors).filter(|_| asks_images);
        // Now rather than after the evaluation.
        if let Some(detector) = ranging
            && !splits.has_train()?
        {
            return Err(Error::usage(format!(
                "{}: has no {} named train, over which the ranges of the detector `{}` are taken; \
                 --detector none needs none",
                args.data.display(),
                splits.word(),
                detector.name()
            )));
        }
        let unranged = "where no range is taken (--detector range, of outputs)";
        refuse_idle([(
            "--range-images",
            ranging.is_none() && args.range_images.is_some(),
            unranged,
        )])?;
        if ranging.is_none() {
            return Ok(None);
        }
        let images = splits.train()?;
        images.say_notes(progress);
        let images = args.skip.apply(images, progress)?;
        let state = images.state();
        let train = Source { dataset: Arc::new(images), transform: loaded.transform() };
        let all = train.dataset.len();
        let count = args.range_images.unwrap_or(usize::MAX).min(all);
        // Spread over the set, which is sorted by class.
        let list = (0..count).map(|i| i * all / count).collect();
        let over = RangesOver { images: count, data: Some(train.dataset.fingerprint()) };
        let program = store.map(|_| program_sha256()).transpose().unwrap_or_else(|error| {
            progress.line(&format!("the ranges aren't kept: {error}"));
            None
        });
        let file = store.zip(program).map(|(store, program)| {
            create_folder_of(store)?;
            let of = RangesOf {
                architecture: loaded.file.architecture().to_string(),
                checkpoint: loaded.sha256.clone(),
                program,
                preprocessing: format!("{:?}", train.transform),
                over,
                state,
                ..RangesOf::here(&loaded.network)
            };
            RangesFile::new(store.parent().unwrap_or(Path::new("")), of)
        });
        Ok(Some(Ranging { train, list, file: file.transpose()? }))
    }

    /// Over how many images ranges are taken.
    pub(super) fn images(&self) -> usize {
        self.list.len()
    }

    /// Takes the ranges of layers.
    pub(super) fn take(
        &self,
        experiment: &mut Experiment<'_>,
        layers: &[Layer],
        progress: &dyn Progress,
    ) -> Result<()> {
        let told = format!("ranges over {} training images", self.list.len());
        let found = self.file.as_ref().map_or(Ok(None), |file| file.read(layers));
        match (found, &self.file) {
            (Ok(Some(ranges)), Some(file)) => {
                progress.line(&format!("{told}, measured before ({})", file.path().display()));
                experiment.ranges = ranges;
                return Ok(());
            }
            (Err(error), _) => progress.line(&format!("{error}; ranges are measured anew")),
            _ => {}
        }
        progress.line(&told);
        experiment.measure_ranges(layers, &self.train, &self.list, progress)?;
        // They are there, and can be measured again: no reason to end.
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.add(&experiment.ranges)) {
            progress.line(&format!("the ranges aren't kept: {error}"));
        }
        Ok(())
    }
}
