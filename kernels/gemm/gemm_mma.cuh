// A block's tile of a matrix product on tensor cores: y (ROWS × COLUMNS) = Σ_κ A[m, κ]·B[κ, n], f32 in
// memory, tf32, bfloat16 or half operands, f32 accumulators.
//
// Terms pass through shared memory in slices of 32. tf32: 16-byte asynchronous copies straight into
// three stages of f32, which are rounded on their way into a fragment. 16-bit types: f32 goes through
// registers, where it is rounded, into two stages. One barrier a slice.
//
// An operand lies in shared memory as in global memory, so that 16 bytes stay 16 bytes: by term (a row's
// 32 terms side by side) or by row (a term's rows side by side). Chunks of 16 bytes are swizzled: the
// chunk's number XOR bits of the line's, so that neither filling nor reading meets a bank twice.
//
// Bytes of a slice: 128·(ROWS + COLUMNS) for 64·ROWS·COLUMNS operations: 32 a byte for 128 × 128.
// Deterministic: an element is added up by one warp, slice by slice.
#pragma once
#include "fault/fault.cuh"
#include "gemm/mma.cuh"

// Inlined on the GPU, where arrays have to stay in registers; a call under emulation, which compiles in a
// fraction of the time.
#ifdef __CUDACC__
#define MMA_INLINE __forceinline__
#else
#define MMA_INLINE __noinline__
#endif

enum : u32 { MMA_SLICE = 32 };

// ---- operand types ----

struct ComputeTf32 {
    typedef u32 Element; // the f32's bits
    static constexpr u32 STEP = 8, STAGES = 3;
    static constexpr bool ASYNC = true;
    static __device__ __forceinline__ u32 operand(u32 raw) { return to_tf32(__uint_as_float(raw)); }
    static __device__ __forceinline__ void multiply(f32 (&d)[4], const u32 (&a)[4],
                                                    const u32 (&b)[2]) {
        mma_tf32(d, a, b);
    }
};

// What types of 16 bits share; they are rounded on their way into a stage.
struct Compute16 {
    typedef u16 Element;
    static constexpr u32 STEP = 16, STAGES = 2;
    static constexpr bool ASYNC = false;
    static __device__ __forceinline__ u32 operand(u32 raw) { return raw; }
};

struct ComputeBf16 : Compute16 {
    static constexpr u32 INFINITE = 0x7f80; // the bits of +Inf
    static __device__ __forceinline__ u32 pack(f32 low, f32 high) { return to_bf16x2(low, high); }
    static __device__ __forceinline__ void multiply(f32 (&d)[4], const u32 (&a)[4],
                                                    const u32 (&b)[2]) {
        mma_bf16(d, a, b);
    }
};

struct ComputeF16 : Compute16 {
    static constexpr u32 INFINITE = 0x7c00;
    static __device__ __forceinline__ u32 pack(f32 low, f32 high) { return to_f16x2(low, high); }
    static __device__ __forceinline__ void multiply(f32 (&d)[4], const u32 (&a)[4],
                                                    const u32 (&b)[2]) {
        mma_f16(d, a, b);
    }
};

// ---- tiles ----

// The tile of a block, and of each of its warps (rows × columns).
template <class Type, u32 ROWS_, u32 COLUMNS_, u32 WARP_ROWS_, u32 WARP_COLUMNS_> struct MmaTile {
    typedef Type Compute;
    typedef typename Type::Element Element;
    static constexpr u32 ROWS = ROWS_, COLUMNS = COLUMNS_;
    static constexpr u32 WARP_ROWS = WARP_ROWS_, WARP_COLUMNS = WARP_COLUMNS_;
    static constexpr u32 ACROSS = COLUMNS / WARP_COLUMNS;
    static constexpr u32 THREADS = 32 * (ROWS / WARP_ROWS) * ACROSS;
    static constexpr u32 STEP = Type::STEP, STAGES = Type::STAGES;
    // Fragments of a warp: 16 rows, and 8 columns each.
    static constexpr u32 DOWN = WARP_ROWS / 16, OVER = WARP_COLUMNS / 8;
    static_assert(OVER % 2 == 0, "fragments of B are loaded in pairs");
};

// src/ops/conv2d/tensor_core.rs says which layer takes which.
template <class Type> using MmaLarge = MmaTile<Type, 128, 128, 64, 32>;
template <class Type> using MmaTall = MmaTile<Type, 128, 64, 32, 32>;
template <class Type> using MmaSmall = MmaTile<Type, 64, 64, 32, 32>;

