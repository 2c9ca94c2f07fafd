// 2-D convolution the slow way: what every other kernel of it is held against, on the emulator and on
// the GPU. One thread a result and plain loops, no shared memory, no tiles; it shares no code with the
// kernels that it checks, and reads weights in PyTorch's order, (O, C/G, R, S).
//
// In f32 a result is the chain of fmaf that the exact kernels promise, in the order of their κ, so that
// bits are equal; in f64 it is the reference of those that add in another order. x is (N, H, W, C), y
// (N, P, Q, O), channels last; padding multiplies by zero. Grid: ceil(results / 256), blocks of 256.
// Deterministic: a result is one thread's.
#include "common/flipside.cuh"

// A convolution to be checked, or a gradient of it.
struct Conv2dCheckArgs {
    u64 x;      // (N, H, W, C) f32
    u64 w;      // (O, C/G, R, S) f32
    u64 y;      // (N, P, Q, O) f32: the output's gradient; backward alone
    u64 bias;   // (O) f32, or 0
    u64 result; // y, dx (N, H, W, C) or dw (O, C/G, R, S), of the kernel's type
    u32 images;
    u32 in_size[2];  // H, W
    u32 out_size[2]; // P, Q
    u32 in_channels, out_channels;
    u32 kernel[2]; // R, S
    u32 stride[2];
    u32 padding[2];
    u32 dilation[2];
    u32 groups;
};

static __device__ __forceinline__ f32 check_term(f32 a, f32 b, f32 sum) { return fmaf(a, b, sum); }
static __device__ __forceinline__ f64 check_term(f64 a, f64 b, f64 sum) { return fma(a, b, sum); }

// Which result this thread has.
static __device__ __forceinline__ u64 check_number() {
    return (u64)blockIdx.x * blockDim.x + threadIdx.x;
}

// y[n, p, q, o] = Σ_{r, s, c} x[n, p·stride − padding + r·dilation, …, c]·w[o, c, r, s] + bias[o].
template <class Real> static __device__ void check_forward(const Conv2dCheckArgs& args) {
    const u64 number = check_number();
    u64 rest = number;
    const u32 o = (u32)(rest % args.out_channels);
    rest /= args.out_channels;
    const u32 q = (u32)(rest % args.out_size[1]);
    rest /= args.out_size[1];
    const u32 p = (u32)(rest % args.out_size[0]);
    const u64 n = rest / args.out_size[0];
    if (n >= args.images) return;
    const u32 depth = args.in_channels / args.groups;
    const u32 first = o / (args.out_channels / args.groups) * depth;
    const f32 *x = ptr<const f32>(args.x), *w = ptr<const f32>(args.w);
    Real sum = 0;
    for (u32 r = 0; r < args.kernel[0]; ++r) {
        for (u32 s = 0; s < args.kernel[1]; ++s) {
            const i64 h = (i64)p * args.stride[0] + (i64)r * args.dilation[0] - args.padding[0];
            const i64 v = (i64)q * args.stride[1] + (i64)s * args.dilation[1] - args.padding[1];
            const bool inside = 0 <= h && h < args.in_size[0] && 0 <= v && v < args.in_size[1];
            for (u32 c = 0; c < depth; ++c) {
                const u64 weight = (((u64)o * depth + c) * args.kernel[0] + r) * args.kernel[1] + s;
                Real value = 0;
                if (inside) {
                    const u64 pixel = (n * args.in_size[0] + h) * args.in_size[1] + v;
                    value = x[pixel * args.in_channels + first + c];
                }
                sum = check_term(value, (Real)w[weight], sum);
            }
        }
    }
    if (args.bias) sum = sum + (Real)ptr<const f32>(args.bias)[o];
    ptr<Real>(args.result)[number] = sum;
}

