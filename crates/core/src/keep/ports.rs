//! What a store must be able to do for the keeper.
//!
//! Every method is one use case and one transaction. Ids, durations and sealed bytes come in as arguments; instants
//! that decide leases and due times are read by the store from its one clock. Every write carries an id (of the
//! attempt, or an operation of its own) that is kept in the row: sent again after an unknown COMMIT, it gets the
//! first answer again.

mod consents;
mod nodes;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::attempt::{Attempt, AttemptStatus, Trigger};
use super::claim::{Claim, ClaimAnswer};
use super::connection::{Connection, GrantState, SealedTokens};
use super::rejection::{Rejection, RejectionAnswer};
use crate::audit::{Actor, AuditAction, AuditRow};
use crate::clocks::StoreReading;
use crate::id::{
    AttemptId, ConnectionName, Generation, GrantId, InstanceId, NodeId, OperationId, ProviderName, Revision,
};
use crate::named_enum::named_enum;
use crate::seal::Fingerprint;
use crate::time::Timestamp;

pub use crate::store_error::StoreError;
pub use consents::{
    BeginConnect, BeginConnectAnswer, Callback, CallbackAction, CallbackAnswer, ConsentKey, ConsentStart,
    ConsentStartAnswer, ConsentStore, FailExchange, FoundConsent, Invite,
};
pub use nodes::{BackgroundTask, Heartbeat, HeartbeatReply, LiveNode, NodeHost, NodeStore};

/// Puts a grant into a connection: a new one, one that replaces another, or none yet for a provider that acquires.
///
/// Its attempt may be under way already, as the exchange of a code or by [`BeginConnect`]: then the provider has just given this
/// token set, and it is stored whatever is known of its refresh token, unless another connection holds that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    /// The connection; its row is made when it is missing.
    pub connection: ConnectionName,
    /// Its provider.
    pub provider: ProviderName,
    /// The new grant. The store sets its time, so that it sorts after every grant before it; that of an exchange got its place
    /// when the exchange began.
    pub grant: GrantId,
    /// The generation that the caller saw, 0 for a connection that is not there: `tokens` are sealed for the next.
    pub generation: Generation,
    /// The token set; absent for a provider that acquires its own.
    pub tokens: Option<SealedTokens>,
    /// Whether the refresh token may be spent only once: then one that this store has seen spent, or that another
    /// connection holds, is refused.
    pub single_use: bool,
    /// When the keeper must look at it first.
    pub due_at: Timestamp,
    /// The row of the refresh log, which is also the operation id.
    pub attempt: AttemptId,
    /// The process that does it.
    pub node: NodeId,
    /// Who orders it; absent where the process does it by itself.
    #[serde(default)]
    pub by: Option<Actor>,
}

impl Connect {
    /// The row of this order, which put its grant in at that instant; `replaced` says whether there was another before.
    pub fn to_audit_row(&self, at: Timestamp, generation: Generation, replaced: bool) -> AuditRow {
        AuditRow {
            id: OperationId::from_bytes(*self.attempt.as_bytes()),
            at,
            actor: self.by.clone().unwrap_or(Actor::Node(self.node)),
            action: AuditAction::Connected,
            subject: self.connection.to_string(),
            details: json!({
                "attempt": self.attempt,
                "provider": self.provider,
                "generation": generation,
                "replaced": replaced,
            }),
        }
    }
}

/// The answer to [`Connect`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectAnswer {
    /// It is stored under this generation. An attempt under way on the old grant will find that it moved.
    Connected {
        /// The generation now.
        generation: Generation,
    },
    /// The row has another generation than the caller saw: look again.
    Moved {
        /// The generation now.
        generation: Generation,
    },
    /// The connection holds this very refresh token already; nothing was changed.
    Unchanged,
    /// Another connection holds this single-use refresh token: two owners would spend it twice.
    HeldBy {
        /// That connection.
        connection: ConnectionName,
    },
    /// Of an exchange alone: after it had begun, somebody connected the connection anew or gave it up, and has the last
    /// word. Which began later is told by the order of the grants, which the store gives.
    Superseded,
    /// That attempt spent this refresh token, or may have: it must not be sent again.
    Spent {
        /// The attempt.
        attempt: AttemptId,
    },
}

