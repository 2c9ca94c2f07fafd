//! An optimiser of the trained parameters: its rule, its memory, what each parameter has of its own, its clipping.

use super::{ParamId, Weights};
use crate::device::{Buffer, Device};
use crate::ops::adamw::{self, AdamW};
use crate::ops::arenas::{BlockOptions, STEP_BLOCK};
use crate::ops::grad_norm::{self, GradNorm};
use crate::ops::rmsprop::{self, RmsProp};
use crate::ops::sgd::{self, Sgd};
use crate::ops::{Arenas, ParamSpec, RunState};
use crate::{Error, Result};

/// How a step moves parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    Sgd(Sgd),
    AdamW(AdamW),
    RmsProp(RmsProp),
}

impl Rule {
    /// What it remembers of each parameter, by PyTorch's names.
    pub const fn moments(&self) -> &'static [&'static str] {
        match self {
            Rule::Sgd(_) => &["momentum_buffer"],
            Rule::AdamW(_) => &["exp_avg", "exp_avg_sq"],
            Rule::RmsProp(options) => options.moments(),
        }
    }

    /// What the first of [`Rule::moments`] begins with; the others begin with zeros.
    pub const fn start(&self) -> f32 {
        match self {
            Rule::Sgd(_) | Rule::AdamW(_) => 0.0,
            Rule::RmsProp(options) => options.start(),
        }
    }

    /// What step number `step` (from 0) of the run reads; the caller fills in the other fields and gives it
    /// to [`super::Execution::begin_training`].
    pub fn state(&self, step: u32, learning_rate: f32) -> RunState {
        let state = RunState { step, learning_rate, ..RunState::default() };
        match self {
            Rule::Sgd(_) | Rule::RmsProp(_) => state,
            Rule::AdamW(options) => options.correct(state),
        }
    }
}

/// What becomes of gradients before a step; one of the two, since they would hide each other's effect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clipping {
    /// All together are scaled down to this norm, as PyTorch's `clip_grad_norm_` does. Where their norm isn't
    /// finite, the step changes nothing.
    Norm(f32),
    /// Each is brought between ± this, as PyTorch's `clip_grad_value_` does; NaN stays NaN.
    Value(f32),
}

/// What an optimiser is made of.
pub struct OptimizerOptions<'a> {
    pub rule: Rule,
    /// The weight decay of a trained parameter.
    pub decay: &'a dyn Fn(&ParamSpec) -> f32,
    /// What the learning rate is multiplied by for each of the tape's parameters, in its order, also where it
    /// decays weights: as PyTorch's for groups with a rate of their own. `None` for 1 everywhere.
    pub rate_scales: Option<&'a [f32]>,
    pub clipping: Option<Clipping>,
    /// Whether the norm of all gradients is taken though they aren't clipped to one: where it isn't finite, the step
    /// changes nothing.
    pub needs_norm: bool,
}

impl<'a> OptimizerOptions<'a> {
    /// Without scales and clipping.
    pub fn new(rule: Rule, decay: &'a dyn Fn(&ParamSpec) -> f32) -> Self {
        OptimizerOptions { rule, decay, rate_scales: None, clipping: None, needs_norm: false }
    }
}

/// A rule with its memory on one device; [`super::Execution::update`] takes the steps.
pub struct Optimizer {
    rule: Rule,
    /// Arenas like the front of the weights', in the order of [`Rule::moments`].
    moments: Vec<Buffer>,
    /// One [`BlockOptions`] for [`STEP_BLOCK`] parameters.
    blocks: Buffer,
    /// What gradients are clamped to; infinity for no clamping.
    max_value: f32,
    norm: Option<NormClipping>,
}

struct NormClipping {
    max_norm: f32,
    workspace: Buffer,
}

impl Optimizer {
    /// An optimiser before its first step, for `weights`.
    ///
    /// # Errors
    /// Scales of other than the tape's parameters, or out of memory.
    pub fn new(weights: &Weights, options: OptimizerOptions<'_>) -> Result<Self> {
        let (device, bytes) = (weights.device(), weights.trained_bytes());
        let count = bytes / size_of::<f32>();
        let OptimizerOptions { rule, clipping, needs_norm, .. } = options;
        let moments = rule.moments().iter().enumerate().map(|(index, _)| {
            let mut moment = device.alloc(bytes)?;
            let start = if index == 0 { rule.start() } else { 0.0 };
            if start != 0.0 {
                moment.write(0, bytemuck::cast_slice(&vec![start; count]))?;
            }
            Ok(moment)
        });
        let moments = moments.collect::<Result<_>>()?;
        let table = block_table(weights, &options)?;
        let mut blocks = device.alloc(size_of_val(table.as_slice()))?;
        blocks.write(0, bytemuck::cast_slice(&table))?;
        let (max_norm, max_value) = match clipping {
            Some(Clipping::Norm(max_norm)) => (Some(max_norm), f32::INFINITY),
            Some(Clipping::Value(max_value)) => (None, max_value),
            None => (None, f32::INFINITY),
        };
        let norm = match max_norm.or(needs_norm.then_some(f32::INFINITY)) {
            Some(max_norm) => {
                let workspace = device.alloc(grad_norm::workspace_bytes(count))?;
                Some(NormClipping { max_norm, workspace })
            }
            None => None,
        };
        Ok(Optimizer { rule, moments, blocks, max_value, norm })
    }

