// Adam with decoupled weight decay (src/ops/adamw): g = factor · the clipped gradient; p ·= 1 − rate·decay;
// m += (1 − β₁)·(g − m); v = β₂·v + (1 − β₂)·g²; p −= (rate / c₁) · m / (√v / √c₂ + ε), c the bias
// corrections. A factor of NaN leaves everything as it is.
//
// Arenas are `count` f32 each. Four elements a thread, blocks of 256, grid ceil(count / 1024). Moves
// 28 bytes an element, and 8 of options for 16 elements. Deterministic: an element is one thread's; the bits
// are those of the CPU, since roots and divisions are rounded correctly on both.
#include "optim/step.cuh"

struct AdamWStepArgs {
    StepArenas arenas; // moments: m, v
    f32 mix1; // 1 − β₁
    f32 beta2;
    f32 mix2; // 1 − β₂
    f32 eps;
};

KERNEL(adamw_step_f32, AdamWStepArgs, NoShared, 256) {
    const StepArenas& arenas = args.arenas;
    const Quad quad = quad_of(arenas.count);
    const f32 factor = gradient_factor(arenas.factor);
    if (quad.lanes == 0 || isnan(factor)) return;
    const RunState* state = ptr<const RunState>(arenas.state);
    const BlockOptions own = options_of(arenas.blocks, quad);
    const f32 rate = state->learning_rate * own.rate_scale, root = state->sqrt_bias_correction2;
    const f32 kept = fmaf(-rate, own.decay, 1.0f);
    const f32 size = rate / state->bias_correction1;
    const f32 mix1 = args.mix1, beta2 = args.beta2, mix2 = args.mix2, eps = args.eps;
    const f32 max = arenas.max_value;
    const Four g =
        map_four(quad.load(arenas.gradients), [=](f32 g) { return clipped(g, max, factor); });
    const Four m = map_four(quad.load(arenas.moments[0]), g,
                            [=](f32 m, f32 g) { return fmaf(mix1, g - m, m); });
    const Four v = map_four(quad.load(arenas.moments[1]), g,
                            [=](f32 v, f32 g) { return fmaf(mix2 * g, g, beta2 * v); });
    const Four step = map_four(
        m, v, [=](f32 m, f32 v) { return size * m / (sqrtf(v) / root + eps); });
    quad.store(arenas.moments[0], m);
    quad.store(arenas.moments[1], v);
    quad.store(arenas.values, map_four(quad.load(arenas.values), step,
                                     [=](f32 p, f32 s) { return p * kept - s; }));
}
