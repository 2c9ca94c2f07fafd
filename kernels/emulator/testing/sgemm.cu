// A register-blocked matrix product, the shape of kernel that the emulator must be fast at.
#include "common/flipside.cuh"

struct TestSgemmArgs {
    u64 a; // (m, k) f32
    u64 b; // (k, n) f32
    u64 c; // (m, n) f32
    u32 m;
    u32 n;
    u32 k;
};

constexpr int tile = 128, depth = 16, own = 8;

struct TestSgemmShared {
    f32 a[depth][tile];
    f32 b[depth][tile];
};

// c[i, j] = Σ_κ a[i, κ]·b[κ, j], κ ascending, one fmaf a term. A block of 256 threads computes
// 128 × 128 elements, a thread 8 × 8. Grid: (⌈n/128⌉, ⌈m/128⌉). Deterministic: one thread sums an element.
KERNEL(test_sgemm_f32, TestSgemmArgs, TestSgemmShared, 256) {
    const f32* a = ptr<const f32>(args.a);
    const f32* b = ptr<const f32>(args.b);
    const u32 t = threadIdx.x, row0 = blockIdx.y * tile, column0 = blockIdx.x * tile;
    const u32 row = t / 16 * own, column = t % 16 * own;
    f32 sum[own][own] = {};
    for (u32 k0 = 0; k0 < args.k; k0 += depth) {
        UNROLL
        for (int i = 0; i < 8; ++i) {
            const u32 at = t + 256 * i;
            const u32 m = row0 + at / depth, ka = k0 + at % depth;
            shared.a[at % depth][at / depth] = m < args.m && ka < args.k ? a[m * args.k + ka] : 0.0f;
            const u32 kb = k0 + at / tile, n = column0 + at % tile;
            shared.b[at / tile][at % tile] = kb < args.k && n < args.n ? b[kb * args.n + n] : 0.0f;
        }
        __syncthreads();
        for (int k = 0; k < depth; ++k) {
            f32 left[own], right[own];
            UNROLL
            for (int i = 0; i < own; ++i) left[i] = shared.a[k][row + i];
            UNROLL
            for (int j = 0; j < own; ++j) right[j] = shared.b[k][column + j];
            UNROLL
            for (int i = 0; i < own; ++i) {
                UNROLL
                for (int j = 0; j < own; ++j) sum[i][j] = fmaf(left[i], right[j], sum[i][j]);
            }
        }
        __syncthreads();
    }
    for (int i = 0; i < own; ++i)
        for (int j = 0; j < own; ++j)
            if (row0 + row + i < args.m && column0 + column + j < args.n)
                ptr<f32>(args.c)[(row0 + row + i) * args.n + column0 + column + j] = sum[i][j];
}
