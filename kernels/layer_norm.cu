// Layer normalisation over the channels of each pixel (src/ops/layer_norm):
// y = (x − mean) · invstd · weight + bias, invstd = 1/sqrt(var + eps).
//
// Maps are (pixels of all images, channels) f32. Deterministic: a pixel's sums are taken lane by lane,
// then over the lanes in a tree, which is the CPU's order and gives its bits; parameters' gradients
// are sums of f64 over pixels in two stages, `parts` partial sums a channel (a number that follows from
// the channels alone) and their total, each in an order that follows from the number of pixels.
#include "channel_sums.cuh"
#include "wide.cuh"

constexpr u32 STATISTICS_LANES = 32; // two tiles: a warp has a pixel

struct LayerNormForwardArgs {
    u64 x, y;         // (pixels, channels)
    u64 weight, bias; // (channels)
    u64 saved;        // (pixels, 2): mean, invstd; may be 0
    u64 state;        // RunState
    u32 pixels;       // of one image
    u32 channels;
    f32 eps;
    u32 unused;
};

struct LayerNormBackwardArgs {
    u64 x, dy, dx;      // (pixels, channels)
    u64 weight;         // (channels)
    u64 dweight, dbias; // (channels); may be 0
    u64 saved;          // (pixels, 2)
    u64 partial;        // (parts, 2, channels) f64
    u64 state;          // RunState
    u32 pixels;         // of one image
    u32 channels;
    u32 parts;
    u32 accumulate; // bits: 1 dx, 2 dweight, 4 dbias
};

// A warp a pixel, grid and block of lane_pixel(). Reads x three times (once from memory), writes y. The
// mean is corrected by what the differences from it add up to.
KERNEL(layer_norm_forward_f32, LayerNormForwardArgs, NoShared, 256) {
    const LanePixel at = lane_pixel<STATISTICS_LANES>(args.state, args.pixels);
    if (!at.valid) return; // the whole warp
    const f32 count = f32(args.channels);
    const f32* x = ptr<const f32>(args.x) + at.pixel * args.channels;
    f32 sum = 0.0f;
    for (u32 c = at.lane; c < args.channels; c += STATISTICS_LANES) sum += x[c];
    const f32 center = total<STATISTICS_LANES>(sum) / count;
    f32 rest = 0.0f, squares = 0.0f;
    for (u32 c = at.lane; c < args.channels; c += STATISTICS_LANES) {
        const f32 difference = x[c] - center;
        rest += difference;
        squares = fmaf(difference, difference, squares);
    }
    const f32 correction = total<STATISTICS_LANES>(rest) / count;
    f32 var = fmaf(-correction, correction, total<STATISTICS_LANES>(squares) / count);
    var = var < 0.0f ? 0.0f : var; // NaN stays NaN
    const f32 mean = center + correction, invstd = 1.0f / sqrtf(var + args.eps);
    if (args.saved && at.lane == 0) ptr<float2>(args.saved)[at.pixel] = make_float2(mean, invstd);
    const f32 *weight = ptr<const f32>(args.weight), *bias = ptr<const f32>(args.bias);
    f32* y = ptr<f32>(args.y) + at.pixel * args.channels;
    for (u32 c = at.lane; c < args.channels; c += STATISTICS_LANES)
        y[c] = fmaf((x[c] - mean) * invstd, weight[c], bias[c]);
}

// With x̂ = (x − mean) · invstd and g = dy · weight: dx (+)= (g − mean of g − x̂ · mean of g·x̂) · invstd.
// 16 threads a pixel, grid and block of lane_pixel(). Reads x and dy twice (once from memory), writes dx.
KERNEL(layer_norm_input_gradient_f32, LayerNormBackwardArgs, NoShared, 256) {
    const LanePixel at = lane_pixel<LANES>(args.state, args.pixels);
    const u32 channels = at.valid ? args.channels : 0;
    const u64 first = at.pixel * args.channels;
    const f32 *x = ptr<const f32>(args.x) + first, *dy = ptr<const f32>(args.dy) + first;
    const f32* weight = ptr<const f32>(args.weight);
    f32 mean = 0.0f, invstd = 0.0f;
    if (at.valid) {
        const float2 saved = ptr<const float2>(args.saved)[at.pixel];
        mean = saved.x;
        invstd = saved.y;
    }
    f32 sum = 0.0f, dot = 0.0f;
    for (u32 c = at.lane; c < channels; c += LANES) {
        const f32 g = dy[c] * weight[c];
        sum += g;
        dot = fmaf(g, (x[c] - mean) * invstd, dot);
    }
    const f32 offset = total<LANES>(sum) / f32(args.channels);
    const f32 slope = total<LANES>(dot) / f32(args.channels);
    f32* dx = ptr<f32>(args.dx) + first;
    for (u32 c = at.lane; c < channels; c += LANES) {
        const f32 g = fmaf(dy[c], weight[c], -offset);
        const f32 value = fmaf(-((x[c] - mean) * invstd), slope, g) * invstd;
        dx[c] = args.accumulate & 1 ? dx[c] + value : value;
    }
}

// partial = Σ dy, Σ dy·x̂ over a part of the pixels; products of two f32 are exact in f64. Grid parts ×
// ceil(channels / 32), blocks of 32 × 16. Reads x and dy once.
KERNEL(layer_norm_partials_f64, LayerNormBackwardArgs, ChannelSums<2>, 512) {
    const u32 c = blockIdx.y * 32 + threadIdx.x;
    const u64 pixels = u64(ptr<const RunState>(args.state)->images) * args.pixels;
    const Part part = part_of(pixels, args.parts, blockIdx.x);
    const f32 *x = ptr<const f32>(args.x) + c, *dy = ptr<const f32>(args.dy) + c;
    f64 sums[2] = {0.0, 0.0};
    if (c < args.channels)
        for (u64 pixel = part.start + threadIdx.y; pixel < part.end; pixel += SUM_LANES) {
            const float2 saved = ptr<const float2>(args.saved)[pixel];
            const f64 gradient = dy[pixel * args.channels];
            sums[0] += gradient;
            sums[1] += gradient * f64((x[pixel * args.channels] - saved.x) * saved.y);
        }
    if (!sum_lanes(shared, sums) || c >= args.channels) return;
    f64* out = ptr<f64>(args.partial) + u64(blockIdx.x) * 2 * args.channels + c;
    out[0] = sums[0];
    out[args.channels] = sums[1];
}

// dbias (+)= Σ dy, dweight (+)= Σ dy·x̂ from the partial sums. Grid ceil(channels / 32), blocks of 32 × 16.
KERNEL(layer_norm_param_gradients_f32, LayerNormBackwardArgs, ChannelSums<2>, 512) {
    const u32 c = blockIdx.x * 32 + threadIdx.x;
    const f64* partial = ptr<const f64>(args.partial) + c;
    f64 sums[2] = {0.0, 0.0};
    if (c < args.channels)
        for (u64 part = threadIdx.y; part < args.parts; part += SUM_LANES) {
            sums[0] += partial[part * 2 * args.channels];
            sums[1] += partial[(part * 2 + 1) * args.channels];
        }
    if (!sum_lanes(shared, sums) || c >= args.channels) return;
    if (args.dweight) {
        f32* dweight = ptr<f32>(args.dweight) + c;
        *dweight = f32(sums[1]) + (args.accumulate & 2 ? *dweight : 0.0f);
    }
    if (args.dbias) {
        f32* dbias = ptr<f32>(args.dbias) + c;
        *dbias = f32(sums[0]) + (args.accumulate & 4 ? *dbias : 0.0f);
    }
}
