//! A transaction over a snapshot, as the writing calls that all stores share see it.
//!
//! What it finds it finds at once, and nothing that it writes can fail: the calls learn what is wrong with a call
//! before they write, so that a call that fails has changed nothing.

use jeton_core::audit::AuditRow;
use jeton_core::id::{AttemptId, ConnectionName, GrantId, OperationId, Revision};
use jeton_core::keep::attempt::{Attempt, AttemptStatus};
use jeton_core::keep::connection::Connection;
use jeton_core::keep::consent::Consent;
use jeton_core::keep::ports::{ConsentKey, StoreError};
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;

use super::snapshot::{AttemptEntry, Operation, SealedBytes, Snapshot, StoredConnection};
use crate::rules::{Closing, LAST_GRANT};
use crate::write_tx::WriteTx;

/// A transaction over a snapshot.
pub(crate) struct Transaction<'a> {
    snapshot: &'a mut Snapshot,
    now: Timestamp,
    /// How many rows of the log are kept of each connection.
    attempts: usize,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(snapshot: &'a mut Snapshot, now: Timestamp, attempts: usize) -> Self {
        Self { snapshot, now, attempts }
    }

    /// The snapshot, to look at.
    pub(super) fn snapshot(&self) -> &Snapshot {
        self.snapshot
    }

    /// The snapshot, to change: it will be kept.
    pub(super) fn change(&mut self) -> &mut Snapshot {
        self.snapshot.changed = true;
        self.snapshot
    }
}

