// What the kernels of 2-D convolution share: their argument, and where taps lie.
//
// Shapes: x is (N, H, W, C), w is (R, S, C/G, O), y is (N, P, Q, O). Pairs are (rows, columns).
#pragma once
#include "common/run_state.cuh"
#include "conv2d/epilogue.cuh"
#include "gemm/gemm.cuh"

// One convolution, or a gradient of it.
struct Conv2dArgs {
    u64 x;
    u64 w;
    u64 y;         // a gradient in the backward passes
    u64 result;    // what the backward passes write: dx or dw
    u64 partial;   // weight gradient: (splits, R, S, C/G, O) f32, or 0 where there is one
    u64 state;     // RunState
    u64 faults;    // FaultTable, read by armed kernels only
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
    u32 splits;     // weight gradient: parts that the pixels are summed in
    EpilogueArgs epilogue; // forward
};

// A pixel of all images, walked without division.
struct Pixel {
    u32 image, row, column;

    __device__ __forceinline__ void advance(u32 pixels, const u32 size[2]) {
        column += pixels;
        while (column >= size[1]) {
            column -= size[1];
            if (++row == size[0]) {
                row = 0;
                ++image;
            }
        }
    }
};

// Pixel number m of maps of `size`.
static __device__ __forceinline__ Pixel pixel_of(u32 m, const u32 size[2]) {
    const u32 pixels = size[0] * size[1];
    const u32 rest = m % pixels;
    return {m / pixels, rest / size[1], rest % size[1]};
}

// A term κ = (tap row · S + tap column) · depth + channel, walked without division.
struct TermWalk {
    u32 row, column, channel;

    // Term number `term`, of taps of `kernel` and `depth` channels.
    __device__ __forceinline__ TermWalk(u32 term, const u32 kernel[2], u32 depth)
        : row(term / depth / kernel[1]), column(term / depth % kernel[1]), channel(term % depth) {}

    __device__ __forceinline__ void advance(u32 terms, u32 width, u32 depth) {
        channel += terms;
        while (channel >= depth) {
            channel -= depth;
            if (++column == width) {
                column = 0;
                ++row;
            }
        }
    }
};

// The input position under tap `tap` of output position `output`; beyond the input in the padding.
static __device__ __forceinline__ u32 tap_input(const Conv2dArgs& args, u32 axis, u32 output,
                                                u32 tap) {
    return output * args.stride[axis] + tap * args.dilation[axis] - args.padding[axis];
}

// The output position whose tap `tap` reads input position `input`; beyond the output where there is
// none.
static __device__ __forceinline__ u32 tap_output(const Conv2dArgs& args, u32 axis, u32 input,
                                                 u32 tap) {
    const u32 at = input + args.padding[axis] - tap * args.dilation[axis];
    if (args.stride[axis] == 1) return at;
    return (i32)at < 0 || at % args.stride[axis] != 0 ? ~0u : at / args.stride[axis];
}

// Rows of A, in which terms lie side by side: the inputs under the taps of output pixels or, going back, the
// output gradients whose taps read input pixels. Taps in the padding, and those that no output reads, multiply by
// zero.
template <class T, bool BACK> struct TapRows {
    typedef AlongTerms<T, T::M> Carry;
    const Conv2dArgs& args;
    const u32 depth;  // channels of a group
    const bool whole; // quads lie in one tap, aligned
    TermWalk walk;
    const f32* image[Carry::SLOTS]; // its first pixel, this group's channels; null beyond the rows
    u32 row[Carry::SLOTS], column[Carry::SLOTS]; // under the first tap; going back, of the input

    __device__ __forceinline__ u32 channels() const { return BACK ? args.out_channels : args.in_channels; }
    __device__ __forceinline__ const u32* size() const { return BACK ? args.out_size : args.in_size; }

    __device__ __forceinline__ TapRows(const Conv2dArgs& args, u32 group, u32 first_row, u32 rows)
        : args(args), depth(channels() / args.groups), whole(depth % QUAD == 0),
          walk(Carry::term(), args.kernel, depth) {
        UNROLL for (u32 slot = 0; slot < Carry::SLOTS; ++slot) {
            const u32 m = first_row + Carry::line(slot);
            const Pixel pixel = pixel_of(m, BACK ? args.in_size : args.out_size);
            const u64 pixels = (u64)size()[0] * size()[1];
            image[slot] = m < rows ? ptr<const f32>(BACK ? args.y : args.x) +
                                         pixel.image * pixels * channels() + group * depth
                                   : nullptr;
            row[slot] = BACK ? pixel.row : tap_input(args, 0, pixel.row, 0);
            column[slot] = BACK ? pixel.column : tap_input(args, 1, pixel.column, 0);
        }
    }

    // Where this slot's factor under the walk's tap lies; null where it is zero and past the last tap.
    __device__ __forceinline__ const f32* at(u32 slot, const TermWalk& walk) const {
        const u32 h = BACK ? tap_output(args, 0, row[slot], walk.row)
                           : row[slot] + walk.row * args.dilation[0];
        const u32 v = BACK ? tap_output(args, 1, column[slot], walk.column)
                           : column[slot] + walk.column * args.dilation[1];
        const bool inside = walk.row < args.kernel[0] && h < size()[0] && v < size()[1];
        if (!inside || !image[slot]) return nullptr;
        return image[slot] + (h * size()[1] + v) * channels() + walk.channel;
    }
    __device__ __forceinline__ Four quad(u32 slot) const {
        if (whole) {
            const f32* from = at(slot, walk);
            return from ? load_four(from) : Four{};
        }
        TermWalk each = walk;
        Four four;
        UNROLL for (u32 e = 0; e < QUAD; ++e) {
            const f32* from = at(slot, each);
            each.advance(1, args.kernel[1], depth);
            four.v[e] = from ? *from : 0.0f;
        }
        return four;
    }
    __device__ __forceinline__ void next() { walk.advance(SLICE, args.kernel[1], depth); }
};

// Columns of B: a group's output channels of `matrix`, the weights or the output's gradient, from term `start`
// up to `end`.
template <class T> struct OutputColumns {
    typedef AlongLines<T, T::N> Carry;
    const f32* from; // of term 0
    u32 stride, end, count, first;
    bool whole;

    __device__ __forceinline__ OutputColumns(const Conv2dArgs& args, u64 matrix, u32 group,
                                             u32 first_column, u32 start, u32 end)
        : stride(args.out_channels), end(end), first(start) {
        const u32 columns = args.out_channels / args.groups;
        const u32 column = first_column + Carry::line();
        from = ptr<const f32>(matrix) + group * columns + column;
        count = column < columns ? min(QUAD, columns - column) : 0;
        whole = count == QUAD && args.out_channels % QUAD == 0 && columns % QUAD == 0;
    }
    __device__ __forceinline__ Four quad(u32 slot) const {
        const u32 term = first + Carry::term(slot);
        if (term >= end || count == 0) return {};
        return load_four(from + (u64)term * stride, count, whole);
    }
    __device__ __forceinline__ void next() { first += SLICE; }
};
