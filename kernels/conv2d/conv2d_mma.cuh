// Convolution as an implicit GEMM on tensor cores, forward and backward; linear layers are its case of a
// 1×1 kernel. Shapes: x is (N, H, W, C), w is (R, S, C/G, O), y is (N, P, Q, O), all f32 in memory.
//
// gemm_mma.cuh has the product; here is where its operands lie. Taps and channels are counted up from
// slice to slice; nothing is divided in the loop. Padding taps multiply by zero, so that 0·Inf is NaN.
//
// Grid of every pass: (row tiles · column tiles, G, parts), column tiles first, so that neighbouring
// blocks read the same pixels. Rows run over all images; blocks beyond the valid ones do nothing.
#pragma once
#include "common/channel_sums.cuh"
#include "conv2d/conv2d.cuh"
#include "fault/tile_faults.cuh"
#include "gemm/gemm_mma.cuh"
#include "gemm/gemm_mma_fault.cuh"

// ---- where operands lie ----

// A tap and a channel: κ, counted up. `offset` is where it lies from its pixel (or from the weights).
struct TapCursor {
    u32 term;
    i32 channel, column, h, w, offset;
};

// How a cursor moves.
struct TapWalk {
    i32 depth;     // channels of a tap
    i32 columns;   // taps in a row of the kernel
    i32 dilation[2];
    i32 next_tap, next_row; // what `offset` gains beyond one a channel

    __device__ __forceinline__ void advance(TapCursor& cursor, i32 terms) const {
        cursor.term += terms;
        cursor.channel += terms;
        cursor.offset += terms;
        while (cursor.channel >= depth) {
            cursor.channel -= depth;
            cursor.offset += next_tap;
            cursor.w += dilation[1];
            if (++cursor.column == columns) {
                cursor.column = 0;
                cursor.w = 0;
                cursor.h += dilation[0];
                cursor.offset += next_row;
            }
        }
    }
    __device__ __forceinline__ TapCursor begin(u32 term) const {
        const i32 tap = (i32)term / depth, row = tap / columns;
        TapCursor cursor;
        cursor.term = term;
        cursor.channel = (i32)term - tap * depth;
        cursor.column = tap - row * columns;
        cursor.h = row * dilation[0];
        cursor.w = cursor.column * dilation[1];
        cursor.offset = (i32)term + tap * next_tap + row * next_row;
        return cursor;
    }
};

// x by the taps of output pixels: offsets from the window's corner.
static __device__ __forceinline__ TapWalk input_walk(const Conv2dArgs& args) {
    const i32 depth = args.in_channels / args.groups, channels = args.in_channels;
    const i32 dilation[2] = {(i32)args.dilation[0], (i32)args.dilation[1]};
    const i32 columns = args.kernel[1], width = args.in_size[1];
    return {depth, columns, {dilation[0], dilation[1]}, dilation[1] * channels - depth,
            (dilation[0] * width - columns * dilation[1]) * channels};
}

// dy and w by the taps of input pixels: offsets in w, a row of which is (C/G, O).
static __device__ __forceinline__ TapWalk output_walk(const Conv2dArgs& args) {
    const i32 depth = args.out_channels / args.groups;
    const i32 row = (i32)(args.in_channels / args.groups * args.out_channels);
    return {depth, (i32)args.kernel[1], {(i32)args.dilation[0], (i32)args.dilation[1]},
            row - depth, 0};
}

// The window's corner of output pixel `pixel` of all images, in x.
static __device__ __forceinline__ MmaPlace window_place(const Conv2dArgs& args, u32 pixel, u32 group) {
    const Pixel at = pixel_of(pixel, args.out_size);
    const i32 h = (i32)(at.row * args.stride[0]) - (i32)args.padding[0];
    const i32 w = (i32)(at.column * args.stride[1]) - (i32)args.padding[1];
    const i64 corner = ((i64)at.image * args.in_size[0] + h) * args.in_size[1] + w;
    const u32 depth = args.in_channels / args.groups;
    return {corner * args.in_channels + (i64)(group * depth), h, w};
}

// Whether runs of four channels lie in 16 aligned bytes.
static __device__ __forceinline__ bool in_fours(u32 channels, u32 groups) {
    return channels / groups % 4 == 0;
}

// A of forward: row m's 32 terms.
struct WindowSource {
    typedef TapCursor State;
    const f32* base;
    const MmaPlace* places;
    TapWalk walk;
    u32 terms;
    u32 size[2];
    bool vector;