/// Stores the token set that an attempt brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The connection.
    pub connection: ConnectionName,
    /// The attempt, which is also the operation id.
    pub attempt: AttemptId,
    /// The generation it began from; `tokens` are sealed for the next.
    pub generation: Generation,
    /// The refresh token of the row when the attempt was claimed: compared and set together with the generation.
    pub replaces: Option<Fingerprint>,
    /// The new token set.
    pub tokens: SealedTokens,
    /// When the keeper must look next.
    pub due_at: Option<Timestamp>,
    /// The orphan reply that this commit uses up.
    #[serde(rename = "stray")]
    pub orphan: Option<AttemptId>,
    /// One sentence for people.
    pub message: Option<String>,
}

/// The answer to [`Commit`]. A lapsed lease does not refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitAnswer {
    /// It is stored under this generation.
    Committed {
        /// The generation now.
        generation: Generation,
    },
    /// The generation had moved: the reply is kept beside the connection.
    Orphaned {
        /// The generation now.
        generation: Generation,
    },
}

/// What a failed attempt does to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureEffect {
    /// This attempt spent nothing: try again after the cool-down. Where it was a recovery, the attempt that it
    /// recovers is open again, for its outcome is as unknown as before.
    Retry,
    /// It is not known whether the refresh token was accepted: the attempt stays open.
    Unknown,
    /// The grant takes this state; [`GrantState::Dead`] ends it, any other is as [`FailureEffect::Retry`] besides.
    State(GrantState),
}

/// Records that an attempt failed. It touches the connection only while the generation is still the one it began from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fail {
    /// The connection.
    pub connection: ConnectionName,
    /// The attempt, which is also the operation id.
    pub attempt: AttemptId,
    /// The generation it began from.
    pub generation: Generation,
    /// What it does to the connection.
    #[serde(rename = "verdict")]
    pub effect: FailureEffect,
    /// Stable code of the failure; also the code of the state that this effect gives.
    pub code: String,
    /// HTTP status, where there was a reply.
    pub http_status: Option<u16>,
    /// One sentence for people, with no secret.
    pub message: String,
    /// What the provider said, as [`Attempt::provider_message`] has it.
    #[serde(default)]
    pub provider_message: Option<String>,
    /// How long nothing is tried now.
    pub cooldown: Duration,
    /// How long until the keeper must look again; absent when only a person can help.
    pub due_in: Option<Duration>,
    /// A 2xx reply that could not be read, sealed: it is read again when the provider file is mended.
    #[serde(with = "crate::seal::text")]
    pub kept_reply: Option<Vec<u8>>,
}

/// A visit found nothing due: leaves its row in the log and sets the next visit.
#[derive(Clone, Debug)]
pub struct Skip {
    /// The connection.
    pub connection: ConnectionName,
    /// The row of the refresh log, which is also the operation id.
    pub attempt: AttemptId,
    /// The generation that was looked at; when it has moved, nothing is written.
    pub generation: Generation,
    /// What asked for it.
    pub trigger: Trigger,
    /// Who asked for it; absent where the process looked by itself.
    pub asked_by: Option<Actor>,
    /// The process that looked.
    pub node: NodeId,
    /// One sentence for people.
    pub message: String,
    /// When the keeper must look next.
    pub due_at: Timestamp,
}

named_enum! {
    /// What an operator does to a connection.
    OperatorCommand {
        /// Spend nothing until `Resume`.
        Pause = "pause",
        /// Go on, now.
        Resume = "resume",
        /// Give the grant up: its tokens are wiped, its row and its log stay.
        Disconnect = "disconnect",
    }
}

impl OperatorCommand {
    /// The row of this order, which changed a connection at that instant.
    pub fn to_audit_row(
        self,
        connection: &ConnectionName,
        operation: OperationId,
        by: &Actor,
        at: Timestamp,
    ) -> AuditRow {
        let action = match self {
            Self::Pause => AuditAction::Paused,
            Self::Resume => AuditAction::Resumed,
            Self::Disconnect => AuditAction::Disconnected,
        };
        let (actor, subject) = (by.clone(), connection.to_string());
        AuditRow { id: operation, at, actor, action, subject, details: Value::Object(serde_json::Map::new()) }
    }
}

