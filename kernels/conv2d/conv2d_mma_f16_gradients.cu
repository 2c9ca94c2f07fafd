// Gradients of a convolution on tensor cores with half operands: conv2d_mma.cuh says what they compute
// and how. One kernel a tile (rows × columns of a block).
#include "conv2d/conv2d_mma.cuh"

typedef MmaTile<ComputeF16, 128, 128, 64, 32> F16Tile128x128;
typedef MmaShared<F16Tile128x128> F16Shared128x128;
typedef MmaTile<ComputeF16, 128, 64, 32, 32> F16Tile128x64;
typedef MmaShared<F16Tile128x64> F16Shared128x64;
typedef MmaTile<ComputeF16, 64, 64, 32, 32> F16Tile64x64;
typedef MmaShared<F16Tile64x64> F16Shared64x64;

KERNEL(conv2d_input_gradient_f16_128x128, Conv2dArgs, F16Shared128x128, 256) {
    conv2d_input_gradient_mma<F16Tile128x128>(args, shared);
}
KERNEL(conv2d_weight_gradient_f16_128x128, Conv2dArgs, F16Shared128x128, 256) {
    conv2d_weight_gradient_mma<F16Tile128x128>(args, shared);
}

KERNEL(conv2d_input_gradient_f16_128x64, Conv2dArgs, F16Shared128x64, 256) {
    conv2d_input_gradient_mma<F16Tile128x64>(args, shared);
}
KERNEL(conv2d_weight_gradient_f16_128x64, Conv2dArgs, F16Shared128x64, 256) {
    conv2d_weight_gradient_mma<F16Tile128x64>(args, shared);
}

KERNEL(conv2d_input_gradient_f16_64x64, Conv2dArgs, F16Shared64x64, 128) {
    conv2d_input_gradient_mma<F16Tile64x64>(args, shared);
}
KERNEL(conv2d_weight_gradient_f16_64x64, Conv2dArgs, F16Shared64x64, 128) {
    conv2d_weight_gradient_mma<F16Tile64x64>(args, shared);
}
