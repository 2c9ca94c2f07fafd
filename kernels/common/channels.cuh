// Kernels whose threads have up to four channels of a pixel each, in blocks of 256: what treats
// elements alike but reads them from other places than it writes them to.
#pragma once
#include "common/elementwise.cuh"

// The channels that a thread owns.
struct ChannelQuad {
    u32 image, pixel, channel; // the first
    u32 lanes;                 // 1 to 4; 0: none

    // As elements of a batch of maps of `pixels` × `channels`.
    __device__ __forceinline__ Quad of(u32 pixels, u32 channels) const {
        return {(u64(image) * pixels + pixel) * channels + channel, lanes};
    }

    // The same channels of another pixel of the image.
    __device__ __forceinline__ ChannelQuad at_pixel(u32 other) const {
        return {image, other, channel, lanes};
    }
};

// The channels of this thread. The grid has ceil(pixels · ceil(channels / 4) / 256) blocks for each
// image of the capacity, image after image, so that only 32-bit numbers are divided.
__device__ __forceinline__ ChannelQuad channel_quad(u64 state, u32 pixels, u32 channels) {
    const u32 quads = (channels + 3) / 4;
    const u32 blocks = (pixels * quads + QUAD_THREADS - 1) / QUAD_THREADS;
    const u32 image = blockIdx.x / blocks;
    const u32 index = blockIdx.x % blocks * QUAD_THREADS + threadIdx.x;
    if (index >= pixels * quads || image >= ptr<const RunState>(state)->images) return {0, 0, 0, 0};
    const u32 channel = index % quads * 4;
    return {image, index / quads, channel, min(4u, channels - channel)};
}

// Lanes from..to of a quad.
struct Lanes {
    u32 from, to;

    __device__ __forceinline__ bool none() const { return from >= to; }

    // Four f32 from index `at` on, which lies before the array where the first lanes do; other lanes are 0
    // and not read.
    __device__ __forceinline__ Four load(u64 array, i64 at) const {
        if (from == 0) return Quad{u64(at), to}.load(array);
        Four out = {{0.0f, 0.0f, 0.0f, 0.0f}};
        const f32* values = of_any_alignment(ptr<const f32>(array) + at);
        UNROLL
        for (u32 i = 0; i < 4; ++i)
            if (from <= i && i < to) out.v[i] = values[i];
        return out;
    }
};

// Those of a quad's lanes whose channels are among the `count` from `first` on.
__device__ __forceinline__ Lanes lanes_within(const ChannelQuad& quad, u32 first, u32 count) {
    const u32 end = first + count;
    return {quad.channel < first ? first - quad.channel : 0,
            quad.channel < end ? min(quad.lanes, end - quad.channel) : 0};
}
