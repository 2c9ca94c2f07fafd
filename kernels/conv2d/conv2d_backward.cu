// The gradients of a convolution or linear layer in exact fp32 (gemm.cuh).
//
// Input: one chain of fmaf an element in the order of κ = tap·O/G + o, which may begin with what is there:
// the CPU's bits. Weights: chains over parts of the pixels, added in the order of the parts; how many there
// are follows from the sizes. Deterministic: each element has one owner and one order.
#include "common/channel_sums.cuh"
#include "conv2d/conv2d.cuh"
#include "gemm/target.cuh"

// ---- dx[q, c] (+)= Σ_{tap, o} dy[p(q, tap), o]·w[tap, c, o] ----

// Columns of B: the weights of a group's input channels, along the outputs.
template <class T> struct WeightRows {
    typedef AlongTerms<T, T::N> Carry;
    const Conv2dArgs& args;
    const u32 inputs, depth, terms, first_column;
    const f32* from; // this group's outputs
    bool whole;
    u32 tap, channel, term;

    __device__ __forceinline__ WeightRows(const Conv2dArgs& args, u32 group, u32 first_column,
                                          u32 terms)
        : args(args), inputs(args.in_channels / args.groups),
          depth(args.out_channels / args.groups), terms(terms), first_column(first_column),
          from(ptr<const f32>(args.w) + group * depth),
          whole(depth % QUAD == 0 && args.out_channels % QUAD == 0), tap(Carry::term() / depth),
          channel(Carry::term() % depth), term(Carry::term()) {}

    __device__ __forceinline__ Four quad(u32 slot) const {
        const u32 column = first_column + Carry::line(slot);
        Four four = {};
        if (column >= inputs || term >= terms) return four;
        if (whole) return load_four(from + ((u64)tap * inputs + column) * args.out_channels + channel);
        u32 at_tap = tap, at_channel = channel;
        UNROLL for (u32 e = 0; e < QUAD; ++e) {
            const u64 at = ((u64)at_tap * inputs + column) * args.out_channels + at_channel;
            four.v[e] = term + e < terms ? from[at] : 0.0f;
            if (++at_channel == depth) {
                at_channel = 0;
                ++at_tap;
            }
        }
        return four;
    }
    __device__ __forceinline__ void next() {
        term += SLICE;
        channel += SLICE;
        while (channel >= depth) {
            channel -= depth;
            ++tap;
        }
    }
};

template <class T>
static __device__ __forceinline__ void input_gradient(const Conv2dArgs& args,
                                                      GemmShared<T>& shared) {
    const u32 rows = ptr<const RunState>(args.state)->images * args.in_size[0] * args.in_size[1];
    const u32 columns = args.in_channels / args.groups;
    const u32 first_row = blockIdx.x * T::M, first_column = blockIdx.y * T::N, group = blockIdx.z;
    if (first_row >= rows) return;
    const Target target = {ptr<f32>(args.result) + group * columns, rows, columns,
                           args.in_channels, first_row, first_column};
    const u32 terms = args.out_channels / args.groups * args.kernel[0] * args.kernel[1];
    f32 acc[T::ROWS][T::COLUMNS];
    begin<T>(acc, target, args.accumulate);
    multiply(shared, terms, acc, TapRows<T, true>(args, group, first_row, rows),
             WeightRows<T>(args, group, first_column, terms), NoFaults{});
    end<T>(acc, target);
}

// Grid: (⌈N·H·W/M⌉, ⌈C/G/N⌉, G).
KERNEL(conv2d_input_gradient_f32_128x128, Conv2dArgs, GemmShared<Large>, 256) {
    input_gradient<Large>(args, shared);
}
KERNEL(conv2d_input_gradient_f32_128x64, Conv2dArgs, GemmShared<Medium>, 256) {
    input_gradient<Medium>(args, shared);
}
KERNEL(conv2d_input_gradient_f32_64x64, Conv2dArgs, GemmShared<Small>, 128) {
    input_gradient<Small>(args, shared);
}
KERNEL(conv2d_input_gradient_f32_128x32, Conv2dArgs, GemmShared<Narrow>, 128) {
    input_gradient<Narrow>(args, shared);
}

