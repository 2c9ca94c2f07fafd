//! A text encoder without weights: signed feature hashing of n-grams (the "hashing trick",
//! Weinberger et al. 2009). It knows spelling and word order of two, nothing of meaning; it is not
//! CLIP and stands in for it where nothing can be downloaded.
//!
//! A text is put in lower case and split into words at everything that is neither a letter nor a
//! digit. Its features are the words, the pairs of neighbouring words, and, inside each word with a
//! `^` before and a `$` behind, the runs of 3, 4 and 5 characters. A feature is hashed by FNV-1a (64
//! bits) over one byte for its kind (1 word, 2 pair, 3 run) and its UTF-8 bytes (a pair is joined by
//! a space), then mixed by the finaliser of SplitMix64. Of the hash h, bit 0 is the sign (0 is +)
//! and (h·width) >> 64 the dimension. A feature that occurs t times weighs √t, times 1 for words and
//! pairs and 1/2 for runs; the sum is divided by its Euclidean norm.

use super::TextFeatures;
use super::average::{Averaging, class_features};
use crate::{Error, Result};
use std::collections::BTreeMap;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

const WORD: u8 = 1;
const PAIR: u8 = 2;
const RUN: u8 = 3;

/// Weight of a run of characters beside that of a word.
const RUN_WEIGHT: f64 = 0.5;

/// An encoder of texts into a given number of dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NgramHasher {
    width: usize,
}

impl NgramHasher {
    /// An encoder into `width` dimensions.
    ///
    /// # Errors
    /// [`Error::Usage`] if `width` is 0.
    pub fn new(width: usize) -> Result<Self> {
        if width == 0 {
            return Err(Error::usage("text features need at least one dimension"));
        }
        Ok(NgramHasher { width })
    }

    /// Number of dimensions.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The unit vector of a text; zeros for a text without letters and digits, or in the freak case
    /// that all its features cancel out.
    pub fn encode(&self, text: &str) -> Vec<f32> {
        let mut vector = self.sum(text);
        let norm = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
        if norm > 0.0 {
            vector.iter_mut().for_each(|v| *v /= norm);
        }
        vector.into_iter().map(|v| v as f32).collect()
    }

    /// One row a class: the mean of its texts' vectors, not normalised again.
    ///
    /// # Errors
    /// [`Error::Usage`] naming a class that has no texts or whose texts say nothing.
    pub fn class_features<S: AsRef<str>, T: AsRef<[S]>>(
        &self,
        classes: &[(String, T)],
    ) -> Result<TextFeatures> {
        let (names, texts): (Vec<String>, Vec<&[S]>) =
            classes.iter().map(|(name, texts)| (name.clone(), texts.as_ref())).unzip();
        // The vectors have unit length as they are.
        let averaging = Averaging { unit_texts: false, unit_rows: false };
        class_features(names, &texts, self.width, averaging, |texts| Ok(self.encode_all(texts)))
    }

    /// The unit vectors of texts, one behind the other.
    pub fn encode_all(&self, texts: &[&str]) -> Vec<f32> {
        texts.iter().flat_map(|text| self.encode(text)).collect()
    }

    fn sum(&self, text: &str) -> Vec<f64> {
        let mut vector = vec![0f64; self.width];
        for ((kind, feature), count) in features(text) {
            let hash = mixed(fnv1a(kind, feature.as_bytes()));
            let place = ((u128::from(hash) * self.width as u128) >> 64) as usize;
            let weight = if kind == RUN { RUN_WEIGHT } else { 1.0 } * f64::from(count).sqrt();
            vector[place] += if hash & 1 == 0 { weight } else { -weight };
        }
        vector
    }
}

/// The features of a text and how often each occurs, in a fixed order.
fn features(text: &str) -> BTreeMap<(u8, String), u32> {
    let lower = text.to_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut counts = BTreeMap::new();
    let mut add = |kind, feature| *counts.entry((kind, feature)).or_insert(0) += 1;
    for word in &words {
        add(WORD, word.to_string());
        let marked: Vec<char> = format!("^{word}$").chars().collect();
        for length in 3..=5 {
            for run in marked.windows(length) {
                add(RUN, run.iter().collect());
            }
        }
    }
    for pair in words.windows(2) {
        add(PAIR, pair.join(" "));
    }
    counts
}

fn fnv1a(kind: u8, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
    bytes.iter().fold(step(FNV_OFFSET, &kind), step)
}

/// SplitMix64's finaliser: FNV-1a alone leaves its upper bits poorly mixed for short inputs.
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
