//! Which faults a campaign injects.
//!
//! Injection n of a layer owns block n of the stream (seed, pair key of the layer), see
//! [`crate::rng`]. Each draw is one `u64`, an integer below r is (u64·r) >> 64:
//!
//! | draw | below | is |
//! |---|---|---|
//! | 0 | images of the campaign | place in the image list |
//! | 1 | rows | m = row · width + column of a map, the index of a parameter's entry |
//! | 2 | columns | n, the channel of a map; 1 for a parameter |
//! | 3 | values of k | k or κ, counted from the first; 1 where a site has none |
//! | 4 + j | bits − j | bit j: which of the bits that the plan allows and that aren't taken yet, in ascending order |
//!
//! Nothing is rejected, so that one block of eight holds it all, and injection n can be drawn alone.
//! Strata of bits take bit n modulo the number of allowed bits in place of draw 4, allocated ones that of their schedule.
//!
//! *Several values*: hit j > 0 draws again below the number of values that aren't hit yet, in PyTorch's
//! order, then k and its bits. *A bit error rate* p: after draw 0 each draw u gives the number of bits
//! that stay, ⌊ln(1 − u) / ln(1 − p)⌋, before the next that flips, over all bits of all values in
//! PyTorch's order: the gaps of independent flips are geometric.

use super::schedule::schedule;
use crate::fault::SiteSpace;
use crate::plan::{Flips, MAX_BITS, Plan, Stratify};
use crate::rng::{self, Draw, DrawBlock, Stream};
use crate::tensor::Map;

/// Where a layer can be hit, and in numbers of which format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Values: `rows` · `columns`; element = column · rows + row.
    pub rows: u64,
    pub columns: u64,
    /// The first k and one past the last; 0 and 1 where k means nothing.
    pub k: [u32; 2],
    /// The bits of a value that are drawn among, as a mask from the format's lowest.
    pub bits: u32,
}

impl Space {
    /// The values of an output or input map, in fp32.
    pub fn of_map(map: Map) -> Space {
        Space { rows: map.pixels() as u64, columns: map.channels as u64, k: [0, 1], bits: u32::MAX }
    }

    /// The entries of a parameter.
    pub fn of_parameter(elements: usize) -> Space {
        Space { rows: elements as u64, columns: 1, k: [0, 1], bits: u32::MAX }
    }

    /// The places of a site that `map` addresses, where it has as many; else one row an element. `bits` are a mask.
    pub fn of_site(space: SiteSpace, map: Map, bits: u32) -> Space {
        if space.elements == map.elements() as u64 {
            Space { k: space.k, bits, ..Space::of_map(map) }
        } else {
            Space { rows: space.elements, columns: 1, k: space.k, bits }
        }
    }

    /// Values that can be hit.
    pub fn elements(&self) -> u64 {
        self.rows * self.columns
    }
}

/// A value that is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Index within one image's output, or within the parameter, in PyTorch's order.
    pub element: u64,
    /// The k of the site, 0 where it has none.
    pub k: u32,
    /// Bits to flip; bit 0 is the least significant of the value's format.
    pub mask: u32,
}

/// A drawn fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Place in the campaign's image list.
    pub image: usize,
    /// In ascending order of elements where there are several.
    pub hits: Vec<Hit>,
}

/// The faults of one layer.
#[derive(Clone, Debug)]
pub struct Draws {
    stream: Stream,
    space: Space,
    images: usize,
    bits: usize,
    flips: Flips,
    order: BitOrder,
}

/// Which bits a layer's injections take.
#[derive(Clone, Debug)]
enum BitOrder {
    Drawn,
    /// Injection n takes bit n modulo the number of bits.
    InTurn,
    /// The bit of each injection.
    Scheduled(Vec<u8>),
}

impl Draws {
    /// The faults that `plan` gives the layer of `pair_key`, which can be hit in `space`, over `images`
    /// images.
    pub fn new(plan: &Plan, pair_key: &str, space: Space, images: usize) -> Self {
        let order = match &plan.stratify {
            Stratify::No => BitOrder::Drawn,
            Stratify::Bit => BitOrder::InTurn,
            Stratify::Allocated(allocation) => match allocation.layers.get(pair_key) {
                Some(counts) => BitOrder::Scheduled(schedule(counts)),
                None => BitOrder::InTurn,
            },
        };
        Draws {
            stream: rng::stream(plan.seed, pair_key),
            space,
            images,
            bits: plan.bits.min(MAX_BITS),
            flips: plan.flips,
            order,
        }
    }

