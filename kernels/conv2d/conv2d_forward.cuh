// 2-D convolution as an implicit GEMM in exact fp32 (gemm.cuh); linear layers are its case of a 1×1
// kernel. y[m, n] = Σ_κ x[tap(m, κ)]·w[κ, n], then the epilogue (epilogue.cuh); rows m are output pixels
// of all images, κ = tap·C/G + channel.
//
// Every element is one chain of fmaf in the order of κ, from +0: the same bits here, under emulation and
// on the CPU. Padding taps multiply by zero, as on every device, so that 0·Inf is NaN. Deterministic: each
// element has one owner and one order. So an output's bits don't depend on the tile that it is in, and clean and
// `_armed` kernels are launched in whichever tile suits the batch; only the reach of faults in the loop
// (`_armed_inner`) depends on the tile, which then follows from the layer's shape alone.
//
// WHOLE says that channels of a group, of the input and of the output, are multiples of four: nothing is read or
// written but quads, and what handles others is left out, with its registers.
//
// Grid: (⌈N·P·Q/M⌉, ⌈O/G/N⌉, G) for the capacity; blocks beyond the valid images do nothing.
#pragma once
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

struct __align__(16) AlignedFour {
    f32 v[4];
};

// TapRows of forward where quads are whole. Places count quads, in 32 bits, since x has less than 64 GiB. Each row
// keeps the corner of its window; the tap's offset from there is the same for all rows, and is counted up.
template <class T> struct WindowQuads {
    typedef AlongTerms<T, T::M> Carry;
    static constexpr u32 NOWHERE = 1u << 30; // a row that no map has

    const Conv2dArgs& args;
    const u32 depth;             // quads of a tap
    u32 corner[Carry::SLOTS];    // under the first tap, which may lie in the padding
    u32 row[Carry::SLOTS], column[Carry::SLOTS]; // of the corner; NOWHERE behind the last row
    u32 quad_of_tap, tap_column; // of the next slice's quad
    u32 h, w, offset;            // from the corner

    __device__ __forceinline__ WindowQuads(const Conv2dArgs& args, u32 group, u32 first_row, u32 rows)
        : args(args), depth(args.in_channels / args.groups / QUAD) {
        const TermWalk walk(Carry::term(), args.kernel, depth * QUAD);
        quad_of_tap = walk.channel / QUAD;
        tap_column = walk.column;
        h = walk.row * args.dilation[0];
        w = walk.column * args.dilation[1];
        offset = (h * args.in_size[1] + w) * pixel_quads() + quad_of_tap;
        UNROLL for (u32 slot = 0; slot < Carry::SLOTS; ++slot) {
            const u32 m = first_row + Carry::line(slot);
            const Pixel pixel = pixel_of(m, args.out_size);
            row[slot] = tap_input(args, 0, pixel.row, 0);
            column[slot] = tap_input(args, 1, pixel.column, 0);
            const u32 line = pixel.image * args.in_size[0] + row[slot];
            corner[slot] = (line * args.in_size[1] + column[slot]) * pixel_quads() + group * depth;
            if (m >= rows) row[slot] = NOWHERE;
        }
    }

    __device__ __forceinline__ u32 pixel_quads() const { return args.in_channels / QUAD; }

    __device__ __forceinline__ Four quad(u32 slot) const {
        const bool inside = h < args.kernel[0] * args.dilation[0] && // else behind the last tap
                            row[slot] + h < args.in_size[0] && column[slot] + w < args.in_size[1];
        return inside ? load_four(ptr<const AlignedFour>(args.x)[corner[slot] + offset].v) : Four{};
    }
    __device__ __forceinline__ void next() {
        quad_of_tap += SLICE / QUAD;
        offset += SLICE / QUAD;
        while (quad_of_tap >= depth) {
            quad_of_tap -= depth;
            w += args.dilation[1];
            offset += args.dilation[1] * pixel_quads() - depth;
            if (++tap_column < args.kernel[1]) continue;
            tap_column = 0;
            w = 0;
            h += args.dilation[0];
            offset += (args.dilation[0] * args.in_size[1] - args.kernel[1] * args.dilation[1]) *
                      pixel_quads();
        }
    }
};

