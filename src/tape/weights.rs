//! The parameters and state of a tape on a device, with their gradients.

use std::sync::Arc;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{Param, ParamId, Slot, Tape};
use crate::device::{Buffer, Device};
use crate::ops::arenas::STEP_BLOCK;
use crate::ops::{Init, Role, ema};
use crate::rng::{self, Draw, Stream};
use crate::tensor::{DType, Map, Spec, Tensor};
use crate::{Error, Result};

/// Each parameter starts at a multiple of this many bytes, so that an optimiser's block lies in one parameter.
const ALIGNMENT: usize = size_of::<f32>() * STEP_BLOCK;

/// How many values of a parameter a thread draws at a time.
const DRAWN_CHUNK: usize = 1 << 16;

/// The values of a tape's parameters, and gradients where it is trained.
///
/// Trained parameters lie first, in reverse tape order, so that their gradients become final from
/// the front of the gradient arena to its end; then come running statistics, what is frozen, counters and indices.
pub struct Weights {
    tape: Arc<Tape>,
    values: Buffer,
    gradients: Option<Buffer>,
    slots: Vec<Slot>,
    trained_bytes: usize,
    /// What training moves: all but what is frozen, counters and indices.
    moving_bytes: usize,
}

impl Weights {
    /// Zeros for every parameter of `tape` on `device`, but for those whose values follow from the
    /// architecture; with room for gradients if `trained`.
    pub fn new(tape: &Arc<Tape>, device: &Device, trained: bool) -> Result<Self> {
        let mut slots = vec![Slot::default(); tape.params().len()];
        let mut offset = 0;
        // Where each of the kinds ends.
        let mut ends = [0; 4];
        let kind = |param: &Param| match param.spec.role {
            Role::Counter | Role::Index => 3,
            _ if param.frozen => 2,
            role if role.is_trained() => 0,
            _ => 1,
        };
        for (number, end) in ends.iter_mut().enumerate() {
            for (index, param) in tape.params().iter().enumerate().rev() {
                if kind(param) == number {
                    let bytes = param.spec.elements() * param.spec.dtype().bytes();
                    slots[index] = Slot { offset, bytes };
                    offset += bytes.next_multiple_of(ALIGNMENT);
                }
            }
            *end = offset;
        }
        let [trained_bytes, moving_bytes, ..] = ends;
        let gradients = if trained { Some(device.alloc(trained_bytes)?) } else { None };
        let values = device.alloc(offset)?;
        let mut weights =
            Weights { tape: tape.clone(), values, gradients, slots, trained_bytes, moving_bytes };
        for (index, param) in tape.params().iter().enumerate() {
            if let Init::Given(values) = &param.spec.init {
                weights.set(ParamId(index), values)?;
            }
        }
        Ok(weights)
    }

    /// Initial values: each parameter as its operation says, random ones keyed by (`seed`, name).
    pub fn initialize(&mut self, seed: u64) -> Result<()> {
        let tape = self.tape.clone();
        for (index, param) in tape.params().iter().enumerate() {
            let count = param.spec.elements();
            let mut draws = rng::stream(seed, &format!("init {}", param.name));
            let values: Vec<f32> = match &param.spec.init {
                Init::Constant(value) => vec![*value; count],
                Init::Normal(std) => {
                    drawn(&draws, count, 2, |draws| (normal(draws) * f64::from(*std)) as f32)
                }
                Init::TruncatedNormal(std) => (0..count)
                    .map(|_| (truncated_normal(&mut draws) * f64::from(*std)) as f32)
                    .collect(),
                Init::Uniform(bound) => {
                    let bound = f64::from(*bound);
                    drawn(&draws, count, 1, |draws| draws.between(-bound, bound) as f32)
                }
                Init::Given(values) => values.to_vec(),
            };
            self.set(ParamId(index), &values)?;
        }
        Ok(())
    }

    /// The tape that these belong to.
    pub fn tape(&self) -> &Arc<Tape> {
        &self.tape
    }

