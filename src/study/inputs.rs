//! What a study, a training run or a campaign takes in: images, transforms, text features.

use std::path::Path;
use std::sync::Arc;

use crate::Result;
use crate::data::builtin::{Shapes, Split, descriptions};
use crate::data::transform::{EvalTransform, TrainCrop, TrainTransform};
use crate::data::{Cached, ClassList, Dataset, ImageSet};
use crate::models::ModelFile;
use crate::recipe::Augmentation;
use crate::text::hashing::NgramHasher;
use crate::text::{self, TextFeatures};
use crate::train::Source;

/// Bytes of decoded pixels that are kept in memory.
const CACHE_BYTES: usize = 4 << 30;

/// Seed of the built-in images: they are the same in every study, whatever the training's seed.
pub const BUILTIN_SEED: u64 = 1;

/// Dimensions of the built-in data's hashed n-gram features.
const HASHED_WIDTH: usize = 128;

/// Images and text features that belong together.
#[derive(Clone)]
pub struct Inputs {
    pub train: Source,
    pub test: Source,
    /// One row a class, in the data's order.
    pub features: TextFeatures,
    /// What the features are, in words.
    pub text: String,
    /// Whether the images are made by the program.
    pub synthetic: bool,
}

impl Inputs {
    /// The built-in data, made from `seed`: `counts` training and test images.
    pub fn builtin(
        file: &ModelFile,
        seed: u64,
        counts: [usize; 2],
        augmentation: &Augmentation,
    ) -> Result<Inputs> {
        let [train, test] = counts;
        let train: Arc<dyn Dataset> =
            Arc::new(Cached::new(Shapes::new(seed, Split::Train, train), CACHE_BYTES));
        let test: Arc<dyn Dataset> =
            Arc::new(Cached::new(Shapes::new(seed, Split::Test, test), CACHE_BYTES));
        let classes: Vec<(String, [&str; 5])> =
            descriptions().iter().map(|class| (class.name.to_string(), class.answers)).collect();
        let features = NgramHasher::new(HASHED_WIDTH)?.class_features(&classes)?;
        let size = crate::data::builtin::SIDE;
        let crop = TrainCrop::RandomCrop { size, padding: 2 };
        Ok(Inputs {
            train: Source {
                dataset: train,
                transform: TrainTransform::augmented(&file.input, crop, augmentation).into(),
            },
            test: Source { dataset: test, transform: EvalTransform::of(&file.input, size).into() },
            features,
            text: "hashed word and character n-grams of written descriptions, not CLIP".into(),
            synthetic: true,
        })
    }

    /// A data set's images for training and those held out at `image_size`, with the features in `features`.
    pub fn of(
        file: &ModelFile,
        image_size: usize,
        sets: [ImageSet; 2],
        features: &Path,
        classes: Option<&ClassList>,
        augmentation: &Augmentation,
    ) -> Result<Inputs> {
        let sources = sources(file, image_size, sets, augmentation);
        let features_name = features.file_name().unwrap_or_default().to_string_lossy();
        let features = text::file::open_for(features, classes, sources[0].dataset.classes())?;
        let [train, test] = sources;
        Ok(Inputs { train, test, features, text: features_name.into_owned(), synthetic: false })
    }

    /// Height and width of the images.
    pub fn image_size(&self) -> usize {
        self.test.transform.size()
    }
}

/// Images of a data set for training and those held out, with their transforms.
pub fn sources(
    file: &ModelFile,
    image_size: usize,
    [train, test]: [ImageSet; 2],
    augmentation: &Augmentation,
) -> [Source; 2] {
    [
        Source {
            dataset: Arc::new(Cached::new(train, CACHE_BYTES)),
            transform: TrainTransform::of_folder(&file.input, image_size, augmentation).into(),
        },
        Source {
            dataset: Arc::new(Cached::new(test, CACHE_BYTES)),
            transform: EvalTransform::of(&file.input, image_size).into(),
        },
    ]
}
