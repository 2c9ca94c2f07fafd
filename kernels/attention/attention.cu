// Multi-head self-attention within the parts of a map (src/ops/attention), exact f32, fused: scores and
// probabilities stay in registers and shared memory. For a part and a head, with q, k, v of its tokens:
//
// s = q·kᵀ + bias + mask; e = exp(s − max s); y = (e·v) / Σ e.
//
// Maps are (images, height, width, channels) f32, of x [q of all heads, k, v]; y stands where its
// tokens do. A block of 128 threads has 64 queries of a head of a part, and goes over the keys in tiles
// of 64: once where a part has no more tokens, and otherwise first for the maxima, then again.
// Operations: 2·tokens·dim multiply-adds and tokens exponentials (20 operations) a query, and half as
// many multiply-adds again where the scores come twice. Bytes: x and y once (keys and values once for
// 64 queries); the bias, if any, for every part, from the cache.
//
// Deterministic: elements are chains of fmaf in the order of channels or tokens, sums over a row are
// taken lane by lane, then over the lanes in a tree, as on the CPU.
//
// Faults (armed symbols): element (head · pixels + query's pixel) · tokens + key, the pixel on the map
// as it is, the key's number within its part. A score is hit after the scale, before bias and mask: its
// row's maximum and sum follow, so that all channels of that head at the query's pixel can change,
// and nothing else. A probability exp(s − max) is hit after its row's sum is taken: the same channels,
// by its own term alone.
#include "attention/attention.cuh"

struct AttentionForwardArgs {
    AttentionProblem problem;
    u64 y;
    u64 faults; // of armed symbols
};

// The faults that may concern a block: those of its image and head.
template <u32 CHANNELS> struct HeadFaults {
    static constexpr bool NONE = false;

    const AttentionHead<CHANNELS>& head;
    Faults faults;
    u64 start; // the head's first element

    __device__ __forceinline__ HeadFaults(const AttentionHead<CHANNELS>& head, u64 table)
        : head(head), faults(faults_of(table, head.image)) {
        const u64 count = u64(head.problem.pixels()) * head.problem.tokens;
        start = head.number * count;
        faults = {seek(faults, start), seek(faults, start + count)};
    }

    // Hits this thread's values of a tile at a site.
    __device__ __forceinline__ void apply(Site site, u32 first_query, u32 first_key,
                                          typename AttentionHead<CHANNELS>::Scores& s) const {
        const u32 tokens = head.problem.tokens;
        for (const FaultEntry* fault = faults.first; fault != faults.last; ++fault) {
            if (fault->site != site) continue;
            const u32 pixel = u32((fault->element - start) / tokens);
            const u32 key = u32((fault->element - start) % tokens);
            UNROLL
            for (u32 i = 0; i < QUERY_ROWS; ++i) {
                if (first_query + head.query(i) >= tokens ||
                    head.shared.pixel[QUERIES][head.query(i)] != pixel)
                    continue;
                UNROLL
                for (u32 j = 0; j < KEY_COLUMNS; ++j)
                    if (first_key + head.key(j) == key) s[i][j] = hit(*fault, s[i][j]);
            }
        }
    }
};

// Grid: tiles × heads × units of the capacity, in this order in one dimension.
template <u32 CHANNELS, class FaultsOf>
__device__ __forceinline__ void attend(const AttentionForwardArgs& args,
                                       AttentionShared<CHANNELS>& shared) {
    typedef AttentionHead<CHANNELS> Head;
    const AttentionProblem& problem = args.problem;
    const u32 tiles = problem.tiles(), first_query = blockIdx.x % tiles * TILE;
    const u32 unit = blockIdx.x / tiles / problem.heads;
    if (unit >= problem.units()) return; // the whole block
    Head head(problem, shared, blockIdx.x / tiles % problem.heads);
    head.enter(unit);
    const FaultsOf faults(head, args.faults);
    typename Head::Scores s;
    typename Head::Vectors y;
    typename Head::Rows most, sum;
    Head::clear(most, -INFINITY);
    Head::clear(sum, 0.0f);
    Head::clear(y);
    // Two rounds, for maxima and for outputs; one where there is one tile.
    const bool single = tiles == 1;
    ROLLED for (u32 round = single; round < 2; ++round) {
        ROLLED for (u32 first_key = 0; first_key < problem.tokens; first_key += TILE) {
            head.find(first_query, first_key);
            if (round == 1) head.load_input_rows(VALUES, first_key);
            head.products(first_query, first_key, s);
            if constexpr (!FaultsOf::NONE) faults.apply(SITE_SCORES, first_query, first_key, s);
            head.add_bias_and_mask(first_query, first_key, s);
            if (round == 0 || single) Head::raise(most, s);
            if (round == 0) continue;
            Head::exponentials(most, s);
            Head::add_rows(sum, s);
            if constexpr (!FaultsOf::NONE) faults.apply(SITE_PROBABILITIES, first_query, first_key, s);
            __syncthreads();
            head.keep_by_keys(s);
            __syncthreads();
            head.multiply_rows(head.count(first_key), y);
        }
    }
    Head::invert(sum);
    if (Head::lane() == 0) {
        UNROLL
        for (u32 i = 0; i < QUERY_ROWS; ++i) shared.factor[Head::query(i)] = sum[i];
    }
    __syncthreads();
    UNROLL
    for (u32 i = 0; i < Head::VECTOR_ROWS; ++i) {
        UNROLL
        for (u32 j = 0; j < 4; ++j) y[i][j] *= shared.factor[Head::row(i)];
    }
    head.template write<false>(ptr<f32>(args.y) + head.output_start(), head.output_stride(),
                               first_query, y, false);
}

KERNEL(attention_forward_f32, AttentionForwardArgs, AttentionShared<32>, 128) {
    attend<32, NoFaults>(args, shared);
}

KERNEL(attention_forward_f32_armed, AttentionForwardArgs, AttentionShared<32>, 128) {
    attend<32, HeadFaults<32>>(args, shared);
}

KERNEL(attention_forward_f32_wide, AttentionForwardArgs, AttentionShared<64>, 128) {
    attend<64, NoFaults>(args, shared);
}

KERNEL(attention_forward_f32_wide_armed, AttentionForwardArgs, AttentionShared<64>, 128) {
    attend<64, HeadFaults<64>>(args, shared);
}
