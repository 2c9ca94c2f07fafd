// Activations (src/ops/activation): y = f(x), dx (+)= dy · f'(x), a functor each.
//
// Arrays are f32 in any layout. Four elements a thread, blocks of 256, grid ceil(elements / 1024).
// Forward reads x and writes y: 8 bytes an element; backward reads x or y, and dy (and dx), and writes
// dx: 12 bytes. Deterministic: an element is one thread's; the bits are those of the CPU.
#include "common/elementwise.cuh"
#include "pointwise/activation.cuh"

struct ActivationForwardArgs {
    u64 x, y;
    u64 state;    // RunState
    u32 elements; // of one image
};

struct ActivationBackwardArgs {
    u64 kept; // x, or y
    u64 dy, dx;
    u64 state;    // RunState
    u32 elements; // of one image
    u32 accumulate;
};

template <class Curve> __device__ __forceinline__ void activate(const ActivationForwardArgs& args) {
    const Quad quad = quad_of_batch(args.state, args.elements);
    if (quad.lanes == 0) return;
    quad.store(args.y, map_four(quad.load(args.x), [](f32 x) { return Curve::value(x); }));
}

template <class Curve>
__device__ __forceinline__ void activate_backward(const ActivationBackwardArgs& args) {
    const Quad quad = quad_of_batch(args.state, args.elements);
    if (quad.lanes == 0) return;
    const Four dx = map_four(quad.load(args.kept), quad.load(args.dy),
                             [](f32 kept, f32 dy) { return Curve::gradient(kept, dy); });
    quad.store(args.dx, dx, args.accumulate);
}

#define ACTIVATION(name, Curve)                                                                      \
    KERNEL(name##_forward_f32, ActivationForwardArgs, NoShared, 256) { activate<Curve>(args); }      \
    KERNEL(name##_backward_f32, ActivationBackwardArgs, NoShared, 256) { activate_backward<Curve>(args); }

ACTIVATION(relu, Relu)
ACTIVATION(relu6, Relu6)
ACTIVATION(silu, Silu)
ACTIVATION(gelu, Gelu)
ACTIVATION(gelu_tanh, GeluTanh)
ACTIVATION(sigmoid, Sigmoid)
ACTIVATION(quick_gelu, QuickGelu)
ACTIVATION(tanh, Tanh)
ACTIVATION(hard_sigmoid, HardSigmoid)
ACTIVATION(hard_swish, HardSwish)
