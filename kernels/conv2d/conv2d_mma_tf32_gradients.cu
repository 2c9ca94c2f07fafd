// Gradients of a convolution on tensor cores with tf32 operands: conv2d_mma.cuh says what they compute
// and how. One kernel a tile (rows × columns of a block).
#include "conv2d/conv2d_mma.cuh"

typedef MmaTile<ComputeTf32, 128, 128, 64, 32> Tf32Tile128x128;
typedef MmaShared<Tf32Tile128x128> Tf32Shared128x128;
typedef MmaTile<ComputeTf32, 128, 64, 32, 32> Tf32Tile128x64;
typedef MmaShared<Tf32Tile128x64> Tf32Shared128x64;
typedef MmaTile<ComputeTf32, 64, 64, 32, 32> Tf32Tile64x64;
typedef MmaShared<Tf32Tile64x64> Tf32Shared64x64;

KERNEL(conv2d_input_gradient_tf32_128x128, Conv2dArgs, Tf32Shared128x128, 256) {
    conv2d_input_gradient_mma<Tf32Tile128x128>(args, shared);
}
KERNEL(conv2d_weight_gradient_tf32_128x128, Conv2dArgs, Tf32Shared128x128, 256) {
    conv2d_weight_gradient_mma<Tf32Tile128x128>(args, shared);
}

KERNEL(conv2d_input_gradient_tf32_128x64, Conv2dArgs, Tf32Shared128x64, 256) {
    conv2d_input_gradient_mma<Tf32Tile128x64>(args, shared);
}
KERNEL(conv2d_weight_gradient_tf32_128x64, Conv2dArgs, Tf32Shared128x64, 256) {
    conv2d_weight_gradient_mma<Tf32Tile128x64>(args, shared);
}

KERNEL(conv2d_input_gradient_tf32_64x64, Conv2dArgs, Tf32Shared64x64, 128) {
    conv2d_input_gradient_mma<Tf32Tile64x64>(args, shared);
}
KERNEL(conv2d_weight_gradient_tf32_64x64, Conv2dArgs, Tf32Shared64x64, 128) {
    conv2d_weight_gradient_mma<Tf32Tile64x64>(args, shared);
}
