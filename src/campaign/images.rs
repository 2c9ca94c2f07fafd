//! Where a campaign's images come from.

use crate::models::Model;
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

/// The pixels and labels of the images of `list`.
pub(crate) fn load_batch(
    model: &Model,
    images: &dyn Images,
    list: &[usize],
) -> Result<(Vec<f32>, Vec<u32>)> {
    use rayon::prelude::*;
    let elements = model.tape.node(model.image).spec.map.elements();
    let mut pixels = vec![0f32; list.len() * elements];
    let labels: Result<Vec<u32>> = pixels
        .par_chunks_mut(elements)
        .zip(list)
        .map(|(pixels, index)| images.load(*index, pixels))
        .collect();
    Ok((pixels, labels?))
}
