//! Blocks of kernels that treat every element alike: the host's side of `kernels/common/place.cuh` (one
//! thread an element), `kernels/common/elementwise.cuh` (four elements), `kernels/common/channels.cuh` (four channels
//! of a pixel), `kernels/common/wide.cuh` (the lanes of a pixel) and `kernels/common/rows.cuh` (a warp a pixel).

use crate::device::LaunchConfig;
use crate::tensor::{Map, Tensor};

/// Threads of such a block.
const THREADS: u32 = 256;

/// The block.
pub(crate) const BLOCK: [u32; 3] = [THREADS, 1, 1];

/// For `images` (the capacity) maps, whole blocks for each image.
pub(crate) fn grid(images: usize, map: Map) -> LaunchConfig {
    ([images as u32 * (map.elements() as u32).div_ceil(THREADS), 1, 1], BLOCK)
}

/// For `count` elements, four a thread.
pub(crate) fn quad_grid(count: usize) -> LaunchConfig {
    ([count.div_ceil(4 * THREADS as usize) as u32, 1, 1], BLOCK)
}

/// For every element of a batch, the capacity's, four a thread.
pub(crate) fn quads(batch: Tensor) -> LaunchConfig {
    quad_grid(batch.images * batch.map().elements())
}

/// For every pixel of a batch, the capacity's, four channels a thread.
pub(crate) fn channel_quads(batch: Tensor) -> LaunchConfig {
    let map = batch.map();
    channel_quad_grid(batch.images, map.pixels(), map.channels)
}

/// For `images` maps of so many pixels and channels, four channels a thread.
pub(crate) fn channel_quad_grid(images: usize, pixels: usize, channels: usize) -> LaunchConfig {
    grid(images, Map::vector(pixels * channels.div_ceil(4)))
}

/// Threads of a pixel whose sums are taken in tiles.
pub(crate) const TILE_LANES: usize = 16;

/// For every pixel of a batch, the capacity's, `lanes` threads a pixel.
pub(crate) fn pixels(batch: Tensor, lanes: usize) -> LaunchConfig {
    let pixels = batch.images * batch.map().pixels();
    ([pixels.div_ceil(THREADS as usize / lanes) as u32, 1, 1], BLOCK)
}

/// Warps of a block whose rows pass through shared memory.
const ROW_WARPS: usize = 4;

/// Whether the kernels of `kernels/common/rows.cuh` take rows of so many channels; fewer would leave most of a warp idle.
pub(crate) fn are_rows(channels: usize) -> bool {
    (64..=1024).contains(&channels) && channels.is_multiple_of(4)
}

/// For every pixel of a batch, the capacity's, a warp a pixel, in blocks of four.
pub(crate) fn rows(batch: Tensor) -> LaunchConfig {
    let blocks = (batch.images * batch.map().pixels()).div_ceil(ROW_WARPS);
    ([blocks as u32, 1, 1], [32 * ROW_WARPS as u32, 1, 1])
}
