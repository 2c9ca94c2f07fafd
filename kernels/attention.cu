// Multi-head self-attention within the parts of a map (src/ops/attention), exact f32, fused: scores and
// probabilities stay in registers and shared memory. For a part and a head, with q, k, v of its tokens:
//
// s = q·kᵀ + bias + mask; e = exp(s − max s); y = (e·v) / Σ e.
//
// Maps are (images, height, width, channels) f32, of x [q of all heads, k, v]; y stands where its
// tokens do. A block of 256 threads has 64 queries (or, for the gradients of keys and values, 64 keys)
// of a head of a part, and goes over the others in tiles of 64: once where a part has no more tokens,
// and otherwise first for the maxima, then again. Operations: tokens·dim multiply-adds a query and
// product, of which there are 2 and, backward, 7. Bytes: x and y once; backward x and dy twice, dx once;
// the bias, if any, for every part, from the cache.
//
// Deterministic: elements are chains of fmaf in the order of channels or tokens, sums over a row are
// taken lane by lane, then over the lanes in a tree, as on the CPU; sums over parts go in chunks whose
// number follows from sizes, unit by unit, and then over the chunks.
#include "attention.cuh"

struct AttentionForwardArgs {
    AttentionProblem problem;
    u64 y;
};

struct AttentionBackwardArgs {
    AttentionProblem problem;
    u64 dy;
    u64 dx;          // or 0
    u64 rows;        // (units, heads, tokens, 3) f32: max s, 1/Σ e, Σ p·dp
    u64 bias_sums;   // (chunks, heads, tokens, tokens) f32, or 0: Σ ds over a chunk's units
    u64 scale_sums;  // (chunks, heads, tiles) f64, or 0: gradient of logit_scale
    u32 chunks;      // of the units
    u32 accumulate;  // to dx
};

struct AttentionScaleArgs {
    u64 sums; // (chunks, heads, tiles) f64
    u64 logit_scale, dlogit_scale;
    u32 chunks;
    u32 heads;
    u32 tiles;
    u32 accumulate;
};

// Grid: tiles × heads × units of the capacity, in this order in one dimension.
template <u32 CHANNELS>
__device__ __forceinline__ void attend(const AttentionForwardArgs& args,
                                       AttentionShared<CHANNELS>& shared) {
    typedef AttentionHead<CHANNELS> Head;
    const AttentionProblem& problem = args.problem;
    const u32 tiles = problem.tiles(), first_query = blockIdx.x % tiles * TILE;
    const u64 unit = blockIdx.x / tiles / problem.heads;
    if (unit >= problem.units()) return; // the whole block
    Head head(problem, shared, blockIdx.x / tiles % problem.heads);
    head.enter(unit);
    head.find(QUERIES, first_query);
    typename Head::Scores s;
    f32 most[ROWS], sum[ROWS];
    UNROLL
    for (u32 i = 0; i < ROWS; ++i) {
        most[i] = -INFINITY;
        sum[i] = 0.0f;
    }
    for (u32 first_key = 0; first_key < problem.tokens; first_key += TILE) {
        head.find(KEYS, first_key);
        head.scores(first_query, first_key, s);
        UNROLL
        for (u32 i = 0; i < ROWS; ++i) {
            UNROLL
            for (u32 j = 0; j < COLUMNS; ++j) most[i] = larger(s[i][j], most[i]);
        }
    }
    UNROLL
    for (u32 i = 0; i < ROWS; ++i) most[i] = largest_lane(most[i]);
    typename Head::Vectors y;
    Head::clear(y);
    for (u32 first_key = 0; first_key < problem.tokens; first_key += TILE) {
        if (tiles > 1) {
            head.find(KEYS, first_key);
            head.scores(first_query, first_key, s);
        }
        UNROLL
        for (u32 j = 0; j < COLUMNS; ++j) {
            UNROLL
            for (u32 i = 0; i < ROWS; ++i) {
                s[i][j] = exp_minus(most[i] - s[i][j]);
                sum[i] += s[i][j];
            }
            float4* to = reinterpret_cast<float4*>(&shared.inner[Head::column(j) * PITCH + Head::row(0)]);
            *to = make_float4(s[0][j], s[1][j], s[2][j], s[3][j]);
        }
        // Faults in probabilities belong here: after the rows' sums are taken.
        __syncthreads();
        head.template load_input<false>(shared.right, VALUES, first_key);
        __syncthreads();
        Head::multiply(shared.inner, shared.right, Head::CHANNEL_PITCH, head.count(first_key), y);
    }
    UNROLL
    for (u32 i = 0; i < ROWS; ++i) sum[i] = 1.0f / total<LANES>(sum[i]);
    head.write(ptr<f32>(args.y) + head.output_start(), head.output_stride(), shared.pixel[QUERIES],
               first_query, y, sum, false);
}

