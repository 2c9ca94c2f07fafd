// Faults inside a product on tensor cores: accumulator, operand-a, operand-b, shared-a, shared-b.
//
// When a kernel starts, the block marks the slices that hold a fault which touches its tile; the main
// loop looks one bit up a slice, and marked slices take the slow way through `MmaFaults`.
//
// An element of a product depends on its row of A and its column of B alone, so a wrong copy that only
// some rows see is a second instruction on the sums as they were, whose result only those rows take.
//
// A wrong A[m, κ] is seen by all columns of the warp (operand-a) or of the block's tile (shared-a) in row
// m. A wrong B[κ, n] is seen in column n by the rows of its image that lie in the same warp's (operand-b)
// or the same tile's rows (shared-b) when rows are counted from the image's first: where an image begins
// in a tile is a matter of the batch, and may decide nothing.
#pragma once
#include "fault.cuh"
#include "gemm_mma.cuh"

// A fault as a block sees it: rows and columns count from its tile's first, and may lie outside.
struct MmaEvent {
    const FaultEntry* fault;
    u32 term;
    u32 column;
    i32 from, end; // rows that it is seen in
};

// The same number, but the compiler can't know: what follows from it is worked out where it is needed, not
// kept in registers through the product.
template <class N> static __device__ __forceinline__ N afresh(N number) {
#ifdef __CUDACC__
    if constexpr (sizeof(N) == 8) {
        asm volatile("" : "+l"(number));
    } else {
        asm volatile("" : "+r"(number));
    }
#endif
    return number;
}

