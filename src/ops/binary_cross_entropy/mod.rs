//! Binary cross-entropy of one image: every class is a question of its own, and L is the mean, or the sum, over
//! the classes of −t·log σ(z) − (1 − t)·log(1 − σ(z)).
//!
//! Targets t are a class (then t is one-hot) or a distribution; label smoothing ε makes them (1 − ε)·t + ε/C, and
//! a threshold after that 1 where they lie above it, else 0: as timm's `BinaryCrossEntropy` has it, whose shares of
//! mixed images are smoothed in the same way beforehand. The mean over a batch is PyTorch's
//! `BCEWithLogitsLoss`. All in f64, as log(1 + e^−|z|) + t·max(−z, 0) + (1 − t)·max(z, 0), rounded once.

mod cpu;
mod cuda;

use super::{Op, passes, targets};
use crate::tensor::{Region, Spec};

/// The loss of each image. Inputs: logits, and labels (u32) or target distributions (f32).
#[derive(Clone, Copy, Debug, Default)]
pub struct BinaryCrossEntropy {
    /// At least 0 and below 1.
    pub label_smoothing: f32,
    /// Whether the loss is the sum over the classes, timm's `sum_classes`, rather than their mean.
    pub sum: bool,
    /// Smoothed targets above this are taken for 1, others for 0.
    pub target_threshold: Option<f32>,
}

impl BinaryCrossEntropy {
    /// What an image's classes add up to is divided by this.
    fn divisor(&self, classes: usize) -> f64 {
        if self.sum { 1.0 } else { classes as f64 }
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for BinaryCrossEntropy {
    passes!("binary_cross_entropy", op => op);

    targets::loss!();
}
