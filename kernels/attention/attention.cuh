// One head of one part of a map, in tiles of 64 tokens: what the kernels of attention share.
//
// A block has 128 threads. Of a tile's 64×64 scores a thread has 8 queries × 4 keys: group g of 16
// lanes has queries 8g to 8g + 7, lane l keys l, l + 16, l + 32, l + 48. So a group has whole rows, a
// lane's keys are those of the CPU's lane, and sums over a row take the CPU's order. In shared memory
// keys stand so that a lane's four are neighbours: position p holds key p % 4 · 16 + p / 4. Of a tile's
// vectors a thread has 4 neighbouring channels of 4 tokens (8 where heads are wide).
//
// All factors are then read from shared memory by 16 bytes, and a multiply-add costs 3/8 of a float of
// them for scores (3 loads for 32) and for vectors of wide heads, 1/2 for those of others.
#pragma once
#include "attention/attention_problem.cuh"
#include "common/exponential.cuh"
#include "common/four.cuh"
#include "common/wide.cuh"
#include "fault/fault.cuh"

constexpr u32 ATTENTION_THREADS = 128;
constexpr u32 PITCH = TILE + 4; // floats from row to row of tokens: rows shift by 4 banks
constexpr u32 QUERY_ROWS = 8;   // of a thread's scores
constexpr u32 KEY_COLUMNS = 4;

constexpr f32 MASK = -100.0f;                  // between tokens that weren't neighbours
constexpr f32 SHORTEST = 1e-12f;               // lengths of vectors count as at least this
constexpr f32 LARGEST_LOGIT_SCALE = 4.6051702f; // ln 100

enum Which { QUERIES, KEYS, VALUES };

