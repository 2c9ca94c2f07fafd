//! What a census knows of layers, image by image.

use std::collections::BTreeMap;

/// The most images that are counted: of more, so many spread evenly. Counting an image of 1000 classes takes a
/// millisecond, and in a text-guided model another forward pass.
pub const MOST_COUNTED: usize = 2048;

/// Mean ΔLoss under the range detector of every single-bit fault in an image's outputs of a layer, counted rather
/// than drawn: no sampling of faults is left in it.
///
/// At place 0 as trained, at place i + 1 with the logits divided by the campaign's temperature number i.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// By layer and place; image and mean, which is NaN where no answer is finite.
    layers: BTreeMap<(usize, usize), Vec<(usize, f64)>>,
}

impl Counted {
    /// Adds a layer of a run at a place.
    pub fn insert(&mut self, layer: usize, place: usize, images: Vec<(usize, f64)>) {
        self.layers.insert((layer, place), images);
    }

    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Everything, by layer and place.
    pub fn iter(&self) -> impl Iterator<Item = ((usize, usize), &[(usize, f64)])> {
        self.layers.iter().map(|(key, images)| (*key, images.as_slice()))
    }

    /// Image and mean of a layer at a place; `None` where it wasn't counted.
    pub fn of(&self, layer: usize, place: usize) -> Option<&[(usize, f64)]> {
        self.layers.get(&(layer, place)).map(Vec::as_slice)
    }

    /// That of some layers alone, which are numbered by their place in `kept`, which is in ascending order.
    pub fn of_layers(&self, kept: &[usize]) -> Counted {
        let kept = self.layers.iter().filter_map(|((layer, place), images)| {
            Some(((kept.binary_search(layer).ok()?, *place), images.clone()))
        });
        Counted { layers: kept.collect() }
    }
}
