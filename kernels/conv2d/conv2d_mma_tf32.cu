// Forward convolution on tensor cores with tf32 operands: conv2d_mma.cuh says what it computes and how.
#include "conv2d/conv2d_mma.cuh"

FORWARD_TILE(tf32_128x128, MmaLarge<ComputeTf32>, 256, 2)
FORWARD_TILE(tf32_128x64, MmaTall<ComputeTf32>, 256, 2)
FORWARD_TILE(tf32_64x64, MmaSmall<ComputeTf32>, 128, 4)
