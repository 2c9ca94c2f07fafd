// Forward convolution on tensor cores with half operands: conv2d_mma.cuh says what it computes and how.
// One kernel a tile (rows × columns of a block); `_armed` looks finished sums up in the fault table,
// `_armed_inner` also looks for faults inside the product.
#include "conv2d/conv2d_mma.cuh"

typedef MmaTile<ComputeF16, 128, 128, 64, 32> F16Tile128x128;
typedef MmaShared<F16Tile128x128> F16Shared128x128;
typedef MmaTile<ComputeF16, 128, 64, 32, 32> F16Tile128x64;
typedef MmaShared<F16Tile128x64> F16Shared128x64;
typedef MmaTile<ComputeF16, 64, 64, 32, 32> F16Tile64x64;
typedef MmaShared<F16Tile64x64> F16Shared64x64;

KERNEL(conv2d_forward_f16_128x128, Conv2dArgs, F16Shared128x128, 256) {
    conv2d_forward_mma<F16Tile128x128, MMA_CLEAN>(args, shared);
}
KERNEL(conv2d_forward_f16_128x128_armed, Conv2dArgs, F16Shared128x128, 256) {
    conv2d_forward_mma<F16Tile128x128, MMA_ARMED>(args, shared);
}
KERNEL(conv2d_forward_f16_128x128_armed_inner, Conv2dArgs, F16Shared128x128, ALONE_256) {
    conv2d_forward_mma<F16Tile128x128, MMA_ARMED_INNER>(args, shared);
}

KERNEL(conv2d_forward_f16_128x64, Conv2dArgs, F16Shared128x64, 256) {
    conv2d_forward_mma<F16Tile128x64, MMA_CLEAN>(args, shared);
}
KERNEL(conv2d_forward_f16_128x64_armed, Conv2dArgs, F16Shared128x64, 256) {
    conv2d_forward_mma<F16Tile128x64, MMA_ARMED>(args, shared);
}
KERNEL(conv2d_forward_f16_128x64_armed_inner, Conv2dArgs, F16Shared128x64, ALONE_256) {
    conv2d_forward_mma<F16Tile128x64, MMA_ARMED_INNER>(args, shared);
}

KERNEL(conv2d_forward_f16_64x64, Conv2dArgs, F16Shared64x64, 128) {
    conv2d_forward_mma<F16Tile64x64, MMA_CLEAN>(args, shared);
}
KERNEL(conv2d_forward_f16_64x64_armed, Conv2dArgs, F16Shared64x64, 128, 4) {
    conv2d_forward_mma<F16Tile64x64, MMA_ARMED>(args, shared);
}
KERNEL(conv2d_forward_f16_64x64_armed_inner, Conv2dArgs, F16Shared64x64, ALONE_128) {
    conv2d_forward_mma<F16Tile64x64, MMA_ARMED_INNER>(args, shared);
}
