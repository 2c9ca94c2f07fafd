// Batch normalisation (src/ops/batch_norm) over maps of (pixels of all images) × channels, f32.
//
// Kernels over pixels have blocks of 32 channels × pixels; a thread has four channels, which it reads and
// writes 16 bytes at a time and whose numbers it keeps in registers. Statistics are sums of f64, in two
// stages: `parts` partial sums a channel (a number that follows from the channels alone), then their
// total. Deterministic: which pixels a thread adds, and the order in which threads' sums are added,
// follow from the number of pixels; nothing is added atomically.
#include "common/channel_sums.cuh"

constexpr u32 MAP_LANES = 32;         // pixels side by side in the blocks that write maps,
constexpr u32 PIXELS_PER_BLOCK = 128; // which have this many pixels

// Sums over all pixels, in two stages.
struct BatchNormSums {
    u64 partial; // (parts, 2, channels) f64
    u64 totals;  // (2, channels) f64, then the count of pixels
    u64 state;   // RunState
    u32 pixels;  // of one image
    u32 channels;
    u32 parts;
};

struct BatchNormForwardArgs {
    u64 x;            // (pixels, channels)
    u64 y;            // (pixels, channels)
    u64 weight, bias; // (channels)
    u64 running_mean; // (channels)
    u64 running_var;  // (channels)
    u64 counter;      // u32
    u64 saved;        // (2, channels): mean, 1/sqrt(var + eps)
    BatchNormSums sums;
    f32 eps;
    f32 momentum;
};

// Gradients that nobody asks for are 0.
struct BatchNormBackwardArgs {
    u64 x, dy, dx;      // (pixels, channels); dx may be 0
    u64 weight;         // (channels)
    u64 dweight, dbias; // (channels); may be 0
    u64 mean;           // (channels): the batch's, or the running one
    u64 spread;         // (channels): 1/sqrt(var + eps) of the batch, or the running variance
    BatchNormSums sums;
    f32 eps;
    u32 training;
    u32 accumulate; // bits: 1 dx, 2 dweight, 4 dbias
};

__device__ __forceinline__ u64 valid_pixels(const BatchNormSums& sums) {
    return u64(ptr<const RunState>(sums.state)->images) * sums.pixels;
}

// Part blockIdx.x of Σ a and Σ a·b, where pair(quad, a, b) gives a and b of a pixel's channels; products
// of two f32 are exact in f64.
template <class Pair>
__device__ __forceinline__ void sum_part(ChannelSums<2>& shared, const BatchNormSums& of,
                                         const SumThread& at, Pair pair) {
    const u32 channels = of.channels;
    const Part part = part_of(valid_pixels(of), of.parts, blockIdx.x);
    f64 sums[2][4] = {};
    if (at.lanes != 0)
        for (u64 pixel = part.start + at.pixel; pixel < part.end; pixel += SUM_PIXELS) {
            Four a, b;
            pair(Quad{pixel * channels + at.channel, at.lanes}, a, b);
            UNROLL
            for (u32 i = 0; i < 4; ++i) {
                sums[0][i] += f64(a.v[i]);
                sums[1][i] += f64(a.v[i]) * f64(b.v[i]);
            }
        }
    f64 total[2];
    if (!sum_quads(shared, sums, total) || at.own >= channels) return;
    f64* out = ptr<f64>(of.partial) + u64(blockIdx.x) * 2 * channels + at.own;
    out[0] = total[0];
    out[channels] = total[1];
}

// partial = Σ x, Σ x². Grid: parts × ceil(channels / 32), blocks of 32 × 16. Reads x once.
KERNEL(batch_norm_forward_sums_f32, BatchNormForwardArgs, ChannelSums<2>, 512) {
    sum_part(shared, args.sums, sum_thread(blockIdx.y * 32, args.sums.channels),
             [&](const Quad& quad, Four& a, Four& b) { a = b = quad.load(args.x); });
}

// partial = Σ dy, Σ dy·(x − mean). Grid and block as above. Reads x and dy once.
KERNEL(batch_norm_backward_sums_f32, BatchNormBackwardArgs, ChannelSums<2>, 512) {
    const SumThread at = sum_thread(blockIdx.y * 32, args.sums.channels);
    const Four mean = Quad{at.channel, at.lanes}.load(args.mean);
    sum_part(shared, args.sums, at, [&](const Quad& quad, Four& a, Four& b) {
        a = quad.load(args.dy);
        b = map_four(quad.load(args.x), mean, [](f32 x, f32 mean) { return x - mean; });
    });
}

