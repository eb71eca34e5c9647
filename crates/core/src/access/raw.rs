//! A credential as its holder has it: made here, shown once, never kept.

use crate::access::TokenHash;
use crate::entropy::Entropy;
use crate::secret::Secret;

/// How a service token begins, so that people and secret scanners recognize one.
pub const SERVICE_TOKEN_PREFIX: &str = "jts_";

/// How a generated API key begins.
pub const API_KEY_PREFIX: &str = "jtk_";

/// How many random characters follow: 40 of 62 are 238 bits.
const RANDOM_CHARACTERS: usize = 40;

/// A CRC-32 in base62.
const CHECKSUM_CHARACTERS: usize = 6;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Makes a service token, `jts_`, 40 random characters and a checksum of six: its text, to be shown once, and its hash.
pub fn generate_service_token(entropy: &dyn Entropy) -> (Secret, TokenHash) {
    let mut text = with_random(SERVICE_TOKEN_PREFIX, CHECKSUM_CHARACTERS, entropy);
    let sum = checksum(text.as_bytes());
    text.extend(sum.map(char::from));
    hashed(text)
}

/// Makes an API key, `jtk_` and 40 random characters: its text, to be shown once, and its hash.
pub fn generate_api_key(entropy: &dyn Entropy) -> (Secret, TokenHash) {
    hashed(with_random(API_KEY_PREFIX, 0, entropy))
}

/// Whether a store could know it: what begins like a service token and has a wrong checksum was mistyped, or made up.
pub fn may_exist(presented: &[u8]) -> bool {
    let Some(rest) = presented.strip_prefix(SERVICE_TOKEN_PREFIX.as_bytes()) else { return true };
    if rest.len() != RANDOM_CHARACTERS + CHECKSUM_CHARACTERS {
        return false;
    }
    let (body, sum) = presented.split_at(presented.len() - CHECKSUM_CHARACTERS);
    sum == checksum(body)
}

fn hashed(text: String) -> (Secret, TokenHash) {
    let hash = TokenHash::of(text.as_bytes());
    (Secret::from(text), hash)
}

fn with_random(prefix: &str, spare: usize, entropy: &dyn Entropy) -> String {
    let whole = prefix.len() + RANDOM_CHARACTERS;
    let mut text = String::with_capacity(whole + spare);
    text.push_str(prefix);
    let mut bytes = [0; 64];
    while text.len() < whole {
        entropy.fill(&mut bytes);
        // Bytes from 248 up would make the first characters likelier than the others.
        let even = bytes.iter().filter(|byte| **byte < 248).take(whole - text.len());
        text.extend(even.map(|byte| char::from(BASE62[usize::from(byte % 62)])));
    }
    text
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_CHARACTERS] {
    let mut rest = crc32(body);
    let mut sum = [b'0'; CHECKSUM_CHARACTERS];
    for digit in sum.iter_mut().rev() {
        *digit = BASE62[usize::try_from(rest % 62).expect("less than 62")];
        rest /= 62;
    }
    sum
}

/// CRC-32 as in ISO 3309, which every language has at hand: scanners can tell a real token from a look-alike.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entropy::SystemEntropy;

    /// Repeatable bytes that look random.
    #[derive(Debug)]
    struct Counting(std::sync::atomic::AtomicU64);

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            for byte in bytes {
                let number = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let mixed = (number ^ 0x9e37).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                *byte = (mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb).to_be_bytes()[0];
            }
        }
    }

    #[test]
    fn the_checksum_is_the_crc_32_that_others_compute() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(checksum(b""), *b"000000");
    }

    #[test]
    fn a_generated_token_is_recognizable_and_its_hash_is_of_its_whole_text() {
        let (text, hash) = generate_service_token(&SystemEntropy);
        let random = text.reveal().strip_prefix("jts_").unwrap();
        assert_eq!(random.len(), 46);
        assert!(random.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(TokenHash::of(text.reveal().as_bytes()), hash);
        assert_ne!(generate_service_token(&SystemEntropy).1, hash);
        let (key, _) = generate_api_key(&SystemEntropy);
        assert_eq!(key.reveal().strip_prefix("jtk_").unwrap().len(), 40);
    }

    #[test]
    fn every_character_of_generated_texts_is_equally_likely() {
        let mut counts = [0_u32; 62];
        let entropy = Counting(std::sync::atomic::AtomicU64::new(7));
        for _ in 0..5_000 {
            let (text, _) = generate_api_key(&entropy);
            for byte in text.reveal()[4..].bytes() {
                counts[BASE62.iter().position(|known| *known == byte).unwrap()] += 1;
            }
        }
        // 200,000 characters make 3,226 of each, with a deviation of 56; six deviations either way.
        assert!(counts.iter().all(|count| (2_890..3_562).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_token_that_was_mistyped_cannot_exist_and_a_chosen_one_may() {
        let (text, _) = generate_service_token(&SystemEntropy);
        assert!(may_exist(text.reveal().as_bytes()));
        assert!(may_exist(b"my-secure-bot1-token-2024"));
        for bad in ["jts_", "jts_short", &text.reveal()[..49], &format!("{}0", text.reveal())] {
            assert!(!may_exist(bad.as_bytes()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn one_wrong_character_never_passes(at in 4_usize..50, with in 0_usize..62) {
            let (text, _) = generate_service_token(&SystemEntropy);
            let mut bytes = text.reveal().as_bytes().to_vec();
            let right = bytes[at];
            bytes[at] = BASE62[with];
            prop_assert_eq!(may_exist(&bytes), bytes[at] == right);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = may_exist(&bytes);
        }
    }
}