    __device__ __forceinline__ State begin(u32 first) const { return walk.begin(first); }
    __device__ __forceinline__ void step(State& state) const { walk.advance(state, 1); }
    __device__ __forceinline__ void next(State& state) const { walk.advance(state, MMA_SLICE); }
    __device__ __forceinline__ MmaFrom at(u32 row, const State& tap) const {
        const MmaPlace place = places[row];
        const bool inside = tap.term < terms && (u32)(place.h + tap.h) < size[0] &&
                            (u32)(place.w + tap.w) < size[1];
        return {base + (place.base + tap.offset), inside};
    }
};

// A of the weight gradient: a term's (an output pixel's) rows κ.
struct PixelSource {
    typedef TapCursor State;
    const f32* base;
    const MmaPlace* places; // four slices of 32
    TapWalk walk;
    u32 first_row, rows;
    u32 size[2];
    bool vector;
    u32 slice;

    // Rows past the last one lie nowhere, whatever the pixel.
    __device__ __forceinline__ State placed(State tap) const {
        if (tap.term >= rows) tap.h = MMA_NOWHERE;
        return tap;
    }
    __device__ __forceinline__ State begin(u32 first) const {
        return placed(walk.begin(first_row + first));
    }
    __device__ __forceinline__ void step(State& state) const {
        walk.advance(state, 1);
        state = placed(state);
    }
    __device__ __forceinline__ void next(State&) { ++slice; }
    __device__ __forceinline__ MmaFrom at(u32 term, const State& tap) const {
        const MmaPlace place = places[slice % 4 * MMA_SLICE + term];
        const bool inside =
            (u32)(place.h + tap.h) < size[0] && (u32)(place.w + tap.w) < size[1];
        return {base + (place.base + tap.offset), inside};
    }
};

// A of the input gradient: dy at the output pixels that read input pixel q.
struct ReaderSource {
    typedef TapCursor State;
    const f32* base;
    const MmaPlace* places;
    TapWalk walk;
    u32 terms;
    u32 size[2];   // P, Q
    u32 stride[2];
    u32 inverse[2]; // ⌈2³² / stride⌉, for strides above 1
    u32 channels;  // O
    bool vector;

    __device__ __forceinline__ State begin(u32 first) const { return walk.begin(first); }
    __device__ __forceinline__ void step(State& state) const { walk.advance(state, 1); }
    __device__ __forceinline__ void next(State& state) const { walk.advance(state, MMA_SLICE); }
    // position / stride, for positions below 2¹⁶; at or above `size` where the division has a rest.
    __device__ __forceinline__ u32 output(u32 axis, i32 position) const {
        if (position < 0) return size[axis];
        if (stride[axis] == 1) return position;
        const u32 quotient = __umulhi(position, inverse[axis]);
        return quotient * stride[axis] == (u32)position ? quotient : size[axis];
    }
    __device__ __forceinline__ MmaFrom at(u32 row, const State& tap) const {
        const MmaPlace place = places[row];
        const u32 p = output(0, place.h - tap.h), q = output(1, place.w - tap.w);
        const bool inside = tap.term < terms && p < size[0] && q < size[1];
        const u32 pixel = p * size[1] + q;
        return {base + (place.base + (u64)pixel * channels + (u32)tap.channel), inside};
    }
};

// B of the input gradient: column c's 32 terms, of w.
struct WeightSource {
    typedef TapCursor State;
    const f32* base; // of the tile's first column
    TapWalk walk;
    u32 terms, columns;
    u32 channels; // O
    bool vector;

    __device__ __forceinline__ State begin(u32 first) const { return walk.begin(first); }
    __device__ __forceinline__ void step(State& state) const { walk.advance(state, 1); }
    __device__ __forceinline__ void next(State& state) const { walk.advance(state, MMA_SLICE); }
    __device__ __forceinline__ MmaFrom at(u32 column, const State& tap) const {
        const bool inside = tap.term < terms && column < columns;
        return {base + ((u64)column * channels + (i64)tap.offset), inside};
    }
};

// B of forward (w) and of the weight gradient (dy): a term's columns, side by side.
struct LineSource {
    typedef u32 State; // the column
    const f32* base;   // of the next slice's first term and the tile's first column
    u32 terms;         // left
    u32 columns;       // left
    u32 channels;      // O
    bool vector;

    __device__ __forceinline__ State begin(u32 first) const { return first; }
    __device__ __forceinline__ void step(State& state) const { ++state; }
    __device__ __forceinline__ void next(State&) {
        base += (u64)MMA_SLICE * channels;
        terms -= min(terms, MMA_SLICE);
    }
    __device__ __forceinline__ MmaFrom at(u32 term, State column) const {
        const bool inside = term < terms && column < columns;
        return {base + ((u64)term * channels + column), inside};
    }
};

