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
#include "gemm/inner_faults.cuh"

// Rows of A: the inputs under the taps of output pixels.
template <class T> struct InputRows {
    typedef AlongTerms<T, T::M> Carry;
    const Conv2dArgs& args;
    const u32 depth; // channels of a group
    const bool whole; // quads lie in one tap, aligned
    TermWalk walk;
    const f32* image[Carry::SLOTS]; // its first pixel, this group's channels; null beyond the rows
    u32 row[Carry::SLOTS], column[Carry::SLOTS]; // of the first tap

    __device__ __forceinline__ InputRows(const Conv2dArgs& args, u32 group, u32 first_row, u32 rows)
        : args(args), depth(args.in_channels / args.groups), whole(depth % QUAD == 0),
          walk(Carry::term(), args.kernel, depth) {
        UNROLL for (u32 slot = 0; slot < Carry::SLOTS; ++slot) {
            const u32 m = first_row + Carry::line(slot);
            const Pixel pixel = pixel_of(m, args.out_size);
            const u64 pixels = (u64)args.in_size[0] * args.in_size[1];
            image[slot] = m < rows ? ptr<const f32>(args.x) +
                                         pixel.image * pixels * args.in_channels + group * depth
                                   : nullptr;
            row[slot] = tap_input(args, 0, pixel.row, 0);
            column[slot] = tap_input(args, 1, pixel.column, 0);
        }
    }

    // Where this slot's input under the walk's tap lies; null in the padding and past the last tap.
    __device__ __forceinline__ const f32* at(u32 slot, const TermWalk& walk) const {
        const u32 h = row[slot] + walk.row * args.dilation[0];
        const u32 v = column[slot] + walk.column * args.dilation[1];
        const bool inside = walk.row < args.kernel[0] && h < args.in_size[0] && v < args.in_size[1];
        if (!inside || !image[slot]) return nullptr;
        return image[slot] + (h * args.in_size[1] + v) * args.in_channels + walk.channel;
    }
    __device__ __forceinline__ float4 quad(u32 slot) const { return quad_of_taps(*this, slot); }
    __device__ __forceinline__ void next() { walk.advance(SLICE, args.kernel[1], depth); }
};

// Columns of B: the weights of a group's output channels.
template <class T> struct WeightColumns {
    typedef AlongLines<T, T::N> Carry;
    const f32* from; // of term 0
    u32 stride, terms, count, first;
    bool whole;

    __device__ __forceinline__ WeightColumns(const Conv2dArgs& args, u32 group, u32 first_column,
                                             u32 terms)
        : stride(args.out_channels), terms(terms), first(0) {
        const u32 columns = args.out_channels / args.groups;
        const u32 column = first_column + Carry::line();
        from = ptr<const f32>(args.w) + group * columns + column;
        count = column < columns ? min(QUAD, columns - column) : 0;
        whole = count == QUAD && args.out_channels % QUAD == 0 && columns % QUAD == 0;
    }
    __device__ __forceinline__ float4 quad(u32 slot) const {
        const u32 term = first + Carry::term(slot);
        return load_quad(from + (u64)term * stride, term < terms ? count : 0, whole);
    }
    __device__ __forceinline__ void next() { first += SLICE; }
};

// Which part of the product a block computes.
struct Place {
    u32 rows, pixels, columns;
    u32 first_row, first_column, first_channel;
};

// Stores a tile's sums through the epilogue. `fault_of(image)` gives what hits that image's outputs.
template <class T, class FaultOf>
static __device__ __forceinline__ void store(const Conv2dArgs& args, const Place& place,
                                             const f32 (&acc)[T::ROWS][T::COLUMNS],
                                             const FaultOf& fault_of) {
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
            const auto fault = fault_of(row / place.pixels);
            const float4 add =
                residual ? load_quad(residual + at + place.first_channel, count, aligned) : zeros();
            const f32 adds[QUAD] = {add.x, add.y, add.z, add.w};
            f32 values[QUAD];
            UNROLL for (u32 e = 0; e < QUAD; ++e) {
                const u64 element = (u64)(place.first_channel + column + e) * place.pixels +
                                    row % place.pixels;
                f32 value = channels[e].output(epilogue, acc[i][quad * QUAD + e]);
                value = fault(element, value);
                values[e] = channels[e].finish(epilogue, value, adds[e]);
            }
            if (aligned) {
                *reinterpret_cast<float4*>(y + at) =
                    make_float4(values[0], values[1], values[2], values[3]);
            } else {
                UNROLL for (u32 e = 0; e < QUAD; ++e) {
                    if (e < count) y[at + e] = values[e];
                }
            }
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
    InputRows<T> a(args, blockIdx.z, place.first_row, place.rows);
    WeightColumns<T> b(args, blockIdx.z, place.first_column, terms);
    multiply<T, typename InputRows<T>::Carry, InputRows<T>, typename WeightColumns<T>::Carry,
             WeightColumns<T>, Inner>(shared, terms, acc, a, b, faults);
}

