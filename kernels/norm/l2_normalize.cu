// L2 normalisation (src/ops/l2_normalize): y = x / ‖x‖ over the channels of every pixel.
//
// Maps are (pixels of all images, channels) f32. A warp a pixel, blocks of 8 warps, grid
// ceil(pixels / 8). Sums are chains of fmaf in channel order, the CPU's, which no tree may replace:
// a warp brings 128 channels at a time to shared memory and each of its lanes runs the whole chain
// over them, which costs no more time than if one did and leaves the sum with all.
// Deterministic for that reason; the bits are those of the CPU.
#include "common/run_state.cuh"

struct L2NormalizeForwardArgs {
    u64 x, y;
    u64 state;  // RunState
    u32 pixels; // of one image
    u32 channels;
};

struct L2NormalizeBackwardArgs {
    u64 x, y, dy, dx;
    u64 state;  // RunState
    u32 pixels; // of one image
    u32 channels;
    u32 accumulate;
};

constexpr u32 L2_WARPS = 8;
constexpr u32 L2_CHANNELS = 128; // in shared memory at a time

struct L2NormalizeForwardShared {
    f32 x[L2_WARPS][L2_CHANNELS];
};

struct L2NormalizeBackwardShared {
    f32 x[L2_WARPS][L2_CHANNELS];
    f32 y[L2_WARPS][L2_CHANNELS];
    f32 dy[L2_WARPS][L2_CHANNELS];
};

// Index of the first element of this warp's pixel; false where there is no such pixel.
__device__ __forceinline__ bool find_pixel(u64 state, u32 pixels, u32 channels, u64& first) {
    const u64 pixel = u64(blockIdx.x) * L2_WARPS + threadIdx.x / 32;
    first = pixel * channels;
    return pixel < u64(ptr<const RunState>(state)->images) * pixels;
}

// Reads x twice (once from memory), writes y.
KERNEL(l2_normalize_forward_f32, L2NormalizeForwardArgs, L2NormalizeForwardShared, 256) {
    u64 first;
    if (!find_pixel(args.state, args.pixels, args.channels, first)) return; // the whole warp
    const f32* x = ptr<const f32>(args.x) + first;
    const u32 lane = threadIdx.x % 32;
    f32* tile = shared.x[threadIdx.x / 32];
    f32 sum = 0.0f;
    for (u32 start = 0; start < args.channels; start += L2_CHANNELS) {
        const u32 count = min(L2_CHANNELS, args.channels - start);
        for (u32 i = lane; i < count; i += 32) tile[i] = x[start + i];
        __syncwarp();
        for (u32 i = 0; i < count; ++i) sum = fmaf(tile[i], tile[i], sum);
        __syncwarp();
    }
    const f32 norm = sqrtf(sum);
    f32* y = ptr<f32>(args.y) + first;
    for (u32 c = lane; c < args.channels; c += 32) y[c] = x[c] / norm;
}

// dx (+)= (dy − y · Σ y·dy) / ‖x‖. Reads x once, y and dy twice (once from memory), writes dx.
KERNEL(l2_normalize_backward_f32, L2NormalizeBackwardArgs, L2NormalizeBackwardShared, 256) {
    u64 first;
    if (!find_pixel(args.state, args.pixels, args.channels, first)) return; // the whole warp
    const f32 *x = ptr<const f32>(args.x) + first, *y = ptr<const f32>(args.y) + first;
    const f32* dy = ptr<const f32>(args.dy) + first;
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    f32 *tile_x = shared.x[warp], *tile_y = shared.y[warp], *tile_dy = shared.dy[warp];
    f32 sum = 0.0f, dot = 0.0f;
    for (u32 start = 0; start < args.channels; start += L2_CHANNELS) {
        const u32 count = min(L2_CHANNELS, args.channels - start);
        for (u32 i = lane; i < count; i += 32) {
            tile_x[i] = x[start + i];
            tile_y[i] = y[start + i];
            tile_dy[i] = dy[start + i];
        }
        __syncwarp();
        for (u32 i = 0; i < count; ++i) {
            sum = fmaf(tile_x[i], tile_x[i], sum);
            dot = fmaf(tile_y[i], tile_dy[i], dot);
        }
        __syncwarp();
    }
    const f32 norm = sqrtf(sum);
    f32* dx = ptr<f32>(args.dx) + first;
    for (u32 c = lane; c < args.channels; c += 32) {
        const f32 value = fmaf(-y[c], dot, dy[c]) / norm;
        dx[c] = args.accumulate ? dx[c] + value : value;
    }
}
