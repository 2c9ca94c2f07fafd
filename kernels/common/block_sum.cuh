// A sum of f64 over a block of 256 threads: a tree over the lanes of each warp, then the warps in order.
#pragma once
#include "common/wide.cuh"

struct BlockSum {
    f64 warps[8];
};

// The sum, in the block's first thread.
__device__ __forceinline__ f64 block_sum(f64 sum, BlockSum& shared) {
    sum = total<32>(sum);
    if (threadIdx.x % 32 == 0) shared.warps[threadIdx.x / 32] = sum;
    __syncthreads();
    f64 total = 0.0;
    if (threadIdx.x == 0)
        for (u32 warp = 0; warp < 8; ++warp) total += shared.warps[warp];
    return total;
}
