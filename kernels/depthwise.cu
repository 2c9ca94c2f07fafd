// Depthwise convolution, forward and input gradient: every channel is a group of its own. Shapes: x is
// (N, H, W, C), w is (R, S, C), y is (N, P, Q, C), all f32.
//
//   y[p, q, c]  = Σ_{r, s} x[p·stride − padding + r·dilation, …, c]·w[r, s, c] + bias[c]
//   dx[h, v, c] (+)= Σ_{r, s} dy[(h + padding − r·dilation) / stride, …, c]·w[r, s, c]
//
// A thread has a strip: four channels of several results side by side in a row. A row of sources and
// the taps of a row are in its registers, so that a source is read from L1 once a kernel row, and once
// from L2 but for what the borders of tiles share: 18·10 for 16·8 results of a 3×3 kernel. From memory
// every source is read once, every result written once. All accesses of the named kernel sizes are of
// 16 bytes and a warp's cover whole lines of 128; `_any` takes what remains (other sizes, strides over
// 2, dilated columns, channels that are no multiple of 4).
//
// Blocks are of 256 threads: `block_quads` quads of channels × `block_strips` strips × rows, rows being
// counted through all images; the grid is linear, channels first, then strips, then rows.
// Deterministic: a result is one thread's chain of fmaf in the order of κ, from +0 (from dx where it
// adds), the bits of conv2d.cu and of the CPU. Padding taps multiply by zero, so that 0·Inf is NaN;
// taps that a stride leaves no output for are skipped.
#include "elementwise.cuh"
#include "fault.cuh"

struct DepthwiseArgs {
    u64 source; // (N, H, W, C), or dy
    u64 w;      // (R, S, C)
    u64 result; // (N, P, Q, C), or dx
    u64 bias;   // (C), or 0
    u64 state;  // RunState
    u64 faults; // FaultTable; read by armed kernels only
    u32 source_size[2]; // rows, columns
    u32 result_size[2];
    u32 channels;
    u32 kernel[2];
    u32 stride[2];
    u32 padding[2];
    u32 dilation[2];
    u32 accumulate;     // backward: add to what `result` holds
    u32 silent_bias[2]; // channels from [0] to [1] whose bias counts as zero
    u32 block_quads;    // powers of two
    u32 block_strips;
};

constexpr u32 DEPTHWISE_THREADS = 256;

// Results of a thread: columns of one row from `column` on, `lanes` channels.
struct Strip {
    u32 lanes; // 1 to 4; 0: none
    u32 image, row, channel;
    i32 column;   // may be −1, in the input gradient of a stride of 2
    u64 from, to; // elements before the image's first source and result

    __device__ __forceinline__ bool has(const DepthwiseArgs& args, u32 q) const {
        return u32(column + i32(q)) < args.result_size[1]; // −1 is a large number
    }

    __device__ __forceinline__ Quad result(const DepthwiseArgs& args, u32 q) const {
        const u64 pixel = u64(row) * args.result_size[1] + u32(column + i32(q));
        return {to + pixel * args.channels + channel, lanes};
    }
};

// The strip of this thread, WIDTH results wide; the first begins `shift` before the row.
template <u32 WIDTH>
static __device__ __forceinline__ Strip strip_of(const DepthwiseArgs& args, u32 shift) {
    const u32 quads = (args.channels + 3) / 4;
    const u32 channel_blocks = (quads + args.block_quads - 1) / args.block_quads;
    const u32 strips = (args.result_size[1] + shift + WIDTH - 1) / WIDTH;
    const u32 strip_blocks = (strips + args.block_strips - 1) / args.block_strips;
    const u32 block_rows = DEPTHWISE_THREADS / (args.block_quads * args.block_strips);
    const u32 block = blockIdx.x / channel_blocks;
    const u32 quad = blockIdx.x % channel_blocks * args.block_quads + threadIdx.x % args.block_quads;
    const u32 beside = threadIdx.x / args.block_quads;
    const u32 strip = block % strip_blocks * args.block_strips + beside % args.block_strips;
    const u32 row = block / strip_blocks * block_rows + beside / args.block_strips;
    const u32 image = row / args.result_size[0];
    const bool valid =
        quad < quads && strip < strips && image < ptr<const RunState>(args.state)->images;
    const u32 channel = 4 * quad;
    return {valid ? min(4u, args.channels - channel) : 0,
            image,
            row % args.result_size[0],
            channel,
            i32(strip * WIDTH) - i32(shift),
            u64(image) * args.source_size[0] * args.source_size[1] * args.channels,
            u64(image) * args.result_size[0] * args.result_size[1] * args.channels};
}

