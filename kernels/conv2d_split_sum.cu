// The parts of a weight gradient that was split over pixels, added up.
#include "flipside.cuh"
#include "run_state.cuh"

struct Conv2dSplitSumArgs {
    u64 partials; // (splits, count)
    u64 result;   // (count)
    u64 state;    // RunState
    u64 count;    // K·O
    u32 pixels;     // P·Q
    u32 per_split;  // pixels of a split
    u32 accumulate; // add to what `result` holds
    u32 unused;
};

// result[i] (+)= Σ_s partials[s, i], split by split, over the splits that the valid images reach into: the
// bits follow from the number of images and the layer's sizes. Grid (⌈count/256⌉), block 256; bytes:
// splits + 1 floats an element, neighbours side by side.
KERNEL(conv2d_split_sum_f32, Conv2dSplitSumArgs, NoShared, 256) {
    const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= args.count) return;
    const u64 pixels = (u64)ptr<const RunState>(args.state)->images * args.pixels;
    const u64 splits = (pixels + args.per_split - 1) / args.per_split;
    const f32* partials = ptr<const f32>(args.partials) + i;
    f32* result = ptr<f32>(args.result) + i;
    f32 sum = 0.0f;
    for (u64 split = 0; split < splits; ++split) sum = sum + partials[split * args.count];
    *result = args.accumulate ? *result + sum : sum;
}
