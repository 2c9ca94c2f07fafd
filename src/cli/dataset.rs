//! The flags that say which data set is meant, and what they find.

use std::path::{Path, PathBuf};

use super::common::refuse_idle;
use crate::data::{ClassList, ImageSet, SetLayout, Splits};
use crate::progress::Progress;
use crate::{Error, Result};

/// How a data set is laid out.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct LayoutArgs {
    /// Layout of the data set in --data; folders (one a class), imagenet, tiny-imagenet, cifar10, cifar100, food101,
    /// stl10, webdataset or pack. Found out if absent
    #[arg(long, value_name = "LAYOUT")]
    dataset: Option<SetLayout>,
}

impl LayoutArgs {
    /// Refuses the flag where no data set is named.
    ///
    /// # Errors
    /// [`Error::Usage`] that says so.
    pub fn check(self, data: Option<&Path>) -> Result<()> {
        refuse_idle([("--dataset", self.dataset.is_some() && data.is_none(), "without --data")])
    }

    /// The data set at `data`; what it is is said where it isn't just folders.
    ///
    /// # Errors
    /// As [`Splits::find`].
    pub fn find(self, data: &Path, progress: &dyn Progress) -> Result<Splits> {
        let splits = Splits::find(data, self.dataset)?;
        // A layout that isn't there is refused before it is said.
        splits.names()?;
        if splits.layout() != SetLayout::Folders {
            progress.line(&format!("{}: read as {}", data.display(), splits.layout().title()));
        }
        Ok(splits)
    }
}

/// A data set that a command is about.
#[derive(clap::Args, Clone, Debug)]
pub struct SetArgs {
    /// The data set; its folder or file
    #[arg(value_name = "DIR")]
    pub data: PathBuf,
    #[command(flatten)]
    layout: LayoutArgs,
}

impl SetArgs {
    /// The data set, as of [`LayoutArgs::find`].
    ///
    /// # Errors
    /// As [`Splits::find`].
    pub fn find(&self, progress: &dyn Progress) -> Result<Splits> {
        self.layout.find(&self.data, progress)
    }
}

/// Refuses to write into the data set that is read.
///
/// # Errors
/// [`Error::File`] naming what would be written.
pub fn keep_data(out: &Path, data: &Path) -> Result<()> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize();
    let (Ok(folder), Ok(data), Some(name)) = (folder, data.canonicalize(), out.file_name()) else {
        return Ok(()); // what isn't there is said where it is read or written
    };
    match folder.join(name).starts_with(&data) {
        true => {
            Err(Error::file(out, "lies in the data set that is read: name a place outside of it"))
        }
        false => Ok(()),
    }
}

/// What becomes of images that can't be read.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct SkipArgs {
    /// Read every image first, and go on without those that can't be read if they are N at most. They are named, and
    /// recorded with the results. Without this flag the first of them ends the run
    #[arg(long, value_name = "N")]
    skip_bad: Option<u32>,
}

impl SkipArgs {
    /// Refuses the flag where no data set is named.
    ///
    /// # Errors
    /// [`Error::Usage`] that says so.
    pub fn check(self, data: Option<&Path>) -> Result<()> {
        refuse_idle([("--skip-bad", self.skip_bad.is_some() && data.is_none(), "without --data")])
    }

    /// The set, less what can't be read where that is asked for.
    ///
    /// # Errors
    /// As [`ImageSet::less_unreadable`].
    pub fn apply(self, set: ImageSet, progress: &dyn Progress) -> Result<ImageSet> {
        match self.skip_bad {
            Some(most) => set.less_unreadable(most as usize, progress),
            None => Ok(set),
        }
    }
}

/// The images for training and those held out of a data set, as flags say; what is passed over is said.
///
/// # Errors
/// As [`Splits::train_and_held_out`] and [`SkipArgs::apply`].
pub fn for_training(
    (layout, skip, data): (LayoutArgs, SkipArgs, &Path),
    classes: Option<&ClassList>,
    progress: &dyn Progress,
) -> Result<[ImageSet; 2]> {
    let [train, held_out] = layout.find(data, progress)?.train_and_held_out(classes)?;
    [&train, &held_out].into_iter().for_each(|set| set.say_notes(progress));
    Ok([skip.apply(train, progress)?, skip.apply(held_out, progress)?])
}

/// Which split is evaluated.
#[derive(clap::Args, Clone, Debug)]
pub struct SplitArgs {
    #[command(flatten)]
    layout: LayoutArgs,
    /// Split of the data set whose images are taken; the first of val, validation and test if absent
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
}

impl SplitArgs {
    /// The data set at `data`, as of [`LayoutArgs::find`].
    ///
    /// # Errors
    /// As [`Splits::find`].
    pub fn find(&self, data: &Path, progress: &dyn Progress) -> Result<Splits> {
        self.layout.find(data, progress)
    }

    /// The images held out of training, or those of the split that is named.
    ///
    /// # Errors
    /// As [`Splits::open`] and [`Splits::held_out`].
    pub fn held_out(&self, splits: &Splits) -> Result<ImageSet> {
        self.split.as_deref().map_or_else(|| splits.held_out(), |name| splits.open(name))
    }

    /// The images that an evaluation is of, or those of the split that is named.
    ///
    /// # Errors
    /// As [`Splits::open`] and [`Splits::evaluated`].
    pub fn evaluated(&self, splits: &Splits) -> Result<ImageSet> {
        self.split.as_deref().map_or_else(|| splits.evaluated(), |name| splits.open(name))
    }
}
