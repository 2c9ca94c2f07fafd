// Stochastic gradient descent (src/ops/sgd): g = factor · the clipped gradient; d = fmaf(decay, p, g); b = d at
// step 0, else fmaf(momentum, b, d); p = fmaf(−rate, step, p), step = fmaf(momentum, b, d) with
// Nesterov, else b. A factor of NaN leaves everything as it is.
//
// Arenas are `count` f32 each. Four elements a thread, blocks of 256, grid ceil(count / 1024). Moves
// 20 bytes an element, and 8 of options for 16 elements. Deterministic: an element is one thread's; the bits
// are those of the CPU.
#include "optim/step.cuh"

struct SgdStepArgs {
    StepArenas arenas; // the first moment: b
    f32 momentum;
    u32 nesterov;
};

KERNEL(sgd_step_f32, SgdStepArgs, NoShared, 256) {
    const StepArenas& arenas = args.arenas;
    const Quad quad = quad_of(arenas.count);
    const f32 factor = gradient_factor(arenas.factor);
    if (quad.lanes == 0 || isnan(factor)) return;
    const RunState* state = ptr<const RunState>(arenas.state);
    const BlockOptions own = options_of(arenas.blocks, quad);
    const f32 rate = state->learning_rate * own.rate_scale;
    const f32 momentum = args.momentum, max = arenas.max_value;
    const Four p = quad.load(arenas.values);
    const Four d = map_four(p, quad.load(arenas.gradients), [=](f32 p, f32 g) {
        return fmaf(own.decay, p, clipped(g, max, factor));
    });
    Four b = d;
    if (state->step != 0)
        b = map_four(quad.load(arenas.moments[0]), d,
                     [=](f32 b, f32 d) { return fmaf(momentum, b, d); });
    Four step = b;
    if (args.nesterov)
        step = map_four(b, d, [=](f32 b, f32 d) { return fmaf(momentum, b, d); });
    quad.store(arenas.moments[0], b);
    quad.store(arenas.values, map_four(p, step, [=](f32 p, f32 s) { return fmaf(-rate, s, p); }));
}
