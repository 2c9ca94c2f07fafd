// The CUDA C++ names that kernels use, for the C++ compiler.
//
// No standard header is included here, and all of this stands inside an unnamed namespace (build.rs
// writes it around the kernel file): a file is compiled once for any machine and once with AVX2 and
// FMA, and no inline function of one may stand in for the other's.
#pragma once

#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ _Pragma("GCC error \"shared memory is the Shared struct of KERNEL\"")

#define threadIdx (emulator::lane->thread)
#define blockIdx (emulator::block->index)
#define blockDim (emulator::block->threads)
#define gridDim (emulator::block->grid)

#ifndef INFINITY
#define INFINITY (__builtin_inff())
#endif
#ifndef NAN
#define NAN (__builtin_nanf(""))
#endif

// ---- vectors ----

#define FLIPSIDE_VECTORS(T, name, align2, align4)                                                  \
    struct __attribute__((aligned(align2))) name##2 { T x, y; };                                   \
    struct __attribute__((aligned(align4))) name##4 { T x, y, z, w; };                             \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                     \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
FLIPSIDE_VECTORS(f32, float, 8, 16)
FLIPSIDE_VECTORS(u32, uint, 8, 16)
#undef FLIPSIDE_VECTORS

// ---- bits ----

template <class To, class From> __forceinline__ To bits_as(From value) {
    static_assert(sizeof(To) == sizeof(From), "a reinterpretation keeps the size");
    To out;
    __builtin_memcpy(&out, &value, sizeof out);
    return out;
}
__forceinline__ u32 __float_as_uint(f32 x) { return bits_as<u32>(x); }
__forceinline__ f32 __uint_as_float(u32 x) { return bits_as<f32>(x); }

__forceinline__ int __popc(u32 x) { return __builtin_popcount(x); }
__forceinline__ u32 __umulhi(u32 a, u32 b) { return u32((u64(a) * b) >> 32); }

// ---- arithmetic ----

__forceinline__ f32 sqrtf(f32 x) { return __builtin_sqrtf(x); }
__forceinline__ f64 sqrt(f64 x) { return __builtin_sqrt(x); }
__forceinline__ f32 fabsf(f32 x) { return __builtin_fabsf(x); }
__forceinline__ f64 exp(f64 x) { return __builtin_exp(x); }
__forceinline__ f64 fabs(f64 x) { return __builtin_fabs(x); }
__forceinline__ f64 log(f64 x) { return __builtin_log(x); }
__forceinline__ f64 log1p(f64 x) { return __builtin_log1p(x); }
__forceinline__ f64 fmin(f64 x, f64 y) { return __builtin_fmin(x, y); }
__forceinline__ f64 fmax(f64 x, f64 y) { return __builtin_fmax(x, y); }
__forceinline__ f32 fmaf(f32 a, f32 b, f32 c) { return __builtin_fmaf(a, b, c); }
__forceinline__ f64 fma(f64 a, f64 b, f64 c) { return __builtin_fma(a, b, c); }
__forceinline__ bool isnan(f32 x) { return x != x; }
__forceinline__ bool isfinite(f32 x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

#define FLIPSIDE_MIN(T)                                                                            \
    __forceinline__ T min(T a, T b) { return b < a ? b : a; }
FLIPSIDE_MIN(i32) FLIPSIDE_MIN(u32) FLIPSIDE_MIN(u64)
#undef FLIPSIDE_MIN

// ---- atomics, on integers only: the order of float additions would show in the bits ----

inline u32 atomicOr(u32* address, u32 value) {
    return __atomic_fetch_or(address, value, __ATOMIC_RELAXED);
}

// ---- waiting for others ----

#define FLIPSIDE_CALLER const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(FLIPSIDE_CALLER) {
    emulator::meet_block(false, {"__syncthreads", file, line});
}
inline int __syncthreads_count(int predicate, FLIPSIDE_CALLER) {
    return int(emulator::meet_block(predicate != 0, {"__syncthreads_count", file, line}));
}
inline int __syncthreads_or(int predicate, FLIPSIDE_CALLER) {
    return emulator::meet_block(predicate != 0, {"__syncthreads_or", file, line}) != 0;
}
inline void __syncwarp(u32 mask = 0xffffffffu, FLIPSIDE_CALLER) {
    emulator::leave(emulator::meet_warp(mask, nullptr, 0, {"__syncwarp", file, line}));
}

// The value that lane `source` posted; all bits set where that lane did not take part, so that a
// kernel that uses it (CUDA says "undefined") computes NaN.
template <class T>
inline T exchange(u32 mask, T value, u32 source, int width, const emulator::Place& place) {
    static_assert(sizeof(T) <= 64, "a lane posts at most 64 bytes");
    if (width <= 0 || width > 32 || (width & (width - 1)) != 0)
        emulator::fail(place, "the width of a shuffle is 1, 2, 4, 8, 16 or 32");
    emulator::Meeting* meeting = emulator::meet_warp(mask, &value, sizeof value, place);
    T out;
    __builtin_memset(&out, 0xff, sizeof out);
    if (meeting->arrived >> source & 1u)
        __builtin_memcpy(&out, meeting->posts[source], sizeof out);
    emulator::leave(meeting);
    return out;
}
template <class T>
inline T __shfl_sync(u32 mask, T value, int source, int width = 32, FLIPSIDE_CALLER) {
    u32 low = u32(width) - 1, self = emulator::lane_id();
    return exchange(mask, value, ((self & ~low) | (u32(source) & low)) & 31, width,
                    {"__shfl_sync", file, line});
}
template <class T>
inline T __shfl_up_sync(u32 mask, T value, u32 delta, int width = 32, FLIPSIDE_CALLER) {
    u32 low = u32(width) - 1, self = emulator::lane_id();
    return exchange(mask, value, (self & low) >= delta ? self - delta : self, width,
                    {"__shfl_up_sync", file, line});
}
template <class T>
inline T __shfl_down_sync(u32 mask, T value, u32 delta, int width = 32, FLIPSIDE_CALLER) {
    u32 low = u32(width) - 1, self = emulator::lane_id();
    return exchange(mask, value, u64(self & low) + delta <= low ? self + delta : self, width,
                    {"__shfl_down_sync", file, line});
}
template <class T>
inline T __shfl_xor_sync(u32 mask, T value, int lanes, int width = 32, FLIPSIDE_CALLER) {
    u32 self = emulator::lane_id(), other = self ^ u32(lanes);
    return exchange(mask, value, other <= (self | (u32(width) - 1)) ? other : self, width,
                    {"__shfl_xor_sync", file, line});
}
inline u32 vote(u32 mask, int predicate, const emulator::Place& place) {
    u8 mine = predicate != 0;
    emulator::Meeting* meeting = emulator::meet_warp(mask, &mine, 1, place);
    u32 out = 0;
    for (u32 i = 0; i < 32; ++i)
        if (meeting->arrived >> i & 1u) out |= u32(meeting->posts[i][0]) << i;
    emulator::leave(meeting);
    return out;
}
inline u32 __ballot_sync(u32 mask, int predicate, FLIPSIDE_CALLER) {
    return vote(mask, predicate, {"__ballot_sync", file, line});
}
inline int __any_sync(u32 mask, int predicate, FLIPSIDE_CALLER) {
    return vote(mask, predicate, {"__any_sync", file, line}) != 0;
}
inline int __all_sync(u32 mask, int predicate, FLIPSIDE_CALLER) {
    return vote(mask, predicate == 0, {"__all_sync", file, line}) == 0;
}
