// Moving elements (src/ops/rearrange): a launch for each piece, a strided block with a dimension for each
// of its steps.
//
// Arrays are f32 in any layout. One element a thread; block and grid are place()'s for maps of `count`
// elements. Deterministic: an element is one thread's, sums are in one order; the bits are those of the CPU.
#include "common/elementwise.cuh"
#include "common/place.cuh"

struct RearrangeStep {
    u32 size;
    i32 from; // between neighbours of x, in elements
    u32 to;   // of y
};

struct RearrangeArgs {
    u64 x, y; // backward dx and dy
    u64 state;
    u32 from, to;         // the piece's first places
    u32 x_image, y_image; // elements from image to image; 0 where there is one for all
    u32 kept;             // steps of which a thread has one place; others are repeats
    u32 rank;             // of all steps
    u32 count;            // places of the kept steps
    u32 shared;           // backward: whether dx is one for all images
    RearrangeStep steps[8];
};

struct RearrangeFillArgs {
    u64 y;
    u64 state;
    u32 elements; // of one image
    f32 value;
};

// Places in x and y, of one image.
struct Places {
    u32 from, to;
};

// Those of number `index` along steps `first` up to, not including, `end`.
__device__ __forceinline__ Places places_of(const RearrangeArgs& args, u32 first, u32 end, u32 index) {
    Places places = {0, 0};
    for (u32 at = end; at > first; --at) {
        const RearrangeStep& step = args.steps[at - 1];
        const u32 here = index % step.size;
        index /= step.size;
        places.from += here * u32(step.from); // wraps back where steps are negative
        places.to += here * step.to;
    }
    return places;
}

// Reads and writes 4 bytes an element of the piece.
KERNEL(rearrange_forward_f32, RearrangeArgs, NoShared, 256) {
    const Place at = place(args.state, 1, 1, args.count);
    if (!at.valid) return;
    const Places places = places_of(args, 0, args.kept, at.channel);
    const f32 value = ptr<const f32>(args.x)[u64(at.image) * args.x_image + u32(args.from + places.from)];
    ptr<f32>(args.y)[u64(at.image) * args.y_image + args.to + places.to] = value;
}

// dx += the sum of dy over an element's repeats. Reads dy and dx, writes dx.
KERNEL(rearrange_backward_f32, RearrangeArgs, NoShared, 256) {
    const Place at = place(args.state, 1, 1, args.count);
    if (!at.valid) return;
    const Places kept = places_of(args, 0, args.kept, at.channel);
    u32 repeats = 1;
    for (u32 step = args.kept; step < args.rank; ++step) repeats *= args.steps[step].size;
    const u32 first = args.shared ? 0 : at.image;
    const u32 end = args.shared ? ptr<const RunState>(args.state)->images : at.image + 1;
    f32 sum = 0.0f;
    for (u32 image = first; image < end; ++image)
        for (u32 index = 0; index < repeats; ++index) {
            const Places repeat = places_of(args, args.kept, args.rank, index);
            sum += ptr<const f32>(args.y)[u64(image) * args.y_image + args.to + kept.to + repeat.to];
        }
    f32* dx = ptr<f32>(args.x) + u64(at.image) * args.x_image + u32(args.from + kept.from);
    *dx = *dx + sum;
}

// What no piece writes to. Writes 4 bytes an element.
KERNEL(rearrange_fill_f32, RearrangeFillArgs, NoShared, 256) {
    const Quad quad = quad_of_batch(args.state, args.elements);
    if (quad.lanes == 0) return;
    const f32 value = args.value;
    quad.store(args.y, Four{{value, value, value, value}});
}
