//! What a step of an optimiser goes over, whatever its rule.

use crate::cpu::gemm::SendPtr;

/// Elements that share a weight decay: parameters begin at multiples of this many, so that a block
/// is one parameter's. `kernels/optim/step.cuh` has the same number.
pub const DECAY_BLOCK: usize = 16;

/// Elements of a task on the CPU: whole blocks.
const CHUNK: usize = 1 << 14;

/// Where the arenas of one step lie.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arenas {
    /// `count` f32 each: parameters and their gradients.
    pub values: u64,
    pub gradients: u64,
    /// `count` f32 each: what the optimiser remembers, as many of the two as its rule has.
    pub moments: [u64; 2],
    /// ceil(`count` / [`DECAY_BLOCK`]) f32: the weight decay of each block.
    pub decays: u64,
    /// One f32 that gradients are multiplied by, NaN if there is to be no step; 0 for no factor.
    pub factor: u64,
    pub count: usize,
}

/// Part of the arenas on the host, for one task.
pub(crate) struct Chunk<'a> {
    pub values: &'a mut [f32],
    pub gradients: &'a [f32],
    pub decays: &'a [f32],
    first: SendPtr<f32>,
    second: SendPtr<f32>,
}

impl<'a> Chunk<'a> {
    /// This part of the first moment.
    ///
    /// # Safety
    /// The arenas have it, and this is called once a chunk.
    pub unsafe fn first(&self) -> &'a mut [f32] {
        // SAFETY: the caller's; `Arenas::chunk` has found the part.
        unsafe { std::slice::from_raw_parts_mut(self.first.get(), self.values.len()) }
    }

    /// This part of the second moment.
    ///
    /// # Safety
    /// As [`Chunk::first`].
    pub unsafe fn second(&self) -> &'a mut [f32] {
        // SAFETY: the caller's; `Arenas::chunk` has found the part.
        unsafe { std::slice::from_raw_parts_mut(self.second.get(), self.values.len()) }
    }
}

impl Arenas {
    /// Tasks of a step on the CPU.
    pub(crate) fn chunks(&self) -> usize {
        self.count.div_ceil(CHUNK)
    }

    /// What the gradients are multiplied by; `None` if there is to be no step.
    ///
    /// # Safety
    /// The factor, if there is one, is on the host and nobody writes to it.
    pub(crate) unsafe fn host_factor(&self) -> Option<f32> {
        if self.factor == 0 {
            return Some(1.0);
        }
        // SAFETY: the caller's.
        let factor = unsafe { *(self.factor as *const f32) };
        (!factor.is_nan()).then_some(factor)
    }

    /// Part number `index` of [`Arenas::chunks`].
    ///
    /// # Safety
    /// The arenas are on the host, alive and apart from each other for `'a`, and no two parts of
    /// one number are there at a time.
    #[inline(always)]
    pub(crate) unsafe fn chunk<'a>(&self, index: usize) -> Chunk<'a> {
        let start = index * CHUNK;
        let length = CHUNK.min(self.count - start);
        let at = |arena: u64| arena.wrapping_add(4 * start as u64) as *mut f32;
        let decays = (self.decays as *const f32).wrapping_add(start / DECAY_BLOCK);
        // SAFETY: parts of the caller's arenas, of no other number.
        unsafe {
            Chunk {
                values: std::slice::from_raw_parts_mut(at(self.values), length),
                gradients: std::slice::from_raw_parts(at(self.gradients), length),
                decays: std::slice::from_raw_parts(decays, length.div_ceil(DECAY_BLOCK)),
                first: SendPtr(at(self.moments[0])),
                second: SendPtr(at(self.moments[1])),
            }
        }
    }
}
