// What emulated kernels ask of the emulator: who am I, wait for the block, meet my warp.
//
// A CUDA thread is a coroutine with a stack of its own. It runs until it waits or ends; the
// scheduler (scheduler.cpp) then runs another of the same block. All threads of a block run on one
// OS thread, so `lane` and `block` below may be read at any time without locks.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace emulator {

struct Index3 {
    uint32_t x, y, z;
};

struct Stack;
struct Meeting;
struct Warp;
struct CopyQueue;

// Where in a kernel file a thread waits.
struct Place {
    const char* what; // the CUDA name, such as "__syncthreads"
    const char* file;
    int line;
};

// One CUDA thread; fills one cache line.
struct alignas(64) Lane {
    Index3 thread;    // threadIdx
    uint32_t linear;  // x + Dx·(y + Dy·z)
    Stack* stack;     // null before the first instruction and after the last
    Warp* warp;
    Meeting* meeting; // that it waits in, if any
    CopyQueue* copies; // asynchronous copies under way; null before the first
    bool at_barrier;
    const Place* place; // where it waits; valid only while it does
};

// The block that this OS thread runs.
struct Block {
    Index3 index;  // blockIdx
    Index3 threads; // blockDim
    Index3 grid;   // gridDim
    uint64_t searches; // in fault tables, by all of its threads
    unsigned char* shared; // its shared memory
    size_t shared_bytes;
};

// One coming together of lanes of a warp: what each of them posted, for all of them to read.
struct Meeting {
    const Place* place; // of whoever came first; valid only while it gathers
    uint32_t mask;      // who is to come
    uint32_t arrived;   // who has come
    uint32_t unread;    // how many of them have yet to leave
    alignas(16) unsigned char posts[32][64];
};

// Initial-exec: read with one instruction. A coroutine never changes its OS thread.
extern __thread Lane* lane __attribute__((tls_model("initial-exec")));
extern __thread Block* block __attribute__((tls_model("initial-exec")));

// Waits until every live thread of the block is here; returns how many of them came with a
// predicate that is true.
uint32_t meet_block(bool predicate, const Place& place);

// Posts up to 64 bytes and waits until every live lane of `mask` has posted at the same place.
// The meeting stays readable until every lane has called `leave`, as it must.
Meeting* meet_warp(uint32_t mask, const void* post, size_t bytes, const Place& place);
void end_meeting(Meeting* meeting); // when all have left
// Always inline, as is what follows: this file is outside of the unnamed namespace of kernels, and
// a copy that is compiled for AVX2 could stand in for the other.
inline __attribute__((always_inline)) void leave(Meeting* meeting) {
    if (--meeting->unread == 0) end_meeting(meeting);
}

// Ends the launch with an error that names this thread, the place and `why`.
void fail(const Place& place, const char* why);

// Whether `bytes` from `address` lie in the block's shared memory.
inline __attribute__((always_inline)) bool is_shared(const void* address, size_t bytes) {
    const size_t offset =
        reinterpret_cast<size_t>(address) - reinterpret_cast<size_t>(block->shared);
    return offset < block->shared_bytes && bytes <= block->shared_bytes - offset;
}

// Asynchronous copies to shared memory (copies.cpp), with the groups of cp.async. The destination is
// poisoned with NaN when a copy begins, and written by the wait that the copy is done at: a missing
// wait, and a copy into memory that others still read, both show. Of `bytes`, which are 4, 8 or 16,
// the first `valid` are copied and the others set to zero. Fails where an address isn't a multiple of
// `bytes`.
void begin_copy(void* to, const void* from, uint32_t bytes, uint32_t valid, const Place& place);
void commit_copies();
void wait_copies(uint32_t newest);

inline __attribute__((always_inline)) uint32_t lane_id() { return lane->linear % 32; }

// ---- what a compiled kernel file tells the Rust side (mirrored in src/device/kernels.rs) ----

struct KernelEntry {
    const char* symbol;
    const char* args;
    void (*run)(const void* args, void* shared);
    uint32_t args_bytes;
    uint32_t shared_bytes;
    uint32_t max_threads;
};

struct FileTable {
    const KernelEntry* kernels;
    uint64_t kernel_count;
};

} // namespace emulator
