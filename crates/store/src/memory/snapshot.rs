//! All rows of one store, in memory and in a token file.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jeton_core::id::{
    AttemptId, ConnectionName, ConsentId, GrantId, InstanceId, NodeId, OperationId, Revision,
};
use jeton_core::keep::attempt::{Attempt, AttemptStatus};
use jeton_core::keep::connection::Connection;
use jeton_core::keep::consent::{Consent, ConsentOutcome};
use jeton_core::keep::ports::{ConsentKey, LiveNode};
use jeton_core::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many orders of operators are remembered of each connection, so that one that is given again is done once.
const OPERATIONS: usize = 50;

/// Sealed bytes, which a file has as base64 text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedBytes(pub(crate) Vec<u8>);

impl Serialize for SealedBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for SealedBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// What makes the store the store of one installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Installation {
    pub(crate) instance: InstanceId,
    pub(crate) key_check: SealedBytes,
}

/// A connection, and the attempt that brought its token set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredConnection {
    pub(crate) connection: Connection,
    pub(crate) origin: Option<AttemptId>,
}

/// A row of the refresh log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttemptEntry {
    pub(crate) attempt: Attempt,
    /// The grant that it was made under.
    pub(crate) grant: GrantId,
    /// The sealed reply that could not be read.
    pub(crate) kept_reply: Option<SealedBytes>,
}

/// An order of an operator that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Operation {
    pub(crate) connection: ConnectionName,
    pub(crate) act: String,
    pub(crate) done_at: Timestamp,
}

/// A process, as its last heartbeat left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeRow {
    pub(crate) node: LiveNode,
    pub(crate) live_until: Timestamp,
}

/// All rows of one store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The number of the last change of a connection.
    pub(crate) revision: Revision,
    pub(crate) installation: Option<Installation>,
    pub(crate) settings: BTreeMap<String, SealedBytes>,
    pub(crate) connections: BTreeMap<ConnectionName, StoredConnection>,
    pub(crate) attempts: BTreeMap<AttemptId, AttemptEntry>,
    pub(crate) operations: BTreeMap<OperationId, Operation>,
    pub(crate) consents: BTreeMap<ConsentId, Consent>,
    pub(crate) nodes: BTreeMap<NodeId, NodeRow>,
    /// Whether anything was changed since this was last kept.
    #[serde(skip)]
    pub(crate) changed: bool,
}

impl Snapshot {
    /// The connection of that name.
    pub(crate) fn find(&self, name: &ConnectionName) -> Option<&Connection> {
        self.connections.get(name).map(|row| &row.connection)
    }

    /// The consent of that key.
    pub(crate) fn find_consent(&self, key: ConsentKey) -> Option<&Consent> {
        let has_state = |consent: &&Consent, state| {
            consent.authorization.as_ref().is_some_and(|asked| asked.state == state)
        };
        match key {
            ConsentKey::Id(id) => self.consents.get(&id),
            ConsentKey::Ticket(ticket) => self.consents.values().find(|consent| consent.ticket == ticket),
            ConsentKey::State(state) => self.consents.values().find(|consent| has_state(consent, state)),
        }
    }

    /// Forgets rows of the log of one connection beyond the newest `keep`, but none that somebody may still ask for.
    pub(crate) fn forget_attempts(&mut self, name: &ConnectionName, keep: usize, now: Timestamp) {
        let mut old: Vec<AttemptId> = self
            .attempts
            .values()
            .rev()
            .filter(|entry| entry.attempt.connection == *name)
            .skip(keep)
            .filter(|entry| entry.attempt.status_at(now) != AttemptStatus::Running)
            .map(|entry| entry.attempt.id)
            .collect();
        if old.is_empty() {
            return;
        }
        let needed = self.needed(name);
        old.retain(|id| !needed.contains(id));
        for id in old {
            self.attempts.remove(&id);
        }
    }

    /// The attempts that a connection hangs on: the open one with those that it was to recover, those whose replies are
    /// kept as orphan replies, the one that brought the token set, and those that exchanged codes.
    fn needed(&self, name: &ConnectionName) -> BTreeSet<AttemptId> {
        let mut needed = BTreeSet::new();
        if let Some(StoredConnection { connection, origin }) = self.connections.get(name) {
            let mut next = connection.open_attempt;
            while let Some(open) = next.filter(|open| needed.insert(*open)) {
                next = self.attempts.get(&open).and_then(|entry| entry.attempt.recovers);
            }
            needed.extend(connection.orphans.iter().map(|orphan| orphan.attempt));
            needed.extend(*origin);
        }
        needed.extend(self.consents.values().filter(|consent| consent.connection == *name).filter_map(
            |consent| match consent.outcome {
                Some(ConsentOutcome::Exchange(attempt)) => Some(attempt),
                _ => None,
            },
        ));
        needed
    }

    /// Forgets the oldest orders of one connection.
    pub(crate) fn forget_operations(&mut self, name: &ConnectionName) {
        let old: Vec<OperationId> = self
            .operations
            .iter()
            .rev()
            .filter(|(_, operation)| operation.connection == *name)
            .skip(OPERATIONS)
            .map(|(id, _)| *id)
            .collect();
        for id in old {
            self.operations.remove(&id);
        }
    }
}