// Where a tap finds its source along an axis.
struct Found {
    bool skipped; // the stride leaves no output for it
    bool inside;
    u32 at;
};

template <bool BACK>
static __device__ __forceinline__ Found find(const DepthwiseArgs& args, u32 axis, u32 result, u32 tap) {
    if (!BACK) {
        // In the padding before the map it wraps around to a large number.
        const u32 at = result * args.stride[axis] + tap * args.dilation[axis] - args.padding[axis];
        return {false, at < args.source_size[axis], at};
    }
    const i32 at = i32(result + args.padding[axis]) - i32(tap * args.dilation[axis]);
    const i32 stride = i32(args.stride[axis]);
    return {at % stride != 0, at >= 0 && u32(at / stride) < args.source_size[axis], u32(at / stride)};
}

// Rows of S taps, no dilation of columns, all in multiples of four channels: a row's sources and taps
// are in registers. Result q of the strip finds tap s at source number
// q·STRIDE + s, and going back at (q − s + S − 1) / STRIDE where that is whole.
template <u32 S, u32 STRIDE, bool BACK, u32 WIDTH>
static __device__ __forceinline__ void walk(const DepthwiseArgs& args, const Strip& strip,
                                            Four (&sums)[WIDTH]) {
    static_assert(!BACK || (WIDTH % STRIDE == 0 && (S - 1) % STRIDE == 0), "of one phase");
    constexpr u32 SOURCES = BACK ? (WIDTH - 1 + S - 1) / STRIDE + 1 : STRIDE * (WIDTH - 1) + S;
    const i32 pad = i32(args.padding[1]);
    const i32 first =
        BACK ? (strip.column + pad - i32(S - 1)) / i32(STRIDE) : strip.column * i32(STRIDE) - pad;
    const f32* source = ptr<const f32>(args.source) + strip.from + strip.channel;
    const f32* w = ptr<const f32>(args.w) + strip.channel;
    ROLLED for (u32 r = 0; r < args.kernel[0]; ++r) {
        const Found row = find<BACK>(args, 0, strip.row, r);
        if (row.skipped) continue;
        const u64 first_pixel = u64(row.at) * args.source_size[1];
        Four taps[S];
        UNROLL
        for (u32 s = 0; s < S; ++s) taps[s] = load_four(w + (r * S + s) * args.channels);
        // A result meets its taps in order: forward from left to right, back from right to left.
        UNROLL
        for (u32 i = 0; i < SOURCES; ++i) {
            const u32 t = BACK ? SOURCES - 1 - i : i;
            const u32 column = u32(first + i32(t));
            Four x = {{0.0f, 0.0f, 0.0f, 0.0f}};
            if (row.inside && column < args.source_size[1])
                x = load_four(source + (first_pixel + column) * args.channels);
            UNROLL
            for (u32 s = 0; s < S; ++s) {
                UNROLL
                for (u32 q = 0; q < WIDTH; ++q) {
                    const bool meet = BACK ? q + S - 1 == t * STRIDE + s : t == q * STRIDE + s;
                    if (meet) fma_four(sums[q], x, taps[s]);
                }
            }
        }
    }
}

// Any kernel, any number of channels: a tap is read once for the strip, a source for each result.
template <bool BACK, u32 WIDTH>
static __device__ __forceinline__ void walk_any(const DepthwiseArgs& args, const Strip& strip,
                                                Four (&sums)[WIDTH]) {
    ROLLED for (u32 r = 0; r < args.kernel[0]; ++r) {
        const Found row = find<BACK>(args, 0, strip.row, r);
        if (row.skipped) continue;
        ROLLED for (u32 s = 0; s < args.kernel[1]; ++s) {
            const Quad of_tap = {u64(r * args.kernel[1] + s) * args.channels + strip.channel, strip.lanes};
            const Four tap = of_tap.load(args.w);
            UNROLL
            for (u32 q = 0; q < WIDTH; ++q) {
                const Found column = find<BACK>(args, 1, u32(strip.column) + q, s);
                if (column.skipped) continue;
                Four x = {{0.0f, 0.0f, 0.0f, 0.0f}};
                if (row.inside && column.inside) {
                    const u64 pixel = u64(row.at) * args.source_size[1] + column.at;
                    x = Quad{strip.from + pixel * args.channels + strip.channel, strip.lanes}.load(
                        args.source);
                }
                fma_four(sums[q], x, tap);
            }
        }
    }
}