template <class T> struct MmaFaults {
    static constexpr bool NONE = false;

    u64 table;
    u32* marked;
    u32 first_row;     // of the tile, over all images
    u32 first_channel; // of the tile
    u32 columns;       // of the group, from the tile's first on
    u32 pixels;        // of an image
    u32 first_image, end_image;

    __device__ __forceinline__ MmaFaults(u64 table, u32* marked, u32 first_row, u32 rows,
                                           u32 first_channel, u32 columns, u32 pixels)
        : table(table), marked(marked), first_row(first_row), first_channel(first_channel),
          columns(columns), pixels(pixels), first_image(first_row / pixels),
          end_image((min(first_row + T::ROWS, rows) - 1) / pixels + 1) {}

    // Whether a fault touches the tile, and how.
    __device__ MMA_INLINE bool decode(const FaultEntry* fault, MmaEvent& event) const {
        const u32 pixels = afresh(this->pixels), site = fault->site;
        if (site < SITE_ACCUMULATOR || site > SITE_SHARED_B) return false;
        const u32 element = (u32)fault->element;
        event.fault = fault;
        event.term = site == SITE_ACCUMULATOR ? fault->k - 1 : fault->k;
        event.column = element / pixels - first_channel;
        if (event.column >= min(columns, T::COLUMNS)) return false;
        const u32 m = element % pixels;
        // Its image: the last one whose entries begin with it or before.
        u32 image = first_image, end = end_image;
        while (image + 1 < end) {
            const u32 middle = (image + end) / 2;
            if (faults_of(table, middle).first <= fault) {
                image = middle;
            } else {
                end = middle;
            }
        }
        const i32 image_row = (i32)(image * pixels - first_row);
        event.from = image_row + (i32)m;
        event.end = event.from + 1;
        if (site == SITE_OPERAND_B || site == SITE_SHARED_B) {
            const u32 run = site == SITE_SHARED_B ? T::ROWS : T::WARP_ROWS;
            event.from = image_row + (i32)(m / run * run);
            event.end = min(event.from + (i32)run, image_row + (i32)pixels);
        }
        return event.from < (i32)T::ROWS && event.end > 0;
    }

    // Marks slices; all of the block's threads together. The marks are there after the next barrier.
    __device__ MMA_INLINE void mark() {
        if (threadIdx.x < 32) marked[threadIdx.x] = 0;
        __syncthreads();
        const Faults faults = faults_between(table, first_image, end_image);
        for (const FaultEntry* fault = faults.first + threadIdx.x; fault < faults.last;
             fault += T::THREADS) {
            MmaEvent event;
            if (!decode(fault, event)) continue;
            const u32 slice = event.term / MMA_SLICE % 1024;
            atomicOr(&marked[slice / 32], 1u << slice % 32);
        }
    }

    __device__ __forceinline__ bool is_marked(u32 slice) const {
        return marked[slice % 1024 / 32] >> slice % 32 & 1u;
    }

    // Calls f(event) for every fault at `site` in the STEP terms from `term`: the same for all lanes.
    template <class F>
    __device__ __forceinline__ void each(u32 site, u32 term, const F& f) const {
        const Faults faults =
            faults_between(afresh(table), afresh(first_image), afresh(end_image));
        ROLLED for (const FaultEntry* fault = faults.first; fault < faults.last; ++fault) {
            if (fault->site != site || fault->k - (site == SITE_ACCUMULATOR) - term >= T::STEP)
                continue;
            MmaEvent event;
            if (decode(fault, event)) f(event);
        }
    }

    // The word of a fragment that holds term `term` of STEP, after the fault.
    static __device__ __forceinline__ u32 wrong(const MmaEvent& event, u32 word, u32 term) {
        if constexpr (T::STEP == 8) return hit_bits(*event.fault, word);
        const u32 shift = term % 2 * 16;
        const u32 bits = hit_bits(*event.fault, word >> shift & 0xffffu) & 0xffffu;
        return (word & ~(0xffffu << shift)) | bits << shift;
    }
    // Which lane of four, and which pair of registers, holds a term of STEP.
    static __device__ __forceinline__ u32 lane_of(u32 term) {
        return T::STEP == 8 ? term % 4 : term % 8 / 2;
    }
    static __device__ __forceinline__ u32 pair_of(u32 term) {
        return T::STEP == 8 ? term / 4 : term / 8;
    }

    __device__ MMA_INLINE void alter_a(u32 (&a)[T::DOWN][4], u32 site, u32 first_term) const {
        const u32 lane = mma_lane();
        each(site, first_term, [&](const MmaEvent& event) {
            const u32 row = (u32)event.from - warp_row<T>();
            const bool reaches = site == SITE_SHARED_A ||
                                 event.column - warp_column<T>() < T::WARP_COLUMNS;
            const u32 term = event.term - first_term;
            if (!reaches || row >= T::WARP_ROWS || lane != row % 8 * 4 + lane_of(term)) return;
            const u32 at = row / 16 * 4 + pair_of(term) * 2 + row % 16 / 8;
            UNROLL for (u32 i = 0; i < T::DOWN * 4; ++i) {
                if (i == at) a[i / 4][i % 4] = wrong(event, a[i / 4][i % 4], term);
            }
        });
    }

    // Alters the fragment of B whose first column is `column` by the faults that all rows of `seen` see.
    __device__ MMA_INLINE void alter_b(u32 (&b)[2], u32 site, u32 first_term, u32 column,
                                            const MmaEvent& seen) const {
        const u32 lane = mma_lane();
        each(site, first_term, [&](const MmaEvent& event) {
            const u32 n = event.column - column, term = event.term - first_term;
            const bool covers = event.from <= seen.from && seen.end <= event.end;
            if (!covers || n >= 8 || lane != n * 4 + lane_of(term)) return;
            UNROLL for (u32 i = 0; i < 2; ++i) {
                if (i == pair_of(term)) b[i] = wrong(event, b[i], term);
            }
        });
    }

    // Slice number `slice` of the product, in shared memory, onto the sums: step by step, with its faults.
    template <bool A_BY_TERM, bool B_BY_TERM>
    __device__ MMA_INLINE void multiply_slice(const typename T::Element* stage_a,
                                                   const typename T::Element* stage_b,
                                                   MmaSums<T>& sums, u32 slice) const {
        ROLLED for (u32 at = 0; at < MMA_SLICE; at += T::STEP) {
            multiply_step<A_BY_TERM, B_BY_TERM>(stage_a, stage_b, sums, at, slice * MMA_SLICE + at);
        }
    }

    // The instructions of STEP terms from `at` in a slice in shared memory (term `term` of the product),
    // with their faults.
    template <bool A_BY_TERM, bool B_BY_TERM>
    __device__ MMA_INLINE void multiply_step(const typename T::Element* stage_a,
                                                  const typename T::Element* stage_b,
                                                  MmaSums<T>& sums, u32 at, u32 term) const {
        u32 a[T::DOWN][4];
        UNROLL for (u32 i = 0; i < T::DOWN; ++i) {
            load_a<T, A_BY_TERM>(a[i], stage_a, warp_row<T>() + 16 * i, at);
        }
        alter_a(a, SITE_SHARED_A, term);
        UNROLL for (u32 i = 0; i < T::DOWN * 4; ++i) {
            a[i / 4][i % 4] = T::Compute::operand(a[i / 4][i % 4]);
        }
        alter_a(a, SITE_OPERAND_A, term);
        UNROLL for (u32 j = 0; j < T::OVER; j += 2) {
            u32 b[2][2];
            load_b<T, B_BY_TERM>(b, stage_b, warp_column<T>() + 8 * j, at);
            UNROLL for (u32 k = 0; k < 2; ++k) multiply_columns(sums, a, b[k], j + k, term);
        }
        alter_sums(sums, term);
    }

    // The instructions of the warp's columns from 8·j; `b` is their fragment as it lies in shared memory.
    __device__ MMA_INLINE void multiply_columns(MmaSums<T>& sums, const u32 (&a)[T::DOWN][4],
                                                     const u32 (&b)[2], u32 j, u32 term) const {
        const u32 column = warp_column<T>() + 8 * j;
        f32 before[T::DOWN][4];
        const u32 right[2] = {T::Compute::operand(b[0]), T::Compute::operand(b[1])};
        UNROLL for (u32 i = 0; i < T::DOWN; ++i) {
            UNROLL for (u32 r = 0; r < 4; ++r) before[i][r] = sums[i][j][r];
            T::Compute::multiply(sums[i][j], a[i], right);
        }
        // Sets of rows lie in each other or apart: the larger first, the smaller over them.
        ROLLED for (u32 level = 0; level < 2; ++level) {
            each(level == 0 ? SITE_SHARED_B : SITE_OPERAND_B, term, [&](const MmaEvent& event) {
                if (event.column - column >= 8) return;
                u32 copy[2] = {b[0], b[1]};
                alter_b(copy, SITE_SHARED_B, term, column, event);
                UNROLL for (u32 r = 0; r < 2; ++r) copy[r] = T::Compute::operand(copy[r]);
                alter_b(copy, SITE_OPERAND_B, term, column, event);
                UNROLL for (u32 i = 0; i < T::DOWN; ++i) {
                    f32 other[4] = {before[i][0], before[i][1], before[i][2], before[i][3]};
                    T::Compute::multiply(other, a[i], copy);
                    UNROLL for (u32 r = 0; r < 4; ++r) {
                        const i32 row =
                            (i32)(warp_row<T>() + 16 * i + mma_lane() / 4 + r / 2 * 8);
                        if (event.from <= row && row < event.end) sums[i][j][r] = other[r];
                    }
                }
            });
        }
    }

    // Accumulators after the step that holds their last term.
    __device__ MMA_INLINE void alter_sums(MmaSums<T>& sums, u32 term) const {
        const u32 lane = mma_lane();
        each(SITE_ACCUMULATOR, term, [&](const MmaEvent& event) {
            const u32 row = (u32)event.from - warp_row<T>();
            const u32 column = event.column - warp_column<T>();
            if (row >= T::WARP_ROWS || column >= T::WARP_COLUMNS) return;
            if (lane != row % 8 * 4 + column % 8 / 2) return;
            const u32 at = (row / 16 * T::OVER + column / 8) * 4 + row % 16 / 8 * 2 + column % 2;
            UNROLL for (u32 i = 0; i < T::DOWN * T::OVER * 4; ++i) {
                f32& sum = sums[i / 4 / T::OVER][i / 4 % T::OVER][i % 4];
                if (i == at) sum = hit(*event.fault, sum);
            }
        });
    }
};
