// The weights' gradient of a depthwise convolution (see depthwise.cu):
// dw[r, s, c] (+)= Σ over images and outputs p, q of x[p·stride − padding + r·dilation, …, c]·dy[p, q, c].
//
// Two stages. In the first a block has some channels, all taps and one of `parts` parts of the
// outputs. A thread has four channels and one kernel row: it goes over strips of WIDTH outputs, its
// row of sources in registers, and leaves a sum a tap. x and dy are read from L2 about once, since the
// threads of the other kernel rows read the same lines at about the same time. The second stage adds the
// parts in f64. Memory: x and dy once, and parts·R·S·C floats written and read.
// Deterministic: which outputs a thread adds, and the order in which threads' and parts' sums are
// added, follow from sizes alone; nothing is added atomically.
#include "common/channel_sums.cuh"
#include "common/elementwise.cuh"

// The first stage of the gradient of the weights.
struct DepthwiseWeightArgs {
    u64 x;        // (N, H, W, C)
    u64 dy;       // (N, P, Q, C)
    u64 partials; // (parts, R, S, C)
    u64 state;    // RunState
    u32 in_size[2];
    u32 out_size[2];
    u32 channels;
    u32 kernel[2];
    u32 stride[2];
    u32 padding[2];
    u32 dilation[2];
    u32 parts;
};

// The second stage.
struct DepthwiseWeightTotalArgs {
    u64 partials; // (parts, elements)
    u64 dw;       // (elements)
    u32 elements;
    u32 parts;
    u32 accumulate;
};

// Threads of a block: quads of channels (x) × kernel rows (y), or taps × lanes (z), which take strips in turn.
constexpr u32 DEPTHWISE_WEIGHT_THREADS = 256;

// The sums of each thread, tap by tap.
template <u32 S> struct TapSums {
    Four of[S][DEPTHWISE_WEIGHT_THREADS];
};

struct WeightThread {
    u32 channel, lanes; // four channels, or what there is of them; none beyond the last
    u32 part;
};

static __device__ __forceinline__ WeightThread weight_thread(const DepthwiseWeightArgs& args) {
    const u32 quads = (args.channels + 3) / 4;
    const u32 blocks = (quads + blockDim.x - 1) / blockDim.x;
    const u32 quad = blockIdx.x % blocks * blockDim.x + threadIdx.x;
    return {4 * quad, quad < quads ? min(4u, args.channels - 4 * quad) : 0, blockIdx.x / blocks};
}

// Adds the lanes' sums in order and writes them as those of the taps from `tap` on.
template <u32 S>
static __device__ __forceinline__ void write_partials(const DepthwiseWeightArgs& args,
                                                      TapSums<S>& shared, const WeightThread& at,
                                                      Four (&sums)[S], u32 tap) {
    const u32 layer = blockDim.x * blockDim.y, thread = threadIdx.y * blockDim.x + threadIdx.x;
    UNROLL
    for (u32 s = 0; s < S; ++s) shared.of[s][threadIdx.z * layer + thread] = sums[s];
    __syncthreads();
    if (threadIdx.z != 0 || at.lanes == 0) return;
    UNROLL
    for (u32 s = 0; s < S; ++s) {
        for (u32 lane = 1; lane < blockDim.z; ++lane) {
            const Four& other = shared.of[s][lane * layer + thread];
            UNROLL
            for (u32 i = 0; i < 4; ++i) sums[s].v[i] += other.v[i];
        }
        const u64 row = u64(at.part) * args.kernel[0] * args.kernel[1] + tap + s;
        Quad{row * args.channels + at.channel, at.lanes}.store(args.partials, sums[s]);
    }
}

