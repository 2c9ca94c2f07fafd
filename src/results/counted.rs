//! What a census knows of layers, image by image.

use std::collections::BTreeMap;

/// Mean ΔLoss under the range detector of every single-bit fault in an image's outputs of a layer, counted rather
/// than drawn: no sampling of faults is left in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// By layer; image and mean, which is NaN where no answer is finite.
    layers: BTreeMap<usize, Vec<(usize, f64)>>,
}

impl Counted {
    /// Adds a layer of a run.
    pub fn insert(&mut self, layer: usize, images: Vec<(usize, f64)>) {
        self.layers.insert(layer, images);
    }

    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The layers, in order.
    pub fn layers(&self) -> impl Iterator<Item = (usize, &[(usize, f64)])> {
        self.layers.iter().map(|(layer, images)| (*layer, images.as_slice()))
    }

    /// Image and mean of a layer; `None` where it wasn't counted.
    pub fn of(&self, layer: usize) -> Option<&[(usize, f64)]> {
        self.layers.get(&layer).map(Vec::as_slice)
    }

    /// That of some layers alone, which are numbered by their place in `kept`.
    pub fn of_layers(&self, kept: &[usize]) -> Counted {
        let images = |(place, layer)| Some((place, self.layers.get(layer)?.clone()));
        Counted { layers: kept.iter().enumerate().filter_map(images).collect() }
    }
}
