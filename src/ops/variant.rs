//! Which kernel computes a layer, and which outputs share a copy of a value in it: how far an error inside spreads.

use super::GemmView;
use crate::number::Format;

/// How the rows (or columns) of a tile are dealt out to those who compute them: threads, or the warps
/// that reuse a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// Rows of a block's tile.
    pub tile: usize,
    /// Row r of a tile belongs to owner (r % period) / run.
    pub period: usize,
    pub run: usize,
}

impl Sharing {
    /// Every row its own.
    pub const ALONE: Sharing = Sharing { tile: 1, period: 1, run: 1 };

    /// Whether two rows lie in one tile.
    pub const fn same_tile(&self, a: usize, b: usize) -> bool {
        a / self.tile == b / self.tile
    }

    /// Whether two rows are computed by one owner, from one copy.
    pub const fn same_owner(&self, a: usize, b: usize) -> bool {
        self.same_tile(a, b)
            && a % self.tile % self.period / self.run == b % self.tile % self.period / self.run
    }
}

/// The kernel of a layer.
///
/// Rows count from the image's first (m of the GEMM view), columns from the group's first: the sets
/// are the same in every batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelVariant {
    /// Its clean symbol.
    pub symbol: &'static str,
    pub rows: Sharing,
    pub columns: Sharing,
    /// Terms that one instruction adds: the accumulator's k rounds up to multiples of it.
    pub step: usize,
    /// Format of operands, in registers and shared memory.
    pub operands: Format,
    /// Columns of a group.
    pub group_columns: usize,
}

impl KernelVariant {
    /// The format of the operands of the kernel of this name, or of a name that ends with its symbol: a part of
    /// it names the format, where it isn't f32.
    pub fn operands_of(name: &str) -> Format {
        let symbol = name.rsplit(' ').next().unwrap_or_default();
        symbol.split('_').find_map(|part| part.parse().ok()).unwrap_or_default()
    }

    /// Whether columns (channels) lie in one tile of one group.
    pub const fn same_column_tile(&self, a: usize, b: usize) -> bool {
        let group = self.group_columns;
        a / group == b / group && self.columns.same_tile(a % group, b % group)
    }

    /// The rows and columns of the tile of (m, n) that `view` has.
    pub fn tile_of(&self, view: GemmView, m: usize, n: usize) -> (Vec<usize>, Vec<usize>) {
        let rows = (0..view.m).filter(|row| self.rows.same_tile(m, *row)).collect();
        let columns = (0..view.n).filter(|column| self.same_column_tile(n, *column)).collect();
        (rows, columns)
    }
}
