// Batch normalisation (src/ops/batch_norm) over maps of (pixels of all images) × channels, f32.
//
// Kernels over pixels have blocks of 32 channels × lanes, so that a warp reads 32 channels of one
// pixel and each thread keeps one channel's numbers in registers. Statistics are sums of f64, in two
// stages: `parts` partial sums a channel (a number that follows from the channels alone), then their
// total. Deterministic: which pixels a thread adds, and the order in which threads' sums are added,
// follow from the number of pixels; nothing is added atomically.
#include "channel_sums.cuh"

constexpr u32 MAP_LANES = 8;          // pixels side by side in the blocks that write maps,
constexpr u32 PIXELS_PER_BLOCK = 128; // which have this many pixels

struct BatchNormForwardArgs {
    u64 x;            // (pixels, channels)
    u64 y;            // (pixels, channels)
    u64 weight, bias; // (channels)
    u64 running_mean; // (channels)
    u64 running_var;  // (channels)
    u64 counter;      // u32
    u64 saved;        // (2, channels): mean, 1/sqrt(var + eps)
    u64 partial;      // (parts, 2, channels) f64
    u64 totals;       // (2, channels) f64, then the count of pixels
    u64 state;        // RunState
    u32 pixels;       // of one image
    u32 channels;
    u32 parts;
    f32 eps;
    f32 momentum;
    u32 unused;
};

struct BatchNormBackwardArgs {
    u64 x, dy, dx;      // (pixels, channels); dx may be 0
    u64 weight;         // (channels)
    u64 dweight, dbias; // (channels); may be 0
    u64 mean;           // (channels): the batch's, or the running one
    u64 spread;         // (channels): 1/sqrt(var + eps) of the batch, or the running variance
    u64 partial, totals, state;
    u32 pixels; // of one image
    u32 channels;
    u32 parts;
    f32 eps;
    u32 training;
    u32 accumulate; // bits: 1 dx, 2 dweight, 4 dbias
};

struct BatchNormCombineArgs {
    u64 partial; // (parts, 2, channels) f64
    u64 totals;  // (2, channels) f64, then the count of pixels
    u64 state;   // RunState
    u32 pixels;  // of one image
    u32 channels;
    u32 parts;
    u32 unused;
};

__device__ __forceinline__ u64 valid_pixels(u64 state, u32 pixels) {
    return u64(ptr<const RunState>(state)->images) * pixels;
}

// Part blockIdx.x of Σ a and Σ a·b, where pair(pixel · channels + c) gives a and b; products of two
// f32 are exact in f64.
template <class Pair>
__device__ __forceinline__ void sum_part(ChannelSums<2>& shared, u64 pixels, u32 channels, u32 parts,
                                         u64 partial, Pair pair) {
    const u32 c = blockIdx.y * 32 + threadIdx.x;
    const Part part = part_of(pixels, parts, blockIdx.x);
    f64 sums[2] = {0.0, 0.0};
    if (c < channels)
        for (u64 pixel = part.start + threadIdx.y; pixel < part.end; pixel += SUM_LANES) {
            const float2 ab = pair(pixel * channels + c);
            sums[0] += f64(ab.x);
            sums[1] += f64(ab.x) * f64(ab.y);
        }
    if (!sum_lanes(shared, sums) || c >= channels) return;
    f64* out = ptr<f64>(partial) + u64(blockIdx.x) * 2 * channels + c;
    out[0] = sums[0];
    out[channels] = sums[1];
}

// partial = Σ x, Σ x². Grid: parts × ceil(channels / 32), blocks of 32 × 16. Reads x once.
KERNEL(batch_norm_forward_sums_f32, BatchNormForwardArgs, ChannelSums<2>, 512) {
    const f32* x = ptr<const f32>(args.x);
    sum_part(shared, valid_pixels(args.state, args.pixels), args.channels, args.parts,
             args.partial, [&](u64 at) { return make_float2(x[at], x[at]); });
}

// partial = Σ dy, Σ dy·(x − mean). Grid and block as above. Reads x and dy once.
KERNEL(batch_norm_backward_sums_f32, BatchNormBackwardArgs, ChannelSums<2>, 512) {
    const f32 *x = ptr<const f32>(args.x), *dy = ptr<const f32>(args.dy);
    const u32 c = blockIdx.y * 32 + threadIdx.x;
    const f32 mean = c < args.channels ? ptr<const f32>(args.mean)[c] : 0.0f;
    sum_part(shared, valid_pixels(args.state, args.pixels), args.channels, args.parts,
             args.partial, [&](u64 at) { return make_float2(dy[at], x[at] - mean); });
}

// totals = the sums of the parts, and the count: what batch norm over several GPUs reduces. Grid:
// ceil(channels / 32), blocks of 32 × 16. Reads the parts once.
KERNEL(batch_norm_combine_f64, BatchNormCombineArgs, ChannelSums<2>, 512) {
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
        totals[2 * u64(args.channels)] = f64(valid_pixels(args.state, args.pixels));
    if (!sum_lanes(shared, sums) || c >= args.channels) return;
    totals[c] = sums[0];
    totals[args.channels + c] = sums[1];
}

