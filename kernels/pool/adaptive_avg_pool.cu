// Adaptive average pooling (src/ops/adaptive_avg_pool): output i of an axis of H inputs and h
// outputs is the mean of inputs floor(i·H/h) .. ceil((i+1)·H/h).
//
// Maps are (images, height, width, channels) f32; x has in_height × in_width pixels, y height ×
// width. A thread has four channels of a pixel of what it writes; block and grid are channel_quad()'s.
// Moves the input once from memory and the output once, 16 bytes at a time; for the global mean a warp
// reads 128 channels of a pixel at a time. Deterministic: each element is one thread's sum in row-major
// order; the bits are those of the CPU.
#include "pool/averaging.cuh"

struct AdaptiveAvgPoolArgs {
    u64 from;  // x, or dy
    u64 to;    // y, or dx
    u64 state; // RunState
    u32 in_height, in_width;
    u32 height, width;
    u32 channels;
    u32 accumulate; // backward adds to dx
};

struct AdaptiveAxis {
    u32 inputs, outputs;

    __device__ __forceinline__ Extent extent(u32 output) const {
        const u32 start = output * inputs / outputs;
        const u32 end = ((output + 1) * inputs + outputs - 1) / outputs;
        return {start, end, end - start};
    }

    // The same formula with the sizes exchanged: o·H/h < q + 1 and (o + 1)·H/h > q.
    __device__ __forceinline__ Readers readers(u32 input) const {
        return {input * outputs / inputs, ((input + 1) * outputs + inputs - 1) / inputs};
    }
};

KERNEL(adaptive_avg_pool_forward_f32, AdaptiveAvgPoolArgs, NoShared, 256) {
    average_forward(args, AdaptiveAxis{args.in_height, args.height},
                    AdaptiveAxis{args.in_width, args.width});
}

KERNEL(adaptive_avg_pool_backward_f32, AdaptiveAvgPoolArgs, NoShared, 256) {
    average_backward(args, AdaptiveAxis{args.in_height, args.height},
                     AdaptiveAxis{args.in_width, args.width});
}
