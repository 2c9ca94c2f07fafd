// Rows by their number (src/ops/gather): y[p, c] = x[index[p], c].
//
// y is (images, pixels, width) f32, the indices (images, pixels) u32, x a table (rows, width) f32 or,
// with rows of their own, (images, rows, width). A thread has four channels of a row of what it
// writes; block and grid are channel_quad()'s. Deterministic: an element is one thread's, and what goes
// to one row is added in the order of the indices; the bits are those of the CPU. An index that is no
// row gives NaN, and nothing going back.
#include "common/channels.cuh"

// From x to y.
struct GatherForwardArgs {
    u64 x, indices, y;
    u64 state; // RunState
    u32 rows, width;
    u32 pixels;   // indices of an image
    u32 own_rows; // 1: each image has its rows
};

// From dy to dx.
struct GatherBackwardArgs {
    u64 dy, indices, dx;
    u64 state; // RunState
    u32 rows, width;
    u32 pixels;   // indices of an image
    u32 own_rows; // 1: each image has its rows
    u32 accumulate;
};

// Reads y's elements and the indices, writes y: 8 bytes an element.
KERNEL(gather_forward_f32, GatherForwardArgs, NoShared, 256) {
    const ChannelQuad quad = channel_quad(args.state, args.pixels, args.width);
    if (quad.lanes == 0) return;
    const u32 index = ptr<const u32>(args.indices)[u64(quad.image) * args.pixels + quad.pixel];
    Four value = {{NAN, NAN, NAN, NAN}};
    if (index < args.rows) {
        const ChannelQuad from = {args.own_rows ? quad.image : 0, index, quad.channel, quad.lanes};
        value = from.of(args.rows, args.width).load(args.x);
    }
    quad.of(args.pixels, args.width).store(args.y, value);
}

// dx (+)= Σ dy over the pixels that asked for the row. The grid is that of dx, which is all written; a
// thread reads every index that can ask for its row (from the cache: 4 bytes for each 256 threads)
// and those of dy that do.
KERNEL(gather_backward_f32, GatherBackwardArgs, NoShared, 256) {
    const ChannelQuad quad = channel_quad(args.state, args.rows, args.width);
    if (quad.lanes == 0) return;
    const u32 images = args.own_rows ? 1 : ptr<const RunState>(args.state)->images;
    const u64 first = u64(quad.image) * args.pixels, end = first + u64(images) * args.pixels;
    const u32* indices = ptr<const u32>(args.indices);
    const Quad to = quad.of(args.rows, args.width);
    Four sum = {{0.0f, 0.0f, 0.0f, 0.0f}};
    if (args.accumulate) sum = to.load(args.dx);
    for (u64 p = first; p < end; ++p) {
        if (indices[p] != quad.pixel) continue;
        const Four dy = Quad{p * args.width + quad.channel, quad.lanes}.load(args.dy);
        UNROLL
        for (u32 i = 0; i < 4; ++i) sum.v[i] += dy.v[i];
    }
    to.store(args.dx, sum);
}
