//! Connections in a token file.

use std::time::Duration;

use jeton_core::id::{AttemptId, ConnectionName, GrantId, NodeId, ProviderName};
use jeton_core::keep::attempt::Trigger;
use jeton_core::keep::connection::{
    Connection, Generation, GrantState, Lease, OrphanReply, RejectionBackoff, Revision, SealedTokens,
};
use jeton_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::memory::snapshot::Row;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectionRow {
    provider: ProviderName,
    grant: GrantId,
    state: GrantState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state_code: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    paused: bool,
    generation: Generation,
    revision: Revision,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens: Option<SealedTokens>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<AttemptId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    born_of: Option<Trigger>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open_attempt: Option<AttemptId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cooling_until: Option<Timestamp>,
    #[serde(default)]
    failures: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    brake: Option<BrakeRow>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    strays: Vec<StrayRow>,
    created_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaseRow {
    attempt: AttemptId,
    node: NodeId,
    until: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BrakeRow {
    generation: Generation,
    until: Timestamp,
    step_secs: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StrayRow {
    attempt: AttemptId,
    grant: GrantId,
    generation: Generation,
    tokens: SealedTokens,
}

impl From<Row> for ConnectionRow {
    fn from(Row { connection, origin }: Row) -> Self {
        let Connection {
            // The key of the table.
            name: _,
            provider,
            grant,
            state,
            state_code,
            paused,
            generation,
            revision,
            tokens,
            refresh_trigger: born_of,
            lease,
            open_attempt,
            due_at,
            cooling_until,
            failures,
            last_error,
            backoff,
            orphans,
            created_at,
        } = connection;
        Self {
            provider,
            grant,
            state,
            state_code,
            paused,
            generation,
            revision,
            tokens,
            origin,
            born_of,
            lease: lease.map(|Lease { attempt, node, until }| LeaseRow { attempt, node, until }),
            open_attempt,
            due_at,
            cooling_until,
            failures,
            last_error,
            brake: backoff.map(|RejectionBackoff { generation, until, step }| BrakeRow {
                generation,
                until,
                // Backoffs are whole minutes.
                step_secs: step.as_secs(),
            }),
            strays: orphans
                .into_iter()
                .map(|OrphanReply { attempt, grant, generation, tokens }| StrayRow {
                    attempt,
                    grant,
                    generation,
                    tokens,
                })
                .collect(),
            created_at,
        }
    }
}

impl ConnectionRow {
    pub(super) fn into_row(self, name: ConnectionName) -> Row {
        let connection = Connection {
            name,
            provider: self.provider,
            grant: self.grant,
            state: self.state,
            state_code: self.state_code,
            paused: self.paused,
            generation: self.generation,
            revision: self.revision,
            tokens: self.tokens,
            refresh_trigger: self.born_of,
            lease: self.lease.map(|LeaseRow { attempt, node, until }| Lease { attempt, node, until }),
            open_attempt: self.open_attempt,
            due_at: self.due_at,
            cooling_until: self.cooling_until,
            failures: self.failures,
            last_error: self.last_error,
            backoff: self.brake.map(|BrakeRow { generation, until, step_secs }| RejectionBackoff {
                generation,
                until,
                step: Duration::from_secs(step_secs),
            }),
            orphans: self
                .strays
                .into_iter()
                .map(|StrayRow { attempt, grant, generation, tokens }| OrphanReply {
                    attempt,
                    grant,
                    generation,
                    tokens,
                })
                .collect(),
            created_at: self.created_at,
        };
        Row { connection, origin: self.origin }
    }
}
