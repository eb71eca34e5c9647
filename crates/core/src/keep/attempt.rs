//! One row of the refresh log.

use serde::{Deserialize, Serialize};

use crate::audit::Actor;
use crate::id::{AttemptId, ConnectionName, Generation, NodeId, ProviderName};
use crate::named_enum::named_enum;
use crate::seal::Fingerprint;
use crate::time::Timestamp;

named_enum! {
    /// What asked for a refresh.
    Trigger {
        /// The keeper itself, because the token set was due.
        Automatic = "automatic",
        /// A person, and the refresh was due or not forced.
        Manual = "manual",
        /// A person, though it was not due.
        Forced = "forced",
        /// A caller that needed a living token.
        OnDemand = "on_demand",
        /// A caller whose token was refused by the API.
        Rejected = "rejected",
        /// The second, independent pass over connections whose refresh failed.
        Backup = "backup",
    }
}

named_enum! {
    /// What an attempt does upstream.
    Act {
        /// Takes over or replaces a grant: no call upstream, or the exchange of a code.
        Connect = "connect",
        /// Spends a refresh token.
        Redeem = "redeem",
        /// Gets a token set with no refresh token.
        Acquire = "acquire",
        /// Uses a reply that came too late for its own commit: no call upstream. Stored as `stray`, the old word.
        Orphan = "stray",
        /// Looked, and found that nothing was due.
        Visit = "visit",
    }
}

named_enum! {
    /// How an attempt ended.
    AttemptStatus {
        /// It is under way; with no lease behind it, its outcome is not known.
        Running = "running",
        /// A new token set is stored.
        Success = "success",
        /// It failed, and it is known that nothing was spent, or that the grant is dead.
        Failed = "failed",
        /// Nothing was due.
        Skipped = "skipped",
        /// It is not known whether the refresh token was accepted.
        Interrupted = "interrupted",
    }
}

/// One attempt to refresh one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// Its id, which sorts by time.
    pub id: AttemptId,
    /// The connection.
    pub connection: ConnectionName,
    /// The provider of the connection at that time.
    pub provider: ProviderName,
    /// What asked for it.
    pub trigger: Trigger,
    /// What it does upstream.
    pub act: Act,
    /// How it ended.
    pub status: AttemptStatus,
    /// The process that made it.
    pub node: NodeId,
    /// The generation it began from.
    pub generation: Generation,
    /// The generation it brought.
    pub new_generation: Option<Generation>,
    /// Names the refresh token that it spends; absent when it spends none.
    pub fingerprint: Option<Fingerprint>,
    /// The interrupted attempt whose recovery this one is.
    pub recovers: Option<AttemptId>,
    /// When it was claimed.
    pub started_at: Timestamp,
    /// When its outcome was recorded.
    pub completed_at: Option<Timestamp>,
    /// When its lease lapses or lapsed.
    pub lease_until: Option<Timestamp>,
    /// Stable code of the failure, such as `invalid_grant`, `not_sent` or `ambiguous`.
    pub code: Option<String>,
    /// HTTP status of the reply, where there was one.
    pub http_status: Option<u16>,
    /// One sentence for people; it holds no secret.
    pub message: Option<String>,
    /// What the provider said, as [`StepFailure::provider_message`](super::provider::StepFailure::provider_message) has it.
    #[serde(default)]
    pub provider_message: Option<String>,
    /// Who asked for it; absent where jeton began it by itself.
    #[serde(default)]
    pub asked_by: Option<Actor>,
    /// Expiry of the access token before.
    pub old_expires_at: Option<Timestamp>,
    /// Expiry of the access token it brought.
    pub new_expires_at: Option<Timestamp>,
}

impl Attempt {
    /// An automatic redeem that begins at `now`, with no lease and no outcome yet; callers write what differs.
    pub fn begin(
        id: AttemptId,
        node: NodeId,
        connection: ConnectionName,
        provider: ProviderName,
        generation: Generation,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            connection,
            provider,
            trigger: Trigger::Automatic,
            act: Act::Redeem,
            status: AttemptStatus::Running,
            node,
            generation,
            new_generation: None,
            fingerprint: None,
            recovers: None,
            started_at: now,
            completed_at: None,
            lease_until: None,
            code: None,
            http_status: None,
            message: None,
            provider_message: None,
            asked_by: None,
            old_expires_at: None,
            new_expires_at: None,
        }
    }

    /// The status as people see it at `now`: an attempt whose lease lapsed while it ran is interrupted.
    pub fn status_at(&self, now: Timestamp) -> AttemptStatus {
        match (self.status, self.lease_until) {
            (AttemptStatus::Running, Some(until)) if until <= now => AttemptStatus::Interrupted,
            (status, _) => status,
        }
    }
}