// Where a pixel lies in a tensor: `base` is its first element there (or that of the corner of its
// window, which may lie outside), `h` and `w` the same as coordinates.
struct __align__(16) MmaPlace {
    i64 base;
    i32 h, w;
};
// Coordinates that every tap leaves outside.
enum : i32 { MMA_NOWHERE = -(1 << 30) };

template <class T> struct MmaShared {
    __align__(128) typename T::Element a[T::STAGES][T::ROWS * MMA_SLICE];
    __align__(128) typename T::Element b[T::STAGES][T::COLUMNS * MMA_SLICE];
    MmaPlace places[128]; // of the tile's rows, or of four slices' terms
    u32 marked[32];       // slices that hold a fault, modulo 1024; used by inner faults
};

// The place of an element in a stage, in elements.
template <class T> static __device__ __forceinline__ u32 place_by_term(u32 row, u32 term) {
    if constexpr (sizeof(typename T::Element) == 4) {
        return row * 32 + (((term >> 2) ^ (row & 7)) << 2 | (term & 3));
    } else {
        return row * 32 + (((term >> 3) ^ (row >> 1 & 3)) << 3 | (term & 7));
    }
}
template <class T, u32 WIDTH>
static __device__ __forceinline__ u32 place_by_row(u32 term, u32 row) {
    if constexpr (sizeof(typename T::Element) == 4) {
        return term * WIDTH + (((row >> 2) ^ (term & 3) << 1) << 2 | (row & 3));
    } else {
        return term * WIDTH + (((row >> 3) ^ (term & 7)) << 3 | (row & 7));
    }
}

// ---- filling a stage ----
//
// A thread fills PASSES chunks of four elements a slice. `Source` says where they lie in memory:
// `vector`, whether four neighbours lie in 16 aligned bytes (all inside or all outside); `base`, any
// address; a `State` for where along the chunk's line an element is, with `begin(first)` and
// `step(state)`, the next element's; `at(line, state)`, the element's address, or null where it counts
// as zero; `next(state)`, to the next slice.

template <class T, u32 WIDTH, bool BY_TERM, class Source> struct MmaLoader {
    // Chunks in a line: a row's 32 terms, or a term's rows.
    static constexpr u32 CHUNKS = BY_TERM ? MMA_SLICE / 4 : WIDTH / 4;
    static constexpr u32 LINES = T::THREADS / CHUNKS;
    static constexpr u32 PASSES = WIDTH * MMA_SLICE / 4 / T::THREADS;

    Source& source;
    u32 first; // element of the line
    u32 line;
    typename Source::State state;

    __device__ __forceinline__ explicit MmaLoader(Source& source)
        : source(source), first(threadIdx.x % CHUNKS * 4), line(threadIdx.x / CHUNKS),
          state(source.begin(first)) {}

    __device__ __forceinline__ u32 place(u32 pass) const {
        const u32 at = line + pass * LINES;
        if constexpr (BY_TERM) return place_by_term<T>(at, first);
        return place_by_row<T, WIDTH>(at, first);
    }

    // Begins the copies of the next slice.
    __device__ MMA_INLINE void fill(typename T::Element* stage) {
        if (source.vector) {
            UNROLL for (u32 pass = 0; pass < PASSES; ++pass) {
                const f32* from = source.at(line + pass * LINES, state);
                copy_async<16>(stage + place(pass), from ? from : source.base, from ? 16 : 0);
            }
        } else {
            typename Source::State element = state;
            UNROLL for (u32 i = 0; i < 4; ++i) {
                UNROLL for (u32 pass = 0; pass < PASSES; ++pass) {
                    const f32* from = source.at(line + pass * LINES, element);
                    copy_async<4>(stage + place(pass) + i, from ? from : source.base, from ? 4 : 0);
                }
                source.step(element);
            }
        }
        source.next(state);
    }

    // Loads the next slice into registers.
    __device__ MMA_INLINE void load(float4 (&values)[PASSES]) {
        if (source.vector) {
            UNROLL for (u32 pass = 0; pass < PASSES; ++pass) {
                const f32* from = source.at(line + pass * LINES, state);
                values[pass] = from ? *reinterpret_cast<const float4*>(from)
                                    : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            }
        } else {
            typename Source::State element = state;
            UNROLL for (u32 i = 0; i < 4; ++i) {
                UNROLL for (u32 pass = 0; pass < PASSES; ++pass) {
                    const f32* from = source.at(line + pass * LINES, element);
                    const f32 value = from ? *from : 0.0f;
                    if (i == 0) values[pass].x = value;
                    if (i == 1) values[pass].y = value;
                    if (i == 2) values[pass].z = value;
                    if (i == 3) values[pass].w = value;
                }
                source.step(element);
            }
        }
        source.next(state);
    }

    // Rounds them into a stage.
    __device__ MMA_INLINE void store(typename T::Element* stage, const float4 (&values)[PASSES]) const {
        UNROLL for (u32 pass = 0; pass < PASSES; ++pass) {
            const float4 v = values[pass];
            *reinterpret_cast<uint2*>(stage + place(pass)) =
                make_uint2(T::Compute::pack(v.x, v.y), T::Compute::pack(v.z, v.w));
        }
    }
};

