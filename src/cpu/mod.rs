//! The host's arithmetic, which operations on the CPU share: products of matrices, loops over lanes, exponentials, and
//! the instruction sets that they are compiled for.

pub(crate) mod exponential;
pub(crate) mod gemm;
pub(crate) mod simd;
pub(crate) mod wide;
