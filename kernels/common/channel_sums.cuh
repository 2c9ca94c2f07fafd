// Sums of f64 over the pixels of a channel, 32 channels a block: what kernels of two stages share.
#pragma once
#include "common/elementwise.cuh"

constexpr u32 SUM_LANES = 16;  // pixels side by side: blocks of 32 × 16
constexpr u32 SUM_PIXELS = 64; // the same where a thread reads four channels of a pixel

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

// A thread of such a block that reads four channels of a pixel; `own` is the one whose sum it finishes.
struct SumThread {
    u32 channel, lanes; // the first of the four, how many there are
    u32 pixel;          // below SUM_PIXELS
    u32 own;
};

// The thread's place in the block whose channels begin at `first`, of `channels`.
__device__ __forceinline__ SumThread sum_thread(u32 first, u32 channels) {
    const u32 channel = first + threadIdx.x % 8 * 4;
    return {channel, channel < channels ? min(4u, channels - channel) : 0,
            threadIdx.y * 4 + threadIdx.x / 8, channel + threadIdx.x / 8};
}

// As sum_lanes(), of N sums for each of the thread's four channels; the thread gets those of `own`.
template <u32 N>
__device__ __forceinline__ bool sum_quads(ChannelSums<N>& shared, f64 (&sums)[N][4],
                                          f64 (&total)[N]) {
    const u32 own = threadIdx.x / 8;
    UNROLL
    for (u32 n = 0; n < N; ++n) {
        UNROLL
        for (u32 i = 0; i < 4; ++i) {
            f64 sum = sums[n][i];
            sum += __shfl_xor_sync(0xffffffffu, sum, 8);
            sum += __shfl_xor_sync(0xffffffffu, sum, 16);
            if (i == 0 || i == own) total[n] = sum;
        }
    }
    return sum_lanes(shared, total);
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