// ---- the passes ----

// Row and column tile of this block.
template <class T>
static __device__ __forceinline__ void tile_of_block(u32 columns, u32& first_row, u32& first_column) {
    const u32 across = (columns + T::COLUMNS - 1) / T::COLUMNS;
    first_row = blockIdx.x / across * T::ROWS;
    first_column = blockIdx.x % across * T::COLUMNS;
}

struct NothingToPrepare {
    __device__ __forceinline__ void operator()(u32) const {}
};

// Stores the sums of a tile through the epilogue. `faults_of_image(image)` gives what hits that image's
// outputs.
template <class T, class FaultsOf>
static __device__ __forceinline__ void store_outputs(const Conv2dArgs& args, const MmaSums<T>& sums,
                                                     u32 first_row, u32 rows, u32 first_column,
                                                     const FaultsOf& faults_of_image) {
    struct Pair {
        ChannelEpilogue first, second;
    };
    const EpilogueArgs& epilogue = args.epilogue;
    const u32 pixels = args.out_size[0] * args.out_size[1];
    const u32 columns = args.out_channels / args.groups, first_channel = blockIdx.y * columns;
    const bool aligned = args.out_channels % 2 == 0 && columns % 2 == 0;
    f32* y = ptr<f32>(args.y);
    const f32* residual = ptr<const f32>(epilogue.residual);
    const auto begin = [&](u32 tile_column) {
        const u32 column = first_column + tile_column, channel = first_channel + column;
        Pair pair;
        if (column < columns) pair.first = ChannelEpilogue(epilogue, channel);
        if (column + 1 < columns) pair.second = ChannelEpilogue(epilogue, channel + 1);
        return pair;
    };
    each_pair<T>(sums, begin, [&](const Pair& pair, u32 tile_row, u32 tile_column, f32 first,
                                  f32 second) {
        const u32 row = first_row + tile_row, column = first_column + tile_column;
        if (row >= rows || column >= columns) return;
        const bool both = column + 1 < columns;
        const u32 channel = first_channel + column;
        const u64 at = (u64)row * args.out_channels + channel;
        const u64 element = (u64)channel * pixels + row % pixels;
        const auto faults = faults_of_image(row / pixels);
        float2 add = make_float2(0.0f, 0.0f);
        if (epilogue.residual) {
            add.x = residual[at];
            if (both) add.y = residual[at + 1];
        }
        first = apply_faults(faults, element, pair.first.output(epilogue, first));
        first = pair.first.finish(epilogue, first, add.x);
        if (both) {
            second = pair.second.output(epilogue, second);
            second = apply_faults(faults, element + pixels, second);
            second = pair.second.finish(epilogue, second, add.y);
        }
        if (aligned) {
            *reinterpret_cast<float2*>(y + at) = make_float2(first, second);
        } else {
            y[at] = first;
            if (both) y[at + 1] = second;
        }
    });
    if (is_light(epilogue.activation)) return;
    // The same thread's stores, so no barrier is needed.
    ROLLED for (u32 each = 0; each < T::DOWN * T::OVER * 4; ++each) {
        const u32 row = first_row + warp_row<T>() + mma_lane() / 4 + each / (T::OVER * 2) * 8;
        const u32 column = first_column + warp_column<T>() + mma_lane() % 4 * 2 +
                           each / 2 % T::OVER * 8 + each % 2;
        if (row >= rows || column >= columns) continue;
        f32* value = y + ((u64)row * args.out_channels + first_channel + column);
        *value = heavily_activated(epilogue.activation, *value);
    }
}