// ---- dw[κ, o] (+)= Σ_pixels x[tap(pixel, κ)]·dy[pixel, o]; rows are κ = tap·C/G + c ----

// Rows of A: the inputs that weights are multiplied with, side by side along the channels.
template <class T> struct ShiftedInputs {
    typedef AlongLines<T, T::M> Carry;
    const Conv2dArgs& args;
    const u32 depth, terms; // channels of a group; pixels up to the end of this part
    const f32* x;           // this group's channels
    bool whole;
    u32 count;    // rows of the quad that there are
    TermWalk tap; // of the quad's first row
    Pixel pixel[Carry::SLOTS];
    u32 first; // pixel of the slice

    __device__ __forceinline__ ShiftedInputs(const Conv2dArgs& args, u32 group, u32 first_row, u32 rows,
                                       u32 start, u32 terms)
        : args(args), depth(args.in_channels / args.groups), terms(terms),
          x(ptr<const f32>(args.x) + group * depth), whole(depth % QUAD == 0), count(0),
          tap(first_row + Carry::line(), args.kernel, depth), first(start) {
        const u32 row = first_row + Carry::line();
        if (row < rows) count = min(QUAD, rows - row);
        UNROLL for (u32 slot = 0; slot < Carry::SLOTS; ++slot) {
            pixel[slot] = pixel_of(start + Carry::term(slot), args.out_size);
        }
    }

    __device__ __forceinline__ const f32* at(const Pixel& pixel, const TermWalk& tap) const {
        const u32 h = tap_input(args, 0, pixel.row, tap.row);
        const u32 v = tap_input(args, 1, pixel.column, tap.column);
        if (h >= args.in_size[0] || v >= args.in_size[1]) return nullptr;
        const u64 at = ((u64)pixel.image * args.in_size[0] + h) * args.in_size[1] + v;
        return x + at * args.in_channels + tap.channel;
    }
    __device__ __forceinline__ Four quad(u32 slot) const {
        Four four = {};
        if (first + Carry::term(slot) >= terms || count == 0) return four;
        if (whole) {
            const f32* from = at(pixel[slot], tap);
            return from ? load_four(from) : four;
        }
        TermWalk each = tap;
        UNROLL for (u32 e = 0; e < QUAD; ++e) {
            const f32* from = e < count ? at(pixel[slot], each) : nullptr;
            four.v[e] = from ? *from : 0.0f;
            each.advance(1, args.kernel[1], depth);
        }
        return four;
    }
    __device__ __forceinline__ void next() {
        first += SLICE;
        UNROLL for (u32 slot = 0; slot < Carry::SLOTS; ++slot) {
            pixel[slot].advance(SLICE, args.out_size);
        }
    }
};

template <class T>
static __device__ __forceinline__ void weight_gradient(const Conv2dArgs& args,
                                                       GemmShared<T>& shared) {
    const u32 rows = args.in_channels / args.groups * args.kernel[0] * args.kernel[1];
    const u32 columns = args.out_channels / args.groups;
    const u32 first_row = blockIdx.x * T::M, first_column = blockIdx.y * T::N;
    const u32 group = blockIdx.z % args.groups, split = blockIdx.z / args.groups;
    const u32 images = ptr<const RunState>(args.state)->images;
    const u32 pixels = images * args.out_size[0] * args.out_size[1];
    const Part part = part_of(pixels, args.splits, split);
    const bool partial = args.splits > 1;
    f32* to = partial ? ptr<f32>(args.partial) + (u64)split * rows * args.out_channels
                      : ptr<f32>(args.result);
    const Target target = {to + group * columns, rows, columns, args.out_channels, first_row,
                           first_column};
    f32 acc[T::ROWS][T::COLUMNS];
    begin<T>(acc, target, args.accumulate && !partial);
    const u32 start = u32(part.start), end_pixel = u32(part.end);
    multiply(shared, end_pixel - start, acc,
             ShiftedInputs<T>(args, group, first_row, rows, start, end_pixel),
             OutputColumns<T>(args, args.y, group, first_column, start, end_pixel), NoFaults{});
    end<T>(acc, target);
}

