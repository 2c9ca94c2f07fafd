//! Tiles of the exact kernels (`kernels/conv2d/conv2d.cu`, `conv2d_quads.cu`), and which of them computes a layer.
//!
//! In exact arithmetic an output's bits don't depend on its tile. So clean kernels, and those with faults at their end,
//! run in the tile that is fastest for the batch ([`ForwardTile::of`]). The reach of a fault inside the loop does depend
//! on it: those kernels, and what is told to users, take the [`Tile`] of the shape.

use super::Conv2d;
use super::symbols::{Symbols, symbols};
use crate::tensor::Map;

/// A tile of the exact kernels (`kernels/gemm/gemm.cuh`): rows × columns of a block, and its kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub rows: usize,
    pub columns: usize,
    pub symbols: Symbols,
}

impl Tile {
    pub const LARGE: Tile = Tile { rows: 128, columns: 128, symbols: symbols!("f32_128x128") };
    pub const MEDIUM: Tile = Tile { rows: 128, columns: 64, symbols: symbols!("f32_128x64") };
    pub const SMALL: Tile = Tile { rows: 64, columns: 64, symbols: symbols!("f32_64x64") };
    pub const NARROW: Tile = Tile { rows: 128, columns: 32, symbols: symbols!("f32_128x32") };

    /// The tile for `columns` channels of a group and `pixels` of an image: as large as leaves little
    /// of it empty, and small where maps are, since there are few blocks then. It follows from the shape
    /// alone, so that the reach of an image's faults doesn't depend on its batch.
    pub const fn of(columns: usize, pixels: usize) -> Tile {
        if columns <= 32 {
            Tile::NARROW
        } else if pixels <= 64 {
            Tile::SMALL
        } else if columns <= 64 || pixels <= 256 {
            Tile::MEDIUM
        } else {
            Tile::LARGE
        }
    }

    /// Threads, of 8 × 8 elements where the tile is wide, else 8 × 4.
    pub const fn block(self) -> [u32; 3] {
        let across = if self.columns >= 128 { 8 } else { 4 };
        [(self.rows / 8 * (self.columns / across)) as u32, 1, 1]
    }

    /// Blocks for a product of `rows` × `columns` a group.
    pub fn grid(self, rows: usize, columns: usize, groups: usize) -> [u32; 3] {
        grid([self.rows, self.columns], rows, columns, groups)
    }
}

fn grid(tile: [usize; 2], rows: usize, columns: usize, groups: usize) -> [u32; 3] {
    [rows.div_ceil(tile[0]), columns.div_ceil(tile[1]), groups].map(|n| n as u32)
}

/// A tile that a whole forward pass may run in, without faults in its loop.
#[derive(Debug, PartialEq)]
pub(super) struct ForwardTile {
    pub rows: usize,
    pub columns: usize,
    pub threads: u32,
    /// Blocks that a multiprocessor of sm_90 holds (`kernels/RESOURCES.md`).
    resident: usize,
    /// Multiply-adds among the instructions of the inner loop, in percent, as `scripts/kernel-sass.py` counts them; in
    /// kernels for any channels with the loads of single floats, which lie off the path that the script counts.
    density: usize,
    /// The clean one, and the one with faults at its end.
    pub kernels: [&'static str; 2],
}

/// The tiles of a kind of layer, of which the first is taken where two are equal. `quads`: all its channels come in fours.
macro_rules! tiles {
    ($([$rows:literal, $columns:literal, $threads:literal, $resident:literal, $density:literal, $name:literal]),+) => {
        [$(ForwardTile {
            rows: $rows,
            columns: $columns,
            threads: $threads,
            resident: $resident,
            density: $density,
            kernels: [
                concat!("conv2d_forward_f32_", $name),
                concat!("conv2d_forward_f32_", $name, "_armed"),
            ],
        }),+]
    };
}

static QUADS: [ForwardTile; 5] = tiles![
    [128, 128, 256, 2, 88, "128x128_quads"],
    [128, 64, 256, 3, 81, "128x64_quads"],
    [64, 64, 128, 5, 81, "64x64_quads"],
    [128, 32, 128, 4, 77, "128x32_quads"],
    [32, 64, 128, 6, 74, "32x64_quads"]
];
static ANY: [ForwardTile; 4] = tiles![
    [128, 128, 256, 1, 64, "128x128"],
    [128, 64, 256, 2, 50, "128x64"],
    [64, 64, 128, 4, 49, "64x64"],
    [128, 32, 128, 4, 36, "128x32"]
];

/// The multiprocessors of an H100 or H200. A constant, so that a layer runs in the same tile on every device.
const MULTIPROCESSORS: usize = 132;

/// What a block costs before and after its loop, in terms.
const TERMS_AROUND: usize = 32;

impl ForwardTile {
    /// Those that can compute `conv` from `images` maps of `input`. Kernels of quads count them in 32 bits.
    pub fn all(conv: &Conv2d, input: Map, images: usize) -> &'static [ForwardTile] {
        let in_fours = |channels: usize| channels.is_multiple_of(4);
        let quads = in_fours(conv.group_inputs()) && in_fours(conv.group_outputs());
        match quads && images * input.elements() / 4 <= u32::MAX as usize {
            true => &QUADS,
            false => &ANY,
        }
    }