KERNEL(attention_forward_f32, AttentionForwardArgs, AttentionShared<32>, 256) {
    attend<32>(args, shared);
}

KERNEL(attention_forward_f32_wide, AttentionForwardArgs, AttentionShared<64>, 256) {
    attend<64>(args, shared);
}

// With p = e / Σ e, dp = dy·vᵀ and D = Σ_j p·dp: ds = p ∘ (dp − D), dq = ds·k; and what the gradients of
// keys and values need of each query, and the sums of the gradients of bias and logit_scale. Grid: tiles
// × heads × chunks, in this order in one dimension; a block goes over the units of its chunk.
template <u32 CHANNELS>
__device__ __forceinline__ void query_gradients(const AttentionBackwardArgs& args,
                                                AttentionShared<CHANNELS>& shared) {
    typedef AttentionHead<CHANNELS> Head;
    const AttentionProblem& problem = args.problem;
    const u32 tiles = problem.tiles(), first_query = blockIdx.x % tiles * TILE;
    const u32 chunk = blockIdx.x / tiles / problem.heads;
    const u64 units = problem.units();
    const u64 first_unit = chunk * units / args.chunks, end = (chunk + 1) * units / args.chunks;
    Head head(problem, shared, blockIdx.x / tiles % problem.heads);
    const u64 pairs = u64(problem.tokens) * problem.tokens;
    f32* bias_sums = ptr<f32>(args.bias_sums) + (u64(chunk) * problem.heads + head.number) * pairs;
    f64 scale_sum = 0.0;
    for (u64 unit = first_unit; unit < end; ++unit) {
        head.enter(unit);
        head.find(QUERIES, first_query);
        typename Head::Scores s, dp;
        f32 most[ROWS], factor[ROWS], mean[ROWS];
        UNROLL
        for (u32 i = 0; i < ROWS; ++i) {
            most[i] = -INFINITY;
            factor[i] = mean[i] = 0.0f;
        }
        ROLLED for (u32 first_key = 0; first_key < problem.tokens; first_key += TILE) {
            head.find(KEYS, first_key);
            head.scores(first_query, first_key, s);
            UNROLL
            for (u32 i = 0; i < ROWS; ++i) {
                UNROLL
                for (u32 j = 0; j < COLUMNS; ++j) most[i] = larger(s[i][j], most[i]);
            }
        }
        UNROLL
        for (u32 i = 0; i < ROWS; ++i) most[i] = largest_lane(most[i]);
        // Three rounds: sums of exponentials, then D, then gradients. Where there is one tile, it stays.
        typename Head::Vectors dq;
        Head::clear(dq);
        ROLLED for (u32 round = 0; round < 3; ++round) {
            ROLLED for (u32 first_key = 0; first_key < problem.tokens; first_key += TILE) {
                if (tiles > 1) {
                    head.find(KEYS, first_key);
                    head.scores(first_query, first_key, s);
                }
                if (tiles > 1 || round == 0) {
                    UNROLL
                    for (u32 i = 0; i < ROWS; ++i) {
                        UNROLL
                        for (u32 j = 0; j < COLUMNS; ++j) s[i][j] = exp_minus(most[i] - s[i][j]);
                    }
                }
                if (round == 0) {
                    UNROLL
                    for (u32 i = 0; i < ROWS; ++i) {
                        UNROLL
                        for (u32 j = 0; j < COLUMNS; ++j) factor[i] += s[i][j];
                    }
                    continue;
                }
                if (tiles > 1 || round == 1) {
                    head.probability_gradients(args.dy, first_query, first_key, dp);
                    UNROLL
                    for (u32 i = 0; i < ROWS; ++i) {
                        UNROLL
                        for (u32 j = 0; j < COLUMNS; ++j) s[i][j] *= factor[i];
                    }
                }
                if (round == 1) {
                    UNROLL
                    for (u32 i = 0; i < ROWS; ++i) {
                        UNROLL
                        for (u32 j = 0; j < COLUMNS; ++j) mean[i] = fmaf(s[i][j], dp[i][j], mean[i]);
                    }
                    continue;
                }
                UNROLL
                for (u32 j = 0; j < COLUMNS; ++j) {
                    const u32 key = first_key + Head::column(j);
                    UNROLL
                    for (u32 i = 0; i < ROWS; ++i) {
                        s[i][j] *= dp[i][j] - mean[i];
                        const u32 query = first_query + Head::row(i);
                        if (args.bias_sums && query < problem.tokens && key < problem.tokens) {
                            f32* sum = bias_sums + u64(query) * problem.tokens + key;
                            *sum = unit == first_unit ? s[i][j] : *sum + s[i][j];
                        }
                    }
                    float4* to = reinterpret_cast<float4*>(
                        &shared.inner[Head::column(j) * PITCH + Head::row(0)]);
                    *to = make_float4(s[0][j], s[1][j], s[2][j], s[3][j]);
                }
                __syncthreads();
                head.template load_input<false>(shared.right, KEYS, first_key);
                __syncthreads();
                Head::multiply(shared.inner, shared.right, Head::CHANNEL_PITCH,
                               head.count(first_key), dq);
            }
            UNROLL
            for (u32 i = 0; i < ROWS; ++i) {
                if (round == 0) factor[i] = 1.0f / total<LANES>(factor[i]);
                if (round == 1) mean[i] = total<LANES>(mean[i]);
            }
        }
        f32 ones[ROWS];
        UNROLL
        for (u32 i = 0; i < ROWS; ++i) {
            ones[i] = 1.0f;
            const u32 query = first_query + Head::row(i);
            if (Head::lane() != 0 || query >= problem.tokens) continue;
            f32* row = ptr<f32>(args.rows) +
                       3 * ((unit * problem.heads + head.number) * problem.tokens + query);
            row[0] = most[i];
            row[1] = factor[i];
            row[2] = mean[i];
        }
        if (problem.logit_scale)
            scale_sum += head.unnormalize(QUERIES, first_query, head.query_factor, dq);
        if (args.dx)
            head.write(ptr<f32>(args.dx) + head.start(QUERIES), head.stride(),
                       shared.pixel[QUERIES], first_query, dq, ones, args.accumulate);
    }
    if (!args.scale_sums) return; // the whole block
    if (Head::lane() == 0) shared.sums[Head::row(0) / ROWS] = scale_sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (u32 group = 1; group < TILE / ROWS; ++group) scale_sum += shared.sums[group];
    ptr<f64>(args.scale_sums)[(u64(chunk) * problem.heads + head.number) * tiles + blockIdx.x % tiles] =
        scale_sum;
}