// Σ over the CPU's 16 lanes, of which four neighbouring threads have four each.
__device__ __forceinline__ f32 total_of_quads(f32 (&sums)[4]) {
    UNROLL
    for (u32 step = 2; step > 0; step /= 2) {
        UNROLL
        for (u32 j = 0; j < 4; ++j) sums[j] += __shfl_xor_sync(0xffffffffu, sums[j], step);
    }
    return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

// CHANNELS: the most that a head may have, 32 (27 KB) or 64 (52 KB).
template <u32 CHANNELS> struct AttentionShared {
    // The two factors of scores, each [channel][token]; or `inner`, a factor that was computed, either
    // [key][query] or [query][key].
    union {
        f32 of_channels[2][CHANNELS * PITCH];
        f32 inner[TILE * PITCH];
    };
    f32 vectors[TILE * CHANNELS]; // the other factor of `inner`: [token][channel]
    u32 pixel[2][TILE];           // of a tile of queries and of one of keys
    u32 label[2][TILE];
    f32 length[2][TILE]; // of their vectors, for cosines
    f32 factor[TILE];    // of a row of results
    f64 sums[ATTENTION_THREADS / 8];
};

// A head of a part of an image.
template <u32 CHANNELS> struct AttentionHead {
    static constexpr u32 VECTOR_LANES = CHANNELS / 4; // threads that share a token's vector
    static constexpr u32 VECTOR_ROWS = TILE * VECTOR_LANES / ATTENTION_THREADS;
    typedef f32 Scores[QUERY_ROWS][KEY_COLUMNS]; // queries × keys
    typedef f32 Vectors[VECTOR_ROWS][4];         // tokens × channels
    typedef f32 Rows[QUERY_ROWS];                // one a query
    static_assert(TILE <= 2 * CHANNELS, "`inner` covers no more than both factors of scores");
    static_assert(LANES == 16 && TILE == LANES * KEY_COLUMNS, "a lane has four keys");

    const AttentionProblem& problem;
    AttentionShared<CHANNELS>& shared;
    u32 number, image, group_row, group_column;
    f32 query_factor, key_factor; // what vectors (of unit length, for cosines) are multiplied by

    __device__ __forceinline__ AttentionHead(const AttentionProblem& problem,
                                             AttentionShared<CHANNELS>& shared, u32 number)
        : problem(problem), shared(shared), number(number), query_factor(1.0f),
          key_factor(problem.scale) {
        if (!problem.logit_scale) return;
        const f32 scale = ptr<const f32>(problem.logit_scale)[number];
        query_factor = f32(exp(f64(at_most(scale, LARGEST_LOGIT_SCALE))));
        key_factor = 1.0f;
    }

    // This thread's share of a tile of scores.
    static __device__ __forceinline__ u32 lane() { return threadIdx.x % LANES; }
    static __device__ __forceinline__ u32 query(u32 i) { return threadIdx.x / LANES * QUERY_ROWS + i; }
    static __device__ __forceinline__ u32 key(u32 j) { return lane() + LANES * j; }
    static __device__ __forceinline__ u32 key_at(u32 position) {
        return position % KEY_COLUMNS * LANES + position / KEY_COLUMNS;
    }

    // And of a tile of vectors: its first channel, and tokens (or, where keys are rows, positions).
    static __device__ __forceinline__ u32 channel() { return threadIdx.x % VECTOR_LANES * 4; }
    static __device__ __forceinline__ u32 row(u32 i) {
        return threadIdx.x / VECTOR_LANES * VECTOR_ROWS + i;
    }

    __device__ __forceinline__ void enter(u32 unit) {
        const u32 part = unit % problem.parts();
        image = unit / problem.parts();
        group_row = part / problem.columns.groups();
        group_column = part % problem.columns.groups();
    }

    // Tokens of the tile that begins with token `first`.
    __device__ __forceinline__ u32 count(u32 first) const { return min(TILE, problem.tokens - first); }

    // Floats before the image's vectors of queries, keys or values of this head, at pixel 0.
    __device__ __forceinline__ u64 start(Which which) const {
        return (u64(image) * problem.pixels() * 3 + which) * problem.heads * problem.dim +
               number * problem.dim;
    }
    __device__ __forceinline__ u32 stride() const { return 3 * problem.heads * problem.dim; }

    // The same of the output and its gradient.
    __device__ __forceinline__ u64 output_start() const {
        return (u64(image) * problem.pixels() * problem.heads + number) * problem.dim;
    }
    __device__ __forceinline__ u32 output_stride() const { return problem.heads * problem.dim; }

    // Finds the places of a tile of queries and of one of keys, a thread a token. Barriers stand before
    // and behind, so that what lies in shared memory may be replaced from here on.
    __device__ __forceinline__ void find(u32 first_query, u32 first_key) const {
        __syncthreads();
        const u32 side = threadIdx.x / TILE, within = threadIdx.x % TILE;
        const u32 token = (side == QUERIES ? first_query : first_key) + within;
        if (token < problem.tokens) {
            const u32 i = token / problem.columns.size, j = token % problem.columns.size;
            shared.pixel[side][within] = problem.rows.at(group_row, i) * problem.columns.length +
                                         problem.columns.at(group_column, j);
            shared.label[side][within] =
                3 * problem.rows.label(group_row, i) + problem.columns.label(group_column, j);
        }
        __syncthreads();
    }

    // Four channels of a vector; 0 past the last.
    __device__ __forceinline__ Four read(const f32* vector, u32 channel) const {
        if (in_fours()) return channel < problem.dim ? load_four(vector + channel) : Four{};
        const auto one = [&](u32 i) { return channel + i < problem.dim ? vector[channel + i] : 0.0f; };
        return {{one(0), one(1), one(2), one(3)}};
    }

    // Whether every vector begins at a multiple of 16 bytes.
    __device__ __forceinline__ bool in_fours() const { return problem.dim % 4 == 0; }

    // Brings the vectors of a tile of tokens to shared memory as factors of scores, times `factor`;
    // past the last, zeros. `lengths`: vectors become unit ones first, and their lengths go there. Four
    // threads have a token, each the channels of four of the CPU's lanes; they write rows in an order
    // in which a warp meets every bank once.
    template <bool OF_KEYS>
    __device__ __forceinline__ void load_channels(f32* to, const f32* vectors, u32 stride, u32 count,
                                                  f32 factor, f32* lengths) const {
        const u32 quarter = threadIdx.x % 4;
        const bool turned = quarter >= 2;
        UNROLL
        for (u32 turn = 0; turn < TILE / (ATTENTION_THREADS / 4); ++turn) {
            const u32 position = threadIdx.x / 4 + ATTENTION_THREADS / 4 * turn;
            const u32 token = OF_KEYS ? key_at(position) : position;
            Four v[CHANNELS / LANES] = {};
            f32 squares[4] = {};
            UNROLL
            for (u32 c = 0; c < CHANNELS / LANES; ++c) {
                if (token < count) {
                    const u32 pixel = shared.pixel[OF_KEYS ? KEYS : QUERIES][token];
                    v[c] = read(vectors + u64(pixel) * stride, LANES * c + 4 * quarter);
                }
                UNROLL
                for (u32 j = 0; j < 4; ++j) squares[j] = fmaf(v[c].v[j], v[c].v[j], squares[j]);
            }
            f32 inverse = 1.0f;
            if (lengths) {
                f32 length = sqrtf(total_of_quads(squares));
                length = length < SHORTEST ? SHORTEST : length; // NaN stays NaN
                inverse = 1.0f / length;
                if (quarter == 0) lengths[token] = length;
            }
            UNROLL
            for (u32 c = 0; c < CHANNELS / LANES; ++c) {
                UNROLL
                for (u32 j = 0; j < 4; ++j) {
                    const f32 value = (turned ? v[c].v[j ^ 2] : v[c].v[j]) * inverse * factor;
                    to[(LANES * c + 4 * quarter + (turned ? j ^ 2 : j)) * PITCH + position] = value;
                }
            }
        }
    }

    // The same as the other factor of `inner`, a row a token of the input's vectors. Their lengths are
    // known by then.
    __device__ __forceinline__ void load_rows(const f32* vectors, u32 stride, u32 side, u32 count,
                                              f32 factor, const f32* lengths) const {
        constexpr u32 TOKENS = ATTENTION_THREADS / VECTOR_LANES;
        UNROLL
        for (u32 turn = 0; turn < TILE / TOKENS; ++turn) {
            const u32 token = threadIdx.x / VECTOR_LANES + TOKENS * turn;
            if (token >= count) continue; // no term of a product
            const Four v = read(vectors + u64(shared.pixel[side][token]) * stride, channel());
            const f32 inverse = lengths ? 1.0f / lengths[token] : 1.0f;
            store_four(&shared.vectors[token * CHANNELS + channel()],
                       map_four(v, [=](f32 x) { return x * inverse * factor; }));
        }
    }

    __device__ __forceinline__ f32 factor(Which which) const {
        return which == QUERIES ? query_factor : which == KEYS ? key_factor : 1.0f;
    }

    __device__ __forceinline__ void load_input_rows(Which which, u32 first) const {
        const u32 side = which == QUERIES ? QUERIES : KEYS; // values stand where keys do
        load_rows(ptr<const f32>(problem.x) + start(which), stride(), side, count(first),
                  factor(which), problem.logit_scale && which != VALUES ? shared.length[side] : nullptr);
    }

    __device__ __forceinline__ void load_output_rows(u64 output, u32 first) const {
        load_rows(ptr<const f32>(output) + output_start(), output_stride(), QUERIES, count(first), 1.0f,
                  nullptr);
    }

    // acc += Σ_κ a[κ, row] · b[κ, column], in the order of κ, of neighbouring rows and columns from
    // where `a` and `b` point.
    template <u32 ROWS>
    static __device__ __forceinline__ void multiply(const f32* a, const f32* b, u32 b_pitch, u32 terms,
                                                    f32 (&acc)[ROWS][4]) {
        TWICE for (u32 term = 0; term < terms; ++term, a += PITCH, b += b_pitch) {
            f32 rows[ROWS];
            load_fours(rows, a, 4);
            const Four columns = load_four(b);
            UNROLL
            for (u32 i = 0; i < ROWS; ++i) {
                UNROLL
                for (u32 j = 0; j < 4; ++j) acc[i][j] = fmaf(rows[i], columns.v[j], acc[i][j]);
            }
        }
    }

    // s = Σ over channels of the two factors.
    __device__ __forceinline__ void multiply_channels(Scores& s) const {
        clear(s);
        multiply(&shared.of_channels[0][query(0)], &shared.of_channels[1][KEY_COLUMNS * lane()], PITCH,
                 problem.dim, s);
    }

    // acc += Σ over `terms` rows of `inner` and `vectors`.
    __device__ __forceinline__ void multiply_rows(u32 terms, Vectors& acc) const {
        multiply(&shared.inner[row(0)], &shared.vectors[channel()], CHANNELS, terms, acc);
    }

    // Queries times keys: after the scale, before bias and mask. Uses `of_channels`, in which nobody may
    // be reading.
    __device__ __forceinline__ void products(u32 first_query, u32 first_key, Scores& s) const {
        const bool cosine = problem.logit_scale != 0;
        const f32* x = ptr<const f32>(problem.x);
        load_channels<false>(shared.of_channels[0], x + start(QUERIES), stride(), count(first_query),
                             query_factor, cosine ? shared.length[QUERIES] : nullptr);
        load_channels<true>(shared.of_channels[1], x + start(KEYS), stride(), count(first_key),
                            key_factor, cosine ? shared.length[KEYS] : nullptr);
        __syncthreads();
        multiply_channels(s);
    }

    // Adds bias and mask; −∞ past the last key.
    __device__ __forceinline__ void add_bias_and_mask(u32 first_query, u32 first_key,
                                                      Scores& s) const {
        const u64 pairs = u64(problem.tokens) * problem.tokens;
        const f32* bias = ptr<const f32>(problem.bias) + number * pairs;
        const bool shifted = problem.rows.shift + problem.columns.shift != 0;
        UNROLL
        for (u32 i = 0; i < QUERY_ROWS; ++i) {
            const u32 row = first_query + query(i);
            UNROLL
            for (u32 j = 0; j < KEY_COLUMNS; ++j) {
                const u32 column = first_key + key(j);
                if (column >= problem.tokens) {
                    s[i][j] = -INFINITY;
                } else if (row < problem.tokens) {
                    if (problem.bias) s[i][j] += bias[row * problem.tokens + column];
                    if (problem.causal && column > row) s[i][j] += -INFINITY;
                    if (shifted && shared.label[QUERIES][query(i)] != shared.label[KEYS][key(j)])
                        s[i][j] += MASK;
                }
            }
        }
    }

    // Raises `most` to the largest of rows.
    static __device__ __forceinline__ void raise(Rows& most, const Scores& s) {
        UNROLL
        for (u32 i = 0; i < QUERY_ROWS; ++i) {
            UNROLL
            for (u32 j = 0; j < KEY_COLUMNS; ++j) most[i] = larger(s[i][j], most[i]);
            most[i] = largest_lane(most[i]);
        }
    }

    // s = exp(s − most).
    static __device__ __forceinline__ void exponentials(const Rows& most, Scores& s) {
        UNROLL
        for (u32 i = 0; i < QUERY_ROWS; ++i) {
            UNROLL
            for (u32 j = 0; j < KEY_COLUMNS; ++j) s[i][j] = exp_minus(most[i] - s[i][j]);
        }
    }

    // sums += s, lane by lane.
    static __device__ __forceinline__ void add_rows(Rows& sums, const Scores& s) {
        UNROLL
        for (u32 i = 0; i < QUERY_ROWS; ++i) {
            UNROLL
            for (u32 j = 0; j < KEY_COLUMNS; ++j) sums[i] += s[i][j];
        }
    }

    // One over the total of rows.
    static __device__ __forceinline__ void invert(Rows& sums) {
        UNROLL
        for (u32 i = 0; i < QUERY_ROWS; ++i) sums[i] = 1.0f / total<LANES>(sums[i]);
    }

    // `inner` becomes s as [key][query]. The caller has the barriers.
    __device__ __forceinline__ void keep_by_keys(const Scores& s) const {
        UNROLL
        for (u32 j = 0; j < KEY_COLUMNS; ++j) {
            UNROLL
            for (u32 i = 0; i < QUERY_ROWS; i += 4)
                store_four(&shared.inner[key(j) * PITCH + query(i)],
                           {{s[i][j], s[i + 1][j], s[i + 2][j], s[i + 3][j]}});
        }
    }

    // `inner` becomes s as [query][position of key].
    __device__ __forceinline__ void keep_by_queries(const Scores& s) const {
        UNROLL
        for (u32 i = 0; i < QUERY_ROWS; ++i)
            store_four(&shared.inner[query(i) * PITCH + KEY_COLUMNS * lane()],
                       {{s[i][0], s[i][1], s[i][2], s[i][3]}});
    }

    // The token of the tile that row i of a tile of vectors belongs to.
    template <bool OF_KEYS> static __device__ __forceinline__ u32 token(u32 i) {
        return OF_KEYS ? key_at(row(i)) : row(i);
    }

    // to (+)= vectors, of the tile's tokens.
    template <bool OF_KEYS>
    __device__ __forceinline__ void write(f32* to, u32 stride, u32 first, const Vectors& vectors,
                                          bool accumulate) const {
        UNROLL
        for (u32 i = 0; i < VECTOR_ROWS; ++i) {
            const u32 token = AttentionHead::token<OF_KEYS>(i);
            if (first + token >= problem.tokens || channel() >= problem.dim) continue;
            f32* at = to + u64(shared.pixel[OF_KEYS ? KEYS : QUERIES][token]) * stride;
            Four value = {{vectors[i][0], vectors[i][1], vectors[i][2], vectors[i][3]}};
            if (accumulate)
                value = map_four(read(at, channel()), value, [](f32 old, f32 v) { return old + v; });
            if (in_fours()) {
                store_four(at + channel(), value);
            } else {
                UNROLL
                for (u32 j = 0; j < 4; ++j)
                    if (channel() + j < problem.dim) at[channel() + j] = value.v[j];
            }
        }
    }

    template <u32 ROWS> static __device__ __forceinline__ void clear(f32 (&values)[ROWS][4]) {
        UNROLL
        for (u32 i = 0; i < ROWS; ++i) {
            UNROLL
            for (u32 j = 0; j < 4; ++j) values[i][j] = 0.0f;
        }
    }
    static __device__ __forceinline__ void clear(Rows& values, f32 to) {
        UNROLL
        for (u32 i = 0; i < QUERY_ROWS; ++i) values[i] = to;
    }
};
