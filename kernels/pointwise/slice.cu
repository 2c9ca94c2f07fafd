// A range of channels (src/ops/slice): y[pixel, c] = x[pixel, first + c].
//
// Maps are (images, pixels, channels) f32. A thread has four channels of a pixel of what it writes;
// block and grid are channel_quad()'s. Forward reads and writes y's elements: 8 bytes each. Backward
// reads dy and writes all of dx, or adds to the range alone. Deterministic: an element is one
// thread's; the bits are those of the CPU.
#include "common/channels.cuh"

struct SliceArgs {
    u64 from, to;     // x and y; backward dy and dx
    u64 state;        // RunState
    u32 pixels;       // of one image
    u32 all_channels; // of x
    u32 first;        // of y's, among x's
    u32 channels;     // of y
    u32 accumulate;   // backward
};

KERNEL(slice_forward_f32, SliceArgs, NoShared, 256) {
    const ChannelQuad quad = channel_quad(args.state, args.pixels, args.channels);
    if (quad.lanes == 0) return;
    const Quad x = {quad.of(args.pixels, args.all_channels).at + args.first, quad.lanes};
    quad.of(args.pixels, args.channels).store(args.to, x.load(args.from));
}

// dx (+)= dy within the range, 0 elsewhere. The grid is that of dx.
KERNEL(slice_backward_f32, SliceArgs, NoShared, 256) {
    const ChannelQuad quad = channel_quad(args.state, args.pixels, args.all_channels);
    const Lanes within = lanes_within(quad, args.first, args.channels);
    if (quad.lanes == 0 || (args.accumulate && within.none())) return;
    const i64 dy = i64(quad.of(args.pixels, args.channels).at) - args.first; // of lane 0, if it had one
    quad.of(args.pixels, args.all_channels)
        .store(args.to, within.load(args.from, dy), args.accumulate);
}