// Kernel rows of S taps, no dilation of columns, channels in multiples of four. Block: quads × R ×
// lanes; grid: parts × ceil(C/4 / quads), channels first.
template <u32 S, u32 STRIDE, u32 WIDTH>
static __device__ __forceinline__ void add_strips(const DepthwiseWeightArgs& args,
                                                  const WeightThread& at, Four (&sums)[S]) {
    constexpr u32 SOURCES = STRIDE * (WIDTH - 1) + S;
    const u32 strips = (args.out_size[1] + WIDTH - 1) / WIDTH;
    const u64 rows = u64(ptr<const RunState>(args.state)->images) * args.out_size[0];
    const Part part = part_of(rows * strips, args.parts, at.part);
    const f32* x = ptr<const f32>(args.x) + at.channel;
    const f32* dy = ptr<const f32>(args.dy) + at.channel;
    for (u64 number = part.start + threadIdx.z; number < part.end; number += blockDim.z) {
        const u32 out_row = u32(number / strips), out_column = u32(number % strips) * WIDTH;
        const u32 image = out_row / args.out_size[0];
        const u32 row = out_row % args.out_size[0] * args.stride[0] +
                        threadIdx.y * args.dilation[0] - args.padding[0];
        const u32 first = out_column * STRIDE - args.padding[1]; // wraps around in the padding
        const u64 first_pixel = (u64(image) * args.in_size[0] + row) * args.in_size[1];
        Four sources[SOURCES];
        UNROLL
        for (u32 t = 0; t < SOURCES; ++t) {
            const u32 column = first + t;
            sources[t] = {{0.0f, 0.0f, 0.0f, 0.0f}};
            if (row < args.in_size[0] && column < args.in_size[1])
                sources[t] = load_four(x + (first_pixel + column) * args.channels);
        }
        const f32* of_dy = dy + (u64(out_row) * args.out_size[1] + out_column) * args.channels;
        UNROLL
        for (u32 q = 0; q < WIDTH; ++q) {
            if (out_column + q >= args.out_size[1]) break; // no terms: 0·Inf would be one
            const Four gradient = load_four(of_dy + u64(q) * args.channels);
            UNROLL
            for (u32 s = 0; s < S; ++s) fma_four(sums[s], sources[q * STRIDE + s], gradient);
        }
    }
}

template <u32 S>
static __device__ __forceinline__ void weight_partials(const DepthwiseWeightArgs& args,
                                                       TapSums<S>& shared) {
    const WeightThread at = weight_thread(args);
    Four sums[S] = {};
    if (at.lanes != 0) {
        if (args.stride[1] == 1)
            add_strips<S, 1, 4>(args, at, sums);
        else
            add_strips<S, 2, 4>(args, at, sums);
    }
    write_partials(args, shared, at, sums, threadIdx.y * S);
}

KERNEL(depthwise_weight_partials_f32_3, DepthwiseWeightArgs, TapSums<3>, 256) {
    weight_partials(args, shared);
}
KERNEL(depthwise_weight_partials_f32_5, DepthwiseWeightArgs, TapSums<5>, 256) {
    weight_partials(args, shared);
}
KERNEL(depthwise_weight_partials_f32_7, DepthwiseWeightArgs, TapSums<7>, 256) {
    weight_partials(args, shared);
}

// Any kernel, any number of channels: a thread has one tap. Block: quads × taps × lanes; grid: (parts ×
// ceil(C/4 / quads), ceil(R·S / taps)).
KERNEL(depthwise_weight_partials_f32_any, DepthwiseWeightArgs, TapSums<1>, 256) {
    WeightThread at = weight_thread(args);
    const u32 tap = blockIdx.y * blockDim.y + threadIdx.y;
    if (tap >= args.kernel[0] * args.kernel[1]) at.lanes = 0;
    const u32 r = tap / args.kernel[1], s = tap % args.kernel[1];
    const u32 pixels = args.out_size[0] * args.out_size[1];
    const Part part =
        part_of(u64(ptr<const RunState>(args.state)->images) * pixels, args.parts, at.part);
    Four sums[1] = {};
    for (u64 number = part.start + threadIdx.z; number < part.end && at.lanes != 0;
         number += blockDim.z) {
        const u32 image = u32(number / pixels), pixel = u32(number % pixels);
        const u32 row = pixel / args.out_size[1] * args.stride[0] + r * args.dilation[0] -
                        args.padding[0];
        const u32 column = pixel % args.out_size[1] * args.stride[1] + s * args.dilation[1] -
                           args.padding[1];
        Four x = {{0.0f, 0.0f, 0.0f, 0.0f}};
        if (row < args.in_size[0] && column < args.in_size[1]) {
            const u64 from = (u64(image) * args.in_size[0] + row) * args.in_size[1] + column;
            x = Quad{from * args.channels + at.channel, at.lanes}.load(args.x);
        }
        fma_four(sums[0], x, Quad{number * args.channels + at.channel, at.lanes}.load(args.dy));
    }
    write_partials(args, shared, at, sums, tap);
}

// dw (+)= Σ partials, in f64. Blocks of 32 elements × 16 parts side by side, grid ceil(R·S·C / 32).
KERNEL(depthwise_weight_gradient_f32, DepthwiseWeightTotalArgs, ChannelSums<1>, 512) {
    const u32 element = blockIdx.x * 32 + threadIdx.x;
    const f32* partials = ptr<const f32>(args.partials) + element;
    f64 sums[1] = {0.0};
    if (element < args.elements)
        for (u64 part = threadIdx.y; part < args.parts; part += SUM_LANES)
            sums[0] += f64(partials[part * args.elements]);
    if (!sum_lanes(shared, sums) || element >= args.elements) return;
    f32* dw = ptr<f32>(args.dw) + element;
    *dw = args.accumulate ? *dw + f32(sums[0]) : f32(sums[0]);
}
