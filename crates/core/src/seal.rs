//! Encryption at rest, and the keyed fingerprints that name a token in records.
//!
//! Everything secret in a store is sealed with AES-256-GCM-SIV under the current key of a [`KeyRing`], bound to its
//! table, row, field and generation: a sealed value that is copied elsewhere does not open. The store keeps a *key
//! check value* ([`Sealer::create`]): a missing or different key is noticed before anything is spent.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::entropy::Entropy;
use crate::secret::Secret;

const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
const HEADER_BYTES: usize = 1 + 4 + NONCE_LEN;
const TAG_BYTES: usize = 16;

/// What can be wrong with keys and sealed values. None of the texts holds a key or a plaintext.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The text of a key ring could not be read.
    #[error("line {line} of the key file is not `NUMBER:BASE64 OF 32 BYTES`")]
    Malformed {
        /// Line, counted from 1.
        line: usize,
    },
    /// A key ring without a key.
    #[error("the key file holds no key")]
    NoKey,
    /// The key that sealed a value is not in the ring.
    #[error("the value is sealed with key {kid}, which the key file does not hold")]
    UnknownKey {
        /// Number of the missing key.
        kid: u32,
    },
    /// The value does not open: another key under the same number, another place, or damaged bytes.
    #[error(
        "the sealed value does not open: it was sealed with another key, for another place, or is damaged"
    )]
    DoesNotOpen,
}

/// Where a sealed value stands. It opens nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealContext<'a> {
    /// Table, such as `connections`.
    pub table: &'a str,
    /// Key of the row.
    pub row: &'a str,
    /// Field of the row.
    pub field: &'a str,
    /// Generation of the token set; 0 for what has none.
    pub generation: u64,
}

impl SealContext<'_> {
    fn associated_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        for part in [self.table, self.row, self.field] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes
    }
}

/// The sealing keys by number. The highest number seals; all of them open.
#[derive(Clone)]
pub struct KeyRing(BTreeMap<u32, Zeroizing<[u8; KEY_BYTES]>>);

impl KeyRing {
    /// A ring with one new key, number 1.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        entropy.fill(&mut *key);
        Self(BTreeMap::from([(1, key)]))
    }

    /// Reads `NUMBER:BASE64` items, one a line or separated by commas; empty lines and lines after `#` are passed over.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let mut keys = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.starts_with('#') {
                continue;
            }
            for item in line.split(',').map(str::trim).filter(|item| !item.is_empty()) {
                let (kid, key) = parse_key(item).ok_or(SealError::Malformed { line: index + 1 })?;
                keys.insert(kid, key);
            }
        }
        if keys.is_empty() { Err(SealError::NoKey) } else { Ok(Self(keys)) }
    }

    /// The text that [`KeyRing::parse`] reads.
    pub fn to_text(&self) -> Secret {
        let mut text = Zeroizing::new(String::new());
        for (kid, key) in &self.0 {
            text.push_str(&kid.to_string());
            text.push(':');
            BASE64.encode_string(**key, &mut text);
            text.push('\n');
        }
        Secret::new(text.as_str())
    }

    fn current(&self) -> (u32, &[u8; KEY_BYTES]) {
        let (kid, key) = self.0.last_key_value().expect("a ring is never empty: both constructors see to it");
        (*kid, key)
    }
}

fn parse_key(item: &str) -> Option<(u32, Zeroizing<[u8; KEY_BYTES]>)> {
    let (kid, encoded) = item.split_once(':')?;
    let bytes = Zeroizing::new(BASE64.decode(encoded.trim()).ok()?);
    let key: [u8; KEY_BYTES] = bytes.as_slice().try_into().ok()?;
    Some((kid.trim().parse().ok()?, Zeroizing::new(key)))
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({:?})", self.0.keys())
    }
}

/// A keyed digest that names a token in records: equal tokens have equal fingerprints within one installation, and a
/// fingerprint tells nothing to anyone who lacks the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The bytes that stores keep.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The fingerprint that those bytes are.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Reads the 32 hexadecimal digits that `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 32 || !text.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a fingerprint is 32 hexadecimal digits"))
    }
}

