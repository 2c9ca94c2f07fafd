// Exact convolution, forward, of any number of channels: conv2d_forward.cuh.
#include "conv2d/conv2d_forward.cuh"

// The kernels of a tile; the last arguments are the launch bounds of `_armed_inner`.
#define FORWARD_TILE(size, T, threads, ...)                                                        \
    KERNEL(conv2d_forward_f32_##size, Conv2dArgs, GemmShared<T>, threads) {                        \
        forward<T, false, CLEAN>(args, shared);                                                    \
    }                                                                                              \
    KERNEL(conv2d_forward_f32_##size##_armed, Conv2dArgs, GemmShared<T>, threads) {                \
        forward<T, false, ARMED_OUTPUT>(args, shared);                                             \
    }                                                                                              \
    KERNEL(conv2d_forward_f32_##size##_armed_inner, Conv2dArgs, ArmedShared<T>, __VA_ARGS__) {     \
        forward<T, false, ARMED_INNER>(args, shared);                                              \
    }

FORWARD_TILE(128x128, Large, 256, 256, 1)
FORWARD_TILE(128x64, Medium, 256, 256)
FORWARD_TILE(64x64, Small, 128, 128, 3)
FORWARD_TILE(128x32, Narrow, 128, 128, 3)
