//! What is kept of a credential: the SHA-256 of its text.

use std::fmt;
use std::hash::{Hash, Hasher};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use crate::access::strength;
use crate::secret::Secret;

/// Why a text cannot be a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableKey {
    /// No request could present it.
    #[error(
        "a key or service token is one or more visible ASCII characters without spaces, because it travels in a header; \
         choose another, or leave it out and one is made"
    )]
    NotPresentable,
    /// Somebody could guess it.
    #[error(
        "a key that can be guessed is not accepted: it must have 128 random bits, which are 32 hexadecimal digits or 22 letters \
         and digits, without words, runs or repetitions"
    )]
    Guessable,
}

/// A text that is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a SHA-256 in 64 hexadecimal digits; `echo -n RAW | sha256sum` prints the one of a raw token")]
pub struct UnusableHash;

/// The SHA-256 of a credential's UTF-8 text. Two are compared in a time that does not depend on where they differ.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of what was presented, as it is.
    pub fn of(raw: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, raw).as_ref());
        Self(hash)
    }

    /// The hash of a credential that exists, however weak it is.
    ///
    /// # Errors
    /// No header could carry it: it is empty, or holds spaces or characters beyond ASCII.
    pub fn of_presentable(raw: &Secret) -> Result<Self, UnusableKey> {
        let carried = !raw.is_empty() && raw.reveal().bytes().all(|byte| byte.is_ascii_graphic());
        if carried { Ok(Self::of(raw.reveal().as_bytes())) } else { Err(UnusableKey::NotPresentable) }
    }

    /// The hash of a credential that a person chose.
    ///
    /// # Errors
    /// No header could carry it, or it [can be guessed](strength::is_guessable).
    pub fn of_chosen(raw: &Secret) -> Result<Self, UnusableKey> {
        let hash = Self::of_presentable(raw)?;
        if strength::is_guessable(raw.reveal()) { Err(UnusableKey::Guessable) } else { Ok(hash) }
    }

    /// The hash whose bytes a store keeps.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes that a store keeps.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hexadecimal digits, or a line of `sha256sum`, which writes ` -` behind them.
    ///
    /// # Errors
    /// It is nothing of the kind.
    pub fn from_hex(text: &str) -> Result<Self, UnusableHash> {
        let text = text.trim();
        let digits = text.strip_suffix('-').map_or(text, str::trim_end).as_bytes();
        if digits.len() != 64 {
            return Err(UnusableHash);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            *byte =
                digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| high << 4 | low).ok_or(UnusableHash)?;
        }
        Ok(Self(bytes))
    }

    /// 64 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> String {
        let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for TokenHash {}

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for TokenHash {
    /// Not even the hash: what people choose can be guessed from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash([hidden])")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_hash_of_the_old_guides_token_is_the_one_that_sha256sum_prints() {
        let hash = TokenHash::of(b"my-secure-bot1-token-2024");
        assert_eq!(hash.to_hex(), "dea244adcea81f0e1c11ce64497e369c808a1812ace2398b4a85c0b8a68b214c");
        let line = "DEA244ADCEA81F0E1C11CE64497E369C808A1812ACE2398B4A85C0B8A68B214C  -\n";
        assert_eq!(TokenHash::from_hex(line), Ok(hash));
        assert_eq!(format!("{hash:?}"), "TokenHash([hidden])");
    }

    #[test]
    fn what_is_no_hash_is_refused_with_the_cure() {
        for bad in ["", "-", "12", &"g".repeat(64), &"0".repeat(63), &"0".repeat(65), &"é".repeat(32)] {
            let error = TokenHash::from_hex(bad).unwrap_err();
            assert!(error.to_string().contains("sha256sum"), "{bad}");
        }
    }

    #[test]
    fn a_key_that_no_header_could_carry_is_refused() {
        for bad in ["", " ", " key", "key\n", "ключ", "a b", "\u{7f}"] {
            assert_eq!(TokenHash::of_presentable(&bad.into()), Err(UnusableKey::NotPresentable), "{bad:?}");
            assert_eq!(TokenHash::of_chosen(&bad.into()), Err(UnusableKey::NotPresentable), "{bad:?}");
        }
    }

    #[test]
    fn a_chosen_key_that_can_be_guessed_is_refused_and_an_existing_token_is_not() {
        let weak = "my-secure-bot1-token-2024".into();
        assert_eq!(TokenHash::of_chosen(&weak), Err(UnusableKey::Guessable));
        assert!(TokenHash::of_presentable(&weak).is_ok());
        let random = "9f86d081884c7d659a2feaa0c55ad015";
        assert_eq!(TokenHash::of_chosen(&random.into()), Ok(TokenHash::of(random.as_bytes())));
    }

    proptest! {
        #[test]
        fn a_hash_survives_its_text_and_equals_itself_alone(one in "[!-~]{1,60}", two in "[!-~]{0,60}") {
            let hash = TokenHash::of_presentable(&one.as_str().into()).unwrap();
            prop_assert_eq!(TokenHash::from_hex(&hash.to_hex()), Ok(hash));
            prop_assert_eq!(hash == TokenHash::of(two.as_bytes()), one == two);
        }
    }
}
