//! Vectors of f32 of one instruction set, for loops that must live in registers, and the one way to compile a loop for
//! each set: [`compiled!`].

/// The vector extensions that loops are written for, the best one last. There is no value of a set that this machine
/// lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(crate) enum InstructionSet {
    Portable,
    /// AVX2 and FMA.
    Avx2(Detected),
    /// AVX-512 F, VL, DQ and BW, which processors have together (but Xeon Phi), besides AVX2 and FMA.
    Avx512(Detected),
}

/// Only [`InstructionSet::best`] makes one, of a set that it has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(crate) struct Detected(());

impl InstructionSet {
    /// All that this machine has, the best one last.
    #[cfg(test)]
    pub fn available() -> Vec<InstructionSet> {
        let mut all =
            vec![InstructionSet::Portable, Self::best().without_avx512(), InstructionSet::best()];
        all.dedup();
        all
    }

    /// The best that this machine has.
    pub fn best() -> InstructionSet {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            let has_avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw");
            let found = Detected(());
            return if has_avx512 { Self::Avx512(found) } else { Self::Avx2(found) };
        }
        InstructionSet::Portable
    }

    /// AVX2 and FMA instead of AVX-512.
    pub const fn without_avx512(self) -> InstructionSet {
        match self {
            InstructionSet::Avx512(found) => InstructionSet::Avx2(found),
            set => set,
        }
    }

    /// `avx512`, `avx2` or `portable`.
    pub const fn name(self) -> &'static str {
        match self {
            InstructionSet::Portable => "portable",
            InstructionSet::Avx2(_) => "avx2",
            InstructionSet::Avx512(_) => "avx512",
        }
    }

    /// Elements of a vector.
    pub const fn lanes(self) -> usize {
        match self {
            InstructionSet::Portable => 4,
            InstructionSet::Avx2(_) => 8,
            InstructionSet::Avx512(_) => 16,
        }
    }
}

/// A function compiled for an [`InstructionSet`], as a pointer.
///
/// `compiled!(set, sums::<S, 6, 4>(tile: &Tile<'_>))` is `sums::<Avx512, 6, 4>` for [`InstructionSet::Avx512`]: the
/// letter `S` stands for the set's [`Simd`]. A method such as `Epilogue::run(of: &Epilogue<'_>)` is named without it:
/// the compiler vectorises its loops. The pointer may be called as the function may: the machine has the instruction
/// set, since there is a value of it.
///
/// The function must be `#[inline(always)]`, and so must be what it calls in its loops: only code that is inlined is
/// compiled for the set. Elsewhere `mul_add` is a call of the mathematical library. Closures aren't inlined when they
/// are large, so a function is what is taken here.
macro_rules! compiled {
    ($set:expr, $body:ident::<S $(, $generic:literal)*>$arguments:tt $(-> $output:ty)?) => {
        $crate::cpu::simd::compiled!(
            @ $set, $arguments $(-> $output)?,
            Portable: $body::<$crate::cpu::simd::Portable $(, $generic)*>,
            Avx2: $body::<$crate::cpu::simd::Avx2 $(, $generic)*>,
            Avx512: $body::<$crate::cpu::simd::Avx512 $(, $generic)*>
        )
    };
    ($set:expr, $of:ident::$method:ident $arguments:tt $(-> $output:ty)?) => {
        $crate::cpu::simd::compiled!(
            @ $set, $arguments $(-> $output)?,
            Portable: $of::$method, Avx2: $of::$method, Avx512: $of::$method
        )
    };
    (
        @ $set:expr, ($($name:ident: $type:ty),*) $(-> $output:ty)?,
        Portable: $portable:expr, Avx2: $avx2:expr, Avx512: $avx512:expr
    ) => {
        match $set {
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::simd::InstructionSet::Avx512(_) => {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw")]
                /// # Safety
                /// The machine has AVX-512, and as the function itself.
                #[allow(unused_unsafe)]
                unsafe fn avx512($($name: $type),*) $(-> $output)? {
                    // SAFETY: the caller's.
                    unsafe { $avx512($($name),*) }
                }
                avx512
            }
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::simd::InstructionSet::Avx2(_) => {
                #[target_feature(enable = "avx2,fma")]
                /// # Safety
                /// The machine has AVX2 and FMA, and as the function itself.
                #[allow(unused_unsafe)]
                unsafe fn avx2($($name: $type),*) $(-> $output)? {
                    // SAFETY: the caller's.
                    unsafe { $avx2($($name),*) }
                }
                avx2
            }
            _ => {
                /// # Safety
                /// As the function itself.
                #[allow(unused_unsafe)]
                unsafe fn portable($($name: $type),*) $(-> $output)? {
                    // SAFETY: the caller's.
                    unsafe { $portable($($name),*) }
                }
                portable
            }
        }
    };
}

