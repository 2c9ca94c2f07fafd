// Softmax over the channels of each pixel (src/ops/softmax): y = e^(x − m) / Σ e^(x − m), m = max x.
//
// Maps are (pixels of all images, channels) f32. 16 threads a pixel, grid and block of lane_pixel():
// forward reads x three times and writes y; backward reads y and dy twice and writes dx. Kernels called
// `_row`, a warp a pixel, take up to 1024 channels in multiples of four and read each row once: 8 and 12
// bytes an element. Deterministic: sums are taken lane by lane, then over the lanes in a tree, which is
// the CPU's order; the bits are those of the CPU.
#include "common/exponential.cuh"
#include "common/rows.cuh"

// Of both passes; what a pass doesn't touch is 0.
struct SoftmaxArgs {
    u64 x;      // forward
    u64 y;
    u64 dy, dx; // backward
    u64 state;  // RunState
    u32 pixels; // of one image
    u32 channels;
    u32 accumulate;
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

KERNEL(softmax_forward_f32_row, SoftmaxArgs, Rows, 128) {
    const LanePixel at = lane_pixel<32>(args.state, args.pixels);
    if (!at.valid) return; // the whole warp
    const u32 channels = args.channels;
    const u64 first = at.pixel * channels;
    const f32* x = ptr<const f32>(args.x) + first;
    RowQuads own;
    each_quad(channels, [&](u32 k, u32 c) { own.quad[k] = load_four(x + c); });
    f32 most = -INFINITY;
    each_quad(channels, [&](u32 k, u32) {
        UNROLL
        for (u32 i = 0; i < 4; ++i) most = larger(own.quad[k].v[i], most);
    });
    most = largest_lane(most);
    most = larger(__shfl_xor_sync(0xffffffffu, most, LANES), most);
    f32* row = shared.own();
    each_quad(channels, [&](u32 k, u32 c) {
        own.quad[k] = map_four(own.quad[k], [=](f32 x) { return exp_minus(most - x); });
        store_four(row + c, own.quad[k]);
    });
    __syncwarp();
    f32 sum = 0.0f;
    for (u32 c = at.lane % LANES; c < channels; c += LANES) sum += row[c];
    sum = total<LANES>(sum);
    f32* y = ptr<f32>(args.y) + first;
    each_quad(channels, [&](u32 k, u32 c) {
        store_four(y + c, map_four(own.quad[k], [=](f32 e) { return e / sum; }));
    });
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

KERNEL(softmax_backward_f32_row, SoftmaxArgs, TwoRows, 128) {
    const LanePixel at = lane_pixel<32>(args.state, args.pixels);
    if (!at.valid) return; // the whole warp
    const u32 channels = args.channels;
    const u64 first = at.pixel * channels;
    const f32 *y = ptr<const f32>(args.y) + first, *dy = ptr<const f32>(args.dy) + first;
    f32 *row_y = shared.a.own(), *row_dy = shared.b.own();
    RowQuads ys, dys;
    each_quad(channels, [&](u32 k, u32 c) {
        ys.quad[k] = load_four(y + c);
        dys.quad[k] = load_four(dy + c);
    });
    each_quad(channels, [&](u32 k, u32 c) {
        store_four(row_y + c, ys.quad[k]);
        store_four(row_dy + c, dys.quad[k]);
    });
    __syncwarp();
    f32 dot = 0.0f;
    for (u32 c = at.lane % LANES; c < channels; c += LANES) dot = fmaf(row_y[c], row_dy[c], dot);
    dot = total<LANES>(dot);
    each_quad(channels, [&](u32 k, u32 c) {
        const Four value = map_four(ys.quad[k], dys.quad[k],
                                    [=](f32 y, f32 dy) { return y * (dy - dot); });
        Quad{first + c, 4}.store(args.dx, value, args.accumulate);
    });
}
