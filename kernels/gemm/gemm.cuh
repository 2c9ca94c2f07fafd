// The product of two matrices in exact fp32, in tiles: what the passes of convolution share.
//
// Every element is one chain of fmaf in the order of the terms, from +0. A block computes a tile of M ×
// N, 4 × 4, 8 × 4 or 8 × 8 a thread, over slices of 16 terms that pass through two shared buffers: while
// one is multiplied, the next slice is loaded. A thread's elements lie in quads of 4 × 4; where it has
// two of them along an axis, they lie half a tile apart, so that warps read whole rows of banks.
//
// For each term a thread reads 8 + 8 floats of shared memory for 64 multiply-adds (128 × 128), and a
// block M + N floats of memory for M·N: from 64 multiply-adds a float (128 × 128) to 21 (32 × 64).
#pragma once
#include "common/four.cuh"
#include "fault/fault.cuh"
#include "gemm/mma.cuh"

constexpr u32 SLICE = 16; // terms that pass through shared memory at a time
constexpr u32 QUAD = 4;

template <u32 M_, u32 N_, u32 ROWS_ = 8> struct Tile {
    static constexpr u32 M = M_, N = N_;
    static constexpr u32 ROWS = ROWS_, COLUMNS = N >= 128 ? 8 : 4; // of a thread
    static constexpr u32 ACROSS = N / COLUMNS;
    static constexpr u32 THREADS = M / ROWS * ACROSS;
    static constexpr u32 ROW_HOP = M / (ROWS / QUAD), COLUMN_HOP = N / (COLUMNS / QUAD);

    // Where in the tile element (i, j) of this thread lies.
    static __device__ __forceinline__ u32 row(u32 i) {
        return threadIdx.x / ACROSS * QUAD + i / QUAD * ROW_HOP + i % QUAD;
    }
    static __device__ __forceinline__ u32 column(u32 j) {
        return threadIdx.x % ACROSS * QUAD + j / QUAD * COLUMN_HOP + j % QUAD;
    }

    // Whether two rows or columns of a tile are one thread's: src/ops/conv2d/exact_tiles.rs tells it to users.
    static __device__ __forceinline__ bool one_thread_rows(u32 a, u32 b) {
        return a % ROW_HOP / QUAD == b % ROW_HOP / QUAD;
    }
    static __device__ __forceinline__ bool one_thread_columns(u32 a, u32 b) {
        return a % COLUMN_HOP / QUAD == b % COLUMN_HOP / QUAD;
    }
};

// src/ops/conv2d/exact_tiles.rs says which layer takes which.
typedef Tile<128, 128> Large;
typedef Tile<128, 64> Medium;
typedef Tile<64, 64> Small;
typedef Tile<128, 32> Narrow;
typedef Tile<32, 64, 4> Tiny;

template <class T> struct GemmShared {
    f32 a[2][SLICE][T::M + QUAD];
    f32 b[2][SLICE][T::N + QUAD];
};

// Loads a factor whose terms lie side by side in memory (K-major): its quads are 4 terms of one row (or
// column), transposed on their way. `Source::quad(slot)` gives the quad of the next slice; its slots are
// rows line(slot), terms from `term()` on.
template <class T, u32 LINES> struct AlongTerms {
    static constexpr u32 SLOTS = LINES * SLICE / QUAD / T::THREADS;
    Four stage[SLOTS];

    static __device__ __forceinline__ u32 line(u32 slot) {
        return threadIdx.x / (SLICE / QUAD) + slot * (T::THREADS / (SLICE / QUAD));
    }
    static __device__ __forceinline__ u32 term() { return threadIdx.x % (SLICE / QUAD) * QUAD; }

    template <class Source>
    __device__ __forceinline__ void fetch(Source& source, const f32 (&)[SLICE][LINES + QUAD]) {
        UNROLL for (u32 slot = 0; slot < SLOTS; ++slot) stage[slot] = source.quad(slot);
        source.next();
    }
    __device__ __forceinline__ void put(f32 (&to)[SLICE][LINES + QUAD]) const {
        UNROLL for (u32 slot = 0; slot < SLOTS; ++slot) {
            UNROLL for (u32 e = 0; e < QUAD; ++e) to[term() + e][line(slot)] = stage[slot].v[e];
        }
    }
};

// The quads of a factor whose rows (or columns) lie side by side (MN-major): each has 4 of them in one term.
template <class T, u32 LINES> struct LineQuads {
    static constexpr u32 SLOTS = LINES * SLICE / QUAD / T::THREADS;
    static constexpr u32 HOP = T::THREADS / (LINES / QUAD); // terms from slot to slot

    static __device__ __forceinline__ u32 line() { return threadIdx.x % (LINES / QUAD) * QUAD; }
    static __device__ __forceinline__ u32 term(u32 slot) {
        return threadIdx.x / (LINES / QUAD) + slot * HOP;
    }
};