// From the totals: mean and 1/sqrt(var + eps) for this batch, the running statistics' step (the
// variance unbiased), and one more batch tracked. One thread a channel, blocks of 256.
KERNEL(batch_norm_statistics_f32, BatchNormForwardArgs, NoShared, 256) {
    const u32 c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= args.channels) return;
    const f64* totals = ptr<const f64>(args.totals);
    const f64 count = totals[2 * u64(args.channels)];
    const f64 mean = totals[c] / count;
    f64 var = totals[args.channels + c] / count - mean * mean;
    if (var < 0.0) var = 0.0;
    const f32 unbiased = f32(var * (count / (count - 1.0)));
    f32* saved = ptr<f32>(args.saved);
    saved[c] = f32(mean);
    saved[args.channels + c] = f32(1.0 / sqrt(var + f64(args.eps)));
    f32 *running_mean = ptr<f32>(args.running_mean) + c, *running_var = ptr<f32>(args.running_var) + c;
    *running_mean = (1.0f - args.momentum) * *running_mean + args.momentum * f32(mean);
    *running_var = (1.0f - args.momentum) * *running_var + args.momentum * unbiased;
    if (c == 0) ++*ptr<u32>(args.counter);
}

// write(pixel · channels + c) for this block's pixels. Grid: ceil(pixels / 128) ×
// ceil(channels / 32), blocks of 32 × 8.
template <class Write>
__device__ __forceinline__ void for_each_pixel(u64 pixels, u32 channels, Write write) {
    const u32 c = blockIdx.y * 32 + threadIdx.x;
    const u64 start = u64(blockIdx.x) * PIXELS_PER_BLOCK;
    for (u32 pixel = threadIdx.y; pixel < PIXELS_PER_BLOCK; pixel += MAP_LANES)
        if (start + pixel < pixels) write((start + pixel) * channels + c);
}

// y = fmaf(x − mean, weight/sqrt(var + eps), bias) with the batch's statistics. Reads x, writes y.
KERNEL(batch_norm_normalize_f32, BatchNormForwardArgs, NoShared, 256) {
    const u32 c = blockIdx.y * 32 + threadIdx.x;
    if (c >= args.channels) return;
    const f32* saved = ptr<const f32>(args.saved);
    const f32 mean = saved[c];
    const f32 scale = ptr<const f32>(args.weight)[c] * saved[args.channels + c];
    const f32 bias = ptr<const f32>(args.bias)[c];
    const f32* x = ptr<const f32>(args.x);
    f32* y = ptr<f32>(args.y);
    for_each_pixel(valid_pixels(args.state, args.pixels), args.channels,
                   [&](u64 at) { y[at] = fmaf(x[at] - mean, scale, bias); });
}

// y = fmaf(x, scale, shift) with scale = weight / sqrt(var + eps), shift = bias − mean·scale of the
// running statistics, each step rounded: the CPU's bits. Reads x, writes y.
KERNEL(batch_norm_eval_f32, BatchNormForwardArgs, NoShared, 256) {
    const u32 c = blockIdx.y * 32 + threadIdx.x;
    if (c >= args.channels) return;
    const f32 spread = sqrtf(ptr<const f32>(args.running_var)[c] + args.eps);
    const f32 scale = ptr<const f32>(args.weight)[c] / spread;
    const f32 shift = ptr<const f32>(args.bias)[c] - ptr<const f32>(args.running_mean)[c] * scale;
    const f32* x = ptr<const f32>(args.x);
    f32* y = ptr<f32>(args.y);
    for_each_pixel(valid_pixels(args.state, args.pixels), args.channels,
                   [&](u64 at) { y[at] = fmaf(x[at], scale, shift); });
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
    if (c >= args.channels) return;
    const f64* totals = ptr<const f64>(args.totals);
    if (args.dweight) {
        f32* out = ptr<f32>(args.dweight) + c;
        const f32 value = f32(totals[args.channels + c] * f64(inverse_deviation(args, c)));
        *out = args.accumulate & 2 ? *out + value : value;
    }
    if (args.dbias) {
        f32* out = ptr<f32>(args.dbias) + c;
        const f32 value = f32(totals[c]);
        *out = args.accumulate & 4 ? *out + value : value;
    }
}

// In training dx (+)= weight·invstd · (dy − Σdy/N − (x − mean)·invstd²·Σ(dy·(x − mean))/N); in eval
// mode dx (+)= dy · weight/sqrt(var + eps). Reads x and dy (and dx), writes dx.
KERNEL(batch_norm_input_gradient_f32, BatchNormBackwardArgs, NoShared, 256) {
    const u32 c = blockIdx.y * 32 + threadIdx.x;
    if (c >= args.channels) return;
    const f32 *x = ptr<const f32>(args.x), *dy = ptr<const f32>(args.dy);
    f32* dx = ptr<f32>(args.dx);
    const f32 weight = ptr<const f32>(args.weight)[c];
    const f32 spread = ptr<const f32>(args.spread)[c];
    const u64 pixels = valid_pixels(args.state, args.pixels);
    const bool add = args.accumulate & 1;
    if (!args.training) {
        const f32 scale = weight / sqrtf(spread + args.eps);
        for_each_pixel(pixels, args.channels, [&](u64 at) {
            const f32 value = dy[at] * scale;
            dx[at] = add ? dx[at] + value : value;
        });
        return;
    }
    const f64* totals = ptr<const f64>(args.totals);
    const f64 count = totals[2 * u64(args.channels)];
    const f32 offset = f32(totals[c] / count);
    const f32 slope = f32(totals[args.channels + c] / count * f64(spread) * f64(spread));
    const f32 mean = ptr<const f32>(args.mean)[c], scale = weight * spread;
    for_each_pixel(pixels, args.channels, [&](u64 at) {
        const f32 value = fmaf(mean - x[at], slope, dy[at] - offset) * scale;
        dx[at] = add ? dx[at] + value : value;
    });
}