// y[m, n] = Σ_κ x[tap(m, κ)]·w[κ, n], then the epilogue.
template <class T, Armed ARMED>
static __device__ __forceinline__ void conv2d_forward_mma(const Conv2dArgs& args,
                                                          MmaShared<T>& shared) {
    const u32 pixels = args.out_size[0] * args.out_size[1];
    const u32 rows = ptr<const RunState>(args.state)->images * pixels;
    const u32 depth = args.in_channels / args.groups, columns = args.out_channels / args.groups;
    const u32 group = blockIdx.y, terms = depth * args.kernel[0] * args.kernel[1];
    u32 first_row, first_column;
    tile_of_block<T>(columns, first_row, first_column);
    if (first_row >= rows) return;
    for (u32 row = threadIdx.x; row < T::ROWS; row += T::THREADS) {
        shared.places[row] = first_row + row < rows
                                 ? window_place(args, first_row + row, group)
                                 : MmaPlace{0, MMA_NOWHERE, MMA_NOWHERE};
    }
    const u32 first_channel = group * columns + first_column;
    WindowSource a = {ptr<const f32>(args.x), shared.places, input_walk(args), terms,
                      {args.in_size[0], args.in_size[1]}, in_fours(args.in_channels, args.groups)};
    LineSource b = {ptr<const f32>(args.w) + first_channel, terms, columns - first_column,
                    args.out_channels, in_fours(args.out_channels, args.groups)};
    f32 sums[T::DOWN][T::OVER][4] = {};
    const u32 slices = (terms + MMA_SLICE - 1) / MMA_SLICE;
    if constexpr (ARMED == ARMED_INNER) {
        MmaFaults<T> inner(args.faults, shared.marked, first_row, rows, first_channel,
                           columns - first_column, pixels);
        inner.mark();
        __syncthreads();
        multiply_tile<T, true, false>(shared, a, b, slices, sums, inner, NothingToPrepare{});
    } else {
        __syncthreads();
        multiply_tile<T, true, false>(shared, a, b, slices, sums, NoFaults{}, NothingToPrepare{});
    }
    if constexpr (ARMED != CLEAN) {
        const OutputTile tile = {pixels, first_row, min(first_row + T::ROWS, rows), first_channel,
                                 first_channel + min(T::COLUMNS, columns - first_column)};
        if (hits_tile(args.faults, tile)) {
            store_outputs<T>(args, sums, first_row, rows, first_column,
                             [&](u32 image) { return faults_of(args.faults, image); });
            return;
        }
    }
    store_outputs<T>(args, sums, first_row, rows, first_column, [](u32) { return NoFaults{}; });
}

// Stores the sums of a gradient's tile: a matrix of rows × columns, rows `pitch` apart.
template <class T>
static __device__ __forceinline__ void store_gradient(const MmaSums<T>& sums, f32* to, u32 pitch,
                                                      u32 first_row, u32 rows, u32 first_column,
                                                      u32 columns, bool accumulate) {
    struct Nothing {};
    each_pair<T>(sums, [](u32) { return Nothing{}; },
                 [&](Nothing, u32 tile_row, u32 tile_column, f32 first, f32 second) {
        const u32 row = first_row + tile_row, column = first_column + tile_column;
        if (row >= rows || column >= columns) return;
        f32* at = to + ((u64)row * pitch + column);
        at[0] = accumulate ? at[0] + first : first;
        if (column + 1 < columns) at[1] = accumulate ? at[1] + second : second;
    });
}

// dx[q, c] (+)= Σ_{tap, o} dy[p(q, tap), o]·w[tap, c, o]; rows q are input pixels of all images, κ =
// tap·O/G + o.
template <class T>
static __device__ __forceinline__ void conv2d_input_gradient_mma(const Conv2dArgs& args,
                                                                 MmaShared<T>& shared) {
    const u32 rows =
        ptr<const RunState>(args.state)->images * args.in_size[0] * args.in_size[1];
    const u32 depth = args.out_channels / args.groups, columns = args.in_channels / args.groups;
    const u32 group = blockIdx.y, terms = depth * args.kernel[0] * args.kernel[1];
    u32 first_row, first_column;
    tile_of_block<T>(columns, first_row, first_column);
    if (first_row >= rows) return;
    for (u32 row = threadIdx.x; row < T::ROWS; row += T::THREADS) {
        MmaPlace place = {0, MMA_NOWHERE, MMA_NOWHERE};
        if (first_row + row < rows) {
            const Pixel at = pixel_of(first_row + row, args.in_size);
            const u64 image = (u64)at.image * args.out_size[0] * args.out_size[1];
            place = {(i64)(image * args.out_channels + group * depth),
                     (i32)(at.row + args.padding[0]), (i32)(at.column + args.padding[1])};
        }
        shared.places[row] = place;
    }
    const bool vector = in_fours(args.out_channels, args.groups);
    ReaderSource a = {ptr<const f32>(args.y), shared.places, output_walk(args), terms,
                      {args.out_size[0], args.out_size[1]}, {args.stride[0], args.stride[1]},
                      {0xffffffffu / args.stride[0] + 1, 0xffffffffu / args.stride[1] + 1},
                      args.out_channels, vector};
    const f32* w = ptr<const f32>(args.w) + group * depth;
    WeightSource b = {w + (u64)first_column * args.out_channels, output_walk(args), terms,
                      columns - first_column, args.out_channels, vector};
    f32 sums[T::DOWN][T::OVER][4] = {};
    __syncthreads();
    multiply_tile<T, true, true>(shared, a, b, (terms + MMA_SLICE - 1) / MMA_SLICE, sums, NoFaults{},
                                 NothingToPrepare{});
    store_gradient<T>(sums, ptr<f32>(args.result) + group * columns, args.in_channels, first_row,
                      rows, first_column, columns, args.accumulate);
}

