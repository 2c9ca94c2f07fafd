// Single words of memory by their addresses (src/ops/words): reading them, hitting them, putting them back. Words lie
// anywhere, in values and in parameters, so that one launch serves all that a round of faults hits.
//
// One thread a word. Bytes: 8 of an address and a sector of 32 behind it a word; for a campaign's round a few KiB.
// Deterministic: the hits of one word are one thread's, in their order.
#include "fault/fault.cuh"

struct WordsReadArgs {
    u64 addresses; // u64 (count)
    u64 out;       // u32 (count)
    u64 count;
};

// A hit of a word. Those of one word stand side by side, in the order in which they are hit.
struct WordFault {
    u64 address;
    u32 and_mask;
    u32 or_mask;
    u32 xor_mask;
    u32 before; // of the first hit of a word: what was there, as words_hit_f32 leaves it
};

struct WordsHitArgs {
    u64 faults; // WordFault (count)
    u64 count;
};

constexpr u32 WORDS_THREADS = 64;

static __device__ __forceinline__ u64 word_of_thread() {
    return (u64)blockIdx.x * WORDS_THREADS + threadIdx.x;
}

// Copies words, bit for bit. Grid: ⌈count/64⌉ blocks of 64.
KERNEL(words_read_u32, WordsReadArgs, NoShared, 64) {
    const u64 at = word_of_thread();
    if (at >= args.count) return;
    ptr<u32>(args.out)[at] = *ptr<const u32>(ptr<const u64>(args.addresses)[at]);
}

// Whether this thread has the first hit of a word.
static __device__ __forceinline__ bool is_first(const WordFault* faults, u64 at, u64 count) {
    return at < count && (at == 0 || faults[at - 1].address != faults[at].address);
}

// Hits words, all that hit one by the thread of the first, which keeps what was there. Grid as above.
KERNEL(words_hit_f32, WordsHitArgs, NoShared, 64) {
    WordFault* faults = ptr<WordFault>(args.faults);
    const u64 first = word_of_thread();
    if (!is_first(faults, first, args.count)) return;
    // A pointer throughout, by which the compiler knows that it lies in global memory.
    u32* word = ptr<u32>(faults[first].address);
    u32 bits = *word;
    faults[first].before = bits;
    for (u64 at = first; at < args.count && ptr<u32>(faults[at].address) == word; ++at) {
        FaultEntry fault = {};
        fault.and_mask = faults[at].and_mask;
        fault.or_mask = faults[at].or_mask;
        fault.xor_mask = faults[at].xor_mask;
        bits = hit_bits(fault, bits);
    }
    *word = bits;
}

// Puts back what words_hit_f32 has kept. Grid as above.
KERNEL(words_undo_u32, WordsHitArgs, NoShared, 64) {
    const WordFault* faults = ptr<const WordFault>(args.faults);
    const u64 at = word_of_thread();
    if (!is_first(faults, at, args.count)) return;
    *ptr<u32>(faults[at].address) = faults[at].before;
}
