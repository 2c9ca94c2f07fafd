// Faults of values that lie in memory (src/ops/memory_fault): what a layer reads, and misdirected
// stores. Values are maps of (pixels, channels) f32, one after another.
//
// One thread an image: its faults are few, and those of one element have an order. Bytes: a few lines
// an image. Deterministic: images don't touch each other.
#include "fault/fault.cuh"

struct MemoryFaultArgs {
    u64 values; // (images, pixels, channels)
    u64 faults; // FaultTable
    u64 saved;  // f32 a fault: what was there before, or 0
    u32 images;
    u32 pixels;
    u32 channels;
};

// Floats before PyTorch's element number `element` of an image.
static __device__ __forceinline__ u64 place_of(const MemoryFaultArgs& args, u64 element) {
    return element % args.pixels * args.channels + element / args.pixels;
}

static __device__ __forceinline__ f32* image_of(const MemoryFaultArgs& args, u32 image) {
    return ptr<f32>(args.values) + (u64)image * args.pixels * args.channels;
}

// Number of a fault in the table.
static __device__ __forceinline__ u64 number_of(const MemoryFaultArgs& args,
                                                const FaultEntry* fault) {
    return fault - faults_between(args.faults, 0, 1).first;
}

// Hits values of the site `input`, and keeps what they were. Grid: ⌈images/32⌉ blocks of 32.
KERNEL(memory_fault_hit_f32, MemoryFaultArgs, NoShared, 32) {
    const u32 image = blockIdx.x * 32 + threadIdx.x;
    if (image >= args.images) return;
    const Faults faults = faults_of(args.faults, image);
    for (const FaultEntry* fault = faults.first; fault < faults.last; ++fault) {
        if (fault->site != SITE_INPUT) continue;
        f32* value = image_of(args, image) + place_of(args, fault->element);
        if (args.saved) ptr<f32>(args.saved)[number_of(args, fault)] = *value;
        *value = hit(*fault, *value);
    }
}

// Puts back what memory_fault_hit_f32 has kept, last first. Grid as above.
KERNEL(memory_fault_undo_f32, MemoryFaultArgs, NoShared, 32) {
    const u32 image = blockIdx.x * 32 + threadIdx.x;
    if (image >= args.images) return;
    const Faults faults = faults_of(args.faults, image);
    for (const FaultEntry* fault = faults.last; fault > faults.first;) {
        --fault;
        if (fault->site != SITE_INPUT) continue;
        f32* value = image_of(args, image) + place_of(args, fault->element);
        *value = ptr<const f32>(args.saved)[number_of(args, fault)];
    }
}

// Moves values of the site `store-astray` to where a wrong bit of the byte offset leads, and leaves +0
// behind; a place outside the image's output is written by nobody. Grid as above.
KERNEL(memory_fault_astray_f32, MemoryFaultArgs, NoShared, 32) {
    const u32 image = blockIdx.x * 32 + threadIdx.x;
    if (image >= args.images) return;
    const Faults faults = faults_of(args.faults, image);
    f32* values = image_of(args, image);
    for (const FaultEntry* fault = faults.first; fault < faults.last; ++fault) {
        if (fault->site != SITE_STORE_ASTRAY) continue;
        const u64 from = place_of(args, fault->element);
        const u64 to = (4 * from ^ (1ull << fault->k)) / 4;
        if (to >= (u64)args.pixels * args.channels) continue;
        values[to] = values[from];
        values[from] = 0.0f;
    }
}
