// Rows of up to 1024 channels, in multiples of four, that are read once: a warp has a pixel, its threads
// quads of channels in registers, 512 bytes an access. Sums have the CPU's order (wide.cuh), in which a
// lane's channels are a tile apart; so values pass through shared memory on their way into a sum.
#pragma once
#include "common/elementwise.cuh"
#include "common/wide.cuh"

constexpr u32 ROW_CHANNELS = 1024;
constexpr u32 ROW_WARPS = 4; // blocks of 128, grid ceil(pixels of the capacity / 4)
constexpr u32 ROW_QUADS = ROW_CHANNELS / 128;

// A row of each warp.
struct Rows {
    alignas(16) f32 row[ROW_WARPS][ROW_CHANNELS];

    __device__ __forceinline__ f32* own() { return row[threadIdx.x / 32]; }
};

struct TwoRows {
    Rows a, b;
};

// The thread's quads of a row.
struct RowQuads {
    Four quad[ROW_QUADS];
};

// f(k, c) for each quad k of the thread, c its first channel.
template <class F> __device__ __forceinline__ void each_quad(u32 channels, F f) {
    UNROLL
    for (u32 k = 0; k < ROW_QUADS; ++k) {
        const u32 c = 128 * k + threadIdx.x % 32 * 4;
        if (c < channels) f(k, c);
    }
}
