//! One grant that we hold at a provider.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{AttemptId, ConnectionName, Generation, GrantId, NodeId, ProviderName, Revision};
use crate::named_enum::named_enum;
use crate::seal::{Fingerprint, SealContext};
use crate::time::Timestamp;

use super::attempt::Trigger;

named_enum! {
    /// What became of the grant.
    GrantState {
        /// There is no token set yet, or it was given up by `disconnect`.
        None = "none",
        /// The grant works as far as we know.
        Live = "live",
        /// The provider says that the account is suspended; retried at a slow pace.
        Suspended = "suspended",
        /// The provider says that the grant is no more: a person must consent again.
        Dead = "dead",
    }
}

/// A token set as a store keeps it: sealed by the keeper, opaque to the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedTokens {
    /// The access token, sealed at [`access_context`]. Absent when only a refresh token was taken over.
    #[serde(with = "crate::seal::text")]
    pub access: Option<Vec<u8>>,
    /// The refresh token, sealed at [`refresh_context`].
    #[serde(with = "crate::seal::text")]
    pub refresh: Option<Vec<u8>>,
    /// What else the reply gave, such as captured variables, sealed at [`extras_context`].
    #[serde(with = "crate::seal::text")]
    pub extras: Option<Vec<u8>>,
    /// Names the access token in records and in reports of rejection.
    pub access_fingerprint: Option<Fingerprint>,
    /// Names the refresh token in records and in the compare-and-set of a commit.
    pub refresh_fingerprint: Option<Fingerprint>,
    /// The instant before the request that brought this set was sent.
    pub obtained_at: Timestamp,
    /// When the access token dies; absent when the provider does not say.
    pub access_expires_at: Option<Timestamp>,
    /// When the refresh token dies; absent when the provider does not say.
    pub refresh_expires_at: Option<Timestamp>,
    /// The scopes that it is good for, with spaces between them; absent when nobody knows.
    #[serde(default)]
    pub scope: Option<String>,
}

fn place<'a>(connection: &'a ConnectionName, field: &'a str, generation: Generation) -> SealContext<'a> {
    SealContext { table: "connections", row: connection.as_str(), field, generation: generation.0 }
}

/// Where the access token of a connection is sealed.
pub fn access_context(connection: &ConnectionName, generation: Generation) -> SealContext<'_> {
    place(connection, "access", generation)
}

/// Where the refresh token of a connection is sealed.
pub fn refresh_context(connection: &ConnectionName, generation: Generation) -> SealContext<'_> {
    place(connection, "refresh", generation)
}

/// Where the captured variables of a connection are sealed.
pub fn extras_context(connection: &ConnectionName, generation: Generation) -> SealContext<'_> {
    place(connection, "extras", generation)
}

/// Who may redeem now, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The attempt that the lease was given to.
    pub attempt: AttemptId,
    /// The process that holds it.
    pub node: NodeId,
    /// When it lapses, by the clock of the store.
    pub until: Timestamp,
}

/// The backoff that holds when refreshing did not cure a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RejectionBackoff {
    /// The generation that was rejected though it came from a refresh for a rejection.
    pub generation: Generation,
    /// Until when rejections refresh nothing.
    pub until: Timestamp,
    /// How long it holds now; doubled the next time.
    pub step: Duration,
}

/// A reply that came too late to be committed: the generation had moved. It is kept, because it may be the only
/// living refresh token of the grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrphanReply {
    /// The attempt that got the reply.
    pub attempt: AttemptId,
    /// The grant it belongs to; those of another grant are never used.
    pub grant: GrantId,
    /// The generation that its values are sealed for.
    pub generation: Generation,
    /// The reply.
    pub tokens: SealedTokens,
}

