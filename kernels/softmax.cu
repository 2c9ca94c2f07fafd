// Softmax over the channels of each pixel (src/ops/softmax): y = e^(x − m) / Σ e^(x − m), m = max x.
//
// Maps are (pixels of all images, channels) f32. 16 threads a pixel, grid and block of lane_pixel().
// Forward reads x three times (once from memory) and writes y; backward reads y and dy twice (once
// from memory) and writes dx. Deterministic: sums are taken lane by lane, then over the lanes in a
// tree, which is the CPU's order; the bits are those of the CPU.
#include "exponential.cuh"
#include "wide.cuh"

struct SoftmaxArgs {
    u64 x;      // forward
    u64 y;
    u64 dy, dx; // backward
    u64 state;  // RunState
    u32 pixels; // of one image
    u32 channels;
    u32 accumulate;
    u32 unused;
};

KERNEL(softmax_forward_f32, SoftmaxArgs, NoShared, 256) {
    const LanePixel at = lane_pixel<LANES>(args.state, args.pixels);
    const u32 channels = at.valid ? args.channels : 0;
    const f32* x = ptr<const f32>(args.x) + at.pixel * args.channels;
    f32 most = -INFINITY;
    for (u32 c = at.lane; c < channels; c += LANES) most = larger(x[c], most);
    most = largest_lane(most);
    f32 sum = 0.0f;
    for (u32 c = at.lane; c < channels; c += LANES) sum += exp_minus(most - x[c]);
    sum = total<LANES>(sum);
    f32* y = ptr<f32>(args.y) + at.pixel * args.channels;
    for (u32 c = at.lane; c < channels; c += LANES) y[c] = exp_minus(most - x[c]) / sum;
}

// dx (+)= y · (dy − Σ y·dy).
KERNEL(softmax_backward_f32, SoftmaxArgs, NoShared, 256) {
    const LanePixel at = lane_pixel<LANES>(args.state, args.pixels);
    const u32 channels = at.valid ? args.channels : 0;
    const u64 first = at.pixel * args.channels;
    const f32 *y = ptr<const f32>(args.y) + first, *dy = ptr<const f32>(args.dy) + first;
    f32 dot = 0.0f;
    for (u32 c = at.lane; c < channels; c += LANES) dot = fmaf(y[c], dy[c], dot);
    dot = total<LANES>(dot);
    f32* dx = ptr<f32>(args.dx) + first;
    for (u32 c = at.lane; c < channels; c += LANES) {
        const f32 value = y[c] * (dy[c] - dot);
        dx[c] = args.accumulate ? dx[c] + value : value;
    }
}
