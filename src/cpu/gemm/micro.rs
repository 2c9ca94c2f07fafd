//! The innermost loops: a tile of a few rows by a few vectors of columns, kept in registers.
// Rows and vectors index several arrays at once; counted loops are what unrolls into registers.
#![allow(clippy::needless_range_loop)]

use std::sync::OnceLock;

use crate::cpu::simd::{InstructionSet, Simd, compiled};

/// Rows of a tile at most.
pub(super) const ROWS: usize = 6;
/// Vectors of columns of a tile at most.
pub(super) const VECTORS: usize = 4;

/// A run of terms: `length` floats of each row's tap, against as many rows of B.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub tap: usize,
    /// First float within the tap.
    pub start: usize,
    pub length: usize,
    /// First row of B.
    pub b_row: usize,
}

/// What a tile reads and writes. For a tile of R rows and V vectors there are R rows of C, initialised where the chain
/// goes on from them, and B and C have the columns of V − 1 whole vectors and `last` of another.
///
/// `pointers[row · taps + tap]` is where a row's tap lies; in [`outer_tile`] rows of this table are
/// pixels. `c[row]` is where a row of the result starts.
pub(super) struct ProductTile<'a> {
    pub segments: &'a [Segment],
    pub pointers: *const *const f32,
    pub taps: usize,
    /// B's rows, `ldb` floats apart. Row `b_row` of a segment, or consecutive rows if `packed`.
    pub b: *const f32,
    pub ldb: usize,
    pub packed: bool,
    pub c: [*mut f32; ROWS],
    /// Columns of the last vector.
    pub last: usize,
    /// Whether the chain goes on from what C holds, or starts at zero.
    pub load: bool,
}

