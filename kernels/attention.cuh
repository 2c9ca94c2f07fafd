// One head of one part of a map, in tiles of 64 tokens: what the kernels of attention share.
//
// A block has 256 threads: 16 groups of 16 lanes. In a product, group g has rows 4g to 4g + 3 and lane
// l columns l, l + 16, …; so a group has whole rows, a lane's columns are those of the CPU's lane, and
// sums over a row take the CPU's order.
#pragma once
#include "exponential.cuh"
#include "wide.cuh"

constexpr u32 TILE = 64;       // tokens
constexpr u32 PITCH = TILE + 4; // floats from row to row of tokens
constexpr u32 ROWS = 4;        // of a thread
constexpr u32 COLUMNS = TILE / LANES;

constexpr f32 MASK = -100.0f;                  // between tokens that weren't neighbours
constexpr f32 SHORTEST = 1e-12f;               // lengths of vectors count as at least this
constexpr f32 LARGEST_LOGIT_SCALE = 4.6051702f; // ln 100

// One axis of a map: `size` tokens a part, of windows of the axis rolled by −shift, or, strided, as
// far apart as it allows.
struct AttentionAxis {
    u32 length, size, shift, strided;

    __device__ __forceinline__ u32 groups() const { return length / size; }

    __device__ __forceinline__ u32 at(u32 group, u32 index) const {
        if (strided) return index * groups() + group;
        const u32 place = group * size + index + shift;
        return place < length ? place : place - length;
    }

    // The stretch of the unrolled axis that a token comes from.
    __device__ __forceinline__ u32 label(u32 group, u32 index) const {
        const u32 rolled = group * size + index;
        if (shift == 0 || rolled < length - size) return 0;
        return rolled < length - shift ? 1 : 2;
    }
};

struct AttentionProblem {
    u64 x;           // (images, height, width, 3 · heads · dim) f32
    u64 bias;        // (heads, tokens, tokens) f32, or 0
    u64 logit_scale; // (heads) f32, or 0: no cosines
    u64 state;       // RunState
    AttentionAxis rows, columns;
    u32 heads;
    u32 dim;    // channels of a head
    u32 tokens; // of a part
    u32 causal;
    f32 scale; // of keys, but for cosines
    u32 unused;

    __device__ __forceinline__ u32 parts() const { return rows.groups() * columns.groups(); }
    __device__ __forceinline__ u32 tiles() const { return (tokens + TILE - 1) / TILE; }
    __device__ __forceinline__ u64 units() const {
        return u64(ptr<const RunState>(state)->images) * parts();
    }
};

enum Which { QUERIES, KEYS, VALUES };

// CHANNELS: the most that a head may have, 32 or 64.
template <u32 CHANNELS> struct AttentionShared {
    // Factors of a product, a row a term: either a channel of tokens or a token's channels.
    f32 left[TILE * (CHANNELS + 4)];
    f32 right[TILE * (CHANNELS + 4)];
    f32 inner[TILE * PITCH]; // one that was computed
    u32 pixel[2][TILE];      // of a tile of queries and of one of keys
    u32 label[2][TILE];
    f32 length[2][TILE]; // of their vectors, for cosines
    f64 sums[TILE / ROWS];
};

