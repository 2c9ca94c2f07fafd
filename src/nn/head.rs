//! The two heads: an ordinary linear layer, and the text-guided one, of which there is a form without normalisation.

use std::sync::Arc;

use super::Builder;
use crate::Result;
use crate::ops::Start;
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::linear::Linear;
use crate::ops::scale::LogitScale;
use crate::tape::NodeId;

/// Name of the text-guided head's rows.
pub const HEAD_ROWS: &str = "head.weight";
/// Name of the logarithm of the text-guided head's scale.
pub const LOGIT_SCALE: &str = "logit_scale";
/// What `logit_scale` starts from where the feature isn't normalised: a scale of 1. CLIP's start, 14.3, is meant for
/// cosines. The first features of a batch have norms of 8 (`resnet_small`) to 12 (`resnet18`) at a width of 512, so that
/// with rows of length 1 logits spread by 0.3 to 0.5 at a scale of 1, about as those of the normalised form (0.6),
/// but by 4 to 7 at CLIP's. From there `resnet_small` by its own recipe, on the built-in images, drove the scale to 0
/// within an epoch and learnt nothing (two seeds); from 1 it learns.
const UNNORMALIZED_START: f32 = 0.0;

/// Which head a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The backbone's own linear layer → classes.
    Baseline,
    /// The backbone's linear layer → `width`, normalised, times one row a class, times
    /// exp(`logit_scale`). Rows start as text features or at random.
    TextGuided {
        width: usize,
        /// Whether the feature of `width` is divided by its norm, as published. The form without is for
        /// ablations: it tells what the rows do from what the normalisation does. Its tensors have the same names
        /// and shapes, so that a file has to say which form it is of.
        normalized: bool,
    },
}

impl Head {
    /// The published text-guided head, for rows of `width`.
    pub const fn text_guided(width: usize) -> Head {
        Head::TextGuided { width, normalized: true }
    }

    /// `baseline`, `text-guided` or `text-guided unnormalized`.
    pub const fn name(&self) -> &'static str {
        match self {
            Head::Baseline => "baseline",
            Head::TextGuided { normalized: true, .. } => "text-guided",
            Head::TextGuided { normalized: false, .. } => "text-guided unnormalized",
        }
    }

    /// Whether its last layer's outputs are cosines, but for the rows' lengths.
    pub const fn has_cosines(&self) -> bool {
        matches!(self, Head::TextGuided { normalized: true, .. })
    }

    /// What stands before the backbone's names.
    pub const fn backbone_prefix(&self) -> &'static str {
        match self {
            Head::Baseline => "",
            Head::TextGuided { .. } => "backbone.",
        }
    }
}

impl std::fmt::Display for Head {
    /// `baseline`, or `text-guided` and the width of its rows; `unnormalized` behind it where the feature isn't
    /// normalised.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Head::Baseline => write!(f, "baseline"),
            Head::TextGuided { width, normalized: true } => write!(f, "text-guided {width}"),
            Head::TextGuided { width, normalized: false } => {
                write!(f, "text-guided {width} unnormalized")
            }
        }
    }
}

/// The nodes of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadNodes {
    /// The last layer: the baseline's own, or the text-guided `head`, before the scale.
    pub last_layer: NodeId,
    /// The logits: after the scale where there is one.
    pub logits: NodeId,
}

/// What a backbone leaves to the head: its last linear layer, which is the classifier of a baseline
/// and makes the embedding of a text-guided model.
#[derive(Clone, Debug, PartialEq)]
pub struct LastLayer {
    /// Its state-dict name.
    pub name: String,
    /// Whether it has a bias.
    pub bias: bool,
    pub start: Start,
    /// What it reads.
    pub feature: NodeId,
}

impl Builder<'_> {
    /// The backbone's last layer and the rest of the head.
    pub fn head(&mut self, last: &LastLayer, classes: usize, head: Head) -> Result<HeadNodes> {
        let LastLayer { name, feature, .. } = last;
        let channels = self.map(*feature).channels;
        let linear = |outputs| Linear::new(channels, outputs, last.bias).starting(last.start);
        match head {
            Head::Baseline => {
                let logits = self.record(name, linear(classes), &[*feature])?;
                Ok(HeadNodes { last_layer: logits, logits })
            }
            Head::TextGuided { width, normalized } => {
                let embedding = self.record(name, linear(width), &[*feature])?;
                let (read, scale) = match normalized {
                    true => {
                        let unit = self.tape.record("normalize", L2Normalize, &[embedding])?;
                        (unit, LogitScale::default())
                    }
                    false => (embedding, LogitScale { start: UNNORMALIZED_START }),
                };
                let op = Linear::new(width, classes, false);
                let last_layer = self.tape.record("head", op, &[read])?;
                let names = Some([LOGIT_SCALE].as_slice());
                let scale = Arc::new(scale);
                let logits = self.tape.record_shared("scaled", scale, &[last_layer], names)?;
                Ok(HeadNodes { last_layer, logits })
            }
        }
    }
}
