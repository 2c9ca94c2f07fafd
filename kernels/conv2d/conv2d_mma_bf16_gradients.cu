// Gradients of a convolution on tensor cores with bfloat16 operands: conv2d_mma.cuh says what they compute
// and how. One kernel a tile (rows × columns of a block).
#include "conv2d/conv2d_mma.cuh"

typedef MmaTile<ComputeBf16, 128, 128, 64, 32> Bf16Tile128x128;
typedef MmaShared<Bf16Tile128x128> Bf16Shared128x128;
typedef MmaTile<ComputeBf16, 128, 64, 32, 32> Bf16Tile128x64;
typedef MmaShared<Bf16Tile128x64> Bf16Shared128x64;
typedef MmaTile<ComputeBf16, 64, 64, 32, 32> Bf16Tile64x64;
typedef MmaShared<Bf16Tile64x64> Bf16Shared64x64;

KERNEL(conv2d_input_gradient_bf16_128x128, Conv2dArgs, Bf16Shared128x128, 256) {
    conv2d_input_gradient_mma<Bf16Tile128x128>(args, shared);
}
KERNEL(conv2d_weight_gradient_bf16_128x128, Conv2dArgs, Bf16Shared128x128, 256) {
    conv2d_weight_gradient_mma<Bf16Tile128x128>(args, shared);
}

KERNEL(conv2d_input_gradient_bf16_128x64, Conv2dArgs, Bf16Shared128x64, 256) {
    conv2d_input_gradient_mma<Bf16Tile128x64>(args, shared);
}
KERNEL(conv2d_weight_gradient_bf16_128x64, Conv2dArgs, Bf16Shared128x64, 256) {
    conv2d_weight_gradient_mma<Bf16Tile128x64>(args, shared);
}

KERNEL(conv2d_input_gradient_bf16_64x64, Conv2dArgs, Bf16Shared64x64, 128) {
    conv2d_input_gradient_mma<Bf16Tile64x64>(args, shared);
}
KERNEL(conv2d_weight_gradient_bf16_64x64, Conv2dArgs, Bf16Shared64x64, 128) {
    conv2d_weight_gradient_mma<Bf16Tile64x64>(args, shared);
}
