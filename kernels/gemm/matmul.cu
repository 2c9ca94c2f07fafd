// Products of matrices of a batch (src/ops/matmul) in exact fp32 (gemm.cuh), forward and backward.
//
// Every element is one chain of fmaf in the order of the terms, from +0 or from what is there: the CPU's
// bits. A block computes a tile of one matrix, for 64 or 32 multiply-adds a float that it reads.
// Deterministic: each element has one owner and one order.
//
// Grid: (⌈rows/M⌉ · matrices, ⌈columns/N⌉) for the capacity; blocks of images that aren't there do nothing.
#include "common/run_state.cuh"
#include "fault/tile_faults.cuh"
#include "gemm/target.cuh"

struct MatmulArgs {
    u64 a;
    u64 b;
    u64 c;       // (images, batches, rows, columns)
    u64 state;   // RunState
    u64 faults;  // FaultTable, read by armed kernels only
    u32 batches; // matrices of an image
    u32 rows, columns, terms;
    u32 accumulate; // add to what c holds
};

// How the factors of C = A·B lie in memory.
enum MatmulForm {
    PLAIN,      // A (rows, terms), B (terms, columns)
    TRANSPOSED, // A (rows, terms), B (columns, terms)
    OUTER,      // A (terms, rows), B (terms, columns)
};

// A factor (lines, terms): terms lie side by side. Lines are rows of C, or columns.
template <class T, u32 LINES> struct MatrixTerms {
    typedef AlongTerms<T, LINES> Carry;
    const f32* from;
    u32 lines, terms, first, term;
    bool whole; // quads are

    __device__ __forceinline__ MatrixTerms(const f32* from, u32 lines, u32 terms, u32 first)
        : from(from), lines(lines), terms(terms), first(first), term(Carry::term()),
          whole(terms % QUAD == 0) {}

    __device__ __forceinline__ Four quad(u32 slot) const {
        const u32 line = first + Carry::line(slot);
        if (line >= lines || term >= terms) return {};
        return load_four(from + (u64)line * terms + term, terms - term, whole);
    }
    __device__ __forceinline__ void next() { term += SLICE; }
};

// A factor (terms, lines): lines lie side by side.
template <class T, u32 LINES> struct MatrixLines {
    typedef AlongLines<T, LINES> Carry;
    const f32* from; // of this thread's lines
    u32 lines, terms, count, first;
    bool whole;

    __device__ __forceinline__ MatrixLines(const f32* from, u32 lines, u32 terms, u32 first_line)
        : from(from + first_line + Carry::line()), lines(lines), terms(terms), count(0), first(0),
          whole(lines % QUAD == 0) {
        const u32 line = first_line + Carry::line();
        if (line < lines) count = min(QUAD, lines - line);
    }

    __device__ __forceinline__ Four quad(u32 slot) const {
        const u32 term = first + Carry::term(slot);
        if (term >= terms || count == 0) return {};
        return load_four(from + (u64)term * lines, count, whole);
    }
    __device__ __forceinline__ void next() { first += SLICE; }
};

// What faults make of this thread's sums, in a loop over what it stored: unrolled, the search took registers
// from the sums.
template <class T>
static __device__ __forceinline__ void hit_outputs(const Faults& faults, const Target& target, u32 batches,
                                                   u32 batch) {
    const u64 pixels = (u64)batches * target.rows;
    const u32 first_row = batch * target.rows + target.first_row;
    ROLLED for (u32 each = 0; each < T::ROWS * T::COLUMNS; ++each) {
        const u32 row = T::row(each / T::COLUMNS), column = T::column(each % T::COLUMNS);
        f32* value = target.element(row, column);
        if (!value) continue;
        const u64 element = (target.first_column + column) * pixels + first_row + row;
        *value = apply_faults(faults, element, *value);
    }
}

template <class T, MatmulForm FORM, Armed ARMED>
static __device__ __forceinline__ void matrix(const MatmulArgs& args, GemmShared<T>& shared) {
    const u32 tiles = (args.rows + T::M - 1) / T::M;
    const u32 number = blockIdx.x / tiles, image = number / args.batches;
    if (image >= ptr<const RunState>(args.state)->images) return;
    const u32 first_row = blockIdx.x % tiles * T::M, first_column = blockIdx.y * T::N;
    const f32* a = ptr<const f32>(args.a) + (u64)number * args.rows * args.terms;
    const f32* b = ptr<const f32>(args.b) + (u64)number * args.columns * args.terms;
    const Target target = {ptr<f32>(args.c) + (u64)number * args.rows * args.columns,
                           args.rows, args.columns, args.columns, first_row, first_column};
    f32 acc[T::ROWS][T::COLUMNS];
    begin<T>(acc, target, args.accumulate);
    if constexpr (FORM == PLAIN) {
        multiply(shared, args.terms, acc, MatrixTerms<T, T::M>(a, args.rows, args.terms, first_row),
                 MatrixLines<T, T::N>(b, args.columns, args.terms, first_column), NoFaults{});
    } else if constexpr (FORM == TRANSPOSED) {
        multiply(shared, args.terms, acc, MatrixTerms<T, T::M>(a, args.rows, args.terms, first_row),
                 MatrixTerms<T, T::N>(b, args.columns, args.terms, first_column), NoFaults{});
    } else {
        multiply(shared, args.terms, acc, MatrixLines<T, T::M>(a, args.rows, args.terms, first_row),
                 MatrixLines<T, T::N>(b, args.columns, args.terms, first_column), NoFaults{});
    }
    end<T>(acc, target);
    if constexpr (ARMED == ARMED_OUTPUT) {
        const u32 rows = number * args.rows; // of the matrices before
        const OutputTile tile = {args.batches * args.rows, rows + first_row,
                                 rows + min(first_row + T::M, args.rows), first_column,
                                 min(first_column + T::N, args.columns)};
        if (hits_tile(args.faults, tile)) {
            hit_outputs<T>(faults_of(args.faults, image), target, args.batches, number % args.batches);
        }
    }
}

// The kernels of a tile; the last arguments are the launch bounds of `_armed`.
#define MATMUL_TILE(size, T, threads, ...)                                                          \
    KERNEL(matmul_plain_f32_##size, MatmulArgs, GemmShared<T>, threads) {                          \
        matrix<T, PLAIN, CLEAN>(args, shared);                                                     \
    }                                                                                              \
    KERNEL(matmul_plain_f32_##size##_armed, MatmulArgs, GemmShared<T>, __VA_ARGS__) {              \
        matrix<T, PLAIN, ARMED_OUTPUT>(args, shared);                                              \
    }                                                                                              \
    KERNEL(matmul_transposed_f32_##size, MatmulArgs, GemmShared<T>, threads) {                     \
        matrix<T, TRANSPOSED, CLEAN>(args, shared);                                                \
    }                                                                                              \
    KERNEL(matmul_transposed_f32_##size##_armed, MatmulArgs, GemmShared<T>, __VA_ARGS__) {         \
        matrix<T, TRANSPOSED, ARMED_OUTPUT>(args, shared);                                         \
    }                                                                                              \
    KERNEL(matmul_outer_f32_##size, MatmulArgs, GemmShared<T>, threads) {                          \
        matrix<T, OUTER, CLEAN>(args, shared);                                                     \
    }

MATMUL_TILE(128x128, Large, 256, 256)
MATMUL_TILE(64x64, Small, 128, 128, 4)
