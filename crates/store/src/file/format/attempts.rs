//! The refresh log in a token file.

use jeton_core::id::{AttemptId, ConnectionName, GrantId, NodeId, ProviderName};
use jeton_core::keep::attempt::{Act, Attempt, AttemptStatus, Trigger};
use jeton_core::keep::connection::Generation;
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Bytes;
use crate::memory::snapshot::AttemptEntry;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttemptRow {
    id: AttemptId,
    connection: ConnectionName,
    provider: ProviderName,
    grant: GrantId,
    trigger: Trigger,
    act: Act,
    status: AttemptStatus,
    node: NodeId,
    generation: Generation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    new_generation: Option<Generation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<Fingerprint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recovers: Option<AttemptId>,
    started_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completed_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    old_expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    new_expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept_reply: Option<Bytes>,
}

impl From<AttemptEntry> for AttemptRow {
    fn from(AttemptEntry { attempt, grant, kept_reply }: AttemptEntry) -> Self {
        let Attempt {
            id,
            connection,
            provider,
            trigger,
            act,
            status,
            node,
            generation,
            new_generation,
            fingerprint,
            recovers,
            started_at,
            completed_at,
            lease_until,
            code,
            http_status,
            message,
            old_expires_at,
            new_expires_at,
        } = attempt;
        Self {
            id,
            connection,
            provider,
            grant,
            trigger,
            act,
            status,
            node,
            generation,
            new_generation,
            fingerprint,
            recovers,
            started_at,
            completed_at,
            lease_until,
            code,
            http_status,
            message,
            old_expires_at,
            new_expires_at,
            kept_reply: kept_reply.map(Bytes),
        }
    }
}

impl AttemptRow {
    pub(super) fn into_entry(self) -> AttemptEntry {
        let attempt = Attempt {
            id: self.id,
            connection: self.connection,
            provider: self.provider,
            trigger: self.trigger,
            act: self.act,
            status: self.status,
            node: self.node,
            generation: self.generation,
            new_generation: self.new_generation,
            fingerprint: self.fingerprint,
            recovers: self.recovers,
            started_at: self.started_at,
            completed_at: self.completed_at,
            lease_until: self.lease_until,
            code: self.code,
            http_status: self.http_status,
            message: self.message,
            old_expires_at: self.old_expires_at,
            new_expires_at: self.new_expires_at,
        };
        AttemptEntry { attempt, grant: self.grant, kept_reply: self.kept_reply.map(|reply| reply.0) }
    }
}
