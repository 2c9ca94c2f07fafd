// Gradients of a convolution on tensor cores with bfloat16 operands: conv2d_mma.cuh says what they compute and how.
#include "conv2d/conv2d_mma.cuh"

GRADIENT_TILE(bf16_128x128, MmaLarge<ComputeBf16>, 256, 1)
GRADIENT_TILE(bf16_128x64, MmaTall<ComputeBf16>, 256, 2)
GRADIENT_TILE(bf16_64x64, MmaSmall<ComputeBf16>, 128, 4)
