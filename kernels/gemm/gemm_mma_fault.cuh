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
// in a tile depends on the batch, and must not change an answer.
#pragma once
#include "fault/fault.cuh"
#include "gemm/gemm_mma.cuh"

// A fault as a block sees it: rows and columns count from its tile's first, and may lie outside.
struct MmaEvent {
    const FaultEntry* fault;
    u32 term;
    u32 column;
    i32 from, end; // rows that it is seen in
};

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
        const u32 site = fault->site;
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
        const Faults faults = faults_between(table, first_image, end_image);
        ROLLED for (const FaultEntry* fault = faults.first; fault < faults.last; ++fault) {
            if (fault->site != site || fault->k - (site == SITE_ACCUMULATOR) - term >= T::STEP)
                continue;
            MmaEvent event;
            if (decode(fault, event)) f(event);
        }
    }

    // The word of a fragment that holds term `term` of STEP, after the fault. Of 16 bits a NaN is 0x7fff, as
    // the conversions give it.
    static __device__ __forceinline__ u32 wrong(const MmaEvent& event, u32 word, u32 term) {
        if constexpr (T::STEP == 8) {
            return hit_bits(*event.fault, word);
        } else {
            const u32 shift = term % 2 * 16, half = word >> shift & 0xffffu;
            const u32 bits = hit_bits<0x7fff, T::Compute::INFINITE, 0x7fff>(*event.fault, half) & 0xffffu;
            return (word & ~(0xffffu << shift)) | bits << shift;
        }
    }
    // Which lane of four, and which pair of registers, holds a term of STEP.
    static __device__ __forceinline__ u32 lane_of(u32 term) {
        return T::STEP == 8 ? term % 4 : term % 8 / 2;
    }
    static __device__ __forceinline__ u32 pair_of(u32 term) {
        return T::STEP == 8 ? term / 4 : term / 8;
    }

    // Whether the STEP terms from `term` hold a fault.
    __device__ __forceinline__ bool any(u32 term) const {
        const Faults faults = faults_between(table, first_image, end_image);
        bool found = false;
        ROLLED for (const FaultEntry* fault = faults.first; fault < faults.last; ++fault) {
            const u32 site = fault->site;
            const bool inner = SITE_ACCUMULATOR <= site && site <= SITE_SHARED_B;
            found |= inner && fault->k - (site == SITE_ACCUMULATOR) - term < T::STEP;
        }
        return found;
    }

    // Applies f to element number `at`, which is selected and written back, so that f is compiled once and the
    // array stays in registers: an index known only at run time would put it in local memory.
    template <class Value, u32 COUNT, class F>
    static __device__ __forceinline__ void alter(Value (&values)[COUNT], u32 at, const F& f) {
        Value value = values[0];
        UNROLL for (u32 i = 1; i < COUNT; ++i) value = i == at ? values[i] : value;
        value = f(value);
        UNROLL for (u32 i = 0; i < COUNT; ++i) values[i] = i == at ? value : values[i];
    }

    // Alters the fragment of A whose first row is `first_row` by the faults that this warp sees.
    __device__ MMA_INLINE void alter_a(u32 (&a)[4], u32 site, u32 first_term,
                                       u32 first_row) const {
        each(site, first_term, [&](const MmaEvent& event) {
            const u32 row = (u32)event.from - first_row, term = event.term - first_term;
            const bool reaches = site == SITE_SHARED_A ||
                                 event.column - warp_column<T>() < T::WARP_COLUMNS;
            if (!reaches || row >= 16 || mma_lane() != row % 8 * 4 + lane_of(term)) return;
            alter(a, pair_of(term) * 2 + row / 8,
                  [&](u32 word) { return wrong(event, word, term); });
        });
    }

    // Alters the fragment of B whose first column is `first_column` by the faults that all rows of `seen`
    // see.
    __device__ MMA_INLINE void alter_b(u32 (&b)[2], u32 site, u32 first_term, u32 first_column,
                                       const MmaEvent& seen) const {
        each(site, first_term, [&](const MmaEvent& event) {
            const u32 column = event.column - first_column, term = event.term - first_term;
            const bool covers = event.from <= seen.from && seen.end <= event.end;
            if (!covers || column >= 8 || mma_lane() != column * 4 + lane_of(term)) return;
            alter(b, pair_of(term), [&](u32 word) { return wrong(event, word, term); });
        });
    }

    // Slice number `slice` of the product, in shared memory, onto the sums, with its faults.
    template <bool A_BY_TERM, bool B_BY_TERM>
    __device__ MMA_INLINE void multiply_slice(const typename T::Element* stage_a,
                                              const typename T::Element* stage_b, MmaSums<T>& sums,
                                              u32 slice) const {
        ROLLED for (u32 at = 0; at < MMA_SLICE; at += T::STEP) {
            const u32 term = slice * MMA_SLICE + at;
            if (!any(term)) {
                multiply_step<T, A_BY_TERM, B_BY_TERM>(stage_a, stage_b, sums, at);
                continue;
            }
            // One fragment after the other, in a loop that keeps its registers few: the sums are picked
            // out and put back.
            ROLLED for (u32 fragment = 0; fragment < T::DOWN * T::OVER; ++fragment) {
                f32 sum[4] = {};
                UNROLL for (u32 i = 0; i < T::DOWN * T::OVER; ++i) {
                    UNROLL for (u32 r = 0; r < 4; ++r) {
                        if (i == fragment) sum[r] = sums[i / T::OVER][i % T::OVER][r];
                    }
                }
                multiply_fragment<A_BY_TERM, B_BY_TERM>(stage_a, stage_b, sum, fragment, at, term);
                UNROLL for (u32 i = 0; i < T::DOWN * T::OVER; ++i) {
                    UNROLL for (u32 r = 0; r < 4; ++r) {
                        if (i == fragment) sums[i / T::OVER][i % T::OVER][r] = sum[r];
                    }
                }
            }
        }
    }

    // The sums of one fragment, over STEP terms from `at` in a slice: `term` of the product.
    template <bool A_BY_TERM, bool B_BY_TERM>
    __device__ MMA_INLINE void multiply_fragment(const typename T::Element* stage_a,
                                                 const typename T::Element* stage_b, f32 (&sum)[4],
                                                 u32 fragment, u32 at, u32 term) const {
        const u32 row = warp_row<T>() + fragment / T::OVER * 16;
        const u32 column = warp_column<T>() + fragment % T::OVER * 8;
        u32 a[4], pair[2][2];
        load_a<T, A_BY_TERM>(a, stage_a, fragment / T::OVER, at);
        alter_a(a, SITE_SHARED_A, term, row);
        alter_a(a, SITE_OPERAND_A, term, row);
        // Single lanes have altered their registers: the warp meets again before its next instruction.
        __syncwarp();
        load_b<T, B_BY_TERM>(pair, stage_b, fragment % T::OVER / 2, at);
        const bool second = fragment % 2 != 0;
        const u32 b[2] = {second ? pair[1][0] : pair[0][0], second ? pair[1][1] : pair[0][1]};
        const f32 before[4] = {sum[0], sum[1], sum[2], sum[3]};
        T::Compute::multiply(sum, a, b);
        // Sets of rows are nested or disjoint: the larger are applied first, then the smaller.
        ROLLED for (u32 level = 0; level < 2; ++level) {
            each(level == 0 ? SITE_SHARED_B : SITE_OPERAND_B, term, [&](const MmaEvent& event) {
                if (event.column - column >= 8) return;
                u32 copy[2] = {b[0], b[1]};
                alter_b(copy, SITE_SHARED_B, term, column, event);
                alter_b(copy, SITE_OPERAND_B, term, column, event);
                f32 other[4] = {before[0], before[1], before[2], before[3]};
                __syncwarp();
                T::Compute::multiply(other, a, copy);
                UNROLL for (u32 r = 0; r < 4; ++r) {
                    const i32 of_row = (i32)(row + mma_lane() / 4 + r / 2 * 8);
                    if (event.from <= of_row && of_row < event.end) sum[r] = other[r];
                }
            });
        }
        // Accumulators, after the step that holds their last term.
        each(SITE_ACCUMULATOR, term, [&](const MmaEvent& event) {
            const u32 i = (u32)event.from - row, j = event.column - column;
            if (i >= 16 || j >= 8 || mma_lane() != i % 8 * 4 + j / 2) return;
            alter(sum, i / 8 * 2 + j % 2, [&](f32 value) { return hit(*event.fault, value); });
        });
        __syncwarp();
    }
};
