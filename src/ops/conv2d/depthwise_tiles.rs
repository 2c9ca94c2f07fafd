//! The innermost loops of depthwise convolution, for each instruction set.
// Columns and vectors index several arrays at once; counted loops are what unrolls into registers.
#![allow(clippy::needless_range_loop)]

use std::sync::OnceLock;

use crate::cpu::simd::{InstructionSet, Simd, compiled};

/// Where a tap of a row's first column lies, channel 0, and how many floats on the next column's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    pub x: *const f32,
    pub step: usize,
    /// Its number within the kernel.
    pub number: usize,
}

/// A few columns of results by a few vectors of channels.
pub(super) struct ResultBlock<'a> {
    pub taps: &'a [Tap],
    /// Columns between the taps' first and the block's.
    pub skip: usize,
    /// Weights of tap 0 from the block's first channel on; other taps' are `channels` on.
    pub weight: *const f32,
    pub channels: usize,
    pub channel: usize,
    /// The first result, and the floats to the next column's.
    pub y: *mut f32,
    pub y_step: usize,
    /// Channels of the last vector.
    pub last: usize,
    /// Whether the chain goes on from what y holds, or starts at zero.
    pub load: bool,
}

/// Sums over a run of pixels for a few taps and a vector of channels.
pub(super) struct Sums<'a> {
    pub taps: &'a [Tap],
    pub pixels: usize,
    pub channels: usize,
    pub channel: usize,
    /// Channels of the vector.
    pub lanes: usize,
    /// The run's first gradient, at `channel`.
    pub dy: *const f32,
    /// The sums of tap 0, channel 0.
    pub dw: *mut f32,
}

type BlockFn = unsafe fn(&ResultBlock<'_>);
type SumsFn = unsafe fn(&Sums<'_>);

/// Columns of a block at most.
const COLUMNS: usize = 4;
/// Vectors of a block at most.
const VECTORS: usize = 4;
/// Taps summed at once at most.
pub(super) const SUMS: usize = 9;

/// The functions of one instruction set, which the machine has.
pub(super) struct Kernels {
    pub lanes: usize,
    /// Columns of a block that fit the registers.
    pub columns: usize,
    /// By columns − 1 and vectors − 1.
    pub blocks: [[BlockFn; VECTORS]; COLUMNS],
    /// By taps − 1.
    pub sums: [SumsFn; SUMS],
}

/// The blocks of one instruction set, by columns − 1 and vectors − 1.
macro_rules! blocks {
    ($set:expr, $($columns:literal)+) => {
        [$([
            compiled!($set, block::<S, $columns, 1>(of: &ResultBlock<'_>)),
            compiled!($set, block::<S, $columns, 2>(of: &ResultBlock<'_>)),
            compiled!($set, block::<S, $columns, 3>(of: &ResultBlock<'_>)),
            compiled!($set, block::<S, $columns, 4>(of: &ResultBlock<'_>)),
        ]),+]
    };
}

/// The sums of one instruction set, by taps − 1.
macro_rules! sums {
    ($set:expr, $($taps:literal)+) => {
        [$(compiled!($set, sums::<S, $taps>(of: &Sums<'_>))),+]
    };
}

impl Kernels {
    /// Channels of a block at most.
    pub const fn channels(&self) -> usize {
        VECTORS * self.lanes
    }

    /// The functions of an instruction set.
    pub fn of(set: InstructionSet) -> Kernels {
        Kernels {
            lanes: set.lanes(),
            // AVX-512 has twice the registers.
            columns: if matches!(set, InstructionSet::Avx512(_)) { 4 } else { 2 },
            blocks: blocks!(set, 1 2 3 4),
            sums: sums!(set, 1 2 3 4 5 6 7 8 9),
        }
    }
}

/// `V` vectors, the last one of `last` elements.
///
/// # Safety
/// The instruction set of `S` is there; `V` vectors are readable at `from`, of the last one `last` elements.
#[inline(always)]
unsafe fn load<S: Simd, const V: usize>(from: *const f32, last: usize) -> [S::V; V] {
    // SAFETY: the caller's.
    unsafe {
        let mut vectors = [S::zero(); V];
        for v in 0..V - 1 {
            vectors[v] = S::load(from.add(v * S::LANES));
        }
        vectors[V - 1] = load_lanes::<S>(from.add((V - 1) * S::LANES), last);
        vectors
    }
}

/// # Safety
/// The instruction set of `S` is there; `lanes` elements are readable at `from`.
#[inline(always)]
unsafe fn load_lanes<S: Simd>(from: *const f32, lanes: usize) -> S::V {
    // SAFETY: the caller's.
    unsafe { if lanes == S::LANES { S::load(from) } else { S::load_first(from, lanes) } }
}

/// y\[column, c\] = Σ_tap x\[tap of column, c\] · w\[tap, c\].
///
/// # Safety
/// The instruction set of `S` is there, and the pointers are as [`ResultBlock`] says, for `C` columns and `V` vectors.
#[inline(always)]
unsafe fn block<S: Simd, const C: usize, const V: usize>(block: &ResultBlock<'_>) {
    // SAFETY: the caller's.
    unsafe {
        let mut acc = [[S::zero(); V]; C];
        if block.load {
            for c in 0..C {
                acc[c] = load::<S, V>(block.y.add(c * block.y_step), block.last);
            }
        }
        for tap in block.taps {
            let w = load::<S, V>(block.weight.add(tap.number * block.channels), block.last);
            let x = tap.x.add(tap.step * block.skip + block.channel);
            for c in 0..C {
                let x = load::<S, V>(x.add(c * tap.step), block.last);
                for v in 0..V {
                    acc[c][v] = S::fma(x[v], w[v], acc[c][v]);
                }
            }
        }
        for c in 0..C {
            let y = block.y.add(c * block.y_step);
            for v in 0..V - 1 {
                S::store(y.add(v * S::LANES), acc[c][v]);
            }
            S::store_first(y.add((V - 1) * S::LANES), acc[c][V - 1], block.last);
        }
    }
}

/// dw\[tap, c\] += Σ_pixels x\[tap of pixel, c\] · dy\[pixel, c\].
///
/// # Safety
/// The instruction set of `S` is there, and the pointers are as [`Sums`] says, for `T` taps.
#[inline(always)]
unsafe fn sums<S: Simd, const T: usize>(sums: &Sums<'_>) {
    // SAFETY: the caller's.
    unsafe {
        let mut acc = [S::zero(); T];
        let mut x = [std::ptr::null::<f32>(); T];
        for t in 0..T {
            let tap = &sums.taps[t];
            x[t] = tap.x.add(sums.channel);
            let dw = sums.dw.add(tap.number * sums.channels + sums.channel);
            acc[t] = load_lanes::<S>(dw, sums.lanes);
        }
        let mut dy = sums.dy;
        for pixel in 0..sums.pixels {
            let gradient = load_lanes::<S>(dy, sums.lanes);
            for t in 0..T {
                let value = load_lanes::<S>(x[t].add(pixel * sums.taps[t].step), sums.lanes);
                acc[t] = S::fma(value, gradient, acc[t]);
            }
            dy = dy.add(sums.channels);
        }
        for t in 0..T {
            let dw = sums.dw.add(sums.taps[t].number * sums.channels + sums.channel);
            S::store_first(dw, acc[t], sums.lanes);
        }
    }
}

/// The kernels of the best instruction set that this machine has.
pub(super) fn kernels() -> &'static Kernels {
    static KERNELS: OnceLock<Kernels> = OnceLock::new();
    KERNELS.get_or_init(|| Kernels::of(InstructionSet::best()))
}
