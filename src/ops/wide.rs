//! Loops over channels that LLVM turns into vectors: tiles of a fixed length, compiled for the
//! widest instruction set that the machine has.

use super::gemm::for_each_task;

/// Channels of a tile.
pub(crate) const LANES: usize = 16;

/// A tile of values.
pub(crate) type Tile = [f32; LANES];

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
pub(crate) trait Pieces: Sync {
    /// Does piece number `piece`. To be `#[inline(always)]`, which compiles it for the instructions
    /// of each of its callers.
    fn run(&self, piece: usize);
}

/// Does all pieces, on every core if `parallel`, compiled for AVX-512 (a tile is a register), or as
/// [`wide`] says.
pub(crate) fn for_each_piece(parallel: bool, count: usize, work: &impl Pieces) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn avx2(work: &impl Pieces, piece: usize) {
            work.run(piece);
        }
        #[target_feature(enable = "avx512f,avx512vl,avx512dq")]
        fn avx512(work: &impl Pieces, piece: usize) {
            work.run(piece);
        }
        let has_avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq");
        if has_avx512 {
            // SAFETY: the instructions are there.
            for_each_task(parallel, count, |piece| unsafe { avx512(work, piece) });
            return;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the instructions are there.
            for_each_task(parallel, count, |piece| unsafe { avx2(work, piece) });
            return;
        }
    }
    for_each_task(parallel, count, |piece| work.run(piece));
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
pub(crate) unsafe fn store_or_add(to: *mut f32, tile: &Tile, lanes: usize, add: bool) {
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
