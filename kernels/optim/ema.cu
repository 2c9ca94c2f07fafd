// Exponential moving average (src/ops/ema): a = fmaf(share, p, kept · a).
//
// Arenas are `count` f32 each. Four elements a thread, blocks of 256, grid ceil(count / 1024). Moves
// 12 bytes an element. Deterministic: an element is one thread's; the bits are those of the CPU.
#include "common/elementwise.cuh"

struct EmaUpdateArgs {
    u64 averages, values;
    u64 count;
    f32 share;
    f32 kept; // 1 − share
};

KERNEL(ema_update_f32, EmaUpdateArgs, NoShared, 256) {
    const Quad quad = quad_of(args.count);
    if (quad.lanes == 0) return;
    const f32 share = args.share, kept = args.kept;
    quad.store(args.averages, map_four(quad.load(args.averages), quad.load(args.values),
                                       [=](f32 a, f32 p) { return fmaf(share, p, kept * a); }));
}
