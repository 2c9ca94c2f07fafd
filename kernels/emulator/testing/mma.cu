// The wrappers of mma.cuh, each by itself.
#include "gemm/mma.cuh"

struct TestMmaArgs {
    u64 a; // (16, K) f32
    u64 b; // (K, 8) f32
    u64 d; // (16, 8) f32, read and written
};

// d += a·b of one warp, K terms: fragments by the map of mma.cuh, out of global memory.
template <u32 K, class Convert, class Multiply>
static __device__ __forceinline__ void test_mma(const TestMmaArgs& args, const Convert& convert,
                                                const Multiply& multiply) {
    const u32 g = threadIdx.x / 4, t = threadIdx.x % 4, per = K / 8;
    const f32* a = ptr<const f32>(args.a);
    const f32* b = ptr<const f32>(args.b);
    f32* d = ptr<f32>(args.d);
    u32 left[4], right[2];
    UNROLL for (u32 i = 0; i < 4; ++i) {
        const f32* from = a + (g + i % 2 * 8) * K + t * per + i / 2 * 4 * per;
        left[i] = convert(from[0], from[per - 1]);
    }
    UNROLL for (u32 i = 0; i < 2; ++i) {
        const f32* from = b + (t * per + i * 4 * per) * 8 + g;
        right[i] = convert(from[0], from[(per - 1) * 8]);
    }
    f32 sum[4];
    UNROLL for (u32 i = 0; i < 4; ++i) sum[i] = d[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
    multiply(sum, left, right);
    UNROLL for (u32 i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum[i];
}

KERNEL(test_mma_tf32, TestMmaArgs, NoShared, 32) {
    test_mma<8>(args, [](f32 x, f32) { return to_tf32(x); },
                [](f32 (&d)[4], u32 (&a)[4], u32 (&b)[2]) { mma_tf32(d, a, b); });
}

KERNEL(test_mma_bf16, TestMmaArgs, NoShared, 32) {
    test_mma<16>(args, [](f32 x, f32 y) { return to_bf16x2(x, y); },
                 [](f32 (&d)[4], u32 (&a)[4], u32 (&b)[2]) { mma_bf16(d, a, b); });
}

KERNEL(test_mma_f16, TestMmaArgs, NoShared, 32) {
    test_mma<16>(args, [](f32 x, f32 y) { return to_f16x2(x, y); },
                 [](f32 (&d)[4], u32 (&a)[4], u32 (&b)[2]) { mma_f16(d, a, b); });
}

struct TestMatricesArgs {
    u64 x; // (32, 8) u16: the rows of four matrices
    u64 y; // (32 lanes, 8) u32: as they are, then transposed
};

struct TestMatricesShared {
    __align__(16) u16 rows[32][8];
};

KERNEL(test_matrices, TestMatricesArgs, TestMatricesShared, 32) {
    const u32 lane = threadIdx.x;
    for (u32 i = 0; i < 8; ++i) shared.rows[lane][i] = ptr<const u16>(args.x)[lane * 8 + i];
    __syncthreads();
    u32 plain[4], transposed[4];
    load_matrices(plain, shared.rows[lane]);
    load_transposed(transposed, shared.rows[lane]);
    u32* y = ptr<u32>(args.y) + lane * 8;
    for (u32 i = 0; i < 4; ++i) {
        y[i] = plain[i];
        y[4 + i] = transposed[i];
    }
}

struct TestCopyArgs {
    u64 x; // (rounds, blockDim, 4) f32
    u64 y; // the same
    u32 rounds;
    u32 bytes; // of a copy: 4, 8 or 16
    u32 valid; // bytes of it that are read
    u32 newest; // groups that the wait leaves under way: 1 is right, 2 too many
};

struct TestCopyShared {
    __align__(16) f32 stages[3][64][4];
};

// y = x, by way of three stages of shared memory: a copy begins two rounds before it is read. Each
// thread reads its neighbour's; its own where the wait is wrong, since a neighbour may be a wait ahead.
KERNEL(test_copies, TestCopyArgs, TestCopyShared, 64) {
    const u32 thread = threadIdx.x;
    const auto begin = [&](u32 round) {
        if (round < args.rounds) {
            const f32* x = ptr<const f32>(args.x) + (round * blockDim.x + thread) * 4;
            f32* stage = shared.stages[round % 3][thread];
            for (u32 at = 0; at < 4; at += args.bytes / 4) {
                if (args.bytes == 16) copy_async<16>(stage + at, x + at, args.valid);
                if (args.bytes == 8) copy_async<8>(stage + at, x + at, args.valid);
                if (args.bytes == 4) copy_async<4>(stage + at, x + at, args.valid);
            }
        }
        commit_copies();
    };
    begin(0);
    begin(1);
    for (u32 round = 0; round < args.rounds; ++round) {
        if (args.newest == 1) wait_copies<1>();
        if (args.newest == 2) wait_copies<2>();
        __syncthreads();
        const u32 other = args.newest == 1 ? (thread + 1) % blockDim.x : thread;
        for (u32 i = 0; i < 4; ++i) {
            ptr<f32>(args.y)[(round * blockDim.x + other) * 4 + i] =
                shared.stages[round % 3][other][i];
        }
        begin(round + 2);
    }
    wait_copies<0>();
}

// A copy that nobody waits for.
KERNEL(test_copy_left, TestCopyArgs, TestCopyShared, 64) {
    copy_async<4>(shared.stages[0][threadIdx.x], ptr<const f32>(args.x));
    commit_copies();
}

// A copy begins while another thread may still read what it overwrites.
KERNEL(test_copy_too_early, TestCopyArgs, TestCopyShared, 64) {
    const u32 thread = threadIdx.x, other = blockDim.x - 1 - thread;
    copy_async<16>(shared.stages[0][thread], ptr<const f32>(args.x) + thread * 4);
    commit_copies();
    wait_copies<0>();
    __syncthreads();
    const f32 seen = shared.stages[0][other][0];
    copy_async<16>(shared.stages[0][thread], ptr<const f32>(args.x) + thread * 4);
    commit_copies();
    __syncthreads();
    wait_copies<0>();
    ptr<f32>(args.y)[thread] = seen;
}

// Addresses that cp.async doesn't take.
KERNEL(test_copy_misaligned, TestCopyArgs, TestCopyShared, 64) {
    copy_async<8>(&shared.stages[0][0][args.valid % 2], ptr<const f32>(args.x) + args.rounds);
    wait_copies<0>();
}

struct TestConvertArgs {
    u64 x;    // (count,) f32
    u64 tf32; // (count,) u32
    u64 bf16; // (count,) u32, of x and −x
    u64 f16;  // (count,) u32, of x and −x
    u64 back; // (2, 65536) f32: the value of every bfloat16 and half
    u32 count;
};

KERNEL(test_convert, TestConvertArgs, NoShared, 256) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < args.count) {
        const f32 x = ptr<const f32>(args.x)[i];
        ptr<u32>(args.tf32)[i] = to_tf32(x);
        ptr<u32>(args.bf16)[i] = to_bf16x2(x, -x);
        ptr<u32>(args.f16)[i] = to_f16x2(x, -x);
    }
    if (i < 65536) {
        ptr<f32>(args.back)[i] = from_bf16((u16)i);
        ptr<f32>(args.back)[65536 + i] = from_f16((u16)i);
    }
}
