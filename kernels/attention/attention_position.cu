// Position biases of attention (src/ops/attention/position.rs), from a table and its index, and the
// table's gradient from the sums that attention.cu leaves.
//
// The table is (entries, heads) f32, the index (tokens, tokens) u32: bias[head, i, j] =
// f(table[index[i, j], head]), f(x) = x or 16·sigmoid(x). Deterministic: sums are of f64, chunk by chunk
// and then over the pairs of tokens of an entry, in an order that follows from sizes.
#include "common/exponential.cuh"
#include "common/wide.cuh"

struct AttentionBiasArgs {
    u64 table, index;
    u64 bias; // (heads, pairs) f32
    u32 entries;
    u32 heads;
    u32 pairs; // tokens²
    u32 sigmoid;
};

struct AttentionTableArgs {
    u64 sums;   // (chunks, heads, pairs) f32
    u64 totals; // (heads, pairs) f64
    u64 table, index;
    u64 dtable;
    u64 state; // RunState
    u32 parts; // of an image
    u32 chunks;
    u32 entries;
    u32 heads;
    u32 pairs;
    u32 sigmoid;
    u32 accumulate;
};

// bias from the table; NaN for an index out of it. One thread a pair, blocks of 256, grid ceil(heads ·
// pairs / 256). Reads the index, writes the bias: 8 bytes a pair of a head.
KERNEL(attention_bias_f32, AttentionBiasArgs, NoShared, 256) {
    const u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= args.heads * args.pairs) return;
    const u32 head = at / args.pairs, entry = ptr<const u32>(args.index)[at % args.pairs];
    f32 value = NAN;
    if (entry < args.entries) value = ptr<const f32>(args.table)[u64(entry) * args.heads + head];
    ptr<f32>(args.bias)[at] = args.sigmoid ? 16.0f * sigmoid(value) : value;
}

// totals = Σ over the chunks that had units. Thread, block and grid as above. Reads the sums once.
KERNEL(attention_bias_totals_f64, AttentionTableArgs, NoShared, 256) {
    const u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= args.heads * args.pairs) return;
    const u64 units = u64(ptr<const RunState>(args.state)->images) * args.parts;
    const f32* sums = ptr<const f32>(args.sums) + at;
    f64 total = 0.0;
    for (u64 chunk = 0; chunk < args.chunks; ++chunk)
        if (chunk * units / args.chunks < (chunk + 1) * units / args.chunks)
            total += f64(sums[chunk * args.heads * args.pairs]);
    ptr<f64>(args.totals)[at] = total;
}

// dtable (+)= f' · Σ over the pairs of an entry. A warp an entry of a head, blocks of 8 warps, grid
// ceil(heads · entries / 8). Each reads the whole index.
KERNEL(attention_table_gradient_f32, AttentionTableArgs, NoShared, 256) {
    const u32 at = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (at >= args.heads * args.entries) return; // the whole warp
    const u32 head = at / args.entries, entry = at % args.entries;
    const f64* totals = ptr<const f64>(args.totals) + u64(head) * args.pairs;
    f64 sum = 0.0;
    for (u32 pair = lane; pair < args.pairs; pair += 32)
        if (ptr<const u32>(args.index)[pair] == entry) sum += totals[pair];
    sum = total<32>(sum);
    if (lane != 0) return;
    const u64 place = u64(entry) * args.heads + head;
    if (args.sigmoid) {
        const f32 share = sigmoid(ptr<const f32>(args.table)[place]);
        sum *= f64(16.0f * share * (1.0f - share));
    }
    f32* dtable = ptr<f32>(args.dtable) + place;
    *dtable = args.accumulate ? *dtable + f32(sum) : f32(sum);
}
