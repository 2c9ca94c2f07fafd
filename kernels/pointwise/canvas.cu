// Another size of map (src/ops/canvas): y[row, column] = x[row, column] where x has it, else 0.
//
// Maps are (images, height, width, channels) f32. A thread has four channels of a pixel of what it
// writes; block and grid are channel_quad()'s. Bytes: what both maps share is read, all is written.
// Deterministic: an element is one thread's; the bits are those of the CPU.
#include "common/channels.cuh"

// to (+)= from, of another size.
struct CanvasArgs {
    u64 from, to;
    u64 state;        // RunState
    u32 from_size[2]; // height, width
    u32 to_size[2];
    u32 channels;
    u32 accumulate;
};

// to (+)= from where it is there, otherwise 0: forward from x to y, backward from dy to dx.
KERNEL(canvas_copy_f32, CanvasArgs, NoShared, 256) {
    const u32 pixels = args.to_size[0] * args.to_size[1];
    const ChannelQuad quad = channel_quad(args.state, pixels, args.channels);
    if (quad.lanes == 0) return;
    const u32 row = quad.pixel / args.to_size[1], column = quad.pixel % args.to_size[1];
    const bool there = row < args.from_size[0] && column < args.from_size[1];
    if (args.accumulate && !there) return;
    Four value = {{0.0f, 0.0f, 0.0f, 0.0f}};
    if (there) {
        ChannelQuad from = quad;
        from.pixel = row * args.from_size[1] + column;
        value = from.of(args.from_size[0] * args.from_size[1], args.channels).load(args.from);
    }
    quad.of(pixels, args.channels).store(args.to, value, args.accumulate);
}