// Loads such a factor through registers.
template <class T, u32 LINES> struct AlongLines : LineQuads<T, LINES> {
    typedef LineQuads<T, LINES> Quads;
    Four stage[Quads::SLOTS];

    template <class Source>
    __device__ __forceinline__ void fetch(Source& source, const f32 (&)[SLICE][LINES + QUAD]) {
        UNROLL for (u32 slot = 0; slot < Quads::SLOTS; ++slot) stage[slot] = source.quad(slot);
        source.next();
    }
    __device__ __forceinline__ void put(f32 (&to)[SLICE][LINES + QUAD]) const {
        UNROLL for (u32 slot = 0; slot < Quads::SLOTS; ++slot) {
            store_four(&to[Quads::term(slot)][Quads::line()], stage[slot]);
        }
    }
};

// Loads such a factor by asynchronous copies, which take no registers, where all quads are whole.
// `Source::at(slot)` gives where the quad lies if `has(slot)`; the others are zeros.
template <class T, u32 LINES> struct CopiedLines : LineQuads<T, LINES> {
    typedef LineQuads<T, LINES> Quads;

    template <class Source>
    __device__ __forceinline__ void fetch(Source& source, f32 (&to)[SLICE][LINES + QUAD]) {
        UNROLL for (u32 slot = 0; slot < Quads::SLOTS; ++slot) {
            copy_async<16>(&to[Quads::term(slot)][Quads::line()], source.at(slot),
                           source.has(slot) ? 16 : 0);
        }
        commit_copies();
        source.next();
    }
    __device__ __forceinline__ void put(f32 (&)[SLICE][LINES + QUAD]) const { wait_copies<0>(); }
};

// acc[i][j] = Σ A(row i, term)·B(term, column j) over `terms` terms. A source's `Carry` loads its slices: `fetch`
// begins to move one to a buffer that nobody reads meanwhile, `put` ends it. `faults` says of a slice if it is hit.
template <class T, class SourceA, class SourceB, class Inner>
static __device__ __forceinline__ void multiply(GemmShared<T>& shared, u32 terms,
                                                f32 (&acc)[T::ROWS][T::COLUMNS], SourceA source_a,
                                                SourceB source_b, const Inner& faults) {
    typename SourceA::Carry carry_a;
    typename SourceB::Carry carry_b;
    const u32 row = T::row(0), column = T::column(0);
    const auto step = [&](u32 buffer, u32 term, f32 (&a)[T::ROWS], f32 (&b)[T::COLUMNS]) {
        load_fours(a, &shared.a[buffer][term][row], T::ROW_HOP);
        load_fours(b, &shared.b[buffer][term][column], T::COLUMN_HOP);
    };
    const auto multiply_step = [&](u32 buffer, u32 term) {
        f32 a[T::ROWS], b[T::COLUMNS];
        step(buffer, term, a, b);
        UNROLL for (u32 i = 0; i < T::ROWS; ++i) {
            UNROLL for (u32 j = 0; j < T::COLUMNS; ++j) acc[i][j] = fmaf(a[i], b[j], acc[i][j]);
        }
    };
    carry_a.fetch(source_a, shared.a[0]);
    carry_b.fetch(source_b, shared.b[0]);
    carry_a.put(shared.a[0]);
    carry_b.put(shared.b[0]);
    __syncthreads();
    // Terms of a slice that isn't whole, or that faults are in, one by one.
    const auto slowly = [&](u32 slice, u32 depth) {
        ROLLED for (u32 term = 0; term < depth; ++term) {
            if constexpr (Inner::NONE) {
                multiply_step(slice % 2, term);
            } else {
                f32 a[T::ROWS], b[T::COLUMNS];
                step(slice % 2, term, a, b);
                faults.multiply(slice * SLICE + term, a, b, acc);
            }
        }
    };
    const u32 whole = terms / SLICE, rest = terms % SLICE;
    const u32 looped = Inner::NONE ? whole : whole + (rest != 0);
    for (u32 slice = 0; slice < looped; ++slice) {
        const u32 next = slice % 2 ^ 1;
        carry_a.fetch(source_a, shared.a[next]); // zeros behind the last slice
        carry_b.fetch(source_b, shared.b[next]);
        bool slow = false;
        if constexpr (!Inner::NONE) slow = slice == whole || faults.is_marked(slice);
        if (slow) {
            slowly(slice, slice == whole ? rest : SLICE);
        } else {
            UNROLL for (u32 term = 0; term < SLICE; ++term) multiply_step(slice % 2, term);
        }
        carry_a.put(shared.a[next]);
        carry_b.put(shared.b[next]);
        __syncthreads();
    }
    // No term more than there is: fmaf(0, 0, −0) would be +0.
    if constexpr (Inner::NONE) slowly(whole, rest);
}
