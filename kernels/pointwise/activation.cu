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
    u32 unused;
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

KERNEL(relu_forward_f32, ActivationForwardArgs, NoShared, 256) { activate<Relu>(args); }
KERNEL(relu_backward_f32, ActivationBackwardArgs, NoShared, 256) { activate_backward<Relu>(args); }

KERNEL(relu6_forward_f32, ActivationForwardArgs, NoShared, 256) { activate<Relu6>(args); }
KERNEL(relu6_backward_f32, ActivationBackwardArgs, NoShared, 256) { activate_backward<Relu6>(args); }

KERNEL(silu_forward_f32, ActivationForwardArgs, NoShared, 256) { activate<Silu>(args); }
KERNEL(silu_backward_f32, ActivationBackwardArgs, NoShared, 256) { activate_backward<Silu>(args); }

KERNEL(gelu_forward_f32, ActivationForwardArgs, NoShared, 256) { activate<Gelu>(args); }
KERNEL(gelu_backward_f32, ActivationBackwardArgs, NoShared, 256) { activate_backward<Gelu>(args); }

KERNEL(gelu_tanh_forward_f32, ActivationForwardArgs, NoShared, 256) { activate<GeluTanh>(args); }
KERNEL(gelu_tanh_backward_f32, ActivationBackwardArgs, NoShared, 256) {
    activate_backward<GeluTanh>(args);
}

KERNEL(sigmoid_forward_f32, ActivationForwardArgs, NoShared, 256) { activate<Sigmoid>(args); }
KERNEL(sigmoid_backward_f32, ActivationBackwardArgs, NoShared, 256) {
    activate_backward<Sigmoid>(args);
}

KERNEL(quick_gelu_forward_f32, ActivationForwardArgs, NoShared, 256) { activate<QuickGelu>(args); }
KERNEL(quick_gelu_backward_f32, ActivationBackwardArgs, NoShared, 256) {
    activate_backward<QuickGelu>(args);
}

KERNEL(tanh_forward_f32, ActivationForwardArgs, NoShared, 256) { activate<Tanh>(args); }
KERNEL(tanh_backward_f32, ActivationBackwardArgs, NoShared, 256) { activate_backward<Tanh>(args); }

KERNEL(hard_sigmoid_forward_f32, ActivationForwardArgs, NoShared, 256) {
    activate<HardSigmoid>(args);
}
KERNEL(hard_sigmoid_backward_f32, ActivationBackwardArgs, NoShared, 256) {
    activate_backward<HardSigmoid>(args);
}

KERNEL(hard_swish_forward_f32, ActivationForwardArgs, NoShared, 256) { activate<HardSwish>(args); }
KERNEL(hard_swish_backward_f32, ActivationBackwardArgs, NoShared, 256) {
    activate_backward<HardSwish>(args);
}
