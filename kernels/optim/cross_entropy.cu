// Softmax cross-entropy (src/ops/cross_entropy): L = Σ_c t_c · (log Σ e^(z − M) − (z_c − M)), M the
// largest logit, t the smoothed targets (1 − ε)·t + ε/classes. All in f64, rounded once.
//
// Logits are (images, classes) f32, targets (images) u32 or (images, classes) f32. A warp an image,
// blocks of 4 warps, grid ceil(images / 4). Deterministic: lane l adds classes l, l + 32, …, then
// comes a tree over the lanes. A label that is no class gives NaN, in the loss and in the gradient.
#include "optim/targets.cuh"

constexpr u32 CROSS_ENTROPY_WARPS = 4;

// One image as its warp sees it.
struct Softmax {
    const f32* z;
    f64 largest, log_sum;

    __device__ __forceinline__ f64 log_probability(u32 c) const {
        return f64(z[c]) - largest - log_sum;
    }
};

// As the CPU's log_sum: NaN where a logit is NaN or the largest infinite.
__device__ __forceinline__ Softmax softmax(const f32* z, u32 classes) {
    const u32 lane = threadIdx.x % 32;
    f64 largest = -f64(INFINITY);
    for (u32 c = lane; c < classes; c += 32) largest = fmax(largest, f64(z[c]));
    for (u32 step = 16; step > 0; step /= 2)
        largest = fmax(largest, __shfl_xor_sync(0xffffffffu, largest, step));
    f64 sum = 0.0;
    for (u32 c = lane; c < classes; c += 32) sum += exp(f64(z[c]) - largest);
    return {z, largest, log(total<32>(sum))};
}

// Reads logits (twice, once from memory) and targets, writes losses.
KERNEL(cross_entropy_forward_f32, LossArgs, NoShared, 128) {
    const u32 image = blockIdx.x * CROSS_ENTROPY_WARPS + threadIdx.x / 32;
    if (image >= ptr<const RunState>(args.state)->images) return; // the whole warp
    const f32* z = ptr<const f32>(args.logits) + u64(image) * args.classes;
    const Softmax p = softmax(z, args.classes);
    const Targets t = targets_of(args, image);
    f64 loss = 0.0;
    for (u32 c = threadIdx.x % 32; c < args.classes; c += 32) {
        // With a label, classes where t is 0 are left out, so that a logit of −∞ there doesn't give NaN.
        if (!args.soft && t.at(c) == 0.0) continue;
        loss += t.at(c) * (p.log_sum - (f64(z[c]) - p.largest));
    }
    loss = total<32>(loss);
    if (threadIdx.x % 32 == 0) ptr<f32>(args.losses)[image] = t.valid ? f32(loss) : NAN;
}

// dz (+)= dL · (p · Σt − t). Reads logits and targets (thrice, once from memory), writes dz.
KERNEL(cross_entropy_backward_f32, LossArgs, NoShared, 128) {
    const u32 image = blockIdx.x * CROSS_ENTROPY_WARPS + threadIdx.x / 32;
    if (image >= ptr<const RunState>(args.state)->images) return; // the whole warp
    const u64 first = u64(image) * args.classes;
    const Softmax p = softmax(ptr<const f32>(args.logits) + first, args.classes);
    const Targets t = targets_of(args, image);
    f64 all = 0.0;
    for (u32 c = threadIdx.x % 32; c < args.classes; c += 32) all += t.at(c);
    all = total<32>(all);
    const f64 dloss = f64(ptr<const f32>(args.losses)[image]);
    f32* dz = ptr<f32>(args.dlogits) + first;
    for (u32 c = threadIdx.x % 32; c < args.classes; c += 32) {
        const f64 gradient = dloss * (exp(p.log_probability(c)) * all - t.at(c));
        const f32 value = t.valid ? f32(gradient) : NAN;
        dz[c] = args.accumulate ? dz[c] + value : value;
    }
}
