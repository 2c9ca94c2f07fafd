//! Arguments and grids of `attention.cu`, `attention_gradients.cu` and `attention_position.cu` in
//! `kernels/attention/`.

use super::{Attention, Bias, Form};
use crate::device::args::{
    AttentionAxis, AttentionBackwardArgs, AttentionBiasArgs, AttentionForwardArgs,
    AttentionProblem, AttentionScaleArgs, AttentionTableArgs,
};
use crate::ops::{KernelBackward, KernelForward, place};
use crate::tensor::{Map, Tensor};
use crate::{Error, Result};

/// Queries, or keys, of a block.
const TILE: usize = 64;
/// Threads of a block of a tile.
const TILE_BLOCK: [u32; 3] = [128, 1, 1];
/// About how many blocks share the gradients of queries: a few waves of a large GPU.
const BLOCKS: usize = 1024;
/// The most channels that a head may have, in the usual kernels and in those for wide heads.
const CHANNELS: [usize; 2] = [32, 64];

/// Kernels of one pass: for heads of up to 32 channels, and of up to 64. Of those for gradients of queries
/// the first takes only parts that are one tile; the second takes any.
type HeadKernels = [&'static str; 2];

const FORWARD: HeadKernels = ["attention_forward_f32", "attention_forward_f32_wide"];
const FORWARD_ARMED: HeadKernels =
    ["attention_forward_f32_armed", "attention_forward_f32_wide_armed"];
const QUERY_GRADIENTS: HeadKernels =
    ["attention_query_gradients_f32", "attention_query_gradients_f32_wide"];
const KEY_GRADIENTS: HeadKernels =
    ["attention_key_gradients_f32", "attention_key_gradients_f32_wide"];

/// Sizes that follow from the shape of the input and the batch's capacity.
#[derive(Clone, Copy)]
struct LaunchSizes {
    heads: usize,
    dim: usize,
    tokens: usize,
    parts: usize,
    tiles: usize,
    /// Parts of all images.
    units: usize,
    /// Of the units, for sums over them.
    chunks: usize,
}

/// Where things lie in the workspace, in bytes.
struct Workspace {
    /// (heads, tokens²) f64: sums of the gradients of biases
    totals: usize,
    /// (chunks, heads, tiles) f64
    scale_sums: usize,
    /// (heads, tokens²) f32
    bias: usize,
    /// (units, heads, tokens, 3) f32
    rows: usize,
    /// (chunks, heads, tokens²) f32
    bias_sums: usize,
    bytes: usize,
}

impl LaunchSizes {
    fn new(attention: &Attention, map: Map, batch: usize) -> LaunchSizes {
        let (heads, partition) = (attention.heads, attention.partition);
        let (tokens, parts) = (partition.tokens(map), partition.parts(map));
        let (tiles, units) = (tokens.div_ceil(TILE), batch * parts);
        LaunchSizes {
            heads,
            dim: map.channels / 3 / heads,
            tokens,
            parts,
            tiles,
            units,
            chunks: (BLOCKS / (heads * tiles)).clamp(1, units.max(1)),
        }
    }

    fn pairs(&self) -> usize {
        self.tokens * self.tokens
    }

    fn workspace(&self, attention: &Attention, training: bool) -> Workspace {
        let mut bytes = 0;
        let mut take = |wanted: bool, count: usize, size: usize| {
            let start = bytes;
            bytes += if wanted { count * size } else { 0 };
            start
        };
        let (biased, of_heads) = (attention.bias.is_some(), self.heads * self.pairs());
        let cosine = attention.form == Form::Cosine;
        // Those of eight bytes first, so that all are aligned.
        let totals = take(training && biased, of_heads, 8);
        let scale_sums = take(training && cosine, self.chunks * self.heads * self.tiles, 8);
        let bias = take(biased, of_heads, 4);
        let rows = take(training, self.units * self.heads * self.tokens * 3, 4);
        let bias_sums = take(training && biased, self.chunks * of_heads, 4);
        Workspace { totals, scale_sums, bias, rows, bias_sums, bytes }
    }

    /// The kernel of a pass for these heads.
    fn kernel(&self, pass: HeadKernels, device: &dyn std::fmt::Display) -> Result<&'static str> {
        let mut channels = CHANNELS.into_iter().zip(pass);
        let fits = channels.find(|(channels, name)| {
            self.dim <= *channels && (self.tiles == 1 || *name != QUERY_GRADIENTS[0])
        });
        fits.map(|(_, name)| name).ok_or_else(|| Error::Unsupported {
            op: format!("attention with heads of {} channels (64 at most)", self.dim),
            device: device.to_string(),
        })
    }

    /// A block for each tile of each head of so many units or chunks of them.
    fn grid(&self, of: usize) -> [u32; 3] {
        [(self.tiles * self.heads * of) as u32, 1, 1]
    }
}

