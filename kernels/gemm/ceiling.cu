// What a GPU multiplies and adds at most (src/ops/ceiling): chains of fused multiply-adds that touch no
// memory until their end, to set kernels' rates against.
//
// out[thread] = the sum of the thread's chains; (blocks · 256,) f32. A thread has 16 chains, each of
// `rounds` · 8 fused multiply-adds: 2 · 128 · rounds operations a thread. Blocks of 256, any grid.
// Deterministic.
#include "common/flipside.cuh"

struct CeilingFmaArgs {
    u64 out;
    u32 rounds;
    f32 factor;
};

constexpr u32 CHAINS = 16;

KERNEL(ceiling_fma_f32, CeilingFmaArgs, NoShared, 256) {
    const u32 thread = blockIdx.x * blockDim.x + threadIdx.x;
    // Arguments, so that no compiler knows the values.
    const f32 factor = args.factor;
    f32 chain[CHAINS];
    UNROLL
    for (u32 i = 0; i < CHAINS; ++i) chain[i] = (f32)(thread + i);
    ROLLED
    for (u32 round = 0; round < args.rounds; ++round) {
        UNROLL
        for (u32 step = 0; step < 8; ++step) {
            UNROLL
            for (u32 i = 0; i < CHAINS; ++i) chain[i] = fmaf(chain[i], factor, 1.0f);
        }
    }
    f32 sum = 0.0f;
    UNROLL
    for (u32 i = 0; i < CHAINS; ++i) sum += chain[i];
    ptr<f32>(args.out)[thread] = sum;
}
