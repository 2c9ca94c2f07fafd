//! The names that a text tower's tensors have in files, and what they hold.

use crate::checkpoint::Checkpoint;
use crate::tape::Param;
use crate::{Error, Result};

/// Whose names they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `text_model.encoder.layers.0.self_attn.q_proj.weight`
    HuggingFace,
    /// `transformer.resblocks.0.attn.in_proj_weight`: OpenAI's and OpenCLIP's, and this tape's.
    OpenAi,
}

impl Scheme {
    /// The configuration that lies beside such a file.
    pub(super) const fn config(self) -> &'static str {
        match self {
            Scheme::HuggingFace => "config.json",
            Scheme::OpenAi => "open_clip_config.json",
        }
    }
}

impl std::fmt::Display for Scheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Scheme::HuggingFace => "Hugging Face",
            Scheme::OpenAi => "OpenAI or OpenCLIP",
        })
    }
}

/// A file's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub scheme: Scheme,
    /// What stands before every name: `text.` in OpenCLIP's towers of their own.
    pub prefix: String,
}

/// A tensor that holds the projection: embedding × width, or the other way round.
pub(super) struct Projection {
    pub key: String,
    pub transposed: bool,
}

/// Token tables, which no tower of pictures has.
const TOKENS: &str = "token_embedding.weight";
const HUGGING_FACE_TOKENS: &str = "text_model.embeddings.token_embedding.weight";

impl Names {
    /// Those of `checkpoint`.
    ///
    /// # Errors
    /// [`Error::File`] where there is no text tower.
    pub fn of(checkpoint: &Checkpoint) -> Result<Names> {
        let under = |tokens: &str, scheme| {
            let mut keys = checkpoint.keys();
            let prefix = keys.find_map(|key| key.strip_suffix(tokens))?.to_string();
            Some(Names { scheme, prefix })
        };
        let names = under(HUGGING_FACE_TOKENS, Scheme::HuggingFace)
            .or_else(|| under(TOKENS, Scheme::OpenAi));
        let none = || {
            let detail = format!(
                "holds no text encoder of CLIP: neither `{HUGGING_FACE_TOKENS}` (Hugging Face) nor \
                 `{TOKENS}` (OpenAI, OpenCLIP) is among its {} keys",
                checkpoint.len()
            );
            Error::file(checkpoint.path(), detail)
        };
        let names = names.ok_or_else(none)?;
        // What would change the embedding and isn't computed here is no tower of this kind.
        for foreign in ["cls_emb", "text_projection.bias"] {
            let key = format!("{}{foreign}", names.prefix);
            if checkpoint.contains(&key) {
                let detail = format!("`{key}` belongs to a text encoder other than CLIP's");
                return Err(Error::file(checkpoint.path(), detail));
            }
        }
        Ok(names)
    }

    pub fn token_embedding(&self) -> String {
        self.only_key(TOKENS)
    }

    pub fn position_embedding(&self) -> String {
        self.only_key("positional_embedding")
    }

    /// A tensor that every block has.
    pub fn first_of(&self, layer: usize) -> String {
        self.only_key(&format!("transformer.resblocks.{layer}.ln_1.weight"))
    }

    pub fn hidden_weight(&self) -> String {
        self.only_key("transformer.resblocks.0.mlp.c_fc.weight")
    }

    /// Hugging Face has a linear layer; OpenAI and OpenCLIP a matrix to be multiplied from the right,
    /// some of OpenCLIP's towers a linear layer, too.
    pub fn projection(&self, checkpoint: &Checkpoint) -> Projection {
        let linear = format!("{}text_projection.weight", self.prefix);
        if self.scheme == Scheme::HuggingFace || checkpoint.contains(&linear) {
            return Projection { key: linear, transposed: false };
        }
        Projection { key: format!("{}text_projection", self.prefix), transposed: true }
    }

    /// The values of a parameter of the tape, in PyTorch's order.
    ///
    /// # Errors
    /// [`Error::File`] for a missing tensor, [`Error::Shape`] for one of another shape; both name
    /// file, key and the expected shape.
    pub fn values(&self, checkpoint: &Checkpoint, param: &Param) -> Result<Vec<f32>> {
        let shape = &param.spec.shape;
        if param.name == super::tower::PROJECTION {
            let Projection { key, transposed } = self.projection(checkpoint);
            if !transposed {
                return checkpoint.f32(&key, shape);
            }
            let [outputs, inputs] = [shape[0], shape[1]];
            let matrix = checkpoint.f32(&key, &[inputs, outputs])?;
            let column = |output: usize| (0..inputs).map(move |input| (output, input));
            return Ok((0..outputs)
                .flat_map(column)
                .map(|(output, input)| matrix[input * outputs + output])
                .collect());
        }
        let keys = self.keys(&param.name);
        let mut part = shape.clone();
        part[0] /= keys.len();
        let mut values = Vec::with_capacity(param.spec.elements());
        for key in keys {
            values.extend(checkpoint.f32(&key, &part)?);
        }
        Ok(values)
    }

    fn only_key(&self, name: &str) -> String {
        self.keys(name).concat()
    }

    /// The file's keys for a parameter of the tape; queries, keys and values may be three.
    fn keys(&self, name: &str) -> Vec<String> {
        let prefix = &self.prefix;
        if self.scheme == Scheme::OpenAi {
            return vec![format!("{prefix}{name}")];
        }
        let text = |name: &str| vec![format!("{prefix}text_model.{name}")];
        let Some(within) = name.strip_prefix("transformer.resblocks.") else {
            return match name {
                "positional_embedding" => text("embeddings.position_embedding.weight"),
                TOKENS => text("embeddings.token_embedding.weight"),
                name => text(&name.replacen("ln_final", "final_layer_norm", 1)),
            };
        };
        let (layer, name) = within.split_once('.').unwrap_or((within, ""));
        let layer = format!("encoder.layers.{layer}");
        if let Some(kind) = name.strip_prefix("attn.in_proj_") {
            let of = |which| format!("{prefix}text_model.{layer}.self_attn.{which}_proj.{kind}");
            return ["q", "k", "v"].map(of).into();
        }
        let theirs = [
            ("ln_1.", "layer_norm1."),
            ("ln_2.", "layer_norm2."),
            ("attn.", "self_attn."),
            ("mlp.c_fc.", "mlp.fc1."),
            ("mlp.c_proj.", "mlp.fc2."),
        ];
        let renamed = theirs
            .iter()
            .find_map(|(ours, theirs)| Some(format!("{theirs}{}", name.strip_prefix(ours)?)));
        text(&format!("{layer}.{}", renamed.unwrap_or_else(|| name.to_string())))
    }
}