// totals = the sums of the parts, and the count: what batch norm over several GPUs reduces. Grid:
// ceil(channels / 32), blocks of 32 × 16. Reads the parts once.
KERNEL(batch_norm_combine_f64, BatchNormSums, ChannelSums<2>, 512) {
    const u32 c = blockIdx.x * 32 + threadIdx.x;
    const f64* partial = ptr<const f64>(args.partial) + c;
    f64* totals = ptr<f64>(args.totals);
    f64 sums[2] = {0.0, 0.0};
    if (c < args.channels)
        for (u64 part = threadIdx.y; part < args.parts; part += SUM_LANES) {
            sums[0] += partial[part * 2 * args.channels];
            sums[1] += partial[(part * 2 + 1) * args.channels];
        }
    if (c == 0 && threadIdx.y == 0)
        totals[2 * u64(args.channels)] = f64(valid_pixels(args));
    if (!sum_lanes(shared, sums) || c >= args.channels) return;
    totals[c] = sums[0];
    totals[args.channels + c] = sums[1];
}

// From the totals: mean and 1/sqrt(var + eps) for this batch, the running statistics' step (the
// variance unbiased), and one more batch tracked. One thread a channel, blocks of 256.
KERNEL(batch_norm_statistics_f32, BatchNormForwardArgs, NoShared, 256) {
    const u32 c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= args.sums.channels) return;
    const f64* totals = ptr<const f64>(args.sums.totals);
    const f64 count = totals[2 * u64(args.sums.channels)];
    const f64 mean = totals[c] / count;
    f64 var = totals[args.sums.channels + c] / count - mean * mean;
    if (var < 0.0) var = 0.0;
    const f32 unbiased = f32(var * (count / (count - 1.0)));
    f32* saved = ptr<f32>(args.saved);
    saved[c] = f32(mean);
    saved[args.sums.channels + c] = f32(1.0 / sqrt(var + f64(args.eps)));
    f32 *running_mean = ptr<f32>(args.running_mean) + c, *running_var = ptr<f32>(args.running_var) + c;
    *running_mean = (1.0f - args.momentum) * *running_mean + args.momentum * f32(mean);
    *running_var = (1.0f - args.momentum) * *running_var + args.momentum * unbiased;
    if (c == 0) ++*ptr<u32>(args.counter);
}

// A thread's channels, of vectors of one value a channel.
__device__ __forceinline__ Quad map_channels(u32 channels) {
    const u32 channel = (blockIdx.y * 8 + threadIdx.x) * 4;
    return {channel, channel < channels ? min(4u, channels - channel) : 0};
}

// write(quad) for the thread's channels of this block's pixels. Grid: ceil(pixels / 128) ×
// ceil(channels / 32), blocks of 8 × 32.
template <class Write>
__device__ __forceinline__ void for_each_pixel(u64 pixels, u32 channels, const Quad& own, Write write) {
    const u64 start = u64(blockIdx.x) * PIXELS_PER_BLOCK + threadIdx.y;
    UNROLL
    for (u32 pixel = 0; pixel < PIXELS_PER_BLOCK; pixel += MAP_LANES)
        if (start + pixel < pixels) write(Quad{(start + pixel) * channels + own.at, own.lanes});
}

// y = fmaf(x − mean, weight/sqrt(var + eps), bias) with the batch's statistics. Reads x, writes y.
KERNEL(batch_norm_normalize_f32, BatchNormForwardArgs, NoShared, 256) {
    const Quad own = map_channels(args.sums.channels);
    if (own.lanes == 0) return;
    const Four mean = own.load(args.saved), bias = own.load(args.bias);
    const Quad invstd = {args.sums.channels + own.at, own.lanes};
    const Four scale = map_four(own.load(args.weight), invstd.load(args.saved),
                                [](f32 weight, f32 invstd) { return weight * invstd; });
    for_each_pixel(valid_pixels(args.sums), args.sums.channels, own, [&](const Quad& quad) {
        Four y = quad.load(args.x);
        UNROLL
        for (u32 i = 0; i < 4; ++i) y.v[i] = fmaf(y.v[i] - mean.v[i], scale.v[i], bias.v[i]);
        quad.store(args.y, y);
    });
}

