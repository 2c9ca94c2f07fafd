// Gradients of a convolution on tensor cores with half operands: conv2d_mma.cuh says what they compute and how.
#include "conv2d/conv2d_mma.cuh"

GRADIENT_TILE(f16_128x128, MmaLarge<ComputeF16>, 256, 1)
GRADIENT_TILE(f16_128x64, MmaTall<ComputeF16>, 256, 2)
GRADIENT_TILE(f16_64x64, MmaSmall<ComputeF16>, 128, 4)
