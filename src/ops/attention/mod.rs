//! Multi-head self-attention within the parts of a map (Vaswani et al., 2017; Liu et al., 2022, for
//! windows, cosines and position biases; Tu et al., 2022, for grids).
//!
//! Input 0 holds queries, keys and values, H×W×3C; channel (which · heads + head) · d + i. Within a
//! part and a head, with q, k, v the rows of its tokens:
//!
//! s\[i, j\] = q\[i\] · k\[j\], + bias\[i, j\], + mask\[i, j\]; e\[i, j\] = exp(s\[i, j\] − max_j s\[i, j\]);
//! y\[i\] = (Σ_j e\[i, j\] · v\[j\]) · (1 / Σ_j e\[i, j\]).
//!
//! The output, H×W×C, has y\[i\] at its token's own place on the map, channel head · d + i: windows,
//! shifts and grids are arithmetic of indices, nothing is moved. Input 1, where there is a bias, is
//! a table shared by all images (see [`Bias`]).
//!
//! Scores and outputs are chains of fused multiply-adds in the order of channels and of keys; sums
//! over a row add up lane by lane of 16, then the lanes in a tree. So bits depend neither on the
//! instruction set, nor on threads, nor on which part of the map is computed.

mod cpu;
mod cuda;
mod partition;
mod position;

use super::{Cost, Init, Op, ParamSpec, PassBytes, Role, SavedForBackward, Sites, passes};
use crate::tensor::{Map, Region, Span, Spec};
use crate::{Error, Result};

pub use partition::Partition;
pub use position::Bias;

/// How a query and a key make a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// q · (k · scale).
    Dot { scale: f32 },
    /// The cosine of q and k times exp(min(s, ln 100)) of a trained s a head, `logit_scale`; a
    /// vector's length counts as at least 1e-12. The factor is multiplied into q.
    Cosine,
}

/// Self-attention of `heads` heads. Parameters: `relative_position_index` if there is a bias, then
/// `logit_scale` for cosines.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    pub heads: usize,
    pub form: Form,
    pub partition: Partition,
    pub bias: Option<Bias>,
}

/// ln 10.
const INITIAL_LOGIT_SCALE: f32 = std::f32::consts::LN_10;

impl Attention {
    /// Channels of the output.
    fn channels(input: &Spec) -> usize {
        input.map.channels / 3
    }

    /// Number of the parameter `logit_scale`.
    fn logit_scale_index(&self) -> usize {
        usize::from(self.bias.is_some())
    }

    /// The bias and the window that it is for.
    fn windowed_bias(&self) -> Option<(Bias, [usize; 2])> {
        Some((self.bias?, self.partition.window()?))
    }

    /// The heads that the output's `channels` belong to.
    fn heads_of(&self, channels: Span, all_channels: usize) -> Span {
        let dim = all_channels / self.heads;
        Span::new(channels.start / dim, channels.end.div_ceil(dim))
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for Attention {
    passes!("attention", op => op);

    fn sites(&self, inputs: &[Spec]) -> Sites {
        let queries = inputs[0].map;
        Sites::Scores { heads: self.heads, queries, keys: self.partition.tokens(queries) }
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let map = inputs[0].map;
        let problem = |detail: String| Err(Error::shape("attention", detail));
        if self.heads == 0 || map.channels == 0 || !map.channels.is_multiple_of(3 * self.heads) {
            let detail = format!("queries, keys and values of {} heads can't be {map}", self.heads);
            return problem(detail);
        }
        self.partition.check(map)?;
        match (self.bias, self.partition.window()) {
            (None, _) if inputs.len() == 1 => {}
            (None, _) => return problem("without a bias it takes one input".into()),
            (Some(_), None) => return problem("a position bias needs windows or a grid".into()),
            (Some(_), Some(window)) => {
                let [height, width] = window.map(|size| 2 * size - 1);
                let table = Spec::f32(Map::new(height, width, self.heads)).shared();
                if inputs.len() != 2 || inputs[1] != table {
                    let found = inputs.get(1).map(|spec| spec.map.to_string());
                    let found = found.unwrap_or_else(|| "nothing".into());
                    let expected = table.map;
                    return problem(format!(
                        "takes a shared table of position biases of {expected}, got {found}"
                    ));
                }
            }
        }
        Ok(Spec::f32(Map { channels: Attention::channels(&inputs[0]), ..map }))
    }

    fn takes_shared(&self, input: usize) -> bool {
        input == 1
    }

    fn params(&self) -> Vec<ParamSpec> {
        let mut params = Vec::new();
        if let Some((bias, window)) = self.windowed_bias() {
            params.push(bias.index_spec(window));
        }
        if self.form == Form::Cosine {
            let (shape, start) = (vec![self.heads, 1, 1], Init::Constant(INITIAL_LOGIT_SCALE));
            params.push(ParamSpec::plain("logit_scale", shape, Role::Scale, start));
        }
        params
    }

    /// Scores are computed again rather than kept.
    fn needs(&self) -> SavedForBackward {
        SavedForBackward { inputs: vec![true, true], output: false }
    }

    /// Kernels keep biases by pairs of tokens there, and sums.
    fn bytes(&self, inputs: &[Spec], batch: usize, training: bool) -> PassBytes {
        let workspace = cuda::workspace_bytes(self, inputs[0].map, batch, training);
        PassBytes { saved: 0, workspace }
    }

    /// The two products, as PyTorch's counters of operations have them.
    fn cost(&self, inputs: &[Spec]) -> Cost {
        let map = inputs[0].map;
        let pairs = map.pixels() * self.partition.tokens(map);
        let bytes =
            inputs.iter().map(Spec::image_bytes).sum::<usize>() + inputs[0].image_bytes() / 3;
        Cost { macs: 2 * (pairs * Attention::channels(&inputs[0])) as u64, bytes: bytes as u64 }
    }

    /// A query reaches its own token's head; a key, the head of all tokens of its part (masked
    /// ones too: their probability is a zero that NaN survives); a value, its channel of them.
    fn reach(&self, input: usize, region: Region, inputs: &[Spec], output: &Spec) -> Region {
        let channels = output.map.channels;
        let dim = channels / self.heads;
        if input == 1 {
            let heads = Span::new(region.channels.start * dim, region.channels.end * dim);
            return Region {
                channels: heads,
                images: region.images,
                ..Region::full(0, output.map)
            };
        }
        let changed = |which: usize| {
            let within = |at: usize| at.clamp(which * channels, (which + 1) * channels);
            let span = Span::new(within(region.channels.start), within(region.channels.end));
            Span::new(span.start - which * channels, span.end - which * channels)
        };
        let whole_heads = |span: Span| {
            if span.is_empty() {
                return span;
            }
            let heads = self.heads_of(span, channels);
            Span::new(heads.start * dim, heads.end * dim)
        };
        let queries = Region { channels: whole_heads(changed(0)), ..region };
        let part = self.partition.reach(region, inputs[0].map);
        let keys = Region { channels: whole_heads(changed(1)), ..part };
        let values = Region { channels: changed(2), ..part };
        queries.hull(keys).hull(values)
    }
}
