// Kernels that are right, to hold the emulator against.
#include "common/flipside.cuh"

struct TestReduceArgs {
    u64 x;     // (count,) f32
    u64 sums;  // (grid,) f32
    u64 count;
};

struct TestReduceShared {
    f32 warps[32];
};

// sums[b] = Σ of the block's 256 elements: five shuffles a warp, then one warp over the warps.
KERNEL(test_reduce_f32, TestReduceArgs, TestReduceShared, 256) {
    const u64 i = u64(blockIdx.x) * blockDim.x + threadIdx.x;
    f32 sum = i < args.count ? ptr<const f32>(args.x)[i] : 0.0f;
    for (int step = 16; step > 0; step /= 2) sum += __shfl_down_sync(0xffffffffu, sum, step);
    if (threadIdx.x % 32 == 0) shared.warps[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x >= 32) return;
    sum = threadIdx.x < blockDim.x / 32 ? shared.warps[threadIdx.x] : 0.0f;
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (threadIdx.x == 0) ptr<f32>(args.sums)[blockIdx.x] = sum;
}

struct TestWarpArgs {
    u64 y; // (32, 8) u32
};

// One row a lane: what each collective gave it.
KERNEL(test_collectives, TestWarpArgs, NoShared, 32) {
    const u32 all = 0xffffffffu, lane = threadIdx.x;
    u32* y = ptr<u32>(args.y) + lane * 8;
    y[0] = __shfl_sync(all, lane * 3, 5);
    y[1] = __shfl_up_sync(all, lane, 2);
    y[2] = __shfl_down_sync(all, lane, 3, 8);
    y[3] = __shfl_xor_sync(all, lane, 9, 16);
    y[4] = __ballot_sync(all, lane % 3 == 0);
    // Two halves meet apart, the upper one twice.
    if (lane < 16) {
        y[5] = __shfl_xor_sync(0x0000ffffu, lane, 1);
    } else {
        y[5] = __shfl_xor_sync(0xffff0000u, lane, 2);
        y[5] += __shfl_xor_sync(0xffff0000u, y[5], 4);
    }
    y[6] = u32(__any_sync(all, lane == 7)) + 2 * u32(__all_sync(all, lane == 7));
    __syncwarp();
    const u64 wide = __shfl_sync(all, (u64(lane) << 32) | lane, 31);
    y[7] = u32(wide >> 32) ^ u32(wide) ^ u32(__syncthreads_count(lane < 11));
}

struct TestEarlyReturnArgs {
    u64 y; // (blockDim,) u32
    u32 stay;
};

struct TestEarlyReturnShared {
    u32 values[1024];
};

// All but the first `stay` threads leave before the barrier and the vote.
KERNEL(test_early_return, TestEarlyReturnArgs, TestEarlyReturnShared, 1024) {
    if (threadIdx.x >= args.stay) return;
    shared.values[threadIdx.x] = threadIdx.x * 7;
    __syncthreads();
    const u32 votes = __ballot_sync(0xffffffffu, 1);
    ptr<u32>(args.y)[threadIdx.x] =
        shared.values[(threadIdx.x + 1) % args.stay] + (u32(__popc(votes)) << 16);
}

struct TestFillArgs {
    u64 y; // (z, y, x) u32 of all threads of the grid
};

// Numbers every thread of a three-dimensional grid of three-dimensional blocks.
KERNEL(test_fill, TestFillArgs, NoShared, 1024) {
    const u32 x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y,
              z = blockIdx.z * blockDim.z + threadIdx.z;
    const u32 i = x + gridDim.x * blockDim.x * (y + gridDim.y * blockDim.y * z);
    ptr<u32>(args.y)[i] = i ^ 0x5a5a5a5au;
}
