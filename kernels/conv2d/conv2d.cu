// 2-D convolution as an implicit GEMM in exact fp32 (gemm.cuh); linear layers are its case of a 1×1
// kernel. y[m, n] = Σ_κ x[tap(m, κ)]·w[κ, n], then the epilogue (epilogue.cuh); rows m are output pixels
// of all images, κ = tap·C/G + channel.
//
// Every element is one chain of fmaf in the order of κ, from +0: the same bits here, under emulation and
// on the CPU. Padding taps multiply by zero, as on every device, so that 0·Inf is NaN. Deterministic: each
// element has one owner and one order. Tiles follow from the layer's shape, never from the batch.
//
// Grid: (⌈N·P·Q/M⌉, ⌈O/G/N⌉, G) for the capacity; blocks beyond the valid images do nothing.
#include "conv2d/conv2d.cuh"
#include "fault/tile_faults.cuh"
#include "gemm/inner_faults.cuh"

// Which part of the product a block computes.
struct Place {
    u32 rows, pixels, columns;
    u32 first_row, first_column, first_channel;

    template <class T> __device__ __forceinline__ OutputTile tile() const {
        return {pixels, first_row, min(first_row + T::M, rows), first_channel,
                first_channel + min(T::N, columns - first_column)};
    }
};

// Stores a tile's sums through the epilogue. `faults_of_image(image)` gives what hits that image's outputs.
template <class T, class FaultsOf>
static __device__ __forceinline__ void store(const Conv2dArgs& args, const Place& place,
                                             const f32 (&acc)[T::ROWS][T::COLUMNS],
                                             const FaultsOf& faults_of_image) {
    const EpilogueArgs& epilogue = args.epilogue;
    const bool aligned = args.out_channels % QUAD == 0 && place.columns % QUAD == 0;
    f32* y = ptr<f32>(args.y) + place.first_channel;
    const f32* residual = ptr<const f32>(epilogue.residual);
    UNROLL for (u32 quad = 0; quad < T::COLUMNS / QUAD; ++quad) {
        const u32 column = T::column(quad * QUAD);
        if (place.first_column + column >= place.columns) continue;
        const u32 count = min(QUAD, place.columns - place.first_column - column);
        ChannelEpilogue channels[QUAD];
        UNROLL for (u32 e = 0; e < QUAD; ++e) {
            if (e < count) {
                channels[e] = ChannelEpilogue(epilogue, place.first_channel + column + e);
            }
        }
        UNROLL for (u32 i = 0; i < T::ROWS; ++i) {
            const u32 row = place.first_row + T::row(i);
            if (row >= place.rows) continue;
            const u64 at = (u64)row * args.out_channels + column;
            const auto faults = faults_of_image(row / place.pixels);
            Four add = {}, values;
            if (residual) add = load_four(residual + at + place.first_channel, count, aligned);
            UNROLL for (u32 e = 0; e < QUAD; ++e) {
                const u64 element = (u64)(place.first_channel + column + e) * place.pixels +
                                    row % place.pixels;
                f32 value = channels[e].output(epilogue, acc[i][quad * QUAD + e]);
                value = apply_faults(faults, element, value);
                values.v[e] = channels[e].finish(epilogue, value, add.v[e]);
            }
            store_four(y + at, values, count, aligned);
        }
    }
    if (is_light(epilogue.activation)) return;
    ROLLED for (u32 each = 0; each < T::ROWS * T::COLUMNS; ++each) {
        const u32 row = place.first_row + T::row(each / T::COLUMNS);
        const u32 column = T::column(each % T::COLUMNS);
        if (row >= place.rows || place.first_column + column >= place.columns) continue;
        f32* value = y + (u64)row * args.out_channels + column;
        *value = heavily_activated(epilogue.activation, *value);
    }
}

template <class T> static __device__ __forceinline__ Place place_of(const Conv2dArgs& args) {
    const u32 pixels = args.out_size[0] * args.out_size[1];
    const u32 columns = args.out_channels / args.groups, first_column = blockIdx.y * T::N;
    const u32 rows = ptr<const RunState>(args.state)->images * pixels;
    return {rows, pixels, columns, blockIdx.x * T::M, first_column,
            blockIdx.z * columns + first_column};
}

template <class T, class Inner>
static __device__ __forceinline__ void sums(const Conv2dArgs& args, GemmShared<T>& shared,
                                            const Place& place, const Inner& faults,
                                            f32 (&acc)[T::ROWS][T::COLUMNS]) {
    const u32 terms = args.in_channels / args.groups * args.kernel[0] * args.kernel[1];
    multiply(shared, terms, acc, TapRows<T, false>(args, blockIdx.z, place.first_row, place.rows),
             OutputColumns<T>(args, args.w, blockIdx.z, place.first_column, 0, terms), faults);
}

// With inner faults there are marks, too.
template <class T> struct ArmedShared {
    GemmShared<T> tiles;
    Marks marks;
};

template <class T, Armed ARMED, class Shared>
static __device__ __forceinline__ void forward(const Conv2dArgs& args, Shared& shared) {
    const Place place = place_of<T>(args);
    if (place.first_row >= place.rows) return;
    f32 acc[T::ROWS][T::COLUMNS] = {};
    if constexpr (ARMED == ARMED_INNER) {
        const InnerFaults<T> faults = {args.faults, place.tile<T>(), shared.marks};
        faults.mark();
        sums(args, shared.tiles, place, faults, acc);
    } else {
        sums(args, shared, place, NoFaults{}, acc);
    }
    if constexpr (ARMED != CLEAN) {
        if (hits_tile(args.faults, place.tile<T>())) {
            store<T>(args, place, acc, [&](u32 image) { return faults_of(args.faults, image); });
            return;
        }
    }
    store<T>(args, place, acc, [](u32) { return NoFaults{}; });
}

// The kernels of a tile; the last arguments are the launch bounds of `_armed_inner`.
#define FORWARD_TILE(size, T, threads, ...)                                                        \
    KERNEL(conv2d_forward_f32_##size, Conv2dArgs, GemmShared<T>, threads) {                        \
        forward<T, CLEAN>(args, shared);                                                           \
    }                                                                                              \
    KERNEL(conv2d_forward_f32_##size##_armed, Conv2dArgs, GemmShared<T>, threads) {                \
        forward<T, ARMED_OUTPUT>(args, shared);                                                    \
    }                                                                                              \
    KERNEL(conv2d_forward_f32_##size##_armed_inner, Conv2dArgs, ArmedShared<T>, __VA_ARGS__) {     \
        forward<T, ARMED_INNER>(args, shared);                                                     \
    }

FORWARD_TILE(128x128, Large, 256, 256, 1)
FORWARD_TILE(128x64, Medium, 256, 256)
FORWARD_TILE(64x64, Small, 128, 128)
FORWARD_TILE(128x32, Narrow, 128, 128, 3)
