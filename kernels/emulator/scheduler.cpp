// Runs one block: which thread goes next, who has met, and what to say when nobody can go on.
//
// Warps take turns in order; a warp runs until each of its lanes waits for the block or has ended,
// one pass over its ready lanes after another. So a warp runs as far ahead of the others as barriers
// allow, and the orders (forward, reverse, shuffled) turn a missing barrier into different bits.
// A thread that never waits starts on the stack that its predecessor left: no switch at all.

#include "copies.h"
#include "runtime.h"
#include "stack.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace emulator {

__thread Lane* lane __attribute__((tls_model("initial-exec"))) = nullptr;
__thread Block* block __attribute__((tls_model("initial-exec"))) = nullptr;

struct Warp {
    uint32_t live;      // has not ended
    uint32_t ready;     // can run
    uint32_t gathering; // meetings that wait for someone
    uint32_t open;      // meetings in use, gathering or being read
    Meeting* newest;    // the one that a lane came to last; null when it no longer gathers
    Meeting meetings[32];
};

namespace {

constexpr uint32_t max_threads = 1024, max_warps = 32, max_shared = 99 * 1024;
constexpr size_t zone_bytes = 256; // before and after shared memory
constexpr unsigned char poison = 0xff, zone_byte = 0xa7;

enum Order : uint32_t { forward = 0, reverse = 1, shuffle = 2 };

// What the Rust side asks for (mirrored in src/device/emulated.rs).
struct Launch {
    void (*run)(const void* args, void* shared);
    const void* args;
    Index3 grid, threads;
    uint32_t shared_bytes;
    uint32_t order;
    uint64_t seed;
    uint64_t* searches; // in fault tables, of all blocks; added to
};

struct Worker {
    void* memory; // that it lies in
    Block block;
    const Launch* launch;
    StackPool stacks;
    Stack scheduler;
    Lane lanes[max_threads];
    Warp warps[max_warps];
    Index3 shape; // the blockDim that `lanes` is numbered for
    uint32_t count, live;

    uint32_t base;         // first lane of the warp that runs
    uint32_t pass;         // positions in `turn` that have yet to run in this pass
    unsigned char turn[32]; // lane at each position

    uint32_t at_barrier, true_predicates, barrier_result;
    uint32_t barrier_first; // the lane whose place the others must share
    uint64_t random;

    unsigned char* shared;
    bool failed;
    char message[1024];
    size_t length;

    void say(const char* format, ...) __attribute__((format(printf, 2, 3))) {
        va_list list;
        va_start(list, format);
        int n = vsnprintf(message + length, sizeof message - length, format, list);
        va_end(list);
        if (n > 0) length += static_cast<size_t>(n);
        if (length >= sizeof message) length = sizeof message - 1;
    }

    void say_thread(uint32_t linear) {
        if (launch->threads.y == 1 && launch->threads.z == 1) return say("%u", linear);
        Index3 t = lanes[linear].thread;
        say("(%u,%u,%u)", t.x, t.y, t.z);
    }

    void say_place(const Place& place) { say("%s (%s:%d)", place.what, place.file, place.line); }

