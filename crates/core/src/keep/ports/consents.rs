//! What a store must be able to do for people who consent.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::audit::{Actor, AuditAction, AuditRow};
use crate::id::{AttemptId, ConnectionName, ConsentId, GrantId, NodeId, OperationId, ProviderName};
use crate::keep::attempt::Attempt;
use crate::keep::consent::{AnsweredBy, CallbackRefusal, ClosedLink, Consent};
use crate::seal::Fingerprint;
use crate::store_error::StoreError;
use crate::time::Timestamp;

/// Makes a link. Its id is also the operation id.
#[derive(Clone, Debug)]
pub struct Invite {
    /// The consent.
    pub id: ConsentId,
    /// The connection.
    pub connection: ConnectionName,
    /// Its provider.
    pub provider: ProviderName,
    /// Names the ticket.
    pub ticket: Fingerprint,
    /// How long the link can be opened.
    pub life: Duration,
    /// Who orders it.
    pub by: Actor,
}

impl Invite {
    /// The row of this order, which made a link at that instant.
    pub fn to_audit_row(&self, at: Timestamp) -> AuditRow {
        AuditRow {
            id: OperationId::from_bytes(*self.id.as_bytes()),
            at,
            actor: self.by.clone(),
            action: AuditAction::Invited,
            subject: self.connection.to_string(),
            details: json!({ "consent": self.id, "provider": self.provider }),
        }
    }
}

/// Opens a link. The state is also the operation id.
#[derive(Clone, Debug)]
pub struct ConsentStart {
    /// Names the ticket.
    pub ticket: Fingerprint,
    /// Names the state.
    pub state: Fingerprint,
    /// Names the cookie of the browser; absent where the terminal takes its place.
    pub browser: Option<Fingerprint>,
    /// The verifier, sealed.
    pub verifier: Vec<u8>,
    /// How long the answer is waited for.
    pub life: Duration,
}

/// The answer to [`ConsentStart`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsentStartAnswer {
    /// It is open; the answer counts until then.
    Started {
        /// Until when.
        until: Timestamp,
    },
    /// It stays closed.
    Closed(ClosedLink),
    /// There is no such link.
    Unknown,
}

/// What is done with an answer of a provider.
#[derive(Clone, Debug)]
pub enum CallbackAction {
    /// Its code will be exchanged: opens an attempt, which is also the operation id.
    Exchange {
        /// The attempt.
        attempt: AttemptId,
        /// The grant that it will bring. The store sets its time, so that it sorts after every grant before it.
        grant: GrantId,
        /// The process that makes it.
        node: NodeId,
        /// After which time without an outcome the attempt counts as interrupted.
        lease_ttl: Duration,
    },
    /// It ends the consent; the refresh log still has the attempt that came to nothing.
    Refuse {
        /// The attempt, which is also the operation id.
        attempt: AttemptId,
        /// The grant that it does not bring.
        grant: GrantId,
        /// The process that takes it.
        node: NodeId,
        /// A stable code.
        code: String,
        /// One sentence for people, with no secret.
        message: String,
        /// What the provider said, as [`Attempt::provider_message`] has it.
        provider_message: Option<String>,
    },
}

impl CallbackAction {
    /// The attempt that belongs to it.
    pub fn attempt(&self) -> AttemptId {
        match self {
            Self::Exchange { attempt, .. } | Self::Refuse { attempt, .. } => *attempt,
        }
    }
}

/// Uses the state of a consent up, once.
#[derive(Clone, Debug)]
pub struct Callback {
    /// Names the state.
    pub state: Fingerprint,
    /// Who brings the answer.
    pub answered_by: AnsweredBy,
    /// What is done with it.
    pub action: CallbackAction,
}

/// The answer to [`Callback`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbackAnswer {
    /// The state is used up, and what was to be done is recorded.
    Taken {
        /// When, by the clock of the store.
        at: Timestamp,
    },
    /// Nothing was changed.
    Refused(CallbackRefusal),
    /// There is no such state.
    Unknown,
}

