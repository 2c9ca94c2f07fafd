// What a loss is taken against (src/ops/targets.rs): (images) u32 or (images, classes) f32, smoothed.
#pragma once
#include "common/wide.cuh"

// Of both passes of a loss.
struct LossArgs {
    u64 logits, targets;
    u64 losses;  // (images); backward: their gradients
    u64 dlogits; // backward
    u64 state;   // RunState
    u32 classes;
    u32 soft; // 1: targets are distributions
    f32 smoothing;
    u32 accumulate; // backward adds to dlogits
};

// The targets of one image.
struct Targets {
    const f32* shares; // of soft targets
    u32 soft, label;
    f64 kept, floor; // 1 − ε, ε/classes
    bool valid;

    __device__ __forceinline__ f64 at(u32 c) const {
        if (soft) return kept * f64(shares[c]) + floor;
        return c == label ? floor + kept : floor;
    }
};

__device__ __forceinline__ Targets targets_of(const LossArgs& args, u32 image) {
    const f64 kept = 1.0 - f64(args.smoothing), floor = f64(args.smoothing) / f64(args.classes);
    // Set for labels, too, where it isn't read: flipside.cuh's ptr() says why it isn't null.
    const f32* shares = ptr<const f32>(args.targets) + u64(image) * args.classes;
    u32 label = 0;
    if (!args.soft) label = ptr<const u32>(args.targets)[image];
    return {shares, args.soft, label, kept, floor, args.soft || label < args.classes};
}
