//! Random bytes that a seed decides.

use std::sync::atomic::{AtomicU64, Ordering};

use jeton_core::entropy::Entropy;

/// A stream of random bytes that is the same for the same seed (the `SplitMix64` generator). Good for tests and
/// emulated tokens, never for real secrets.
#[derive(Debug)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// The stream that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next 64 bits.
    pub fn bits(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from `low` to below `high`, or `low` where the range is empty.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        match high.saturating_sub(low) {
            0 => low,
            width => low + self.bits() % width,
        }
    }

    /// Text of `length` letters and digits.
    pub(crate) fn text(&self, length: usize) -> String {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let letter = |_| {
            let place = usize::try_from(self.between(0, 62)).expect("below 62");
            char::from(ALPHABET[place])
        };
        (0..length).map(letter).collect()
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.bits().to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_stream_and_another_seed_another() {
        let drawn = |seed| {
            let mut bytes = [0; 21];
            SeededEntropy::new(seed).fill(&mut bytes);
            bytes
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        assert_eq!(SeededEntropy::new(7).text(40).len(), 40);
    }

    #[test]
    fn a_range_holds_its_bounds() {
        let random = SeededEntropy::new(3);
        let drawn: Vec<u64> = (0..500).map(|_| random.between(5, 8)).collect();
        assert!(drawn.iter().all(|n| (5..8).contains(n)));
        assert!((5..8).all(|n| drawn.contains(&n)));
        assert_eq!(random.between(9, 9), 9);
    }
}
