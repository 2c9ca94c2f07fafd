//! How text features lie to each other: lengths, cosines, neighbours.

use rayon::prelude::*;
use serde::Serialize;

use super::TextFeatures;

/// From this cosine on two classes are hardly told apart by their rows. Of the 499,500 pairs of the
/// published features from descriptions one is above it: sunglass and sunglasses.
pub const NEAR_DUPLICATE: f64 = 0.99;

/// Two classes, by row, and the cosine of the angle between them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassPair {
    pub first: usize,
    pub second: usize,
    pub cosine: f64,
}

/// What can be said of features without knowing what they are for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Similarity {
    pub classes: usize,
    pub width: usize,
    /// Shortest, mean and longest Euclidean norm of a row.
    pub norms: [f64; 3],
    /// The mean over all pairs of classes; none for a single class.
    pub mean_cosine: Option<f64>,
    /// For each class its nearest other one, the first of equals; empty for a single class.
    pub nearest: Vec<ClassPair>,
    /// Pairs of [`NEAR_DUPLICATE`] and above, the closest first.
    pub near_duplicates: Vec<ClassPair>,
}

impl Similarity {
    /// Compares every row with every other, in f64.
    pub fn of(features: &TextFeatures) -> Similarity {
        let (classes, width) = (features.len(), features.width);
        let norms: Vec<f64> =
            (0..classes).map(|i| dot(features.row(i), features.row(i)).sqrt()).collect();
        let rows: Vec<ClassRow> =
            (0..classes).into_par_iter().map(|i| ClassRow::of(features, &norms, i)).collect();
        let pairs = (classes * (classes - 1) / 2) as f64;
        let sum: f64 = rows.iter().map(|row| row.sum_behind).sum();
        let mut near_duplicates: Vec<ClassPair> =
            rows.iter().flat_map(|row| row.near_behind.iter().copied()).collect();
        near_duplicates.sort_by(closest_first);
        Similarity {
            classes,
            width,
            norms: [
                norms.iter().copied().fold(f64::INFINITY, f64::min),
                norms.iter().sum::<f64>() / classes as f64,
                norms.iter().copied().fold(0.0, f64::max),
            ],
            mean_cosine: (classes > 1).then_some(sum / pairs),
            nearest: rows.iter().filter_map(|row| row.nearest).collect(),
            near_duplicates,
        }
    }

    /// The closest pairs of a class and its nearest, each pair once, at most `most` of them.
    pub fn closest(&self, most: usize) -> Vec<ClassPair> {
        let ordered = |pair: &ClassPair| ClassPair {
            first: pair.first.min(pair.second),
            second: pair.first.max(pair.second),
            ..*pair
        };
        let mut pairs: Vec<ClassPair> = self.nearest.iter().map(ordered).collect();
        pairs.sort_by(closest_first);
        pairs.dedup_by_key(|pair| (pair.first, pair.second));
        pairs.truncate(most);
        pairs
    }
}

fn closest_first(a: &ClassPair, b: &ClassPair) -> std::cmp::Ordering {
    b.cosine.total_cmp(&a.cosine).then((a.first, a.second).cmp(&(b.first, b.second)))
}

/// A class beside all others.
struct ClassRow {
    nearest: Option<ClassPair>,
    /// Over the classes behind this one, so that each pair counts once.
    sum_behind: f64,
    near_behind: Vec<ClassPair>,
}

impl ClassRow {
    fn of(features: &TextFeatures, norms: &[f64], first: usize) -> ClassRow {
        let mut row = ClassRow { nearest: None, sum_behind: 0.0, near_behind: Vec::new() };
        for second in (0..features.len()).filter(|&second| second != first) {
            // Lower row first: a pair's cosine has the same bits from both sides.
            let (low, high) = (first.min(second), first.max(second));
            let cosine = dot(features.row(low), features.row(high)) / (norms[low] * norms[high]);
            let pair = ClassPair { first, second, cosine };
            if row.nearest.is_none_or(|nearest| cosine > nearest.cosine) {
                row.nearest = Some(pair);
            }
            if second > first {
                row.sum_behind += cosine;
                if cosine >= NEAR_DUPLICATE {
                    row.near_behind.push(pair);
                }
            }
        }
        row
    }
}

/// All cosines, row by row: class i's row has its cosine with class j at place j.
pub fn cosines(features: &TextFeatures) -> Vec<f32> {
    let classes = features.len();
    let rows = features.normalized_rows();
    let row = |i: usize| &rows[i * features.width..][..features.width];
    (0..classes * classes)
        .into_par_iter()
        .map(|at| dot(row(at / classes), row(at % classes)) as f32)
        .collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
