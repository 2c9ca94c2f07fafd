// What the scheduler asks about asynchronous copies.
#pragma once

#include "runtime.h"

namespace emulator {

// Copies that a thread began and hasn't waited for, and where the first of them began.
size_t copies_under_way(const Lane* of, Place* first);

// Drops them: the launch has failed.
void forget_copies(Lane* of);

// Gives the queue's memory back.
void free_copies(Lane* of);

} // namespace emulator