// ---- fragments ----

static __device__ __forceinline__ u32 mma_lane() { return threadIdx.x % 32; }

// The 16 rows from `row` of A, STEP terms from `term`, as they lie in shared memory.
template <class T, bool BY_TERM>
static __device__ MMA_INLINE void load_a(u32 (&a)[4], const typename T::Element* stage, u32 row,
                                              u32 term) {
    const u32 lane = mma_lane();
    if constexpr (BY_TERM) {
        const u32 at = place_by_term<T>(row + lane % 16, term + lane / 16 * (T::STEP / 2));
        load_matrices(a, stage + at);
    } else if constexpr (sizeof(typename T::Element) == 2) {
        const u32 at = place_by_row<T, T::ROWS>(term + lane / 16 * 8 + lane % 8,
                                                row + lane / 8 % 2 * 8);
        load_transposed(a, stage + at);
    } else {
        UNROLL for (u32 i = 0; i < 4; ++i) {
            a[i] = stage[place_by_row<T, T::ROWS>(term + lane % 4 + i / 2 * 4,
                                                  row + lane / 4 + i % 2 * 8)];
        }
    }
}

// The 16 columns from `column` of B, as two fragments.
template <class T, bool BY_TERM>
static __device__ MMA_INLINE void load_b(u32 (&b)[2][2], const typename T::Element* stage,
                                              u32 column, u32 term) {
    const u32 lane = mma_lane();
    if constexpr (!BY_TERM && sizeof(typename T::Element) == 4) {
        UNROLL for (u32 i = 0; i < 4; ++i) {
            b[i / 2][i % 2] = stage[place_by_row<T, T::COLUMNS>(term + lane % 4 + i % 2 * 4,
                                                                column + lane / 4 + i / 2 * 8)];
        }
    } else {
        const u32 n = column + lane / 16 * 8, half = lane / 8 % 2;
        u32 out[4];
        if constexpr (BY_TERM) {
            load_matrices(out, stage + place_by_term<T>(n + lane % 8, term + half * (T::STEP / 2)));
        } else {
            load_transposed(
                out, stage + place_by_row<T, T::COLUMNS>(term + half * 8 + lane % 8, n));
        }
        UNROLL for (u32 i = 0; i < 4; ++i) b[i / 2][i % 2] = out[i];
    }
}

// ---- the product ----

template <class T> using MmaSums = f32[T::DOWN][T::OVER][4];

// Where this warp's part of the tile begins.
template <class T> static __device__ __forceinline__ u32 warp_row() {
    return threadIdx.x / 32 / T::ACROSS * T::WARP_ROWS;
}
template <class T> static __device__ __forceinline__ u32 warp_column() {
    return threadIdx.x / 32 % T::ACROSS * T::WARP_COLUMNS;
}

// STEP terms from `term` of a slice in shared memory onto the sums.
template <class T, bool A_BY_TERM, bool B_BY_TERM>
static __device__ MMA_INLINE void multiply_step(const typename T::Element* stage_a,
                                                const typename T::Element* stage_b,
                                                MmaSums<T>& sums, u32 term) {
    u32 a[T::DOWN][4], b[T::OVER / 2][2][2];
    UNROLL for (u32 i = 0; i < T::DOWN; ++i) {
        load_a<T, A_BY_TERM>(a[i], stage_a, warp_row<T>() + 16 * i, term);
        UNROLL for (u32 r = 0; r < 4; ++r) a[i][r] = T::Compute::operand(a[i][r]);
    }
    UNROLL for (u32 j = 0; j < T::OVER / 2; ++j) {
        load_b<T, B_BY_TERM>(b[j], stage_b, warp_column<T>() + 16 * j, term);
        UNROLL for (u32 r = 0; r < 4; ++r) {
            b[j][r / 2][r % 2] = T::Compute::operand(b[j][r / 2][r % 2]);
        }
    }
    UNROLL for (u32 i = 0; i < T::DOWN; ++i) {
        UNROLL for (u32 j = 0; j < T::OVER; ++j) {
            T::Compute::multiply(sums[i][j], a[i], b[j / 2][j % 2]);
        }
    }
}

