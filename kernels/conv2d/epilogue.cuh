// What the finished sums of a convolution or linear layer pass through on their way to memory, in this
// order: bias, fault, batch norm of eval mode, residual, activation. Each step gives the bits of the
// node that it stands for (batch_norm.cu, add.cu, activation.cu), fused or alone.
#pragma once
#include "fault/fault.cuh"
#include "pointwise/activation.cuh"

// Numbers of src/ops/epilogue.rs.
enum ActivationCode : u32 {
    NO_ACTIVATION,
    RELU,
    RELU6,
    SILU,
    GELU,
    GELU_TANH,
    SIGMOID,
    QUICK_GELU,
    TANH,
    HARD_SIGMOID,
    HARD_SWISH,
};

struct EpilogueArgs {
    u64 bias;        // (channels), or 0
    u64 norm_weight; // (channels) each, all or none of them 0
    u64 norm_bias;
    u64 norm_mean;
    u64 norm_var;
    u64 residual;  // a map of the output's shape, or 0
    f32 norm_eps;
    u32 activation; // ActivationCode
    u32 silent_bias[2]; // channels from [0] to [1] whose bias counts as zero
};

// The curves that cost a comparison or two are part of the unrolled store; the others run over what was
// stored, in a loop, so that their code is there once.
static __device__ __forceinline__ bool is_light(u32 code) { return code <= RELU6; }

static __device__ __forceinline__ f32 lightly_activated(u32 code, f32 x) {
    return code == RELU ? Relu::value(x) : code == RELU6 ? Relu6::value(x) : x;
}

static __device__ __forceinline__ f32 heavily_activated(u32 code, f32 x) {
    switch (code) {
        case SILU: return Silu::value(x);
        case GELU: return Gelu::value(x);
        case GELU_TANH: return GeluTanh::value(x);
        case SIGMOID: return Sigmoid::value(x);
        case QUICK_GELU: return QuickGelu::value(x);
        case TANH: return Tanh::value(x);
        case HARD_SIGMOID: return HardSigmoid::value(x);
        case HARD_SWISH: return HardSwish::value(x);
        default: return x;
    }
}

// One channel's numbers.
struct ChannelEpilogue {
    f32 bias, scale, shift;

    __device__ __forceinline__ ChannelEpilogue() : bias(0.0f), scale(1.0f), shift(0.0f) {}

    __device__ __forceinline__ ChannelEpilogue(const EpilogueArgs& args, u32 channel)
        : ChannelEpilogue() {
        const bool silent = args.silent_bias[0] <= channel && channel < args.silent_bias[1];
        if (args.bias && !silent) bias = ptr<const f32>(args.bias)[channel];
        if (!args.norm_var) return;
        const f32 spread = sqrtf(ptr<const f32>(args.norm_var)[channel] + args.norm_eps);
        scale = ptr<const f32>(args.norm_weight)[channel] / spread;
        shift = ptr<const f32>(args.norm_bias)[channel] -
                ptr<const f32>(args.norm_mean)[channel] * scale;
    }

    // The layer's output: what faults of the site `output` hit.
    __device__ __forceinline__ f32 output(const EpilogueArgs& args, f32 sum) const {
        return args.bias ? sum + bias : sum;
    }

    // What the nodes behind it make of the output, but for a heavy activation.
    __device__ __forceinline__ f32 finish(const EpilogueArgs& args, f32 value, f32 residual) const {
        if (args.norm_var) value = fmaf(value, scale, shift);
        if (args.residual) value = value + residual;
        return lightly_activated(args.activation, value);
    }
};