pub fn workspace_bytes(attention: &Attention, map: Map, batch: usize, training: bool) -> usize {
    LaunchSizes::new(attention, map, batch).workspace(attention, training).bytes
}

fn problem(
    attention: &Attention,
    (x, params, state): (Tensor, &[Tensor], u64),
    sizes: &LaunchSizes,
    bias: u64,
) -> AttentionProblem {
    let [rows, columns] = attention.partition.axes(x.map()).map(|axis| AttentionAxis {
        length: axis.length as u32,
        size: axis.size as u32,
        shift: axis.shift as u32,
        strided: axis.strided.into(),
    });
    let (scale, logit_scale) = match attention.form {
        Form::Dot { scale } => (scale, 0),
        Form::Cosine => (1.0, params[attention.logit_scale_index()].address),
    };
    AttentionProblem {
        x: x.address,
        bias: if attention.bias.is_some() { bias } else { 0 },
        logit_scale,
        state,
        rows,
        columns,
        heads: sizes.heads as u32,
        dim: sizes.dim as u32,
        tokens: sizes.tokens as u32,
        causal: attention.partition.is_causal().into(),
        scale,
    }
}

/// Of the kernel that looks biases up, with its grid.
fn bias_args(
    bias: Bias,
    (table, index): (Tensor, Tensor),
    sizes: &LaunchSizes,
    to: u64,
) -> (AttentionBiasArgs, [u32; 3]) {
    let args = AttentionBiasArgs {
        table: table.address,
        index: index.address,
        bias: to,
        entries: table.map().pixels() as u32,
        heads: sizes.heads as u32,
        pairs: sizes.pairs() as u32,
        sigmoid: u32::from(bias == Bias::Sigmoid16),
    };
    (args, [(sizes.heads * sizes.pairs()).div_ceil(256) as u32, 1, 1])
}

pub fn forward(attention: &Attention, ctx: &KernelForward<'_>) -> Result<()> {
    let x = ctx.inputs[0];
    let sizes = LaunchSizes::new(attention, x.map(), x.images);
    let pass = if ctx.faults.is_some() { FORWARD_ARMED } else { FORWARD };
    let kernel = sizes.kernel(pass, &ctx.device.kind())?;
    let bias = ctx.workspace.address;
    if let Some(form) = attention.bias {
        let (args, grid) = bias_args(form, (ctx.inputs[1], ctx.params[0]), &sizes, bias);
        // SAFETY: the arguments are views of `ctx`.
        unsafe { ctx.launch("attention_bias_f32", (grid, place::BLOCK), &args) }?;
    }
    let problem = problem(attention, (x, ctx.params, ctx.state_address), &sizes, bias);
    let faults = ctx.faults.map_or(0, |faults| faults.address);
    let args = AttentionForwardArgs { problem, y: ctx.output.address, faults };
    // SAFETY: as above.
    unsafe { ctx.launch(kernel, (sizes.grid(sizes.units), TILE_BLOCK), &args) }
}

