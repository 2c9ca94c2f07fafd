// Exact convolution, forward, where channels of a group come in fours: conv2d_forward.cuh.
#include "conv2d/conv2d_forward.cuh"

// The kernels of a tile, with their launch bounds. Faults in the loop are the matter of conv2d.cu.
#define QUADS_TILE(size, T, ...)                                                                   \
    KERNEL(conv2d_forward_f32_##size##_quads, Conv2dArgs, GemmShared<T>, __VA_ARGS__) {            \
        forward<T, true, CLEAN>(args, shared);                                                     \
    }                                                                                              \
    KERNEL(conv2d_forward_f32_##size##_quads_armed, Conv2dArgs, GemmShared<T>, __VA_ARGS__) {      \
        forward<T, true, ARMED_OUTPUT>(args, shared);                                              \
    }

QUADS_TILE(128x128, Large, 256, 2)
QUADS_TILE(128x64, Medium, 256)
QUADS_TILE(64x64, Small, 128)
QUADS_TILE(128x32, Narrow, 128)
QUADS_TILE(32x64, Tiny, 128, 6)
