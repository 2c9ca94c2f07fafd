// One number of the channels of each pixel (src/ops/reduce): mean, sum, maximum or length.
//
// x and dx are (pixels of all images, channels) f32, y and dy (pixels). 16 threads a pixel, grid and block of
// lane_pixel(): forward reads x; backward reads x, of a maximum twice, and writes dx; of means and sums it
// only writes. Deterministic: sums are taken lane by lane, then over the lanes in a tree, which is the
// CPU's order; the bits are those of the CPU.
#include "common/wide.cuh"

// Of both passes; what a pass doesn't touch is 0.
struct ReduceArgs {
    u64 x, y;
    u64 dy, dx; // backward
    u64 state;  // RunState
    u32 pixels; // of one image
    u32 channels;
    u32 function; // the number in the enum of src/ops/reduce
    u32 accumulate;
};

constexpr u32 MEAN = 0, MAX = 2, L2 = 3; // 1 is the sum

// The larger of two, or the NaN among them.
__device__ __forceinline__ f32 larger_or_nan(f32 a, f32 b) { return a > b || isnan(a) ? a : b; }

// The largest over a tile's lanes, in its first lane: where 0 and -0 tie, other lanes may have the other one.
__device__ __forceinline__ f32 largest_or_nan(f32 most) {
    UNROLL
    for (u32 step = LANES / 2; step > 0; step /= 2)
        most = larger_or_nan(__shfl_xor_sync(0xffffffffu, most, step), most);
    return most;
}

KERNEL(reduce_forward_f32, ReduceArgs, NoShared, 256) {
    const LanePixel at = lane_pixel<LANES>(args.state, args.pixels);
    const u32 channels = at.valid ? args.channels : 0;
    const f32* x = ptr<const f32>(args.x) + at.pixel * args.channels;
    f32 y = args.function == MAX ? -INFINITY : 0.0f;
    for (u32 c = at.lane; c < channels; c += LANES) {
        const f32 value = x[c];
        if (args.function == MAX) y = larger_or_nan(value, y);
        else y = args.function == L2 ? fmaf(value, value, y) : y + value;
    }
    y = args.function == MAX ? largest_or_nan(y) : total<LANES>(y);
    if (!at.valid || at.lane > 0) return;
    if (args.function == MEAN) y = y / f32(args.channels);
    ptr<f32>(args.y)[at.pixel] = args.function == L2 ? sqrtf(y) : y;
}

// dx (+)= dy / channels (mean), dy (sum), dy / count at the `count` places of the maximum, dy · x / y (length).
KERNEL(reduce_backward_f32, ReduceArgs, NoShared, 256) {
    const LanePixel at = lane_pixel<LANES>(args.state, args.pixels);
    const u32 channels = at.valid ? args.channels : 0;
    const u64 first = at.pixel * args.channels;
    const f32* x = ptr<const f32>(args.x) + first;
    const bool has_values = at.valid && args.function >= MAX;
    const f32 y = has_values ? ptr<const f32>(args.y)[at.pixel] : 0.0f;
    const f32 dy = at.valid ? ptr<const f32>(args.dy)[at.pixel] : 0.0f;
    f32 same = dy, other = dy; // gradients where x is y, and elsewhere
    if (args.function == MAX) {
        f32 count = 0.0f;
        for (u32 c = at.lane; c < channels; c += LANES) count += x[c] == y ? 1.0f : 0.0f;
        count = total<LANES>(count);
        // Where y is NaN no x equals it: the count is 0, and 0 / 0 is NaN.
        same = dy / count;
        other = dy * 0.0f / count;
    } else if (args.function == MEAN) {
        same = other = dy / f32(args.channels);
    }
    f32* dx = ptr<f32>(args.dx) + first;
    for (u32 c = at.lane; c < channels; c += LANES) {
        f32 value = other;
        if (args.function == MAX) value = x[c] == y ? same : other;
        if (args.function == L2) value = dy * (y == 0.0f ? 0.0f : x[c] / y);
        dx[c] = args.accumulate ? dx[c] + value : value;
    }
}
