//! What a text tower is: its sizes, read off the tensors, and what no tensor says.

use std::path::Path;

use serde_json::Value;

use super::names::{Names, Scheme};
use crate::checkpoint::Checkpoint;
use crate::ops::activation::Activation;
use crate::text::tokenizer::CONTEXT;
use crate::{Error, Result};

/// Channels of an attention head where no configuration says otherwise: CLIP has width / 64 heads.
const HEAD: usize = 64;

/// The sizes and choices of a text tower.
#[derive(Clone, Debug, PartialEq)]
pub struct TowerConfig {
    /// Rows of the token table; token ids are below it.
    pub vocabulary: usize,
    /// Channels of a token.
    pub channels: usize,
    pub layers: usize,
    pub heads: usize,
    /// Channels between the two linear layers of a block.
    pub hidden: usize,
    /// Dimensions of an embedding.
    pub embedding: usize,
    pub activation: Activation,
    /// Where `activation` is known from, in a few words.
    pub activation_source: String,
    /// Added to the variance in layer norms.
    pub eps: f32,
    /// The token whose row is the text's, the first of its kind; where none is named, the largest id.
    pub end_token: Option<u32>,
}

impl TowerConfig {
    /// The tower of `checkpoint`; `activation` overrules names and configuration.
    ///
    /// Beside a file under Hugging Face's names its `config.json` is read, beside one under
    /// OpenCLIP's its `open_clip_config.json`, where there is one.
    pub(super) fn read(
        checkpoint: &Checkpoint,
        names: &Names,
        activation: Option<Activation>,
    ) -> Result<TowerConfig> {
        let sizes = Sizes::read(checkpoint, names)?;
        let beside = SideConfig::read(checkpoint.path(), names.scheme)?;
        let heads = match beside.heads {
            Some(heads) => heads,
            None if sizes.width.is_multiple_of(HEAD) => sizes.width / HEAD,
            None => 0,
        };
        if heads == 0 || !sizes.width.is_multiple_of(heads) {
            let detail = format!(
                "{heads} heads don't share a width of {}; its configuration must say how many do",
                sizes.width
            );
            return Err(Error::file(checkpoint.path(), detail));
        }
        let (activation, source) = match (activation, beside.activation) {
            (Some(activation), _) => (activation, "as asked".to_string()),
            (None, Some(activation)) => (activation, format!("from {}", names.scheme.config())),
            (None, None) => guess(checkpoint, names),
        };
        let Sizes { vocabulary, width, layers, hidden, embedding } = sizes;
        Ok(TowerConfig {
            vocabulary,
            channels: width,
            layers,
            heads,
            hidden,
            embedding,
            activation,
            activation_source: source,
            eps: beside.eps.unwrap_or(1e-5),
            end_token: beside.end_token,
        })
    }
}

/// What names alone say of the activation: OpenAI's towers, and Hugging Face's copies of them, have
/// QuickGELU; OpenCLIP's have GELU unless their configuration says otherwise.
fn guess(checkpoint: &Checkpoint, names: &Names) -> (Activation, String) {
    let quick = |source: &str| (Activation::QuickGelu, source.to_string());
    if names.scheme == Scheme::HuggingFace {
        return quick("Hugging Face's default");
    }
    // Sizes that OpenAI's own archives keep among the tensors.
    if ["context_length", "vocab_size", "input_resolution"].iter().any(|k| checkpoint.contains(k)) {
        return quick("OpenAI's");
    }
    let file = checkpoint.path().file_name().map(|name| name.to_string_lossy().to_lowercase());
    let is_open_clip = checkpoint.is_safetensors()
        || !checkpoint.wrappers().is_empty()
        || !names.prefix.is_empty()
        || file.is_some_and(|name| name.contains("open_clip"));
    if is_open_clip {
        return (Activation::Gelu, "OpenCLIP's default".to_string());
    }
    quick("OpenAI's names in a .pth")
}

/// What tensors' shapes say.
struct Sizes {
    vocabulary: usize,
    width: usize,
    layers: usize,
    hidden: usize,
    embedding: usize,
}

