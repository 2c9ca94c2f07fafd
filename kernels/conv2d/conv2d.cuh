// What the kernels of 2-D convolution share: their argument, and where taps lie.
//
// Shapes: x is (N, H, W, C), w is (R, S, C/G, O), y is (N, P, Q, O). Pairs are (rows, columns).
#pragma once
#include "conv2d/epilogue.cuh"
#include "common/run_state.cuh"

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
    u32 unused;
    EpilogueArgs epilogue; // forward
};

struct Pixel {
    u32 image, row, column;
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

static __device__ __forceinline__ float4 zeros() { return make_float4(0.0f, 0.0f, 0.0f, 0.0f); }

// Four values from `at` on, those below `count` of them; a vector where `whole` quads are aligned.
static __device__ __forceinline__ float4 load_quad(const f32* at, u32 count, bool whole) {
    if (count == 0) return zeros();
    if (whole) return *reinterpret_cast<const float4*>(at);
    float4 four = zeros();
    four.x = at[0];
    if (count > 1) four.y = at[1];
    if (count > 2) four.z = at[2];
    if (count > 3) four.w = at[3];
    return four;
}

// Four terms of a row from its walk on: a vector where they are `whole`, that is in one tap and aligned.
// `rows.at(slot, walk)` says where a term's factor lies; null where it is zero.
template <class Rows>
static __device__ __forceinline__ float4 quad_of_taps(const Rows& rows, u32 slot) {
    if (rows.whole) {
        const f32* from = rows.at(slot, rows.walk);
        return from ? *reinterpret_cast<const float4*>(from) : zeros();
    }
    TermWalk walk = rows.walk;
    const auto one = [&]() {
        const f32* from = rows.at(slot, walk);
        walk.advance(1, rows.args.kernel[1], rows.depth);
        return from ? *from : 0.0f;
    };
    float4 four;
    four.x = one();
    four.y = one();
    four.z = one();
    four.w = one();
    return four;
}
