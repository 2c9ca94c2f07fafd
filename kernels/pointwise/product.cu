// Products of maps, of which one may be spread over the other's pixels or channels, and their
// gradients (src/ops/product): `multiply`, and `gated_sum`, which adds several.
//
// y is (images, pixels, channels) f32; a factor lies where its strides say (see Factor). Gradients:
// d(factor) (+)= dy · other, summed over what the factor is spread over. Deterministic: an element is
// one thread's, and sums are taken in an order that follows from the sizes of a map alone. The bits
// are those of the CPU but for sums over pixels, which it takes in one stage.
#include "common/channel_sums.cuh"
#include "common/channels.cuh"
#include "common/wide.cuh"

// Where a factor's element for (image, pixel, channel) of the output lies.
struct Factor {
    u64 values;
    u32 image;   // elements from image to image
    u32 first;   // channel
    u32 pixel;   // elements from pixel to pixel; 0 for a value a channel
    u32 channel; // 1; 0 for a value a pixel

    // An index of `values`.
    __device__ __forceinline__ i64 index(u32 at_image, u32 at_pixel, i64 at_channel) const {
        return i64(u64(at_image) * image + u64(at_pixel) * pixel + first) + at_channel * channel;
    }

    // Four channels; other lanes are 0.
    __device__ __forceinline__ Four load(u32 at_image, u32 at_pixel, i64 at_channel,
                                         Lanes lanes) const {
        const i64 from = index(at_image, at_pixel, at_channel);
        if (channel != 0) return lanes.load(values, from);
        const f32 value = ptr<const f32>(values)[from];
        return {{value, value, value, value}};
    }
};

enum { PRODUCT_TERMS = 4 };

struct ProductForwardArgs {
    u64 y;
    u64 state; // RunState
    u32 pixels;
    u32 channels;
    u32 terms;
    u32 resume; // 1: y holds what earlier launches have added up
    Factor a[PRODUCT_TERMS];
    Factor b[PRODUCT_TERMS];
};

struct ProductGradientArgs {
    u64 dy;
    u64 partial; // (images, parts, channels) f64
    u64 state;   // RunState
    u32 pixels;  // of the output
    u32 channels;
    u32 parts;
    u32 all_channels; // of the map that `to` is a part of; others than its own are cleared
    u32 accumulate;
    Factor other;
    Factor to;
};

// y = a0·b0, then fmaf(a, b, y) term by term. Four channels a thread, grid and block of
// channel_quad(). Reads the factors, writes y.
KERNEL(product_forward_f32, ProductForwardArgs, NoShared, 256) {
    const ChannelQuad quad = channel_quad(args.state, args.pixels, args.channels);
    if (quad.lanes == 0) return;
    const Quad to = quad.of(args.pixels, args.channels);
    Four y = {{0.0f, 0.0f, 0.0f, 0.0f}};
    if (args.resume) y = to.load(args.y);
    for (u32 term = 0; term < args.terms; ++term) {
        const Lanes all = {0, quad.lanes};
        const Four a = args.a[term].load(quad.image, quad.pixel, quad.channel, all);
        const Four b = args.b[term].load(quad.image, quad.pixel, quad.channel, all);
        const bool first = term == 0 && !args.resume;
        UNROLL
        for (u32 i = 0; i < 4; ++i)
            y.v[i] = first ? a.v[i] * b.v[i] : fmaf(a.v[i], b.v[i], y.v[i]);
    }
    to.store(args.y, y);
}

// The gradient of a factor that meets the output one to one. Four channels a thread of the map that it
// is a part of, grid and block of channel_quad(). Reads dy and the other factor, writes all of the map,
// or adds to the factor's channels.
KERNEL(product_map_gradient_f32, ProductGradientArgs, NoShared, 256) {
    const ChannelQuad quad = channel_quad(args.state, args.pixels, args.all_channels);
    const Lanes own = lanes_within(quad, args.to.first, args.channels);
    if (quad.lanes == 0 || (args.accumulate && own.none())) return;
    Four value = {{0.0f, 0.0f, 0.0f, 0.0f}};
    if (!own.none()) {
        const i64 channel = i64(quad.channel) - args.to.first;
        const u64 pixel = u64(quad.image) * args.pixels + quad.pixel;
        const Four dy = own.load(args.dy, i64(pixel * args.channels) + channel);
        const Four other = args.other.load(quad.image, quad.pixel, channel, own);
        UNROLL
        for (u32 i = 0; i < 4; ++i)
            if (own.from <= i && i < own.to) value.v[i] = dy.v[i] * other.v[i];
    }
    quad.of(args.pixels, args.all_channels).store(args.to.values, value, args.accumulate);
}

