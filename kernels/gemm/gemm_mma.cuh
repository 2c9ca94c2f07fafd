// A block's tile of a matrix product on tensor cores: y (ROWS × COLUMNS) = Σ_κ A[m, κ]·B[κ, n], f32 in
// memory, tf32, bfloat16 or half operands, f32 accumulators.
//
// Terms pass through shared memory in slices of 32 and two stages, one of which is filled while the other is
// multiplied. f32 goes through registers, where it is rounded to the operands' format. One barrier a slice.
//
// So an element is rounded once, by the thread that brings it, not by each warp that multiplies it (of a
// 128 × 128 tile two or four do). Asynchronous copies can't round: rounded in place behind them, each element
// would be read and written once more, half as much traffic again for shared memory, which tf32 keeps as
// busy as tensor cores, or busier. What they would spare is registers; instead, of tf32 half a slice is on
// its way at a time, so that two blocks of 128 × 128 share a multiprocessor's registers. Of 16 bits half a
// slice would be the terms of a single instruction, too few to hide a load behind.
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
//
// Four: four neighbouring elements, which `round` makes of as many f32. PARTS: in how many parts a slice is loaded.

struct ComputeTf32 {
    typedef u32 Element; // an f32's bits, of which the lower 13 are zero
    typedef uint4 Four;
    static constexpr u32 STEP = 8, PARTS = 2;
    static __device__ __forceinline__ Four round(const float4& v) {
        return make_uint4(to_tf32(v.x), to_tf32(v.y), to_tf32(v.z), to_tf32(v.w));
    }
    static __device__ __forceinline__ void multiply(f32 (&d)[4], const u32 (&a)[4],
                                                    const u32 (&b)[2]) {
        mma_tf32(d, a, b);
    }
};

// What types of 16 bits share.
struct Compute16 {
    typedef u16 Element;
    typedef uint2 Four;
    static constexpr u32 STEP = 16, PARTS = 1;
};

struct ComputeBf16 : Compute16 {
    static constexpr u32 INFINITE = 0x7f80; // the bits of +Inf
    static __device__ __forceinline__ Four round(const float4& v) {
        return make_uint2(to_bf16x2(v.x, v.y), to_bf16x2(v.z, v.w));
    }
    static __device__ __forceinline__ void multiply(f32 (&d)[4], const u32 (&a)[4],
                                                    const u32 (&b)[2]) {
        mma_bf16(d, a, b);
    }
};

