// What changes from one replay of a launch to the next; src/ops/run_state.rs has the same struct.
#pragma once
#include "flipside.cuh"

struct RunState {
    u64 seed; // key of random masks
    u64 epoch;
    u32 images;   // valid images of the batch; kernels leave the others alone
    u32 training; // 1 while training
    f32 learning_rate;
    u32 padding;
};
static_assert(sizeof(RunState) == 32, "src/ops/run_state.rs has 32 bytes");
