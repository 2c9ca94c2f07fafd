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

constexpr int warpSize = 32;

// ---- vectors ----

#define FLIPSIDE_VECTORS(T, name, align2, align4)                                                  \
    struct __attribute__((aligned(align2))) name##2 { T x, y; };                                   \
    struct name##3 { T x, y, z; };                                                                 \
    struct __attribute__((aligned(align4))) name##4 { T x, y, z, w; };                             \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                     \
    inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                             \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
FLIPSIDE_VECTORS(f32, float, 8, 16)
FLIPSIDE_VECTORS(i32, int, 8, 16)
FLIPSIDE_VECTORS(u32, uint, 8, 16)
FLIPSIDE_VECTORS(u16, ushort, 4, 8)
FLIPSIDE_VECTORS(u8, uchar, 2, 4)
#undef FLIPSIDE_VECTORS
struct __attribute__((aligned(16))) double2 { f64 x, y; };
inline double2 make_double2(f64 x, f64 y) { return {x, y}; }

// ---- bits ----

template <class To, class From> __forceinline__ To bits_as(From value) {
    static_assert(sizeof(To) == sizeof(From), "a reinterpretation keeps the size");
    To out;
    __builtin_memcpy(&out, &value, sizeof out);
    return out;
}
__forceinline__ u32 __float_as_uint(f32 x) { return bits_as<u32>(x); }
__forceinline__ i32 __float_as_int(f32 x) { return bits_as<i32>(x); }
__forceinline__ f32 __uint_as_float(u32 x) { return bits_as<f32>(x); }
__forceinline__ f32 __int_as_float(i32 x) { return bits_as<f32>(x); }
__forceinline__ i64 __double_as_longlong(f64 x) { return bits_as<i64>(x); }
__forceinline__ f64 __longlong_as_double(i64 x) { return bits_as<f64>(x); }

__forceinline__ int __popc(u32 x) { return __builtin_popcount(x); }
__forceinline__ int __popcll(u64 x) { return __builtin_popcountll(x); }
__forceinline__ int __clz(u32 x) { return x ? __builtin_clz(x) : 32; }
__forceinline__ int __clzll(u64 x) { return x ? __builtin_clzll(x) : 64; }
__forceinline__ int __ffs(u32 x) { return x ? __builtin_ctz(x) + 1 : 0; }
__forceinline__ int __ffsll(u64 x) { return x ? __builtin_ctzll(x) + 1 : 0; }
inline u32 __brev(u32 x) {
    u32 out = 0;
    for (int bit = 0; bit < 32; ++bit) out |= ((x >> bit) & 1u) << (31 - bit);
    return out;
}
__forceinline__ u32 __umulhi(u32 a, u32 b) { return u32((u64(a) * b) >> 32); }
__forceinline__ u64 __umul64hi(u64 a, u64 b) { return u64(((unsigned __int128)a * b) >> 64); }

// ---- arithmetic ----

