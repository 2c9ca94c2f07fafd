//! Which faults a campaign injects.
//!
//! Injection n of a layer owns block n of the stream (seed, pair key of the layer), see
//! [`crate::rng`]. Each draw is one `u64`, an integer below r is (u64·r) >> 64:
//!
//! | draw | below | is |
//! |---|---|---|
//! | 0 | images of the campaign | place in the image list |
//! | 1 | height · width | m = row · width + column |
//! | 2 | channels | n, the channel |
//! | 3 | – | kept for k or κ of other sites |
//! | 4 + j | 32 − j | bit j: which of the bits not yet taken, in ascending order |
//!
//! Nothing is rejected, so that one block of eight holds it all, and injection n can be drawn alone.

use crate::rng::{self, Draw, Stream};
use crate::tensor::Map;

/// The most bits that one fault flips.
pub const MAX_BITS: usize = 4;

/// A drawn fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Place in the campaign's image list.
    pub image: usize,
    pub channel: usize,
    pub row: usize,
    pub column: usize,
    /// Bits to flip; bit 0 is the least significant.
    pub mask: u32,
}

/// The faults of one layer.
#[derive(Clone, Debug)]
pub struct Draws {
    stream: Stream,
    map: Map,
    images: usize,
    bits: usize,
}

impl Draws {
    /// The faults that `seed` gives the layer of `pair_key`, whose output is `map`, over `images`
    /// images, `bits` ≤ [`MAX_BITS`] distinct bits a fault (0: none, a rehearsal).
    pub fn new(seed: u64, pair_key: &str, map: Map, images: usize, bits: usize) -> Self {
        Draws { stream: rng::stream(seed, pair_key), map, images, bits: bits.min(MAX_BITS) }
    }

    /// Fault number `n`.
    pub fn get(&self, n: u64) -> Drawn {
        let mut block = self.stream.block(n);
        let image = block.below(self.images as u64) as usize;
        let pixel = block.below(self.map.pixels() as u64) as usize;
        let channel = block.below(self.map.channels as u64) as usize;
        block.next_u64();
        let mut mask = 0u32;
        for taken in 0..self.bits {
            let choice = block.below(32 - taken as u64) as usize;
            let free = (0..32).filter(|bit| mask & (1 << bit) == 0).nth(choice);
            mask |= free.map_or(0, |bit: u32| 1 << bit);
        }
        let (row, column) = (pixel / self.map.width, pixel % self.map.width);
        Drawn { image, channel, row, column, mask }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Upper 0.1 % point of χ² by Wilson and Hilferty (1931): k(1 − 2/9k + z·√(2/9k))³, z = 3.0902.
    fn chi_squared_limit(freedom: f64) -> f64 {
        let spread = 2.0 / (9.0 * freedom);
        freedom * (1.0 - spread + 3.0902 * spread.sqrt()).powi(3)
    }

    fn assert_uniform(what: &str, counts: &[u64]) {
        let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        let statistic: f64 = counts.iter().map(|c| (*c as f64 - expected).powi(2) / expected).sum();
        let limit = chi_squared_limit(counts.len() as f64 - 1.0);
        assert!(statistic < limit, "{what}: χ² = {statistic}, limit {limit}");
    }

    #[test]
    fn draws_are_uniform() {
        let map = Map::new(5, 7, 24);
        for bits in 1..=MAX_BITS {
            let draws = Draws::new(1, "layer1.0.conv1", map, 50, bits);
            let (mut images, mut pixels) = ([0u64; 50], [0u64; 35]);
            let (mut channels, mut flipped) = ([0u64; 24], [0u64; 32]);
            for n in 0..20_000 {
                let fault = draws.get(n);
                images[fault.image] += 1;
                pixels[fault.row * 7 + fault.column] += 1;
                channels[fault.channel] += 1;
                assert_eq!(fault.mask.count_ones() as usize, bits);
                (0..32).for_each(|bit| flipped[bit] += u64::from(fault.mask >> bit & 1));
            }
            assert_uniform("image", &images);
            assert_uniform("pixel", &pixels);
            assert_uniform("channel", &channels);
            // Distinct bits of one fault are a little more even than independent ones.
            assert_uniform("bit", &flipped);
        }
    }

    #[test]
    fn pairs_of_bits_are_uniform() {
        let draws = Draws::new(2, "conv1", Map::vector(10), 1, 2);
        let mut pairs = std::collections::BTreeMap::new();
        for n in 0..40_000 {
            *pairs.entry(draws.get(n).mask).or_insert(0u64) += 1;
        }
        assert_eq!(pairs.len(), 32 * 31 / 2);
        assert_uniform("pair", &pairs.into_values().collect::<Vec<_>>());
    }

    #[test]
    fn a_fault_depends_on_seed_key_and_number_only() {
        let draws = |seed, key| Draws::new(seed, key, Map::new(8, 8, 16), 100, 1);
        let a = draws(3, "conv1");
        let forward: Vec<Drawn> = (0..100).map(|n| a.get(n)).collect();
        let backward: Vec<Drawn> = (0..100).rev().map(|n| draws(3, "conv1").get(n)).collect();
        assert!(forward.iter().eq(backward.iter().rev()));
        assert_ne!(forward[7], draws(4, "conv1").get(7));
        assert_ne!(forward[7], draws(3, "conv2").get(7));
        // More bits keep place and first bit.
        let two = Draws::new(3, "conv1", Map::new(8, 8, 16), 100, 2).get(7);
        assert_eq!(two.mask & forward[7].mask, forward[7].mask);
        assert_eq!(Drawn { mask: 0, ..two }, Drawn { mask: 0, ..forward[7] });
    }
}
