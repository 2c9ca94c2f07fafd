// Exponentials for activations: src/ops/exponential.rs, to the bit. Fused multiply-adds and additions
// only, so that a value's bits are the same on every device; bounds of errors stand and are tested there.
#pragma once
#include "common/flipside.cuh"

// 2^power of a whole number that may be negative.
__device__ __forceinline__ f32 two_to_the(u32 power) {
    return __uint_as_float((power + 127u) << 23);
}

// x or, where it is more, `most`; NaN stays NaN.
__device__ __forceinline__ f32 at_most(f32 x, f32 most) { return x > most ? most : x; }

// e^(x + low) of -106 <= x <= 0 and a correction `low`.
__device__ __forceinline__ f32 exp_of(f32 x, f32 low) {
    const f32 magic = 12582912.0f; // 1.5 · 2^23: adding it rounds to a whole number
    const f32 shifted = fmaf(x, 1.44269504f, magic);
    const f32 whole = shifted - magic;
    // Unsigned, since a NaN's bits may overflow.
    const u32 power = __float_as_uint(shifted) - __float_as_uint(magic);
    f32 r = fmaf(whole, -0.6933594f, x);
    r = fmaf(whole, 2.1219444e-4f, r) + low;
    f32 p = fmaf(1.381456e-3f, r, 8.368735e-3f);
    p = fmaf(p, r, 0.04166839f);
    p = fmaf(p, r, 0.16666521f);
    p = fmaf(p, r, 0.49999994f);
    const f32 e = fmaf(r * r, p, r) + 1.0f;
    const u32 half = u32(i32(power) >> 1);
    return e * two_to_the(half) * two_to_the(power - half);
}

// e^-x of x >= 0.
__device__ __forceinline__ f32 exp_minus(f32 x) { return exp_of(-at_most(x, 104.5f), 0.0f); }

__device__ __forceinline__ f32 sigmoid(f32 x) {
    const f32 e = exp_minus(fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

struct Logistic {
    f32 value;
    f32 slope; // the derivative
};

__device__ __forceinline__ Logistic sigmoid_and_slope(f32 x) {
    const f32 e = exp_minus(fabsf(x));
    const f32 share = 1.0f / (1.0f + e);
    return {x < 0.0f ? e * share : share, e * share * share};
}

__device__ __forceinline__ f32 tanh_of(f32 x) {
    const f32 square = x * x;
    const f32 above = fmaf(square, square + 105.0f, 945.0f);
    const f32 below = fmaf(square, fmaf(square, 15.0f, 420.0f), 945.0f);
    const f32 near = x * (above / below);
    const f32 e = exp_minus(2.0f * fabsf(x));
    const f32 far = (1.0f - e) / (1.0f + e);
    return fabsf(x) < 0.6f ? near : x < 0.0f ? -far : far;
}

struct Normal {
    f32 below; // the normal distribution function
    f32 bell;  // e^(-x²/2)
};

__device__ __forceinline__ Normal normal(f32 x) {
    const f32 t = at_most(fabsf(x), 14.5f);
    const f32 half = 0.5f * t;
    const f32 square = half * t;
    const f32 e = exp_of(-square, -fmaf(half, t, -square));
    f32 above = fmaf(4.1238307e-3f, t, 0.040683787f);
    above = fmaf(above, t, 0.18338495f);
    above = fmaf(above, t, 0.4384969f);
    above = fmaf(above, t, 0.5f);
    f32 below = fmaf(0.010336792f, t, 0.10198551f);
    below = fmaf(below, t, 0.46986616f);
    below = fmaf(below, t, 1.203125f);
    below = fmaf(below, t, 1.6748787f);
    below = fmaf(below, t, 1.0f);
    const f32 tail = e * (above / below);
    return {x < 0.0f ? tail : 1.0f - tail, e};
}
