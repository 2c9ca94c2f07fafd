// Addition (src/ops/add): y = a + b.
//
// Arrays are f32 in any layout. Four elements a thread, blocks of 256, grid ceil(elements / 1024).
// Deterministic: an element is one thread's; the bits are those of the CPU.
#include "elementwise.cuh"

struct AddForwardArgs {
    u64 a, b, y;
    u64 state;    // RunState
    u32 elements; // of one image
    u32 unused;
};

struct AddBackwardArgs {
    u64 dy, dx;
    u64 state;    // RunState
    u32 elements; // of one image
    u32 accumulate;
};

// Reads a and b, writes y: 12 bytes an element.
KERNEL(add_forward_f32, AddForwardArgs, NoShared, 256) {
    const Quad quad = quad_of_batch(args.state, args.elements);
    if (quad.lanes == 0) return;
    quad.store(args.y, map_four(quad.load(args.a), quad.load(args.b),
                                [](f32 a, f32 b) { return a + b; }));
}

// dx (+)= dy, for one input a launch, since both may be one value. Reads dy (and dx), writes dx.
KERNEL(add_backward_f32, AddBackwardArgs, NoShared, 256) {
    const Quad quad = quad_of_batch(args.state, args.elements);
    if (quad.lanes == 0) return;
    quad.store(args.dx, quad.load(args.dy), args.accumulate);
}
