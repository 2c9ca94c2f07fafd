// Arithmetic with a parameter that is broadcast over a map (src/ops/broadcast): y = x + t or x · t, and the gradients.
//
// Arrays are f32, (images, rows, columns, channels) and (rows, columns, channels). The parameter is read at
// place / each % its size, along each axis. One element a thread; block and grid are place()'s. Bytes: 8 an element
// and the parameter's, 12 where it adds. Deterministic: an element is one thread's, sums are in one order, in
// f64; the bits are those of the CPU.
#include "common/place.cuh"

struct BroadcastArgs {
    u64 x;     // backward dy
    u64 y;     // dx; of the parameter's gradient x, or 0 where it counts as one
    u64 table; // the parameter, or 0 where dx is dy; or its gradient
    u64 state; // RunState
    u32 size[3]; // rows, columns, channels
    u32 table_size[3];
    u32 each[3]; // neighbours that read the same of the parameter
    u32 multiplies;
    u32 accumulate;
};

// Which element of the parameter an element reads.
__device__ __forceinline__ u32 table_index(const BroadcastArgs& args, const Place& at) {
    const u32 row = at.row / args.each[0] % args.table_size[0];
    const u32 column = at.column / args.each[1] % args.table_size[1];
    const u32 channel = at.channel / args.each[2] % args.table_size[2];
    return (row * args.table_size[1] + column) * args.table_size[2] + channel;
}

KERNEL(broadcast_forward_f32, BroadcastArgs, NoShared, 256) {
    const Place at = place(args.state, args.size[0], args.size[1], args.size[2]);
    if (!at.valid) return;
    const f32 x = ptr<const f32>(args.x)[at.at];
    const f32 t = ptr<const f32>(args.table)[table_index(args, at)];
    ptr<f32>(args.y)[at.at] = args.multiplies ? x * t : x + t;
}

// dx (+)= dy or dy · t.
KERNEL(broadcast_backward_f32, BroadcastArgs, NoShared, 256) {
    const Place at = place(args.state, args.size[0], args.size[1], args.size[2]);
    if (!at.valid) return;
    f32 dx = ptr<const f32>(args.x)[at.at];
    if (args.table) dx = dx * ptr<const f32>(args.table)[table_index(args, at)];
    f32* to = ptr<f32>(args.y) + at.at;
    *to = args.accumulate ? *to + dx : dx;
}

// The places of an axis that read one of the parameter's, in order.
struct Readers {
    u32 at, each, hop, size;

    __device__ __forceinline__ Readers(const BroadcastArgs& args, u32 axis, u32 table_at)
        : at(table_at * args.each[axis]), each(args.each[axis]),
          hop(args.table_size[axis] * args.each[axis]), size(args.size[axis]) {}

    template <class Run> __device__ __forceinline__ void for_each(const Run& run) const {
        for (u32 start = at; start < size; start += hop)
            for (u32 place = start; place < min(start + each, size); ++place) run(place);
    }
};

// dt (+)= Σ dy or Σ dy · x over what reads it. An element of the parameter a thread.
KERNEL(broadcast_table_gradient_f32, BroadcastArgs, NoShared, 256) {
    const u32 index = blockIdx.x * PLACE_THREADS + threadIdx.x;
    const u32 pixel = index / args.table_size[2];
    if (pixel >= args.table_size[0] * args.table_size[1]) return;
    const Readers rows(args, 0, pixel / args.table_size[1]);
    const Readers columns(args, 1, pixel % args.table_size[1]);
    const Readers channels(args, 2, index % args.table_size[2]);
    const u32 images = ptr<const RunState>(args.state)->images;
    f64 sum = 0.0;
    for (u32 image = 0; image < images; ++image)
        rows.for_each([&](u32 row) {
            columns.for_each([&](u32 column) {
                channels.for_each([&](u32 channel) {
                    const u64 at =
                        ((u64(image) * args.size[0] + row) * args.size[1] + column) * args.size[2] + channel;
                    const f64 factor = args.y ? f64(ptr<const f32>(args.y)[at]) : 1.0;
                    sum += f64(ptr<const f32>(args.x)[at]) * factor;
                });
            });
        });
    f32* to = ptr<f32>(args.table) + index;
    *to = f32(sum) + (args.accumulate ? *to : 0.0f);
}