    /// The tile for a product of `rows` × `columns` a group, rows over all images that there is room for: that of
    /// the lowest [cost](ForwardTile::cycles) among those of whose columns more than half are filled.
    pub fn of(
        all: &'static [ForwardTile],
        rows: usize,
        columns: usize,
        groups: usize,
        terms: usize,
    ) -> &'static ForwardTile {
        let cycles = |tile: &ForwardTile| tile.cycles(rows, columns, groups, terms);
        let fits = |tile: &&ForwardTile| tile.columns < 2 * columns || tile.columns == 32;
        let least = |best: &'static ForwardTile, tile: &'static ForwardTile| {
            if cycles(tile) < cycles(best) { tile } else { best }
        };
        all.iter().filter(fits).reduce(least).unwrap_or(&all[0])
    }

    /// What a product takes on [`MULTIPROCESSORS`], roughly: the time of the one with the most blocks, which it runs
    /// `resident` at a time.
    fn cycles(&self, rows: usize, columns: usize, groups: usize, terms: usize) -> f64 {
        let blocks =
            self.grid(rows, columns, groups).iter().map(|n| *n as usize).product::<usize>();
        let deepest = blocks.div_ceil(MULTIPROCESSORS);
        let (waves, rest) = (deepest / self.resident, deepest % self.resident);
        let of_term = waves as f64 * self.cycles_of_term(self.resident) + self.cycles_of_term(rest);
        of_term * (terms + TERMS_AROUND) as f64
    }

    /// One term of so many blocks that run side by side. A multiprocessor begins 128 multiply-adds a cycle, if its warps
    /// issued nothing else and always had something to issue: one on each of its four schedulers keeps it busy for two
    /// thirds of the time. A term of a tile brings rows + columns floats, of which 16 come in a cycle.
    fn cycles_of_term(&self, blocks: usize) -> f64 {
        if blocks == 0 {
            return 0.0;
        }
        let warps = (blocks * self.threads as usize / 32) as f64;
        let busy = warps / (warps + 2.0) * self.density as f64 / 100.0;
        let multiply = (self.rows * self.columns) as f64 / 128.0 / busy;
        blocks as f64 * (multiply + (self.rows + self.columns) as f64 / 16.0)
    }

    /// Blocks for a product of `rows` × `columns` a group.
    pub fn grid(&self, rows: usize, columns: usize, groups: usize) -> [u32; 3] {
        grid([self.rows, self.columns], rows, columns, groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tile of a layer of ResNet-50.
    fn tile(images: usize, inputs: usize, side: usize, outputs: usize, kernel: usize) -> String {
        let conv = Conv2d::square(inputs, outputs, kernel, 1, kernel / 2);
        let all = ForwardTile::all(&conv, Map::new(side, side, inputs), images);
        let tile = ForwardTile::of(all, images * side * side, outputs, 1, conv.terms());
        format!("{}x{}", tile.rows, tile.columns)
    }

    #[test]
    fn a_small_batch_takes_small_tiles_and_a_large_one_large_tiles() {
        // Input channels, side of the output, output channels, kernel; tiles of 1, 8 and 64 images.
        let table = [
            ((3, 112, 64, 7), ["128x64", "128x64", "128x64"]),
            ((64, 56, 64, 1), ["32x64", "64x64", "128x64"]),
            ((64, 56, 64, 3), ["32x64", "64x64", "128x64"]),
            ((64, 56, 256, 1), ["32x64", "128x128", "128x128"]),
            ((256, 56, 64, 1), ["32x64", "64x64", "128x64"]),
            ((128, 28, 128, 3), ["32x64", "32x64", "128x128"]),
            ((128, 28, 512, 1), ["32x64", "128x64", "128x128"]),
            ((512, 28, 128, 1), ["32x64", "32x64", "128x128"]),
            ((256, 14, 256, 3), ["32x64", "32x64", "128x64"]),
            ((256, 14, 1024, 1), ["32x64", "32x64", "128x128"]),
            ((1024, 14, 256, 1), ["32x64", "32x64", "128x64"]),
            ((512, 7, 512, 3), ["32x64", "32x64", "64x64"]),
            ((512, 7, 2048, 1), ["32x64", "128x64", "64x64"]),
            ((2048, 7, 512, 1), ["32x64", "32x64", "64x64"]),
            ((2048, 1, 1000, 1), ["32x64", "32x64", "32x64"]),
        ];
        for ((inputs, side, outputs, kernel), expected) in table {
            let chosen = [1, 8, 64].map(|images| tile(images, inputs, side, outputs, kernel));
            assert_eq!(
                chosen, expected,
                "{inputs} -> {outputs} channels, {side} x {side}, {kernel}"
            );
        }
    }
}