    /// The rule.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// The names of what is remembered, and where it lies: each parameter at its
    /// [`Weights::slot`].
    pub fn moments(&self) -> impl Iterator<Item = (&'static str, &Buffer)> {
        self.rule.moments().iter().copied().zip(&self.moments)
    }

    /// Writes to moment number `index` of [`Optimizer::moments`], `offset` bytes from its start.
    ///
    /// # Errors
    /// As [`Buffer::write`].
    pub fn write_moment(&mut self, index: usize, offset: usize, bytes: &[u8]) -> Result<()> {
        self.moments[index].write(offset, bytes)
    }

    /// The norm of all gradients of the last step, before clipping; `None` where it isn't taken. Where it
    /// isn't finite, that step has changed nothing. Waits for the device.
    ///
    /// # Errors
    /// Those of the device.
    pub fn gradient_norm(&self) -> Result<Option<f64>> {
        let Some(clipping) = &self.norm else { return Ok(None) };
        let mut result = GradNorm::default();
        let front = bytemuck::bytes_of_mut(&mut result);
        clipping.workspace.read(0, front)?;
        Ok(Some(result.norm))
    }

    /// One step, by what `state` says.
    pub(super) fn step(
        &mut self,
        device: &Device,
        weights: &mut Weights,
        state: &RunState,
        state_address: u64,
    ) -> Result<()> {
        device.require_same(weights.device(), "these weights")?;
        device.require_same(self.blocks.device(), "the optimizer's moments")?;
        let gradients = weights.gradients().ok_or_else(|| {
            Error::usage("these weights have no gradients: they weren't made for training")
        })?;
        let bytes = weights.trained_bytes();
        if let Some((name, moment)) = self.moments().find(|(_, moment)| moment.bytes() != bytes) {
            let detail = format!("has {} bytes, {bytes} are needed", moment.bytes());
            return Err(Error::shape(name, detail));
        }
        let count = bytes / size_of::<f32>();
        let mut arenas = Arenas {
            values: weights.values().address(),
            gradients: gradients.address(),
            blocks: self.blocks.address(),
            max_value: self.max_value,
            count,
            ..Arenas::default()
        };
        for (address, moment) in arenas.moments.iter_mut().zip(&self.moments) {
            *address = moment.address();
        }
        if let Some(NormClipping { max_norm, workspace }) = &self.norm {
            let workspace = workspace.address();
            // SAFETY: two buffers of their own, alive and borrowed for this call; the workspace was
            // made for `count` gradients.
            unsafe { grad_norm::run(device, arenas.gradients, count, workspace, *max_norm)? };
            arenas.factor = workspace + grad_norm::FACTOR_OFFSET;
        }
        // SAFETY: buffers of their own, alive and borrowed for this call; values, gradients and
        // moments begin with `bytes` bytes of trained parameters, for which the blocks' options were made.
        unsafe {
            match &self.rule {
                Rule::Sgd(options) => sgd::step(device, &arenas, state, state_address, options),
                Rule::AdamW(options) => adamw::step(device, &arenas, state, state_address, options),
                Rule::RmsProp(options) => {
                    rmsprop::step(device, &arenas, state, state_address, options)
                }
            }
        }
    }
}

/// The options of each block of the trained parameters' arena.
fn block_table(weights: &Weights, options: &OptimizerOptions<'_>) -> Result<Vec<BlockOptions>> {
    let params = weights.tape().params();
    if let Some(scales) = options.rate_scales.filter(|scales| scales.len() != params.len()) {
        return Err(Error::usage(format!(
            "{} scales of the learning rate are given, but the network has {} parameters",
            scales.len(),
            params.len()
        )));
    }
    let count = weights.trained_bytes() / size_of::<f32>();
    let mut table = vec![BlockOptions::default(); count.div_ceil(STEP_BLOCK)];
    for (index, param) in params.iter().enumerate() {
        if param.is_trained() {
            let slot = weights.slot(ParamId(index));
            let block = size_of::<f32>() * STEP_BLOCK;
            let blocks = slot.offset / block..(slot.offset + slot.bytes).div_ceil(block);
            let rate_scale = options.rate_scales.map_or(1.0, |scales| scales[index]);
            table[blocks].fill(BlockOptions { decay: (options.decay)(&param.spec), rate_scale });
        }
    }
    Ok(table)
}
