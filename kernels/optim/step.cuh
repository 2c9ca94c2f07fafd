// What the optimisers' steps share; src/ops/arenas.rs is the host's side.
#pragma once
#include "common/elementwise.cuh"

// Elements that share a weight decay: a parameter begins at a multiple of this many.
constexpr u32 DECAY_BLOCK = 16;

// The weight decay of a quad, which lies in one block.
__device__ __forceinline__ f32 decay_of(u64 decays, const Quad& quad) {
    return ptr<const f32>(decays)[quad.at / DECAY_BLOCK];
}

// What gradients are multiplied by: 1 where there is no factor, NaN if there is to be no step.
__device__ __forceinline__ f32 gradient_factor(u64 factor) {
    return factor ? *ptr<const f32>(factor) : 1.0f;
}
