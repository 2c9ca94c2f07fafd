//! Data sets, decoding, transforms and loading.
//!
//! A [`Dataset`] gives decoded 8-bit images with labels; a [`transform`] turns one into normalised
//! f32 values; [`Batches`] does both ahead of its consumer and hands out whole batches. Everything
//! random is keyed by seed, epoch and sample (see [`crate::rng`]): neither the place of a sample in
//! its batch nor the number of threads can change a bit.

use std::path::PathBuf;

use crate::{Error, Result};
use std::borrow::Cow;
use transform::{Area, ChooseArea, crop};

mod bmp;
pub mod builtin;
mod cache;
mod class_list;
mod decode;
mod encode;
mod exif;
mod folder;
pub mod gamma;
mod gif;
mod image_facts;
mod image_format;
mod jpeg;
mod listing;
mod loader;
pub mod mix;
mod numbering;
mod pack;
mod png;
pub mod portable;
mod rounded;
mod set;
mod sets;
mod sheet;
mod skip;
mod splits;
mod survey;
pub mod transform;
mod webp;
mod within;

pub use cache::Cached;
pub use class_list::{ClassEntry, ClassList};
pub use decode::{decode, decode_file, decode_file_part, decode_part};
pub use encode::rgb_png;
pub use folder::ImageFolder;
pub use image_facts::{ImageFacts, facts};
pub use image_format::{ColourKind, ImageFormat};
pub use loader::{Batch, Batches, EpochImage, EpochPlan, epoch_order, repeated_order};
pub use numbering::Numbering;
pub use pack::{Pack, PackForm, PackSplit, Packed, write_pack};
pub use set::ImageSet;
pub use sets::SetLayout;
pub use sheet::contact_sheet;
pub use splits::Splits;
pub use survey::{SizeSpread, SplitSurvey, Unreadable};
pub use within::pictures_in;

/// A decoded image: 8 bits a channel, RGB interleaved, rows from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image8 {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// height × width × 3 values.
    pub pixels: Vec<u8>,
}

impl Image8 {
    /// An image of `height` × `width` × 3 values.
    ///
    /// # Errors
    /// [`Error::Shape`] if a side is 0 or the number of values is another.
    pub fn new(height: usize, width: usize, pixels: Vec<u8>) -> Result<Self> {
        let expected = height.checked_mul(width).and_then(|area| area.checked_mul(3));
        if height == 0 || width == 0 || expected != Some(pixels.len()) {
            let detail = format!("{} values for {height}×{width}×3", pixels.len());
            return Err(Error::shape("image", detail));
        }
        Ok(Image8 { height, width, pixels })
    }

    /// A black image.
    pub(crate) fn black(height: usize, width: usize) -> Self {
        Image8 { height, width, pixels: vec![0; height * width * 3] }
    }
}

/// An area of an image.
///
/// # Errors
/// [`Error::Shape`] if it doesn't lie in the image.
fn part_of(image: Cow<'_, Image8>, area: Area) -> Result<Image8> {
    let (height, width) = (image.height, image.width);
    if !area.lies_in(height, width) {
        return Err(outside(area, height, width));
    }
    let is_whole = area == Area::whole(height, width);
    Ok(if is_whole { image.into_owned() } else { crop(&image, area) })
}

fn outside(area: Area, height: usize, width: usize) -> Error {
    let Area { top, left, height: rows, width: columns } = area;
    let place = format!("{rows}×{columns} from row {top} and column {left} on");
    Error::shape("part of an image", format!("{place} isn't inside of {height}×{width}"))
}

/// A labelled set of images in a fixed order.
pub trait Dataset: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// Whether there is no image.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The classes, in the order that labels count.
    fn classes(&self) -> &[ClassEntry];

    /// The class of image `i`, below `classes().len()`. Panics if `i` is out of range.
    fn label(&self, i: usize) -> usize;

    /// Image `i`, decoded.
    ///
    /// # Errors
    /// Whatever keeps it from being read or decoded, naming the file.
    fn image(&self, i: usize) -> Result<Image8>;

    /// The part of image `i` that `choose` gives for its height and width, which is asked once; the same pixels as
    /// cut out of [`image`](Self::image), but what isn't needed may be left undecoded.
    ///
    /// # Errors
    /// Those of [`image`](Self::image), and [`Error::Shape`] if the area doesn't lie in the image.
    fn image_part(&self, i: usize, choose: &mut ChooseArea<'_>) -> Result<Image8> {
        let image = self.image(i)?;
        let area = choose(image.height, image.width);
        part_of(Cow::Owned(image), area)
    }

    /// What to call image `i`: a path below the data set's root, or a made-up name.
    fn path(&self, i: usize) -> String;

    /// SHA-256, in hexadecimal, of what identifies the set: equal for equal data, and recorded in
    /// the manifests of runs.
    fn fingerprint(&self) -> String;

    /// SHA-256, in hexadecimal, by which the set is known not to have changed on disk: a file that was written to
    /// shows in it even where it is as long as before.
    fn state(&self) -> String {
        self.fingerprint()
    }

    /// The file that holds image `i` and nothing else, where there is one.
    fn file(&self, _i: usize) -> Option<PathBuf> {
        None
    }

    /// Image `i` as it is kept where it comes from, in a format that [`decode`] reads; `None` where it is kept
    /// otherwise.
    ///
    /// # Errors
    /// Whatever keeps it from being read, naming the file.
    fn encoded(&self, i: usize) -> Result<Option<Vec<u8>>> {
        let read = |path: PathBuf| std::fs::read(&path).map_err(|source| Error::io(path, source));
        self.file(i).map(read).transpose()
    }

    /// The paths of images that were left out, since they [can't be read](ImageSet::less_unreadable).
    fn skipped(&self) -> Vec<String> {
        Vec::new()
    }

    /// What lies among the images and isn't read, in a line that names the place; `None` if there is nothing.
    /// Whoever opens a set says it.
    fn passed_over(&self) -> Option<String> {
        None
    }
}
