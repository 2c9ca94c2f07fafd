// Tensor cores, one wrapper an instruction: matrix products of a warp, the loads that fill their
// fragments, asynchronous copies to shared memory, and the number formats they work on.
//
// For the GPU each is its PTX instruction (sm_80 and later). Under emulation (emulator/mma.h) the
// lanes of a warp meet and exchange what the PTX manual's fragment maps say. All 32 lanes call them
// together; `copy_async` and the conversions are a thread's own.
//
// With g = lane / 4 and t = lane % 4 a lane holds, of d (16 × 8, f32): d[0], d[1] = (g, 2t), (g, 2t + 1);
// d[2], d[3] = (g + 8, the same columns). Of 32-bit operands: a[0..4] = (g, t), (g + 8, t), (g, t + 4),
// (g + 8, t + 4) and b[0..2] = (t, g), (t + 4, g). Of 16-bit operands, two terms a register, the lower
// in the lower half: a[0..4] = (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8), b[0..2] = (2t, g),
// (2t + 8, g).
//
// The order in which hardware adds the products of one instruction isn't specified, nor how it rounds in
// between: results are held to tolerances. The emulation adds them to d in the order of the terms, each
// with one fused multiply-add. What both promise: an element of d depends on its row of a, its column
// of b and its own value before, and on nothing else.
#pragma once
#include "common/flipside.cuh"

// What the lanes of a warp do together is `asm volatile`: the compiler may neither copy it into branches nor
// move it to where lanes have parted. The conversions depend on one lane's registers alone and aren't, so
// that they can be scheduled, shared and dropped like any arithmetic.

#ifdef __CUDACC__

// d += a·b, 16 × 8 × 8, tf32 operands (the lower 13 bits of each register count for nothing).
static __device__ __forceinline__ void mma_tf32(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// d += a·b, 16 × 8 × 16, bfloat16 operands.
static __device__ __forceinline__ void mma_bf16(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// d += a·b, 16 × 8 × 16, IEEE half operands.
static __device__ __forceinline__ void mma_f16(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ __forceinline__ u32 shared_address(const void* shared) {
    return (u32)__cvta_generic_to_shared(shared);
}

// Loads four matrices of 8 rows of 16 bytes: lane 8·j + i gives the address of row i of matrix j (a multiple of
// 16), out[j] is word t of row g of matrix j.
static __device__ __forceinline__ void load_matrices(u32 (&out)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row)) : "memory");
}

// The same of matrices of 8 × 8 16-bit elements, transposed: out[j] holds elements (2t, g) and
// (2t + 1, g) of matrix j.
static __device__ __forceinline__ void load_transposed(u32 (&out)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row)) : "memory");
}

// Begins to copy BYTES (4, 8 or 16; both addresses are multiples of it) from global to shared memory:
// the first `valid` bytes, and zeros for the rest. With `valid` = 0 nothing is read. The bytes are there
// for this thread after `wait_copies`, for others after a barrier behind that.
template <u32 BYTES>
static __device__ __forceinline__ void copy_async(void* shared, const void* global,
                                                  u32 valid = BYTES) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
    if constexpr (BYTES == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                     : : "r"(shared_address(shared)), "l"(global), "r"(valid) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                     : : "r"(shared_address(shared)), "l"(global), "n"(BYTES), "r"(valid)
                     : "memory");
    }
}

// Closes the group of the copies that this thread has begun since the last call.
static __device__ __forceinline__ void commit_copies() {
    asm volatile("cp.async.commit_group;" : : : "memory");
}

// Waits until all of this thread's groups but the newest NEWEST are done.
template <u32 NEWEST> static __device__ __forceinline__ void wait_copies() {
    asm volatile("cp.async.wait_group %0;" : : "n"(NEWEST) : "memory");
}

// The bits of x as tf32 (an f32 whose lower 13 bits are zero), rounded to nearest, ties away from zero.
// NaN and Inf lose their lower 13 bits alone: a NaN whose payload lies there, which no arithmetic makes but
// a fault can, becomes Inf. PTX doesn't say so; it is what ptxas 13.0 makes of it for sm_80 to sm_120.
static __device__ __forceinline__ u32 to_tf32(f32 x) {
    u32 out;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(out) : "f"(x));
    return out;
}

// Two bfloat16 in a register, rounded to nearest even; NaN becomes 0x7fff.
static __device__ __forceinline__ u32 to_bf16x2(f32 low, f32 high) {
    u32 out;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
    return out;
}

// Two IEEE halves in a register, rounded to nearest even (Inf from 65520 up); NaN becomes 0x7fff.
static __device__ __forceinline__ u32 to_f16x2(f32 low, f32 high) {
    u32 out;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
    return out;
}

#else
#include "emulator/mma.h"
#endif
