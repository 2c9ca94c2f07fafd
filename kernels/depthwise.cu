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

// No faults.
struct Clean {
    template <u32 WIDTH>
    __device__ __forceinline__ void inside(const DepthwiseArgs&, const Strip&, Four (&)[WIDTH]) const {}
    __device__ __forceinline__ f32 at_end(f32 value, u64) const { return value; }
};

// Those of the strip's image that hit finished sums.
struct AtEnd {
    Faults faults;

    template <u32 WIDTH>
    __device__ __forceinline__ void inside(const DepthwiseArgs&, const Strip&, Four (&)[WIDTH]) const {}
    // `element` is PyTorch's index within the image.
    __device__ __forceinline__ f32 at_end(f32 value, u64 element) const {
        return apply_faults(faults, element, value);
    }
};

// Those, and those of the chain itself: accumulator and operands. A thread's copy of a tap serves its
// strip, that of an input one result (of the channel's own group); nothing is shared by a block. Chains
// in which there is a fault are added once more, term by term, so that the others cost nothing.
struct Everywhere {
    Faults faults;

    template <u32 WIDTH>
    __device__ __forceinline__ void inside(const DepthwiseArgs& args, const Strip& strip,
                                           Four (&sums)[WIDTH]) const {
        if (faults.none()) return;
        const u32 width = min(WIDTH, args.result_size[1] - u32(strip.column));
        ROLLED for (u32 i = 0; i < strip.lanes; ++i) {
            const u64 pixels = u64(args.result_size[0]) * args.result_size[1];
            const u64 first = (strip.channel + i) * pixels +
                              u64(strip.row) * args.result_size[1] + u32(strip.column);
            const Faults own = {seek(faults, first), seek(faults, first + width)};
            if (own.none()) continue;
            ROLLED for (u32 q = 0; q < width; ++q) {
                const f32 sum = chain(args, strip, own, i, q, first + q);
                UNROLL
                for (u32 each = 0; each < 4 * WIDTH; ++each)
                    if (each == 4 * q + i) sums[each / 4].v[each % 4] = sum;
            }
        }
    }

    __device__ __forceinline__ f32 at_end(f32 value, u64 element) const {
        return apply_faults(faults, element, value);
    }

    // The sum of result q of channel i under `own`, the faults of the strip's results of that channel.
    static __device__ __forceinline__ f32 chain(const DepthwiseArgs& args, const Strip& strip, Faults own,
                                                u32 i, u32 q, u64 element) {
        const f32* source = ptr<const f32>(args.source) + strip.from + strip.channel + i;
        const f32* w = ptr<const f32>(args.w) + strip.channel + i;
        f32 sum = 0.0f;
        ROLLED for (u32 term = 0; term < args.kernel[0] * args.kernel[1]; ++term) {
            const Found row = find<false>(args, 0, strip.row, term / args.kernel[1]);
            const Found column = find<false>(args, 1, u32(strip.column) + q, term % args.kernel[1]);
            f32 a = 0.0f, b = w[u64(term) * args.channels];
            if (row.inside && column.inside)
                a = source[(u64(row.at) * args.source_size[1] + column.at) * args.channels];
            for (const FaultEntry* fault = own.first; fault < own.last; ++fault) {
                if (fault->k != term) continue;
                if (fault->site == SITE_OPERAND_A && fault->element == element) a = hit(*fault, a);
                if (fault->site == SITE_OPERAND_B) b = hit(*fault, b);
            }
            sum = fmaf(a, b, sum);
            for (const FaultEntry* fault = own.first; fault < own.last; ++fault)
                if (fault->site == SITE_ACCUMULATOR && fault->element == element && fault->k == term + 1)
                    sum = hit(*fault, sum);
        }
        return sum;
    }
};

// Reads x, w and the bias, writes y. `of_image` gives the faults of a strip's image.
template <class Kernel, class OfImage>
static __device__ __forceinline__ void forward(const DepthwiseArgs& args, const OfImage& of_image) {
    constexpr u32 WIDTH = Kernel::RESULTS;
    const Strip strip = strip_of<WIDTH>(args, 0);
    if (strip.lanes == 0) return;
    Four sums[WIDTH] = {};
    Kernel::template sums<false>(args, strip, sums);
    const auto faults = of_image(strip.image);
    faults.inside(args, strip, sums);
    Four bias = {};
    if (args.bias) {
        bias = Quad{strip.channel, strip.lanes}.load(args.bias);
        UNROLL
        for (u32 i = 0; i < 4; ++i)
            if (args.silent_bias[0] <= strip.channel + i && strip.channel + i < args.silent_bias[1])
                bias.v[i] = 0.0f;
    }
    const u32 pixels = args.result_size[0] * args.result_size[1];
    const u32 pixel = strip.row * args.result_size[1] + u32(strip.column);
    UNROLL
    for (u32 q = 0; q < WIDTH; ++q) {
        if (!strip.has(args, q)) continue;
        UNROLL
        for (u32 i = 0; i < 4; ++i) {
            const f32 value = args.bias ? sums[q].v[i] + bias.v[i] : sums[q].v[i];
            sums[q].v[i] = faults.at_end(value, u64(strip.channel + i) * pixels + pixel + q);
        }
        strip.result(args, q).store(args.result, sums[q]);
    }
}

template <class Kernel>
static __device__ __forceinline__ void clean(const DepthwiseArgs& args) {
    forward<Kernel>(args, [](u32) { return Clean{}; });
}

template <class Kernel>
static __device__ __forceinline__ void armed(const DepthwiseArgs& args) {
    forward<Kernel>(args, [&](u32 image) { return AtEnd{faults_of(args.faults, image)}; });
}

template <class Kernel>
static __device__ __forceinline__ void armed_inner(const DepthwiseArgs& args) {
    forward<Kernel>(args, [&](u32 image) { return Everywhere{faults_of(args.faults, image)}; });
}

KERNEL(depthwise_forward_f32_3, DepthwiseArgs, NoShared, 256) { clean<Rows3>(args); }
KERNEL(depthwise_forward_f32_5, DepthwiseArgs, NoShared, 256) { clean<Rows5>(args); }
KERNEL(depthwise_forward_f32_any, DepthwiseArgs, NoShared, 256) { clean<AnyRows>(args); }
// Bounds of 512 threads hold the registers to 128, so that two blocks of 256 run side by side.
KERNEL(depthwise_forward_f32_7, DepthwiseArgs, NoShared, 512) { clean<Rows7>(args); }

KERNEL(depthwise_forward_f32_3_armed, DepthwiseArgs, NoShared, 256) { armed<Rows3>(args); }
KERNEL(depthwise_forward_f32_5_armed, DepthwiseArgs, NoShared, 256) { armed<Rows5>(args); }
KERNEL(depthwise_forward_f32_7_armed, DepthwiseArgs, NoShared, 256) { armed<Rows7>(args); }
KERNEL(depthwise_forward_f32_any_armed, DepthwiseArgs, NoShared, 256) { armed<AnyRows>(args); }

KERNEL(depthwise_forward_f32_3_armed_inner, DepthwiseArgs, NoShared, 256) { armed_inner<Rows3>(args); }
KERNEL(depthwise_forward_f32_5_armed_inner, DepthwiseArgs, NoShared, 256) { armed_inner<Rows5>(args); }
KERNEL(depthwise_forward_f32_7_armed_inner, DepthwiseArgs, NoShared, 256) { armed_inner<Rows7>(args); }
KERNEL(depthwise_forward_f32_any_armed_inner, DepthwiseArgs, NoShared, 256) { armed_inner<AnyRows>(args); }

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
