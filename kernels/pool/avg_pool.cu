// Average pooling (src/ops/avg_pool): y[p, c] = (Σ over the window of x[·, c]) / count.
//
// Maps are (images, height, width, channels) f32; x has in_height × in_width pixels, y height ×
// width. A thread has four channels of a pixel of what it writes; block and grid are channel_quad()'s.
// Moves the input once from memory (a window's neighbours share cache lines) and the output once, 16
// bytes at a time. Deterministic: each element is one thread's sum in row-major order; the bits are
// those of the CPU.
#include "pool/averaging.cuh"

struct AvgPoolArgs {
    u64 from;  // x, or dy
    u64 to;    // y, or dx
    u64 state; // RunState
    u32 in_height, in_width;
    u32 height, width;
    u32 channels;
    u32 kernel[2];
    u32 stride[2];
    u32 padding[2];
    u32 count_include_pad;
    u32 accumulate; // backward adds to dx
};

// One axis: outputs read `kernel` inputs from o·stride − padding on.
struct WindowAxis {
    u32 inputs, outputs, kernel, stride, padding, count_include_pad;

    __device__ __forceinline__ Extent extent(u32 output) const {
        const u32 first = output * stride;
        const u32 start = first > padding ? first - padding : 0;
        const u32 end = min(first + kernel - padding, inputs);
        return {start, end, count_include_pad ? kernel : end - start};
    }

    __device__ __forceinline__ Readers readers(u32 input) const {
        const u32 at = input + padding;
        const u32 start = at < kernel ? 0 : (at - kernel) / stride + 1;
        return {start, min(at / stride + 1, outputs)};
    }
};

__device__ __forceinline__ WindowAxis window_axis(const AvgPoolArgs& args, u32 axis) {
    return {axis ? args.in_width : args.in_height,
            axis ? args.width : args.height,
            args.kernel[axis], args.stride[axis], args.padding[axis],
            args.count_include_pad};
}

KERNEL(avg_pool_forward_f32, AvgPoolArgs, NoShared, 256) {
    average_forward(args, window_axis(args, 0), window_axis(args, 1));
}

KERNEL(avg_pool_backward_f32, AvgPoolArgs, NoShared, 256) {
    average_backward(args, window_axis(args, 0), window_axis(args, 1));
}
