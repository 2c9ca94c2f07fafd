//! How injections are allocated to layers and bits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How many injections the bits of each layer get, by what a pilot saw. What it saw isn't among the records, so that
/// these numbers have nothing to do with what the records say: weighted estimates are as unbiased as with any numbers
/// that were fixed in advance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    pub pilot: Pilot,
    /// By pair key, so that another model's layers can have the same; of each bit of the site's values, from the
    /// lowest. Layers that aren't here take their bits in turn.
    pub layers: BTreeMap<String, Vec<u64>>,
}

/// The injections that decided on an allocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pilot {
    /// SHA-256 of the checkpoint that it ran on.
    pub checkpoint: String,
    /// What its faults were drawn from; never the seed of the campaign.
    pub seed: u64,
    /// The most injections that a layer of it had.
    pub injections: u64,
}

/// The most injections of a layer, whose order lies in memory.
const MOST: u64 = 1 << 30;

impl Allocation {
    /// Injections of a layer, if it is one of the allocation's.
    pub fn injections(&self, pair_key: &str) -> Option<u64> {
        self.layers.get(pair_key).map(|bits| bits.iter().sum())
    }

    /// How much an injection into a bit of a layer counts, on average 1: the bit's share of all faults divided by its
    /// share of the injections. `None` of a layer that isn't in the allocation, NaN of a bit that has no injections.
    pub fn weight(&self, pair_key: &str, bit: u32) -> Option<f64> {
        let bits = self.layers.get(pair_key)?;
        let total: u64 = bits.iter().sum();
        let of_bit = bits.get(bit as usize).filter(|of_bit| **of_bit > 0);
        let weight = |of_bit: &u64| total as f64 / (bits.len() as f64 * *of_bit as f64);
        Some(of_bit.map_or(f64::NAN, weight))
    }

    /// Refuses an allocation that says nothing of `layers`, by pair key and bits of a value, or not how many injections
    /// each of their bits gets.
    ///
    /// # Errors
    /// [`Error::Usage`] with the reason.
    pub fn check<'l>(&self, layers: impl Iterator<Item = (&'l str, u32)>) -> Result<()> {
        let mut is_known = false;
        for (pair_key, bits) in layers {
            let Some(counts) = self.layers.get(pair_key) else { continue };
            is_known = true;
            if counts.len() != bits as usize {
                return Err(Error::usage(format!(
                    "injections into the layer '{pair_key}' are allocated to {} bits, but its values have {bits}: the \
                     allocation is of another device or --compute",
                    counts.len()
                )));
            }
            let total = counts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count));
            if total.is_none_or(|total| total > MOST) {
                return Err(Error::usage(format!(
                    "the allocation has more injections for the layer '{pair_key}' than {MOST}"
                )));
            }
            if let Some(bit) = counts.iter().position(|count| *count == 0) {
                return Err(Error::usage(format!(
                    "the allocation has no injection for bit {bit} of the layer '{pair_key}', so that its figures \
                     wouldn't be of all faults"
                )));
            }
        }
        if !is_known {
            return Err(Error::usage(
                "injections are allocated to none of the layers: the allocation is of another network or site",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_a_layer_sum_to_its_injections() {
        let bits: Vec<u64> = (0..19).map(|bit| 12 + bit * bit).collect();
        let pilot = Pilot { checkpoint: String::new(), seed: 2, injections: 384 };
        let layers = BTreeMap::from([("a".to_string(), bits.clone())]);
        let allocation = Allocation { pilot, layers };
        let weight = |bit: u32| allocation.weight("a", bit).unwrap();
        let of_bit = |bit: u32| bits[bit as usize] as f64 * weight(bit);
        let total = bits.iter().sum::<u64>();
        assert_eq!(allocation.injections("a"), Some(total));
        assert!(((0..19).map(of_bit).sum::<f64>() - total as f64).abs() < 1e-9);
        // Each bit counts alike, however often it was drawn.
        assert!((0..19).all(|bit| (of_bit(bit) - total as f64 / 19.0).abs() < 1e-9));
        assert!(weight(19).is_nan());
        assert_eq!((allocation.weight("b", 0), allocation.injections("b")), (None, None));
    }
}
