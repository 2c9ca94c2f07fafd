//! The arenas that a step of an optimiser reads and writes, whatever its rule.

use bytemuck::{Pod, Zeroable};

use crate::cpu::gemm::SendPtr;
use crate::device::args::StepArenas;

/// Elements that share their options: parameters begin at multiples of this many, so that a block
/// is one parameter's. `kernels/optim/step.cuh` has the same number.
pub const STEP_BLOCK: usize = 16;

/// Elements of a task on the CPU: whole blocks.
const CHUNK: usize = 1 << 14;

/// The most arenas that a rule remembers.
pub const MOMENTS: usize = 3;

/// What a parameter has of its own. `kernels/optim/step.cuh` has the same struct.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct BlockOptions {
    /// Weight decay.
    pub decay: f32,
    /// What the learning rate is multiplied by.
    pub rate_scale: f32,
}

impl Default for BlockOptions {
    /// No decay, the rate as it is.
    fn default() -> Self {
        BlockOptions { decay: 0.0, rate_scale: 1.0 }
    }
}

/// Where the arenas of one step lie, and what becomes of gradients as they are read.
#[derive(Clone, Copy, Debug)]
pub struct Arenas {
    /// `count` f32 each: parameters and their gradients.
    pub values: u64,
    pub gradients: u64,
    /// `count` f32 each: what the optimiser remembers, as many of them as its rule has.
    pub moments: [u64; MOMENTS],
    /// ceil(`count` / [`STEP_BLOCK`]) [`BlockOptions`].
    pub blocks: u64,
    /// One f32 that gradients are multiplied by, NaN if there is to be no step; 0 for no factor.
    pub factor: u64,
    /// Gradients are first clamped to ± this (NaN stays NaN); infinity for no clamping.
    pub max_value: f32,
    pub count: usize,
}

impl Default for Arenas {
    /// No arenas, and gradients as they are.
    fn default() -> Self {
        Arenas {
            values: 0,
            gradients: 0,
            moments: [0; MOMENTS],
            blocks: 0,
            factor: 0,
            max_value: f32::INFINITY,
            count: 0,
        }
    }
}

/// How gradients are read: clipped, then multiplied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GradientReader {
    max_value: f32,
    factor: f32,
}

impl GradientReader {
    /// The gradient that a step goes by; NaN stays NaN.
    #[inline(always)]
    pub fn read(self, gradient: f32) -> f32 {
        let max = self.max_value;
        let low = if gradient < -max { -max } else { gradient };
        (if low > max { max } else { low }) * self.factor
    }
}

/// Part of the arenas on the host, for one task.
pub(crate) struct Chunk<'a> {
    pub values: &'a mut [f32],
    pub gradients: &'a [f32],
    pub blocks: &'a [BlockOptions],
    moments: [SendPtr<f32>; MOMENTS],
}

impl<'a> Chunk<'a> {
    /// This part of moment number `index`.
    ///
    /// # Safety
    /// The arenas have it, and this is called once for each moment of a chunk.
    pub unsafe fn moment(&self, index: usize) -> &'a mut [f32] {
        // SAFETY: the caller's; `Arenas::chunk` has found the part.
        unsafe { std::slice::from_raw_parts_mut(self.moments[index].get(), self.values.len()) }
    }
}

/// The step of a rule, by `step` of its module `cpu`, or by the kernel and the arguments of its module `cuda`.
macro_rules! step {
    ($(#[$about:meta])* $rule:ty) => {
        $(#[$about])*
        ///
        /// Kernels read the state at `state_address`; the CPU reads `state`.
        ///
        /// # Safety
        /// The arenas are memory of `device`, alive, apart from each other, and in nobody else's use.
        pub unsafe fn step(
            device: &$crate::device::Device,
            arenas: &$crate::ops::Arenas,
            state: &$crate::ops::RunState,
            state_address: u64,
            options: &$rule,
        ) -> $crate::Result<()> {
            if device.is_cpu() {
                // SAFETY: the caller's.
                unsafe { cpu::step(arenas, state, options) };
            } else if arenas.count > 0 {
                let config = $crate::ops::place::quad_grid(arenas.count);
                let args = cuda::args(arenas.of_kernels(state_address), options);
                // SAFETY: the caller's.
                unsafe { device.launch(cuda::KERNEL, config, &args) }?;
            }
            Ok(())
        }
    };
}

pub(crate) use step;

impl Arenas {
    /// The same for kernels, which read the state at `state`.
    pub(crate) fn of_kernels(&self, state: u64) -> StepArenas {
        let Arenas { values, gradients, moments, blocks, factor, max_value, count } = *self;
        let count = count as u64;
        StepArenas { values, gradients, moments, blocks, factor, state, count, max_value }
    }

    /// Tasks of a step on the CPU.
    pub(crate) fn chunks(&self) -> usize {
        self.count.div_ceil(CHUNK)
    }

    /// How gradients are read; `None` if there is to be no step.
    ///
    /// # Safety
    /// The factor, if there is one, is on the host and nobody writes to it.
    pub(crate) unsafe fn host_reader(&self) -> Option<GradientReader> {
        let factor = match self.factor {
            0 => 1.0,
            // SAFETY: the caller's.
            address => unsafe { *(address as *const f32) },
        };
        (!factor.is_nan()).then_some(GradientReader { max_value: self.max_value, factor })
    }

    /// Part number `index` of [`Arenas::chunks`].
    ///
    /// # Safety
    /// `index` is less than [`Arenas::chunks`]. The arenas are on the host, of `count` elements each with their blocks,
    /// alive and apart from each other for `'a`, and no part is taken twice at a time.
    #[inline(always)]
    pub(crate) unsafe fn chunk<'a>(&self, index: usize) -> Chunk<'a> {
        let start = index * CHUNK;
        let length = CHUNK.min(self.count - start);
        let at = |arena: u64| arena.wrapping_add(4 * start as u64) as *mut f32;
        let blocks = (self.blocks as *const BlockOptions).wrapping_add(start / STEP_BLOCK);
        // SAFETY: parts of the caller's arenas, of no other number.
        unsafe {
            Chunk {
                values: std::slice::from_raw_parts_mut(at(self.values), length),
                gradients: std::slice::from_raw_parts(at(self.gradients), length),
                blocks: std::slice::from_raw_parts(blocks, length.div_ceil(STEP_BLOCK)),
                moments: self.moments.map(|moment| SendPtr(at(moment))),
            }
        }
    }
}