// One slice.
template <class T, bool A_BY_TERM, bool B_BY_TERM>
static __device__ __forceinline__ void multiply_slice(const typename T::Element* stage_a,
                                                      const typename T::Element* stage_b,
                                                      MmaSums<T>& sums) {
    UNROLL for (u32 term = 0; term < MMA_SLICE; term += T::STEP) {
        multiply_step<T, A_BY_TERM, B_BY_TERM>(stage_a, stage_b, sums, term);
    }
}

// sums += A·B over `slices` slices. `prepare(n)` is called STAGES slices ahead of the slice n that is
// about to be filled, all of the block's threads together; what it writes is there when that happens.
template <class T, bool A_BY_TERM, bool B_BY_TERM, class A, class B, class Inner, class Prepare>
static __device__ __forceinline__ void multiply_tile(MmaShared<T>& shared, A& source_a, B& source_b,
                                                     u32 slices, MmaSums<T>& sums, const Inner& inner,
                                                     const Prepare& prepare) {
    MmaLoader<T, T::ROWS, A_BY_TERM, A> a(source_a);
    MmaLoader<T, T::COLUMNS, B_BY_TERM, B> b(source_b);
    if constexpr (T::Compute::ASYNC) {
        UNROLL for (u32 stage = 0; stage < T::STAGES - 1; ++stage) {
            if (stage < slices) {
                a.fill(shared.a[stage]);
                b.fill(shared.b[stage]);
            }
            commit_copies();
        }
        u32 read = 0, write = T::STAGES - 1;
        ROLLED for (u32 slice = 0; slice < slices; ++slice) {
            wait_copies<T::STAGES - 2>();
            __syncthreads();
            if (slice + T::STAGES - 1 < slices) {
                a.fill(shared.a[write]);
                b.fill(shared.b[write]);
            }
            commit_copies();
            prepare(slice + T::STAGES);
            if constexpr (!Inner::NONE) {
                if (inner.is_marked(slice)) {
                    inner.template multiply_slice<A_BY_TERM, B_BY_TERM>(
                        shared.a[read], shared.b[read], sums, slice);
                } else {
                    multiply_slice<T, A_BY_TERM, B_BY_TERM>(shared.a[read], shared.b[read], sums);
                }
            } else {
                multiply_slice<T, A_BY_TERM, B_BY_TERM>(shared.a[read], shared.b[read], sums);
            }
            read = read + 1 == T::STAGES ? 0 : read + 1;
            write = write + 1 == T::STAGES ? 0 : write + 1;
        }
        wait_copies<0>();
    } else {
        float4 next_a[decltype(a)::PASSES], next_b[decltype(b)::PASSES];
        if (slices > 0) {
            a.load(next_a);
            b.load(next_b);
            a.store(shared.a[0], next_a);
            b.store(shared.b[0], next_b);
        }
        ROLLED for (u32 slice = 0; slice < slices; ++slice) {
            const u32 read = slice % 2, write = 1 - read;
            __syncthreads();
            const bool more = slice + 1 < slices;
            bool done = false;
            if constexpr (!Inner::NONE) {
                // Before the next slice is loaded, whose registers it takes.
                done = inner.is_marked(slice);
                if (done) {
                    inner.template multiply_slice<A_BY_TERM, B_BY_TERM>(
                        shared.a[read], shared.b[read], sums, slice);
                }
            }
            if (more) {
                a.load(next_a);
                b.load(next_b);
            }
            prepare(slice + T::STAGES);
            if (!done) {
                multiply_slice<T, A_BY_TERM, B_BY_TERM>(shared.a[read], shared.b[read], sums);
            }
            if (more) {
                a.store(shared.a[write], next_a);
                b.store(shared.b[write], next_b);
            }
        }
    }
}

// Calls begin(column) for every pair of neighbouring columns of the tile that this thread has sums of, then
// store(what that gave, row, column, first, second) for every row.
template <class T, class Begin, class Store>
static __device__ __forceinline__ void each_pair(const MmaSums<T>& sums, const Begin& begin,
                                                 const Store& store) {
    UNROLL for (u32 j = 0; j < T::OVER; ++j) {
        const u32 column = warp_column<T>() + mma_lane() % 4 * 2 + 8 * j;
        const auto columns = begin(column);
        UNROLL for (u32 i = 0; i < 2 * T::DOWN; ++i) {
            store(columns, warp_row<T>() + mma_lane() / 4 + 8 * i, column,
                  sums[i / 2][j][i % 2 * 2], sums[i / 2][j][i % 2 * 2 + 1]);
        }
    }
}