    uint32_t draw(uint32_t range) { // splitmix64
        uint64_t z = (random += 0x9e3779b97f4a7c15ull);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return static_cast<uint32_t>(((z ^ (z >> 31)) >> 32) * range >> 32);
    }
};

__thread Worker* worker __attribute__((tls_model("initial-exec"))) = nullptr;

inline bool same(const char* a, const char* b) { return a == b || strcmp(a, b) == 0; }

inline bool same(const Place& a, const Place& b) {
    return a.line == b.line && same(a.what, b.what) && same(a.file, b.file);
}

// Gives the processor to the next lane of this pass, or to the scheduler when there is none.
// Returns when this lane is resumed.
inline void suspend(Stack* here) {
    Worker* w = worker;
    if (w->failed || w->pass == 0) {
        switch_to(here, &w->scheduler);
        return;
    }
    uint32_t position = static_cast<uint32_t>(__builtin_ctz(w->pass));
    Lane* next = &w->lanes[w->base + w->turn[position]];
    if (next->stack == nullptr) {
        next->stack = w->stacks.take();
        if (next->stack == nullptr) {
            w->say("there is no memory for the stacks of the threads");
            w->failed = true;
            if (here != &w->scheduler) switch_to(here, &w->scheduler);
            return;
        }
    }
    w->pass &= w->pass - 1;
    lane = next;
    switch_to(here, next->stack);
}

// A lane leaves the launch for good after an error: nobody resumes it.
void give_up() {
    worker->failed = true;
    switch_to(lane->stack, &worker->scheduler);
    __builtin_trap();
}

void complete(Warp& warp, Meeting& meeting) {
    if (warp.newest == &meeting) warp.newest = nullptr;
    warp.gathering &= ~(1u << (&meeting - warp.meetings));
    warp.ready |= meeting.arrived;
}

// The lane that ran has returned from its kernel.
void end_lane(Worker* w, Lane* self) {
    Warp& warp = *self->warp;
    warp.live &= ~(1u << self->linear % 32);
    --w->live;
    for (uint32_t left = warp.gathering; left != 0; left &= left - 1) {
        uint32_t index = static_cast<uint32_t>(__builtin_ctz(left));
        Meeting& meeting = warp.meetings[index];
        if (meeting.arrived == (meeting.mask & warp.live)) complete(warp, meeting);
    }
    self->stack = nullptr;
    Place first;
    const size_t copies = copies_under_way(self, &first);
    if (copies != 0 && !w->failed) {
        w->say("thread ");
        w->say_thread(self->linear);
        w->say(" ended with %zu asynchronous cop%s that it never waited for, the first from ",
               copies, copies == 1 ? "y" : "ies");
        w->say_place(first);
        w->failed = true;
    }
}

// What a stack does all its life: run lanes that have not started yet.
void stack_main() {
    Stack* here = lane->stack;
    arrived_on_new_stack(here);
    for (;;) {
        Worker* w = worker;
        Lane* self = lane;
        self->stack = here;
        w->launch->run(w->launch->args, w->shared);
        w = worker;
        end_lane(w, self);
        if (w->pass != 0 && !w->failed) {
            Lane* next = &w->lanes[w->base + w->turn[__builtin_ctz(w->pass)]];
            if (next->stack == nullptr) {
                w->pass &= w->pass - 1;
                lane = next;
                continue;
            }
        }
        w->stacks.put(here);
        suspend(here);
    }
}

// Fisher-Yates.
template <class T> void mix(Worker* w, T* items, uint32_t count) {
    for (uint32_t i = count; i > 1; --i) {
        uint32_t j = w->draw(i);
        T kept = items[i - 1];
        items[i - 1] = items[j];
        items[j] = kept;
    }
}

void run_warp(Worker* w, uint32_t index) {
    Warp& warp = w->warps[index];
    w->base = index * 32;
    while (warp.ready != 0 && !w->failed) {
        uint32_t ready = warp.ready;
        warp.ready = 0;
        w->pass = 0;
        if (w->launch->order == forward)
            w->pass = ready;
        else
            for (uint32_t position = 0; position < 32; ++position)
                w->pass |= (ready >> w->turn[position] & 1u) << position;
        suspend(&w->scheduler);
    }
}

void describe_deadlock(Worker* w) {
    w->say("the block cannot go on:");
    const char* separator = " ";
    uint32_t groups = 0;
    for (uint32_t i = 0; i < w->count;) {
        const Lane& first = w->lanes[i];
        uint32_t end = i + 1;
        bool waits = first.at_barrier || first.meeting != nullptr;
        if (!waits) {
            i = end;
            continue;
        }
        while (end < w->count && end / 32 == i / 32 &&
               (w->lanes[end].at_barrier || w->lanes[end].meeting != nullptr) &&
               w->lanes[end].meeting == first.meeting && same(*w->lanes[end].place, *first.place))
            ++end;
        // Whole warps at one barrier are one group.
        while (first.at_barrier && end < w->count && w->lanes[end].at_barrier &&
               same(*w->lanes[end].place, *first.place))
            ++end;
        if (++groups > 6) {
            w->say("; and more");
            return;
        }
        w->say("%sthread%s ", separator, end - i > 1 ? "s" : "");
        w->say_thread(i);
        if (end - i > 1) {
            w->say(" to ");
            w->say_thread(end - 1);
        }
        w->say(end - i > 1 ? " wait at " : " waits at ");
        w->say_place(*first.place);
        if (first.meeting != nullptr) {
            const Warp& warp = w->warps[i / 32];
            w->say(" for lanes %08x of warp %u",
                   first.meeting->mask & warp.live & ~first.meeting->arrived, i / 32);
        }
        separator = "; ";
        i = end;
    }
}

void number_lanes(Worker* w) {
    Index3 d = w->launch->threads;
    if (d.x == w->shape.x && d.y == w->shape.y && d.z == w->shape.z) return;
    w->shape = d;
    w->count = d.x * d.y * d.z;
    uint32_t i = 0;
    for (uint32_t z = 0; z < d.z; ++z)
        for (uint32_t y = 0; y < d.y; ++y)
            for (uint32_t x = 0; x < d.x; ++x, ++i) {
                w->lanes[i].thread = {x, y, z};
                w->lanes[i].linear = i;
                w->lanes[i].warp = &w->warps[i / 32];
            }
}

void begin(Worker* w) {
    number_lanes(w);
    // Lanes that have ended leave their record as new; those that were given up don't.
    for (uint32_t i = 0; w->failed && i < max_threads; ++i) {
        w->lanes[i].stack = nullptr;
        w->lanes[i].meeting = nullptr;
        w->lanes[i].at_barrier = false;
        forget_copies(&w->lanes[i]);
    }
    w->failed = false;
    w->length = 0;
    w->message[0] = 0;
    w->live = w->count;
    w->at_barrier = w->true_predicates = 0;
    for (uint32_t i = 0; i * 32 < w->count; ++i) {
        uint32_t lanes = w->count - i * 32;
        Warp& warp = w->warps[i];
        warp.live = warp.ready = lanes >= 32 ? 0xffffffffu : (1u << lanes) - 1;
        warp.gathering = warp.open = 0;
        warp.newest = nullptr;
    }
    if (w->launch->shared_bytes != 0) {
        memset(w->shared - zone_bytes, zone_byte, zone_bytes);
        memset(w->shared, poison, w->launch->shared_bytes);
        memset(w->shared + w->launch->shared_bytes, zone_byte, zone_bytes);
#ifdef __SANITIZE_ADDRESS__
        __asan_poison_memory_region(w->shared - zone_bytes, zone_bytes);
        __asan_poison_memory_region(w->shared + w->launch->shared_bytes, zone_bytes);
#endif
    }
}

void check_zones(Worker* w) {
    if (w->launch->shared_bytes == 0) return;
    const unsigned char* end = w->shared + w->launch->shared_bytes;
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(w->shared - zone_bytes, zone_bytes);
    __asan_unpoison_memory_region(end, zone_bytes);
#endif
    if (w->failed) return;
    for (size_t i = 0; i < zone_bytes; ++i) {
        if (end[i] != zone_byte) {
            w->say("a thread wrote %zu bytes past the end of its shared memory (%u bytes)", i,
                   w->launch->shared_bytes);
            w->failed = true;
            return;
        }
        if (w->shared[-1 - static_cast<ptrdiff_t>(i)] != zone_byte) {
            w->say("a thread wrote %zu bytes before the start of its shared memory", i + 1);
            w->failed = true;
            return;
        }
    }
}

void run_phases(Worker* w) {
    unsigned char warps[max_warps];
    uint32_t warp_count = (w->count + 31) / 32;
    bool backwards = w->launch->order == reverse, mixed = w->launch->order == shuffle;
    for (uint32_t i = 0; i < 32; ++i)
        w->turn[i] = static_cast<unsigned char>(backwards ? 31 - i : i);
    for (uint32_t i = 0; i < warp_count; ++i)
        warps[i] = static_cast<unsigned char>(backwards ? warp_count - 1 - i : i);
    for (;;) {
        if (mixed) {
            mix(w, warps, warp_count);
            mix(w, w->turn, 32);
        }
        for (uint32_t i = 0; i < warp_count && !w->failed; ++i) run_warp(w, warps[i]);
        if (w->failed || w->live == 0) return;
        if (w->at_barrier != w->live) {
            describe_deadlock(w);
            w->failed = true;
            return;
        }
        w->barrier_result = w->true_predicates;
        w->at_barrier = w->true_predicates = 0;
        for (uint32_t i = 0; i < warp_count; ++i) w->warps[i].ready = w->warps[i].live;
    }
}

} // namespace

