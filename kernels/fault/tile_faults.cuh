// Whether a fault hits a tile of a product's outputs. The block asks once, so that elements of tiles without
// faults aren't looked up.
#pragma once
#include "fault/fault.cuh"

// A tile of outputs: rows are the pixels of all images one after another, columns channels.
struct OutputTile {
    u32 pixels; // of an image
    u32 first_row, end_row;
    u32 first_channel, end_channel;

    __device__ __forceinline__ u32 first_image() const { return first_row / pixels; }
    __device__ __forceinline__ u32 end_image() const { return (end_row - 1) / pixels + 1; }
};

// Whether the table has a fault of an element of `tile`. All of the block's threads ask together.
//
// Entries are sorted by channel, then pixel. So a channel of an image is one run of elements, as far as its
// rows lie in the tile; and an image between others, all of whose rows do, is one run of all channels. Each run
// is one search, whatever the number of faults: at most two for each channel, and one for each image.
static __device__ __forceinline__ bool hits_tile(u64 table, const OutputTile& tile) {
    const u32 first = tile.first_image(), end = tile.end_image();
    if (faults_between(table, first, end).none()) return false; // of all threads
    const u32 channels = tile.end_channel - tile.first_channel;
    const u32 edges = end - first > 1 ? 2 * channels : channels; // runs of the first and last image
    const u32 between = end - first > 2 ? end - first - 2 : 0;
    bool found = false;
    ROLLED for (u32 run = threadIdx.x; run < edges + between; run += blockDim.x) {
        const bool whole = run >= edges;
        const u32 image = whole ? first + 1 + run - edges : run < channels ? first : end - 1;
        const u32 start = image * tile.pixels; // its first row
        const u32 from = start < tile.first_row ? tile.first_row - start : 0;
        const u32 to = min(tile.end_row - start, tile.pixels);
        const u32 channel = tile.first_channel + (whole ? 0 : run % channels);
        const u32 last = whole ? tile.end_channel - 1 : channel;
        const Faults faults = faults_of(table, image);
        const FaultEntry* fault = seek(faults, (u64)channel * tile.pixels + from);
        found |= fault < faults.last && fault->element < (u64)last * tile.pixels + to;
    }
    return __syncthreads_or(found);
}
