// Norm of a gradient arena, and the factor that clips it (src/ops/grad_norm): norm = √Σ g²; factor =
// min(1, max / (norm + 1e−6)), NaN where the norm isn't finite. All in f64, where squares are exact.
//
// Gradients are (count) f32. Deterministic: every sum is taken in an order that follows from `count`
// alone, which the CPU follows, too. A block's sum: thread t adds its elements t, t + 256, …, then come
// a tree over the lanes of each warp and the warps in order.
#include "common/block_sum.cuh"

struct GradNormPartialsArgs {
    u64 gradients;
    u64 partials; // (ceil(count / 16384)) f64
    u64 count;
};

struct GradNormTotalArgs {
    u64 partials; // (parts) f64
    u64 result;   // GradNormResult
    u32 parts;
    f32 max_norm;
};

struct GradNormResult {
    f64 norm;
    f32 factor;
    u32 unused;
};

constexpr u32 GRAD_NORM_THREADS = 256;
constexpr u64 GRAD_NORM_TILE = 16384; // gradients of a block

// partials[b] = Σ g² over tile b. Blocks of 256, grid ceil(count / 16384). Reads 4 bytes an element.
KERNEL(grad_norm_partials_f64, GradNormPartialsArgs, BlockSum, 256) {
    const f32* gradients = ptr<const f32>(args.gradients);
    const u64 start = blockIdx.x * GRAD_NORM_TILE;
    const u64 end = min(args.count, start + GRAD_NORM_TILE);
    f64 sum = 0.0;
    for (u64 at = start + threadIdx.x; at < end; at += GRAD_NORM_THREADS) {
        const f64 g = f64(gradients[at]);
        sum += g * g;
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) ptr<f64>(args.partials)[blockIdx.x] = sum;
}

// The norm and the factor from the partial sums. One block of 256.
KERNEL(grad_norm_total_f64, GradNormTotalArgs, BlockSum, 256) {
    const f64* partials = ptr<const f64>(args.partials);
    f64 sum = 0.0;
    for (u32 part = threadIdx.x; part < args.parts; part += GRAD_NORM_THREADS) sum += partials[part];
    sum = block_sum(sum, shared);
    if (threadIdx.x != 0) return;
    const f64 norm = sqrt(sum);
    GradNormResult* result = ptr<GradNormResult>(args.result);
    result->norm = norm;
    result->factor =
        norm < f64(INFINITY) ? f32(fmin(1.0, f64(args.max_norm) / (norm + 1e-6))) : NAN;
}
