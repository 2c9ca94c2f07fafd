//! Deterministic random streams, the only source of randomness in the crate.
//!
//! A [`Stream`] is ChaCha12 keyed by a seed and a label. The key is the seed as eight
//! little-endian bytes followed by 24 zero bytes; the ChaCha stream id is the first eight bytes,
//! little-endian, of the SHA-256 of the label's UTF-8 bytes. The key stream of 32-bit words is
//! read in pairs: a `u64` is word 2i (low half) and word 2i + 1 (high half).
//!
//! A stream is read in one of two ways. Read from the start it is an endless sequence. Read by
//! [`Stream::block`] it is an array of blocks of eight `u64` (16 words, one ChaCha block), so that
//! item n of a job owns block n and can be drawn alone, in any order, on any thread.
//!
//! Integers come from `(u64 · range) >> 64` and reals from the upper 53 bits, both through
//! [`Draw`]; nothing is ever rejected, so each draw uses exactly one `u64` and the number of draws
//! that a procedure makes can be counted by reading it.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

/// Words of 32 bits in a ChaCha block.
const BLOCK_WORDS: u128 = 16;

/// `u64` values in a ChaCha block, the private share of one item of [`Stream::block`].
pub const BLOCK_DRAWS: usize = 8;

/// What can be drawn from a source of uniform `u64` values; every method but
/// [`shuffle`](Draw::shuffle) uses exactly one.
pub trait Draw {
    /// The next 64 uniform bits.
    fn next_u64(&mut self) -> u64;

    /// A whole number in `0..range`, as `(u64 · range) >> 64`; 0 when `range` is 0. The bias is at
    /// most range/2⁶⁴ a value.
    fn below(&mut self, range: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(range)) >> 64) as u64
    }

    /// A real number in `[0, 1)`, a multiple of 2⁻⁵³.
    fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A real number between `low` and `high`: `low + (high − low) · unit`.
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// `true` with the given probability: `unit < probability`.
    fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// How many independent trials fail before the next that succeeds, where each does with probability `rate`
    /// (above 0 and below 1): ⌊ln(1 − u) / ln(1 − rate)⌋, a geometric number.
    fn gap(&mut self, rate: f64) -> u64 {
        // A float too great for u64 becomes its greatest value.
        ((-self.unit()).ln_1p() / (-rate).ln_1p()).floor() as u64
    }

    /// Puts `items` in uniformly random order (Fisher–Yates, from the end): for i = len − 1 down to
    /// 1, swaps item i with item `below(i + 1)`. Uses len − 1 draws.
    fn shuffle<T>(&mut self, items: &mut [T])
    where
        Self: Sized,
    {
        for i in (1..items.len()).rev() {
            let j = self.below(i as u64 + 1) as usize;
            items.swap(i, j);
        }
    }

    /// The numbers `0..n` in the order that [`shuffle`](Draw::shuffle) gives them.
    fn permutation(&mut self, n: usize) -> Vec<usize>
    where
        Self: Sized,
    {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }
}

/// An endless sequence of `u64` values, and an array of blocks of eight of them.
#[derive(Clone, Debug)]
pub struct Stream {
    generator: ChaCha12Rng,
}

/// The stream of a seed and a label, standing at its start. Equal arguments give equal streams;
/// different labels give independent ones.
pub fn stream(seed: u64, label: &str) -> Stream {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let digest = Sha256::digest(label.as_bytes());
    let mut id = [0u8; 8];
    id.copy_from_slice(&digest[..8]);
    let mut generator = ChaCha12Rng::from_seed(key);
    generator.set_stream(u64::from_le_bytes(id));
    Stream { generator }
}

impl Stream {
    /// This stream from its value `n` on, from 0, whatever has been read before.
    pub fn at(&self, n: u64) -> Stream {
        let mut generator = self.generator.clone();
        generator.set_word_pos(2 * u128::from(n));
        Stream { generator }
    }