pub(crate) use compiled;

/// Asks for the cache line at `at`, which may be anywhere.
#[inline(always)]
pub(crate) fn prefetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; it reads nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Vector operations.
pub(crate) trait Simd: Copy {
    type V: Copy;
    /// Elements of a vector.
    const LANES: usize;

    /// # Safety
    /// The machine has the instruction set, as for every other function.
    unsafe fn zero() -> Self::V;
    /// # Safety
    /// As [`Simd::zero`].
    unsafe fn splat(value: f32) -> Self::V;
    /// # Safety
    /// `LANES` floats are readable at `from`.
    unsafe fn load(from: *const f32) -> Self::V;
    /// The first `count` elements; the others are zero.
    /// # Safety
    /// `count` ≤ `LANES` floats are readable at `from`.
    unsafe fn load_first(from: *const f32, count: usize) -> Self::V;
    /// # Safety
    /// `LANES` floats are writable at `to`.
    unsafe fn store(to: *mut f32, value: Self::V);
    /// # Safety
    /// `count` ≤ `LANES` floats are writable at `to`.
    unsafe fn store_first(to: *mut f32, value: Self::V, count: usize);
    /// a · b + c, rounded once.
    /// # Safety
    /// As [`Simd::zero`].
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
}

/// An instruction set: its vectors, and each operation on them.
macro_rules! simd {
    ($(#[$about:meta])* $set:ident: $vector:ty, $lanes:literal;
     $($name:ident($($arg:ident: $of:ty),*) $(-> $out:ty)? = $value:expr;)*) => {
        $(#[$about])*
        #[derive(Clone, Copy)]
        pub(crate) struct $set;

        impl Simd for $set {
            type V = $vector;
            const LANES: usize = $lanes;

            $(
                #[inline(always)]
                unsafe fn $name($($arg: $of),*) $(-> $out)? {
                    // SAFETY: the instructions are there, and so is what is read and written: the caller's.
                    #[allow(unused_unsafe)]
                    unsafe { $value }
                }
            )*
        }
    };
}

simd! {
    /// Plain Rust; fast where the target has vectors and a fused multiply-add by default (aarch64).
    Portable: [f32; 4], 4;
    zero() -> [f32; 4] = [0.0; 4];
    splat(value: f32) -> [f32; 4] = [value; 4];
    load(from: *const f32) -> [f32; 4] = from.cast::<[f32; 4]>().read_unaligned();
    load_first(from: *const f32, count: usize) -> [f32; 4] =
        std::array::from_fn(|i| if i < count { *from.add(i) } else { 0.0 });
    store(to: *mut f32, value: [f32; 4]) = to.cast::<[f32; 4]>().write_unaligned(value);
    store_first(to: *mut f32, value: [f32; 4], count: usize) =
        value.iter().enumerate().take(count).for_each(|(i, v)| *to.add(i) = *v);
    fma(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] =
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]));
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    #[inline(always)]
    fn mask16(count: usize) -> u16 {
        ((1u32 << count) - 1) as u16
    }

    simd! {
        Avx512: __m512, 16;
        zero() -> __m512 = _mm512_setzero_ps();
        splat(value: f32) -> __m512 = _mm512_set1_ps(value);
        load(from: *const f32) -> __m512 = _mm512_loadu_ps(from);
        load_first(from: *const f32, count: usize) -> __m512 =
            _mm512_maskz_loadu_ps(mask16(count), from);
        store(to: *mut f32, value: __m512) = _mm512_storeu_ps(to, value);
        store_first(to: *mut f32, value: __m512, count: usize) =
            _mm512_mask_storeu_ps(to, mask16(count), value);
        fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
    }

    /// # Safety
    /// AVX2 is there.
    #[inline(always)]
    unsafe fn mask8(count: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lane)
        }
    }

    simd! {
        Avx2: __m256, 8;
        zero() -> __m256 = _mm256_setzero_ps();
        splat(value: f32) -> __m256 = _mm256_set1_ps(value);
        load(from: *const f32) -> __m256 = _mm256_loadu_ps(from);
        load_first(from: *const f32, count: usize) -> __m256 =
            _mm256_maskload_ps(from, mask8(count));
        store(to: *mut f32, value: __m256) = _mm256_storeu_ps(to, value);
        store_first(to: *mut f32, value: __m256, count: usize) =
            _mm256_maskstore_ps(to, mask8(count), value);
        fma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
    }
}
