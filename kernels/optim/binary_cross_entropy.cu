// Binary cross-entropy with logits (src/ops/binary_cross_entropy): of each class l = log(1 + e^−|z|) + t·max(−z, 0) +
// (1 − t)·max(z, 0), t the smoothed target, or 1 or 0 where it is held against a threshold; L = Σ_c l_c, or their
// mean. All in f64, rounded once.
//
// Logits are (images, classes) f32, targets (images) u32 or (images, classes) f32. A warp an image,
// blocks of 4 warps, grid ceil(images / 4). Deterministic: lane l adds classes l, l + 32, …, then
// comes a tree over the lanes. A label that is no class gives NaN, in the loss and in the gradient.
#include "optim/targets.cuh"

struct BinaryCrossEntropyArgs {
    LossArgs loss;
    u32 binarized; // 1: targets above the threshold are 1, others 0
    f32 threshold;
    u32 sum; // 0: the mean over the classes
};

constexpr u32 BINARY_CROSS_ENTROPY_WARPS = 4;

__device__ __forceinline__ f64 target_of(const BinaryCrossEntropyArgs& args, const Targets& targets,
                                         u32 c) {
    const f64 t = targets.at(c);
    if (!args.binarized) return t;
    return t > f64(args.threshold) ? 1.0 : 0.0;
}

// A side whose weight (t or 1 − t) is 0 is left out, so that an infinite logit there doesn't give NaN.
__device__ __forceinline__ f64 class_loss(f64 z, f64 t) {
    f64 loss = log1p(exp(-fabs(z)));
    if (t != 0.0) loss += t * fmax(-z, 0.0);
    if (t != 1.0) loss += (1.0 - t) * fmax(z, 0.0);
    return loss;
}

// σ(z) − t, without the difference of two numbers that are nearly one.
__device__ __forceinline__ f64 class_gradient(f64 z, f64 t) {
    const f64 e = exp(-fabs(z));
    const f64 small = e / (1.0 + e), large = 1.0 / (1.0 + e);
    return z < 0.0 ? (1.0 - t) * small - t * large : (1.0 - t) * large - t * small;
}

// Reads logits and targets, writes losses.
KERNEL(binary_cross_entropy_forward_f32, BinaryCrossEntropyArgs, NoShared, 128, 12) {
    const u32 image = blockIdx.x * BINARY_CROSS_ENTROPY_WARPS + threadIdx.x / 32;
    if (image >= ptr<const RunState>(args.loss.state)->images) return; // the whole warp
    const f32* z = ptr<const f32>(args.loss.logits) + u64(image) * args.loss.classes;
    const Targets targets = targets_of(args.loss, image);
    f64 loss = 0.0;
    for (u32 c = threadIdx.x % 32; c < args.loss.classes; c += 32)
        loss += class_loss(f64(z[c]), target_of(args, targets, c));
    loss = total<32>(loss);
    if (!args.sum) loss /= f64(args.loss.classes);
    if (threadIdx.x % 32 == 0) ptr<f32>(args.loss.losses)[image] = targets.valid ? f32(loss) : NAN;
}

// dz (+)= dL · (σ(z) − t), over the number of classes for a mean. Reads logits and targets, writes dz.
KERNEL(binary_cross_entropy_backward_f32, BinaryCrossEntropyArgs, NoShared, 128) {
    const u32 image = blockIdx.x * BINARY_CROSS_ENTROPY_WARPS + threadIdx.x / 32;
    if (image >= ptr<const RunState>(args.loss.state)->images) return; // the whole warp
    const u64 first = u64(image) * args.loss.classes;
    const f32* z = ptr<const f32>(args.loss.logits) + first;
    const Targets targets = targets_of(args.loss, image);
    f64 dloss = f64(ptr<const f32>(args.loss.losses)[image]);
    if (!args.sum) dloss /= f64(args.loss.classes);
    f32* dz = ptr<f32>(args.loss.dlogits) + first;
    for (u32 c = threadIdx.x % 32; c < args.loss.classes; c += 32) {
        const f64 gradient = dloss * class_gradient(f64(z[c]), target_of(args, targets, c));
        const f32 value = targets.valid ? f32(gradient) : NAN;
        dz[c] = args.loss.accumulate ? dz[c] + value : value;
    }
}
