// The fault path: how a kernel reads the table of src/fault/table.rs.
//
// Bytes: count (u32), images (u32), images + 1 offsets (u32), zeros to a multiple of 32, entries
// sorted by (image, element). An image without faults costs two loads.
#pragma once
#include "common/flipside.cuh"

// src/fault/site.rs says what each of them is.
enum Site : u16 {
    SITE_OUTPUT = 0,
    SITE_ACCUMULATOR = 1,
    SITE_OPERAND_A = 2,
    SITE_OPERAND_B = 3,
    SITE_SHARED_A = 4,
    SITE_SHARED_B = 5,
    SITE_INPUT = 6,
    SITE_WEIGHT = 7,
    SITE_STORE_LOST = 8,
    SITE_STORE_ASTRAY = 9,
    SITE_SCORES = 10,
    SITE_PROBABILITIES = 11,
};

struct FaultEntry {
    u64 element; // within the image, in PyTorch's order: src/fault/table.rs
    u32 k;
    u16 site, unused;
    u32 and_mask, or_mask, xor_mask;
    u32 unused_end;
};
static_assert(sizeof(FaultEntry) == 32, "src/fault/table.rs has 32 bytes");

// The faults of one image, sorted by element.
struct Faults {
    const FaultEntry* first;
    const FaultEntry* last; // one past the end
    __device__ __forceinline__ bool none() const { return first == last; }
};

// Which faults a kernel looks for: none, those of its outputs, or those inside its products, too.
enum Armed { CLEAN, ARMED_OUTPUT, ARMED_INNER };

// Stands in for the faults in kernels that look for none.
struct NoFaults {
    static constexpr bool NONE = true;
    template <class... Any> __device__ __forceinline__ explicit NoFaults(const Any&...) {}
};

// The faults of images `image` up to, not including, `end`.
static __device__ __forceinline__ Faults faults_between(u64 table, u32 image, u32 end) {
    const u32* header = ptr<const u32>(table);
    const u32 images = header[1];
    // The header's size in entries, which are 32 bytes, too.
    const FaultEntry* entries = ptr<const FaultEntry>(table) + (4 * ((u64)images + 3) + 31) / 32;
    return {entries + header[2 + min(image, images)], entries + header[2 + min(end, images)]};
}

static __device__ __forceinline__ Faults faults_of(u64 table, u32 image) {
    return faults_between(table, image, image + 1);
}

// The bits, and the f32, after a fault. Devices differ in the NaN that arithmetic makes (0x7fffffff here,
// 0xffc00000 on x86), so the masks find any NaN as QUIET, whatever its sign and payload: each fault anew,
// what an earlier one made included. f32 and tf32 are the words of the default, as src/number/model.rs
// has them.
template <u32 MAGNITUDE = 0x7fffffff, u32 INFINITE = 0x7f800000, u32 QUIET = 0x7fc00000>
static __device__ __forceinline__ u32 hit_bits(const FaultEntry& fault, u32 bits) {
    if ((bits & MAGNITUDE) > INFINITE) bits = QUIET;
    return ((bits & fault.and_mask) | fault.or_mask) ^ fault.xor_mask;
}
static __device__ __forceinline__ f32 hit(const FaultEntry& fault, f32 value) {
    return __uint_as_float(hit_bits(fault, __float_as_uint(value)));
}

// The first fault at `element` or behind it. The emulator counts the searches (Device::fault_searches).
static __device__ __forceinline__ const FaultEntry* seek(Faults faults, u64 element) {
    COUNT_SEARCH();
    const FaultEntry* low = faults.first;
    const FaultEntry* high = faults.last;
    while (low < high) {
        const FaultEntry* middle = low + (high - low) / 2;
        if (middle->element < element) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// A finished sum after the faults of its image that hit `element` at the end of the kernel: `output`
// and `store-lost`.
static __device__ __forceinline__ f32 apply_faults(Faults faults, u64 element, f32 value) {
    if (faults.none()) return value;
    const FaultEntry* fault = seek(faults, element);
    for (; fault < faults.last && fault->element == element; ++fault) {
        if (fault->site == SITE_OUTPUT || fault->site == SITE_STORE_LOST) value = hit(*fault, value);
    }
    return value;
}
static __device__ __forceinline__ f32 apply_faults(NoFaults, u64, f32 value) { return value; }
