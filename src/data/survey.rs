//! What a split holds: how many images, how large, in which formats, and which can't be read.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::{Dataset, facts};
use crate::Result;
use crate::progress::Progress;

/// Images that are read at a time.
const AT_ONCE: usize = 256;

/// The least, the middle and the largest of some numbers; zeros of none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SizeSpread {
    pub least: usize,
    /// The lower of the two in the middle, where they are two.
    pub median: usize,
    pub most: usize,
}

impl SizeSpread {
    fn of(mut numbers: Vec<usize>) -> SizeSpread {
        numbers.sort_unstable();
        match (numbers.first(), numbers.last()) {
            (Some(&least), Some(&most)) => {
                SizeSpread { least, median: numbers[(numbers.len() - 1) / 2], most }
            }
            _ => SizeSpread::default(),
        }
    }
}

/// An image that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    pub path: String,
    /// A sentence that names the file.
    pub error: String,
}

/// What a split holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SplitSurvey {
    pub images: usize,
    pub classes: usize,
    /// Images of each class.
    pub images_a_class: SizeSpread,
    /// Of the images that can be read, in pixels.
    pub heights: SizeSpread,
    pub widths: SizeSpread,
    /// How many images there are of each format, with its kind of colour: `JPEG, RGB`. Pixels that no file format holds are
    /// `kept as pixels`.
    pub formats: BTreeMap<String, usize>,
    /// Bytes of the images' files.
    pub bytes: u64,
    /// How many images say that they are to be turned or mirrored when shown (EXIF orientation 2 to 8). They aren't.
    pub oriented: usize,
    pub unreadable: Vec<Unreadable>,
    /// What lies among the images and isn't read.
    pub passed_over: Option<String>,
    pub fingerprint: String,
}

/// What an image is.
struct SurveyedImage {
    format: String,
    size: [usize; 2],
    bytes: usize,
    oriented: bool,
}

impl SurveyedImage {
    /// Decodes image `i`, or looks at the beginning of its file only.
    fn of(set: &dyn Dataset, i: usize, headers: bool) -> Result<SurveyedImage> {
        let Some(bytes) = set.encoded(i)? else {
            let image = set.image(i)?;
            let size = [image.height, image.width];
            let bytes = image.pixels.len();
            return Ok(SurveyedImage {
                format: "kept as pixels".into(),
                size,
                bytes,
                oriented: false,
            });
        };
        let path = set.file(i).unwrap_or_else(|| set.path(i).into());
        let facts = facts(&bytes, &path)?;
        if !headers {
            set.image(i)?;
        }
        Ok(SurveyedImage {
            format: format!("{}, {}", facts.format, facts.colour),
            size: [facts.height, facts.width],
            bytes: bytes.len(),
            oriented: facts.is_turned(),
        })
    }
}

impl SplitSurvey {
    /// Looks at every image of a split: decodes it, or with `headers` only reads what its file says of itself.
    pub fn of(set: &dyn Dataset, headers: bool, progress: &dyn Progress) -> SplitSurvey {
        let (mut heights, mut widths) = (Vec::new(), Vec::new());
        let mut a_class = vec![0; set.classes().len()];
        let mut survey = SplitSurvey {
            images: set.len(),
            classes: a_class.len(),
            passed_over: set.passed_over(),
            fingerprint: set.fingerprint(),
            ..SplitSurvey::default()
        };
        progress.begin("reading every image", "images", 0, set.len() as u64);
        let all: Vec<usize> = (0..set.len()).collect();
        for some in all.chunks(AT_ONCE) {
            let seen: Vec<Result<SurveyedImage>> =
                some.par_iter().map(|&i| SurveyedImage::of(set, i, headers)).collect();
            for (&i, seen) in some.iter().zip(seen) {
                a_class[set.label(i)] += 1;
                match seen {
                    Ok(SurveyedImage { format, size: [height, width], bytes, oriented }) => {
                        *survey.formats.entry(format).or_default() += 1;
                        heights.push(height);
                        widths.push(width);
                        survey.bytes += bytes as u64;
                        survey.oriented += usize::from(oriented);
                    }
                    Err(error) => {
                        let (path, error) = (set.path(i), error.to_string());
                        survey.unreadable.push(Unreadable { path, error });
                    }
                }
            }
            progress.advance(some.len() as u64, "");
        }
        progress.end();
        survey.images_a_class = SizeSpread::of(a_class);
        survey.heights = SizeSpread::of(heights);
        survey.widths = SizeSpread::of(widths);
        survey
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Image8;
    use crate::data::{ImageFolder, rgb_png};
    use crate::progress::Silent;

    #[test]
    fn a_folder_is_told_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = 0;
        for (path, height) in [("a/1.png", 2), ("a/2.png", 5), ("b/1.png", 9)] {
            let file = dir.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            let png = rgb_png(&Image8::black(height, 4)).unwrap();
            bytes += png.len() as u64;
            std::fs::write(file, png).unwrap();
        }
        std::fs::write(dir.path().join("b/0.jpg"), "no picture").unwrap();
        std::fs::write(dir.path().join("b/notes.txt"), "").unwrap();
        let set = ImageFolder::open(dir.path()).unwrap();
        let survey = SplitSurvey::of(&set, false, &Silent);
        assert_eq!((survey.images, survey.classes, survey.bytes), (4, 2, bytes));
        assert_eq!(survey.heights, SizeSpread { least: 2, median: 5, most: 9 });
        assert_eq!(survey.widths, SizeSpread { least: 4, median: 4, most: 4 });
        assert_eq!(survey.images_a_class, SizeSpread { least: 2, median: 2, most: 2 });
        assert_eq!(survey.formats.values().sum::<usize>(), 3);
        assert_eq!(survey.unreadable[0].path, "b/0.jpg");
        assert!(survey.unreadable[0].error.contains("neither a JPEG"));
        assert!(survey.passed_over.unwrap().contains("1 .txt"));
        let headers = SplitSurvey::of(&set, true, &Silent);
        assert_eq!((headers.heights, headers.bytes), (survey.heights, bytes));
    }
}
