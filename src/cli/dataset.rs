//! The flags that say which data set is meant, and what they find.

use std::path::Path;

use crate::Result;
use crate::data::{ImageSet, Layout, Splits};
use crate::progress::Progress;

/// How a data set is laid out.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct LayoutArgs {
    /// Layout of the data set in --data; folders (one a class), imagenet, tiny-imagenet, cifar10, cifar100, food101,
    /// stl10, webdataset or pack. Found out if absent
    #[arg(long, value_name = "LAYOUT", requires = "data")]
    dataset: Option<Layout>,
}

impl LayoutArgs {
    /// The data set at `data`; what it is is said where it isn't just folders.
    ///
    /// # Errors
    /// As [`Splits::find`].
    pub fn find(self, data: &Path, progress: &dyn Progress) -> Result<Splits> {
        let splits = Splits::find(data, self.dataset)?;
        if splits.layout() != Layout::Folders {
            progress.line(&format!("{}: read as {}", data.display(), splits.layout().title()));
        }
        Ok(splits)
    }
}

/// Which split is evaluated.
#[derive(clap::Args, Clone, Debug)]
pub struct SplitArgs {
    #[command(flatten)]
    layout: LayoutArgs,
    /// Split of the data set whose images are taken; the first of val, validation and test if absent
    #[arg(long, value_name = "NAME", requires = "data")]
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
