//! In which order a layer's injections take its bits, where each bit has a number of its own.

/// The bit of each injection of a layer whose bits have `counts` injections: among the first n of them every bit has
/// its share n·count/total, to less than one injection, so that any first part is allocated as
/// the whole is.
///
/// Of the bits that are behind by 1/(2k − 2) of an injection or more, k being how many bits have any, the next is the
/// one that would first be behind by more than 1 − 1/(2k − 2): Tijdeman (1980), *The chairman assignment problem*,
/// which shows that none ever is.
pub fn schedule(counts: &[u64]) -> Vec<u8> {
    let total: u64 = counts.iter().sum();
    let k = counts.iter().filter(|count| **count > 0).count() as i128;
    let step = (2 * k - 2).max(1);
    let mut given = vec![0u64; counts.len()];
    let mut bits = Vec::with_capacity(total as usize);
    for n in 1..=i128::from(total) {
        // How far behind a bit is, times the total.
        let behind =
            |bit: usize| i128::from(counts[bit]) * n - i128::from(given[bit]) * i128::from(total);
        // When it would be behind by too much: room/count injections from now.
        let room = |bit: usize| (step - 1) * i128::from(total) - step * behind(bit);
        let due = (0..counts.len())
            .filter(|bit| counts[*bit] > 0 && step * behind(*bit) >= i128::from(total))
            .min_by(|a, b| {
                let [a_count, b_count] = [*a, *b].map(|bit| i128::from(counts[bit]));
                (room(*a) * b_count).cmp(&(room(*b) * a_count))
            });
        let Some(bit) = due else { break };
        given[bit] += 1;
        bits.push(bit as u8);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{self, Draw};

    fn assert_even(counts: &[u64]) {
        let (bits, total) = (schedule(counts), counts.iter().sum::<u64>());
        assert_eq!(bits.len() as u64, total);
        let mut given = vec![0u64; counts.len()];
        for (n, bit) in (1..).zip(&bits) {
            given[usize::from(*bit)] += 1;
            for (given, count) in given.iter().zip(counts) {
                let off = i128::from(given * total) - i128::from(n * count);
                assert!(off.abs() < i128::from(total), "{counts:?} at {n}: {given:?} of {count}");
            }
        }
        assert_eq!(given, counts);
    }

    /// Taking whichever bit is furthest behind is off by up to 1.07 injections with counts like these.
    #[test]
    fn every_first_part_has_the_shares_of_the_whole() {
        assert_even(&[1]);
        assert_even(&[7]);
        assert_even(&[12; 32]);
        assert_even(&[0, 5, 0, 1]);
        assert_even(&[1, 1, 1, 1, 1, 1, 1, 93]);
        let mut draws = rng::stream(1, "counts");
        for _ in 0..60 {
            let counts: Vec<u64> = (0..32)
                .map(|_| {
                    let most = 1 << draws.below(9);
                    1 + draws.below(most)
                })
                .collect();
            assert_even(&counts);
        }
        assert!(schedule(&[]).is_empty());
    }
}