// y = fmaf(x, scale, shift) with scale = weight / sqrt(var + eps), shift = bias − mean·scale of the
// running statistics, each step rounded: the CPU's bits. Reads x, writes y.
KERNEL(batch_norm_eval_f32, BatchNormForwardArgs, NoShared, 256) {
    const Quad own = map_channels(args.sums.channels);
    if (own.lanes == 0) return;
    const f32 eps = args.eps;
    const Four scale = map_four(own.load(args.weight), own.load(args.running_var),
                                [=](f32 weight, f32 var) { return weight / sqrtf(var + eps); });
    const Four mean = own.load(args.running_mean);
    Four shift = own.load(args.bias);
    UNROLL
    for (u32 i = 0; i < 4; ++i) shift.v[i] = shift.v[i] - mean.v[i] * scale.v[i];
    for_each_pixel(valid_pixels(args.sums), args.sums.channels, own, [&](const Quad& quad) {
        Four y = quad.load(args.x);
        UNROLL
        for (u32 i = 0; i < 4; ++i) y.v[i] = fmaf(y.v[i], scale.v[i], shift.v[i]);
        quad.store(args.y, y);
    });
}

// 1/sqrt(var + eps) of the statistics that forward used.
__device__ __forceinline__ f32 inverse_deviation(const BatchNormBackwardArgs& args, u32 c) {
    const f32 spread = ptr<const f32>(args.spread)[c];
    return args.training ? spread : 1.0f / sqrtf(spread + args.eps);
}

// dweight (+)= Σ dy·(x − mean) / sqrt(var + eps), dbias (+)= Σ dy: this GPU's share, so before any
// reduction over GPUs. One thread a channel, blocks of 256.
KERNEL(batch_norm_param_gradients_f32, BatchNormBackwardArgs, NoShared, 256) {
    const u32 c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= args.sums.channels) return;
    const f64* totals = ptr<const f64>(args.sums.totals);
    if (args.dweight) {
        f32* out = ptr<f32>(args.dweight) + c;
        const f32 value = f32(totals[args.sums.channels + c] * f64(inverse_deviation(args, c)));
        *out = args.accumulate & 2 ? *out + value : value;
    }
    if (args.dbias) {
        f32* out = ptr<f32>(args.dbias) + c;
        const f32 value = f32(totals[c]);
        *out = args.accumulate & 4 ? *out + value : value;
    }
}

// In training dx (+)= weight·invstd · (dy − Σdy/N − (x − mean)·invstd²·Σ(dy·(x − mean))/N); in eval
// mode dx (+)= dy · weight/sqrt(var + eps). Reads x (while training) and dy (and dx), writes dx.
KERNEL(batch_norm_input_gradient_f32, BatchNormBackwardArgs, NoShared, 256) {
    const Quad own = map_channels(args.sums.channels);
    if (own.lanes == 0) return;
    const u64 pixels = valid_pixels(args.sums);
    const bool add = args.accumulate & 1;
    const Four weight = own.load(args.weight), spread = own.load(args.spread);
    if (!args.training) {
        const f32 eps = args.eps;
        const Four scale = map_four(weight, spread, [=](f32 weight, f32 var) {
            return weight / sqrtf(var + eps);
        });
        for_each_pixel(pixels, args.sums.channels, own, [&](const Quad& quad) {
            quad.store(args.dx, map_four(quad.load(args.dy), scale,
                                         [](f32 dy, f32 scale) { return dy * scale; }),
                       add);
        });
        return;
    }
    const f64* totals = ptr<const f64>(args.sums.totals);
    const f64 count = totals[2 * u64(args.sums.channels)];
    const Four mean = own.load(args.mean);
    Four offset = {}, slope = {}, scale;
    UNROLL
    for (u32 i = 0; i < 4; ++i) {
        scale.v[i] = weight.v[i] * spread.v[i];
        if (i >= own.lanes) continue;
        offset.v[i] = f32(totals[own.at + i] / count);
        slope.v[i] = f32(totals[args.sums.channels + own.at + i] / count * f64(spread.v[i]) *
                         f64(spread.v[i]));
    }
    for_each_pixel(pixels, args.sums.channels, own, [&](const Quad& quad) {
        const Four x = quad.load(args.x);
        Four value = quad.load(args.dy);
        UNROLL
        for (u32 i = 0; i < 4; ++i)
            value.v[i] =
                fmaf(mean.v[i] - x.v[i], slope.v[i], value.v[i] - offset.v[i]) * scale.v[i];
        quad.store(args.dx, value, add);
    });
}