    /// The image of fault number `n`: its place in the image list.
    pub fn image(&self, n: u64) -> usize {
        self.stream.block(n).below(self.images as u64) as usize
    }

    /// Fault number `n`.
    pub fn get(&self, n: u64) -> Drawn {
        let mut block = self.stream.block(n);
        let image = block.below(self.images as u64) as usize;
        let hits = match self.flips {
            Flips::Count(count) => self.distinct(&mut block, n, u64::from(count)),
            Flips::Rate(rate) => self.at_rate(&mut block, rate),
        };
        Drawn { image, hits }
    }

    fn distinct(&self, block: &mut DrawBlock, n: u64, count: u64) -> Vec<Hit> {
        let Space { rows, columns, .. } = self.space;
        let row = block.below(rows);
        let column = block.below(columns);
        let mut hits = vec![self.hit(block, n, column * rows + row)];
        for taken in 1..count.min(self.space.elements()) {
            let mut element = block.below(self.space.elements() - taken);
            // `hits` is in ascending order: step over those that lie before.
            for hit in &hits {
                element += u64::from(hit.element <= element);
            }
            let hit = self.hit(block, n, element);
            hits.insert(hits.partition_point(|h| h.element < element), hit);
        }
        hits
    }

    fn hit(&self, block: &mut DrawBlock, n: u64, element: u64) -> Hit {
        let [first, end] = self.space.k;
        let k = first + block.below(u64::from(end - first)) as u32;
        let mut mask = 0u32;
        let allowed = self.space.bits;
        let count = u64::from(allowed.count_ones());
        for taken in 0..self.bits {
            let drawn = block.below(count - taken as u64) as usize;
            let choice = match &self.order {
                BitOrder::Drawn => drawn,
                BitOrder::InTurn => (n % count) as usize,
                BitOrder::Scheduled(bits) => {
                    bits.get(n as usize).map_or(drawn, |bit| (*bit).into())
                }
            };
            let free = allowed & !mask;
            let bit = (0..u32::BITS).filter(|bit| free >> bit & 1 == 1).nth(choice);
            mask |= bit.map_or(0, |bit| 1 << bit);
        }
        Hit { element, k, mask }
    }