uint32_t meet_block(bool predicate, const Place& place) {
    Worker* w = worker;
    Lane* self = lane;
    self->place = &place;
    if (w->at_barrier == 0) {
        w->barrier_first = self->linear;
    } else if (!same(*w->lanes[w->barrier_first].place, place)) {
        w->say("threads of one block wait at different barriers: thread ");
        w->say_thread(w->barrier_first);
        w->say(" at ");
        w->say_place(*w->lanes[w->barrier_first].place);
        w->say(", thread ");
        w->say_thread(self->linear);
        w->say(" at ");
        w->say_place(place);
        give_up();
    }
    self->at_barrier = true;
    ++w->at_barrier;
    w->true_predicates += predicate;
    suspend(self->stack);
    self->at_barrier = false;
    return w->barrier_result;
}

namespace {

// The meeting that gathers the lanes of `mask`, or a new one.
__attribute__((noinline)) Meeting* find_meeting(uint32_t mask, const Place& place) {
    Worker* w = worker;
    Lane* self = lane;
    Warp& warp = *self->warp;
    uint32_t id = self->linear % 32;
    if ((mask >> id & 1u) == 0) {
        w->say("thread ");
        w->say_thread(self->linear);
        w->say(" is lane %u and calls ", id);
        w->say_place(place);
        w->say(" with a mask (%08x) that leaves it out", mask);
        give_up();
    }
    for (uint32_t left = warp.gathering; left != 0; left &= left - 1) {
        uint32_t i = static_cast<uint32_t>(__builtin_ctz(left));
        Meeting& meeting = warp.meetings[i];
        // Lanes may wait in a wider mask while others of it still meet in a narrower one.
        if (meeting.mask != mask) continue;
        if (!same(*meeting.place, place)) {
            uint32_t other = w->base + static_cast<uint32_t>(__builtin_ctz(meeting.arrived));
            w->say("lanes of one mask (%08x) wait for each other at different places: thread ",
                   mask);
            w->say_thread(other);
            w->say(" at ");
            w->say_place(*meeting.place);
            w->say(", thread ");
            w->say_thread(self->linear);
            w->say(" at ");
            w->say_place(place);
            give_up();
        }
        return &meeting;
    }
    // A lane holds at most one meeting, so one of 32 is always free.
    uint32_t index = static_cast<uint32_t>(__builtin_ctz(~warp.open));
    warp.open |= 1u << index;
    warp.gathering |= 1u << index;
    Meeting& fresh = warp.meetings[index];
    fresh.place = &place;
    fresh.mask = mask;
    fresh.arrived = fresh.unread = 0;
    return &fresh;
}

} // namespace