impl Sizes {
    fn read(checkpoint: &Checkpoint, names: &Names) -> Result<Sizes> {
        let matrix = |key: &str, expected: &str| {
            if !checkpoint.contains(key) {
                return Err(checkpoint.missing(key, &format!(" of shape [{expected}]")));
            }
            match *checkpoint.shape(key)? {
                [rows, columns] if rows > 0 && columns > 0 => Ok((rows, columns)),
                ref found => {
                    let what = format!("{}: `{key}`", checkpoint.path().display());
                    let detail = format!("expected shape [{expected}], found {found:?}");
                    Err(Error::shape(what, detail))
                }
            }
        };
        let (vocabulary, width) = matrix(&names.token_embedding(), "vocabulary, width")?;
        let positions = names.position_embedding();
        let (context, _) = matrix(&positions, "77, width")?;
        if context != CONTEXT {
            let what = format!("{}: `{positions}`", checkpoint.path().display());
            let detail = format!("expected shape [{CONTEXT}, {width}], found {context} rows");
            return Err(Error::shape(what, detail));
        }
        let layers = (0..).take_while(|layer| checkpoint.contains(&names.first_of(*layer))).count();
        if layers == 0 {
            return Err(checkpoint.missing(&names.first_of(0), &format!(" of shape [{width}]")));
        }
        let (hidden, _) = matrix(&names.hidden_weight(), "hidden, width")?;
        let projection = names.projection(checkpoint);
        let embedding = match projection.transposed {
            true => matrix(&projection.key, "width, embedding")?.1,
            false => matrix(&projection.key, "embedding, width")?.0,
        };
        Ok(Sizes { vocabulary, width, layers, hidden, embedding })
    }
}

/// What a configuration beside the file says.
#[derive(Default)]
struct SideConfig {
    heads: Option<usize>,
    activation: Option<Activation>,
    eps: Option<f32>,
    end_token: Option<u32>,
}

impl SideConfig {
    fn read(checkpoint: &Path, scheme: Scheme) -> Result<SideConfig> {
        let path = checkpoint.with_file_name(scheme.config());
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(SideConfig::default()),
            Err(e) => return Err(Error::io(path, e)),
        };
        let config: Value = serde_json::from_str(&text)
            .map_err(|e| Error::file(&path, format!("isn't JSON: {e}")))?;
        match scheme {
            Scheme::HuggingFace => SideConfig::hugging_face(&path, &config),
            Scheme::OpenAi => SideConfig::open_clip(&config),
        }
    }

    /// The text model's part is under `text_config`, or all of the file.
    fn hugging_face(path: &Path, config: &Value) -> Result<SideConfig> {
        let text = config.get("text_config").unwrap_or(config);
        let activation = match text.get("hidden_act").and_then(Value::as_str) {
            None => None,
            Some("quick_gelu") => Some(Activation::QuickGelu),
            Some("gelu") => Some(Activation::Gelu),
            Some("gelu_new" | "gelu_pytorch_tanh") => Some(Activation::GeluTanh),
            Some(other) => {
                let detail = format!("hidden_act is {other:?}; known are quick_gelu and gelu");
                return Err(Error::file(path, detail));
            }
        };
        // 2 is what configurations had by mistake; transformers takes the largest id then, too.
        let end_token = number(text, "eos_token_id").and_then(|id| u32::try_from(id).ok());
        Ok(SideConfig {
            heads: number(text, "num_attention_heads"),
            activation,
            eps: text.get("layer_norm_eps").and_then(Value::as_f64).map(|eps| eps as f32),
            end_token: end_token.filter(|id| *id != 2),
        })
    }

    fn open_clip(config: &Value) -> Result<SideConfig> {
        let model = config.get("model_cfg").unwrap_or(config);
        let quick = model.get("quick_gelu").and_then(Value::as_bool).unwrap_or(false);
        let activation = Some(if quick { Activation::QuickGelu } else { Activation::Gelu });
        let heads = model.get("text_cfg").and_then(|text| number(text, "heads"));
        Ok(SideConfig { heads, activation, ..SideConfig::default() })
    }
}

/// A whole number of a configuration.
fn number(config: &Value, key: &str) -> Option<usize> {
    config.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
}
