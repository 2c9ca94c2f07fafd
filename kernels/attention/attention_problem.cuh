// What the kernels of attention (src/ops/attention) read, and which tokens of a map make a part.
#pragma once
#include "common/run_state.cuh"

constexpr u32 TILE = 64; // tokens that a block takes at once

// One axis of a map: `size` tokens a part, of windows of the axis rolled by −shift, or, strided, as
// far apart as it allows.
struct AttentionAxis {
    u32 length, size, shift, strided;

    __device__ __forceinline__ u32 groups() const { return length / size; }

    __device__ __forceinline__ u32 at(u32 group, u32 index) const {
        if (strided) return index * groups() + group;
        const u32 place = group * size + index + shift;
        return place < length ? place : place - length;
    }

    // The stretch of the unrolled axis that a token comes from.
    __device__ __forceinline__ u32 label(u32 group, u32 index) const {
        const u32 rolled = group * size + index;
        if (shift == 0 || rolled < length - size) return 0;
        return rolled < length - shift ? 1 : 2;
    }
};

// What every kernel of attention reads.
struct AttentionProblem {
    u64 x;           // (images, height, width, 3 · heads · dim) f32
    u64 bias;        // (heads, tokens, tokens) f32, or 0
    u64 logit_scale; // (heads) f32, or 0: no cosines
    u64 state;       // RunState
    AttentionAxis rows, columns;
    u32 heads;
    u32 dim;    // channels of a head
    u32 tokens; // of a part
    u32 causal;
    f32 scale; // of keys, but for cosines

    __device__ __forceinline__ u32 pixels() const { return rows.length * columns.length; }
    __device__ __forceinline__ u32 parts() const { return rows.groups() * columns.groups(); }
    __device__ __forceinline__ u32 tiles() const { return (tokens + TILE - 1) / TILE; }
    __device__ __forceinline__ u32 units() const {
        return ptr<const RunState>(state)->images * parts();
    }
};
