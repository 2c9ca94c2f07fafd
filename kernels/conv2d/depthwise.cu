// Depthwise convolution, forward and input gradient: every channel is a group of its own. Shapes: x is
// (N, H, W, C), w is (R, S, C), y is (N, P, Q, C), all f32.
//
//   y[p, q, c]  = Σ_{r, s} x[p·stride − padding + r·dilation, …, c]·w[r, s, c], then the epilogue
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
#include "common/elementwise.cuh"
#include "conv2d/epilogue.cuh"

// A depthwise convolution, or the gradient of its input.
struct DepthwiseArgs {
    u64 source; // what is read: x (N, H, W, C), or dy
    u64 w;      // (R, S, C)
    u64 result; // (N, P, Q, C), or dx
    u64 state;  // RunState
    u64 faults; // FaultTable; read by the armed kernel only
    u32 source_size[2]; // rows, columns
    u32 result_size[2];
    u32 channels;
    u32 kernel[2];
    u32 stride[2];
    u32 padding[2];
    u32 dilation[2];
    u32 accumulate;   // backward: add to what `result` holds
    u32 block_quads;  // powers of two
    u32 block_strips;
    u32 width; // results of a strip
    EpilogueArgs epilogue; // forward
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

// Reads x, w and what the epilogue takes, writes y. An activation that is costly runs over what was stored.
template <class Kernel>
static __device__ __forceinline__ void forward(const DepthwiseArgs& args) {
    constexpr u32 WIDTH = Kernel::RESULTS;
    const Strip strip = strip_of<WIDTH>(args, 0);
    if (strip.lanes == 0) return;
    Four sums[WIDTH] = {};
    Kernel::template sums<false>(args, strip, sums);
    const EpilogueArgs& epilogue = args.epilogue;
    ChannelEpilogue channels[4];
    UNROLL
    for (u32 i = 0; i < 4; ++i)
        if (i < strip.lanes) channels[i] = ChannelEpilogue(epilogue, strip.channel + i);
    UNROLL
    for (u32 q = 0; q < WIDTH; ++q) {
        if (!strip.has(args, q)) continue;
        const Quad result = strip.result(args, q);
        Four residual = {};
        if (epilogue.residual) residual = result.load(epilogue.residual);
        UNROLL
        for (u32 i = 0; i < 4; ++i)
            sums[q].v[i] = channels[i].finish(epilogue, channels[i].output(epilogue, sums[q].v[i]),
                                              residual.v[i]);
        result.store(args.result, sums[q]);
    }
    if (is_light(epilogue.activation)) return;
    ROLLED for (u32 q = 0; q < WIDTH; ++q) {
        if (!strip.has(args, q)) continue;
        const Quad result = strip.result(args, q);
        ROLLED for (u32 i = 0; i < strip.lanes; ++i) {
            f32* value = ptr<f32>(args.result) + result.at + i;
            *value = heavily_activated(epilogue.activation, *value);
        }
    }
}

KERNEL(depthwise_forward_f32_3, DepthwiseArgs, NoShared, 256) { forward<Rows3>(args); }
KERNEL(depthwise_forward_f32_5, DepthwiseArgs, NoShared, 256) { forward<Rows5>(args); }
KERNEL(depthwise_forward_f32_any, DepthwiseArgs, NoShared, 256) { forward<AnyRows>(args); }
// Bounds of 512 threads hold the registers to 128, so that two blocks of 256 run side by side.
KERNEL(depthwise_forward_f32_7, DepthwiseArgs, NoShared, 512) { forward<Rows7>(args); }

// The sum of one result of `image` under `faults`, those of its strip's results of that channel; `element`
// is its index in PyTorch's order. A thread's copy of a tap serves its strip, that of an input one result,
// since the channel is a group of its own.
static __device__ __forceinline__ f32 faulty_sum(const DepthwiseArgs& args, Faults faults, u32 image,
                                                 u32 channel, u32 row, u32 column, u32 element) {
    f32 sum = 0.0f;
    u32 term = 0;
    ROLLED for (u32 r = 0; r < args.kernel[0]; ++r) {
        const Found h = find<false>(args, 0, row, r);
        ROLLED for (u32 s = 0; s < args.kernel[1]; ++s) {
            const Found v = find<false>(args, 1, column, s);
            f32 a = 0.0f, b = ptr<const f32>(args.w)[u64(term) * args.channels + channel];
            if (h.inside && v.inside) {
                const u64 line = u64(image) * args.source_size[0] + h.at;
                const u64 pixel = line * args.source_size[1] + v.at;
                a = ptr<const f32>(args.source)[pixel * args.channels + channel];
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

// Runs behind any of the above, for faults at the end and in the chains: accumulator and operands (nothing
// is shared by a block). Where a strip has faults in a channel, its results of that channel are added once
// more, term by term, and stored over the clean ones; all others are the clean kernel's, which pays
// nothing. Grid: images of the capacity, blocks of 64: 8 threads have a strip's channel, by its first fault.
// (Bounds of one block of 768 keep the compiler from sparing registers for occupancy that so few threads
// can't have.)
KERNEL(depthwise_forward_f32_armed, DepthwiseArgs, NoShared, 768, 1) {
    const u32 image = blockIdx.x;
    if (image >= ptr<const RunState>(args.state)->images) return;
    ROLLED for (u32 number = threadIdx.x / 8;; number += 8) {
        // Looked up anew each time: kept, it would be spilled.
        const Faults of_image = faults_of(args.faults, image);
        const FaultEntry* fault = of_image.first + number;
        if (fault >= of_image.last) return;
        const u32 columns = args.result_size[1], pixels = args.result_size[0] * columns;
        // Elements of an image have 32 bits.
        const u32 element = u32(fault->element), channel = element / pixels;
        if (channel >= args.channels) return; // of the input, which may be larger
        const ChannelEpilogue numbers(args.epilogue, channel);
        const u32 start = element % columns / args.width * args.width;
        const u32 column = start + threadIdx.x % 8;
        const u32 first = element - element % columns; // of the row
        const u32 end = min(start + args.width, columns);
        const Faults faults = {seek(of_image, first + start), seek(of_image, first + end)};
        if (faults.first != fault || column >= end) continue; // others' faults
        const u32 row = element % pixels / columns;
        f32 value = faulty_sum(args, faults, image, channel, row, column, first + column);
        value = apply_faults(faults, first + column, numbers.output(args.epilogue, value));
        const u64 at = (u64(image) * pixels + row * columns + column) * args.channels + channel;
        f32 residual = 0.0f;
        if (args.epilogue.residual) residual = ptr<const f32>(args.epilogue.residual)[at];
        value = numbers.finish(args.epilogue, value, residual);
        if (!is_light(args.epilogue.activation))
            value = heavily_activated(args.epilogue.activation, value);
        ptr<f32>(args.result)[at] = value;
    }
}

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
