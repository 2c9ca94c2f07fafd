// Gradients of attention (attention.cu), of which scores and probabilities are computed again, in the
// same tiles, blocks and orders. With p = e / Σ e, dp = dy·vᵀ and D = Σ_j p·dp, ds = p ∘ (dp − D):
//
// dq = ds·k, dk = dsᵀ·q, dv = pᵀ·dy; of the bias, Σ ds over images and parts; of logit_scale, Σ q·dq.
//
// Operations: 7·tokens·dim multiply-adds a query, 3 for dq and 4 for dk and dv; where a part has more
// than one tile, 4 more. Bytes: x and dy twice, dx once; the bias twice for every part and its
// sums read and written once, all from the cache.
//
// Deterministic as attention.cu is; sums over parts go in chunks whose number follows from sizes, unit
// by unit, and then over the chunks.
#include "attention/attention.cuh"

// Addresses of results that nobody asks for are 0.
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

// dp: the gradient of outputs times values.
template <u32 CHANNELS>
__device__ __forceinline__ void probability_gradients(const AttentionHead<CHANNELS>& head, u64 dy,
                                                      u32 first_query, u32 first_key,
                                                      typename AttentionHead<CHANNELS>::Scores& dp) {
    const f32 *x = ptr<const f32>(head.problem.x), *gradient = ptr<const f32>(dy);
    head.template load_channels<false>(head.shared.of_channels[0], gradient + head.output_start(),
                                       head.output_stride(), head.count(first_query), 1.0f, nullptr);
    head.template load_channels<true>(head.shared.of_channels[1], x + head.start(VALUES),
                                      head.stride(), head.count(first_key), 1.0f, nullptr);
    __syncthreads();
    head.multiply_channels(dp);
}

// Σ a·b over a token's channels in the CPU's order: a lane's channels 16 apart are of threads 4 apart.
template <u32 CHANNELS>
__device__ __forceinline__ f32 dot(const f32 (&a)[4], const f32 (&b)[4]) {
    constexpr u32 THREADS = CHANNELS / 4;
    const u32 own = threadIdx.x % THREADS / 4;
    f32 sums[4];
    UNROLL
    for (u32 j = 0; j < 4; ++j) sums[j] = fmaf(a[j], b[j], 0.0f);
    UNROLL
    for (u32 chunk = 1; chunk < CHANNELS / LANES; ++chunk) {
        UNROLL
        for (u32 j = 0; j < 4; ++j) {
            const f32 before = __shfl_up_sync(0xffffffffu, sums[j], 4, THREADS);
            if (own == chunk) sums[j] = fmaf(a[j], b[j], before);
        }
    }
    return __shfl_sync(0xffffffffu, total_of_quads(sums), THREADS - 1, THREADS);
}

// From the gradient of u = factor · x / ‖x‖ to that of x: (factor · g − u · (u·g) / factor) / ‖x‖, of a
// tile of queries or keys. Returns Σ u·g over the thread's rows.
template <bool OF_KEYS, u32 CHANNELS>
__device__ __forceinline__ f64 unnormalize(const AttentionHead<CHANNELS>& head, u32 first, f32 factor,
                                           typename AttentionHead<CHANNELS>::Vectors& g) {
    typedef AttentionHead<CHANNELS> Head;
    const Which which = OF_KEYS ? KEYS : QUERIES;
    const f32* x = ptr<const f32>(head.problem.x) + head.start(which);
    f64 sum = 0.0;
    UNROLL
    for (u32 i = 0; i < Head::VECTOR_ROWS; ++i) {
        const u32 token = Head::template token<OF_KEYS>(i);
        const bool valid = first + token < head.problem.tokens;
        f32 u[4] = {0.0f, 0.0f, 0.0f, 0.0f}, length = 1.0f, inverse = 1.0f;
        if (valid) {
            length = head.shared.length[which][token];
            inverse = 1.0f / length;
            const u64 at = u64(head.shared.pixel[which][token]) * head.stride();
            const Four four = head.read(x + at, Head::channel());
            UNROLL
            for (u32 j = 0; j < 4; ++j) u[j] = four.v[j] * inverse * factor;
        }
        const f32 along = dot<CHANNELS>(u, g[i]);
        if (valid) sum += f64(along);
        // A length that was raised to SHORTEST doesn't change with x.
        const f32 projection = length > SHORTEST ? along / factor : 0.0f;
        UNROLL
        for (u32 j = 0; j < 4; ++j) g[i][j] = (g[i][j] * factor - u[j] * projection) * inverse;
    }
    return sum;
}

