//! The two heads: an ordinary linear layer, and the text-guided one.

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

/// Which head a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The backbone's own linear layer → classes.
    Baseline,
    /// The backbone's linear layer → `width`, normalised, times one row a class, times
    /// exp(`logit_scale`). Rows start as text features or at random.
    TextGuided { width: usize },
}

impl Head {
    /// `baseline` or `text-guided`.
    pub const fn name(&self) -> &'static str {
        match self {
            Head::Baseline => "baseline",
            Head::TextGuided { .. } => "text-guided",
        }
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
    /// `baseline`, or `text-guided` and the width of its rows.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Head::Baseline => write!(f, "baseline"),
            Head::TextGuided { width } => write!(f, "text-guided {width}"),
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
            Head::TextGuided { width } => {
                let embedding = self.record(name, linear(width), &[*feature])?;
                let unit = self.tape.record("normalize", L2Normalize, &[embedding])?;
                let op = Linear::new(width, classes, false);
                let last_layer = self.tape.record("head", op, &[unit])?;
                let names = Some([LOGIT_SCALE].as_slice());
                let scale = Arc::new(LogitScale);
                let logits = self.tape.record_shared("scaled", scale, &[last_layer], names)?;
                Ok(HeadNodes { last_layer, logits })
            }
        }
    }
}
