//! The tower as a tape, under OpenAI's names.

use std::sync::Arc;

use super::TowerConfig;
use crate::Result;
use crate::nn::Builder;
use crate::ops::Op;
use crate::ops::attention::{Attention, Form, Partition};
use crate::ops::gather::Gather;
use crate::ops::layer_norm::LayerNorm;
use crate::ops::linear::Linear;
use crate::tape::{NodeId, Tape};
use crate::tensor::{Map, Spec};
use crate::text::tokenizer::CONTEXT;

/// Name of the projection, in the tape and in OpenAI's files.
pub(super) const PROJECTION: &str = "text_projection";

/// A tape that reads texts of one length.
pub(super) struct Tower {
    pub tape: Arc<Tape>,
    /// Token ids, one a place.
    pub ids: NodeId,
    /// The places' numbers, 0, 1, …, the same for all texts.
    pub places: NodeId,
    /// The place of each text's end token.
    pub ends: NodeId,
    /// Embeddings.
    pub output: NodeId,
}

impl Tower {
    /// Records the tower for texts of `length` tokens. Parameters are the same whatever the length,
    /// so that towers of all lengths run on the weights of one.
    ///
    /// A text is a map of 1 × `length` tokens. Blocks are pre-norm: x + attention(norm(x)), then
    /// x + MLP(norm(x)). Attention is causal, so that what comes behind a token never matters to it;
    /// behind the last attention only the rows of end tokens are wanted, and go on alone.
    pub fn record(config: &TowerConfig, length: usize) -> Result<Tower> {
        let TowerConfig { channels: width, hidden, .. } = *config;
        let mut tape = Tape::new();
        let line = Spec::u32(Map::new(1, length, 1));
        let ids = tape.input("ids", line);
        let places = tape.input("places", line);
        let ends = tape.input("ends", Spec::u32(Map::vector(1)));
        let mut builder = Builder { tape: &mut tape, prefix: String::new(), smooth: false };

        let tokens = Gather::Table { rows: config.vocabulary, width };
        let tokens = builder.record("token_embedding", tokens, &[ids])?;
        let positions = Gather::Table { rows: CONTEXT, width };
        let names = ["positional_embedding"];
        let positions = builder.record_as("positions", positions, &[places], &names)?;
        let mut x = builder.add("embedding", tokens, positions)?;

        let norm = || LayerNorm { eps: config.eps, ..LayerNorm::new(width) };
        let attention = Attention {
            heads: config.heads,
            form: Form::Dot { scale: ((width / config.heads) as f32).powf(-0.5) },
            partition: Partition::Whole { causal: true },
            bias: None,
        };
        for layer in 0..config.layers {
            let block = format!("transformer.resblocks.{layer}");
            let named = |name: &str| format!("{block}.{name}");
            let normed = builder.record(&named("ln_1"), norm(), &[x])?;
            let names = ["weight", "bias"].map(|kind| named(&format!("attn.in_proj_{kind}")));
            let qkv = Linear::new(width, 3 * width, true);
            let names = names.each_ref().map(String::as_str);
            let qkv = builder.record_as(&named("attn.in_proj"), qkv, &[normed], &names)?;
            let mut heads = builder.record(&named("attn"), attention, &[qkv])?;
            if layer + 1 == config.layers {
                heads = builder.record(&named("attn.end"), Gather::Pixels, &[heads, ends])?;
                x = builder.record(&named("end"), Gather::Pixels, &[x, ends])?;
            }
            let out = Linear::new(width, width, true);
            let out = builder.linear(&named("attn.out_proj"), out, heads)?;
            x = builder.add(&named("attn.add"), x, out)?;
            let normed = builder.record(&named("ln_2"), norm(), &[x])?;
            let fc = Linear::new(width, hidden, true);
            let fc = builder.linear(&named("mlp.c_fc"), fc, normed)?;
            let active = builder.activate(&named("mlp.gelu"), config.activation, fc)?;
            let proj = Linear::new(hidden, width, true);
            let proj = builder.linear(&named("mlp.c_proj"), proj, active)?;
            x = builder.add(&named("mlp.add"), x, proj)?;
        }
        let x = builder.record("ln_final", norm(), &[x])?;
        let projection = Linear::new(width, config.embedding, false);
        let output = builder.record_as(PROJECTION, projection, &[x], &[PROJECTION])?;
        Ok(Tower { tape: Arc::new(tape), ids, places, ends, output })
    }
}

impl Builder<'_> {
    /// An operation whose parameters have names of their own.
    fn record_as(
        &mut self,
        name: &str,
        op: impl Op + 'static,
        inputs: &[NodeId],
        params: &[&str],
    ) -> Result<NodeId> {
        let name = self.name(name);
        self.tape.record_shared(&name, Arc::new(op), inputs, Some(params))
    }
}
