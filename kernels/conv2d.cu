// 2-D convolution as an implicit GEMM in exact fp32, forward and backward; linear layers are its
// case of a 1×1 kernel. Shapes: x is (N, H, W, C), w is (R, S, C/G, O), y is (N, P, Q, O).
//
// Every element is one chain of fmaf in the order of κ, from +0: forward and input gradients give
// the same bits here, under emulation and on the CPU. Padding taps multiply by zero, as on every
// device, so that 0·Inf is NaN. Deterministic: each element has one owner and one order.
#include "conv2d.cuh"
#include "fault.cuh"
#include "run_state.cuh"

// A block of 256 threads computes a tile of 64 rows × 64 columns, 4 × 4 a thread, over slices of
// 16 terms that pass through shared memory. Bytes: the tile reads 2·64·16 floats a slice for
// 64·64·16 multiply-adds, 8 a byte.
enum { TILE = 64, SLICE = 16, THREADS = 256, PER_THREAD = 4 };

struct Conv2dShared {
    f32 a[SLICE][TILE + 4];
    f32 b[SLICE][TILE + 4];
};

// The tile loop that the three passes share: acc[i][j] = Σ_κ A(row, κ)·B(κ, column), for row =
// tile row + 4·(thread / 16) + i and column = tile column + 4·(thread % 16) + j. `load_a` and
// `load_b` give elements; they are asked for κ < terms only, and give 0 outside the matrices.
template <class LoadA, class LoadB>
static __device__ __forceinline__ void multiply(Conv2dShared& shared, u32 terms,
                                                f32 (&acc)[PER_THREAD][PER_THREAD],
                                                const LoadA& load_a, const LoadB& load_b) {
    const u32 thread = threadIdx.x;
    const u32 row = thread / 16 * PER_THREAD;
    const u32 column = thread % 16 * PER_THREAD;
    for (u32 first = 0; first < terms; first += SLICE) {
        const u32 depth = min((u32)SLICE, terms - first);
        for (u32 at = thread; at < SLICE * TILE; at += THREADS) {
            // Neighbouring threads take neighbouring κ of A and neighbouring columns of B.
            const u32 a_term = at % SLICE, a_row = at / SLICE;
            if (a_term < depth) shared.a[a_term][a_row] = load_a(a_row, first + a_term);
            const u32 b_term = at / TILE, b_column = at % TILE;
            if (b_term < depth) shared.b[b_term][b_column] = load_b(first + b_term, b_column);
        }
        __syncthreads();
        for (u32 term = 0; term < depth; ++term) {
            f32 a[PER_THREAD], b[PER_THREAD];
            UNROLL for (u32 i = 0; i < PER_THREAD; ++i) a[i] = shared.a[term][row + i];
            UNROLL for (u32 j = 0; j < PER_THREAD; ++j) b[j] = shared.b[term][column + j];
            UNROLL for (u32 i = 0; i < PER_THREAD; ++i) {
                UNROLL for (u32 j = 0; j < PER_THREAD; ++j) {
                    acc[i][j] = fmaf(a[i], b[j], acc[i][j]);
                }
            }
        }
        __syncthreads();
    }
}

// y[m, n] = Σ_κ x[tap(m, κ)]·w[κ, n] + bias[n]; rows m are output pixels of all images.
template <class Epilogue>
static __device__ __forceinline__ void conv2d_forward(const Conv2dArgs& args, Conv2dShared& shared,
                                                      const Epilogue& epilogue) {
    const u32 images = ptr<const RunState>(args.state)->images;
    const u32 pixels = args.out_size[0] * args.out_size[1];
    const u32 rows = images * pixels;
    const u32 first_row = blockIdx.x * TILE;
    if (first_row >= rows) return;
    const u32 depth = args.in_channels / args.groups;
    const u32 columns = args.out_channels / args.groups;
    const u32 group = blockIdx.z;
    const u32 first_column = blockIdx.y * TILE;
    const f32* x = ptr<const f32>(args.x);
    const f32* w = ptr<const f32>(args.w);
    f32 acc[PER_THREAD][PER_THREAD] = {};
    const auto load_a = [&](u32 row, u32 term) -> f32 {
        if (first_row + row >= rows) return 0.0f;
        const Pixel pixel = pixel_of(first_row + row, args.out_size);
        const u32 tap = term / depth, channel = term % depth;
        const i64 h = tap_input(args, 0, pixel.row, tap / args.kernel[1]);
        const i64 v = tap_input(args, 1, pixel.column, tap % args.kernel[1]);
        if (h < 0 || v < 0) return 0.0f;
        const u64 at = ((u64)pixel.image * args.in_size[0] + h) * args.in_size[1] + v;
        return x[at * args.in_channels + group * depth + channel];
    };
    const auto load_b = [&](u32 term, u32 column) -> f32 {
        if (first_column + column >= columns) return 0.0f;
        return w[(u64)term * args.out_channels + group * columns + first_column + column];
    };
    multiply(shared, depth * args.kernel[0] * args.kernel[1], acc, load_a, load_b);
    f32* y = ptr<f32>(args.y);
    UNROLL for (u32 i = 0; i < PER_THREAD; ++i) {
        const u32 row = first_row + threadIdx.x / 16 * PER_THREAD + i;
        if (row >= rows) continue;
        UNROLL for (u32 j = 0; j < PER_THREAD; ++j) {
            const u32 column = first_column + threadIdx.x % 16 * PER_THREAD + j;
            if (column >= columns) continue;
            const u32 channel = group * columns + column;
            f32 value = acc[i][j];
            if (args.bias) {
                const bool silent = is_silent(args.silent_bias, channel);
                value = value + (silent ? 0.0f : ptr<const f32>(args.bias)[channel]);
            }
            const u64 element = (u64)channel * pixels + row % pixels;
            y[(u64)row * args.out_channels + channel] = epilogue(value, row / pixels, element);
        }
    }
}

