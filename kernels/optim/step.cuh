// What the optimisers' steps share; src/ops/arenas.rs is the host's side.
#pragma once
#include "common/elementwise.cuh"

// Elements that share their options: a parameter begins at a multiple of this many.
constexpr u32 STEP_BLOCK = 16;

// What a parameter has of its own; src/ops/arenas.rs has the same struct.
struct BlockOptions {
    f32 decay;
    f32 rate_scale;
};

// Arenas of `count` f32 each, and what a step reads beside them.
struct StepArenas {
    u64 values, gradients;
    u64 moments[3]; // what the rule remembers; 0: nothing
    u64 blocks;     // (ceil(count / 16)) BlockOptions
    u64 factor;     // f32; 0: none
    u64 state;      // RunState: learning rate, step, bias corrections
    u64 count;
    f32 max_value; // of gradients; INFINITY: any
};

// The options of a quad, which lies in one block.
__device__ __forceinline__ BlockOptions options_of(u64 blocks, const Quad& quad) {
    return ptr<const BlockOptions>(blocks)[quad.at / STEP_BLOCK];
}

// What gradients are multiplied by: 1 where there is no factor, NaN if there is to be no step.
__device__ __forceinline__ f32 gradient_factor(u64 factor) {
    return factor ? *ptr<const f32>(factor) : 1.0f;
}

// A gradient between ± max, then multiplied. NaN stays NaN.
__device__ __forceinline__ f32 clipped(f32 g, f32 max, f32 factor) {
    const f32 low = g < -max ? -max : g;
    return (low > max ? max : low) * factor;
}
