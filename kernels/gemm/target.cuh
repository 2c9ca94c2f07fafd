// Where a product's sums lie in memory: what chains begin with, and how they are stored.
#pragma once
#include "gemm/gemm.cuh"

// A matrix of results: `at` of its first element, rows of `pitch`.
struct Target {
    f32* at;
    u32 rows, columns, pitch;
    u32 first_row, first_column;

    __device__ __forceinline__ f32* element(u32 row, u32 column) const {
        if (first_row + row >= rows || first_column + column >= columns) return nullptr;
        return at + (u64)(first_row + row) * pitch + first_column + column;
    }
};

// The chains begin with what is there, or with +0.
template <class T>
static __device__ __forceinline__ void begin(f32 (&acc)[T::ROWS][T::COLUMNS], const Target& target,
                                             bool accumulate) {
    UNROLL for (u32 i = 0; i < T::ROWS; ++i) {
        UNROLL for (u32 j = 0; j < T::COLUMNS; ++j) {
            const f32* from = accumulate ? target.element(T::row(i), T::column(j)) : nullptr;
            acc[i][j] = from ? *from : 0.0f;
        }
    }
}

template <class T>
static __device__ __forceinline__ void end(const f32 (&acc)[T::ROWS][T::COLUMNS],
                                           const Target& target) {
    const bool aligned = target.columns % QUAD == 0 && target.pitch % QUAD == 0;
    UNROLL for (u32 i = 0; i < T::ROWS; ++i) {
        UNROLL for (u32 quad = 0; quad < T::COLUMNS / QUAD; ++quad) {
            const u32 row = T::row(i), column = T::column(quad * QUAD);
            f32* to = target.element(row, column);
            if (!to) continue;
            Four values;
            UNROLL for (u32 e = 0; e < QUAD; ++e) values.v[e] = acc[i][quad * QUAD + e];
            store_four(to, values, target.columns - target.first_column - column, aligned);
        }
    }
}