/// Opens the attempt that spends a new refresh token before it replaces the grant of its connection. The row stays as it is; the
/// grant is stored by [`super::ConnectionStore::connect`] under the same attempt, and a failure by [`FailExchange`].
#[derive(Clone, Debug)]
pub struct BeginConnect {
    /// The connection.
    pub connection: ConnectionName,
    /// Its provider.
    pub provider: ProviderName,
    /// The attempt, which is also the operation id.
    pub attempt: AttemptId,
    /// The grant that it will bring. The store sets its time, so that it sorts after every grant before it.
    pub grant: GrantId,
    /// The process that makes it.
    pub node: NodeId,
    /// Names the refresh token that is spent.
    pub refresh: Fingerprint,
    /// Whether the refresh token may be spent only once, as in [`super::Connect`].
    pub single_use: bool,
    /// After which time without an outcome the attempt counts as interrupted.
    pub lease_ttl: Duration,
    /// Who orders it.
    pub by: Actor,
}

/// The answer to [`BeginConnect`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeginConnectAnswer {
    /// The attempt is open: the refresh token may be sent once.
    Begun {
        /// Since when, by the clock of the store.
        at: Timestamp,
    },
    /// The connection holds this very refresh token already; nothing was changed.
    Unchanged,
    /// Another connection holds this single-use refresh token.
    HeldBy {
        /// That connection.
        connection: ConnectionName,
    },
    /// That attempt spent this refresh token, or may have: it must not be sent again.
    Spent {
        /// The attempt.
        attempt: AttemptId,
    },
}

/// Records that the exchange of a code, or the spend of [`BeginConnect`], failed. No connection is touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailExchange {
    /// The connection.
    pub connection: ConnectionName,
    /// The attempt.
    pub attempt: AttemptId,
    /// The code may have been accepted: nobody knows.
    pub unknown: bool,
    /// Stable code of the failure.
    pub code: String,
    /// HTTP status, where there was a reply.
    pub http_status: Option<u16>,
    /// One sentence for people, with no secret.
    pub message: String,
    /// What the provider said, as [`Attempt::provider_message`] has it.
    #[serde(default)]
    pub provider_message: Option<String>,
    /// The reply, sealed, when it could not be read: it may hold the grant.
    #[serde(with = "crate::seal::text")]
    pub kept_reply: Option<Vec<u8>>,
}

/// By what a consent is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsentKey {
    /// Its id.
    Id(ConsentId),
    /// Its ticket.
    Ticket(Fingerprint),
    /// Its state.
    State(Fingerprint),
}

/// A consent with the attempt that exchanged its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundConsent {
    /// The consent.
    pub consent: Consent,
    /// The attempt, where there is one.
    pub attempt: Option<Attempt>,
}

/// The consents of an installation, and the grants that are spent once before they are stored.
#[async_trait]
pub trait ConsentStore: Send + Sync {
    /// Makes a link, with its audit row as in [`super::ConnectionStore`]; returns until when it can be opened. Consents
    /// that have been over for a week are forgotten.
    async fn invite(&self, invite: Invite) -> Result<Timestamp, StoreError>;

    /// Opens a link by the rule of [`crate::keep::consent::opens`].
    async fn start_consent(&self, opening: ConsentStart) -> Result<ConsentStartAnswer, StoreError>;

    /// Uses a state up by the rule of [`crate::keep::consent::takes`], wipes the verifier, and records what follows.
    async fn record_callback(&self, callback: Callback) -> Result<CallbackAnswer, StoreError>;

    /// Opens the attempt that spends a new refresh token before it is stored.
    async fn begin_connect(&self, begin: BeginConnect) -> Result<BeginConnectAnswer, StoreError>;

    /// Records that an exchange failed, unless it has an outcome already. One that succeeds is recorded by
    /// [`super::ConnectionStore::connect`] under the id of the same attempt.
    async fn fail_exchange(&self, fail: FailExchange) -> Result<(), StoreError>;

    /// The consent of that key.
    async fn find_consent(&self, key: ConsentKey) -> Result<Option<FoundConsent>, StoreError>;

    /// The latest consent of each connection, by name: up to `limit` after `after`.
    async fn list_latest_consents(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<FoundConsent>, StoreError>;
}
