// Means over rectangles of pixels: what avg_pool.cu and adaptive_avg_pool.cu share. An `Axis` says
// which inputs an output of one axis reads, and which outputs read an input.
#pragma once
#include "place.cuh"

// The inputs start..end, of which an output counts `count` (padding may count).
struct Extent {
    u32 start, end, count;
};

// The outputs start..end that read an input.
struct Readers {
    u32 start, end;
};

// y[n, i, j, c] = (Σ x[n, row, column, c]) / (rows counted · columns counted), added from zero in
// row-major order, then one division. The grid is place()'s over y.
template <class Args, class Axis>
__device__ __forceinline__ void average_forward(const Args& args, const Axis& rows,
                                                const Axis& columns) {
    const Place p = place(args.state, args.height, args.width, args.channels);
    if (!p.valid) return;
    const Extent r = rows.extent(p.row), s = columns.extent(p.column);
    const u64 image = u64(p.image) * args.in_height * args.in_width * args.channels;
    const f32* x = ptr<const f32>(args.from) + image + p.channel;
    f32 sum = 0.0f;
    for (u32 row = r.start; row < r.end; ++row)
        for (u32 column = s.start; column < s.end; ++column)
            sum += x[u64(row * args.in_width + column) * args.channels];
    ptr<f32>(args.to)[p.at] = sum / f32(r.count * s.count);
}

// dx[n, row, column, c] (+)= Σ dy[n, i, j, c] / count of (i, j) over the rectangles that hold the
// pixel, in row-major order. The grid is place()'s over dx.
template <class Args, class Axis>
__device__ __forceinline__ void average_backward(const Args& args, const Axis& rows,
                                                 const Axis& columns) {
    const Place p = place(args.state, args.in_height, args.in_width, args.channels);
    if (!p.valid) return;
    const Readers r = rows.readers(p.row), s = columns.readers(p.column);
    const u64 image = u64(p.image) * args.height * args.width * args.channels;
    const f32* dy = ptr<const f32>(args.from) + image + p.channel;
    f32 sum = 0.0f;
    for (u32 i = r.start; i < r.end; ++i) {
        const u32 counted = rows.extent(i).count;
        // Unrolled, the divisions' slow paths spill registers.
        ROLLED for (u32 j = s.start; j < s.end; ++j) {
            const u32 count = counted * columns.extent(j).count;
            sum += dy[u64(i * args.width + j) * args.channels] / f32(count);
        }
    }
    f32* dx = ptr<f32>(args.to) + p.at;
    *dx = args.accumulate ? *dx + sum : sum;
}
