//! What kind of failure a token endpoint's reply is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of a failed exchange with a provider: what may be done next follows from it alone.
///
/// No class ever deletes a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The grant is over: revoked, expired or already used. A person has to consent again, or the connection
    /// acquires a token set anew where its provider can.
    DeadGrant,
    /// The provider does not accept *our* credentials. It says nothing about the grant, which stays as it is; one
    /// alert per client, because every connection of that client fails in the same way.
    BadClient,
    /// The account or the user is switched off at the provider. The grant may come back to life with it.
    Suspended,
    /// The provider refreshes only near the end of a token's life; asking later will do.
    TooEarly,
    /// Too many requests. Asking again waits for `Retry-After` where the provider gives it.
    RateLimited,
    /// The request was not sent, or was refused before it could be accepted: the refresh token is certainly unspent.
    Transient,
    /// The refresh token may have been accepted, and the answer did not arrive or cannot be read. It is not sent
    /// again, except as a recorded recovery or inside the provider's documented grace.
    Ambiguous,
    /// A refusal that neither the provider's file nor the standard explains. It is repeated with patience, and
    /// alarms after several repeats.
    Unknown,
}

impl ErrorClass {
    /// Every class, in the order of their documentation.
    pub const ALL: [Self; 8] = [
        Self::DeadGrant,
        Self::BadClient,
        Self::Suspended,
        Self::TooEarly,
        Self::RateLimited,
        Self::Transient,
        Self::Ambiguous,
        Self::Unknown,
    ];

    /// The name used in provider files, records, metrics and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeadGrant => "dead_grant",
            Self::BadClient => "bad_client",
            Self::Suspended => "suspended",
            Self::TooEarly => "too_early",
            Self::RateLimited => "rate_limited",
            Self::Transient => "transient",
            Self::Ambiguous => "ambiguous",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the refresh token that was sent may have been accepted all the same.
    pub const fn may_have_spent(self) -> bool {
        matches!(self, Self::Ambiguous)
    }

    /// The class of that name, as stores keep it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_found_by_the_name_it_is_written_with() {
        for class in ErrorClass::ALL {
            assert_eq!(ErrorClass::from_name(class.as_str()), Some(class));
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
        assert_eq!(ErrorClass::from_name("dead"), None);
    }
}