impl WriteTx for Transaction<'_> {
    type Error = StoreError;

    fn now(&self) -> Timestamp {
        self.now
    }

    async fn find(&mut self, name: &ConnectionName) -> Result<Option<Connection>, StoreError> {
        Ok(self.snapshot().find(name).cloned())
    }

    async fn origin(&mut self, name: &ConnectionName) -> Result<Option<AttemptId>, StoreError> {
        Ok(self.snapshot().connections.get(name).and_then(|row| row.origin))
    }

    async fn save(
        &mut self,
        before: Option<&Connection>,
        mut row: Connection,
        attempt: Option<AttemptId>,
    ) -> Result<(), StoreError> {
        if before == Some(&row) {
            return Ok(());
        }
        let snapshot = self.change();
        snapshot.revision = Revision(snapshot.revision.0 + 1);
        row.revision = snapshot.revision;
        // A generation names one token set: either both change or neither does.
        let same =
            before.is_some_and(|before| before.generation == row.generation && before.tokens == row.tokens);
        let origin =
            if same { snapshot.connections.get(&row.name).and_then(|row| row.origin) } else { attempt };
        let origin = origin.filter(|_| row.tokens.is_some());
        snapshot.connections.insert(row.name.clone(), StoredConnection { connection: row, origin });
        Ok(())
    }

    async fn other_holder(
        &mut self,
        refresh: Fingerprint,
        name: &ConnectionName,
    ) -> Result<Option<ConnectionName>, StoreError> {
        let holds = |row: &&StoredConnection| {
            let tokens = row.connection.tokens.as_ref();
            row.connection.name != *name
                && tokens.is_some_and(|tokens| tokens.refresh_fingerprint == Some(refresh))
        };
        Ok(self.snapshot().connections.values().find(holds).map(|row| row.connection.name.clone()))
    }

    async fn last_grant(&mut self) -> Result<Option<GrantId>, StoreError> {
        let kept = self.snapshot().settings.get(LAST_GRANT);
        Ok(kept.and_then(|bytes| bytes.0.clone().try_into().ok()).map(GrantId::from_bytes))
    }

    async fn set_last_grant(&mut self, grant: GrantId) -> Result<(), StoreError> {
        let bytes = SealedBytes(grant.as_bytes().to_vec());
        self.change().settings.insert(LAST_GRANT.to_owned(), bytes);
        Ok(())
    }

    async fn attempt(&mut self, id: AttemptId) -> Result<Option<(Attempt, GrantId)>, StoreError> {
        Ok(self.snapshot().attempts.get(&id).map(|entry| (entry.attempt.clone(), entry.grant)))
    }

    async fn write_attempt(&mut self, attempt: &Attempt, grant: GrantId) -> Result<(), StoreError> {
        let (now, keep) = (self.now, self.attempts);
        let snapshot = self.change();
        if let Some(entry) = snapshot.attempts.get_mut(&attempt.id) {
            entry.attempt = attempt.clone();
            return Ok(());
        }
        snapshot
            .attempts
            .insert(attempt.id, AttemptEntry { attempt: attempt.clone(), grant, kept_reply: None });
        snapshot.forget_attempts(&attempt.connection, keep, now);
        Ok(())
    }

    async fn close_attempt(&mut self, closing: Closing) -> Result<(), StoreError> {
        let now = self.now;
        if let Some(entry) = self.change().attempts.get_mut(&closing.attempt) {
            let attempt = &mut entry.attempt;
            if matches!(attempt.status, AttemptStatus::Running | AttemptStatus::Interrupted) {
                attempt.status = AttemptStatus::Interrupted;
                attempt.completed_at.get_or_insert(now);
                attempt.code.get_or_insert_with(|| closing.code.to_owned());
            }
        }
        Ok(())
    }

    async fn spender(&mut self, refresh: Fingerprint) -> Result<Option<AttemptId>, StoreError> {
        let spent = |entry: &&AttemptEntry| {
            let may_have = [AttemptStatus::Running, AttemptStatus::Interrupted, AttemptStatus::Success];
            entry.attempt.fingerprint == Some(refresh) && may_have.contains(&entry.attempt.status)
        };
        Ok(self.snapshot().attempts.values().rev().find(spent).map(|entry| entry.attempt.id))
    }

    async fn keep_reply(
        &mut self,
        attempt: AttemptId,
        _connection: &ConnectionName,
        reply: &[u8],
    ) -> Result<(), StoreError> {
        if let Some(entry) = self.change().attempts.get_mut(&attempt) {
            entry.kept_reply = Some(SealedBytes(reply.to_vec()));
        }
        Ok(())
    }

    async fn drop_reply(&mut self, attempt: AttemptId) -> Result<(), StoreError> {
        if let Some(entry) = self.change().attempts.get_mut(&attempt) {
            entry.kept_reply = None;
        }
        Ok(())
    }

    async fn drop_replies(&mut self, connection: &ConnectionName) -> Result<(), StoreError> {
        let snapshot = self.change();
        for entry in snapshot.attempts.values_mut().filter(|entry| entry.attempt.connection == *connection) {
            entry.kept_reply = None;
        }
        Ok(())
    }

    async fn record_operation(
        &mut self,
        operation: OperationId,
        connection: &ConnectionName,
        act: &'static str,
    ) -> Result<bool, StoreError> {
        if self.snapshot().operations.contains_key(&operation) {
            return Ok(false);
        }
        let done = Operation { connection: connection.clone(), act: act.to_owned(), done_at: self.now };
        let snapshot = self.change();
        snapshot.operations.insert(operation, done);
        snapshot.forget_operations(connection);
        Ok(true)
    }

    /// A snapshot belongs to one program and has no port to read a record by: as of service tokens, it keeps none.
    async fn write_audit_row(&mut self, _row: AuditRow) -> Result<(), StoreError> {
        Ok(())
    }

    async fn find_consent(&mut self, key: ConsentKey) -> Result<Option<Consent>, StoreError> {
        Ok(self.snapshot().find_consent(key).cloned())
    }

    async fn write_consent(&mut self, consent: &Consent) -> Result<(), StoreError> {
        self.change().consents.insert(consent.id, consent.clone());
        Ok(())
    }

    async fn forget_consents(&mut self, before: Timestamp) -> Result<(), StoreError> {
        self.change().consents.retain(|_, consent| consent.link_until >= before);
        Ok(())
    }
}