// No faults.
template <class T>
static __device__ __forceinline__ void forward(const Conv2dArgs& args, GemmShared<T>& shared) {
    const Place place = place_of<T>(args);
    if (place.first_row >= place.rows) return;
    f32 acc[T::ROWS][T::COLUMNS] = {};
    sums(args, shared, place, NoInnerFaults<T>{}, acc);
    store<T>(args, place, acc, [](u32) { return NoFault{}; });
}

// Faults of the sites `output` and `store lost`.
template <class T>
static __device__ __forceinline__ void finish_armed(const Conv2dArgs& args, const Place& place,
                                                    const f32 (&acc)[T::ROWS][T::COLUMNS]) {
    const u32 last = min(place.first_row + T::M, place.rows) - 1;
    const Faults tile = faults_between(args.faults, place.first_row / place.pixels,
                                       last / place.pixels + 1);
    if (tile.none()) {
        store<T>(args, place, acc, [](u32) { return NoFault{}; });
    } else {
        store<T>(args, place, acc,
                 [&](u32 image) { return OutputFaults{faults_of(args.faults, image)}; });
    }
}

template <class T>
static __device__ __forceinline__ void forward_armed(const Conv2dArgs& args,
                                                     GemmShared<T>& shared) {
    const Place place = place_of<T>(args);
    if (place.first_row >= place.rows) return;
    f32 acc[T::ROWS][T::COLUMNS] = {};
    sums(args, shared, place, NoInnerFaults<T>{}, acc);
    finish_armed<T>(args, place, acc);
}

template <class T> struct ArmedShared {
    GemmShared<T> tiles;
    Marks marks;
};

// Faults of every site of a kernel.
template <class T>
static __device__ __forceinline__ void forward_armed_inner(const Conv2dArgs& args,
                                                           ArmedShared<T>& shared) {
    const Place place = place_of<T>(args);
    if (place.first_row >= place.rows) return;
    const u32 end = place.first_channel + min(T::N, place.columns - place.first_column);
    const InnerFaults<T> faults = {args.faults,         place.rows, place.pixels, place.first_row,
                                   place.first_channel, end,        shared.marks};
    faults.mark();
    f32 acc[T::ROWS][T::COLUMNS] = {};
    sums(args, shared.tiles, place, faults, acc);
    finish_armed<T>(args, place, acc);
}

KERNEL(conv2d_forward_f32_128x128, Conv2dArgs, GemmShared<Large>, 256) {
    forward<Large>(args, shared);
}
KERNEL(conv2d_forward_f32_128x64, Conv2dArgs, GemmShared<Medium>, 256) {
    forward<Medium>(args, shared);
}
KERNEL(conv2d_forward_f32_64x64, Conv2dArgs, GemmShared<Small>, 128) {
    forward<Small>(args, shared);
}
KERNEL(conv2d_forward_f32_128x32, Conv2dArgs, GemmShared<Narrow>, 128) {
    forward<Narrow>(args, shared);
}

KERNEL(conv2d_forward_f32_128x128_armed, Conv2dArgs, GemmShared<Large>, 256) {
    forward_armed<Large>(args, shared);
}
KERNEL(conv2d_forward_f32_128x64_armed, Conv2dArgs, GemmShared<Medium>, 256) {
    forward_armed<Medium>(args, shared);
}
KERNEL(conv2d_forward_f32_64x64_armed, Conv2dArgs, GemmShared<Small>, 128) {
    forward_armed<Small>(args, shared);
}
KERNEL(conv2d_forward_f32_128x32_armed, Conv2dArgs, GemmShared<Narrow>, 128) {
    forward_armed<Narrow>(args, shared);
}

KERNEL(conv2d_forward_f32_128x128_armed_inner, Conv2dArgs, ArmedShared<Large>, 256, 1) {
    forward_armed_inner<Large>(args, shared);
}
KERNEL(conv2d_forward_f32_128x64_armed_inner, Conv2dArgs, ArmedShared<Medium>, 256) {
    forward_armed_inner<Medium>(args, shared);
}
KERNEL(conv2d_forward_f32_64x64_armed_inner, Conv2dArgs, ArmedShared<Small>, 128) {
    forward_armed_inner<Small>(args, shared);
}
KERNEL(conv2d_forward_f32_128x32_armed_inner, Conv2dArgs, ArmedShared<Narrow>, 128, 3) {
    forward_armed_inner<Narrow>(args, shared);
}
