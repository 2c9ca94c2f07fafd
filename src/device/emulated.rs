//! Launching on the emulator: blocks over the worker threads, each worker with its own coroutines.

use std::cell::OnceCell;
use std::ffi::{c_char, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::kernels::{self, KernelInfo, LaunchConfig, Mutant, RunKernel};
use crate::{Error, Result};

/// The order in which the threads of a block run where nothing else decides. A kernel whose result
/// depends on it has a race.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThreadOrder {
    /// 0, 1, 2, …
    #[default]
    Forward,
    /// …, 2, 1, 0
    Reverse,
    /// At random by a seed, drawn afresh after each barrier.
    Shuffle(u64),
}

/// How an emulated device runs kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmulatorOptions {
    /// The order of the threads in a block, and of the blocks when they don't run in parallel.
    pub order: ThreadOrder,
    /// Whether blocks run at the same time.
    pub parallel: bool,
    /// The deliberate error that kernels have.
    pub mutant: Option<&'static Mutant>,
}

impl Default for EmulatorOptions {
    fn default() -> Self {
        EmulatorOptions { order: ThreadOrder::Forward, parallel: true, mutant: None }
    }
}

/// The stack of one CUDA thread. The compiler refuses kernels with frames of half of this.
const STACK_BYTES: usize = 64 * 1024;

// `Launch` and the functions of kernels/emulator/scheduler.cpp.
#[repr(C)]
struct Launch {
    run: RunKernel,
    args: *const c_void,
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    order: u32,
    seed: u64,
    searches: *const AtomicU64,
}

// SAFETY: the workers only read it, but for the count behind it, which is atomic; both outlive the launch.
unsafe impl Sync for Launch {}

unsafe extern "C" {
    fn flipside_emulator_worker_new(stack_bytes: usize) -> *mut c_void;
    fn flipside_emulator_worker_free(worker: *mut c_void);
    fn flipside_emulator_run(
        worker: *mut c_void,
        launch: *const Launch,
        index: *const [u32; 3],
        message: *mut c_char,
        capacity: usize,
    ) -> usize;
}

/// The stacks and the shared memory of one OS thread.
struct ThreadStacks(NonNull<c_void>);

impl Drop for ThreadStacks {
    fn drop(&mut self) {
        // SAFETY: made by `flipside_emulator_worker_new`, freed once, not running.
        unsafe { flipside_emulator_worker_free(self.0.as_ptr()) }
    }
}

thread_local! {
    static WORKER: OnceCell<ThreadStacks> = const { OnceCell::new() };
}

/// Runs one block on this OS thread.
///
/// # Safety
/// As [`launch`].
unsafe fn run_block(launch: &Launch, index: [u32; 3]) -> std::result::Result<(), String> {
    WORKER.with(|cell| {
        if cell.get().is_none() {
            // SAFETY: no precondition; null says that there is no memory.
            let worker = unsafe { flipside_emulator_worker_new(STACK_BYTES) };
            let worker = NonNull::new(worker).ok_or("there is no memory for a worker")?;
            let _ = cell.set(ThreadStacks(worker));
        }
        let worker = cell.get().ok_or("the worker is gone")?;
        let mut message = [0u8; 1024];
        // SAFETY: the kernel and its arguments are the caller's. The worker belongs to this thread and runs no block
        // now, since a block calls back into nothing; `launch` and `message` outlive the call.
        let length = unsafe {
            flipside_emulator_run(
                worker.0.as_ptr(),
                launch,
                &index,
                message.as_mut_ptr().cast(),
                message.len(),
            )
        };
        match length {
            0 => Ok(()),
            n => Err(String::from_utf8_lossy(&message[..n.min(message.len())]).into_owned()),
        }
    })
}

/// A permutation of `0..count` that needs no memory: multiply by a number coprime to `count`.
struct Scatter {
    count: u64,
    factor: u64,
    start: u64,
}

impl Scatter {
    fn new(count: u64, seed: u64) -> Self {
        let mut factor = (seed | 1) % count.max(1);
        while factor == 0 || gcd(factor, count) != 1 {
            factor = factor % count.max(1) + 1;
        }
        Scatter { count, factor, start: seed % count.max(1) }
    }

    fn at(&self, i: u64) -> u64 {
        ((u128::from(i) * u128::from(self.factor) + u128::from(self.start))
            % u128::from(self.count)) as u64
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Runs a kernel to its end and adds its searches of fault tables to `searches`. The first block that fails is reported.
///
/// # Safety
/// `number` and `info` are one kernel's, for which [`kernels::check_launch`] has passed the configuration and the type
/// whose bytes `args` holds. Addresses in it are as [`super::Device::launch`] says.
pub(super) unsafe fn launch(
    options: &EmulatorOptions,
    number: usize,
    info: &KernelInfo,
    (grid, block): LaunchConfig,
    args: &[u8],
    searches: &AtomicU64,
) -> Result<()> {
    // The struct's fields are at most 8 bytes wide, its copy here is aligned for any of them.
    let mut aligned = vec![0u128; args.len().div_ceil(16)];
    bytemuck::cast_slice_mut(&mut aligned)[..args.len()].copy_from_slice(args);
    let (order, seed) = match options.order {
        ThreadOrder::Forward => (0, 0),
        ThreadOrder::Reverse => (1, 0),
        ThreadOrder::Shuffle(seed) => (2, seed),
    };
    let (run, shared_bytes) = kernels::code_of(number, options.mutant);
    let args = aligned.as_ptr().cast();
    let launch = Launch { run, args, grid, block, shared_bytes, order, seed, searches };
    let [width, height, depth] = grid.map(u64::from);
    let count = width * height * depth;
    let first_failed = AtomicU64::new(u64::MAX);
    let run = |index: u64| -> Option<(u64, String)> {
        if index > first_failed.load(Ordering::Relaxed) {
            return None;
        }
        let place =
            [index % width, index / width % height, index / (width * height)].map(|i| i as u32);
        // SAFETY: the caller's; the arguments' copy outlives the launch.
        let detail = unsafe { run_block(&launch, place) }.err()?;
        first_failed.fetch_min(index, Ordering::Relaxed);
        Some((index, format!("block ({},{},{}): {detail}", place[0], place[1], place[2])))
    };
    let failure = if options.parallel && count > 1 {
        (0..count).into_par_iter().filter_map(run).min_by_key(|(index, _)| *index)
    } else {
        let scatter = Scatter::new(count, seed);
        let block_at = |i| match options.order {
            ThreadOrder::Forward => i,
            ThreadOrder::Reverse => count - 1 - i,
            ThreadOrder::Shuffle(_) => scatter.at(i),
        };
        (0..count).filter_map(|i| run(block_at(i))).min_by_key(|(index, _)| *index)
    };
    match failure {
        None => Ok(()),
        Some((_, detail)) => Err(Error::Kernel { kernel: info.symbol.into(), detail }),
    }
}
