// The fault path: how a kernel reads the table of src/fault/table.rs.
//
// Bytes: count (u32), images (u32), images + 1 offsets (u32), zeros to a multiple of 32, entries
// sorted by (image, element). An image without faults costs two loads.
#pragma once
#include "flipside.cuh"

struct FaultEntry {
    u64 element; // within the image's output, PyTorch's order (channel, row, column)
    u32 k;
    u16 site;
    u16 format;
    u32 and_mask, or_mask, xor_mask;
    u32 id;
};
static_assert(sizeof(FaultEntry) == 32, "src/fault/table.rs has 32 bytes");

// `value` after the faults that hit `element` of `image`.
static __device__ __forceinline__ f32 apply_faults(u64 table, u32 image, u64 element, f32 value) {
    const u32* header = ptr<const u32>(table);
    const u32 images = header[1];
    if (image >= images) return value;
    u32 low = header[2 + image];
    const u32 end = header[3 + image];
    if (low == end) return value;
    const u64 header_bytes = (4 * ((u64)images + 3) + 31) / 32 * 32;
    const FaultEntry* entries = ptr<const FaultEntry>(table + header_bytes);
    u32 high = end;
    while (low < high) {
        const u32 middle = low + (high - low) / 2;
        if (entries[middle].element < element) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < end && entries[low].element == element; ++low) {
        const FaultEntry& fault = entries[low];
        const u32 bits = __float_as_uint(value);
        value = __uint_as_float(((bits & fault.and_mask) | fault.or_mask) ^ fault.xor_mask);
    }
    return value;
}