Meeting* meet_warp(uint32_t mask, const void* post, size_t bytes, const Place& place) {
    Lane* self = lane;
    Warp& warp = *self->warp;
    uint32_t id = self->linear % 32;
    self->place = &place;
    // Most often lanes come to where the one before them came.
    Meeting* newest = warp.newest;
    const bool joins_newest = newest != nullptr && newest->mask == mask &&
                              (mask >> id & 1u) != 0 && same(*newest->place, place);
    if (!joins_newest) newest = warp.newest = find_meeting(mask, place);
    Meeting& meeting = *newest;
    // The compiler turns a `memcpy` of constant size into a single move.
    if (bytes == 4)
        memcpy(meeting.posts[id], post, 4);
    else if (bytes == 8)
        memcpy(meeting.posts[id], post, 8);
    else if (bytes != 0)
        memcpy(meeting.posts[id], post, bytes);
    meeting.arrived |= 1u << id;
    ++meeting.unread;
    self->meeting = &meeting;
    if (meeting.arrived == (mask & warp.live)) complete(warp, meeting);
    suspend(self->stack);
    self->meeting = nullptr;
    return &meeting;
}

void end_meeting(Meeting* meeting) {
    Warp& warp = *lane->warp;
    warp.open &= ~(1u << (meeting - warp.meetings));
}

