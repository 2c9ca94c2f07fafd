//! The batch that is run: what the passes of its images read, on the host and in device memory.

use super::Execution;
use crate::device::{Buffer, Device};
use crate::ops::RunState;
use crate::{Error, Result};

pub(super) struct BatchState {
    state: RunState,
    buffer: Buffer,
    /// The same for nodes whose value is one for all images: a batch of one.
    shared_buffer: Buffer,
    samples: Vec<u64>,
    samples_buffer: Buffer,
}

impl BatchState {
    /// Of up to `capacity` images.
    pub fn new(device: &Device, capacity: usize) -> Result<BatchState> {
        Ok(BatchState {
            state: RunState::default(),
            buffer: device.alloc(size_of::<RunState>())?,
            shared_buffer: device.alloc(size_of::<RunState>())?,
            samples: vec![0; capacity],
            samples_buffer: device.alloc(8 * capacity)?,
        })
    }

    pub fn is_training(&self) -> bool {
        self.state.training != 0
    }

    /// The state, or that of a batch of one, and where kernels read it.
    pub fn state(&self, of_one: bool) -> (RunState, u64) {
        match of_one {
            true => (RunState { images: 1, ..self.state }, self.shared_buffer.address()),
            false => (self.state, self.buffer.address()),
        }
    }

    /// The sample id of each image, and where kernels read them.
    pub fn samples(&self) -> (&[u64], u64) {
        (&self.samples, self.samples_buffer.address())
    }
}

impl Execution {
    /// The valid images of the batch.
    pub fn images(&self) -> usize {
        self.batch.state.images as usize
    }

    /// Begins a batch of `images` in eval mode.
    pub fn begin(&mut self, images: usize) -> Result<()> {
        self.begin_batch(RunState { images: images as u32, ..RunState::default() }, &[])
    }

    /// Begins a batch of `samples.len()` images in training mode; `samples` and the key in
    /// `state` decide the random masks.
    pub fn begin_training(&mut self, state: RunState, samples: &[u64]) -> Result<()> {
        let state = RunState { images: samples.len() as u32, training: 1, ..state };
        self.begin_batch(state, samples)
    }

    fn begin_batch(&mut self, state: RunState, samples: &[u64]) -> Result<()> {
        if state.images as usize > self.capacity() {
            return Err(Error::usage(format!(
                "a batch of {} images, but there is room for {}",
                state.images,
                self.capacity()
            )));
        }
        let batch = &mut self.batch;
        batch.state = state;
        batch.buffer.write(0, bytemuck::bytes_of(&state))?;
        let shared = RunState { images: 1, ..state };
        batch.shared_buffer.write(0, bytemuck::bytes_of(&shared))?;
        batch.samples[..samples.len()].copy_from_slice(samples);
        batch.samples_buffer.write(0, bytemuck::cast_slice(&batch.samples))
    }
}