/// Gradients of queries and what keys need to know of them, then of keys and values, then the sums
/// over parts.
pub fn backward(attention: &Attention, ctx: &KernelBackward<'_>) -> Result<()> {
    let x = ctx.inputs[0];
    let sizes = LaunchSizes::new(attention, x.map(), x.images);
    let at = sizes.workspace(attention, true);
    let workspace = |offset: usize| ctx.workspace.address + offset as u64;
    let bias = match attention.bias {
        Some(form) => {
            let tensors = (ctx.inputs[1], ctx.params[0]);
            let (args, grid) = bias_args(form, tensors, &sizes, workspace(at.bias));
            // SAFETY: the arguments are views of `ctx`.
            unsafe { ctx.launch("attention_bias_f32", (grid, place::BLOCK), &args) }?;
            Some((args, grid))
        }
        None => None,
    };
    let table = if attention.bias.is_some() { ctx.input_gradients[1] } else { None };
    let scale = match attention.form {
        Form::Cosine => ctx.param_gradients[attention.logit_scale_index()],
        Form::Dot { .. } => None,
    };
    let dx = ctx.input_gradients[0];
    let inputs = (x, ctx.params, ctx.state_address);
    let args = AttentionBackwardArgs {
        problem: problem(attention, inputs, &sizes, workspace(at.bias)),
        dy: ctx.output_gradient.address,
        dx: dx.map_or(0, |dx| dx.tensor.address),
        rows: workspace(at.rows),
        bias_sums: table.map_or(0, |_| workspace(at.bias_sums)),
        scale_sums: scale.map_or(0, |_| workspace(at.scale_sums)),
        chunks: sizes.chunks as u32,
        accumulate: dx.is_some_and(|dx| dx.accumulate).into(),
    };
    let device = ctx.device.kind();
    let kernel = sizes.kernel(QUERY_GRADIENTS, &device)?;
    // SAFETY: as above.
    unsafe { ctx.launch(kernel, (sizes.grid(sizes.chunks), TILE_BLOCK), &args) }?;
    if dx.is_some() {
        let kernel = sizes.kernel(KEY_GRADIENTS, &device)?;
        // SAFETY: as above.
        unsafe { ctx.launch(kernel, (sizes.grid(sizes.units), TILE_BLOCK), &args) }?;
    }
    if let (Some((bias, grid)), Some(table)) = (bias, table) {
        let args = AttentionTableArgs {
            sums: args.bias_sums,
            totals: workspace(at.totals),
            table: bias.table,
            index: bias.index,
            dtable: table.tensor.address,
            state: ctx.state_address,
            parts: sizes.parts as u32,
            chunks: args.chunks,
            entries: bias.entries,
            heads: bias.heads,
            pairs: bias.pairs,
            sigmoid: bias.sigmoid,
            accumulate: table.accumulate.into(),
        };
        // SAFETY: as above.
        unsafe { ctx.launch("attention_bias_totals_f64", (grid, place::BLOCK), &args) }?;
        let grid = [(args.heads * args.entries).div_ceil(8), 1, 1];
        // SAFETY: as above.
        unsafe { ctx.launch("attention_table_gradient_f32", (grid, place::BLOCK), &args) }?;
    }
    if let Some(scale) = scale {
        let args = AttentionScaleArgs {
            sums: args.scale_sums,
            logit_scale: args.problem.logit_scale,
            dlogit_scale: scale.tensor.address,
            chunks: args.chunks,
            heads: args.problem.heads,
            tiles: sizes.tiles as u32,
            accumulate: scale.accumulate.into(),
        };
        let grid = [args.heads.div_ceil(32), 1, 1];
        // SAFETY: as above.
        unsafe { ctx.launch("attention_scale_gradient_f32", (grid, [32, 1, 1]), &args) }?;
    }
    Ok(())
}
