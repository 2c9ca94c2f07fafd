// Activations as functors: the value at x, and dx from dy and what backward keeps: x unless said otherwise.
// The bits are those of the CPU (src/ops/activation).
#pragma once
#include "common/exponential.cuh"

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

// min(max(x + 3, 0), 6); NaN stays NaN.
static __device__ __forceinline__ f32 ramp(f32 x) { return Relu6::value(x + 3.0f); }

struct HardSigmoid {
    static __device__ __forceinline__ f32 value(f32 x) { return ramp(x) / 6.0f; }
    static __device__ __forceinline__ f32 gradient(f32 x, f32 dy) {
        return x <= -3.0f || x >= 3.0f ? 0.0f : dy / 6.0f;
    }
};

struct HardSwish {
    static __device__ __forceinline__ f32 value(f32 x) { return x * ramp(x) / 6.0f; }
    static __device__ __forceinline__ f32 gradient(f32 x, f32 dy) {
        if (x <= -3.0f) return 0.0f;
        return x >= 3.0f ? dy : dy * (x / 3.0f + 0.5f);
    }
};

// Backward keeps y.
struct Tanh {
    static __device__ __forceinline__ f32 value(f32 x) { return tanh_of(x); }
    static __device__ __forceinline__ f32 gradient(f32 y, f32 dy) {
        return dy * ((1.0f - y) * (1.0f + y));
    }
};
