// Unary functions, some with parameters (src/ops/unary): y = f(x), dx (+)= dy · f'(x), a functor each;
// the launch says which.
//
// Arrays are f32 in any layout. Four elements a thread, blocks of 256, grid ceil(elements / 1024).
// Forward reads x and writes y: 8 bytes an element; backward reads x or y, and dy (and dx), and writes
// dx: 12 bytes. Deterministic: an element is one thread's; the bits are those of the CPU.
#include "common/elementwise.cuh"
#include "common/exponential.cuh"

struct UnaryForwardArgs {
    u64 x, y;
    u64 state;      // RunState
    u32 elements;   // of one image
    u32 function;   // its number in with_curve()
    f32 numbers[2]; // the function's own
};

struct UnaryBackwardArgs {
    u64 kept; // x, or y
    u64 dy, dx;
    u64 state;    // RunState
    u32 elements; // of one image
    u32 accumulate;
    f32 numbers[2];
    u32 function;
};

struct LeakyRelu {
    f32 slope;
    __device__ __forceinline__ f32 value(f32 x) const { return x > 0.0f ? x : x * slope; }
    __device__ __forceinline__ f32 gradient(f32 x, f32 dy) const {
        return x > 0.0f ? dy : dy * slope;
    }
};

// NaN stays NaN, but has no gradient.
struct Clip {
    f32 low, high;
    __device__ __forceinline__ f32 value(f32 x) const { return at_most(at_least(x, low), high); }
    __device__ __forceinline__ f32 gradient(f32 x, f32 dy) const {
        return x >= low && x <= high ? dy : 0.0f;
    }
};

// Of ELU gamma is 1.
struct Elu {
    f32 alpha, gamma;
    __device__ __forceinline__ f32 value(f32 x) const {
        const f32 below = gamma * alpha * exp_less_1(at_most(x, 0.0f));
        return x > 0.0f ? gamma * x : below;
    }
    __device__ __forceinline__ f32 gradient(f32 x, f32 dy) const {
        const f32 below = gamma * alpha * exp_minus(-at_most(x, 0.0f));
        return dy * (x <= 0.0f ? below : gamma);
    }
};

struct HardSigmoid {
    f32 slope, shift;
    __device__ __forceinline__ f32 value(f32 x) const {
        return at_most(at_least(fmaf(slope, x, shift), 0.0f), 1.0f);
    }
    __device__ __forceinline__ f32 gradient(f32 x, f32 dy) const {
        const f32 y = fmaf(slope, x, shift);
        return y > 0.0f && y < 1.0f ? dy * slope : 0.0f;
    }
};

struct Softplus {
    __device__ __forceinline__ f32 value(f32 x) const { return softplus(x); }
    __device__ __forceinline__ f32 gradient(f32 x, f32 dy) const { return dy * sigmoid(x); }
};

struct Softsign {
    __device__ __forceinline__ f32 value(f32 x) const { return x / (1.0f + fabsf(x)); }
    __device__ __forceinline__ f32 gradient(f32 x, f32 dy) const {
        const f32 share = 1.0f / (1.0f + fabsf(x));
        return dy * (share * share);
    }
};

// tanh(ln(1 + e^x)) = above / below and its derivative, where powers of e^-|x| stand.
struct Mish {
    struct Parts {
        f32 e, above, below;
    };
    static __device__ __forceinline__ Parts parts(f32 x) {
        const f32 e = exp_minus(fabsf(x));
        const f32 twice = e + e;
        if (x < 0.0f) return {e, e * (e + 2.0f), fmaf(e, e + 2.0f, 2.0f)};
        return {e, twice + 1.0f, fmaf(twice, e, twice + 1.0f)};
    }
    __device__ __forceinline__ f32 value(f32 x) const {
        const Parts at = parts(x);
        return x * (at.above / at.below);
    }
    __device__ __forceinline__ f32 gradient(f32 x, f32 dy) const {
        const Parts at = parts(x);
        const f32 power = x < 0.0f ? at.e : at.e * at.e;
        const f32 slope = 4.0f * power * (1.0f + at.e) / (at.below * at.below);
        return dy * fmaf(x, slope, at.above / at.below);
    }
};

struct Erf {
    __device__ __forceinline__ f32 value(f32 x) const { return erf_of(x); }
    __device__ __forceinline__ f32 gradient(f32 x, f32 dy) const {
        return dy * (1.12837917f * bell(x)); // 2/sqrt(π)
    }
};

// Backward keeps y.
struct Sqrt {
    __device__ __forceinline__ f32 value(f32 x) const { return sqrtf(x); }
    __device__ __forceinline__ f32 gradient(f32 y, f32 dy) const { return dy / (y + y); }
};

// Backward keeps y.
struct Exp {
    __device__ __forceinline__ f32 value(f32 x) const { return exp_any(x); }
    __device__ __forceinline__ f32 gradient(f32 y, f32 dy) const { return dy * y; }
};

struct Log {
    __device__ __forceinline__ f32 value(f32 x) const { return log_of(x); }
    __device__ __forceinline__ f32 gradient(f32 x, f32 dy) const { return dy / x; }
};

// Backward keeps y.
struct Reciprocal {
    __device__ __forceinline__ f32 value(f32 x) const { return 1.0f / x; }
    __device__ __forceinline__ f32 gradient(f32 y, f32 dy) const { return -dy * (y * y); }
};

struct Abs {
    __device__ __forceinline__ f32 value(f32 x) const { return fabsf(x); }
    __device__ __forceinline__ f32 gradient(f32 x, f32 dy) const {
        return dy * (x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : 0.0f);
    }
};

// Calls `use` with the function of this number, those of src/ops/unary/cuda.rs.
template <class Use>
__device__ __forceinline__ void with_curve(u32 function, const f32 (&numbers)[2], Use use) {
    const f32 a = numbers[0], b = numbers[1];
    switch (function) {
    case 0: return use(LeakyRelu{a});
    case 1: return use(Clip{a, b});
    case 2: return use(Elu{a, b});
    case 3: return use(HardSigmoid{a, b});
    case 4: return use(Softplus{});
    case 5: return use(Softsign{});
    case 6: return use(Mish{});
    case 7: return use(Erf{});
    case 8: return use(Sqrt{});
    case 9: return use(Exp{});
    case 10: return use(Log{});
    case 11: return use(Reciprocal{});
    default: return use(Abs{});
    }
}

KERNEL(unary_forward_f32, UnaryForwardArgs, NoShared, 256) {
    const Quad quad = quad_of_batch(args.state, args.elements);
    if (quad.lanes == 0) return;
    const Four x = quad.load(args.x);
    Four y;
    with_curve(args.function, args.numbers, [&](auto curve) {
        y = map_four(x, [=](f32 x) { return curve.value(x); });
    });
    quad.store(args.y, y);
}

KERNEL(unary_backward_f32, UnaryBackwardArgs, NoShared, 256) {
    const Quad quad = quad_of_batch(args.state, args.elements);
    if (quad.lanes == 0) return;
    const Four kept = quad.load(args.kept), dy = quad.load(args.dy);
    Four dx;
    with_curve(args.function, args.numbers, [&](auto curve) {
        dx = map_four(kept, dy, [=](f32 kept, f32 dy) { return curve.gradient(kept, dy); });
    });
    quad.store(args.dx, dx, args.accumulate);
}
