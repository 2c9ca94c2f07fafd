// Kernels with deliberate errors: each has to be caught.
#include "common/flipside.cuh"

struct TestWrongArgs {
    u64 y;
    u32 which;
    u32 count;
};

struct TestWrongShared {
    f32 values[256];
};

// A reversal through shared memory whose barrier is missing.
KERNEL(test_missing_barrier, TestWrongArgs, TestWrongShared, 256) {
    shared.values[threadIdx.x] = f32(threadIdx.x);
    ptr<f32>(args.y)[threadIdx.x] = shared.values[blockDim.x - 1 - threadIdx.x];
}

// Reads shared memory that nobody has written.
KERNEL(test_shared_unwritten, TestWrongArgs, TestWrongShared, 256) {
    ptr<f32>(args.y)[threadIdx.x] = 1.0f + shared.values[threadIdx.x];
}

// Half of the block waits for the block, the other half for a warp that is not whole.
KERNEL(test_deadlock, TestWrongArgs, NoShared, 256) {
    if (threadIdx.x < 16) {
        __syncthreads();
    } else {
        __shfl_xor_sync(0xffffffffu, threadIdx.x, 1);
    }
}

// The lanes of one warp call different collectives.
KERNEL(test_mixed_collectives, TestWrongArgs, NoShared, 256) {
    if (threadIdx.x % 2 == 0) {
        __ballot_sync(0xffffffffu, 1);
    } else {
        __shfl_xor_sync(0xffffffffu, threadIdx.x, 1);
    }
}

// A lane waits with a mask that leaves it out.
KERNEL(test_mask_without_self, TestWrongArgs, NoShared, 256) {
    __syncwarp(0x0000ffffu);
}

// Each warp waits at a barrier of its own.
KERNEL(test_two_barriers, TestWrongArgs, NoShared, 256) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}

// Writes `which` floats past its shared memory.
KERNEL(test_shared_overrun, TestWrongArgs, TestWrongShared, 256) {
    if (threadIdx.x == 0) shared.values[args.count] = 1.0f;
}

// Reads one element past a buffer of `count` floats.
KERNEL(test_read_past_end, TestWrongArgs, NoShared, 256) {
    f32* y = ptr<f32>(args.y);
    if (threadIdx.x == 0) y[0] = y[args.count];
}

struct TestHugeShared {
    f32 values[25345]; // 4 bytes more than 99 KB
};

// Asks for more shared memory than there is.
KERNEL(test_huge_shared, TestWrongArgs, TestHugeShared, 256) {
    shared.values[threadIdx.x] = 0.0f;
}
