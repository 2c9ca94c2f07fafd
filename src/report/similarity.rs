//! Text features in figures: lengths, cosines, the pairs that lie closest.

use super::sheet::{BY_PIPE, Fit, Sheet, View};
use crate::text::TextFeatures;
use crate::text::similarity::{ClassPair, NEAR_DUPLICATE, Similarity};

/// Rows of the table of closest pairs.
const PAIRS: usize = 10;

/// What features are, as text; classes are called by the features' names.
pub fn similarity_text(features: &TextFeatures, similarity: &Similarity, view: View) -> String {
    let Similarity { classes, width, norms: [least, mean, most], .. } = similarity;
    let mut sheet = Sheet::new(view);
    sheet.prose(&format!(
        "{classes} classes × {width}; norms {least:.3} to {most:.3}, mean {mean:.3}"
    ));
    let Some(mean_cosine) = similarity.mean_cosine else { return sheet.finish(BY_PIPE) };
    sheet.prose(&format!("mean cosine over all pairs of classes: {mean_cosine:.2}"));
    sheet.prose(&match similarity.near_duplicates.len() {
        0 => format!("no pair reaches a cosine of {NEAR_DUPLICATE}"),
        n => format!("near-duplicates (a cosine of {NEAR_DUPLICATE} and above): {n}"),
    });
    let name = |class: usize| format!("{} ({class})", features.names[class]);
    let row =
        |pair: &ClassPair| vec![name(pair.first), name(pair.second), format!("{:.3}", pair.cosine)];
    let rows = similarity.closest(PAIRS).iter().map(row).collect();
    sheet.gap();
    sheet.table(Fit::Blocks, &["class", "nearest class", "cosine"], rows);
    sheet.finish(BY_PIPE)
}
