// A table as a value (src/ops/constant): y = table, dtable (+)= dy.
//
// Arrays are f32, one map for all images. Four elements a thread, blocks of 256, grid
// ceil(elements / 1024). Bytes: 8 an element, 12 where it adds. Deterministic: an element is one
// thread's; the bits are those of the CPU.
#include "common/elementwise.cuh"

// to (+)= from.
struct ConstantArgs {
    u64 from, to;
    u32 elements;
    u32 accumulate;
};

// to (+)= from: both passes.
KERNEL(constant_copy_f32, ConstantArgs, NoShared, 256) {
    const Quad quad = quad_of(args.elements);
    if (quad.lanes > 0) quad.store(args.to, quad.load(args.from), args.accumulate);
}