    /// Block `n` of this stream: its `u64` values 8n to 8n + 7, whatever has been read before.
    pub fn block(&self, n: u64) -> DrawBlock {
        let mut block = DrawBlock {
            generator: self.generator.clone(),
            number: n,
            words: [0; BLOCK_DRAWS],
            next: 0,
        };
        block.fill();
        block
    }
}

impl Draw for Stream {
    fn next_u64(&mut self) -> u64 {
        self.generator.next_u64()
    }
}

/// The draws that belong to item n of a job. They never run into the block of item n + 1: after
/// [`BLOCK_DRAWS`] draws the block goes on with block n of the ChaCha stream whose id is one
/// higher, and so on.
#[derive(Clone, Debug)]
pub struct DrawBlock {
    generator: ChaCha12Rng,
    number: u64,
    words: [u64; BLOCK_DRAWS],
    next: usize,
}

impl DrawBlock {
    fn fill(&mut self) {
        self.generator.set_word_pos(u128::from(self.number) * BLOCK_WORDS);
        for word in &mut self.words {
            *word = self.generator.next_u64();
        }
        self.next = 0;
    }
}

impl Draw for DrawBlock {
    fn next_u64(&mut self) -> u64 {
        if self.next == BLOCK_DRAWS {
            let id = self.generator.get_stream().wrapping_add(1);
            self.generator.set_stream(id);
            self.fill();
        }
        self.next += 1;
        self.words[self.next - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_slices_of_the_stream() {
        let mut whole = stream(7, "layer1.0.conv1");
        let source = whole.clone();
        let read: Vec<u64> = (0..24).map(|_| whole.next_u64()).collect();
        for n in [13, 0, 8] {
            let mut rest = source.at(n);
            assert_eq!([rest.next_u64(), rest.next_u64()], read[n as usize..][..2]);
        }
        for n in [2u64, 0, 1] {
            let mut block = source.block(n);
            for i in 0..8 {
                assert_eq!(block.next_u64(), read[n as usize * 8 + i]);
            }
        }
    }

    #[test]
    fn a_block_that_runs_out_stays_its_own() {
        let source = stream(7, "x");
        let draw = |n| -> Vec<u64> {
            let mut block = source.block(n);
            (0..40).map(|_| block.next_u64()).collect()
        };
        let (a, b) = (draw(0), draw(1));
        assert_eq!(a, draw(0));
        assert!(a.iter().all(|word| !b.contains(word)));
    }

    #[test]
    fn seeds_and_labels_part_streams() {
        let first = |seed, label| stream(seed, label).next_u64();
        assert_eq!(first(1, "a"), first(1, "a"));
        assert_ne!(first(1, "a"), first(2, "a"));
        assert_ne!(first(1, "a"), first(1, "b"));
    }

    #[test]
    #[cfg_attr(miri, ignore = "slow, and all of it safe")]
    fn integers_and_reals_stay_in_range_and_spread() {
        let mut source = stream(3, "range");
        let mut seen = [0u32; 7];
        let mut sum = 0.0;
        for _ in 0..7000 {
            seen[source.below(7) as usize] += 1;
            let real = source.unit();
            assert!((0.0..1.0).contains(&real));
            sum += real;
        }
        // Five standard deviations of a binomial count (1000 ± 29) and of a mean of 7000 uniforms.
        assert!(seen.iter().all(|&count| (853..1147).contains(&count)), "{seen:?}");
        assert!((sum / 7000.0 - 0.5).abs() < 5.0 * 0.2887 / 7000f64.sqrt());
        assert_eq!(source.below(0), 0);
        assert_eq!(source.below(1), 0);
    }

    #[test]
    fn permutations_hold_every_number_once() {
        for n in [0, 1, 2, 1000] {
            let mut order = stream(1, "p").permutation(n);
            assert_eq!(order, stream(1, "p").permutation(n));
            order.sort_unstable();
            assert!(order.into_iter().eq(0..n));
        }
    }
}