    /// The device that holds them.
    pub fn device(&self) -> &Device {
        self.values.device()
    }

    /// Where the parameters start.
    pub(super) fn address(&self) -> u64 {
        self.values.address()
    }

    /// Where the parameters start, and their gradients; 0 without them.
    pub(super) fn addresses(&self) -> [u64; 2] {
        [self.address(), self.gradients.as_ref().map_or(0, Buffer::address)]
    }

    /// The parameter called `name`.
    pub fn find(&self, name: &str) -> Result<ParamId> {
        let position = self.tape.params().iter().position(|param| param.name == name);
        position
            .map(ParamId)
            .ok_or_else(|| Error::usage(format!("the model has no parameter '{name}'")))
    }

    /// Sets a parameter from values in PyTorch's order; counters and indices, which are stored as
    /// whole numbers, take their values rounded towards zero.
    pub fn set(&mut self, id: ParamId, values: &[f32]) -> Result<()> {
        let param = &self.tape.params()[id.0];
        self.check(id, values.len())?;
        let offset = self.slots[id.0].offset;
        let stored = param.spec.layout.store(&param.spec.shape, values);
        if param.spec.dtype() == DType::U32 {
            let stored: Vec<u32> = stored.into_iter().map(|value| value as u32).collect();
            return self.values.write(offset, bytemuck::cast_slice(&stored));
        }
        self.values.write(offset, bytemuck::cast_slice(&stored))
    }

    /// The bits of one entry of a parameter, `index` in PyTorch's order.
    ///
    /// # Errors
    /// [`Error::Usage`] for an index outside of it.
    pub fn bits(&self, id: ParamId, index: usize) -> Result<u32> {
        let param = &self.tape.params()[id.0];
        if index >= param.spec.elements() {
            let (name, shape) = (&param.name, &param.spec.shape);
            return Err(Error::usage(format!("'{name}' of shape {shape:?} has no entry {index}")));
        }
        let at =
            self.slots[id.0].offset + 4 * param.spec.layout.stored_index(&param.spec.shape, index);
        let mut bits = [0u32];
        self.values.read(at, bytemuck::cast_slice_mut(&mut bits))?;
        Ok(bits[0])
    }

    /// A parameter's values in PyTorch's order.
    pub fn get(&self, id: ParamId) -> Result<Vec<f32>> {
        let param = &self.tape.params()[id.0];
        if param.spec.dtype() == DType::U32 {
            let mut stored = vec![0u32; param.spec.elements()];
            self.values.read(self.slots[id.0].offset, bytemuck::cast_slice_mut(&mut stored))?;
            let stored: Vec<f32> = stored.into_iter().map(|value| value as f32).collect();
            return Ok(param.spec.layout.load(&param.spec.shape, &stored));
        }
        self.read_back(&self.values, id)
    }

    /// A parameter's gradient in PyTorch's order.
    ///
    /// # Errors
    /// [`Error::Usage`] for weights without gradients, and what isn't trained; those of the device.
    pub fn gradient(&self, id: ParamId) -> Result<Vec<f32>> {
        let param = &self.tape.params()[id.0];
        if !param.is_trained() {
            return Err(Error::usage(format!(
                "'{}' isn't trained: it has no gradient",
                param.name
            )));
        }
        let gradients = self.gradients.as_ref().ok_or_else(|| {
            Error::usage("these weights have no gradients: they weren't made for training")
        })?;
        self.read_back(gradients, id)
    }

    fn read_back(&self, buffer: &Buffer, id: ParamId) -> Result<Vec<f32>> {
        let param = &self.tape.params()[id.0];
        let mut stored = vec![0f32; param.spec.elements()];
        buffer.read(self.slots[id.0].offset, bytemuck::cast_slice_mut(&mut stored))?;
        Ok(param.spec.layout.load(&param.spec.shape, &stored))
    }

    /// A counter's value.
    pub fn counter(&self, id: ParamId) -> Result<u32> {
        let mut value = [0u32];
        self.values.read(self.slots[id.0].offset, bytemuck::cast_slice_mut(&mut value))?;
        Ok(value[0])
    }

