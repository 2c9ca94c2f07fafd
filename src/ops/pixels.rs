//! Passes of the host that write a box of a map pixel by pixel.

use super::ForwardPass;
use crate::cpu::gemm::SendPtr;
use crate::cpu::wide::{Pieces, for_each_piece};
use crate::tensor::{Map, Region};

/// What becomes of a pixel. Short closures are; longer ones are structs, of which `of` is `#[inline(always)]` (see
/// [`Pieces::run`]).
pub(crate) trait EachPixel: Sync {
    /// As [`Pieces::AVX512`].
    const AVX512: bool = false;

    /// Writes `y`, those of the pixel's channels that are in the box.
    fn of(&self, image: usize, row: usize, column: usize, y: &mut [f32]);
}

impl<F: Fn(usize, usize, usize, &mut [f32]) + Sync> EachPixel for F {
    #[inline(always)]
    fn of(&self, image: usize, row: usize, column: usize, y: &mut [f32]) {
        self(image, row, column, y);
    }
}

struct PixelRows<'a, W> {
    map: Map,
    region: Region,
    y: SendPtr<f32>,
    work: &'a W,
}

impl<W: EachPixel> Pieces for PixelRows<'_, W> {
    const AVX512: bool = W::AVX512;

    #[inline(always)]
    fn run(&self, piece: usize) {
        let PixelRows { map, region, .. } = self;
        let (image, row) = region.row(piece);
        for column in region.columns.range() {
            let at = image * map.elements() + map.index(row, column, region.channels.start);
            // SAFETY: this pixel's channels of the box, which `write` has found to lie within y; no other piece has
            // this row.
            let y = unsafe {
                std::slice::from_raw_parts_mut(self.y.get().add(at), region.channels.len())
            };
            self.work.of(image, row, column, y);
        }
    }
}

/// Refuses a `region` that isn't within the map, or of images that `y` hasn't.
pub(crate) fn require_box(y: &[f32], map: Map, region: Region) {
    let within = region.rows.end <= map.height
        && region.columns.end <= map.width
        && region.channels.end <= map.channels;
    let elements = region.images.end.checked_mul(map.elements());
    let fits = within && elements.is_some_and(|count| count <= y.len());
    assert!(region.is_empty() || fits, "a box leaves its map");
}

/// Does the pixels of `region` of the maps in `y`, rows side by side on all cores if `parallel`.
///
/// # Panics
/// Where the region isn't within the map, or y hasn't as many images.
pub(crate) fn write(
    y: &mut [f32],
    map: Map,
    region: Region,
    parallel: bool,
    work: &impl EachPixel,
) {
    if region.is_empty() {
        return;
    }
    require_box(y, map, region);
    let rows = PixelRows { map, region, y: SendPtr(y.as_mut_ptr()), work };
    for_each_piece(parallel, region.row_count(), &rows);
}

/// Does the pixels of the box that a pass computes of its output `y`.
pub(crate) fn forward(pass: &ForwardPass<'_>, y: &mut [f32], work: &impl EachPixel) {
    write(y, pass.output_map(), pass.region, pass.parallel, work);
}
