// Means over rectangles of pixels: what avg_pool.cu and adaptive_avg_pool.cu share. An `Axis` says
// which inputs an output of one axis reads, and which outputs read an input.
#pragma once
#include "common/channels.cuh"

// The inputs start..end, of which an output counts `count` (padding may count).
struct Extent {
    u32 start, end, count;
};

// The outputs start..end that read an input.
struct Readers {
    u32 start, end;
};

// y[n, i, j, c] = (Σ x[n, row, column, c]) / (rows counted · columns counted), added from zero in
// row-major order, then one division. The grid is channel_quad()'s over y.
template <class Args, class Axis>
__device__ __forceinline__ void average_forward(const Args& args, const Axis& rows,
                                                const Axis& columns) {
    const u32 pixels = args.height * args.width, in_pixels = args.in_height * args.in_width;
    const ChannelQuad to = channel_quad(args.state, pixels, args.channels);
    if (to.lanes == 0) return;
    const Extent r = rows.extent(to.pixel / args.width), s = columns.extent(to.pixel % args.width);
    Four sum = {};
    for (u32 row = r.start; row < r.end; ++row)
        for (u32 column = s.start; column < s.end; ++column) {
            const ChannelQuad from = to.at_pixel(row * args.in_width + column);
            sum = map_four(sum, from.of(in_pixels, args.channels).load(args.from),
                           [](f32 sum, f32 x) { return sum + x; });
        }
    const f32 count = f32(r.count * s.count);
    to.of(pixels, args.channels).store(args.to, map_four(sum, [=](f32 sum) { return sum / count; }));
}

// dx[n, row, column, c] (+)= Σ dy[n, i, j, c] / count of (i, j) over the rectangles that hold the
// pixel, in row-major order. The grid is channel_quad()'s over dx.
template <class Args, class Axis>
__device__ __forceinline__ void average_backward(const Args& args, const Axis& rows,
                                                 const Axis& columns) {
    const u32 pixels = args.height * args.width, in_pixels = args.in_height * args.in_width;
    const ChannelQuad to = channel_quad(args.state, in_pixels, args.channels);
    if (to.lanes == 0) return;
    const Readers r = rows.readers(to.pixel / args.in_width);
    const Readers s = columns.readers(to.pixel % args.in_width);
    Four sum = {};
    for (u32 i = r.start; i < r.end; ++i) {
        const u32 counted = rows.extent(i).count;
        // Unrolled, the divisions' slow paths spill registers.
        ROLLED for (u32 j = s.start; j < s.end; ++j) {
            const f32 count = f32(counted * columns.extent(j).count);
            const ChannelQuad from = to.at_pixel(i * args.width + j);
            sum = map_four(sum, from.of(pixels, args.channels).load(args.from),
                           [=](f32 sum, f32 dy) { return sum + dy / count; });
        }
    }
    to.of(in_pixels, args.channels).store(args.to, sum, args.accumulate);
}