/// Seals, opens and fingerprints for one installation.
#[derive(Clone)]
pub struct Sealer {
    ring: KeyRing,
    fingerprints: hmac::Key,
}

impl Sealer {
    const CHECK: SealContext<'static> =
        SealContext { table: "installation", row: "key-check", field: "fingerprint-key", generation: 0 };

    /// Makes the sealer of a new installation, and the key check value that its store must keep.
    ///
    /// The check value is the sealed key of the fingerprints: it proves the key ring, and it lets sealing keys be
    /// rotated without changing a single fingerprint.
    pub fn create(ring: KeyRing, entropy: &dyn Entropy) -> (Self, Vec<u8>) {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        entropy.fill(&mut *key);
        let check = seal_with(&ring, &*key, Self::CHECK, entropy);
        (Self { ring, fingerprints: hmac::Key::new(hmac::HMAC_SHA256, &*key) }, check)
    }

    /// The sealer of an installation whose store keeps `check`.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`] and [`SealError::DoesNotOpen`] say that `ring` is not the ring of this store.
    pub fn open_with(ring: KeyRing, check: &[u8]) -> Result<Self, SealError> {
        let key = open_with(&ring, check, Self::CHECK)?;
        Ok(Self { ring, fingerprints: hmac::Key::new(hmac::HMAC_SHA256, &key) })
    }

    /// Encrypts `plaintext` for `place`.
    pub fn seal(&self, plaintext: &[u8], place: SealContext<'_>, entropy: &dyn Entropy) -> Vec<u8> {
        seal_with(&self.ring, plaintext, place, entropy)
    }

    /// Decrypts what was sealed for `place`.
    pub fn open(&self, sealed: &[u8], place: SealContext<'_>) -> Result<Zeroizing<Vec<u8>>, SealError> {
        open_with(&self.ring, sealed, place)
    }

    /// The fingerprint of a token.
    pub fn fingerprint(&self, token: &Secret) -> Fingerprint {
        let tag = hmac::sign(&self.fingerprints, token.reveal().as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&tag.as_ref()[..16]);
        Fingerprint(bytes)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("ring", &self.ring).finish_non_exhaustive()
    }
}

/// Sealed bytes as base64 text, for `#[serde(with = "seal::text")]`.
pub(crate) mod text {
    use super::BASE64;
    use base64::Engine as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(
        sealed: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        sealed.as_ref().map(|bytes| BASE64.encode(bytes)).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| BASE64.decode(text).map_err(serde::de::Error::custom)).transpose()
    }
}

fn cipher(key: &[u8; KEY_BYTES]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, key).expect("the key has the length of the algorithm"))
}

fn seal_with(ring: &KeyRing, plaintext: &[u8], place: SealContext<'_>, entropy: &dyn Entropy) -> Vec<u8> {
    let (kid, key) = ring.current();
    let mut nonce = [0; NONCE_LEN];
    entropy.fill(&mut nonce);
    let mut body = Vec::with_capacity(plaintext.len() + TAG_BYTES);
    body.extend_from_slice(plaintext);
    cipher(key)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place.associated_bytes()),
            &mut body,
        )
        .expect("a value of at most a few MiB is within the cipher's limits");
    let mut sealed = Vec::with_capacity(HEADER_BYTES + body.len());
    sealed.push(VERSION);
    sealed.extend_from_slice(&kid.to_be_bytes());
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&body);
    sealed
}

