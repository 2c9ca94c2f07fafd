//! Loops over channels that LLVM turns into vectors: tiles of a fixed length, compiled for the
//! widest instruction set that the machine has.

use super::gemm::for_each_task;
use super::simd::{InstructionSet, compiled};

/// Channels of a tile.
pub(crate) const LANES: usize = 16;

/// A tile of values.
pub(crate) type LaneValues = [f32; LANES];

/// Runs `task`, compiled for AVX2 and FMA where the machine has them. Bits don't change:
/// [`f32::mul_add`] is one rounding everywhere, but a slow library call without the instruction.
///
/// A loop gets the instructions only if it is inlined, and closures are inlined only while they are
/// small: for anything but a short loop, write [`Pieces`].
#[inline(always)]
pub(crate) fn wide<R>(task: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn avx2<R>(task: impl FnOnce() -> R) -> R {
            task()
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the instructions are there.
            return unsafe { avx2(task) };
        }
    }
    task()
}

/// Work in numbered pieces that may run side by side.
///
/// A piece may write by a pointer, so that running one twice at a time, or one that there isn't, is undefined. A struct
/// of such work is therefore private to its file, which makes it for one call of [`for_each_piece`] with the number of
/// its pieces; that alone calls [`Pieces::run`], once a piece. The file vouches for its pointers.
pub(crate) trait Pieces: Sync {
    /// Whether to use AVX-512 where it is there: arithmetic gains (GELU takes 0.6 of the time), loops
    /// that compare and choose lose (max pooling took twice as long).
    const AVX512: bool = false;

    /// Does piece number `piece`. To be `#[inline(always)]`, which compiles it for the instructions
    /// of each of its callers.
    fn run(&self, piece: usize);
}

/// Does all pieces, on every core if `parallel`, compiled as [`wide`] says, or for AVX-512.
pub(crate) fn for_each_piece<W: Pieces>(parallel: bool, count: usize, work: &W) {
    let best = InstructionSet::best();
    let set = if W::AVX512 { best } else { best.without_avx512() };
    let run = compiled!(set, Pieces::run(work: &impl Pieces, piece: usize));
    // SAFETY: the machine has the instruction set, of which there is a value.
    for_each_task(parallel, count, |piece| unsafe { run(work, piece) });
}

/// `values[at..at + lanes]`, the rest of the tile zero.
#[inline(always)]
pub(crate) fn load<T: Copy + Default>(values: &[T], at: usize, lanes: usize) -> [T; LANES] {
    let mut tile = [T::default(); LANES];
    if lanes == LANES {
        tile.copy_from_slice(&values[at..at + LANES]);
    } else {
        for (lane, value) in tile.iter_mut().zip(&values[at..at + lanes]) {
            *lane = *value;
        }
    }
    tile
}

/// Values folded by `f`, halves on halves, always in this order. Their number is a power of two.
#[inline(always)]
pub(crate) fn fold_lanes<const N: usize>(values: &[f32; N], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut values = *values;
    let mut half = N / 2;
    while half > 0 {
        for lane in 0..half {
            values[lane] = f(values[lane], values[lane + half]);
        }
        half /= 2;
    }
    values[0]
}

/// Σ of some sums.
#[inline(always)]
pub(crate) fn total<const N: usize>(sums: &[f32; N]) -> f32 {
    fold_lanes(sums, |a, b| a + b)
}

/// The first `lanes` of `tile` to `to`.
///
/// # Safety
/// `lanes` elements are writable at `to`, and no other thread touches them.
#[inline(always)]
pub(crate) unsafe fn store<T: Copy>(to: *mut T, tile: &[T; LANES], lanes: usize) {
    if lanes == LANES {
        // SAFETY: the caller's.
        unsafe { to.cast::<[T; LANES]>().write_unaligned(*tile) };
    } else {
        for (lane, value) in tile.iter().enumerate().take(lanes) {
            // SAFETY: the caller's.
            unsafe { *to.add(lane) = *value };
        }
    }
}

/// As [`store`], or added to what is there.
///
/// # Safety
/// As [`store`]; the elements are initialised where they are added to.
#[inline(always)]
pub(crate) unsafe fn store_or_add(to: *mut f32, tile: &LaneValues, lanes: usize, add: bool) {
    let mut tile = *tile;
    if add {
        // SAFETY: the caller's.
        let old = load(unsafe { std::slice::from_raw_parts(to, lanes) }, 0, lanes);
        for (new, old) in tile.iter_mut().zip(old) {
            *new += old;
        }
    }
    // SAFETY: the caller's.
    unsafe { store(to, &tile, lanes) };
}
