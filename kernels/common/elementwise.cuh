// Kernels that treat every element alike: four consecutive elements a thread, blocks of 256.
#pragma once
#include "common/four.cuh"
#include "common/run_state.cuh"

constexpr u32 QUAD_THREADS = 256;

// The pointer, for accesses that are narrower than others through it. GCC's value numbering takes a load
// of one float4 for four loads of f32 and back, whatever alignment each vouches for: it used the vector's
// where the address was no multiple of 16. So under emulation the two pointers look unrelated.
template <class T> __device__ __forceinline__ T* of_any_alignment(T* pointer) {
#ifndef __CUDACC__
    asm("" : "+r"(pointer));
#endif
    return pointer;
}

// Whether `bytes` bytes there are as aligned as one access of so many has to be.
__device__ __forceinline__ bool is_aligned(const void* pointer, u32 bytes) {
    return reinterpret_cast<u64>(pointer) % bytes == 0;
}

// The elements that a thread owns: `lanes` of them from index `at`.
struct Quad {
    u64 at;
    u32 lanes; // 1 to 4; 0: none

    // They move as one access of 16 bytes where all four are there and their address allows it.
    __device__ __forceinline__ Four load(u64 array) const {
        const f32* from = ptr<const f32>(array) + at;
        Four out = {{0.0f, 0.0f, 0.0f, 0.0f}};
        if (lanes == 4 && is_aligned(from, 16)) {
            out = load_four(from);
        } else {
            from = of_any_alignment(from);
            UNROLL
            for (u32 i = 0; i < 4; ++i)
                if (i < lanes) out.v[i] = from[i];
        }
        return out;
    }

    __device__ __forceinline__ void store(u64 array, const Four& value) const {
        f32* to = ptr<f32>(array) + at;
        if (lanes == 4 && is_aligned(to, 16)) {
            store_four(to, value);
        } else {
            to = of_any_alignment(to);
            UNROLL
            for (u32 i = 0; i < 4; ++i)
                if (i < lanes) to[i] = value.v[i];
        }
    }

    // Assigns, or adds to what is there.
    __device__ __forceinline__ void store(u64 array, Four value, bool accumulate) const {
        if (accumulate) {
            const Four old = load(array);
            UNROLL
            for (u32 i = 0; i < 4; ++i) value.v[i] = old.v[i] + value.v[i];
        }
        store(array, value);
    }
};

// The elements of this thread out of `count` that lie in a row.
__device__ __forceinline__ Quad quad_of(u64 count) {
    const u64 at = 4 * (u64(blockIdx.x) * QUAD_THREADS + threadIdx.x);
    if (at >= count) return {at, 0};
    return {at, count - at < 4 ? u32(count - at) : 4};
}

// The elements of this thread out of those of all valid images, `elements` each.
__device__ __forceinline__ Quad quad_of_batch(u64 state, u32 elements) {
    return quad_of(u64(ptr<const RunState>(state)->images) * elements);
}
