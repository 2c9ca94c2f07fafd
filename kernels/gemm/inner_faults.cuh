// Faults in the inner loop of an exact product: accumulators, operands in registers, tiles in shared
// memory (src/fault/site.rs). Rows are the pixels of all images one after another, columns a group's
// channels.
//
// Once a block the slices that hold a fault are marked in shared memory; the loop then asks for one bit
// a slice. A marked slice is run term by term, each looked up in the table.
//
// Sets of rows are those that the image would have if it were run alone: an image's answer must not
// depend on its place in the batch. Columns never shift.
#pragma once
#include "fault/tile_faults.cuh"
#include "gemm/gemm.cuh"

constexpr u32 MARKS = 4096; // slices; of more, several share a mark

struct Marks {
    u32 words[MARKS / 32];
};

template <class T> struct InnerFaults {
    static constexpr bool NONE = false;

    u64 table;
    OutputTile tile;
    Marks& marks;

    static __device__ __forceinline__ bool is_inner(u16 site) {
        return SITE_ACCUMULATOR <= site && site <= SITE_SHARED_B;
    }
    __device__ __forceinline__ bool is_elsewhere(u64 channel) const {
        return channel < tile.first_channel || channel >= tile.end_channel;
    }
    // The term whose slice a fault is in.
    static __device__ __forceinline__ u32 term_of(const FaultEntry& fault) {
        return fault.site == SITE_ACCUMULATOR ? fault.k - 1 : fault.k;
    }

    // Marks the slices that a fault of this tile is in. There are two barriers in it.
    __device__ __forceinline__ void mark() const {
        for (u32 at = threadIdx.x; at < MARKS / 32; at += T::THREADS) marks.words[at] = 0;
        __syncthreads();
        const u32 first_image = tile.first_image(), end_image = tile.end_image();
        const Faults faults = faults_between(table, first_image, end_image);
        for (const FaultEntry* fault = faults.first + threadIdx.x; fault < faults.last;
             fault += T::THREADS) {
            const u64 channel = fault->element / tile.pixels;
            if (!is_inner(fault->site) || is_elsewhere(channel)) continue;
            // Of a tile in one image, those whose widest reach ends before it or begins behind it need no mark.
            if (end_image == first_image + 1) {
                const u32 first = tile.first_row - first_image * tile.pixels;
                const u32 reach = u32(fault->element % tile.pixels) / T::M * T::M;
                if (reach + T::M <= first || reach >= first + T::M) continue;
            }
            const u32 mark = term_of(*fault) / SLICE % MARKS;
            atomicOr(&marks.words[mark / 32], 1u << mark % 32);
        }
        __syncthreads();
    }

    __device__ __forceinline__ bool is_marked(u32 slice) const {
        const u32 mark = slice % MARKS;
        return marks.words[mark / 32] >> mark % 32 & 1;
    }

    // Calls found(fault, m, column) for every fault of `image` at `term` in this tile's columns; m is
    // the row within the image, `column` that of the tile.
    template <class Found>
    __device__ __forceinline__ void each(u32 image, u32 term, const Found& found) const {
        const Faults faults = faults_of(table, image);
        ROLLED for (const FaultEntry* fault = faults.first; fault < faults.last; ++fault) {
            const u32 channel = u32(fault->element / tile.pixels);
            if (!is_inner(fault->site) || term_of(*fault) != term) continue;
            if (is_elsewhere(channel)) continue;
            found(*fault, u32(fault->element % tile.pixels), channel - tile.first_channel);
        }
    }

    // One term of this thread's sums.
    __device__ __forceinline__ void multiply(u32 term, f32 (&a)[T::ROWS],
                                             const f32 (&b)[T::COLUMNS],
                                             f32 (&acc)[T::ROWS][T::COLUMNS]) const {
        const u32 end = tile.end_image();
        ROLLED for (u32 image = tile.first_image(); image < end; ++image) {
            each(image, term, [&](const FaultEntry& fault, u32 m, u32 column) {
                const bool here = fault.site == SITE_SHARED_A ||
                                  (fault.site == SITE_OPERAND_A &&
                                   T::one_thread_columns(column, T::column(0)));
                const u32 row = image * tile.pixels + m - tile.first_row; // beyond the tile if it is another's
                UNROLL for (u32 i = 0; i < T::ROWS; ++i) {
                    if (here && T::row(i) == row) a[i] = hit(fault, a[i]);
                }
            });
        }
        UNROLL for (u32 i = 0; i < T::ROWS; ++i) {
            const u32 row = tile.first_row + T::row(i);
            f32 of_row[T::COLUMNS];
            UNROLL for (u32 j = 0; j < T::COLUMNS; ++j) of_row[j] = b[j];
            if (row < tile.end_row) {
                each(row / tile.pixels, term, [&](const FaultEntry& fault, u32 m, u32 column) {
                    const u32 mine = row % tile.pixels;
                    const bool same_tile = m / T::M == mine / T::M;
                    const bool here =
                        same_tile && (fault.site == SITE_SHARED_B ||
                                      (fault.site == SITE_OPERAND_B &&
                                       T::one_thread_rows(m % T::M, mine % T::M)));
                    f32 value = 0.0f;
                    UNROLL for (u32 j = 0; j < T::COLUMNS; ++j) {
                        if (T::column(j) == column) value = of_row[j];
                    }
                    value = hit(fault, value);
                    UNROLL for (u32 j = 0; j < T::COLUMNS; ++j) {
                        if (here && T::column(j) == column) of_row[j] = value;
                    }
                });
            }
            UNROLL for (u32 j = 0; j < T::COLUMNS; ++j) acc[i][j] = fmaf(a[i], of_row[j], acc[i][j]);
        }
        ROLLED for (u32 image = tile.first_image(); image < end; ++image) {
            each(image, term, [&](const FaultEntry& fault, u32 m, u32 column) {
                const bool here = fault.site == SITE_ACCUMULATOR;
                const u32 row = image * tile.pixels + m - tile.first_row;
                // The sum is selected and written back, so that the masks are compiled once, not for each sum.
                f32 sum = 0.0f;
                UNROLL for (u32 i = 0; i < T::ROWS; ++i) {
                    UNROLL for (u32 j = 0; j < T::COLUMNS; ++j) {
                        if (T::row(i) == row && T::column(j) == column) sum = acc[i][j];
                    }
                }
                sum = hit(fault, sum);
                UNROLL for (u32 i = 0; i < T::ROWS; ++i) {
                    UNROLL for (u32 j = 0; j < T::COLUMNS; ++j) {
                        if (here && T::row(i) == row && T::column(j) == column) acc[i][j] = sum;
                    }
                }
            });
        }
    }
};
