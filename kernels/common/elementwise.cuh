// Kernels that treat every element alike: four consecutive elements a thread, blocks of 256.
#pragma once
#include "common/four.cuh"
#include "common/run_state.cuh"

constexpr u32 QUAD_THREADS = 256;

// The address, for accesses that are narrower than others of it. GCC's value numbering takes a load of
// one float4 for four loads of f32 and back, whatever alignment each vouches for: it used the vector's
// where the address was no multiple of 16. So under emulation the two addresses look unrelated.
__device__ __forceinline__ u64 of_any_alignment(u64 address) {
#ifndef __CUDACC__
    asm("" : "+r"(address));
#endif
    return address;
}

// The elements that a thread owns: `lanes` of them from index `at`.
struct Quad {
    u64 at;
    u32 lanes; // 1 to 4; 0: none

    // They move as one access of 16 bytes where all four are there and their address allows it.
    __device__ __forceinline__ Four load(u64 array) const {
        const u64 address = array + 4 * at;
        Four out = {{0.0f, 0.0f, 0.0f, 0.0f}};
        if (lanes == 4 && address % 16 == 0) {
            out = load_four(ptr<const f32>(address));
        } else {
            const f32* from = ptr<const f32>(of_any_alignment(address));
            UNROLL
            for (u32 i = 0; i < 4; ++i)
                if (i < lanes) out.v[i] = from[i];
        }
        return out;
    }

    __device__ __forceinline__ void store(u64 array, const Four& value) const {
        const u64 address = array + 4 * at;
        if (lanes == 4 && address % 16 == 0) {
            store_four(ptr<f32>(address), value);
        } else {
            f32* to = ptr<f32>(of_any_alignment(address));
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