// Grid: (⌈N·P·Q/64⌉, ⌈O/G/64⌉, G) for the capacity N; blocks beyond the valid images do nothing.
KERNEL(conv2d_forward_f32, Conv2dArgs, Conv2dShared, 256) {
    conv2d_forward(args, shared, NoFault{});
}

// The same, and each finished sum is looked up in the fault table.
KERNEL(conv2d_forward_f32_armed, Conv2dArgs, Conv2dShared, 256) {
    conv2d_forward(args, shared, OutputFault{args.faults});
}

// dx[q, c] (+)= Σ_{tap, o} dy[p(q, tap), o]·w[tap, c, o]; rows q are input pixels of all images, κ =
// tap·O/G + o. Grid: (⌈N·H·W/64⌉, ⌈C/G/64⌉, G). Taps that no output reads multiply by zero.
KERNEL(conv2d_input_gradient_f32, Conv2dArgs, Conv2dShared, 256) {
    const u32 images = ptr<const RunState>(args.state)->images;
    const u32 rows = images * args.in_size[0] * args.in_size[1];
    const u32 first_row = blockIdx.x * TILE;
    if (first_row >= rows) return;
    const u32 depth = args.out_channels / args.groups;
    const u32 columns = args.in_channels / args.groups;
    const u32 group = blockIdx.z;
    const u32 first_column = blockIdx.y * TILE;
    const f32* dy = ptr<const f32>(args.y);
    const f32* w = ptr<const f32>(args.w);
    f32* dx = ptr<f32>(args.result);
    f32 acc[PER_THREAD][PER_THREAD] = {};
    const u32 row0 = first_row + threadIdx.x / 16 * PER_THREAD;
    const u32 column0 = first_column + threadIdx.x % 16 * PER_THREAD;
    const auto at = [&](u32 i, u32 j) {
        return (u64)(row0 + i) * args.in_channels + group * columns + column0 + j;
    };
    const auto inside = [&](u32 i, u32 j) { return row0 + i < rows && column0 + j < columns; };
    UNROLL for (u32 i = 0; i < PER_THREAD; ++i) {
        UNROLL for (u32 j = 0; j < PER_THREAD; ++j) {
            if (args.accumulate && inside(i, j)) acc[i][j] = dx[at(i, j)];
        }
    }
    const auto load_a = [&](u32 row, u32 term) -> f32 {
        if (first_row + row >= rows) return 0.0f;
        const Pixel pixel = pixel_of(first_row + row, args.in_size);
        const u32 tap = term / depth, channel = term % depth;
        const i64 p = tap_output(args, 0, pixel.row, tap / args.kernel[1]);
        const i64 q = tap_output(args, 1, pixel.column, tap % args.kernel[1]);
        if (p < 0 || q < 0) return 0.0f;
        const u64 from = ((u64)pixel.image * args.out_size[0] + p) * args.out_size[1] + q;
        return dy[from * args.out_channels + group * depth + channel];
    };
    const auto load_b = [&](u32 term, u32 column) -> f32 {
        if (first_column + column >= columns) return 0.0f;
        const u32 tap = term / depth, channel = term % depth;
        const u64 from = (u64)tap * columns + first_column + column;
        return w[from * args.out_channels + group * depth + channel];
    };
    multiply(shared, depth * args.kernel[0] * args.kernel[1], acc, load_a, load_b);
    UNROLL for (u32 i = 0; i < PER_THREAD; ++i) {
        UNROLL for (u32 j = 0; j < PER_THREAD; ++j) {
            if (inside(i, j)) dx[at(i, j)] = acc[i][j];
        }
    }
}