struct ComputeF16 : Compute16 {
    static constexpr u32 INFINITE = 0x7c00;
    static __device__ __forceinline__ Four round(const float4& v) {
        return make_uint2(to_f16x2(v.x, v.y), to_f16x2(v.z, v.w));
    }
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
    static constexpr u32 STEP = Type::STEP, PARTS = Type::PARTS, STAGES = 2;
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
// Coordinates from which every tap lies outside.
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
// `vector`, whether four neighbours lie in 16 aligned bytes (all inside or all outside); a `State` for
// where along the chunk's line an element is, with `begin(first)` and `step(state)`, the next element's;
// `at(line, state)`, the element's place; `next(state)`, to the next slice.

// Where an element lies in memory, if it is `inside`; else it counts as zero. (An address that is null instead
// would have to be computed, and compared with null, before it is known to be needed.)
struct MmaFrom {
    const f32* address;
    bool inside;
};

template <class T, u32 WIDTH, bool BY_TERM, class Source> struct MmaLoader {
    // Chunks in a line: a row's 32 terms, or a term's rows.
    static constexpr u32 CHUNKS = BY_TERM ? MMA_SLICE / 4 : WIDTH / 4;
    static constexpr u32 LINES = T::THREADS / CHUNKS;
    static constexpr u32 PASSES = WIDTH * MMA_SLICE / 4 / T::THREADS;
    static constexpr u32 PART = PASSES / T::PARTS; // of a part of a slice
    static constexpr u32 PITCH = LINES * (BY_TERM ? MMA_SLICE : WIDTH); // from chunk to chunk in a stage
    static_assert(LINES % 8 == 0, "swizzles repeat after eight lines");

    Source& source;
    u32 first; // element of the line
    u32 line;
    u32 place; // of the first chunk in a stage
    typename Source::State state;

    __device__ __forceinline__ explicit MmaLoader(Source& source)
        : source(source), first(threadIdx.x % CHUNKS * 4), line(threadIdx.x / CHUNKS),
          place(BY_TERM ? place_by_term<T>(line, first) : place_by_row<T, WIDTH>(line, first)),
          state(source.begin(first)) {}

    // Loads a part of the next slice into registers; after the last part the slice after it is the next.
    __device__ MMA_INLINE void load(float4 (&values)[PART], u32 part) {
        const u32 at = line + part * (PART * LINES);
        if (source.vector) {
            UNROLL for (u32 pass = 0; pass < PART; ++pass) {
                const MmaFrom from = source.at(at + pass * LINES, state);
                values[pass] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                if (from.inside) values[pass] = *reinterpret_cast<const float4*>(from.address);
            }
        } else {
            typename Source::State element = state;
            UNROLL for (u32 i = 0; i < 4; ++i) {
                UNROLL for (u32 pass = 0; pass < PART; ++pass) {
                    const MmaFrom from = source.at(at + pass * LINES, element);
                    f32 value = 0.0f;
                    if (from.inside) value = *from.address;
                    if (i == 0) values[pass].x = value;
                    if (i == 1) values[pass].y = value;
                    if (i == 2) values[pass].z = value;
                    if (i == 3) values[pass].w = value;
                }
                source.step(element);
            }
        }
        if (part + 1 == T::PARTS) source.next(state);
    }

    // Rounds them into a stage.
    __device__ MMA_INLINE void store(typename T::Element* stage, const float4 (&values)[PART],
                                     u32 part) const {
        typename T::Element* to = stage + (place + part * (PART * PITCH));
        UNROLL for (u32 pass = 0; pass < PART; ++pass) {
            *reinterpret_cast<typename T::Compute::Four*>(to + pass * PITCH) =
                T::Compute::round(values[pass]);
        }
    }
};

// ---- fragments ----
//
// Fragments begin at multiples of 16 rows and STEP terms. Behind a lane's place in the first of them others lie
// where these numbers add to it, or XOR it where the swizzle is: what depends on the lane is computed once.

static __device__ __forceinline__ u32 mma_lane() { return threadIdx.x % 32; }

// Where this warp's part of the tile begins.
template <class T> static __device__ __forceinline__ u32 warp_row() {
    return threadIdx.x / 32 / T::ACROSS * T::WARP_ROWS;
}
template <class T> static __device__ __forceinline__ u32 warp_column() {
    return threadIdx.x / 32 % T::ACROSS * T::WARP_COLUMNS;
}

// Fragment number i of the warp's rows of A, STEP terms from `term`, as they lie in shared memory.
template <class T, bool BY_TERM>
static __device__ MMA_INLINE void load_a(u32 (&a)[4], const typename T::Element* stage, u32 i,
                                         u32 term) {
    const u32 lane = mma_lane(), row = warp_row<T>();
    if constexpr (BY_TERM) {
        const u32 place = place_by_term<T>(row + lane % 16, lane / 16 * (T::STEP / 2));
        load_matrices(a, stage + ((place ^ term) + 16 * MMA_SLICE * i));
    } else if constexpr (sizeof(typename T::Element) == 2) {
        const u32 place =
            place_by_row<T, T::ROWS>(lane / 16 * 8 + lane % 8, row + lane / 8 % 2 * 8);
        load_transposed(a, stage + ((place ^ 16 * i) + T::ROWS * term));
    } else {
        const u32 place = place_by_row<T, T::ROWS>(lane % 4, row + lane / 4);
        UNROLL for (u32 r = 0; r < 4; ++r) {
            a[r] = stage[(place ^ (16 * i + r % 2 * 8)) + T::ROWS * (term + r / 2 * 4)];
        }
    }
}

// 16 columns of B, the warp's pair number j of fragments.
template <class T, bool BY_TERM>
static __device__ MMA_INLINE void load_b(u32 (&b)[2][2], const typename T::Element* stage, u32 j,
                                         u32 term) {
    const u32 lane = mma_lane(), column = warp_column<T>();
    u32 out[4];
    if constexpr (BY_TERM) {
        const u32 place = place_by_term<T>(column + lane / 16 * 8 + lane % 8,
                                           lane / 8 % 2 * (T::STEP / 2));
        load_matrices(out, stage + ((place ^ term) + 16 * MMA_SLICE * j));
    } else if constexpr (sizeof(typename T::Element) == 2) {
        const u32 place =
            place_by_row<T, T::COLUMNS>(lane / 8 % 2 * 8 + lane % 8, column + lane / 16 * 8);
        load_transposed(out, stage + ((place ^ 16 * j) + T::COLUMNS * term));
    } else {
        const u32 place = place_by_row<T, T::COLUMNS>(lane % 4, column + lane / 4);
        UNROLL for (u32 r = 0; r < 4; ++r) {
            out[r] = stage[(place ^ (16 * j + r / 2 * 8)) + T::COLUMNS * (term + r % 2 * 4)];
        }
    }
    UNROLL for (u32 r = 0; r < 4; ++r) b[r / 2][r % 2] = out[r];
}

// ---- the product ----

template <class T> using MmaSums = f32[T::DOWN][T::OVER][4];

// STEP terms from `term` of a slice in shared memory onto the sums.
template <class T, bool A_BY_TERM, bool B_BY_TERM>
static __device__ MMA_INLINE void multiply_step(const typename T::Element* stage_a,
                                                const typename T::Element* stage_b,
                                                MmaSums<T>& sums, u32 term) {
    u32 a[T::DOWN][4], b[T::OVER / 2][2][2];
    UNROLL for (u32 i = 0; i < T::DOWN; ++i) {
        load_a<T, A_BY_TERM>(a[i], stage_a, i, term);
    }
    UNROLL for (u32 j = 0; j < T::OVER / 2; ++j) {
        load_b<T, B_BY_TERM>(b[j], stage_b, j, term);
    }
    UNROLL for (u32 i = 0; i < T::DOWN; ++i) {
        UNROLL for (u32 j = 0; j < T::OVER; ++j) {
            T::Compute::multiply(sums[i][j], a[i], b[j / 2][j % 2]);
        }
    }
}

// A part of a slice.
template <class T, bool A_BY_TERM, bool B_BY_TERM>
static __device__ __forceinline__ void multiply_part(const typename T::Element* stage_a,
                                                     const typename T::Element* stage_b,
                                                     MmaSums<T>& sums, u32 part) {
    constexpr u32 TERMS = MMA_SLICE / T::PARTS;
    UNROLL for (u32 term = 0; term < TERMS; term += T::STEP) {
        multiply_step<T, A_BY_TERM, B_BY_TERM>(stage_a, stage_b, sums, part * TERMS + term);
    }
}

// sums += A·B over `slices` slices. `prepare(n)` is called once the slice before n has been loaded, all of the
// block's threads together; what it writes is there when n is.
template <class T, bool A_BY_TERM, bool B_BY_TERM, class A, class B, class Inner, class Prepare>
static __device__ __forceinline__ void multiply_tile(MmaShared<T>& shared, A& source_a, B& source_b,
                                                     u32 slices, MmaSums<T>& sums, const Inner& inner,
                                                     const Prepare& prepare) {
    MmaLoader<T, T::ROWS, A_BY_TERM, A> a(source_a);
    MmaLoader<T, T::COLUMNS, B_BY_TERM, B> b(source_b);
    if (slices == 0) return;
    float4 next_a[decltype(a)::PART], next_b[decltype(b)::PART];
    UNROLL for (u32 part = 0; part < T::PARTS; ++part) {
        a.load(next_a, part);
        b.load(next_b, part);
        a.store(shared.a[0], next_a, part);
        b.store(shared.b[0], next_b, part);
    }
    ROLLED for (u32 slice = 0; slice < slices; ++slice) {
        const u32 read = slice % 2, write = 1 - read;
        __syncthreads();
        const bool more = slice + 1 < slices;
        bool done = false;
        if constexpr (!Inner::NONE) {
            // Before the next slice is loaded, so that both use the same registers.
            done = inner.is_marked(slice);
            if (done) {
                inner.template multiply_slice<A_BY_TERM, B_BY_TERM>(
                    shared.a[read], shared.b[read], sums, slice);
            }
        }
        UNROLL for (u32 part = 0; part < T::PARTS; ++part) {
            if (more) {
                a.load(next_a, part);
                b.load(next_b, part);
            }
            if (part + 1 == T::PARTS) prepare(slice + T::STAGES);
            if (!done) {
                multiply_part<T, A_BY_TERM, B_BY_TERM>(shared.a[read], shared.b[read], sums, part);
            }
            if (more) {
                a.store(shared.a[write], next_a, part);
                b.store(shared.b[write], next_b, part);
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