#define FLIPSIDE_MATH_1(name)                                                                      \
    __forceinline__ f32 name##f(f32 x) { return __builtin_##name##f(x); }                          \
    __forceinline__ f64 name(f64 x) { return __builtin_##name(x); }
FLIPSIDE_MATH_1(exp) FLIPSIDE_MATH_1(exp2) FLIPSIDE_MATH_1(expm1)
FLIPSIDE_MATH_1(log) FLIPSIDE_MATH_1(log2) FLIPSIDE_MATH_1(log10) FLIPSIDE_MATH_1(log1p)
FLIPSIDE_MATH_1(sin) FLIPSIDE_MATH_1(cos) FLIPSIDE_MATH_1(tan) FLIPSIDE_MATH_1(atan)
FLIPSIDE_MATH_1(sinh) FLIPSIDE_MATH_1(cosh) FLIPSIDE_MATH_1(tanh)
FLIPSIDE_MATH_1(erf) FLIPSIDE_MATH_1(erfc) FLIPSIDE_MATH_1(cbrt)
FLIPSIDE_MATH_1(sqrt) FLIPSIDE_MATH_1(fabs)
FLIPSIDE_MATH_1(floor) FLIPSIDE_MATH_1(ceil) FLIPSIDE_MATH_1(trunc)
FLIPSIDE_MATH_1(rint) FLIPSIDE_MATH_1(round)
#undef FLIPSIDE_MATH_1
#define FLIPSIDE_MATH_2(name)                                                                      \
    __forceinline__ f32 name##f(f32 x, f32 y) { return __builtin_##name##f(x, y); }                \
    __forceinline__ f64 name(f64 x, f64 y) { return __builtin_##name(x, y); }
FLIPSIDE_MATH_2(pow) FLIPSIDE_MATH_2(fmod) FLIPSIDE_MATH_2(atan2)
FLIPSIDE_MATH_2(fmin) FLIPSIDE_MATH_2(fmax) FLIPSIDE_MATH_2(copysign)
#undef FLIPSIDE_MATH_2
__forceinline__ f32 fmaf(f32 a, f32 b, f32 c) { return __builtin_fmaf(a, b, c); }
__forceinline__ f64 fma(f64 a, f64 b, f64 c) { return __builtin_fma(a, b, c); }
__forceinline__ f32 rsqrtf(f32 x) { return 1.0f / sqrtf(x); }
__forceinline__ f32 ldexpf(f32 x, int exponent) { return __builtin_ldexpf(x, exponent); }
__forceinline__ bool isnan(f32 x) { return x != x; }
__forceinline__ bool isinf(f32 x) { return (__float_as_uint(x) & 0x7fffffffu) == 0x7f800000u; }
__forceinline__ bool isfinite(f32 x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

__forceinline__ f32 __fadd_rn(f32 a, f32 b) { return a + b; }
__forceinline__ f32 __fsub_rn(f32 a, f32 b) { return a - b; }
__forceinline__ f32 __fmul_rn(f32 a, f32 b) { return a * b; }
__forceinline__ f32 __fdiv_rn(f32 a, f32 b) { return a / b; }
__forceinline__ f32 __fsqrt_rn(f32 x) { return sqrtf(x); }
__forceinline__ f32 __fmaf_rn(f32 a, f32 b, f32 c) { return fmaf(a, b, c); }
// The GPU saturates and turns NaN into 0 where C++ leaves a conversion undefined.
inline i32 __float2int_rz(f32 x) {
    if (isnan(x)) return 0;
    if (x >= 2147483648.0f) return 2147483647;
    if (x < -2147483648.0f) return -2147483647 - 1;
    return i32(x);
}
inline i32 __float2int_rn(f32 x) { return __float2int_rz(rintf(x)); }
inline i32 __float2int_rd(f32 x) { return __float2int_rz(floorf(x)); }
inline i32 __float2int_ru(f32 x) { return __float2int_rz(ceilf(x)); }
__forceinline__ f32 __int2float_rn(i32 x) { return f32(x); }
__forceinline__ f32 __uint2float_rn(u32 x) { return f32(x); }

#define FLIPSIDE_MIN_MAX(T)                                                                        \
    __forceinline__ T min(T a, T b) { return b < a ? b : a; }                                      \
    __forceinline__ T max(T a, T b) { return a < b ? b : a; }
FLIPSIDE_MIN_MAX(i32) FLIPSIDE_MIN_MAX(u32) FLIPSIDE_MIN_MAX(i64) FLIPSIDE_MIN_MAX(u64)
#undef FLIPSIDE_MIN_MAX
__forceinline__ f32 min(f32 a, f32 b) { return fminf(a, b); }
__forceinline__ f32 max(f32 a, f32 b) { return fmaxf(a, b); }
__forceinline__ f64 min(f64 a, f64 b) { return fmin(a, b); }
__forceinline__ f64 max(f64 a, f64 b) { return fmax(a, b); }
__forceinline__ i32 abs(i32 x) { return x < 0 ? -x : x; }

template <class T> __forceinline__ T __ldg(const T* address) { return *address; }

// ---- atomics, on integers only: the order of float additions would show in the bits ----

template <class T> struct Same { typedef T type; };
template <class T> struct AtomicInteger { static constexpr bool value = false; };
template <> struct AtomicInteger<i32> { static constexpr bool value = true; };
template <> struct AtomicInteger<u32> { static constexpr bool value = true; };
template <> struct AtomicInteger<u64> { static constexpr bool value = true; };

#define FLIPSIDE_ATOMIC(name, builtin)                                                             \
    template <class T> inline T name(T* address, typename Same<T>::type value) {                   \
        static_assert(AtomicInteger<T>::value, #name " is for i32, u32 and u64");                  \
        return builtin(address, value, __ATOMIC_RELAXED);                                          \
    }
FLIPSIDE_ATOMIC(atomicAdd, __atomic_fetch_add)
FLIPSIDE_ATOMIC(atomicOr, __atomic_fetch_or)
FLIPSIDE_ATOMIC(atomicAnd, __atomic_fetch_and)
FLIPSIDE_ATOMIC(atomicXor, __atomic_fetch_xor)
FLIPSIDE_ATOMIC(atomicExch, __atomic_exchange_n)
#undef FLIPSIDE_ATOMIC
template <class T> inline T atomicCAS(T* address, typename Same<T>::type compare,
                                      typename Same<T>::type value) {
    static_assert(AtomicInteger<T>::value, "atomicCAS is for i32, u32 and u64");
    __atomic_compare_exchange_n(address, &compare, value, false, __ATOMIC_RELAXED,
                                __ATOMIC_RELAXED);
    return compare;
}
template <class T> inline T atomicMax(T* address, typename Same<T>::type value) {
    T seen = __atomic_load_n(address, __ATOMIC_RELAXED);
    while (seen < value) {
        T before = atomicCAS(address, seen, value);
        if (before == seen) break;
        seen = before;
    }
    return seen;
}
template <class T> inline T atomicMin(T* address, typename Same<T>::type value) {
    T seen = __atomic_load_n(address, __ATOMIC_RELAXED);
    while (value < seen) {
        T before = atomicCAS(address, seen, value);
        if (before == seen) break;
        seen = before;
    }
    return seen;
}
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() {}

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
inline int __syncthreads_and(int predicate, FLIPSIDE_CALLER) {
    return emulator::meet_block(predicate == 0, {"__syncthreads_and", file, line}) == 0;
}
inline void __syncwarp(u32 mask = 0xffffffffu, FLIPSIDE_CALLER) {
    emulator::leave(emulator::meet_warp(mask, nullptr, 0, {"__syncwarp", file, line}));
}

// The value that lane `source` posted; all bits set where that lane did not take part, so that a
// kernel that uses it (CUDA says "undefined") computes NaN.
template <class T>
inline T exchange(u32 mask, T value, u32 source, int width, emulator::Place place) {
    static_assert(sizeof(T) <= 64, "a lane posts at most 64 bytes");
    if (width <= 0 || width > 32 || (width & (width - 1)) != 0)
        emulator::fail(place, "the width of a shuffle is 1, 2, 4, 8, 16 or 32");
    const emulator::Meeting* meeting = emulator::meet_warp(mask, &value, sizeof value, place);
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
inline u32 vote(u32 mask, int predicate, emulator::Place place) {
    u8 mine = predicate != 0;
    const emulator::Meeting* meeting = emulator::meet_warp(mask, &mine, 1, place);
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
