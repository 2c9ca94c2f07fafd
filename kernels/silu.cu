// SiLU (src/ops/silu): y = x · σ(x), σ(x) = 1 / (1 + e^−x).
//
// Arrays are f32 in any layout. Four elements a thread, blocks of 256, grid ceil(elements / 1024).
// Deterministic: an element is one thread's. The exponential is the device's, within 2 ulp.
#include "elementwise.cuh"

struct SiluForwardArgs {
    u64 x, y;
    u64 state;    // RunState
    u32 elements; // of one image
    u32 unused;
};

struct SiluBackwardArgs {
    u64 x, dy, dx;
    u64 state;    // RunState
    u32 elements; // of one image
    u32 accumulate;
};

__device__ __forceinline__ f32 sigmoid(f32 x) { return 1.0f / (1.0f + expf(-x)); }

// Reads x, writes y: 8 bytes an element.
KERNEL(silu_forward_f32, SiluForwardArgs, NoShared, 256) {
    const Quad quad = quad_of_batch(args.state, args.elements);
    if (quad.lanes == 0) return;
    quad.store(args.y, map_four(quad.load(args.x), [](f32 x) { return x * sigmoid(x); }));
}

// dx (+)= dy · σ(x) · (1 + x · (1 − σ(x))). Reads x and dy (and dx), writes dx: 12 bytes an element.
KERNEL(silu_backward_f32, SiluBackwardArgs, NoShared, 256) {
    const Quad quad = quad_of_batch(args.state, args.elements);
    if (quad.lanes == 0) return;
    const Four dx = map_four(quad.load(args.x), quad.load(args.dy), [](f32 x, f32 dy) {
        const f32 s = sigmoid(x);
        return dy * (s * (1.0f + x * (1.0f - s)));
    });
    quad.store(args.dx, dx, args.accumulate);
}
