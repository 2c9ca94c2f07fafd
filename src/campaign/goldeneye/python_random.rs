//! Python's `random`: what `random.seed(s)` and `random.sample(range(n), n)` give, number by number.
//!
//! The generator is MT19937 (Matsumoto and Nishimura, 1998, *Mersenne Twister*), seeded by its authors'
//! `init_by_array` with the 32-bit words of the seed, as CPython's documentation of `random` says. It
//! serves this protocol's choice of images and nothing else; all other randomness is [`crate::rng`]'s.

/// Words of the state, and the distance of the two that are combined.
const WORDS: usize = 624;
const APART: usize = 397;

/// Python's generator.
#[derive(Clone, Debug)]
pub struct PythonRandom {
    state: [u32; WORDS],
    next: usize,
}

impl PythonRandom {
    /// The generator after `random.seed(seed)`.
    pub fn new(seed: u64) -> Self {
        let words = [seed as u32, (seed >> 32) as u32];
        let key = if words[1] == 0 { &words[..1] } else { &words[..] };
        let mut state = [0u32; WORDS];
        state[0] = 19_650_218;
        for i in 1..WORDS {
            state[i] = mixed(state[i - 1]).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        let mut i = 1;
        for step in 0..WORDS {
            let j = step % key.len();
            state[i] = (state[i] ^ mixed(state[i - 1]).wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            advance(&mut i, &mut state);
        }
        for _ in 1..WORDS {
            state[i] =
                (state[i] ^ mixed(state[i - 1]).wrapping_mul(1_566_083_941)).wrapping_sub(i as u32);
            advance(&mut i, &mut state);
        }
        state[0] = 1 << 31;
        PythonRandom { state, next: WORDS }
    }

    /// The next 32 bits: `random.getrandbits(32)`.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == WORDS {
            self.twist();
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= word << 7 & 0x9d2c_5680;
        word ^= word << 15 & 0xefc6_0000;
        word ^ word >> 18
    }

    fn twist(&mut self) {
        for i in 0..WORDS {
            let word = self.state[i] & 1 << 31 | self.state[(i + 1) % WORDS] & !(1 << 31);
            let odd = if word & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + APART) % WORDS] ^ word >> 1 ^ odd;
        }
        self.next = 0;
    }

    /// A whole number below `range` (≥ 1), as `random.randrange(range)` draws it: the upper bits of words
    /// until they lie below.
    fn below(&mut self, range: u32) -> u32 {
        let bits = u32::BITS - range.leading_zeros();
        loop {
            let drawn = self.next_u32() >> (u32::BITS - bits);
            if drawn < range {
                return drawn;
            }
        }
    }

    /// `random.sample(range(n), n)`: all of them, in random order.
    pub fn permutation(&mut self, n: u32) -> Vec<u32> {
        let mut pool: Vec<u32> = (0..n).collect();
        let draw = |left: u32| {
            let at = self.below(left) as usize;
            let drawn = pool[at];
            // The last of those that are left takes its place.
            pool[at] = pool[left as usize - 1];
            drawn
        };
        (1..=n).rev().map(draw).collect()
    }
}

/// The step that every seeding multiplies.
fn mixed(word: u32) -> u32 {
    word ^ word >> 30
}

/// To the next word; behind the last comes word 1, and word 0 is then the last.
fn advance(i: &mut usize, state: &mut [u32; WORDS]) {
    *i += 1;
    if *i == WORDS {
        state[0] = state[WORDS - 1];
        *i = 1;
    }
}
