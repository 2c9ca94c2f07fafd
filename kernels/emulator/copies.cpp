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

} // namespace

// Copies in the order in which they began. The group that is open has number `committed`.
struct CopyQueue {
    Copy* copies;
    size_t first, count, capacity;
    uint64_t committed;
};

void begin_copy(void* to, const void* from, uint32_t bytes, uint32_t valid, Place place) {
    if (reinterpret_cast<size_t>(to) % bytes != 0)
        fail(place, "the address in shared memory isn't a multiple of the copy's size");
    if (valid != 0 && reinterpret_cast<size_t>(from) % bytes != 0)
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
    memset(to, 0xff, bytes);
    queue->copies[queue->count++] = {to, from, bytes, valid, queue->committed, place};
}

void commit_copies() {
    if (lane->copies != nullptr) ++lane->copies->committed;
}

void wait_copies(uint32_t newest) {
    CopyQueue* queue = lane->copies;
    if (queue == nullptr) return;
    for (; queue->first < queue->count; ++queue->first) {
        const Copy& copy = queue->copies[queue->first];
        if (copy.group + newest >= queue->committed) break;
        memcpy(copy.to, copy.from, copy.valid);
        memset(static_cast<unsigned char*>(copy.to) + copy.valid, 0, copy.bytes - copy.valid);
    }
    // What is left moves to the front: it is never more than a few groups.
    queue->count -= queue->first;
    memmove(queue->copies, queue->copies + queue->first, queue->count * sizeof(Copy));
    queue->first = 0;
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
