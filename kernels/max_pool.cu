// Max pooling (src/ops/max_pool): y[p, c] = max of x[·, c] over the window, which may be dilated;
// padding counts as −∞, a NaN wins, of equal values the first in row-major order.
//
// Maps are (images, height, width, channels) f32; x has in_height × in_width pixels, y and taps
// height × width. One thread an element of what is written, blocks of 256, grid of place().
// Deterministic: each element is one thread's, in row-major order; the bits are those of the CPU.
#include "place.cuh"

struct MaxPoolArgs {
    u64 from;  // x, or dy
    u64 to;    // y, or dx
    u64 taps;  // u8: kernel row · kernel columns + kernel column of each output's maximum; 0: none
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

// Moves x once from memory (windows that overlap share cache lines), y once, and a byte an output.
KERNEL(max_pool_forward_f32, MaxPoolArgs, NoShared, 256) {
    const Place p = place(args.state, args.height, args.width, args.channels);
    if (!p.valid) return;
    const u64 image = u64(p.image) * args.in_height * args.in_width * args.channels;
    const f32* x = ptr<const f32>(args.from) + image + p.channel;
    f32 best = -INFINITY;
    u32 won = 0;
    bool first = true;
    for (u32 r = 0; r < args.kernel[0]; ++r) {
        // A row in the padding above wraps around to a large number.
        const u32 row = p.row * args.stride[0] + r * args.dilation[0] - args.padding[0];
        if (row >= args.in_height) continue;
        for (u32 s = 0; s < args.kernel[1]; ++s) {
            const u32 column = p.column * args.stride[1] + s * args.dilation[1] - args.padding[1];
            if (column >= args.in_width) continue;
            const f32 value = x[u64(row * args.in_width + column) * args.channels];
            if (first || value > best || isnan(value)) {
                best = value;
                won = r * args.kernel[1] + s;
                first = false;
            }
        }
    }
    ptr<f32>(args.to)[p.at] = best;
    if (args.taps) ptr<u8>(args.taps)[p.at] = u8(won);
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
    const Place q = place(args.state, args.in_height, args.in_width, args.channels);
    if (!q.valid) return;
    const u64 image = u64(q.image) * args.height * args.width * args.channels;
    const f32* dy = ptr<const f32>(args.from) + image + q.channel;
    const u8* taps = ptr<const u8>(args.taps) + image + q.channel;
    const Readers rows = readers(args, 0, q.row), columns = readers(args, 1, q.column);
    f32 sum = 0.0f;
    for (u32 i = rows.start; i < rows.end; ++i) {
        const u32 down = q.row + args.padding[0] - i * args.stride[0];
        if (down % args.dilation[0] != 0) continue;
        for (u32 j = columns.start; j < columns.end; ++j) {
            const u32 across = q.column + args.padding[1] - j * args.stride[1];
            if (across % args.dilation[1] != 0) continue;
            const u32 tap = down / args.dilation[0] * args.kernel[1] + across / args.dilation[1];
            const u64 at = u64(i * args.width + j) * args.channels;
            if (taps[at] == tap) sum += dy[at];
        }
    }
    f32* dx = ptr<f32>(args.to) + q.at;
    *dx = args.accumulate ? *dx + sum : sum;
}
