// What mma.cuh says, for the C++ compiler: the lanes of a warp meet and read each other's registers
// where the PTX manual's fragment maps put an element.
//
// Products and loads are not inlined: a kernel has a hundred of them, and meeting costs more than a call.
#pragma once

static inline u32 to_tf32(f32 x) {
    const u32 bits = __float_as_uint(x);
    return (isfinite(x) ? bits + 0x1000u : bits) & 0xffffe000u;
}

static inline u16 to_bf16(f32 x) {
    const u32 bits = __float_as_uint(x);
    if (isnan(x)) return 0x7fff;
    return u16((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
static inline u32 to_bf16x2(f32 low, f32 high) { return u32(to_bf16(high)) << 16 | to_bf16(low); }

static inline u16 to_f16(f32 x) {
    const u32 bits = __float_as_uint(x), magnitude = bits & 0x7fffffffu;
    const u32 sign = bits >> 16 & 0x8000u;
    if (magnitude > 0x7f800000u) return 0x7fff;
    if (magnitude >= 0x477ff000u) return u16(sign | 0x7c00u); // 65520 and above
    if (magnitude < 0x38800000u) {
        // Below 2⁻¹⁴: a multiple of 2⁻²⁴. Adding 0.5 leaves those as the last bits of the sum, rounded.
        const u32 rounded = __float_as_uint(__uint_as_float(magnitude) + 0.5f);
        return u16(sign | (rounded - 0x3f000000u));
    }
    // 13 bits fall away, and the exponent's bias shrinks by 112.
    const u32 rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return u16(sign | ((rounded - (112u << 23)) >> 13));
}
static inline u32 to_f16x2(f32 low, f32 high) { return u32(to_f16(high)) << 16 | to_f16(low); }

// The value of an IEEE half, exactly; NaN becomes 0x7fffffff.
static inline f32 from_f16(u16 bits) {
    const u32 sign = u32(bits & 0x8000u) << 16, rest = bits & 0x7fffu;
    if (rest > 0x7c00u) return __uint_as_float(0x7fffffffu);
    if (rest == 0x7c00u) return __uint_as_float(sign | 0x7f800000u);
    if (rest < 0x400u) return __uint_as_float(sign | __float_as_uint(f32(rest) * 0x1p-24f));
    return __uint_as_float(sign | ((rest << 13) + (112u << 23)));
}

// The value of a bfloat16, exactly.
static inline f32 from_bf16(u16 bits) { return __uint_as_float(u32(bits) << 16); }

// ---- products ----

// Register `index` of a lane in a meeting: four of a, then two of b.
static inline u32 posted(const emulator::Meeting* meeting, u32 lane, u32 index) {
    u32 word;
    __builtin_memcpy(&word, meeting->posts[lane] + 4 * index, 4);
    return word;
}

// d += a·b of a warp, over TERMS terms. `row(meeting, i, k)` and `column(meeting, k, j)` are elements of
// a and b, out of the registers that the lanes posted.
template <u32 TERMS, class Row, class Column>
inline void multiply_fragments(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2], const Row& row,
                               const Column& column, const emulator::Place& place) {
    const u32 post[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    emulator::Meeting* meeting = emulator::meet_warp(0xffffffffu, post, sizeof post, place);
    if (meeting->arrived != 0xffffffffu) emulator::fail(place, "needs all 32 lanes of the warp");
    const u32 g = emulator::lane_id() / 4, t = emulator::lane_id() % 4;
    for (u32 k = 0; k < TERMS; ++k) {
        const f32 rows[2] = {row(meeting, g, k), row(meeting, g + 8, k)};
        const f32 columns[2] = {column(meeting, k, 2 * t), column(meeting, k, 2 * t + 1)};
        for (u32 i = 0; i < 4; ++i) d[i] = fmaf(rows[i / 2], columns[i % 2], d[i]);
    }
    emulator::leave(meeting);
}

__noinline__ inline void mma_tf32(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2], FLIPSIDE_CALLER) {
    const auto value = [](u32 bits) { return __uint_as_float(bits & 0xffffe000u); };
    const auto row = [&](const emulator::Meeting* meeting, u32 i, u32 k) {
        return value(posted(meeting, i % 8 * 4 + k % 4, k / 4 * 2 + i / 8));
    };
    const auto column = [&](const emulator::Meeting* meeting, u32 k, u32 j) {
        return value(posted(meeting, j * 4 + k % 4, 4 + k / 4));
    };
    multiply_fragments<8>(d, a, b, row, column, {"mma.m16n8k8.tf32", file, line});
}

// Products of 16-bit operands; `value` decodes one.
template <class Value>
inline void multiply_halves(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2], const Value& value,
                            const emulator::Place& place) {
    const auto row = [&](const emulator::Meeting* meeting, u32 i, u32 k) {
        const u32 pair = posted(meeting, i % 8 * 4 + k % 8 / 2, k / 8 * 2 + i / 8);
        return value(u16(pair >> 16 * (k % 2)));
    };
    const auto column = [&](const emulator::Meeting* meeting, u32 k, u32 j) {
        return value(u16(posted(meeting, j * 4 + k % 8 / 2, 4 + k / 8) >> 16 * (k % 2)));
    };
    multiply_fragments<16>(d, a, b, row, column, place);
}
__noinline__ inline void mma_bf16(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2], FLIPSIDE_CALLER) {
    multiply_halves(d, a, b, from_bf16, {"mma.m16n8k16.bf16", file, line});
}
__noinline__ inline void mma_f16(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2], FLIPSIDE_CALLER) {
    multiply_halves(d, a, b, from_f16, {"mma.m16n8k16.f16", file, line});
}

