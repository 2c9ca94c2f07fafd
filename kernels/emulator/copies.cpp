// Asynchronous copies: queued by thread, done at their wait.

#include "copies.h"

#include <stdlib.h>

namespace emulator {

namespace {

struct Copy {
    void* to;
    const void* from;
    uint32_t bytes, valid;
    uint64_t group;
    Place place;
};

// As memcpy. The compiler turns a memcpy of constant size into a single move.
inline void move(void* to, const void* from, uint32_t bytes) {
    switch (bytes) {
    case 4: memcpy(to, from, 4); break;
    case 8: memcpy(to, from, 8); break;
    case 16: memcpy(to, from, 16); break;
    default: memcpy(to, from, bytes);
    }
}

constexpr unsigned char poison[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

} // namespace

// Copies in the order in which they began. The group that is open has number `committed`.
struct CopyQueue {
    Copy* copies;
    size_t count, capacity;
    uint64_t committed;
};

void begin_copy(void* to, const void* from, uint32_t bytes, uint32_t valid, const Place& place) {
    // The size is a power of two: an address is a multiple of it where none of these bits is set.
    const size_t rest = bytes - 1;
    if ((reinterpret_cast<size_t>(to) & rest) != 0)
        fail(place, "the address in shared memory isn't a multiple of the copy's size");
    if (valid != 0 && (reinterpret_cast<size_t>(from) & rest) != 0)
        fail(place, "the address in global memory isn't a multiple of the copy's size");
    if (valid > bytes) fail(place, "more bytes are valid than are copied");
    if (!is_shared(to, bytes)) fail(place, "the destination isn't shared memory");
    if (lane->copies == nullptr)
        lane->copies = static_cast<CopyQueue*>(calloc(1, sizeof(CopyQueue)));
    CopyQueue* queue = lane->copies;
    if (queue != nullptr && queue->count == queue->capacity) {
        size_t capacity = queue->capacity == 0 ? 16 : 2 * queue->capacity;
        void* grown = realloc(queue->copies, capacity * sizeof(Copy));
        if (grown == nullptr) fail(place, "there is no memory for the queue of copies");
        queue->copies = static_cast<Copy*>(grown);
        queue->capacity = capacity;
    }
    if (queue == nullptr) fail(place, "there is no memory for the queue of copies");
    move(to, poison, bytes);
    queue->copies[queue->count++] = {to, from, bytes, valid, queue->committed, place};
}

void commit_copies() {
    if (lane->copies != nullptr) ++lane->copies->committed;
}

void wait_copies(uint32_t newest) {
    CopyQueue* queue = lane->copies;
    if (queue == nullptr) return;
    size_t done = 0;
    for (; done < queue->count; ++done) {
        const Copy& copy = queue->copies[done];
        if (copy.group + newest >= queue->committed) break;
        move(copy.to, copy.from, copy.valid);
        if (copy.valid != copy.bytes)
            memset(static_cast<unsigned char*>(copy.to) + copy.valid, 0, copy.bytes - copy.valid);
    }
    // What is left moves to the front: it is never more than a few groups.
    queue->count -= done;
    if (queue->count != 0)
        memmove(queue->copies, queue->copies + done, queue->count * sizeof(Copy));
}

size_t copies_under_way(const Lane* of, Place* first) {
    const CopyQueue* queue = of->copies;
    if (queue == nullptr || queue->count == 0) return 0;
    *first = queue->copies[0].place;
    return queue->count;
}

void forget_copies(Lane* of) {
    if (of->copies != nullptr) of->copies->count = of->copies->committed = 0;
}

void free_copies(Lane* of) {
    if (of->copies == nullptr) return;
    free(of->copies->copies);
    free(of->copies);
    of->copies = nullptr;
}

} // namespace emulator