fn open_with(ring: &KeyRing, sealed: &[u8], place: SealContext<'_>) -> Result<Zeroizing<Vec<u8>>, SealError> {
    if sealed.len() < HEADER_BYTES + TAG_BYTES || sealed[0] != VERSION {
        return Err(SealError::DoesNotOpen);
    }
    let kid = u32::from_be_bytes([sealed[1], sealed[2], sealed[3], sealed[4]]);
    let key = ring.0.get(&kid).ok_or(SealError::UnknownKey { kid })?;
    let nonce =
        Nonce::try_assume_unique_for_key(&sealed[5..HEADER_BYTES]).map_err(|_| SealError::DoesNotOpen)?;
    let mut body = Zeroizing::new(sealed[HEADER_BYTES..].to_vec());
    let length = cipher(key)
        .open_in_place(nonce, Aad::from(place.associated_bytes()), &mut body)
        .map_err(|_| SealError::DoesNotOpen)?
        .len();
    body.truncate(length);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    const PLACE: SealContext<'static> =
        SealContext { table: "connections", row: "acme", field: "access", generation: 3 };

    #[test]
    fn a_sealed_value_opens_in_its_place_and_nowhere_else() {
        let (sealer, check) = Sealer::create(KeyRing::generate(&SystemEntropy), &SystemEntropy);
        let value = sealer.seal(b"token", PLACE, &SystemEntropy);
        assert_eq!(&**sealer.open(&value, PLACE).unwrap(), b"token");
        for elsewhere in [
            SealContext { table: "strays", ..PLACE },
            SealContext { row: "acm", ..PLACE },
            SealContext { field: "refresh", ..PLACE },
            SealContext { generation: 4, ..PLACE },
        ] {
            assert_eq!(sealer.open(&value, elsewhere).unwrap_err(), SealError::DoesNotOpen);
        }
        let again = Sealer::open_with(sealer.ring.clone(), &check).unwrap();
        assert_eq!(again.fingerprint(&"a".into()), sealer.fingerprint(&"a".into()));
        assert_ne!(again.fingerprint(&"a".into()), sealer.fingerprint(&"b".into()));
    }

    #[test]
    fn a_different_key_is_noticed_before_anything_is_opened() {
        let (_, check) = Sealer::create(KeyRing::generate(&SystemEntropy), &SystemEntropy);
        let other = KeyRing::generate(&SystemEntropy);
        assert_eq!(Sealer::open_with(other, &check).unwrap_err(), SealError::DoesNotOpen);
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_still_opens() {
        let old = KeyRing::generate(&SystemEntropy);
        let (sealer, check) = Sealer::create(old.clone(), &SystemEntropy);
        let value = sealer.seal(b"token", PLACE, &SystemEntropy);
        let second = KeyRing::generate(&SystemEntropy).to_text().reveal().replacen("1:", "2:", 1);
        let both = KeyRing::parse(&format!("# rotated\n{}{second}", old.to_text().reveal())).unwrap();
        let rotated = Sealer::open_with(both, &check).unwrap();
        assert_eq!(&**rotated.open(&value, PLACE).unwrap(), b"token");
        assert_eq!(
            sealer.open(&rotated.seal(b"x", PLACE, &SystemEntropy), PLACE).unwrap_err(),
            SealError::UnknownKey { kid: 2 }
        );
    }

    #[test]
    fn a_damaged_value_does_not_open_and_a_bad_key_file_names_its_line() {
        let (sealer, _) = Sealer::create(KeyRing::generate(&SystemEntropy), &SystemEntropy);
        let mut value = sealer.seal(b"token", PLACE, &SystemEntropy);
        for cut in 0..value.len() {
            assert!(sealer.open(&value[..cut], PLACE).is_err());
        }
        *value.last_mut().unwrap() ^= 1;
        assert_eq!(sealer.open(&value, PLACE).unwrap_err(), SealError::DoesNotOpen);
        assert_eq!(KeyRing::parse("\n1:short").unwrap_err(), SealError::Malformed { line: 2 });
        assert_eq!(KeyRing::parse("# none\n").unwrap_err(), SealError::NoKey);
    }

    #[test]
    fn neither_keys_nor_fingerprint_keys_are_shown() {
        let ring = KeyRing::generate(&SystemEntropy);
        let encoded = ring.to_text().reveal().trim().split_once(':').unwrap().1.to_owned();
        let (sealer, _) = Sealer::create(ring, &SystemEntropy);
        assert!(!format!("{sealer:?}").contains(&encoded));
    }
}
