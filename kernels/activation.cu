// Activations (src/ops/activation): y = f(x), dx (+)= dy · f'(x), a functor each.
//
// Arrays are f32 in any layout. Four elements a thread, blocks of 256, grid ceil(elements / 1024).
// Forward reads x and writes y: 8 bytes an element; backward reads x or y, and dy (and dx), and writes
// dx: 12 bytes. Deterministic: an element is one thread's; the bits are those of the CPU.
#include "elementwise.cuh"
#include "exponential.cuh"

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

// NaN stays NaN. Backward keeps y.
struct Relu {
    static __device__ __forceinline__ f32 value(f32 x) { return x < 0.0f ? 0.0f : x; }
    static __device__ __forceinline__ f32 gradient(f32 y, f32 dy) { return y <= 0.0f ? 0.0f : dy; }
};

// NaN stays NaN. Backward keeps y.
struct Relu6 {
    static __device__ __forceinline__ f32 value(f32 x) { return at_most(x < 0.0f ? 0.0f : x, 6.0f); }
    static __device__ __forceinline__ f32 gradient(f32 y, f32 dy) {
        return y <= 0.0f || y >= 6.0f ? 0.0f : dy;
    }
};

struct Silu {
    static __device__ __forceinline__ f32 value(f32 x) { return x * sigmoid(x); }
    static __device__ __forceinline__ f32 gradient(f32 x, f32 dy) {
        const Logistic s = sigmoid_and_slope(x);
        return dy * fmaf(x, s.slope, s.value);
    }
};

struct Gelu {
    static __device__ __forceinline__ f32 value(f32 x) { return x * normal(x).below; }
    static __device__ __forceinline__ f32 gradient(f32 x, f32 dy) {
        const Normal at = normal(x);
        return dy * fmaf(x * 0.3989423f, at.bell, at.below); // 1/sqrt(2π)
    }
};

struct GeluTanh {
    // 2·sqrt(2/π)·(x + 0.044715·x³)
    static __device__ __forceinline__ f32 inner(f32 x) {
        return 1.5957692f * (x * fmaf(0.044715f * x, x, 1.0f));
    }
    static __device__ __forceinline__ f32 value(f32 x) { return x * sigmoid(inner(x)); }
    static __device__ __forceinline__ f32 gradient(f32 x, f32 dy) {
        const Logistic s = sigmoid_and_slope(inner(x));
        const f32 inner_slope = 1.5957692f * fmaf(3.0f * 0.044715f * x, x, 1.0f);
        return dy * fmaf(x, inner_slope * s.slope, s.value);
    }
};

// Backward keeps y.
struct Sigmoid {
    static __device__ __forceinline__ f32 value(f32 x) { return sigmoid(x); }
    static __device__ __forceinline__ f32 gradient(f32 y, f32 dy) { return dy * (y * (1.0f - y)); }
};

struct QuickGelu {
    static __device__ __forceinline__ f32 value(f32 x) { return x * sigmoid(1.702f * x); }
    static __device__ __forceinline__ f32 gradient(f32 x, f32 dy) {
        const f32 inner = 1.702f * x;
        const Logistic s = sigmoid_and_slope(inner);
        return dy * fmaf(inner, s.slope, s.value);
    }
};

// Backward keeps y.
struct Tanh {
    static __device__ __forceinline__ f32 value(f32 x) { return tanh_of(x); }
    static __device__ __forceinline__ f32 gradient(f32 y, f32 dy) {
        return dy * ((1.0f - y) * (1.0f + y));
    }
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
