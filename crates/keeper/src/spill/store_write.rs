//! A write to the store that spends nothing by being repeated: it carries the id of its attempt.

use jeton_core::id::{AttemptId, ConnectionName};
use jeton_core::keep::ports::{Commit, Connect, Fail, FailExchange};
use jeton_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A write that the store has not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoreWrite {
    /// A new token set.
    Commit(Commit),
    /// A failure, with a reply that could not be read.
    Fail(Fail),
    /// The grant from an exchanged code.
    Connect(Connect),
    /// The exchange of a code that brought a reply that could not be read.
    FailExchange(FailExchange),
}

impl StoreWrite {
    /// The connection and the attempt that it belongs to.
    pub(crate) fn names(&self) -> (&ConnectionName, AttemptId) {
        match self {
            Self::Commit(commit) => (&commit.connection, commit.attempt),
            Self::Fail(fail) => (&fail.connection, fail.attempt),
            Self::Connect(connect) => (&connect.connection, connect.attempt),
            Self::FailExchange(fail) => (&fail.connection, fail.attempt),
        }
    }

    /// When the access token that it stores dies, as far as that is known.
    pub(crate) fn access_expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::Commit(commit) => commit.tokens.access_expires_at,
            Self::Connect(connect) => connect.tokens.as_ref()?.access_expires_at,
            Self::Fail(_) | Self::FailExchange(_) => None,
        }
    }
}