// sums (+)= s, as [query][key]. Half of the sums are read before the first of them is written, so that their
// loads overlap; all of them would take too many registers.
template <u32 CHANNELS>
__device__ __forceinline__ void add_to_sums(const AttentionHead<CHANNELS>& head, f32* sums, bool first,
                                            u32 first_query, u32 first_key,
                                            const typename AttentionHead<CHANNELS>::Scores& s) {
    const u32 tokens = head.problem.tokens;
    f32* from = sums + u64(first_query + head.query(0)) * tokens + first_key + head.lane();
    const auto there = [&](u32 i, u32 j) {
        return first_query + head.query(i) < tokens && first_key + head.key(j) < tokens;
    };
    constexpr u32 HALF = QUERY_ROWS / 2;
    static_assert(QUERY_ROWS % 2 == 0, "two halves are all of them");
    UNROLL
    for (u32 start = 0; start < QUERY_ROWS; start += HALF) {
        f32 old[HALF][KEY_COLUMNS];
        UNROLL
        for (u32 i = 0; i < HALF; ++i) {
            UNROLL
            for (u32 j = 0; j < KEY_COLUMNS; ++j)
                old[i][j] = !first && there(start + i, j) ? from[(start + i) * tokens + LANES * j] : 0.0f;
        }
        UNROLL
        for (u32 i = 0; i < HALF; ++i) {
            UNROLL
            for (u32 j = 0; j < KEY_COLUMNS; ++j)
                if (there(start + i, j))
                    from[(start + i) * tokens + LANES * j] = old[i][j] + s[start + i][j];
        }
    }
}

// dq, what the gradients of keys and values need of each query, and the sums of the gradients of bias
// and logit_scale. Grid: tiles × heads × chunks, in this order in one dimension; a block goes over the
// units of its chunk. SINGLE: a part is one tile, which saves the 60 registers of rounds and tiles; larger
// parts are left to the symbol for wide heads.
template <u32 CHANNELS, bool SINGLE>
__device__ __forceinline__ void query_gradients(const AttentionBackwardArgs& args,
                                                AttentionShared<CHANNELS>& shared) {
    typedef AttentionHead<CHANNELS> Head;
    const AttentionProblem& problem = args.problem;
    const u32 tiles = problem.tiles(), first_query = blockIdx.x % tiles * TILE;
    const u32 chunk = blockIdx.x / tiles / problem.heads;
    const u64 units = problem.units();
    const u32 first_unit = u32(chunk * units / args.chunks);
    const u32 end = u32((chunk + 1) * units / args.chunks);
    Head head(problem, shared, blockIdx.x / tiles % problem.heads);
    const u64 pairs = u64(problem.tokens) * problem.tokens;
    f32* bias_sums = ptr<f32>(args.bias_sums) + (u64(chunk) * problem.heads + head.number) * pairs;
    const bool single = SINGLE || tiles == 1;
    f64 scale_sum = 0.0;
    for (u32 unit = first_unit; unit < end; ++unit) {
        head.enter(unit);
        typename Head::Scores s, dp;
        typename Head::Rows most, factor, mean;
        typename Head::Vectors dq;
        Head::clear(most, -INFINITY);
        Head::clear(factor, 0.0f);
        Head::clear(mean, 0.0f);
        Head::clear(dq);
        // Four rounds: maxima, sums of exponentials, D, gradients. Where there is one tile, one for all.
        ROLLED for (u32 round = single ? 3 : 0; round < 4; ++round) {
            ROLLED for (u32 first_key = 0; first_key < problem.tokens; first_key += TILE) {
                head.find(first_query, first_key);
                head.products(first_query, first_key, s);
                head.add_bias_and_mask(first_query, first_key, s);
                if (round == 0 || single) Head::raise(most, s);
                if (round == 0) continue;
                Head::exponentials(most, s);
                if (round == 1 || single) Head::add_rows(factor, s);
                if (single) Head::invert(factor);
                if (round == 1) continue;
                __syncthreads();
                if (round == 3) head.load_input_rows(KEYS, first_key);
                probability_gradients(head, args.dy, first_query, first_key, dp);
                UNROLL
                for (u32 i = 0; i < QUERY_ROWS; ++i) {
                    UNROLL
                    for (u32 j = 0; j < KEY_COLUMNS; ++j) {
                        s[i][j] *= factor[i];
                        if (round == 2 || single) mean[i] = fmaf(s[i][j], dp[i][j], mean[i]);
                    }
                    if (single) mean[i] = total<LANES>(mean[i]);
                }
                if (round == 2) continue;
                UNROLL
                for (u32 i = 0; i < QUERY_ROWS; ++i) {
                    UNROLL
                    for (u32 j = 0; j < KEY_COLUMNS; ++j) s[i][j] *= dp[i][j] - mean[i];
                }
                if (args.bias_sums)
                    add_to_sums(head, bias_sums, unit == first_unit, first_query, first_key, s);
                __syncthreads();
                head.keep_by_keys(s);
                __syncthreads();
                head.multiply_rows(head.count(first_key), dq);
            }
            if (round == 1) Head::invert(factor);
            if (round != 2) continue;
            UNROLL
            for (u32 i = 0; i < QUERY_ROWS; ++i) mean[i] = total<LANES>(mean[i]);
        }
        UNROLL
        for (u32 i = 0; i < QUERY_ROWS; ++i) {
            const u32 query = first_query + Head::query(i);
            if (Head::lane() != 0 || query >= problem.tokens) continue;
            f32* row = ptr<f32>(args.rows) +
                       3 * ((u64(unit) * problem.heads + head.number) * problem.tokens + query);
            row[0] = most[i];
            row[1] = factor[i];
            row[2] = mean[i];
        }
        if (problem.logit_scale)
            scale_sum += unnormalize<false>(head, first_query, head.query_factor, dq);
        if (args.dx)
            head.template write<false>(ptr<f32>(args.dx) + head.start(QUERIES), head.stride(),
                                       first_query, dq, args.accumulate);
    }
    if (!args.scale_sums) return; // the whole block
    if (Head::channel() == 0) shared.sums[threadIdx.x / Head::VECTOR_LANES] = scale_sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (u32 group = 1; group < ATTENTION_THREADS / Head::VECTOR_LANES; ++group)
        scale_sum += shared.sums[group];
    ptr<f64>(args.scale_sums)[(u64(chunk) * problem.heads + head.number) * tiles + blockIdx.x % tiles] =
        scale_sum;
}

