//! Names that people choose, and ids and counters that jeton makes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::entropy::Entropy;
use crate::time::Timestamp;

/// A name was refused; the message says which rule it broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name {name:?} is not usable: 1 to 64 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit"
)]
pub struct InvalidName {
    /// What was given.
    pub name: String,
}

fn check_name(name: &str) -> Result<(), InvalidName> {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ok = (1..=64).contains(&name.len())
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(|c| plain(c) || matches!(c, b'-' | b'_' | b'.'));
    if ok { Ok(()) } else { Err(InvalidName { name: name.chars().take(80).collect() }) }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(name: &str) -> Result<Self, InvalidName> {
                check_name(name).map(|()| Self(name.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type! {
    /// What people call a connection, such as `acme`; it appears in URLs, so its alphabet is small.
    ConnectionName
}
name_type! {
    /// What people call a provider, such as `amocrm`: the name of its file.
    ProviderName
}
name_type! {
    /// What people call a program that calls jeton, such as `bot1`.
    ServiceName
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// Makes a new id that sorts by time (RFC 9562, version 7).
            pub fn generate(now: Timestamp, entropy: &dyn Entropy) -> Self {
                let mut random = [0; 10];
                entropy.fill(&mut random);
                let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }

            /// The id as the 16 bytes that stores keep.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The id that those 16 bytes are.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(uuid::Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id_type! {
    /// One row of the refresh log.
    AttemptId
}
id_type! {
    /// One write to a store. A write that is sent again under the same id gets the first answer again, so that an
    /// unknown COMMIT is never mistaken for a rival's work.
    OperationId
}
id_type! {
    /// One consent: it stays the same through all refreshes and changes when a connection is connected anew.
    GrantId
}

impl GrantId {
    /// The largest count of milliseconds that an id has room for.
    const LATEST: u64 = (1 << 48) - 1;

    /// The same id, with its time set so that it sorts after `last`: to `now`, or to the millisecond after that of `last` where
    /// the clock is not past it (RFC 9562, section 6.2). A store gives its grants their order by it, whatever its clock says.
    #[must_use]
    pub fn after(self, last: Option<Self>, now: Timestamp) -> Self {
        let now = u64::try_from(now.as_micros() / 1_000).unwrap_or(0);
        let next = last.map_or(0, |last| last.millis() + 1);
        let mut bytes = *self.as_bytes();
        bytes[..6].copy_from_slice(&now.max(next).min(Self::LATEST).to_be_bytes()[2..]);
        Self::from_bytes(bytes)
    }

    fn millis(self) -> u64 {
        self.as_bytes()[..6].iter().fold(0, |millis, byte| millis << 8 | u64::from(*byte))
    }
}

id_type! {
    /// One asking of a person for consent, from the printed link to what came of it.
    ConsentId
}
id_type! {
    /// One service token.
    ServiceTokenId
}
id_type! {
    /// One running process.
    NodeId
}
id_type! {
    /// One installation. A copied or restored database carries an id that its data directory does not know.
    InstanceId
}

/// Counts the token sets of a connection. It never goes back, not even when the connection is connected anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Counts the changes of a whole store; every change of a row gives it the next number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    #[test]
    fn a_grant_sorts_after_the_last_one_whatever_the_clock_says() {
        let id = GrantId::from_bytes([0xab; 16]);
        let at = |secs| Timestamp::from_secs(secs);
        let first = id.after(None, at(1_000));
        assert_eq!(first.millis(), 1_000_000);
        assert_eq!(first.as_bytes()[6..], [0xab; 10], "what is random in it stays");
        let second = GrantId::from_bytes([0; 16]).after(Some(first), at(5));
        assert_eq!((second > first, second.millis()), (true, 1_000_001));
        assert_eq!(id.after(Some(second), at(2_000)).millis(), 2_000_000, "the clock is right again");
        let end = GrantId::from_bytes([0xff; 16]);
        assert_eq!(id.after(Some(end), at(-7)).millis(), GrantId::LATEST);
    }

    #[test]
    fn names_that_could_not_stand_in_a_url_are_refused() {
        for bad in ["", "Acme", "a b", "../x", "-a", &"a".repeat(65), "é"] {
            assert!(bad.parse::<ConnectionName>().is_err(), "{bad:?}");
        }
        assert_eq!("acme-2.eu_1".parse::<ConnectionName>().unwrap().as_str(), "acme-2.eu_1");
    }

    #[test]
    fn ids_sort_by_the_instant_they_were_made() {
        let early = AttemptId::generate(Timestamp::from_secs(1), &SystemEntropy);
        let late = AttemptId::generate(Timestamp::from_secs(2), &SystemEntropy);
        assert!(early < late);
        assert_eq!(early.to_string().parse::<AttemptId>().unwrap(), early);
        assert_eq!(AttemptId::from_bytes(*early.as_bytes()), early);
    }
}