/// One connection as its row in the store says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// What people call it.
    pub name: ConnectionName,
    /// Its provider at the time it was connected.
    pub provider: ProviderName,
    /// The consent that the token set comes from.
    pub grant: GrantId,
    /// What became of the grant.
    pub state: GrantState,
    /// Why the grant is in that state: a stable code such as `invalid_grant` or `interrupted`. Of a grant that is live, the code
    /// with which the provider refused it, see [`Connection::refused`].
    pub state_code: Option<String>,
    /// An operator asked that nothing be spent.
    pub paused: bool,
    /// Counts the token sets; 0 before the first.
    pub generation: Generation,
    /// The change of the store that wrote this row.
    pub revision: Revision,
    /// The token set of `generation`.
    pub tokens: Option<SealedTokens>,
    /// What asked for the refresh that brought the token set.
    pub refresh_trigger: Option<Trigger>,
    /// The lease, live or lapsed; absent when nobody redeems.
    pub lease: Option<Lease>,
    /// The attempt whose outcome is not known: the refresh token of this generation may have been accepted.
    ///
    /// Under a live lease it is simply the attempt under way.
    pub open_attempt: Option<AttemptId>,
    /// When the keeper must look at this connection next.
    pub due_at: Option<Timestamp>,
    /// Until when nothing is tried after a failure.
    pub cooling_until: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// When the first of them was recorded; absent without any, and of those that an older version recorded.
    #[serde(default)]
    pub failing_since: Option<Timestamp>,
    /// The code of the last failure since the last success.
    pub last_error: Option<String>,
    /// What the provider said with that failure, as [`Attempt::provider_message`](super::attempt::Attempt::provider_message)
    /// has it.
    #[serde(default)]
    pub provider_message: Option<String>,
    /// The backoff on rejections.
    pub backoff: Option<RejectionBackoff>,
    /// Replies that came too late, oldest first.
    pub orphans: Vec<OrphanReply>,
    /// When the row was made.
    pub created_at: Timestamp,
}

impl Connection {
    /// Whether somebody gave its grant up, and nothing follows from that by itself.
    pub fn is_given_up(&self) -> bool {
        self.state == GrantState::None && self.due_at.is_none() && self.open_attempt.is_none()
    }

    /// The lease, if it still runs at `now` by the clock of the store.
    pub fn live_lease(&self, now: Timestamp) -> Option<&Lease> {
        self.lease.as_ref().filter(|lease| now < lease.until)
    }

    /// The attempt whose outcome nobody knows at `now`: it is open and no lease runs.
    pub fn interrupted_attempt(&self, now: Timestamp) -> Option<AttemptId> {
        if self.live_lease(now).is_some() { None } else { self.open_attempt }
    }

    /// The oldest orphan reply of the present grant.
    pub fn usable_orphan(&self) -> Option<&OrphanReply> {
        self.orphans.iter().find(|orphan| orphan.grant == self.grant)
    }

    /// The code with which the provider refused this grant as dead, once: it is tried again before it is taken for dead.
    pub fn refused(&self) -> Option<&str> {
        self.state_code.as_deref().filter(|_| self.state == GrantState::Live)
    }

    /// Whether the access token is there and lives at `now` for at least `ttl` more.
    pub fn lives(&self, now: Timestamp, ttl: Duration) -> bool {
        self.tokens.as_ref().is_some_and(|tokens| {
            tokens.access.is_some() && tokens.access_expires_at.is_none_or(|expiry| now + ttl < expiry)
        })
    }

    /// Whether a refresh brought the token set that was asked for at `instant` or later. One that was taken over at
    /// that time is as old as it was before.
    pub fn refreshed_since(&self, instant: Timestamp) -> bool {
        self.refresh_trigger.is_some()
            && self.tokens.as_ref().is_some_and(|tokens| tokens.obtained_at >= instant)
    }

    /// The word that people see for this connection.
    pub fn condition(&self, now: Timestamp) -> Condition {
        if self.live_lease(now).is_some() {
            return Condition::Refreshing;
        }
        if self.open_attempt.is_some() {
            return Condition::Interrupted;
        }
        match self.state {
            GrantState::None if self.failures > 0 => Condition::Failing,
            GrantState::None => Condition::Pending,
            GrantState::Dead => Condition::Dead,
            _ if self.paused => Condition::Paused,
            GrantState::Suspended => Condition::Suspended,
            GrantState::Live if self.failures > 0 => Condition::Failing,
            GrantState::Live if self.lives(now, Duration::ZERO) => Condition::Live,
            GrantState::Live => Condition::Stale,
        }
    }
}

named_enum! {
    /// The condition of a connection in one word.
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    Condition {
        /// Nothing is connected yet, or the first token is still to come.
        Pending = "pending",
        /// The access token lives and the last refresh succeeded.
        Live = "live",
        /// A refresh is under way.
        Refreshing = "refreshing",
        /// The access token is absent or dead, and no attempt has failed: it will be refreshed.
        Stale = "stale",
        /// The last attempt failed; it will be tried again.
        Failing = "failing",
        /// It is not known whether the last attempt spent the refresh token.
        Interrupted = "interrupted",
        /// An operator asked that nothing be spent.
        Paused = "paused",
        /// The provider says that the account is suspended.
        Suspended = "suspended",
        /// A person must consent again.
        Dead = "dead",
    }
}
