//! From class names to text features: questions about classes, descriptions that answer them, and a
//! vector a class, from which the head of a text-guided classifier starts.

pub mod average;
#[cfg(feature = "http")]
pub mod describe;
pub mod descriptions;
pub mod encoder;
pub mod file;
pub mod hashing;
pub(crate) mod lines;
pub mod questions;
pub mod similarity;
pub mod tokenizer;

pub use encoder::TextEncoder;
pub use tokenizer::{Tokenizer, Tokens};

use sha2::{Digest, Sha256};

use crate::{Error, Result, hex};

/// One row of `width` numbers for each of a list of classes.
#[derive(Clone, Debug, PartialEq)]
pub struct TextFeatures {
    /// Class names or ids; row i belongs to name i.
    pub names: Vec<String>,
    /// names.len() × width values, row by row, as they were made: not necessarily of unit length.
    pub rows: Vec<f32>,
    /// Dimensions of the text encoder; 512 for the CLIP models in use.
    pub width: usize,
}

impl TextFeatures {
    /// Features from their rows.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are no rows or the number of values isn't names × width;
    /// [`Error::Usage`] naming the first class whose row holds NaN or infinity or is all zero, since
    /// it has no direction.
    pub fn from_rows(names: Vec<String>, rows: Vec<f32>, width: usize) -> Result<Self> {
        if names.is_empty() || width == 0 || names.len().checked_mul(width) != Some(rows.len()) {
            let detail = format!("{} values for {} classes × {width}", rows.len(), names.len());
            return Err(Error::shape("text features", detail));
        }
        for (name, row) in names.iter().zip(rows.chunks_exact(width)) {
            if row.iter().any(|value| !value.is_finite()) || row.iter().all(|&value| value == 0.0) {
                let detail = format!(
                    "the text feature of \"{name}\" has no direction: it is zero or not finite"
                );
                return Err(Error::usage(detail));
            }
        }
        Ok(TextFeatures { names, rows, width })
    }

    /// SHA-256 of names and numbers, by which two are told apart.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        self.names.iter().for_each(|name| hash.update(format!("{name}\n")));
        hash.update(bytemuck::cast_slice(&self.rows));
        hex(&hash.finalize())
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no classes; never the case for features made by this crate.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Row `i`, `width` values.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.rows[i * self.width..(i + 1) * self.width]
    }

    /// All rows, each divided by its Euclidean norm (summed in f64, rounded once to f32): what the
    /// head's weight starts from.
    pub fn normalized_rows(&self) -> Vec<f32> {
        let mut rows = self.rows.clone();
        for row in rows.chunks_exact_mut(self.width) {
            let squares: f64 = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            let norm = squares.sqrt();
            row.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
        }
        rows
    }

    /// The rows of these numbers, each under its name.
    ///
    /// # Errors
    /// [`Error::Shape`] for a number beyond the last row, and the errors of [`TextFeatures::from_rows`].
    pub fn select(&self, rows: Vec<(usize, String)>) -> Result<TextFeatures> {
        if let Some((row, name)) = rows.iter().find(|(row, _)| *row >= self.len()) {
            let detail = format!("row {row} of \"{name}\" is beyond the last of {}", self.len());
            return Err(Error::shape("text features", detail));
        }
        let values = rows.iter().flat_map(|(row, _)| self.row(*row)).copied().collect();
        let names = rows.into_iter().map(|(_, name)| name).collect();
        TextFeatures::from_rows(names, values, self.width)
    }
}