type TileFn = unsafe fn(&ProductTile<'_>);

/// The tile functions of one instruction set, by rows − 1 and vectors − 1.
pub(super) struct ProductKernels {
    pub lanes: usize,
    /// Vectors of columns that fit the registers.
    pub vectors: usize,
    pub gather: [[TileFn; VECTORS]; ROWS],
    pub outer: [[TileFn; VECTORS]; ROWS],
}

/// # Safety
/// The instruction set of `S` is there, and the tile's pointers are as [`ProductTile`] says, for `R` rows and `V` vectors.
#[inline(always)]
unsafe fn load_c<S: Simd, const R: usize, const V: usize>(
    tile: &ProductTile<'_>,
) -> [[S::V; V]; R] {
    // SAFETY: the caller's.
    unsafe {
        let mut acc = [[S::zero(); V]; R];
        if tile.load {
            for r in 0..R {
                for v in 0..V - 1 {
                    acc[r][v] = S::load(tile.c[r].add(v * S::LANES));
                }
                acc[r][V - 1] = S::load_first(tile.c[r].add((V - 1) * S::LANES), tile.last);
            }
        }
        acc
    }
}

/// # Safety
/// The instruction set of `S` is there, and the tile's pointers are as [`ProductTile`] says, for `R` rows and `V` vectors.
#[inline(always)]
unsafe fn store_c<S: Simd, const R: usize, const V: usize>(
    tile: &ProductTile<'_>,
    acc: [[S::V; V]; R],
) {
    // SAFETY: the caller's.
    unsafe {
        for r in 0..R {
            for v in 0..V - 1 {
                S::store(tile.c[r].add(v * S::LANES), acc[r][v]);
            }
            S::store_first(tile.c[r].add((V - 1) * S::LANES), acc[r][V - 1], tile.last);
        }
    }
}

/// # Safety
/// The instruction set of `S` is there; `V` vectors are readable at `b`, of the last one `last` elements.
#[inline(always)]
unsafe fn load_b<S: Simd, const V: usize>(b: *const f32, last: usize) -> [S::V; V] {
    // SAFETY: the caller's.
    unsafe {
        let mut row = [S::zero(); V];
        for (v, vector) in row.iter_mut().enumerate().take(V - 1) {
            *vector = S::load(b.add(v * S::LANES));
        }
        row[V - 1] = if last == S::LANES {
            S::load(b.add((V - 1) * S::LANES))
        } else {
            S::load_first(b.add((V - 1) * S::LANES), last)
        };
        row
    }
}

/// Σ over the segments of a\[row\]\[j\] · B\[j\]\[..\].
///
/// # Safety
/// The instruction set of `S` is there, and the tile's pointers are as [`ProductTile`] says, for `R` rows and `V` vectors.
#[inline(always)]
unsafe fn gather_tile<S: Simd, const R: usize, const V: usize>(tile: &ProductTile<'_>) {
    // SAFETY: the caller's.
    unsafe {
        let mut acc = load_c::<S, R, V>(tile);
        let mut packed_b = tile.b;
        for segment in tile.segments {
            let table = tile.pointers.add(segment.tap);
            let mut a = [std::ptr::null::<f32>(); R];
            for (r, pointer) in a.iter_mut().enumerate() {
                *pointer = (*table.add(r * tile.taps)).add(segment.start);
            }
            let mut b = if tile.packed { packed_b } else { tile.b.add(segment.b_row * tile.ldb) };
            for j in 0..segment.length {
                let row = load_b::<S, V>(b, tile.last);
                for r in 0..R {
                    let value = S::splat(*a[r].add(j));
                    for v in 0..V {
                        acc[r][v] = S::fma(value, row[v], acc[r][v]);
                    }
                }
                b = b.add(tile.ldb);
            }
            packed_b = b;
        }
        store_c::<S, R, V>(tile, acc);
    }
}

/// Σ over the pixels of the one segment of a\[pixel\]\[start + row\] · B\[pixel\]\[..\].
///
/// # Safety
/// The instruction set of `S` is there, and the tile's pointers are as [`ProductTile`] says, for `R` rows and `V` vectors.
#[inline(always)]
unsafe fn outer_tile<S: Simd, const R: usize, const V: usize>(tile: &ProductTile<'_>) {
    // SAFETY: the caller's.
    unsafe {
        let mut acc = load_c::<S, R, V>(tile);
        for segment in tile.segments {
            let table = tile.pointers.add(segment.tap);
            let mut b = tile.b;
            for pixel in 0..segment.length {
                let a = (*table.add(pixel * tile.taps)).add(segment.start);
                let row = load_b::<S, V>(b, tile.last);
                for r in 0..R {
                    let value = S::splat(*a.add(r));
                    for v in 0..V {
                        acc[r][v] = S::fma(value, row[v], acc[r][v]);
                    }
                }
                b = b.add(tile.ldb);
            }
        }
        store_c::<S, R, V>(tile, acc);
    }
}

/// The tiles of one instruction set, by rows − 1 and vectors − 1.
macro_rules! tiles {
    ($set:expr, $function:ident, $($rows:literal)+) => {
        [$([
            compiled!($set, $function::<S, $rows, 1>(tile: &ProductTile<'_>)),
            compiled!($set, $function::<S, $rows, 2>(tile: &ProductTile<'_>)),
            compiled!($set, $function::<S, $rows, 3>(tile: &ProductTile<'_>)),
            compiled!($set, $function::<S, $rows, 4>(tile: &ProductTile<'_>)),
        ]),+]
    };
}

impl ProductKernels {
    /// Columns of a tile that fit the registers.
    pub const fn panel(&self) -> usize {
        self.vectors * self.lanes
    }

    /// The kernels of an instruction set.
    pub fn of(set: InstructionSet) -> ProductKernels {
        ProductKernels {
            lanes: set.lanes(),
            // AVX-512 has twice the registers.
            vectors: if matches!(set, InstructionSet::Avx512(_)) { 4 } else { 2 },
            gather: tiles!(set, gather_tile, 1 2 3 4 5 6),
            outer: tiles!(set, outer_tile, 1 2 3 4 5 6),
        }
    }
}

/// The kernels of the best instruction set that this machine has.
pub(super) fn kernels() -> &'static ProductKernels {
    static KERNELS: OnceLock<ProductKernels> = OnceLock::new();
    KERNELS.get_or_init(|| ProductKernels::of(InstructionSet::best()))
}
