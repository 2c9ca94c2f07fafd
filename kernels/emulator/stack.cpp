// The only code that knows a processor: how a suspended coroutine's registers lie on its stack.

#include "stack.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__APPLE__)
#define SWITCH "_flipside_emulator_switch"
#else
#define SWITCH "flipside_emulator_switch"
#endif

extern "C" void flipside_emulator_switch(void** save, void* load);

// Saves the registers that a called function owes its caller, exchanges the stacks, and returns on
// the other one. Rounding modes are the same on both sides and stay.
#if defined(__x86_64__)
asm(".text\n"
    ".p2align 4\n"
    ".globl " SWITCH "\n" SWITCH ":\n"
    "    pushq %rbp\n"
    "    pushq %rbx\n"
    "    pushq %r12\n"
    "    pushq %r13\n"
    "    pushq %r14\n"
    "    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n"
    "    popq %r14\n"
    "    popq %r13\n"
    "    popq %r12\n"
    "    popq %rbx\n"
    "    popq %rbp\n"
    "    ret\n");
// Six registers, the entry, and the slot of the return address that the entry's caller would have
// left: the entry then finds the stack aligned as after a call.
static constexpr size_t frame_words = 8, entry_word = 6;
#elif defined(__aarch64__)
asm(".text\n"
    ".p2align 4\n"
    ".globl " SWITCH "\n" SWITCH ":\n"
    "    sub sp, sp, #160\n"
    "    stp x19, x20, [sp, #0]\n"
    "    stp x21, x22, [sp, #16]\n"
    "    stp x23, x24, [sp, #32]\n"
    "    stp x25, x26, [sp, #48]\n"
    "    stp x27, x28, [sp, #64]\n"
    "    stp x29, x30, [sp, #80]\n"
    "    stp d8, d9, [sp, #96]\n"
    "    stp d10, d11, [sp, #112]\n"
    "    stp d12, d13, [sp, #128]\n"
    "    stp d14, d15, [sp, #144]\n"
    "    mov x9, sp\n"
    "    str x9, [x0]\n"
    "    mov sp, x1\n"
    "    ldp x19, x20, [sp, #0]\n"
    "    ldp x21, x22, [sp, #16]\n"
    "    ldp x23, x24, [sp, #32]\n"
    "    ldp x25, x26, [sp, #48]\n"
    "    ldp x27, x28, [sp, #64]\n"
    "    ldp x29, x30, [sp, #80]\n"
    "    ldp d8, d9, [sp, #96]\n"
    "    ldp d10, d11, [sp, #112]\n"
    "    ldp d12, d13, [sp, #128]\n"
    "    ldp d14, d15, [sp, #144]\n"
    "    add sp, sp, #160\n"
    "    ret\n");
// Twenty registers; x30, the twelfth, is where `ret` goes.
static constexpr size_t frame_words = 20, entry_word = 11;
#else
#error "the emulator switches stacks on x86-64 and aarch64 only"
#endif

namespace emulator {

// Lies at the low end of each stack; a kernel that needs more stack than there is writes over it,
// unless it meets the guard page below first.
static constexpr uint64_t canary = 0x5ca1ab1e0ddba11ull;

#ifdef __SANITIZE_ADDRESS__
static __thread Stack* came_from = nullptr;

static void finish(Stack* here) {
    const void* low = nullptr;
    size_t bytes = 0;
    __sanitizer_finish_switch_fiber(here->fake, &low, &bytes);
    if (came_from->low == nullptr) { // the OS thread's stack, whose bounds only it knows
        came_from->low = static_cast<unsigned char*>(const_cast<void*>(low));
        came_from->bytes = bytes;
    }
}

void switch_to(Stack* from, Stack* to) {
    came_from = from;
    __sanitizer_start_switch_fiber(&from->fake, to->low, to->bytes);
    flipside_emulator_switch(&from->pointer, to->pointer);
    finish(from);
}

void arrived_on_new_stack(Stack* here) { finish(here); }
#else
void switch_to(Stack* from, Stack* to) { flipside_emulator_switch(&from->pointer, to->pointer); }

void arrived_on_new_stack(Stack*) {}
#endif

bool StackPool::init(size_t stack_bytes, void (*entry)()) {
    page_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    stack_bytes_ = (stack_bytes + page_ - 1) / page_ * page_;
    entry_ = entry;
    guarded_ = true;
    return add_slab();
}

bool StackPool::add_slab() {
    if (slabs_ == max_slabs) return false;
    size_t stride = stack_bytes_ + page_;
    void* memory = mmap(nullptr, stride * slab_stacks, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    memory_[slabs_] = static_cast<unsigned char*>(memory);
    for (size_t i = slab_stacks; i-- > 0;) {
        Stack* stack = &stacks_[slabs_ * slab_stacks + i];
        unsigned char* base = memory_[slabs_] + i * stride;
        // A guard page splits a mapping, and a system allows only so many: then the canary serves.
        if (mprotect(base, page_, PROT_NONE) != 0) guarded_ = false;
        stack->low = base + page_;
        stack->bytes = stack_bytes_;
        memcpy(stack->low, &canary, sizeof canary);
        enter(stack);
        put(stack);
    }
    ++slabs_;
    return true;
}

// Lays out a stack as if the entry had been about to start when it was suspended.
void StackPool::enter(Stack* stack) {
    // Stacks start at staggered places: at one offset from a page, the tops of all of them would
    // compete for the same few lines of the first-level cache.
    size_t index = static_cast<size_t>(stack - stacks_);
    uintptr_t top = reinterpret_cast<uintptr_t>(stack->low) + stack->bytes - index % 16 * 256;
    uint64_t* frame = reinterpret_cast<uint64_t*>(top & ~uintptr_t(15)) - frame_words;
    memset(frame, 0, frame_words * sizeof *frame);
    frame[entry_word] = reinterpret_cast<uint64_t>(entry_);
    stack->pointer = frame;
    stack->fake = nullptr;
}

Stack* StackPool::take() {
    if (free_ == nullptr && !add_slab()) return nullptr;
    Stack* stack = free_;
    free_ = stack->next_free;
    return stack;
}

void StackPool::put(Stack* stack) {
    stack->next_free = free_;
    free_ = stack;
}

void StackPool::reset() {
    free_ = nullptr;
    for (size_t i = slabs_ * slab_stacks; i-- > 0;) {
        memcpy(stacks_[i].low, &canary, sizeof canary);
        enter(&stacks_[i]);
        put(&stacks_[i]);
    }
}

bool StackPool::intact() const {
    for (size_t i = 0; i < slabs_ * slab_stacks && !guarded_; ++i)
        if (memcmp(stacks_[i].low, &canary, sizeof canary) != 0) return false;
    return true;
}

void StackPool::free_all() {
    for (size_t i = 0; i < slabs_; ++i)
        munmap(memory_[i], (stack_bytes_ + page_) * slab_stacks);
    slabs_ = 0;
    free_ = nullptr;
}

} // namespace emulator