/// A connection, or why its row cannot be read.
pub type ListedConnection = Result<Connection, UnreadableRow>;

/// A row that says what no row can say. Calls for that connection alone answer [`StoreError::Inconsistent`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the row of `{name}` cannot be read: {table}.{column} {what}; put it back from a backup of the database, or delete the \
     rows of that connection from `strays`, `tokens` and `connections` and connect it anew"
)]
pub struct UnreadableRow {
    /// The connection.
    pub name: ConnectionName,
    /// The change that wrote the row.
    pub revision: Revision,
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// What is wrong with it.
    pub what: String,
}

/// The change that wrote a row, whether it can be read or not.
pub fn revision_of(listed: &ListedConnection) -> Revision {
    match listed {
        Ok(row) => row.revision,
        Err(unreadable) => unreadable.revision,
    }
}

/// The name of a row, whether it can be read or not.
pub fn name_of(listed: &ListedConnection) -> &ConnectionName {
    match listed {
        Ok(row) => &row.name,
        Err(unreadable) => &unreadable.name,
    }
}

impl UnreadableRow {
    /// The error for whoever cannot do without that row.
    pub fn into_error(self) -> StoreError {
        let Self { name, table, column, what, .. } = self;
        StoreError::Inconsistent { table, column, row: name.to_string(), what }
    }
}

/// A connection that must be looked at, and since when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// Since when.
    pub due_at: Timestamp,
    /// The connection.
    pub connection: ConnectionName,
}

/// The connections of an installation. Where the store is an [`AuditLog`](crate::audit::AuditLog) too, an operator's command and its
/// audit row are one transaction. A command that is sent again, or changed nothing, adds no row.
#[async_trait]
pub trait ConnectionStore: Send + Sync {
    /// The connection of that name.
    async fn find(&self, name: &ConnectionName) -> Result<Option<Connection>, StoreError>;

    /// Up to `limit` connections by name, after `after`.
    async fn list(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<ListedConnection>, StoreError>;

    /// Up to `limit` connections, after `after`, that are due within `horizon` from now, the longest due first;
    /// and the instant by the clock of the store. Connections that are paused or under a live lease are left out.
    async fn due(
        &self,
        horizon: Duration,
        after: Option<&Due>,
        limit: usize,
    ) -> Result<(Timestamp, Vec<Due>), StoreError>;

    /// Puts a grant into a connection and leaves a row in the refresh log.
    async fn connect(&self, connect: Connect) -> Result<ConnectAnswer, StoreError>;

    /// Takes the lease and opens the attempt, by the rule of [`super::claim::answer`]. An attempt that is recovered
    /// is closed as interrupted in the same transaction.
    async fn claim(&self, claim: Claim) -> Result<ClaimAnswer, StoreError>;

    /// Stores a new token set, closes the attempt and gives the lease back.
    async fn commit(&self, commit: Commit) -> Result<CommitAnswer, StoreError>;

    /// Records a failure, and gives the lease back if this attempt has it.
    async fn fail(&self, fail: Fail) -> Result<(), StoreError>;

    /// Records that nothing was due.
    async fn skip(&self, skip: Skip) -> Result<(), StoreError>;

    /// Judges a report of rejection by [`super::rejection::answer`].
    async fn reject(&self, rejection: Rejection) -> Result<RejectionAnswer, StoreError>;

    /// Does what an operator asked for; answers whether there is such a connection.
    async fn administer(
        &self,
        name: &ConnectionName,
        act: OperatorCommand,
        operation: OperationId,
        by: &Actor,
    ) -> Result<bool, StoreError>;
}

/// How a process learns what others changed. An opened store is followed by one consumer, from the revision that it had
/// when it was opened, or later.
#[async_trait]
pub trait ChangeFeed: Send + Sync {
    /// The instant by the clock of the store.
    async fn clock(&self) -> Result<StoreReading, StoreError>;