void fail(const Place& place, const char* why) {
    Worker* w = worker;
    w->say("thread ");
    w->say_thread(lane->linear);
    w->say(" at ");
    w->say_place(place);
    w->say(": %s", why);
    give_up();
}

} // namespace emulator

using namespace emulator;

extern "C" {

// A worker belongs to one OS thread. Null when there is no memory for it.
void* flipside_emulator_worker_new(size_t stack_bytes) {
    // Not zeroed by hand: most of it is meetings, which are written before they are read.
    void* memory = calloc(1, sizeof(Worker) + alignof(Worker));
    unsigned char* shared = nullptr;
    if (memory == nullptr) return nullptr;
    const uintptr_t past = reinterpret_cast<uintptr_t>(memory) + alignof(Worker) - 1;
    Worker* w = reinterpret_cast<Worker*>(past / alignof(Worker) * alignof(Worker));
    w->memory = memory;
    if (posix_memalign(reinterpret_cast<void**>(&shared), 256, max_shared + 2 * zone_bytes) != 0) {
        free(memory);
        return nullptr;
    }
    w->shared = shared + zone_bytes;
    if (!w->stacks.init(stack_bytes, stack_main)) {
        free(shared);
        free(memory);
        return nullptr;
    }
    return w;
}

void flipside_emulator_worker_free(void* memory) {
    Worker* w = static_cast<Worker*>(memory);
    w->stacks.free_all();
    for (uint32_t i = 0; i < max_threads; ++i) free_copies(&w->lanes[i]);
    free(w->shared - zone_bytes);
    free(w->memory);
}

// Runs one block. Returns 0, or the length of the error's text in `message`.
size_t flipside_emulator_run(void* memory, const Launch* launch, const Index3* index, char* message,
                             size_t capacity) {
    Worker* w = static_cast<Worker*>(memory);
    worker = w;
    w->launch = launch;
    w->block = {*index, launch->threads, launch->grid, 0, w->shared, launch->shared_bytes};
    block = &w->block;
    uint64_t number =
        index->x + uint64_t(launch->grid.x) * (index->y + uint64_t(launch->grid.y) * index->z);
    w->random = launch->seed + number * 0xd1342543de82ef95ull;
    begin(w);
    run_phases(w);
    if (w->block.searches) __atomic_fetch_add(launch->searches, w->block.searches, __ATOMIC_RELAXED);
    check_zones(w);
    if (!w->failed && !w->stacks.intact()) {
        w->say("a thread used more stack than there is");
        w->failed = true;
    }
    worker = nullptr;
    block = nullptr;
    lane = nullptr;
    if (!w->failed) return 0;
    w->stacks.reset();
    size_t length = w->length < capacity ? w->length : capacity;
    memcpy(message, w->message, length);
    return length;
}

} // extern "C"
