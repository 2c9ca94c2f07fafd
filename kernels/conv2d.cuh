// What every convolution kernel shares: its arguments, and where taps lie.
#pragma once
#include "fault.cuh"
#include "flipside.cuh"

// One convolution. Pairs are (rows, columns). `faults` is only read by armed kernels.
struct Conv2dArgs {
    u64 x;          // (N, H, W, C)
    u64 w;          // (R, S, C/G, O)
    u64 y;          // (N, P, Q, O); a gradient in the backward passes
    u64 bias;       // (O), or 0
    u64 result;     // what the backward passes write: dx or dw
    u64 state;      // RunState
    u64 faults;     // FaultTable, or 0
    u32 in_size[2];   // H, W
    u32 out_size[2];  // P, Q
    u32 in_channels;  // C
    u32 out_channels; // O
    u32 kernel[2];
    u32 stride[2];
    u32 padding[2];
    u32 dilation[2];
    u32 groups;
    u32 accumulate; // backward: add to what `result` holds
    u32 silent_bias[2]; // outputs from [0] to [1] whose bias counts as zero
};

struct Pixel {
    u32 image, row, column;
};

static __device__ __forceinline__ bool is_silent(const u32 silent[2], u32 channel) {
    return silent[0] <= channel && channel < silent[1];
}

// Pixel number m of maps of `size`.
static __device__ __forceinline__ Pixel pixel_of(u32 m, const u32 size[2]) {
    const u32 pixels = size[0] * size[1];
    const u32 rest = m % pixels;
    return {m / pixels, rest / size[1], rest % size[1]};
}

// The input position under tap `tap` of output position `output`, or -1 in the padding.
static __device__ __forceinline__ i64 tap_input(const Conv2dArgs& args, u32 axis, u32 output,
                                                u32 tap) {
    const i64 at = (i64)output * args.stride[axis] + (i64)tap * args.dilation[axis] -
                   (i64)args.padding[axis];
    return at < (i64)args.in_size[axis] ? at : -1;
}

// The output position whose tap `tap` reads input position `input`, or -1 where there is none.
static __device__ __forceinline__ i64 tap_output(const Conv2dArgs& args, u32 axis, u32 input,
                                                 u32 tap) {
    const i64 at = (i64)input + args.padding[axis] - (i64)tap * args.dilation[axis];
    if (at < 0 || at % args.stride[axis] != 0) return -1;
    const i64 output = at / args.stride[axis];
    return output < (i64)args.out_size[axis] ? output : -1;
}

// What a finished sum passes through on its way to memory.
struct NoFault {
    __device__ __forceinline__ f32 operator()(f32 value, u32, u64) const { return value; }
};

struct OutputFault {
    u64 table;
    // `element` is PyTorch's index within the image.
    __device__ __forceinline__ f32 operator()(f32 value, u32 image, u64 element) const {
        return apply_faults(table, image, element, value);
    }
};
