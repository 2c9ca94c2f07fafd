//! From the vectors of texts to a row a class.

use super::TextFeatures;
use crate::{Error, Result};

/// How the vectors of a class's texts become its row. The default is both: the published features
/// that were made from descriptions have rows of length 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Averaging {
    /// Each text's vector is divided by its norm before the mean, so that all texts weigh alike.
    /// Otherwise longer vectors weigh more.
    pub unit_texts: bool,
    /// The mean is divided by its norm. A head divides rows by their norms anyway, once.
    pub unit_rows: bool,
}

impl Default for Averaging {
    fn default() -> Self {
        Averaging { unit_texts: true, unit_rows: true }
    }
}

impl Averaging {
    /// In words, for a file's metadata.
    pub fn describe(self) -> &'static str {
        match (self.unit_texts, self.unit_rows) {
            (true, true) => "texts normalised, averaged, normalised",
            (true, false) => "texts normalised, averaged",
            (false, true) => "averaged, normalised",
            (false, false) => "averaged",
        }
    }
}

/// One row a class: the mean of its texts' vectors, summed in f64 in the texts' order and rounded
/// once. `encode` gets at most `batch` texts, of neighbouring classes, and gives texts × `width`.
///
/// # Errors
/// Those of `encode`; [`Error::Shape`] if it gives another number of values; [`Error::Usage`] naming
/// a class whose row has no direction: no texts, or texts that cancel out or say nothing.
pub fn class_features<S: AsRef<str>, T: AsRef<[S]>>(
    names: Vec<String>,
    texts: &[T],
    width: usize,
    averaging: Averaging,
    batch: usize,
    mut encode: impl FnMut(&[&str]) -> Result<Vec<f32>>,
) -> Result<TextFeatures> {
    let flat: Vec<(usize, &str)> = texts
        .iter()
        .enumerate()
        .flat_map(|(class, texts)| texts.as_ref().iter().map(move |text| (class, text.as_ref())))
        .collect();
    let mut sums = vec![0f64; names.len() * width];
    for part in flat.chunks(batch.max(1)) {
        let of_part: Vec<&str> = part.iter().map(|&(_, text)| text).collect();
        let vectors = encode(&of_part)?;
        if vectors.len() != of_part.len() * width {
            let detail = format!("{} values for {} texts × {width}", vectors.len(), of_part.len());
            return Err(Error::shape("text encoder", detail));
        }
        for (&(class, _), vector) in part.iter().zip(vectors.chunks_exact(width)) {
            let norm = if averaging.unit_texts { norm(vector.iter().map(|&v| v.into())) } else { 1.0 };
            for (sum, &value) in sums[class * width..][..width].iter_mut().zip(vector) {
                *sum += f64::from(value) / norm;
            }
        }
    }
    for (sums, texts) in sums.chunks_exact_mut(width).zip(texts) {
        let count = texts.as_ref().len() as f64;
        sums.iter_mut().for_each(|sum| *sum /= count);
        if averaging.unit_rows {
            let norm = norm(sums.iter().copied());
            sums.iter_mut().for_each(|sum| *sum /= norm);
        }
    }
    let rows = sums.into_iter().map(|value| value as f32).collect();
    TextFeatures::from_rows(names, rows, width)
}

/// The Euclidean norm; 1 for zeros, which stay zeros when they are divided by it.
fn norm(values: impl Iterator<Item = f64>) -> f64 {
    let squares: f64 = values.map(|value| value * value).sum();
    if squares == 0.0 { 1.0 } else { squares.sqrt() }
}
