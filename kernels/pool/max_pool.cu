// Max pooling (src/ops/max_pool): y[p, c] = max of x[·, c] over the window, which may be dilated;
// padding counts as −∞, a NaN wins, of equal values the first in row-major order.
//
// Maps are (images, height, width, channels) f32; x has in_height × in_width pixels, y and taps
// height × width. A thread has four channels of a pixel of what it writes; block and grid are
// channel_quad()'s. Accesses are of 16 bytes, and of 4 for four taps. Deterministic: each element is one
// thread's, in row-major order; the bits are those of the CPU.
#include "common/channels.cuh"

struct MaxPoolArgs {
    u64 from;  // x, or dy
    u64 to;    // y, or dx
    // u8: kernel row · kernel columns + kernel column of each output's maximum; 0 where no backward pass
    // will ask for it.
    u64 taps;
    u64 state; // RunState
    u32 in_height, in_width;
    u32 height, width;
    u32 channels;
    u32 kernel[2];
    u32 stride[2];
    u32 padding[2];
    u32 dilation[2];
    u32 accumulate; // backward adds to dx
};

// The taps of a quad, which move as one access where all four are there and their address allows it.
struct FourTaps {
    u32 v[4];
};

__device__ __forceinline__ FourTaps load_taps(u64 taps, const Quad& quad) {
    const u8* from = ptr<const u8>(taps) + quad.at;
    FourTaps out = {};
    if (quad.lanes == 4 && is_aligned(from, 4)) {
        const u32 word = *reinterpret_cast<const u32*>(from);
        UNROLL
        for (u32 i = 0; i < 4; ++i) out.v[i] = word >> 8 * i & 255;
    } else {
        from = of_any_alignment(from);
        UNROLL
        for (u32 i = 0; i < 4; ++i)
            if (i < quad.lanes) out.v[i] = from[i];
    }
    return out;
}

__device__ __forceinline__ void store_taps(u64 taps, const Quad& quad, const FourTaps& value) {
    u8* to = ptr<u8>(taps) + quad.at;
    if (quad.lanes == 4 && is_aligned(to, 4)) {
        *reinterpret_cast<u32*>(to) =
            value.v[0] | value.v[1] << 8 | value.v[2] << 16 | value.v[3] << 24;
    } else {
        to = of_any_alignment(to);
        UNROLL
        for (u32 i = 0; i < 4; ++i)
            if (i < quad.lanes) to[i] = u8(value.v[i]);
    }
}

// Moves x once from memory (windows that overlap share cache lines), y once, and a byte an output.
KERNEL(max_pool_forward_f32, MaxPoolArgs, NoShared, 256) {
    const u32 pixels = args.height * args.width, in_pixels = args.in_height * args.in_width;
    const ChannelQuad p = channel_quad(args.state, pixels, args.channels);
    if (p.lanes == 0) return;
    Four best = {{-INFINITY, -INFINITY, -INFINITY, -INFINITY}};
    FourTaps won = {};
    bool first = true;
    for (u32 r = 0; r < args.kernel[0]; ++r) {
        // A row in the padding above wraps around to a large number.
        const u32 row =
            p.pixel / args.width * args.stride[0] + r * args.dilation[0] - args.padding[0];
        if (row >= args.in_height) continue;
        for (u32 s = 0; s < args.kernel[1]; ++s) {
            const u32 column =
                p.pixel % args.width * args.stride[1] + s * args.dilation[1] - args.padding[1];
            if (column >= args.in_width) continue;
            const ChannelQuad from = p.at_pixel(row * args.in_width + column);
            const Four x = from.of(in_pixels, args.channels).load(args.from);
            UNROLL
            for (u32 i = 0; i < 4; ++i) {
                const bool wins = first || x.v[i] > best.v[i] || isnan(x.v[i]);
                best.v[i] = wins ? x.v[i] : best.v[i];
                won.v[i] = wins ? r * args.kernel[1] + s : won.v[i];
            }
            first = false;
        }
    }
    const Quad to = p.of(pixels, args.channels);
    to.store(args.to, best);
    if (args.taps) store_taps(args.taps, to, won);
}

// The outputs start..end along an axis whose window may hold an input.
struct Readers {
    u32 start, end;
};

__device__ __forceinline__ Readers readers(const MaxPoolArgs& args, u32 axis, u32 input) {
    const u32 at = input + args.padding[axis];
    const u32 reach = (args.kernel[axis] - 1) * args.dilation[axis];
    const u32 stride = args.stride[axis];
    const u32 start = at <= reach ? 0 : (at - reach + stride - 1) / stride;
    return {start, min(at / stride + 1, axis ? args.width : args.height)};
}

// dx[q, c] (+)= Σ dy[p, c] over the windows p that q won, in row-major order of p. Reads dy and taps
// once from memory, writes dx once.
KERNEL(max_pool_backward_f32, MaxPoolArgs, NoShared, 256) {
    const u32 pixels = args.height * args.width, in_pixels = args.in_height * args.in_width;
    const ChannelQuad q = channel_quad(args.state, in_pixels, args.channels);
    if (q.lanes == 0) return;
    const u32 row = q.pixel / args.in_width, column = q.pixel % args.in_width;
    const Readers rows = readers(args, 0, row), columns = readers(args, 1, column);
    Four sum = {};
    for (u32 i = rows.start; i < rows.end; ++i) {
        const u32 down = row + args.padding[0] - i * args.stride[0];
        if (down % args.dilation[0] != 0) continue;
        for (u32 j = columns.start; j < columns.end; ++j) {
            const u32 across = column + args.padding[1] - j * args.stride[1];
            if (across % args.dilation[1] != 0) continue;
            const u32 tap = down / args.dilation[0] * args.kernel[1] + across / args.dilation[1];
            const Quad from = q.at_pixel(i * args.width + j).of(pixels, args.channels);
            const FourTaps taps = load_taps(args.taps, from);
            const Four dy = from.load(args.from);
            UNROLL
            for (u32 lane = 0; lane < 4; ++lane)
                if (taps.v[lane] == tap) sum.v[lane] += dy.v[lane];
        }
    }
    q.of(in_pixels, args.channels).store(args.to, sum, args.accumulate);
}