KERNEL(attention_query_gradients_f32, AttentionBackwardArgs, AttentionShared<32>, 128) {
    query_gradients<32, true>(args, shared);
}

KERNEL(attention_query_gradients_f32_wide, AttentionBackwardArgs, AttentionShared<64>, 128) {
    query_gradients<64, false>(args, shared);
}

// dk and dv, from what the kernel above left of each query. Grid: tiles × heads × units of the
// capacity, in this order in one dimension.
template <u32 CHANNELS>
__device__ __forceinline__ void key_gradients(const AttentionBackwardArgs& args,
                                              AttentionShared<CHANNELS>& shared) {
    typedef AttentionHead<CHANNELS> Head;
    const AttentionProblem& problem = args.problem;
    const u32 tiles = problem.tiles(), first_key = blockIdx.x % tiles * TILE;
    const u32 unit = blockIdx.x / tiles / problem.heads;
    if (unit >= problem.units()) return; // the whole block
    Head head(problem, shared, blockIdx.x / tiles % problem.heads);
    head.enter(unit);
    const f32* rows = ptr<const f32>(args.rows) +
                      3 * (u64(unit) * problem.heads + head.number) * problem.tokens;
    typename Head::Vectors dk, dv;
    Head::clear(dk);
    Head::clear(dv);
    ROLLED for (u32 first_query = 0; first_query < problem.tokens; first_query += TILE) {
        typename Head::Scores p, ds;
        head.find(first_query, first_key);
        head.load_output_rows(args.dy, first_query);
        head.products(first_query, first_key, p);
        head.add_bias_and_mask(first_query, first_key, p);
        __syncthreads();
        probability_gradients(head, args.dy, first_query, first_key, ds);
        UNROLL
        for (u32 i = 0; i < QUERY_ROWS; ++i) {
            const u32 query = first_query + Head::query(i);
            if (query >= problem.tokens) continue; // no term of the products below
            const f32* row = rows + 3 * u64(query);
            UNROLL
            for (u32 j = 0; j < KEY_COLUMNS; ++j) {
                p[i][j] = exp_minus(row[0] - p[i][j]) * row[1];
                ds[i][j] = p[i][j] * (ds[i][j] - row[2]);
            }
        }
        const u32 queries = head.count(first_query);
        __syncthreads();
        head.keep_by_queries(p);
        __syncthreads();
        head.multiply_rows(queries, dv);
        __syncthreads();
        head.keep_by_queries(ds);
        head.load_input_rows(QUERIES, first_query);
        __syncthreads();
        head.multiply_rows(queries, dk);
    }
    if (problem.logit_scale) unnormalize<true>(head, first_key, head.key_factor, dk);
    UNROLL
    for (u32 i = 0; i < Head::VECTOR_ROWS; ++i) {
        UNROLL
        for (u32 j = 0; j < 4; ++j) dk[i][j] *= head.key_factor;
    }
    f32* dx = ptr<f32>(args.dx);
    head.template write<true>(dx + head.start(KEYS), head.stride(), first_key, dk, args.accumulate);
    head.template write<true>(dx + head.start(VALUES), head.stride(), first_key, dv, args.accumulate);
}

KERNEL(attention_key_gradients_f32, AttentionBackwardArgs, AttentionShared<32>, 128) {
    key_gradients<32>(args, shared);
}

KERNEL(attention_key_gradients_f32_wide, AttentionBackwardArgs, AttentionShared<64>, 128) {
    key_gradients<64>(args, shared);
}

// dlogit_scale (+)= Σ over chunks and tiles; 0 where the scale is clamped. One thread a head,
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