// Kernels: S taps a row, WIDTH results a strip.
template <u32 S, u32 WIDTH> struct Rows {
    static constexpr u32 RESULTS = WIDTH;

    template <bool BACK> static __device__ __forceinline__ u32 shift(const DepthwiseArgs& args) {
        return BACK ? args.padding[1] % args.stride[1] : 0;
    }

    template <bool BACK>
    static __device__ __forceinline__ void sums(const DepthwiseArgs& args, const Strip& strip,
                                                Four (&sums)[WIDTH]) {
        if (args.stride[1] == 1)
            walk<S, 1, BACK, WIDTH>(args, strip, sums);
        else
            walk<S, 2, BACK, WIDTH>(args, strip, sums);
    }
};

struct AnyRows {
    static constexpr u32 RESULTS = 4;

    template <bool BACK> static __device__ __forceinline__ u32 shift(const DepthwiseArgs&) { return 0; }

    template <bool BACK>
    static __device__ __forceinline__ void sums(const DepthwiseArgs& args, const Strip& strip,
                                                Four (&sums)[4]) {
        walk_any<BACK, 4>(args, strip, sums);
    }
};

using Rows3 = Rows<3, 4>;
using Rows5 = Rows<5, 4>;
using Rows7 = Rows<7, 8>; // wider, for a row of 7 taps costs as much as 4 results
using Rows7Back = Rows<7, 4>; // a wider one's registers would leave a multiprocessor one block

static __device__ __forceinline__ f32 bias_of(const DepthwiseArgs& args, u32 channel) {
    const bool silent = args.silent_bias[0] <= channel && channel < args.silent_bias[1];
    return silent ? 0.0f : ptr<const f32>(args.bias)[channel];
}

// Reads x, w and the bias, writes y.
template <class Kernel>
static __device__ __forceinline__ void forward(const DepthwiseArgs& args, const Strip& strip) {
    constexpr u32 WIDTH = Kernel::RESULTS;
    if (strip.lanes == 0) return;
    Four sums[WIDTH] = {};
    Kernel::template sums<false>(args, strip, sums);
    Four bias = {};
    UNROLL
    for (u32 i = 0; i < 4; ++i)
        if (args.bias && i < strip.lanes) bias.v[i] = bias_of(args, strip.channel + i);
    UNROLL
    for (u32 q = 0; q < WIDTH; ++q) {
        if (!strip.has(args, q)) continue;
        if (args.bias)
            sums[q] = map_four(sums[q], bias, [](f32 sum, f32 bias) { return sum + bias; });
        strip.result(args, q).store(args.result, sums[q]);
    }
}

template <class Kernel> static __device__ __forceinline__ void clean(const DepthwiseArgs& args) {
    forward<Kernel>(args, strip_of<Kernel::RESULTS>(args, 0));
}

// The sum of channel `channel` of the result `element` in column `at` of the strip's row, under `faults`,
// those of the strip's results of that channel. A thread's copy of a tap serves its strip, that of an
// input one result, since the channel is a group of its own.
static __device__ __forceinline__ f32 faulty_sum(const DepthwiseArgs& args, const Strip& strip,
                                                 Faults faults, u32 channel, u32 at, u32 element) {
    f32 sum = 0.0f;
    u32 term = 0;
    ROLLED for (u32 r = 0; r < args.kernel[0]; ++r) {
        const Found row = find<false>(args, 0, strip.row, r);
        ROLLED for (u32 s = 0; s < args.kernel[1]; ++s) {
            const Found column = find<false>(args, 1, at, s);
            f32 a = 0.0f, b = ptr<const f32>(args.w)[u64(term) * args.channels + channel];
            if (row.inside && column.inside) {
                const u64 pixel = u64(row.at) * args.source_size[1] + column.at;
                a = ptr<const f32>(args.source)[strip.from + pixel * args.channels + channel];
            }
            ROLLED for (const FaultEntry* fault = faults.first; fault < faults.last; ++fault) {
                if (fault->k != term) continue;
                if (fault->site == SITE_OPERAND_A && fault->element == element) a = hit(*fault, a);
                if (fault->site == SITE_OPERAND_B) b = hit(*fault, b);
            }
            sum = fmaf(a, b, sum);
            ++term;
            ROLLED for (const FaultEntry* fault = faults.first; fault < faults.last; ++fault)
                if (fault->site == SITE_ACCUMULATOR && fault->element == element && fault->k == term)
                    sum = hit(*fault, sum);
        }
    }
    return sum;
}

