// What changes from one replay of a launch to the next; src/ops/run_state.rs has the same struct.
#pragma once
#include "common/flipside.cuh"

struct RunState {
    u64 seed; // key of random masks
    u64 epoch;
    u32 images;   // valid images of the batch; kernels leave the others alone
    u32 training; // 1 while training
    f32 learning_rate;
    u32 step; // of the run, from 0
    // AdamW's 1 − β₁^(step + 1) and √(1 − β₂^(step + 1)); the host takes the powers in f64
    f32 bias_correction1;
    f32 sqrt_bias_correction2;
};
static_assert(sizeof(RunState) == 40, "src/ops/run_state.rs has 40 bytes");
