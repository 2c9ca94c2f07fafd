// One thread an element of a batch of maps: where it stands.
#pragma once
#include "common/run_state.cuh"

constexpr u32 PLACE_THREADS = 256;

// An element of a batch of maps (images, height, width, channels).
struct Place {
    bool valid; // within the map of a valid image
    u32 image, row, column, channel;
    u64 first; // index of its image's first element
    u64 at;    // index of the element
};

// The element of this thread. The grid has ceil(elements / PLACE_THREADS) blocks for each image of
// the capacity, image after image, so that only 32-bit numbers are divided and no block has two
// images.
__device__ __forceinline__ Place place(u64 state, u32 height, u32 width, u32 channels) {
    const u32 elements = height * width * channels;
    const u32 blocks = (elements + PLACE_THREADS - 1) / PLACE_THREADS;
    const u32 image = blockIdx.x / blocks;
    const u32 index = blockIdx.x % blocks * PLACE_THREADS + threadIdx.x;
    const u32 pixel = index / channels;
    const u64 first = u64(image) * elements;
    return {index < elements && image < ptr<const RunState>(state)->images,
            image, pixel / width, pixel % width, index % channels,
            first, first + index};
}
