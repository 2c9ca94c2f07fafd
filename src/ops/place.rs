//! The grid of kernels with one thread an element: the host's side of `kernels/place.cuh`.

use crate::tensor::Map;

/// Threads of such a block.
const THREADS: u32 = 256;

/// The block.
pub(crate) const BLOCK: [u32; 3] = [THREADS, 1, 1];

/// The grid for `images` (the capacity) maps: whole blocks for each image.
pub(crate) fn grid(images: usize, map: Map) -> [u32; 3] {
    [images as u32 * (map.elements() as u32).div_ceil(THREADS), 1, 1]
}