// OutputColumns of the weights where quads are whole, likewise.
template <class T> struct WeightQuads {
    typedef CopiedLines<T, T::N> Carry;
    const Conv2dArgs& args;
    u32 place, left; // of the next slice's first term; terms from there on

    __device__ __forceinline__ WeightQuads(const Conv2dArgs& args, u32 group, u32 first_column, u32 terms)
        : args(args), left(terms) {
        const u32 columns = args.out_channels / args.groups, column = first_column + Carry::line();
        place = (group * columns + column) / QUAD + Carry::term(0) * term_quads();
        if (column >= columns) left = 0;
    }

    __device__ __forceinline__ u32 term_quads() const { return args.out_channels / QUAD; }

    __device__ __forceinline__ bool has(u32 slot) const { return Carry::term(slot) < left; }
    __device__ __forceinline__ const f32* at(u32 slot) const {
        return ptr<const AlignedFour>(args.w)[place + slot * Carry::HOP * term_quads()].v;
    }
    __device__ __forceinline__ void next() {
        place += SLICE * term_quads();
        left -= min(left, SLICE);
    }
};

// Stores a tile's sums through the epilogue. `faults_of_image(image)` gives what hits that image's outputs.
template <class T, bool WHOLE, class FaultsOf>
static __device__ __forceinline__ void store(const Conv2dArgs& args, const Place& place,
                                             const f32 (&acc)[T::ROWS][T::COLUMNS],
                                             const FaultsOf& faults_of_image) {
    const EpilogueArgs& epilogue = args.epilogue;
    const bool aligned = WHOLE || (args.out_channels % QUAD == 0 && place.columns % QUAD == 0);
    f32* y = ptr<f32>(args.y) + place.first_channel;
    const f32* residual = ptr<const f32>(epilogue.residual);
    UNROLL for (u32 quad = 0; quad < T::COLUMNS / QUAD; ++quad) {
        const u32 column = T::column(quad * QUAD);
        if (place.first_column + column >= place.columns) continue;
        const u32 count = WHOLE ? QUAD : min(QUAD, place.columns - place.first_column - column);
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

template <class T, bool WHOLE, class Inner>
static __device__ __forceinline__ void sums(const Conv2dArgs& args, GemmShared<T>& shared,
                                            const Place& place, const Inner& faults,
                                            f32 (&acc)[T::ROWS][T::COLUMNS]) {
    const u32 terms = args.in_channels / args.groups * args.kernel[0] * args.kernel[1];
    const u32 group = blockIdx.z;
    if constexpr (WHOLE) {
        multiply(shared, terms, acc, WindowQuads<T>(args, group, place.first_row, place.rows),
                 WeightQuads<T>(args, group, place.first_column, terms), faults);
    } else {
        multiply(shared, terms, acc, TapRows<T, false>(args, group, place.first_row, place.rows),
                 OutputColumns<T>(args, args.w, group, place.first_column, 0, terms), faults);
    }
}

// With inner faults there are marks, too.
template <class T> struct ArmedShared {
    GemmShared<T> tiles;
    Marks marks;
};

template <class T, bool WHOLE, Armed ARMED, class Shared>
static __device__ __forceinline__ void forward(const Conv2dArgs& args, Shared& shared) {
    const Place place = place_of<T>(args);
    if (place.first_row >= place.rows) return;
    f32 acc[T::ROWS][T::COLUMNS] = {};
    if constexpr (ARMED == ARMED_INNER) {
        const InnerFaults<T> faults = {args.faults, place.tile<T>(), shared.marks};
        faults.mark();
        sums<T, WHOLE>(args, shared.tiles, place, faults, acc);
    } else {
        sums<T, WHOLE>(args, shared, place, NoFaults{}, acc);
    }
    if constexpr (ARMED != CLEAN) {
        if (hits_tile(args.faults, place.tile<T>())) {
            store<T, WHOLE>(args, place, acc, [&](u32 image) { return faults_of(args.faults, image); });
            return;
        }
    }
    store<T, WHOLE>(args, place, acc, [](u32) { return NoFaults{}; });
}
