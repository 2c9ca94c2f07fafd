// Sums of f64 over the pixels of a channel, 32 channels a block: what kernels of two stages share.
#pragma once
#include "run_state.cuh"

constexpr u32 SUM_LANES = 16; // pixels side by side: blocks of 32 × 16

// N sums a channel.
template <u32 N> struct ChannelSums {
    f64 lanes[N][SUM_LANES][32];
};

// Adds the block's sums in order of lanes; lane 0 gets them, and true.
template <u32 N>
__device__ __forceinline__ bool sum_lanes(ChannelSums<N>& shared, f64 (&sums)[N]) {
    UNROLL
    for (u32 n = 0; n < N; ++n) shared.lanes[n][threadIdx.y][threadIdx.x] = sums[n];
    __syncthreads();
    if (threadIdx.y != 0) return false;
    for (u32 lane = 1; lane < SUM_LANES; ++lane) {
        UNROLL
        for (u32 n = 0; n < N; ++n) sums[n] += shared.lanes[n][lane][threadIdx.x];
    }
    return true;
}

// Of `length` things in `parts` parts, those of part number `part`.
struct Part {
    u64 start, end;
};

__device__ __forceinline__ Part part_of(u64 length, u32 parts, u32 part) {
    const u64 size = (length + parts - 1) / parts;
    const u64 start = min(part * size, length);
    return {start, min(start + size, length)};
}
