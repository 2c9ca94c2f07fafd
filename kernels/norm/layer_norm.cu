// Layer normalisation over the channels of each pixel (src/ops/layer_norm):
// y = (x − mean) · invstd · weight + bias, invstd = 1/sqrt(var + eps).
//
// Maps are (pixels of all images, channels) f32. Deterministic: a pixel's sums are taken lane by lane,
// then over the lanes in a tree, which is the CPU's order and gives its bits; parameters' gradients
// are sums of f64 over pixels in two stages, `parts` partial sums a channel (a number that follows from
// the channels alone) and their total, each in an order that follows from the number of pixels.
//
// Kernels called `_row` take up to 1024 channels in multiples of four and read each row once; the
// others take any number.
#include "common/channel_sums.cuh"
#include "common/rows.cuh"

constexpr u32 STATISTICS_LANES = 32; // two tiles: a warp has a pixel

struct LayerNormForwardArgs {
    u64 x, y;         // (pixels, channels)
    u64 weight, bias; // (channels)
    u64 saved;        // (pixels, 2): mean, invstd; 0 where backward won't look for them
    u64 state;        // RunState
    u32 pixels;       // of one image
    u32 channels;
    f32 eps;
};

// Gradients that nobody asks for are 0.
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

// A pixel's moments, from its row `x`, kept if backward looks for them: sums of the differences from about the
// mean, and of their squares. The mean is corrected by what the differences add up to.
struct Moments {
    f32 mean, invstd;

    __device__ __forceinline__ Moments(const LayerNormForwardArgs& args, const LanePixel& at, const f32* x) {
        const f32 count = f32(args.channels);
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
        mean = center + correction;
        invstd = 1.0f / sqrtf(var + args.eps);
        if (args.saved && at.lane == 0) ptr<float2>(args.saved)[at.pixel] = make_float2(mean, invstd);
    }
};

// A warp a pixel, grid and block of lane_pixel(). Reads x three times, writes y.
KERNEL(layer_norm_forward_f32, LayerNormForwardArgs, NoShared, 256) {
    const LanePixel at = lane_pixel<STATISTICS_LANES>(args.state, args.pixels);
    if (!at.valid) return; // the whole warp
    const f32* x = ptr<const f32>(args.x) + at.pixel * args.channels;
    const Moments m(args, at, x);
    const f32 *weight = ptr<const f32>(args.weight), *bias = ptr<const f32>(args.bias);
    f32* y = ptr<f32>(args.y) + at.pixel * args.channels;
    for (u32 c = at.lane; c < args.channels; c += STATISTICS_LANES)
        y[c] = fmaf((x[c] - m.mean) * m.invstd, weight[c], bias[c]);
}

// The same bits. Blocks of 4 warps, a warp a pixel. Reads x once, writes y: 8 bytes an element.
KERNEL(layer_norm_forward_f32_row, LayerNormForwardArgs, Rows, 128) {
    const LanePixel at = lane_pixel<STATISTICS_LANES>(args.state, args.pixels);
    if (!at.valid) return; // the whole warp
    const u32 channels = args.channels;
    const f32* x = ptr<const f32>(args.x) + at.pixel * channels;
    f32* row = shared.own();
    RowQuads own;
    each_quad(channels, [&](u32 k, u32 c) { own.quad[k] = load_four(x + c); });
    each_quad(channels, [&](u32 k, u32 c) { store_four(row + c, own.quad[k]); });
    __syncwarp();
    const Moments m(args, at, row);
    const f32 *weight = ptr<const f32>(args.weight), *bias = ptr<const f32>(args.bias);
    f32* y = ptr<f32>(args.y) + at.pixel * channels;
    each_quad(channels, [&](u32 k, u32 c) {
        const Four w = load_four(weight + c), b = load_four(bias + c);
        Four value;
        UNROLL
        for (u32 i = 0; i < 4; ++i)
            value.v[i] = fmaf((own.quad[k].v[i] - m.mean) * m.invstd, w.v[i], b.v[i]);
        store_four(y + c, value);
    });
}

