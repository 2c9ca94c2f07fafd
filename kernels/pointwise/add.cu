// Addition (src/ops/add): y = a + b, with stochastic depth while training y = a + b·m, where m is an
// image's: 0 where word 0 of Philox4x32-10 (key from the node's name and the seed, counter (0, sample,
// sample, epoch)) is below the threshold, otherwise the factor.
//
// Arrays are f32 in any layout. Four elements a thread, blocks of 256, grid ceil(elements / 1024).
// Deterministic: an element is one thread's; the bits are those of the CPU.
#include "common/elementwise.cuh"
#include "common/philox.cuh"

struct AddForwardArgs {
    u64 a, b, y;
    u64 samples;   // u64 an image
    u64 state;     // RunState
    u64 name;      // of the node, hashed: its share of the key
    u32 elements;  // of one image
    u32 threshold; // words below it drop an image's b; 0 where nothing is drawn
    f32 factor;    // of the images kept
};

struct AddBackwardArgs {
    u64 dy, dx;
    u64 samples;
    u64 state;
    u64 name;
    u32 elements;
    u32 threshold;
    f32 factor;
    u32 accumulate;
};

// Each value of a quad times its image's m. A quad that reaches into the next image makes its draw, too.
template <class Args>
__device__ __forceinline__ Four masked(const Args& args, const Quad& quad, Four value) {
    const RunState& state = *ptr<const RunState>(args.state);
    if (args.threshold == 0 || !state.training) return value;
    const u64 key = args.name ^ state.seed;
    u64 drawn = ~u64(0);
    f32 m = 0.0f;
    UNROLL
    for (u32 i = 0; i < 4; ++i) {
        if (i >= quad.lanes) break;
        const u64 image = (quad.at + i) / args.elements;
        if (image != drawn) {
            drawn = image;
            const u64 sample = ptr<const u64>(args.samples)[image];
            const uint4 words =
                philox4x32_10(make_uint4(0, u32(sample), u32(sample >> 32), u32(state.epoch)),
                              make_uint2(u32(key), u32(key >> 32)));
            m = words.x >= args.threshold ? args.factor : 0.0f;
        }
        value.v[i] = value.v[i] * m;
    }
    return value;
}

// Reads a and b, writes y: 12 bytes an element.
KERNEL(add_forward_f32, AddForwardArgs, NoShared, 256) {
    const Quad quad = quad_of_batch(args.state, args.elements);
    if (quad.lanes == 0) return;
    quad.store(args.y, map_four(quad.load(args.a), masked(args, quad, quad.load(args.b)),
                                [](f32 a, f32 b) { return a + b; }));
}

// dx (+)= dy·m, for one input a launch, since both may be one value; for a the threshold is 0. Reads dy
// (and dx), writes dx.
KERNEL(add_backward_f32, AddBackwardArgs, NoShared, 256) {
    const Quad quad = quad_of_batch(args.state, args.elements);
    if (quad.lanes == 0) return;
    quad.store(args.dx, masked(args, quad, quad.load(args.dy)), args.accumulate);
}