    /// Sets a counter.
    pub fn set_counter(&mut self, id: ParamId, value: u32) -> Result<()> {
        self.values.write(self.slots[id.0].offset, bytemuck::bytes_of(&value))
    }

    /// Moves all parameters and running statistics towards those of `newcomers`, whose share is from 0
    /// to 1: 1 makes them a copy. Counters and what is frozen become the newcomers'.
    ///
    /// # Errors
    /// [`Error::Usage`] for weights on another device, [`Error::Shape`] for those of another size;
    /// those of the device.
    pub fn average(&mut self, newcomers: &Weights, share: f64) -> Result<()> {
        self.device().require_same(newcomers.device(), "the newcomers")?;
        let (bytes, found) = (self.values.bytes(), newcomers.values.bytes());
        if (bytes, self.moving_bytes) != (found, newcomers.moving_bytes) {
            let detail = format!("has {bytes} bytes of weights, the newcomers {found}");
            return Err(Error::shape("average", detail));
        }
        let (to, from) = (self.values.address(), newcomers.values.address());
        let device = self.values.device();
        let copied_from = if share == 1.0 { 0 } else { self.moving_bytes };
        // SAFETY: two arenas of `bytes` bytes on this device, alive and borrowed for this call.
        unsafe {
            ema::update(device, to, from, copied_from / size_of::<f32>(), share)?;
            let offset = copied_from as u64;
            device.copy(from + offset, to + offset, bytes - copied_from)
        }
    }

    /// Copies running statistics, counters and what is frozen to `kept`, which is made where it isn't there.
    ///
    /// # Errors
    /// [`Error::Shape`] for a buffer of another size; those of the device.
    pub fn keep_state(&self, kept: &mut Option<Buffer>) -> Result<()> {
        let bytes = self.values.bytes() - self.trained_bytes;
        let kept = match kept {
            Some(kept) => kept,
            None => kept.insert(self.device().alloc(bytes)?),
        };
        self.require_state(kept)?;
        let from = self.values.address() + self.trained_bytes as u64;
        // SAFETY: two allocations of this device of so many bytes.
        unsafe { self.device().copy(from, kept.address(), bytes) }
    }

    /// Takes back what [`Weights::keep_state`] has kept.
    ///
    /// # Errors
    /// [`Error::Shape`] for what other weights have kept; those of the device.
    pub fn restore_state(&mut self, kept: &Buffer) -> Result<()> {
        self.require_state(kept)?;
        let to = self.values.address() + self.trained_bytes as u64;
        // SAFETY: as above.
        unsafe { self.device().copy(kept.address(), to, kept.bytes()) }
    }

    /// Refuses a buffer that isn't one of these weights' state.
    fn require_state(&self, kept: &Buffer) -> Result<()> {
        let bytes = self.values.bytes() - self.trained_bytes;
        if kept.bytes() != bytes {
            let detail = format!("has {bytes} bytes, {} were kept", kept.bytes());
            return Err(Error::shape("the state of these weights", detail));
        }
        self.device().require_same(kept.device(), "the state that was kept")
    }

    /// Whether every running statistic that training moves is finite. Waits for the device.
    ///
    /// # Errors
    /// Those of the device.
    pub fn state_is_finite(&self) -> Result<bool> {
        let mut state = vec![0f32; (self.moving_bytes - self.trained_bytes) / size_of::<f32>()];
        self.values.read(self.trained_bytes, bytemuck::cast_slice_mut(&mut state))?;
        Ok(state.iter().all(|value| value.is_finite()))
    }

    /// SHA-256, in hex, of all parameters and state as they are stored, with their names.
    pub fn sha256(&self) -> Result<String> {
        let mut hasher = Sha256::new();
        for (param, slot) in self.tape.params().iter().zip(&self.slots) {
            let mut bytes = vec![0u8; slot.bytes];
            self.values.read(slot.offset, &mut bytes)?;
            hasher.update(param.name.as_bytes());
            hasher.update(&bytes);
        }
        Ok(crate::hex(&hasher.finalize()))
    }