    fn at_rate(&self, block: &mut DrawBlock, rate: f64) -> Vec<Hit> {
        let bits = u64::from(self.space.bits.count_ones());
        let end = self.space.elements() * bits;
        let [first, last] = self.space.k;
        let (mut at, mut hits) = (0u64, Vec::<Hit>::new());
        loop {
            at = at.saturating_add(block.gap(rate));
            if at >= end {
                return hits;
            }
            let (element, bit) = (at / bits, 1u32 << (at % bits));
            match hits.last_mut().filter(|hit| hit.element == element) {
                Some(hit) => hit.mask |= bit,
                None => {
                    let k = first + block.below(u64::from(last - first)) as u32;
                    hits.push(Hit { element, k, mask: bit });
                }
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Allocation, Pilot};

    fn draws(plan: &Plan, key: &str, map: Map, images: usize) -> Draws {
        Draws::new(plan, key, Space::of_map(map), images)
    }

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
            let plan = Plan { bits, ..Plan::new(1, 1) };
            let draws = draws(&plan, "layer1.0.conv1", map, 50);
            let (mut images, mut pixels) = ([0u64; 50], [0u64; 35]);
            let (mut channels, mut flipped) = ([0u64; 24], [0u64; 32]);
            for n in 0..20_000 {
                let fault = draws.get(n);
                let [hit] = fault.hits[..] else { panic!("{fault:?}") };
                images[fault.image] += 1;
                assert_eq!(draws.image(n), fault.image);
                pixels[hit.element as usize % 35] += 1;
                channels[hit.element as usize / 35] += 1;
                assert_eq!(hit.mask.count_ones() as usize, bits);
                (0..32).for_each(|bit| flipped[bit] += u64::from(hit.mask >> bit & 1));
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
        let draws = draws(&Plan { bits: 2, ..Plan::new(2, 1) }, "conv1", Map::vector(10), 1);
        let mut pairs = std::collections::BTreeMap::new();
        for n in 0..40_000 {
            *pairs.entry(draws.get(n).hits[0].mask).or_insert(0u64) += 1;
        }
        assert_eq!(pairs.len(), 32 * 31 / 2);
        assert_uniform("pair", &pairs.into_values().collect::<Vec<_>>());
    }

    #[test]
    fn several_values_are_distinct_and_uniform() {
        let plan = Plan { flips: Flips::Count(3), ..Plan::new(2, 1) };
        let draws = draws(&plan, "conv1", Map::new(2, 2, 2), 1);
        let mut triples = std::collections::BTreeMap::new();
        for n in 0..20_000 {
            let elements: Vec<u64> = draws.get(n).hits.iter().map(|hit| hit.element).collect();
            assert!(elements.is_sorted_by(|a, b| a < b), "{elements:?}");
            *triples.entry(elements).or_insert(0u64) += 1;
        }
        assert_eq!(triples.len(), 8 * 7 * 6 / 6);
        assert_uniform("triple", &triples.into_values().collect::<Vec<_>>());
        let plan = Plan { flips: Flips::Count(100), ..plan };
        let all = Draws::new(&plan, "conv1", Space::of_map(Map::vector(6)), 1).get(3);
        assert!(all.hits.iter().map(|hit| hit.element).eq(0..6));
    }

    /// Of 80 · 32 bits at p = 0.01, 25.6 flip on average, with a variance of 25.3.
    #[test]
    fn a_bit_error_rate_flips_each_bit_alike() {
        let plan = Plan { flips: Flips::Rate(0.01), ..Plan::new(2, 1) };
        let draws = draws(&plan, "conv1", Map::new(4, 4, 5), 1);
        let (mut total, mut squares) = (0.0, 0.0);
        let (mut elements, mut bits) = ([0u64; 80], [0u64; 32]);
        for n in 0..4000 {
            let hits = draws.get(n).hits;
            let count: u32 = hits.iter().map(|hit| hit.mask.count_ones()).sum();
            total += f64::from(count);
            squares += f64::from(count).powi(2);
            for hit in hits {
                elements[hit.element as usize] += u64::from(hit.mask.count_ones());
                (0..32).for_each(|bit| bits[bit] += u64::from(hit.mask >> bit & 1));
            }
        }
        let mean = total / 4000.0;
        let variance = squares / 4000.0 - mean * mean;
        // Five standard errors: √(25.3/4000) = 0.08, and 25.3·√(2/4000) = 0.57.
        assert!((mean - 25.6).abs() < 0.4, "{mean}");
        assert!((variance - 25.3).abs() < 2.9, "{variance}");
        assert_uniform("element", &elements);
        assert_uniform("bit", &bits);
        let rare = Plan { flips: Flips::Rate(1e-300), ..plan };
        assert!(Draws::new(&rare, "a", Space::of_map(Map::vector(9)), 1).get(0).hits.is_empty());
    }

    #[test]
    fn strata_take_every_bit_in_turn() {
        let plan = Plan { stratify: Stratify::Bit, ..Plan::new(3, 1) };
        let map = Map::new(8, 8, 16);
        let (strata, plain) = (draws(&plan, "a", map, 9), draws(&Plan::new(3, 1), "a", map, 9));
        for n in 0..100 {
            let (a, b) = (strata.get(n), plain.get(n));
            assert_eq!(a.hits[0].mask, 1 << (n % 32));
            assert_eq!((a.image, a.hits[0].element), (b.image, b.hits[0].element));
        }
    }

    /// Of bits 3, 20 to 22 and 30 alone: each alike, in turn where they are strata, and pairs of them.
    #[test]
    fn a_mask_leaves_its_bits_to_draw_among() {
        let allowed = 1u32 << 3 | 0x7 << 20 | 1 << 30;
        let space = Space { bits: allowed, ..Space::of_map(Map::new(8, 8, 16)) };
        let of = |plan: &Plan| Draws::new(plan, "a", space, 9);
        let (plain, all) =
            (of(&Plan::new(3, 1)), draws(&Plan::new(3, 1), "a", Map::new(8, 8, 16), 9));
        let mut counts = std::collections::BTreeMap::new();
        for n in 0..5000 {
            let (fault, other) = (plain.get(n), all.get(n));
            assert_eq!((fault.image, fault.hits[0].element), (other.image, other.hits[0].element));
            *counts.entry(fault.hits[0].mask).or_insert(0u64) += 1;
        }
        let masks: Vec<u32> = counts.keys().copied().collect();
        assert_eq!(masks, [3, 20, 21, 22, 30].map(|bit| 1 << bit));
        assert_uniform("bit", &counts.into_values().collect::<Vec<_>>());
        let strata = of(&Plan { stratify: Stratify::Bit, ..Plan::new(3, 1) });
        let turns: Vec<u32> = (0..6).map(|n| strata.get(n).hits[0].mask).collect();
        assert_eq!(turns, [3, 20, 21, 22, 30, 3].map(|bit| 1 << bit));
        let several = of(&Plan { bits: 4, ..Plan::new(3, 1) });
        let masks: std::collections::BTreeSet<u32> =
            (0..500).map(|n| several.get(n).hits[0].mask).collect();
        assert!(masks.iter().all(|mask| mask & !allowed == 0 && mask.count_ones() == 4));
        assert_eq!(masks.len(), 5);
    }

    #[test]
    fn allocated_injections_take_the_bits_of_their_schedule() {
        let counts: Vec<u64> = (0..32).map(|bit| 12 + bit).collect();
        let total: u64 = counts.iter().sum();
        let pilot = Pilot { checkpoint: String::new(), seed: 9, injections: 384 };
        let layers = [("a".to_string(), counts.clone())].into();
        let plan = Plan {
            stratify: Stratify::Allocated(Allocation { pilot, layers }),
            ..Plan::new(3, 500)
        };
        assert_eq!((plan.numbers("a"), plan.numbers("b")), (0..total, 0..500));
        let map = Map::new(8, 8, 16);
        let of = |key: &str| (draws(&plan, key, map, 9), draws(&Plan::new(3, 1), key, map, 9));
        let (allocated, plain) = of("a");
        let mut given = vec![0; 32];
        for n in 0..total {
            let (a, b) = (allocated.get(n), plain.get(n));
            given[a.hits[0].mask.trailing_zeros() as usize] += 1;
            assert_eq!((a.image, a.hits[0].element), (b.image, b.hits[0].element));
        }
        assert_eq!(given, counts);
        // A layer that the allocation doesn't know takes its bits in turn.
        assert_eq!(of("b").0.get(33).hits[0].mask, 1 << 1);
    }

    #[test]
    fn a_fault_depends_on_seed_key_and_number_only() {
        let of = |seed, key| draws(&Plan::new(seed, 1), key, Map::new(8, 8, 16), 100);
        let a = of(3, "conv1");
        let forward: Vec<Drawn> = (0..100).map(|n| a.get(n)).collect();
        let backward: Vec<Drawn> = (0..100).rev().map(|n| of(3, "conv1").get(n)).collect();
        assert!(forward.iter().eq(backward.iter().rev()));
        assert_ne!(forward[7], of(4, "conv1").get(7));
        assert_ne!(forward[7], of(3, "conv2").get(7));
        // More bits keep place and first bit, more values the first one.
        let two = Plan { bits: 2, ..Plan::new(3, 1) };
        let two = draws(&two, "conv1", Map::new(8, 8, 16), 100).get(7);
        let (one, more) = (forward[7].hits[0], two.hits[0]);
        assert_eq!(more.mask & one.mask, one.mask);
        assert_eq!(
            (two.image, Hit { mask: 0, ..more }),
            (forward[7].image, Hit { mask: 0, ..one })
        );
        let several = Plan { flips: Flips::Count(5), ..Plan::new(3, 1) };
        let several = draws(&several, "conv1", Map::new(8, 8, 16), 100).get(7);
        assert!(several.hits.contains(&one));
    }
}
