// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): four random
// words of a counter and a key. src/ops/mask.rs has the same.
#pragma once
#include "common/flipside.cuh"

__device__ __forceinline__ uint4 philox4x32_10(uint4 counter, uint2 key) {
    UNROLL
    for (u32 round = 0; round < 10; ++round) {
        const u32 high0 = __umulhi(0xd2511f53u, counter.x), low0 = 0xd2511f53u * counter.x;
        const u32 high1 = __umulhi(0xcd9e8d57u, counter.z), low1 = 0xcd9e8d57u * counter.z;
        counter = make_uint4(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
        key = make_uint2(key.x + 0x9e3779b9u, key.y + 0xbb67ae85u);
    }
    return counter;
}
