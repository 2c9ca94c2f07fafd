// Stochastic gradient descent (src/ops/sgd): d = fmaf(decay, p, g); b = d in the first step, else
// fmaf(momentum, b, d); p = fmaf(−rate, step, p), step = fmaf(momentum, b, d) with Nesterov, else b.
//
// Arenas are `count` f32 each. Four elements a thread, blocks of 256, grid ceil(count / 1024). Moves
// 20 bytes an element. Deterministic: an element is one thread's; the bits are those of the CPU.
#include "elementwise.cuh"

struct SgdStepArgs {
    u64 values, gradients, buffers; // buffers: b
    u64 state;                      // RunState: the learning rate
    u64 count;
    f32 momentum;
    f32 weight_decay;
    u32 nesterov;
    u32 first_step; // 1: b holds nothing yet
};

KERNEL(sgd_step_f32, SgdStepArgs, NoShared, 256) {
    const Quad quad = quad_of(args.count);
    if (quad.lanes == 0) return;
    const f32 rate = ptr<const RunState>(args.state)->learning_rate;
    const f32 momentum = args.momentum, decay = args.weight_decay;
    const Four p = quad.load(args.values);
    const Four d = map_four(p, quad.load(args.gradients),
                            [=](f32 p, f32 g) { return fmaf(decay, p, g); });
    Four b = d;
    if (!args.first_step)
        b = map_four(quad.load(args.buffers), d,
                     [=](f32 b, f32 d) { return fmaf(momentum, b, d); });
    Four step = b;
    if (args.nesterov)
        step = map_four(b, d, [=](f32 b, f32 d) { return fmaf(momentum, b, d); });
    quad.store(args.buffers, b);
    quad.store(args.values, map_four(p, step, [=](f32 p, f32 s) { return fmaf(-rate, s, p); }));
}