// With x̂ = (x − mean) · invstd and g = dy · weight: dx (+)= (g − mean of g − x̂ · mean of g·x̂) · invstd.
// 16 threads a pixel, grid and block of lane_pixel(). Reads x and dy twice, writes dx.
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

// The same bits. Blocks of 4 warps, a warp a pixel: one half of it adds g, the other g·x̂. Reads x and dy
// once, writes dx: 12 bytes an element.
KERNEL(layer_norm_input_gradient_f32_row, LayerNormBackwardArgs, TwoRows, 128) {
    const LanePixel at = lane_pixel<STATISTICS_LANES>(args.state, args.pixels);
    if (!at.valid) return; // the whole warp
    const u32 channels = args.channels;
    const u64 first = at.pixel * channels;
    const f32 *x = ptr<const f32>(args.x) + first, *dy = ptr<const f32>(args.dy) + first;
    const f32* weight = ptr<const f32>(args.weight);
    const float2 saved = ptr<const float2>(args.saved)[at.pixel];
    const f32 mean = saved.x, invstd = saved.y;
    f32 *gradients = shared.a.own(), *normal = shared.b.own();
    RowQuads xs, dys;
    each_quad(channels, [&](u32 k, u32 c) {
        xs.quad[k] = load_four(x + c);
        dys.quad[k] = load_four(dy + c);
    });
    each_quad(channels, [&](u32 k, u32 c) {
        xs.quad[k] = map_four(xs.quad[k], [=](f32 x) { return (x - mean) * invstd; });
        store_four(normal + c, xs.quad[k]);
        store_four(gradients + c, map_four(dys.quad[k], load_four(weight + c),
                                           [](f32 dy, f32 weight) { return dy * weight; }));
    });
    __syncwarp();
    const bool dots = at.lane >= LANES;
    f32 sum = 0.0f;
    for (u32 c = at.lane % LANES; c < channels; c += LANES)
        sum = dots ? fmaf(gradients[c], normal[c], sum) : sum + gradients[c];
    sum = total<LANES>(sum) / f32(channels);
    const f32 offset = __shfl_sync(0xffffffffu, sum, 0), slope = __shfl_sync(0xffffffffu, sum, LANES);
    each_quad(channels, [&](u32 k, u32 c) {
        const Four w = load_four(weight + c);
        Four value;
        UNROLL
        for (u32 i = 0; i < 4; ++i) {
            const f32 g = fmaf(dys.quad[k].v[i], w.v[i], -offset);
            value.v[i] = fmaf(-xs.quad[k].v[i], slope, g) * invstd;
        }
        Quad{first + c, 4}.store(args.dx, value, args.accumulate & 1);
    });
}

// partial = Σ dy, Σ dy·x̂ over a part of the pixels; products of two f32 are exact in f64. Grid parts ×
// ceil(channels / 32), blocks of 32 × 16. Reads x and dy once.
KERNEL(layer_norm_partials_f64, LayerNormBackwardArgs, ChannelSums<2>, 512) {
    const SumThread at = sum_thread(blockIdx.y * 32, args.channels);
    const u64 pixels = u64(ptr<const RunState>(args.state)->images) * args.pixels;
    const Part part = part_of(pixels, args.parts, blockIdx.x);
    f64 sums[2][4] = {};
    if (at.lanes != 0)
        for (u64 pixel = part.start + at.pixel; pixel < part.end; pixel += SUM_PIXELS) {
            const float2 saved = ptr<const float2>(args.saved)[pixel];
            const Quad quad = {pixel * args.channels + at.channel, at.lanes};
            const Four x = quad.load(args.x), dy = quad.load(args.dy);
            UNROLL
            for (u32 i = 0; i < 4; ++i) {
                sums[0][i] += f64(dy.v[i]);
                sums[1][i] += f64(dy.v[i]) * f64((x.v[i] - saved.x) * saved.y);
            }
        }
    f64 total[2];
    if (!sum_quads(shared, sums, total) || at.own >= args.channels) return;
    f64* out = ptr<f64>(args.partial) + u64(blockIdx.x) * 2 * args.channels + at.own;
    out[0] = total[0];
    out[args.channels] = total[1];
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
