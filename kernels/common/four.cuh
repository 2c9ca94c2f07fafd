// Four neighbouring f32, which move as one access of 16 bytes where their address allows it.
#pragma once
#include "common/flipside.cuh"

struct Four {
    f32 v[4];
};

// From an address that is a multiple of 16.
__device__ __forceinline__ Four load_four(const f32* from) {
    const float4 v = *reinterpret_cast<const float4*>(from);
    return {{v.x, v.y, v.z, v.w}};
}

// To an address that is a multiple of 16.
__device__ __forceinline__ void store_four(f32* to, const Four& value) {
    *reinterpret_cast<float4*>(to) =
        make_float4(value.v[0], value.v[1], value.v[2], value.v[3]);
}

// The first `count` of four, 1 or more; the others are 0 and not read. One access if `whole`, which says that
// all four are there and aligned.
__device__ __forceinline__ Four load_four(const f32* from, u32 count, bool whole) {
    if (whole) return load_four(from);
    Four four = {};
    four.v[0] = from[0];
    UNROLL
    for (u32 i = 1; i < 4; ++i)
        if (i < count) four.v[i] = from[i];
    return four;
}

// The same way back; others are left alone.
__device__ __forceinline__ void store_four(f32* to, const Four& value, u32 count, bool whole) {
    if (whole) {
        store_four(to, value);
    } else {
        UNROLL
        for (u32 i = 0; i < 4; ++i)
            if (i < count) to[i] = value.v[i];
    }
}

// Fours `hop` apart, in a row.
template <u32 COUNT>
__device__ __forceinline__ void load_fours(f32 (&to)[COUNT], const f32* from, u32 hop) {
    UNROLL
    for (u32 k = 0; k < COUNT / 4; ++k) {
        const Four four = load_four(from + k * hop);
        UNROLL
        for (u32 i = 0; i < 4; ++i) to[4 * k + i] = four.v[i];
    }
}

// sum = a·b + sum.
__device__ __forceinline__ void fma_four(Four& sum, const Four& a, const Four& b) {
    UNROLL
    for (u32 i = 0; i < 4; ++i) sum.v[i] = fmaf(a.v[i], b.v[i], sum.v[i]);
}

// f of each of the values.
template <class F> __device__ __forceinline__ Four map_four(const Four& a, F f) {
    Four out;
    UNROLL
    for (u32 i = 0; i < 4; ++i) out.v[i] = f(a.v[i]);
    return out;
}

template <class F> __device__ __forceinline__ Four map_four(const Four& a, const Four& b, F f) {
    Four out;
    UNROLL
    for (u32 i = 0; i < 4; ++i) out.v[i] = f(a.v[i], b.v[i]);
    return out;
}