// dw[κ, o] (+)= Σ_pixels x[tap(pixel, κ)]·dy[pixel, o]; rows are κ = tap·C/G + c, terms the output pixels
// of all images, in args.splits parts; where there are several, `partial` gets them, and
// conv2d_weight_total_f32 adds them up.
template <class T>
static __device__ __forceinline__ void conv2d_weight_gradient_mma(const Conv2dArgs& args,
                                                                  MmaShared<T>& shared) {
    const u32 pixels =
        ptr<const RunState>(args.state)->images * args.out_size[0] * args.out_size[1];
    const u32 depth = args.in_channels / args.groups, columns = args.out_channels / args.groups;
    const u32 group = blockIdx.y, rows = depth * args.kernel[0] * args.kernel[1];
    const Part part = part_of(pixels, args.splits, blockIdx.z);
    const u32 first_pixel = (u32)part.start, terms = (u32)part.end - first_pixel;
    u32 first_row, first_column;
    tile_of_block<T>(columns, first_row, first_column);
    const auto prepare = [&](u32 slice) {
        if (threadIdx.x >= MMA_SLICE) return;
        const u32 term = slice * MMA_SLICE + threadIdx.x;
        shared.places[slice % 4 * MMA_SLICE + threadIdx.x] =
            term < terms ? window_place(args, first_pixel + term, group)
                         : MmaPlace{0, MMA_NOWHERE, MMA_NOWHERE};
    };
    for (u32 slice = 0; slice < T::STAGES; ++slice) prepare(slice);
    PixelSource a = {ptr<const f32>(args.x), shared.places, input_walk(args), first_row, rows,
                     {args.in_size[0], args.in_size[1]},
                     in_fours(args.in_channels, args.groups), 0};
    const f32* dy = ptr<const f32>(args.y) + (u64)first_pixel * args.out_channels;
    LineSource b = {dy + (group * columns + first_column), terms, columns - first_column,
                    args.out_channels, in_fours(args.out_channels, args.groups)};
    f32 sums[T::DOWN][T::OVER][4] = {};
    __syncthreads();
    multiply_tile<T, false, false>(shared, a, b, (terms + MMA_SLICE - 1) / MMA_SLICE, sums, NoFaults{},
                                   prepare);
    const bool partial = args.splits > 1;
    f32* dw = partial ? ptr<f32>(args.partial) + (u64)blockIdx.z * rows * args.out_channels
                      : ptr<f32>(args.result);
    store_gradient<T>(sums, dw + group * columns, args.out_channels, first_row, rows, first_column,
                      columns, args.accumulate && !partial);
}

// ---- the kernels of a tile ----

// `resident` blocks of a tile are to share a multiprocessor. `_armed` looks finished sums up in the fault table.
// `_armed_inner`, which also looks for faults inside the product, and gradients of weights, which read A and B
// element by element, gain more from registers than from resident blocks.
#define FORWARD_TILE(name, Tile, threads, resident)                                                \
    KERNEL(conv2d_forward_##name, Conv2dArgs, MmaShared<Tile>, threads, resident) {                \
        conv2d_forward_mma<Tile, CLEAN>(args, shared);                                             \
    }                                                                                              \
    KERNEL(conv2d_forward_##name##_armed, Conv2dArgs, MmaShared<Tile>, threads, resident) {        \
        conv2d_forward_mma<Tile, ARMED_OUTPUT>(args, shared);                                      \
    }                                                                                              \
    KERNEL(conv2d_forward_##name##_armed_inner, Conv2dArgs, MmaShared<Tile>, threads, 1) {         \
        conv2d_forward_mma<Tile, ARMED_INNER>(args, shared);                                       \
    }

#define GRADIENT_TILE(name, Tile, threads, resident)                                               \
    KERNEL(conv2d_input_gradient_##name, Conv2dArgs, MmaShared<Tile>, threads, resident) {         \
        conv2d_input_gradient_mma<Tile>(args, shared);                                             \
    }                                                                                              \
    KERNEL(conv2d_weight_gradient_##name, Conv2dArgs, MmaShared<Tile>, threads) {                  \
        conv2d_weight_gradient_mma<Tile>(args, shared);                                            \
    }