// The gradient of a factor of one value a pixel: Σ dy·other over channels, in the CPU's order. 16
// threads a pixel, grid and block of lane_pixel(). Reads dy and the other factor once.
KERNEL(product_pixel_gradient_f32, ProductGradientArgs, NoShared, 256) {
    const LanePixel at = lane_pixel<LANES>(args.state, args.pixels);
    const u32 image = u32(at.pixel / args.pixels), pixel = u32(at.pixel % args.pixels);
    f32 sum = 0.0f;
    if (at.valid) {
        const f32* dy = ptr<const f32>(args.dy) + at.pixel * args.channels;
        const f32* other = ptr<const f32>(args.other.values);
        for (u32 c = at.lane; c < args.channels; c += LANES)
            sum = fmaf(dy[c], other[args.other.index(image, pixel, c)], sum);
    }
    sum = total<LANES>(sum);
    if (!at.valid) return;
    f32* to = ptr<f32>(args.to.values) + args.to.index(image, pixel, 0);
    if (args.accumulate) {
        if (at.lane == 0) *to += sum;
        return;
    }
    to -= args.to.first;
    for (u32 c = at.lane; c < args.all_channels; c += LANES) to[c] = c == args.to.first ? sum : 0.0f;
}

// partial = Σ dy·other over a part of an image's pixels, in f64, where the products are exact: the
// first stage for a factor of one value a channel. Grid parts × ceil(channels / 32) × images of the
// capacity, blocks of 32 × 16. Reads dy and the other factor once.
KERNEL(product_channel_partials_f64, ProductGradientArgs, ChannelSums<1>, 512) {
    const u32 image = blockIdx.z;
    if (image >= ptr<const RunState>(args.state)->images) return; // the whole block
    const SumThread at = sum_thread(blockIdx.y * 32, args.channels);
    const Part part = part_of(args.pixels, args.parts, blockIdx.x);
    f64 sums[1][4] = {};
    if (at.lanes != 0)
        for (u64 pixel = part.start + at.pixel; pixel < part.end; pixel += SUM_PIXELS) {
            const u64 first = (u64(image) * args.pixels + pixel) * args.channels;
            const Four dy = Quad{first + at.channel, at.lanes}.load(args.dy);
            const Four other = args.other.load(image, u32(pixel), at.channel, {0, at.lanes});
            UNROLL
            for (u32 i = 0; i < 4; ++i) sums[0][i] += f64(dy.v[i]) * f64(other.v[i]);
        }
    f64 total[1];
    if (sum_quads(shared, sums, total) && at.own < args.channels)
        ptr<f64>(args.partial)[(u64(image) * args.parts + blockIdx.x) * args.channels + at.own] =
            total[0];
}

// The second: d(factor) (+)= Σ partial, in order of the parts. One thread a channel of an image, blocks
// of 256, grid ceil(images of the capacity · channels / 256).
KERNEL(product_channel_gradient_f32, ProductGradientArgs, NoShared, 256) {
    const u64 index = u64(blockIdx.x) * blockDim.x + threadIdx.x;
    const u32 image = u32(index / args.channels), c = u32(index % args.channels);
    if (image >= ptr<const RunState>(args.state)->images) return;
    const f64* partial = ptr<const f64>(args.partial) + u64(image) * args.parts * args.channels + c;
    f64 sum = 0.0;
    for (u64 part = 0; part < args.parts; ++part) sum += partial[part * args.channels];
    f32* to = ptr<f32>(args.to.values) + args.to.index(image, 0, c);
    *to = args.accumulate ? *to + f32(sum) : f32(sum);
}
