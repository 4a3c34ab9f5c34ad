//! Nonces and generation ids from a seed and a counter. Unique as long as the seed is; not secret.

/// A deterministic source of 128-bit ids.
#[derive(Clone, Debug)]
pub struct Ids {
    seed: [u64; 4],
    drawn: u64,
}

impl Ids {
    /// A source that repeats itself only for the same seed.
    pub fn new(entropy: [u8; 32]) -> Ids {
        let mut seed = [0; 4];
        for (word, bytes) in seed.iter_mut().zip(entropy.chunks_exact(8)) {
            *word = bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        }
        Ids { seed, drawn: 0 }
    }

    /// The next id, never zero: zero means "no value".
    pub fn draw(&mut self) -> u128 {
        loop {
            self.drawn += 1;
            let high = mix(mix(self.seed[0] ^ self.drawn).wrapping_add(self.seed[1]));
            let low = mix(mix(self.seed[2] ^ self.drawn).wrapping_add(self.seed[3]));
            let id = (u128::from(high) << 64) | u128::from(low);
            if id != 0 {
                return id;
            }
        }
    }
}

/// A bijection of 64 bits in which every input bit reaches every output bit.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_repeat_only_with_the_seed() {
        let mut seen = HashSet::new();
        for byte in 0..8 {
            let mut ids = Ids::new([byte; 32]);
            for _ in 0..1000 {
                assert!(seen.insert(ids.draw()));
            }
        }
        assert_eq!(Ids::new([3; 32]).draw(), Ids::new([3; 32]).draw());
    }
}
