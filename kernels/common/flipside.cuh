// What every kernel file starts with: short type names, addresses as pointers, and KERNEL.
//
// A kernel file compiles two ways from the same text: by nvcc for the GPU, and by the C++
// compiler for the emulator (emulator/cuda.h supplies the CUDA names). It may use what both
// have, and no `__shared__` variables: shared memory is one struct a kernel, named in KERNEL.
#pragma once

typedef unsigned char u8;
typedef signed char i8;
typedef unsigned short u16;
typedef short i16;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;
typedef long long i64;
typedef float f32;
typedef double f64;

// The shared memory of a kernel that has none.
struct NoShared {};

// KERNEL(name, Args, Shared, max_threads) { body }
// KERNEL(name, Args, Shared, max_threads, resident) { body }
//
// Defines the kernel `name`. The body sees `args`, a `const Args&`, and `shared`, a `Shared&` (one
// for the block, uninitialised; poisoned with NaN under emulation). A block has at most
// `max_threads` threads; `resident` blocks of so many are to fit a multiprocessor's registers. It must
// start a line, of a file or of a macro that is used on a line of its own: build.rs reads the kernel list from
// these lines.
#ifdef __CUDACC__

extern __shared__ __align__(128) unsigned char flipside_shared[];

#define KERNEL(name, Args, Shared, ...)                                                            \
    static __device__ __forceinline__ void name##_body(const Args& args, Shared& shared);          \
    extern "C" __global__ __launch_bounds__(__VA_ARGS__) void name(                                \
        const __grid_constant__ Args args) {                                                       \
        name##_body(args, *reinterpret_cast<Shared*>(flipside_shared));                            \
    }                                                                                              \
    static __device__ __forceinline__ void name##_body(                                            \
        [[maybe_unused]] const Args& args, [[maybe_unused]] Shared& shared)

// UNROLL before a `for` unrolls it fully: arrays that it indexes can then live in registers.
#define UNROLL _Pragma("unroll")
// ROLLED before a `for` keeps it a loop.
#define ROLLED _Pragma("unroll 1")
// TWICE before a `for` unrolls it by two, where more would cost registers.
#define TWICE _Pragma("unroll 2")
// COUNT_SEARCH() tells the emulator of a search in a fault table; a GPU keeps no count.
#define COUNT_SEARCH()

#else

#include "emulator/cuda.h"

#define KERNEL(name, Args, Shared, ...)                                                            \
    static void name##_body(const Args& args, Shared& shared);                                     \
    static void name##_entry(const void* args, void* shared) {                                     \
        name##_body(*static_cast<const Args*>(args), *static_cast<Shared*>(shared));               \
    }                                                                                              \
    static void name##_body(                                                                       \
        [[maybe_unused]] const Args& args, [[maybe_unused]] Shared& shared)

#define ROLLED
#define TWICE
#define COUNT_SEARCH() ++emulator::block->searches

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif

#endif

// The memory at a 64-bit address, as kernel arguments carry it. The address is to be the argument itself
// and what is added to it an index of the pointer: of `ptr<f32>(args.x)[at]` the compiler knows that it
// lies in global memory, of `*ptr<f32>(args.x + 4 * at)`, and of a pointer that may be null instead, it
// doesn't, and each access then asks which memory is meant. scripts/kernel-sass.py finds those.
template <class T>
__device__ __forceinline__ T* ptr(u64 address) {
    return reinterpret_cast<T*>(address);
}
