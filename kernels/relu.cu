// ReLU (src/ops/relu): y = 0 where x < 0, else x, so that NaN stays NaN.
//
// Arrays are f32 in any layout. Four elements a thread, blocks of 256, grid ceil(elements / 1024).
// Deterministic: an element is one thread's; the bits are those of the CPU.
#include "elementwise.cuh"

struct ReluForwardArgs {
    u64 x, y;
    u64 state;    // RunState
    u32 elements; // of one image
    u32 unused;
};

struct ReluBackwardArgs {
    u64 y, dy, dx;
    u64 state;    // RunState
    u32 elements; // of one image
    u32 accumulate;
};

// Reads x, writes y: 8 bytes an element.
KERNEL(relu_forward_f32, ReluForwardArgs, NoShared, 256) {
    const Quad quad = quad_of_batch(args.state, args.elements);
    if (quad.lanes == 0) return;
    quad.store(args.y, map_four(quad.load(args.x), [](f32 x) { return x < 0.0f ? 0.0f : x; }));
}

// dx (+)= 0 where y <= 0, else dy. Reads y and dy (and dx), writes dx: 12 bytes an element.
KERNEL(relu_backward_f32, ReluBackwardArgs, NoShared, 256) {
    const Quad quad = quad_of_batch(args.state, args.elements);
    if (quad.lanes == 0) return;
    const Four dx = map_four(quad.load(args.y), quad.load(args.dy),
                             [](f32 y, f32 dy) { return y <= 0.0f ? 0.0f : dy; });
    quad.store(args.dx, dx, args.accumulate);
}
