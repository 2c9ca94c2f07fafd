// Forward convolution on tensor cores with half operands: conv2d_mma.cuh says what it computes and how.
#include "conv2d/conv2d_mma.cuh"

FORWARD_TILE(f16_128x128, MmaLarge<ComputeF16>, 256, 1)
FORWARD_TILE(f16_128x64, MmaTall<ComputeF16>, 256, 2)
FORWARD_TILE(f16_64x64, MmaSmall<ComputeF16>, 128, 4)