// A head of a part of an image.
template <u32 CHANNELS> struct AttentionHead {
    static constexpr u32 CHANNEL_COLUMNS = CHANNELS / LANES;
    static constexpr u32 CHANNEL_PITCH = CHANNELS + 4;
    typedef f32 Scores[ROWS][COLUMNS];          // queries × keys
    typedef f32 Vectors[ROWS][CHANNEL_COLUMNS]; // tokens × channels

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

    static __device__ __forceinline__ u32 lane() { return threadIdx.x % LANES; }
    static __device__ __forceinline__ u32 row(u32 i) { return threadIdx.x / LANES * ROWS + i; }
    static __device__ __forceinline__ u32 column(u32 j) { return lane() + LANES * j; }

    __device__ __forceinline__ void enter(u64 unit) {
        const u32 part = u32(unit % problem.parts());
        image = u32(unit / problem.parts());
        group_row = part / problem.columns.groups();
        group_column = part % problem.columns.groups();
    }

    // Tokens of the tile that begins with token `first`.
    __device__ __forceinline__ u32 count(u32 first) const { return min(TILE, problem.tokens - first); }

    // Floats before the image's vectors of queries, keys or values of this head, at pixel 0.
    __device__ __forceinline__ u64 start(Which which) const {
        const u64 pixels = u64(problem.rows.length) * problem.columns.length;
        return (image * pixels * 3 + which) * problem.heads * problem.dim + number * problem.dim;
    }
    __device__ __forceinline__ u32 stride() const { return 3 * problem.heads * problem.dim; }

    // The same of the output and its gradient.
    __device__ __forceinline__ u64 output_start() const {
        const u64 pixels = u64(problem.rows.length) * problem.columns.length;
        return (image * pixels * problem.heads + number) * problem.dim;
    }
    __device__ __forceinline__ u32 output_stride() const { return problem.heads * problem.dim; }

    // Finds the places of a tile of queries or keys. Barriers stand before and behind.
    __device__ __forceinline__ void find(Which which, u32 first) const {
        __syncthreads();
        if (threadIdx.x < count(first)) {
            const u32 token = first + threadIdx.x, width = problem.columns.size;
            const u32 i = token / width, j = token % width;
            shared.pixel[which][threadIdx.x] =
                problem.rows.at(group_row, i) * problem.columns.length +
                problem.columns.at(group_column, j);
            shared.label[which][threadIdx.x] = 3 * problem.rows.label(group_row, i) +
                                               problem.columns.label(group_column, j);
        }
        __syncthreads();
    }

    // Brings the vectors of the tokens that were found to shared memory, times `factor`; past the last,
    // zeros. `lengths`: vectors become unit ones first, and their lengths go there.
    template <bool CHANNEL_MAJOR>
    __device__ __forceinline__ void load(f32* to, const f32* vectors, u32 stride, const u32* pixels,
                                         u32 count, f32 factor, f32* lengths) const {
        UNROLL
        for (u32 turn = 0; turn < TILE / 16; ++turn) {
            const u32 token = threadIdx.x / LANES + 16 * turn;
            f32 v[CHANNEL_COLUMNS], square = 0.0f;
            UNROLL
            for (u32 j = 0; j < CHANNEL_COLUMNS; ++j) {
                const bool there = token < count && column(j) < problem.dim;
                v[j] = there ? vectors[u64(pixels[token]) * stride + column(j)] : 0.0f;
                square = fmaf(v[j], v[j], square);
            }
            f32 inverse = 1.0f;
            if (lengths) {
                f32 length = sqrtf(total<LANES>(square));
                length = length < SHORTEST ? SHORTEST : length; // NaN stays NaN
                inverse = 1.0f / length;
                if (lane() == 0) lengths[token] = length;
            }
            UNROLL
            for (u32 j = 0; j < CHANNEL_COLUMNS; ++j) {
                const f32 value = v[j] * inverse * factor;
                to[CHANNEL_MAJOR ? column(j) * PITCH + token : token * CHANNEL_PITCH + column(j)] =
                    value;
            }
        }
    }

    template <bool CHANNEL_MAJOR>
    __device__ __forceinline__ void load_input(f32* to, Which which, u32 first) const {
        const u32 side = which == QUERIES ? QUERIES : KEYS; // values stand where keys do
        const bool cosine = problem.logit_scale && which != VALUES;
        const f32 factor = which == QUERIES ? query_factor : which == KEYS ? key_factor : 1.0f;
        load<CHANNEL_MAJOR>(to, ptr<const f32>(problem.x) + start(which), stride(),
                            shared.pixel[side], count(first), factor,
                            cosine ? shared.length[side] : nullptr);
    }

    template <bool CHANNEL_MAJOR>
    __device__ __forceinline__ void load_output(f32* to, u64 output, u32 first) const {
        load<CHANNEL_MAJOR>(to, ptr<const f32>(output) + output_start(), output_stride(),
                            shared.pixel[QUERIES], count(first), 1.0f, nullptr);
    }

    // acc += Σ_κ a[κ, row] · b[κ, column], in the order of κ.
    template <u32 N>
    static __device__ __forceinline__ void multiply(const f32* a, const f32* b, u32 b_pitch,
                                                    u32 terms, f32 (&acc)[ROWS][N]) {
        a += row(0);
        b += lane();
        for (u32 term = 0; term < terms; ++term, a += PITCH, b += b_pitch) {
            const float4 four = *reinterpret_cast<const float4*>(a);
            const f32 rows[ROWS] = {four.x, four.y, four.z, four.w};
            UNROLL
            for (u32 j = 0; j < N; ++j) {
                const f32 value = b[LANES * j];
                UNROLL
                for (u32 i = 0; i < ROWS; ++i) acc[i][j] = fmaf(rows[i], value, acc[i][j]);
            }
        }
    }

    // Queries times keys, with bias and mask; −∞ past the last key. Uses `left` and `right`.
    __device__ __forceinline__ void scores(u32 first_query, u32 first_key, Scores& s) const {
        load_input<true>(shared.left, QUERIES, first_query);
        load_input<true>(shared.right, KEYS, first_key);
        __syncthreads();
        clear(s);
        multiply(shared.left, shared.right, PITCH, problem.dim, s);
        // Faults in scores belong here: after the scale, before bias and mask.
        const u64 pairs = u64(problem.tokens) * problem.tokens;
        const f32* bias = ptr<const f32>(problem.bias) + number * pairs;
        UNROLL
        for (u32 i = 0; i < ROWS; ++i) {
            const u32 query = first_query + row(i);
            UNROLL
            for (u32 j = 0; j < COLUMNS; ++j) {
                const u32 key = first_key + column(j);
                if (key >= problem.tokens) {
                    s[i][j] = -INFINITY;
                } else if (query < problem.tokens) {
                    if (problem.bias) s[i][j] += bias[u64(query) * problem.tokens + key];
                    if (problem.causal && key > query) s[i][j] += -INFINITY;
                    if (shared.label[QUERIES][row(i)] != shared.label[KEYS][column(j)])
                        s[i][j] += MASK;
                }
            }
        }
    }

    // The gradient of probabilities: that of outputs times values. Uses `left` and `right`.
    __device__ __forceinline__ void probability_gradients(u64 dy, u32 first_query, u32 first_key,
                                                          Scores& dp) const {
        __syncthreads();
        load_output<true>(shared.left, dy, first_query);
        load_input<true>(shared.right, VALUES, first_key);
        __syncthreads();
        clear(dp);
        multiply(shared.left, shared.right, PITCH, problem.dim, dp);
    }

    // From the gradient of u = factor · x / ‖x‖ to that of x: (factor · g − u · (u·g) / factor) / ‖x‖,
    // of a tile of queries or keys. Returns Σ u·g over the thread's rows.
    __device__ __forceinline__ f64 unnormalize(Which which, u32 first, f32 factor,
                                               Vectors& g) const {
        f64 sum = 0.0;
        UNROLL
        for (u32 i = 0; i < ROWS; ++i) {
            const bool valid = first + row(i) < problem.tokens;
            const f32 length = valid ? shared.length[which][row(i)] : 1.0f;
            const f32 inverse = 1.0f / length;
            f32 u[CHANNEL_COLUMNS], along = 0.0f;
            UNROLL
            for (u32 j = 0; j < CHANNEL_COLUMNS; ++j) {
                u[j] = 0.0f;
                if (valid && column(j) < problem.dim) {
                    const u64 at = start(which) + u64(shared.pixel[which][row(i)]) * stride();
                    u[j] = ptr<const f32>(problem.x)[at + column(j)] * inverse * factor;
                    along = fmaf(u[j], g[i][j], along);
                }
            }
            along = total<LANES>(along);
            if (valid) sum += f64(along);
            // A length that counted as more than it is doesn't change with x.
            const f32 projection = length > SHORTEST ? along / factor : 0.0f;
            UNROLL
            for (u32 j = 0; j < CHANNEL_COLUMNS; ++j)
                g[i][j] = (g[i][j] * factor - u[j] * projection) * inverse;
        }
        return sum;
    }

    // to (+)= vectors · factors, one a row, of the tile of tokens at `pixels`.
    __device__ __forceinline__ void write(f32* to, u32 stride, const u32* pixels, u32 first,
                                          const Vectors& vectors, const f32 (&factors)[ROWS],
                                          bool accumulate) const {
        UNROLL
        for (u32 i = 0; i < ROWS; ++i) {
            if (first + row(i) >= problem.tokens) continue;
            f32* token = to + u64(pixels[row(i)]) * stride;
            UNROLL
            for (u32 j = 0; j < CHANNEL_COLUMNS; ++j) {
                if (column(j) >= problem.dim) continue;
                const f32 value = vectors[i][j] * factors[i];
                token[column(j)] = accumulate ? token[column(j)] + value : value;
            }
        }
    }

    template <u32 N> static __device__ __forceinline__ void clear(f32 (&values)[ROWS][N]) {
        UNROLL
        for (u32 i = 0; i < ROWS; ++i) {
            UNROLL
            for (u32 j = 0; j < N; ++j) values[i][j] = 0.0f;
        }
    }
};
