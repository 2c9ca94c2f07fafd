//! Softmax cross-entropy of one image: L = −Σ_c t_c · log p_c, p = softmax(logits).
//!
//! Targets t are a class (then t is one-hot) or a distribution; label smoothing ε makes them
//! (1 − ε)·t + ε/C, as PyTorch's `CrossEntropyLoss` does. Sums are taken in f64 from the largest
//! logit down: L = Σt · (M + log Σ e^(z − M)) − Σ t·z.

mod cpu;
mod cuda;

use super::{Op, passes, targets};
use crate::tensor::{Region, Spec};

pub use cpu::{LogSoftmax, loss, probabilities};

/// The loss of each image. Inputs: logits, and labels (u32) or target distributions (f32).
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy {
    label_smoothing: f32,
}

impl CrossEntropy {
    /// With label smoothing in 0..1.
    pub const fn new(label_smoothing: f32) -> Self {
        CrossEntropy { label_smoothing }
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for CrossEntropy {
    passes!("cross_entropy", op => op);

    targets::loss!();
}
