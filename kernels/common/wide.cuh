// Sums and maxima over the channels of a pixel in the CPU's order (src/cpu/wide.rs): a thread a lane,
// lane by lane, then the lanes in a tree.
#pragma once
#include "common/run_state.cuh"

constexpr u32 LANES = 16; // of a tile: half a warp has a pixel

// Σ over COUNT neighbouring lanes, halves on halves, in all of them. All lanes of the warp take part.
template <u32 COUNT, class Real> __device__ __forceinline__ Real total(Real sum) {
    UNROLL
    for (u32 step = COUNT / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    return sum;
}

// The larger of two; NaN is no maximum.
__device__ __forceinline__ f32 larger(f32 a, f32 b) { return a > b ? a : b; }

// The largest over a tile's lanes, in all of them; none may hold NaN.
__device__ __forceinline__ f32 largest_lane(f32 most) {
    UNROLL
    for (u32 step = LANES / 2; step > 0; step /= 2)
        most = larger(__shfl_xor_sync(0xffffffffu, most, step), most);
    return most;
}

// A pixel of a batch as its lanes see it.
struct LanePixel {
    bool valid; // lanes without a pixel go on, since shuffles need the whole warp
    u32 lane;
    u64 pixel; // of all images
};

// The pixel of this thread's COUNT lanes. Blocks of 256, grid ceil(pixels of the capacity / (256 / COUNT)).
template <u32 COUNT> __device__ __forceinline__ LanePixel lane_pixel(u64 state, u32 pixels) {
    const u64 pixel = u64(blockIdx.x) * (blockDim.x / COUNT) + threadIdx.x / COUNT;
    return {pixel < u64(ptr<const RunState>(state)->images) * pixels, threadIdx.x % COUNT, pixel};
}
