//! Where a campaign's images come from.

use std::sync::mpsc::sync_channel;

use crate::data::transform::Transform;
use crate::models::Model;
use crate::rng::stream;
use crate::train::Source;
use crate::{Error, Result};

/// Normalised evaluation images, by number, from any thread.
pub trait Images: Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What to call image `index`: a path, say.
    fn name(&self, index: usize) -> String {
        index.to_string()
    }

    /// By which all of them are told from other images, where there is something.
    fn fingerprint(&self) -> Option<String> {
        None
    }

    /// Writes the height × width × channels values of image `index`, channels-last, to `pixels` and
    /// returns its label.
    fn load(&self, index: usize, pixels: &mut [f32]) -> Result<u32>;
}

/// Images in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryImages {
    /// N × height × width × channels normalised values, channels-last.
    pub pixels: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Images for MemoryImages {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn load(&self, index: usize, pixels: &mut [f32]) -> Result<u32> {
        let Some(label) = self.labels.get(index) else {
            let count = self.labels.len();
            return Err(Error::usage(format!("there is no image {index}: there are {count}")));
        };
        let elements = self.pixels.len() / self.labels.len();
        if elements != pixels.len() {
            let detail = format!("holds {elements} values, the model takes {}", pixels.len());
            return Err(Error::shape(format!("image {index}"), detail));
        }
        pixels.copy_from_slice(&self.pixels[index * elements..(index + 1) * elements]);
        Ok(*label)
    }
}

/// A source's images under its transform, which must not be random.
impl Images for Source {
    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn name(&self, index: usize) -> String {
        self.dataset.path(index)
    }

    fn fingerprint(&self) -> Option<String> {
        Some(self.dataset.fingerprint())
    }

    fn load(&self, index: usize, pixels: &mut [f32]) -> Result<u32> {
        if matches!(self.transform, Transform::Train(_)) {
            return Err(Error::usage("a campaign takes images without random augmentation"));
        }
        let image = self.dataset.image(index)?;
        // Evaluation draws nothing from the stream.
        self.transform.apply(&image, &mut stream(0, "none").block(0), pixels)?;
        Ok(self.dataset.label(index) as u32)
    }
}

/// The pixels and labels of the images of `list`.
pub(crate) fn load_batch(
    model: &Model,
    images: &dyn Images,
    list: &[usize],
) -> Result<(Vec<f32>, Vec<u32>)> {
    use rayon::prelude::*;
    let elements = model.image_elements();
    let mut pixels = vec![0f32; list.len() * elements];
    let labels: Result<Vec<u32>> = pixels
        .par_chunks_mut(elements)
        .zip(list)
        .map(|(pixels, index)| images.load(*index, pixels))
        .collect();
    Ok((pixels, labels?))
}

/// The pixels and labels of a batch.
type LoadedBatch = (Vec<f32>, Vec<u32>);

/// Has `work` take the images of `list` in batches of `batch`, in order. While it works on one, the next one is loaded:
/// one, and no further. What is wrong with an image is told in its batch's place. A last batch may be in the making when
/// `work` ends early; it is waited for.
///
/// Another thread asks for batches, not a task of rayon's: where the pool has one thread only, a task would wait for it
/// for ever. So images are loaded on the threads of rayon's global pool. A thread of a pool that waited for another one
/// would keep its pool from loading anything: there each batch is loaded when it is asked for. A batch that is the only
/// one is loaded when it is asked for, too. (`data::Batches` is training's: it owns its data set, and draws orders and
/// augmentation.)
pub(crate) fn load_ahead<R>(
    model: &Model,
    images: &dyn Images,
    list: &[usize],
    batch: usize,
    work: impl FnOnce(&mut dyn Iterator<Item = Result<LoadedBatch>>) -> Result<R>,
) -> Result<R> {
    let mut loaded = list.chunks(batch.max(1)).map(move |list| load_batch(model, images, list));
    if list.len() <= batch || rayon::current_thread_index().is_some() {
        return work(&mut loaded);
    }
    std::thread::scope(|scope| {
        // Without room: whoever has loaded a batch hands it over before the next one is begun.
        let (sender, receiver) = sync_channel(0);
        scope.spawn(move || {
            // Nobody takes what `work` doesn't wait for any more.
            loaded.map(|batch| sender.send(batch)).take_while(std::result::Result::is_ok).count()
        });
        work(&mut receiver.into_iter())
    })
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;
    use crate::models::ModelFile;
    use crate::nn::Head;

    /// On all threads of the pool at a time, too, which would wait for ever if they waited for it.
    #[test]
    fn batches_come_in_order_outside_of_a_pool_and_inside() {
        let file = ModelFile::open("resnet_small").unwrap();
        let model = Model::new(&file, Head::Baseline, 5, 8, 0.0).unwrap();
        let list = [3, 0, 4, 1, 2];
        let pixels = vec![0.5; list.len() * model.image_elements()];
        let images = MemoryImages { pixels, labels: vec![0, 1, 2, 3, 4] };
        let take_by = |batch| {
            let all = load_ahead(&model, &images, &list, batch, |batches| {
                batches.map(|batch| Ok(batch?.1)).collect::<Result<Vec<Vec<u32>>>>()
            });
            all.unwrap()
        };
        let take = || take_by(2);
        let expected = vec![vec![3, 0], vec![4, 1], vec![2]];
        assert_eq!(take(), expected);
        assert_eq!(
            [take_by(5), take_by(6)],
            [vec![vec![3, 0, 4, 1, 2]], vec![vec![3, 0, 4, 1, 2]]]
        );
        let threads = rayon::current_num_threads();
        let found: Vec<_> = (0..4 * threads).into_par_iter().map(|_| take()).collect();
        assert!(found.iter().all(|found| *found == expected));
    }
}
