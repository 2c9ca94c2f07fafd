// Forward convolution on tensor cores with tf32 operands: conv2d_mma.cuh says what it computes and how.
// One kernel a tile (rows × columns of a block); `_armed` looks finished sums up in the fault table,
// `_armed_inner` also looks for faults inside the product.
#include "conv2d/conv2d_mma.cuh"

typedef MmaTile<ComputeTf32, 128, 128, 64, 32> Tf32Tile128x128;
typedef MmaShared<Tf32Tile128x128> Tf32Shared128x128;
typedef MmaTile<ComputeTf32, 128, 64, 32, 32> Tf32Tile128x64;
typedef MmaShared<Tf32Tile128x64> Tf32Shared128x64;
typedef MmaTile<ComputeTf32, 64, 64, 32, 32> Tf32Tile64x64;
typedef MmaShared<Tf32Tile64x64> Tf32Shared64x64;

KERNEL(conv2d_forward_tf32_128x128, Conv2dArgs, Tf32Shared128x128, 256) {
    conv2d_forward_mma<Tf32Tile128x128, MMA_CLEAN>(args, shared);
}
KERNEL(conv2d_forward_tf32_128x128_armed, Conv2dArgs, Tf32Shared128x128, 256) {
    conv2d_forward_mma<Tf32Tile128x128, MMA_ARMED>(args, shared);
}
KERNEL(conv2d_forward_tf32_128x128_armed_inner, Conv2dArgs, Tf32Shared128x128, ALONE_256) {
    conv2d_forward_mma<Tf32Tile128x128, MMA_ARMED_INNER>(args, shared);
}

KERNEL(conv2d_forward_tf32_128x64, Conv2dArgs, Tf32Shared128x64, 256) {
    conv2d_forward_mma<Tf32Tile128x64, MMA_CLEAN>(args, shared);
}
KERNEL(conv2d_forward_tf32_128x64_armed, Conv2dArgs, Tf32Shared128x64, 256) {
    conv2d_forward_mma<Tf32Tile128x64, MMA_ARMED>(args, shared);
}
KERNEL(conv2d_forward_tf32_128x64_armed_inner, Conv2dArgs, Tf32Shared128x64, ALONE_256) {
    conv2d_forward_mma<Tf32Tile128x64, MMA_ARMED_INNER>(args, shared);
}

KERNEL(conv2d_forward_tf32_64x64, Conv2dArgs, Tf32Shared64x64, 128) {
    conv2d_forward_mma<Tf32Tile64x64, MMA_CLEAN>(args, shared);
}
KERNEL(conv2d_forward_tf32_64x64_armed, Conv2dArgs, Tf32Shared64x64, 128) {
    conv2d_forward_mma<Tf32Tile64x64, MMA_ARMED>(args, shared);
}
KERNEL(conv2d_forward_tf32_64x64_armed_inner, Conv2dArgs, Tf32Shared64x64, ALONE_128) {
    conv2d_forward_mma<Tf32Tile64x64, MMA_ARMED_INNER>(args, shared);
}