// Grid: (⌈K/M⌉, ⌈O/G/N⌉, G · splits).
KERNEL(conv2d_weight_gradient_f32_128x128, Conv2dArgs, GemmShared<Large>, 256) {
    weight_gradient<Large>(args, shared);
}
KERNEL(conv2d_weight_gradient_f32_64x64, Conv2dArgs, GemmShared<Small>, 128) {
    weight_gradient<Small>(args, shared);
}

// The total of a weight gradient's parts.
struct Conv2dTotalArgs {
    u64 partial; // (splits, elements)
    u64 result;  // (elements)
    u64 elements;
    u32 splits;
    u32 accumulate;
};

// dw (+)= Σ of the parts, in their order. One element a thread: reads the parts once, writes dw. Blocks of
// 256, grid ⌈elements/256⌉.
KERNEL(conv2d_weight_total_f32, Conv2dTotalArgs, NoShared, 256) {
    const u64 at = (u64)blockIdx.x * 256 + threadIdx.x;
    if (at >= args.elements) return;
    f32* to = ptr<f32>(args.result) + at;
    f32 sum = args.accumulate ? *to : 0.0f;
    const f32* from = ptr<const f32>(args.partial) + at;
    for (u32 split = 0; split < args.splits; ++split) sum = sum + from[split * args.elements];
    *to = sum;
}

// ---- db[o] (+)= Σ_pixels dy[pixel, o] ----

// The gradient of a bias.
struct Conv2dBiasArgs {
    u64 dy;      // (N, P, Q, O)
    u64 partial; // (parts, O) f64
    u64 result;  // (O)
    u64 state;   // RunState
    u32 pixels;  // P·Q
    u32 out_channels;
    u32 parts;
    u32 accumulate;
    u32 silent_bias[2];
};

// Sums of f64 over parts of the pixels. Grid: parts × ⌈O/32⌉, blocks of 32 × 16; reads dy once.
KERNEL(conv2d_bias_partials_f32, Conv2dBiasArgs, ChannelSums<1>, 512) {
    const u32 c = blockIdx.y * 32 + threadIdx.x;
    const u64 pixels = (u64)ptr<const RunState>(args.state)->images * args.pixels;
    const Part part = part_of(pixels, args.parts, blockIdx.x);
    const f32* dy = ptr<const f32>(args.dy);
    f64 sums[1] = {0.0};
    if (c < args.out_channels) {
        for (u64 pixel = part.start + threadIdx.y; pixel < part.end; pixel += SUM_LANES) {
            sums[0] += f64(dy[pixel * args.out_channels + c]);
        }
    }
    if (!sum_lanes(shared, sums) || c >= args.out_channels) return;
    ptr<f64>(args.partial)[(u64)blockIdx.x * args.out_channels + c] = sums[0];
}

// Their total. One thread a channel, blocks of 64.
KERNEL(conv2d_bias_total_f32, Conv2dBiasArgs, NoShared, 64) {
    const u32 c = blockIdx.x * 64 + threadIdx.x;
    if (c >= args.out_channels) return;
    f32* to = ptr<f32>(args.result) + c;
    f64 sum = args.accumulate ? f64(*to) : 0.0;
    const bool silent = args.silent_bias[0] <= c && c < args.silent_bias[1];
    for (u32 part = 0; part < args.parts && !silent; ++part) {
        sum += ptr<const f64>(args.partial)[(u64)part * args.out_channels + c];
    }
    *to = f32(sum);
}
