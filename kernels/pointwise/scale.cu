// The logit scale (src/ops/scale): y = x · exp(s), the exponential in f64 and rounded once.
//
// Maps are (images, pixels, channels) f32, s is one f32. Deterministic: an element is one thread's,
// and Σ dy·y is added, in two stages, in an order that follows from the number of elements.
#include "common/block_sum.cuh"
#include "common/elementwise.cuh"
#include "common/place.cuh"
#include "fault/fault.cuh"

struct ScaleForwardArgs {
    u64 x, y;
    u64 s;
    u64 state;  // RunState
    u64 faults; // FaultTable, read by the armed kernel only; 0 where none is armed
    u32 pixels; // of one image
    u32 channels;
};

struct ScaleBackwardArgs {
    u64 y, dy;
    u64 s;
    u64 result;   // dx, or the partial sums
    u64 state;    // RunState
    u32 elements; // of one image
    u32 accumulate;
};

struct ScaleTotalArgs {
    u64 partial; // (64) f64
    u64 ds;
    u32 accumulate;
};

constexpr u32 SCALE_PARTS = 64; // blocks that sum

__device__ __forceinline__ f32 scale_factor(u64 s) { return f32(exp(f64(*ptr<const f32>(s)))); }

// Four elements a thread, blocks of 256, grid ceil(elements / 1024). Reads x, writes y.
KERNEL(scale_forward_f32, ScaleForwardArgs, NoShared, 256) {
    const Quad quad = quad_of_batch(args.state, args.pixels * args.channels);
    if (quad.lanes == 0) return;
    const f32 factor = scale_factor(args.s);
    quad.store(args.y, map_four(quad.load(args.x), [=](f32 x) { return x * factor; }));
}

// The same bits, then the faults of each element. One thread an element, blocks of 256, grid of
// place(). Reads x and two words of the table, writes y.
KERNEL(scale_forward_f32_armed, ScaleForwardArgs, NoShared, 256) {
    const Place p = place(args.state, 1, args.pixels, args.channels);
    if (!p.valid) return;
    const f32 value = ptr<const f32>(args.x)[p.at] * scale_factor(args.s);
    const u64 element = u64(p.channel) * args.pixels + p.column;
    ptr<f32>(args.y)[p.at] = apply_faults(faults_of(args.faults, p.image), element, value);
}

// dx (+)= dy · exp(s). Block and grid as forward. Reads dy (and dx), writes dx.
KERNEL(scale_backward_f32, ScaleBackwardArgs, NoShared, 256) {
    const Quad quad = quad_of_batch(args.state, args.elements);
    if (quad.lanes == 0) return;
    const f32 factor = scale_factor(args.s);
    quad.store(args.result, map_four(quad.load(args.dy), [=](f32 dy) { return dy * factor; }),
               args.accumulate);
}

// partial[b] = Σ dy·y over the quads of block b, in f64, where the products are exact. 64 blocks of 256
// go over the batch together; in each come a tree over the lanes of a warp and a sum over the warps in
// order. Reads y and dy: 8 bytes an element.
KERNEL(scale_factor_partials_f64, ScaleBackwardArgs, BlockSum, 256) {
    const u64 count = u64(ptr<const RunState>(args.state)->images) * args.elements;
    const u64 stride = u64(SCALE_PARTS) * 256 * 4;
    f64 sum = 0.0;
    for (u64 at = quad_of(count).at; at < count; at += stride) {
        const Quad quad = {at, u32(min(u64(4), count - at))};
        const Four y = quad.load(args.y), dy = quad.load(args.dy); // past the end both are 0
        UNROLL
        for (u32 i = 0; i < 4; ++i) sum += f64(dy.v[i]) * f64(y.v[i]);
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) ptr<f64>(args.result)[blockIdx.x] = sum;
}

// ds (+)= Σ partial. One warp.
KERNEL(scale_factor_gradient_f32, ScaleTotalArgs, NoShared, 32) {
    const f64* partial = ptr<const f64>(args.partial);
    f64 sum = 0.0;
    for (u32 part = threadIdx.x; part < SCALE_PARTS; part += 32) sum += partial[part];
    sum = total<32>(sum);
    if (threadIdx.x != 0) return;
    f32* ds = ptr<f32>(args.ds);
    *ds = f32(sum) + (args.accumulate ? *ds : 0.0f);
}