// The same, under faults at the end and in the chains: accumulator and operands (nothing is shared by a
// block). Where a strip has faults in a channel, its results of that channel are added once more, term by
// term, and stored over the clean ones; the other chains are those of the clean kernel.
template <class Kernel> static __device__ __forceinline__ void armed(const DepthwiseArgs& args) {
    const Strip strip = strip_of<Kernel::RESULTS>(args, 0);
    forward<Kernel>(args, strip);
    if (strip.lanes == 0) return;
    const Faults of_image = faults_of(args.faults, strip.image);
    if (of_image.none()) return;
    const u32 columns = args.result_size[1];
    const u32 end = min(u32(strip.column) + Kernel::RESULTS, columns);
    ROLLED for (u32 channel = strip.channel; channel < strip.channel + strip.lanes; ++channel) {
        // Of this row; elements of an image have 32 bits.
        const u32 first = (channel * args.result_size[0] + strip.row) * columns;
        const Faults faults = {seek(of_image, first + u32(strip.column)), seek(of_image, first + end)};
        if (faults.none()) continue;
        ROLLED for (u32 at = u32(strip.column); at < end; ++at) {
            f32 value = faulty_sum(args, strip, faults, channel, at, first + at);
            if (args.bias) value = value + bias_of(args, channel);
            const u64 pixel = u64(strip.row) * columns + at;
            ptr<f32>(args.result)[strip.to + pixel * args.channels + channel] =
                apply_faults(faults, first + at, value);
        }
    }
}

KERNEL(depthwise_forward_f32_3, DepthwiseArgs, NoShared, 256) { clean<Rows3>(args); }
KERNEL(depthwise_forward_f32_5, DepthwiseArgs, NoShared, 256) { clean<Rows5>(args); }
KERNEL(depthwise_forward_f32_any, DepthwiseArgs, NoShared, 256) { clean<AnyRows>(args); }
// Bounds of 512 threads hold the registers to 128, so that two blocks of 256 run side by side.
KERNEL(depthwise_forward_f32_7, DepthwiseArgs, NoShared, 512) { clean<Rows7>(args); }

KERNEL(depthwise_forward_f32_3_armed, DepthwiseArgs, NoShared, 256) { armed<Rows3>(args); }
KERNEL(depthwise_forward_f32_5_armed, DepthwiseArgs, NoShared, 768) { armed<Rows5>(args); }
KERNEL(depthwise_forward_f32_7_armed, DepthwiseArgs, NoShared, 256) { armed<Rows7>(args); }
KERNEL(depthwise_forward_f32_any_armed, DepthwiseArgs, NoShared, 512) { armed<AnyRows>(args); }

// Reads dy, w and, where it adds, dx; writes dx. Strips begin where the first result's sources are
// those of tap 0, whatever the padding.
template <class Kernel>
static __device__ __forceinline__ void input_gradient(const DepthwiseArgs& args) {
    constexpr u32 WIDTH = Kernel::RESULTS;
    const Strip strip = strip_of<WIDTH>(args, Kernel::template shift<true>(args));
    if (strip.lanes == 0) return;
    Four sums[WIDTH] = {};
    UNROLL
    for (u32 q = 0; q < WIDTH; ++q)
        if (args.accumulate && strip.has(args, q))
            sums[q] = strip.result(args, q).load(args.result);
    Kernel::template sums<true>(args, strip, sums);
    UNROLL
    for (u32 q = 0; q < WIDTH; ++q)
        if (strip.has(args, q)) strip.result(args, q).store(args.result, sums[q]);
}

KERNEL(depthwise_input_gradient_f32_3, DepthwiseArgs, NoShared, 256) { input_gradient<Rows3>(args); }
KERNEL(depthwise_input_gradient_f32_5, DepthwiseArgs, NoShared, 256) { input_gradient<Rows5>(args); }
KERNEL(depthwise_input_gradient_f32_7, DepthwiseArgs, NoShared, 256) { input_gradient<Rows7Back>(args); }
KERNEL(depthwise_input_gradient_f32_any, DepthwiseArgs, NoShared, 256) { input_gradient<AnyRows>(args); }