KERNEL(attention_query_gradients_f32, AttentionBackwardArgs, AttentionShared<32>, 256) {
    query_gradients<32>(args, shared);
}

KERNEL(attention_query_gradients_f32_wide, AttentionBackwardArgs, AttentionShared<64>, 256) {
    query_gradients<64>(args, shared);
}

// dv = pᵀ·dy, dk = dsᵀ·q, from what the kernel above left of each query. Grid: tiles × heads × units of
// the capacity, in this order in one dimension.
template <u32 CHANNELS>
__device__ __forceinline__ void key_gradients(const AttentionBackwardArgs& args,
                                              AttentionShared<CHANNELS>& shared) {
    typedef AttentionHead<CHANNELS> Head;
    const AttentionProblem& problem = args.problem;
    const u32 tiles = problem.tiles(), first_key = blockIdx.x % tiles * TILE;
    const u64 unit = blockIdx.x / tiles / problem.heads;
    if (unit >= problem.units()) return; // the whole block
    Head head(problem, shared, blockIdx.x / tiles % problem.heads);
    head.enter(unit);
    head.find(KEYS, first_key);
    const f32* rows = ptr<const f32>(args.rows) +
                      3 * (unit * problem.heads + head.number) * problem.tokens;
    typename Head::Vectors dk, dv;
    Head::clear(dk);
    Head::clear(dv);
    ROLLED for (u32 first_query = 0; first_query < problem.tokens; first_query += TILE) {
        typename Head::Scores p, ds;
        head.find(QUERIES, first_query);
        head.scores(first_query, first_key, p);
        head.probability_gradients(args.dy, first_query, first_key, ds);
        UNROLL
        for (u32 i = 0; i < ROWS; ++i) {
            const u32 query = first_query + Head::row(i);
            if (query >= problem.tokens) continue; // no term of the products below
            const f32 *row = rows + 3 * u64(query);
            UNROLL
            for (u32 j = 0; j < COLUMNS; ++j) {
                p[i][j] = exp_minus(row[0] - p[i][j]) * row[1];
                ds[i][j] = p[i][j] * (ds[i][j] - row[2]);
                shared.inner[Head::row(i) * PITCH + Head::column(j)] = p[i][j];
            }
        }
        __syncthreads();
        head.template load_output<false>(shared.left, args.dy, first_query);
        __syncthreads();
        const u32 queries = head.count(first_query);
        Head::multiply(shared.inner, shared.left, Head::CHANNEL_PITCH, queries, dv);
        __syncthreads();
        UNROLL
        for (u32 i = 0; i < ROWS; ++i) {
            UNROLL
            for (u32 j = 0; j < COLUMNS; ++j)
                shared.inner[Head::row(i) * PITCH + Head::column(j)] = ds[i][j];
        }
        head.template load_input<false>(shared.left, QUERIES, first_query);
        __syncthreads();
        Head::multiply(shared.inner, shared.left, Head::CHANNEL_PITCH, queries, dk);
    }
    if (problem.logit_scale) head.unnormalize(KEYS, first_key, head.key_factor, dk);
    f32 ones[ROWS], factors[ROWS];
    UNROLL
    for (u32 i = 0; i < ROWS; ++i) {
        ones[i] = 1.0f;
        factors[i] = head.key_factor;
    }
    f32* dx = ptr<f32>(args.dx);
    head.write(dx + head.start(KEYS), head.stride(), shared.pixel[KEYS], first_key, dk, factors,
               args.accumulate);
    head.write(dx + head.start(VALUES), head.stride(), shared.pixel[KEYS], first_key, dv, ones,
               args.accumulate);
}

KERNEL(attention_key_gradients_f32, AttentionBackwardArgs, AttentionShared<32>, 256) {
    key_gradients<32>(args, shared);
}

KERNEL(attention_key_gradients_f32_wide, AttentionBackwardArgs, AttentionShared<64>, 256) {
    key_gradients<64>(args, shared);
}

// dlogit_scale (+)= Σ over chunks and tiles; 0 where the scale counts as another. One thread a head,
// blocks of 32.
KERNEL(attention_scale_gradient_f32, AttentionScaleArgs, NoShared, 32) {
    const u32 head = blockIdx.x * blockDim.x + threadIdx.x;
    if (head >= args.heads) return;
    f64 sum = 0.0;
    for (u64 chunk = 0; chunk < args.chunks; ++chunk)
        for (u32 tile = 0; tile < args.tiles; ++tile)
            sum += ptr<const f64>(args.sums)[(chunk * args.heads + head) * args.tiles + tile];
    if (ptr<const f32>(args.logit_scale)[head] > LARGEST_LOGIT_SCALE) sum = 0.0;
    f32* dscale = ptr<f32>(args.dlogit_scale) + head;
    *dscale = args.accumulate ? *dscale + f32(sum) : f32(sum);
}