// ---- loads ----

// Each lane posts the row that it gives the address of; the map says which elements come back.
template <bool TRANSPOSED>
__noinline__ inline void meet_matrices(u32 (&out)[4], const void* row, const emulator::Place& place) {
    u16 post[8] = {};
    const u32 lane = emulator::lane_id(), g = lane / 4, t = lane % 4;
    if (reinterpret_cast<size_t>(row) % 16 != 0)
        emulator::fail(place, "the address of a row isn't a multiple of 16");
    if (!emulator::is_shared(row, 16)) emulator::fail(place, "a row lies outside shared memory");
    __builtin_memcpy(post, row, sizeof post);
    emulator::Meeting* meeting = emulator::meet_warp(0xffffffffu, post, sizeof post, place);
    if (meeting->arrived != 0xffffffffu) emulator::fail(place, "needs all 32 lanes of the warp");
    for (u32 matrix = 0; matrix < 4; ++matrix) {
        u16 pair[2];
        for (u32 half = 0; half < 2; ++half) {
            const u32 from = TRANSPOSED ? 2 * t + half : g, element = TRANSPOSED ? g : 2 * t + half;
            __builtin_memcpy(&pair[half], meeting->posts[8 * matrix + from] + 2 * element, 2);
        }
        out[matrix] = u32(pair[1]) << 16 | pair[0];
    }
    emulator::leave(meeting);
}
inline void load_matrices(u32 (&out)[4], const void* row, FLIPSIDE_CALLER) {
    meet_matrices<false>(out, row, {"ldmatrix", file, line});
}
inline void load_transposed(u32 (&out)[4], const void* row, FLIPSIDE_CALLER) {
    meet_matrices<true>(out, row, {"ldmatrix.trans", file, line});
}

// ---- copies ----

template <u32 BYTES>
inline void copy_async(void* shared, const void* global, u32 valid = BYTES, FLIPSIDE_CALLER) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
    emulator::begin_copy(shared, global, BYTES, valid, {"cp.async", file, line});
}
inline void commit_copies() { emulator::commit_copies(); }
template <u32 NEWEST> inline void wait_copies() { emulator::wait_copies(NEWEST); }
