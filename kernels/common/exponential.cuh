// Exponentials, logarithms and the error function: src/cpu/exponential.rs, to the bit. Fused
// multiply-adds, additions and divisions only, so that a value's bits are the same on every device; bounds
// of errors stand and are tested there.
#pragma once
#include "common/flipside.cuh"

// 2^power of a whole number that may be negative.
__device__ __forceinline__ f32 two_to_the(u32 power) {
    return __uint_as_float((power + 127u) << 23);
}

// x or, where it is more, `most`; NaN stays NaN.
__device__ __forceinline__ f32 at_most(f32 x, f32 most) { return x > most ? most : x; }

// x or, where it is less, `least`; NaN stays NaN.
__device__ __forceinline__ f32 at_least(f32 x, f32 least) { return x < least ? least : x; }

struct Powers {
    u32 power;   // the nearest whole number of ln 2, which may be negative
    f32 above_1; // e^r - 1 of the rest
};

// Those of x + low.
__device__ __forceinline__ Powers powers_of(f32 x, f32 low) {
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
    return {power, fmaf(r * r, p, r)};
}

// e^(x + low) of -106 <= x <= 89 and a correction `low`.
__device__ __forceinline__ f32 exp_of(f32 x, f32 low) {
    const Powers of = powers_of(x, low);
    const f32 e = of.above_1 + 1.0f;
    const u32 half = u32(i32(of.power) >> 1);
    return e * two_to_the(half) * two_to_the(of.power - half);
}

// e^-x of x >= 0.
__device__ __forceinline__ f32 exp_minus(f32 x) { return exp_of(-at_most(x, 104.5f), 0.0f); }

// e^x.
__device__ __forceinline__ f32 exp_any(f32 x) {
    return exp_of(at_most(at_least(x, -104.5f), 89.0f), 0.0f);
}

// e^x - 1 of x <= 0.
__device__ __forceinline__ f32 exp_less_1(f32 x) {
    const Powers of = powers_of(at_least(x, -30.0f), 0.0f);
    const f32 scale = two_to_the(of.power);
    const f32 found = fmaf(of.above_1, scale, scale - 1.0f);
    return x == 0.0f ? x : found;
}

// ln(1 + t) of -0.3 <= t <= 1.
__device__ __forceinline__ f32 log_1_plus(f32 t) {
    const f32 s = t / (2.0f + t);
    const f32 square = s * s, twice = s + s;
    f32 p = fmaf(0.12144779f, square, 0.107153706f);
    p = fmaf(p, square, 0.14308298f);
    p = fmaf(p, square, 0.19999444f);
    p = fmaf(p, square, 0.33333337f);
    return fmaf(twice * square, p, twice);
}

// ln(x); -infinity of 0, NaN below.
__device__ __forceinline__ f32 log_of(f32 x) {
    const bool is_small = x < 1.17549435e-38f; // the smallest normal number
    const u32 bits = __float_as_uint(is_small ? x * 16777216.0f : x);
    const u32 power = u32(i32(bits - 0x3f3504f3u) >> 23); // from sqrt(1/2) to sqrt(2)
    const f32 mantissa = __uint_as_float(bits - (power << 23));
    const f32 whole = f32(i32(power)) - (is_small ? 24.0f : 0.0f);
    const f32 near = fmaf(whole, -2.1219444e-4f, log_1_plus(mantissa - 1.0f));
    f32 found = fmaf(whole, 0.6933594f, near);
    found = x < INFINITY ? found : x;
    found = x == 0.0f ? -INFINITY : found;
    return x < 0.0f ? NAN : found;
}

// ln(1 + e^x).
__device__ __forceinline__ f32 softplus(f32 x) {
    return at_least(x, 0.0f) + log_1_plus(exp_minus(fabsf(x)));
}

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

__device__ __forceinline__ f32 erf_of(f32 x) {
    const f32 square = x * x;
    f32 p = fmaf(7.8538615e-5f, square, -8.010194e-4f);
    p = fmaf(p, square, 5.1883277e-3f);
    p = fmaf(p, square, -0.026853813f);
    p = fmaf(p, square, 0.112835854f);
    p = fmaf(p, square, -0.37612626f);
    p = fmaf(p, square, 0.12837917f);
    const f32 near = fmaf(x, p, x);
    const f32 tail = normal(-1.41421356f * fabsf(x)).below;
    const f32 far = 1.0f - (tail + tail);
    return fabsf(x) < 1.0f ? near : x < 0.0f ? -far : far;
}

// e^(-x²).
__device__ __forceinline__ f32 bell(f32 x) {
    const f32 t = at_most(fabsf(x), 10.25f);
    const f32 square = t * t;
    return exp_of(-square, -fmaf(t, t, -square));
}