    /// The last change of the store. It goes back only when a backup is put in the place of the store.
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// Up to `limit` connections changed after `seen`, in the order of their changes.
    ///
    /// Where writers do not wait for each other, a change may become visible after later ones: such a row comes with
    /// them, though its own revision is not above `seen`. So a consumer takes for `seen` the highest revision that it
    /// got. It may get one revision of a row twice, after the store was out of reach for instance, and none but the
    /// latest of several: what it does with a row must be harmless the second time.
    async fn changed_since(&self, seen: Revision, limit: usize) -> Result<Vec<ListedConnection>, StoreError>;

    /// Returns soon after [`ChangeFeed::changed_since`] has something for whoever has seen `seen`, whoever changed it.
    async fn wait_for_change(&self, seen: Revision);
}

/// Which attempts to list.
#[derive(Clone, Debug, Default)]
pub struct AttemptFilter {
    /// Only of this connection.
    pub connection: Option<ConnectionName>,
    /// Only of this provider.
    pub provider: Option<ProviderName>,
    /// Only with this status, as recorded.
    pub status: Option<AttemptStatus>,
    /// Only failed and interrupted ones.
    pub failed_only: bool,
    /// Only of this trigger.
    pub trigger: Option<Trigger>,
    /// Only started at or after this instant.
    pub since: Option<Timestamp>,
    /// Only ones before this id, for the next page.
    pub before: Option<AttemptId>,
}

/// The refresh log.
#[async_trait]
pub trait AttemptLog: Send + Sync {
    /// The attempt of that id.
    async fn find_attempt(&self, id: AttemptId) -> Result<Option<Attempt>, StoreError>;

    /// Up to `limit` attempts, newest first.
    async fn list_attempts(&self, filter: &AttemptFilter, limit: usize) -> Result<Vec<Attempt>, StoreError>;

    /// The sealed reply that was kept with an attempt because it could not be read.
    async fn find_kept_reply(&self, id: AttemptId) -> Result<Option<Vec<u8>>, StoreError>;
}

/// What makes a store the store of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The installation; also kept in the data directory.
    pub instance: InstanceId,
    /// The key check value of [`crate::seal::Sealer`].
    pub key_check: Vec<u8>,
}

/// What a store needs besides its daily work. How far it has come is told by [`ChangeFeed::revision`].
#[async_trait]
pub trait Maintenance: ChangeFeed {
    /// The identity, once there is one.
    async fn identity(&self) -> Result<Option<Identity>, StoreError>;

    /// Gives a new store its identity; the first caller wins, and everyone gets the winner's.
    async fn initialise(&self, identity: Identity) -> Result<Identity, StoreError>;

    /// Gives the installation a new instance id, or the same again: a copied database is taken over on purpose, and
    /// belongs where it is from now on.
    async fn adopt(&self, instance: InstanceId) -> Result<(), StoreError>;

    /// Whether the database stands elsewhere than where it was founded or adopted last, as a copy does. A store that is asked
    /// for the first time belongs where it is.
    ///
    /// It is asked of stores that data directories join by themselves; others are known for copies by the instance id alone.
    async fn is_copy(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// The value kept under a name, such as the hash of the first API key.
    async fn find_setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keeps a value under a name unless there is one; answers the one that is kept.
    async fn insert_setting(&self, name: &str, value: Vec<u8>) -> Result<Vec<u8>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AttemptId, GrantId, NodeId};

    #[test]
    fn a_grant_that_was_kept_without_saying_who_ordered_it_is_put_in_by_the_process() {
        let connect = Connect {
            connection: "acme".parse().unwrap(),
            provider: "strict".parse().unwrap(),
            grant: GrantId::from_bytes([1; 16]),
            generation: Generation(0),
            tokens: None,
            single_use: true,
            due_at: Timestamp::default(),
            attempt: AttemptId::from_bytes([2; 16]),
            node: NodeId::from_bytes([3; 16]),
            by: Some(Actor::CommandLine("root@web-1".to_owned())),
        };
        let mut kept = serde_json::to_value(&connect).unwrap();
        assert_eq!(serde_json::from_value::<Connect>(kept.clone()).unwrap(), connect);
        kept.as_object_mut().unwrap().remove("by");
        let read: Connect = serde_json::from_value(kept).unwrap();
        let row = read.to_audit_row(Timestamp::default(), Generation(1), false);
        assert_eq!(row.actor, Actor::Node(connect.node));
    }
}
