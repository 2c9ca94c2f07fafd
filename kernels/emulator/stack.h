// Coroutine stacks: allocation in slabs, and the switch between two of them.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace emulator {

// A suspended or running flow of control. The OS thread's own stack is one too.
struct Stack {
    void* pointer = nullptr; // where the registers lie while it is suspended
    unsigned char* low = nullptr;
    size_t bytes = 0;
    Stack* next_free = nullptr;
    void* fake = nullptr; // AddressSanitizer's
};

// Suspends `from` and resumes `to`; returns when somebody resumes `from`.
void switch_to(Stack* from, Stack* to);

// Called once on every new stack, by its first switch, right after it arrives there.
void arrived_on_new_stack(Stack* here);

// Stacks of one worker. They are kept until it ends.
class StackPool {
  public:
    // False when the system has no memory left.
    bool init(size_t stack_bytes, void (*entry)());
    // A stack that stands at its entry, or where it called `put`; null without memory.
    Stack* take();
    void put(Stack* stack);
    // Sets every stack back to its entry, after a block was given up.
    void reset();
    // True unless a stack without a guard page was written to its end.
    bool intact() const;
    void free_all();

  private:
    static constexpr size_t slab_stacks = 32, max_slabs = 32;
    bool add_slab();
    void enter(Stack* stack);

    size_t stack_bytes_ = 0, page_ = 4096, slabs_ = 0;
    void (*entry_)() = nullptr;
    bool guarded_ = true;
    unsigned char* memory_[max_slabs] = {};
    Stack stacks_[max_slabs * slab_stacks];
    Stack* free_ = nullptr;
};

} // namespace emulator
