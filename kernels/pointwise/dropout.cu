// Dropout (src/ops/dropout): while training y = x · factor where the mask keeps the element, else
// x · 0, so that NaN stays NaN; otherwise y = x. Backward is the same map of dy, its mask drawn again.
//
// Arrays are (images, elements) f32. The mask is Philox4x32-10's: key from the node's name and the
// seed, counter (element / 4, sample, sample, epoch), a word an element. One thread four elements of
// one image, blocks of 128, ceil(elements / 512) blocks an image, image after image. Deterministic:
// an element is one thread's; the bits are those of the CPU. Moves 8 bytes an element.
#include "common/elementwise.cuh"
#include "common/philox.cuh"

struct DropoutArgs {
    u64 from;    // x, or dy
    u64 to;      // y, or dx
    u64 samples; // u64 an image
    u64 state;   // RunState
    u64 name;    // of the node, hashed: its share of the key
    u32 elements; // of one image
    u32 threshold; // words below it drop their element
    f32 factor;
    u32 accumulate;
};

constexpr u32 DROPOUT_THREADS = 128;

__device__ __forceinline__ void drop(const DropoutArgs& args, bool accumulate) {
    const RunState& state = *ptr<const RunState>(args.state);
    const u32 quads = args.elements / 4 + (args.elements % 4 != 0);
    const u32 blocks = (quads + DROPOUT_THREADS - 1) / DROPOUT_THREADS;
    const u32 image = blockIdx.x / blocks;
    const u32 index = blockIdx.x % blocks * DROPOUT_THREADS + threadIdx.x;
    if (index >= quads || image >= state.images) return;
    const Quad quad = {u64(image) * args.elements + 4 * index, min(4u, args.elements - 4 * index)};
    Four value = quad.load(args.from);
    if (state.training) {
        const u64 sample = ptr<const u64>(args.samples)[image], key = args.name ^ state.seed;
        const uint4 words = philox4x32_10(
            make_uint4(index, u32(sample), u32(sample >> 32), u32(state.epoch)),
            make_uint2(u32(key), u32(key >> 32)));
        const u32 word[4] = {words.x, words.y, words.z, words.w};
        UNROLL
        for (u32 i = 0; i < 4; ++i)
            value.v[i] = value.v[i] * (word[i] >= args.threshold ? args.factor : 0.0f);
    }
    quad.store(args.to, value, accumulate);
}

KERNEL(dropout_forward_f32, DropoutArgs, NoShared, 128) { drop(args, false); }

KERNEL(dropout_backward_f32, DropoutArgs, NoShared, 128) { drop(args, args.accumulate); }
