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
/// once. `encode` gets all texts, class by class, and gives texts × `width`.
///
/// # Errors
/// Those of `encode`; [`Error::Shape`] if it gives another number of values; [`Error::Usage`] naming
/// a class whose row has no direction: no texts, or texts that cancel out or say nothing.
pub fn class_features<S: AsRef<str>, T: AsRef<[S]>>(
    names: Vec<String>,
    texts: &[T],
    width: usize,
    averaging: Averaging,
    encode: impl FnOnce(&[&str]) -> Result<Vec<f32>>,
) -> Result<TextFeatures> {
    let all: Vec<&str> =
        texts.iter().flat_map(|texts| texts.as_ref().iter().map(AsRef::as_ref)).collect();
    let vectors = encode(&all)?;
    if width == 0 || vectors.len() != all.len() * width || names.len() != texts.len() {
        let detail = format!("{} values for {} texts × {width}", vectors.len(), all.len());
        return Err(Error::shape("text encoder", detail));
    }
    let mut vectors = vectors.chunks_exact(width);
    let mut rows = Vec::with_capacity(names.len() * width);
    for texts in texts {
        let count = texts.as_ref().len();
        let mut mean = vec![0f64; width];
        for vector in vectors.by_ref().take(count) {
            let unit =
                if averaging.unit_texts { norm(vector.iter().map(|&v| v.into())) } else { 1.0 };
            mean.iter_mut().zip(vector).for_each(|(sum, &v)| *sum += f64::from(v) / unit);
        }
        mean.iter_mut().for_each(|sum| *sum /= count as f64);
        let unit = if averaging.unit_rows { norm(mean.iter().copied()) } else { 1.0 };
        rows.extend(mean.iter().map(|value| (value / unit) as f32));
    }
    TextFeatures::from_rows(names, rows, width)
}

/// The Euclidean norm; 1 for zeros, which stay zeros when they are divided by it.
fn norm(values: impl Iterator<Item = f64>) -> f64 {
    let squares: f64 = values.map(|value| value * value).sum();
    if squares == 0.0 { 1.0 } else { squares.sqrt() }
}
