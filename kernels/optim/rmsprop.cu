// RMSprop (src/ops/rmsprop): g = fmaf(decay, p, factor · gradient, clipped); v = fmaf((1 − α)·g, g, α·v); if
// centered a = fmaf(1 − α, g − a, a) and w = max(0, fmaf(−a, a, v)), else w = v; s = g / (√w + ε), or
// g / √(w + ε) in TensorFlow's formula. Without momentum p = fmaf(−rate, s, p). With it b = fmaf(momentum, b, s)
// and p = fmaf(−rate, b, p), or b = fmaf(momentum, b, rate·s) and p −= b in TensorFlow's. A factor of NaN leaves
// everything as it is.
//
// Arenas are `count` f32 each. Four elements a thread, blocks of 256, grid ceil(count / 1024). Moves 20 bytes an
// element, 8 more for each of b and a, and 8 of options for 16 elements. Deterministic: an element is one thread's;
// the bits are those of the CPU, since roots and divisions are rounded correctly on both.
#include "optim/step.cuh"

struct RmsPropStepArgs {
    StepArenas arenas; // moments: v; b or 0 without momentum; a or 0 where it isn't centered
    f32 alpha;
    f32 mix; // 1 − α
    f32 eps;
    f32 momentum;
    u32 tensorflow;
};

KERNEL(rmsprop_step_f32, RmsPropStepArgs, NoShared, 256) {
    const StepArenas& arenas = args.arenas;
    const Quad quad = quad_of(arenas.count);
    const f32 factor = gradient_factor(arenas.factor);
    if (quad.lanes == 0 || isnan(factor)) return;
    const BlockOptions own = options_of(arenas.blocks, quad);
    const f32 rate = ptr<const RunState>(arenas.state)->learning_rate * own.rate_scale;
    const f32 max = arenas.max_value, alpha = args.alpha, mix = args.mix, eps = args.eps;
    const f32 momentum = args.momentum;
    const f32 inside = args.tensorflow ? eps : 0.0f, outside = args.tensorflow ? 0.0f : eps;
    const Four p = quad.load(arenas.values);
    const Four g = map_four(p, quad.load(arenas.gradients), [=](f32 p, f32 g) {
        return fmaf(own.decay, p, clipped(g, max, factor));
    });
    Four w = map_four(quad.load(arenas.moments[0]), g,
                      [=](f32 v, f32 g) { return fmaf(mix * g, g, alpha * v); });
    quad.store(arenas.moments[0], w);
    if (arenas.moments[2]) {
        const Four a = map_four(quad.load(arenas.moments[2]), g,
                                [=](f32 a, f32 g) { return fmaf(mix, g - a, a); });
        quad.store(arenas.moments[2], a);
        w = map_four(a, w, [=](f32 a, f32 v) {
            const f32 variance = fmaf(-a, a, v);
            return variance < 0.0f ? 0.0f : variance;
        });
    }
    Four step = map_four(
        g, w, [=](f32 g, f32 w) { return g / (sqrtf(w + inside) + outside); });
    f32 by = rate;
    if (arenas.moments[1]) {
        const f32 share = args.tensorflow ? rate : 1.0f;
        step = map_four(quad.load(arenas.moments[1]), step,
                        [=](f32 b, f32 s) { return fmaf(momentum, b, share * s); });
        quad.store(arenas.moments[1], step);
        by = args.tensorflow ? 1.0f : rate;
    }
    quad.store(arenas.values, map_four(p, step, [=](f32 p, f32 s) { return fmaf(-by, s, p); }));
}
