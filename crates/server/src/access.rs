//! Who may come in: the API key.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use jeton_core::entropy::Entropy;
use jeton_core::secret::Secret;

use crate::answer::Refusal;
use crate::fault::Fault;
use crate::router::Doors;

/// The header that carries the key.
const HEADER: &str = "x-api-key";

/// How a generated key begins, so that people and secret scanners recognize one.
const PREFIX: &str = "jtk_";

/// How many characters follow: 40 of 62 are 238 bits.
const RANDOM_CHARACTERS: usize = 40;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A text that no request could present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an API key is one or more visible ASCII characters without spaces, because it travels in a header; choose another, or \
     leave it out and one is made"
)]
pub struct UnusableKey;

/// The one API key of an installation. Only its SHA-256 is held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ApiKey([u8; 32]);

impl ApiKey {
    /// The key that an operator chose.
    ///
    /// # Errors
    /// No header could carry it: it is empty, or holds spaces or characters beyond ASCII.
    pub fn from_raw(raw: &Secret) -> Result<Self, UnusableKey> {
        let carried = !raw.is_empty() && raw.reveal().bytes().all(|byte| byte.is_ascii_graphic());
        if carried { Ok(Self(hash(raw.reveal().as_bytes()))) } else { Err(UnusableKey) }
    }

    /// The key whose SHA-256 a store keeps.
    pub fn from_hash(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// Makes a key: its text, to be shown once, and the key.
    pub fn generate(entropy: &dyn Entropy) -> (Secret, Self) {
        let mut text = String::with_capacity(PREFIX.len() + RANDOM_CHARACTERS);
        text.push_str(PREFIX);
        let mut bytes = [0; 64];
        while text.len() < PREFIX.len() + RANDOM_CHARACTERS {
            entropy.fill(&mut bytes);
            let missing = PREFIX.len() + RANDOM_CHARACTERS - text.len();
            // Bytes from 248 up would make the first characters likelier than the others.
            let even = bytes.iter().filter(|byte| **byte < 248).take(missing);
            text.extend(even.map(|byte| char::from(BASE62[usize::from(byte % 62)])));
        }
        let key = Self(hash(text.as_bytes()));
        (Secret::from(text), key)
    }

    /// The SHA-256 of its text, as a store may keep it.
    pub fn hash(&self) -> [u8; 32] {
        self.0
    }

    /// Whether this is what was presented, in a time that does not depend on how much of it is right.
    fn admits(&self, presented: &[u8]) -> bool {
        verify_slices_are_equal(&hash(presented), &self.0).is_ok()
    }
}

impl fmt::Debug for ApiKey {
    /// Not even the hash: keys that people choose can be guessed from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey([hidden])")
    }
}

fn hash(text: &[u8]) -> [u8; 32] {
    digest(&SHA256, text).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Lets a request through that presents the key.
pub(crate) async fn require_key(
    State(doors): State<Arc<Doors>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    check_key(&doors, request.headers())?;
    Ok(next.run(request).await)
}

/// Whether the headers of a request present the key.
pub(crate) fn check_key(doors: &Doors, headers: &HeaderMap) -> Result<(), Fault> {
    let key = presented(headers)?;
    if key.is_some_and(|key| doors.api_key.admits(key.as_bytes())) {
        Ok(())
    } else {
        Err(Fault::Unauthorized)
    }
}

/// The key of a request. Two that differ are refused: a proxy may check one, and we the other.
fn presented(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Fault> {
    let mut keys = headers.get_all(HEADER).iter();
    let first = keys.next();
    if keys.any(|key| Some(key) != first) { Err(Fault::ConflictingCredentials) } else { Ok(first) }
}

#[cfg(test)]
mod tests {
    use jeton_core::entropy::SystemEntropy;
    use jeton_emulator::SeededEntropy;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_generated_key_is_recognizable_and_admits_its_text_alone() {
        let (text, key) = ApiKey::generate(&SystemEntropy);
        let random = text.reveal().strip_prefix("jtk_").unwrap();
        assert_eq!(random.len(), 40);
        assert!(random.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(ApiKey::from_raw(&text).unwrap(), key);
        assert_eq!(ApiKey::from_hash(key.hash()), key);
        assert!(key.admits(text.reveal().as_bytes()));
        for other in ["", "jtk_", &text.reveal()[..43], &format!("{}x", text.reveal())] {
            assert!(!key.admits(other.as_bytes()), "{other:?}");
        }
    }

    #[test]
    fn every_character_of_generated_keys_is_equally_likely() {
        let mut counts = [0_u32; 62];
        let entropy = SeededEntropy::new(7);
        for _ in 0..5_000 {
            let (text, _) = ApiKey::generate(&entropy);
            for byte in text.reveal()[4..].bytes() {
                counts[BASE62.iter().position(|known| *known == byte).unwrap()] += 1;
            }
        }
        // 200,000 characters make 3,226 of each, with a deviation of 56; six deviations either way.
        assert!(counts.iter().all(|count| (2_890..3_562).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_key_that_no_header_could_carry_is_refused() {
        for bad in ["", " ", " key", "key\n", "ключ", "a b", "\u{7f}"] {
            assert_eq!(ApiKey::from_raw(&bad.into()), Err(UnusableKey), "{bad:?}");
        }
    }

    #[test]
    fn a_key_hides_its_hash() {
        let key = ApiKey::from_raw(&"hunter2".into()).unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey([hidden])");
    }

    proptest! {
        #[test]
        fn a_key_admits_itself_and_nothing_else(key in "[!-~]{1,60}", other in "[!-~]{0,60}") {
            let made = ApiKey::from_raw(&key.as_str().into()).unwrap();
            prop_assert!(made.admits(key.as_bytes()));
            prop_assert_eq!(made.admits(other.as_bytes()), key == other);
        }
    }
}
