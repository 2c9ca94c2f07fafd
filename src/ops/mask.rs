//! Random masks: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011),
//! keyed by seed and node, counted by what is masked, sample and epoch. `kernels/common/philox.cuh` has the
//! same words.

use sha2::{Digest, Sha256};

use super::RunState;
use crate::{Error, Result};

/// The masks of one node in one pass.
pub(super) struct Masks {
    key: [u32; 2],
    epoch: u32,
    threshold: u32,
    factor: f32,
}

impl Masks {
    /// Those that multiply by 0 with probability `p`, otherwise by 1/(1 − p).
    pub fn new(p: f32, name: u64, state: &RunState) -> Masks {
        Masks {
            key: halves(name ^ state.seed),
            epoch: state.epoch as u32,
            threshold: threshold(p),
            factor: factor(p),
        }
    }

    /// Factors number 4·`quad` to 4·`quad` + 3 of a sample.
    pub fn factors(&self, sample: u64, quad: usize) -> [f32; 4] {
        let [low, high] = halves(sample);
        let words = philox4x32_10([quad as u32, low, high, self.epoch], self.key);
        words.map(|word| if word >= self.threshold { self.factor } else { 0.0 })
    }
}

fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

/// The node's share of the key, into which the seed is XORed: the first eight bytes (little-endian) of
/// SHA-256(kind + " " + node's name).
pub(super) fn name_key(kind: &str, node: &str) -> u64 {
    let digest = Sha256::new().chain_update(kind).chain_update(" ").chain_update(node).finalize();
    u64::from_le_bytes(digest[..8].try_into().expect("SHA-256 has 32 bytes"))
}

/// Words below it stand for 0.
pub(super) fn threshold(p: f32) -> u32 {
    (f64::from(p) * (1u64 << 32) as f64) as u32
}

/// What the others stand for.
pub(super) fn factor(p: f32) -> f32 {
    1.0 / (1.0 - p)
}

/// Refuses what is no probability of dropping.
pub(super) fn check(kind: &str, p: f32) -> Result<()> {
    if (0.0..1.0).contains(&p) {
        return Ok(());
    }
    Err(Error::shape(kind, format!("the probability {p} is not at least 0 and below 1")))
}

/// The words of a counter.
fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let product = |a: u32, b: u32| {
        let product = u64::from(a) * u64::from(b);
        ((product >> 32) as u32, product as u32)
    };
    let ([mut a, mut b, mut c, mut d], [mut k, mut l]) = (counter, key);
    for _ in 0..10 {
        let (high0, low0) = product(0xd251_1f53, a);
        let (high1, low1) = product(0xcd9e_8d57, c);
        (a, b, c, d) = (high1 ^ b ^ k, low1, high0 ^ d ^ l, low0);
        (k, l) = (k.wrapping_add(0x9e37_79b9), l.wrapping_add(0xbb67_ae85));
    }
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of Random123's `kat_vectors`.
    #[test]
    fn known_answers() {
        assert_eq!(
            philox4x32_10([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32_10([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32_10(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }
}
