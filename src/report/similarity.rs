//! Text features in figures: lengths, cosines, the pairs that lie closest.

use super::table;
use crate::text::TextFeatures;
use crate::text::similarity::{NEAR_DUPLICATE, Pair, Similarity};

/// Rows of the table of closest pairs.
const PAIRS: usize = 10;

/// What features are, as text; classes are called by the features' names.
pub fn similarity_text(features: &TextFeatures, similarity: &Similarity) -> String {
    let Similarity { classes, width, norms: [least, mean, most], .. } = similarity;
    let mut text =
        format!("{classes} classes × {width}; norms {least:.3} to {most:.3}, mean {mean:.3}\n");
    let Some(mean_cosine) = similarity.mean_cosine else { return text };
    text.push_str(&format!("mean cosine over all pairs of classes: {mean_cosine:.2}\n"));
    text.push_str(&match similarity.near_duplicates.len() {
        0 => format!("no pair reaches a cosine of {NEAR_DUPLICATE}\n"),
        n => format!("near-duplicates (a cosine of {NEAR_DUPLICATE} and above): {n}\n"),
    });
    let name = |class: usize| format!("{} ({class})", features.names[class]);
    let row =
        |pair: &Pair| vec![name(pair.first), name(pair.second), format!("{:.3}", pair.cosine)];
    let rows = similarity.closest(PAIRS).iter().map(row).collect();
    text.push_str(&format!("\n{}\n", table(&["class", "nearest class", "cosine"], rows)));
    text
}