// dx[n, h, v, c] = Σ_{r, s, o} dy[n, (h + padding − r·dilation)/stride, …, o]·w[o, c, r, s].
template <class Real> static __device__ void check_input_gradient(const Conv2dCheckArgs& args) {
    const u64 number = check_number();
    u64 rest = number;
    const u32 channel = (u32)(rest % args.in_channels);
    rest /= args.in_channels;
    const u32 v = (u32)(rest % args.in_size[1]);
    rest /= args.in_size[1];
    const u32 h = (u32)(rest % args.in_size[0]);
    const u64 n = rest / args.in_size[0];
    if (n >= args.images) return;
    const u32 depth = args.in_channels / args.groups, outputs = args.out_channels / args.groups;
    const u32 group = channel / depth, c = channel % depth;
    const f32 *dy = ptr<const f32>(args.y), *w = ptr<const f32>(args.w);
    Real sum = 0;
    for (u32 r = 0; r < args.kernel[0]; ++r) {
        for (u32 s = 0; s < args.kernel[1]; ++s) {
            const i64 down = (i64)h + args.padding[0] - (i64)r * args.dilation[0];
            const i64 across = (i64)v + args.padding[1] - (i64)s * args.dilation[1];
            const i64 p = down / args.stride[0], q = across / args.stride[1];
            const bool read = 0 <= down && down % args.stride[0] == 0 && p < args.out_size[0] &&
                              0 <= across && across % args.stride[1] == 0 && q < args.out_size[1];
            for (u32 j = 0; j < outputs; ++j) {
                const u64 o = group * outputs + j;
                const u64 weight = ((o * depth + c) * args.kernel[0] + r) * args.kernel[1] + s;
                Real value = 0;
                if (read) {
                    const u64 pixel = (n * args.out_size[0] + p) * args.out_size[1] + q;
                    value = dy[pixel * args.out_channels + o];
                }
                sum = check_term(value, (Real)w[weight], sum);
            }
        }
    }
    ptr<Real>(args.result)[number] = sum;
}

KERNEL(conv2d_check_forward_f32, Conv2dCheckArgs, NoShared, 256) { check_forward<f32>(args); }

KERNEL(conv2d_check_forward_f64, Conv2dCheckArgs, NoShared, 256) { check_forward<f64>(args); }

KERNEL(conv2d_check_input_gradient_f32, Conv2dCheckArgs, NoShared, 256) {
    check_input_gradient<f32>(args);
}

KERNEL(conv2d_check_input_gradient_f64, Conv2dCheckArgs, NoShared, 256) {
    check_input_gradient<f64>(args);
}

// dw[o, c, r, s] = Σ_{n, p, q} dy[n, p, q, o]·x[n, p·stride − padding + r·dilation, …, c]. In f64 alone:
// the fast kernels' order follows from how they split the pixels.
KERNEL(conv2d_check_weight_gradient_f64, Conv2dCheckArgs, NoShared, 256) {
    const u64 number = check_number();
    const u32 depth = args.in_channels / args.groups;
    u64 rest = number;
    const u32 s = (u32)(rest % args.kernel[1]);
    rest /= args.kernel[1];
    const u32 r = (u32)(rest % args.kernel[0]);
    rest /= args.kernel[0];
    const u32 c = (u32)(rest % depth);
    const u64 o = rest / depth;
    if (o >= args.out_channels) return;
    const u64 channel = o / (args.out_channels / args.groups) * depth + c;
    const f32 *x = ptr<const f32>(args.x), *dy = ptr<const f32>(args.y);
    f64 sum = 0;
    for (u64 n = 0; n < args.images; ++n) {
        for (u32 p = 0; p < args.out_size[0]; ++p) {
            const i64 h = (i64)p * args.stride[0] + (i64)r * args.dilation[0] - args.padding[0];
            if (h < 0 || h >= args.in_size[0]) continue;
            for (u32 q = 0; q < args.out_size[1]; ++q) {
                const i64 v = (i64)q * args.stride[1] + (i64)s * args.dilation[1] - args.padding[1];
                if (v < 0 || v >= args.in_size[1]) continue;
                const u64 from = (n * args.in_size[0] + h) * args.in_size[1] + v;
                const u64 to = (n * args.out_size[0] + p) * args.out_size[1] + q;
                sum = fma((f64)x[from * args.in_channels + channel],
                          (f64)dy[to * args.out_channels + o], sum);
            }
        }
    }
    ptr<f64>(args.result)[number] = sum;
}