// dw[κ, o] (+)= Σ_pixels x[tap(pixel, κ)]·dy[pixel, o]; rows are κ = tap·C/G + c, terms are the output
// pixels of all images in order. Grid: (⌈K/64⌉, ⌈O/G/64⌉, G).
KERNEL(conv2d_weight_gradient_f32, Conv2dArgs, Conv2dShared, 256) {
    const u32 images = ptr<const RunState>(args.state)->images;
    const u32 depth = args.in_channels / args.groups;
    const u32 rows = depth * args.kernel[0] * args.kernel[1];
    const u32 columns = args.out_channels / args.groups;
    const u32 group = blockIdx.z;
    const u32 first_row = blockIdx.x * TILE;
    const u32 first_column = blockIdx.y * TILE;
    const f32* x = ptr<const f32>(args.x);
    const f32* dy = ptr<const f32>(args.y);
    f32* dw = ptr<f32>(args.result);
    f32 acc[PER_THREAD][PER_THREAD] = {};
    const u32 row0 = first_row + threadIdx.x / 16 * PER_THREAD;
    const u32 column0 = first_column + threadIdx.x % 16 * PER_THREAD;
    const auto at = [&](u32 i, u32 j) {
        return (u64)(row0 + i) * args.out_channels + group * columns + column0 + j;
    };
    const auto inside = [&](u32 i, u32 j) { return row0 + i < rows && column0 + j < columns; };
    UNROLL for (u32 i = 0; i < PER_THREAD; ++i) {
        UNROLL for (u32 j = 0; j < PER_THREAD; ++j) {
            if (args.accumulate && inside(i, j)) acc[i][j] = dw[at(i, j)];
        }
    }
    const auto load_a = [&](u32 row, u32 term) -> f32 {
        if (first_row + row >= rows) return 0.0f;
        const u32 tap = (first_row + row) / depth, channel = (first_row + row) % depth;
        const Pixel pixel = pixel_of(term, args.out_size);
        const i64 h = tap_input(args, 0, pixel.row, tap / args.kernel[1]);
        const i64 v = tap_input(args, 1, pixel.column, tap % args.kernel[1]);
        if (h < 0 || v < 0) return 0.0f;
        const u64 from = ((u64)pixel.image * args.in_size[0] + h) * args.in_size[1] + v;
        return x[from * args.in_channels + group * depth + channel];
    };
    const auto load_b = [&](u32 term, u32 column) -> f32 {
        if (first_column + column >= columns) return 0.0f;
        return dy[(u64)term * args.out_channels + group * columns + first_column + column];
    };
    multiply(shared, images * args.out_size[0] * args.out_size[1], acc, load_a, load_b);
    UNROLL for (u32 i = 0; i < PER_THREAD; ++i) {
        UNROLL for (u32 j = 0; j < PER_THREAD; ++j) {
            if (inside(i, j)) dw[at(i, j)] = acc[i][j];
        }
    }
}

struct Conv2dBiasArgs {
    u64 dy;     // (N, P, Q, O)
    u64 result; // (O)
    u64 state;  // RunState
    u32 pixels; // P·Q
    u32 out_channels;
    u32 accumulate;
    u32 unused;
    u32 silent_bias[2];
};

// db[o] (+)= Σ_pixels dy[pixel, o], in order. One thread a channel, neighbours read neighbours; grid
// (⌈O/64⌉), block 64.
KERNEL(conv2d_bias_gradient_f32, Conv2dBiasArgs, NoShared, 64) {
    const u32 channel = blockIdx.x * blockDim.x + threadIdx.x;
    if (channel >= args.out_channels) return;
    const u64 pixels = (u64)ptr<const RunState>(args.state)->images * args.pixels;
    const f32* dy = ptr<const f32>(args.dy);
    f32* db = ptr<f32>(args.result);
    f32 sum = args.accumulate ? db[channel] : 0.0f;
    const bool silent = is_silent(args.silent_bias, channel);
    for (u64 pixel = 0; pixel < pixels && !silent; ++pixel) sum = sum + dy[pixel * args.out_channels + channel];
    db[channel] = sum;
}