    /// Refuses to be used on another device than that which holds them, and for a tape whose parameters are others.
    pub(super) fn require_for(&self, tape: &Arc<Tape>, device: &Device) -> Result<()> {
        device.require_same(self.device(), "these weights")?;
        let like = |(a, b): (&Param, &Param)| {
            a.spec.shape == b.spec.shape && a.spec.role == b.spec.role && a.frozen == b.frozen
        };
        let (own, theirs) = (self.tape.params(), tape.params());
        let fits = || own.len() == theirs.len() && own.iter().zip(theirs).all(like);
        if Arc::ptr_eq(&self.tape, tape) || fits() {
            return Ok(());
        }
        Err(Error::usage("these weights are another network's: their parameters differ"))
    }

    fn check(&self, id: ParamId, count: usize) -> Result<()> {
        let param = &self.tape.params()[id.0];
        if count == param.spec.elements() {
            return Ok(());
        }
        Err(Error::shape(
            &param.name,
            format!("has shape {:?}, but {count} values were given", param.spec.shape),
        ))
    }

    /// Bytes of the trained parameters, at the front of the arenas.
    pub fn trained_bytes(&self) -> usize {
        self.trained_bytes
    }

    /// The arena of values.
    pub fn values(&self) -> &Buffer {
        &self.values
    }

    /// Writes to the arena of values, `offset` bytes from its start.
    ///
    /// # Errors
    /// As [`Buffer::write`].
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.values.write(offset, bytes)
    }

    /// The arena of gradients.
    pub fn gradients(&self) -> Option<&Buffer> {
        self.gradients.as_ref()
    }

    /// Where a parameter lies in the arenas.
    pub fn slot(&self, id: ParamId) -> Slot {
        self.slots[id.0]
    }

    /// A view of a parameter as it is stored, for a pass.
    pub(super) fn tensor(&self, id: ParamId) -> Tensor {
        self.view(&self.values, id)
    }

    /// A view of a parameter's gradient, for a pass; `None` for state and what is frozen.
    pub(super) fn gradient_tensor(&self, id: ParamId) -> Option<Tensor> {
        let param = &self.tape.params()[id.0];
        let gradients = self.gradients.as_ref().filter(|_| param.is_trained())?;
        Some(self.view(gradients, id))
    }

    fn view(&self, buffer: &Buffer, id: ParamId) -> Tensor {
        let param = &self.tape.params()[id.0];
        let map = Map::vector(param.spec.elements());
        let dtype = param.spec.dtype();
        let spec = Spec { map, shared: true, storage: dtype };
        Tensor { address: buffer.address() + self.slots[id.0].offset as u64, spec, images: 1 }
    }
}

/// `count` values that take `each` draws, the same on any number of threads.
fn drawn(
    draws: &Stream,
    count: usize,
    each: usize,
    value: impl Fn(&mut Stream) -> f32 + Sync,
) -> Vec<f32> {
    let mut values = vec![0f32; count];
    let chunks = values.par_chunks_mut(DRAWN_CHUNK).enumerate();
    chunks.for_each(|(chunk, values)| {
        let mut draws = draws.at((chunk * DRAWN_CHUNK * each) as u64);
        values.iter_mut().for_each(|drawn| *drawn = value(&mut draws));
    });
    values
}

/// A standard normal number within two deviations: others are drawn again.
fn truncated_normal(draws: &mut impl Draw) -> f64 {
    loop {
        let value = normal(draws);
        if value.abs() <= 2.0 {
            return value;
        }
    }
}

/// A standard normal number from two uniform ones (Box and Muller, 1958).
fn normal(draws: &mut impl Draw) -> f64 {
    let radius = (-2.0 * (1.0 - draws.unit()).ln()).sqrt();
    radius * (std::f64::consts::TAU * draws.unit()).cos()
}
