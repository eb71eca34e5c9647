//! A batch in memory: what was loaded under its locks, and what its calls made of it. Nothing is sent until all of them
//! have run.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use jeton_core::audit::AuditRow;
use jeton_core::id::{AttemptId, ConnectionName, GrantId, OperationId};
use jeton_core::keep::attempt::{Attempt, AttemptStatus};
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::StoreError;
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;

use super::connections_table::StoredConnection;
use super::errors::PostgresError;
use crate::rules::Closing;
use crate::write_tx::WriteTx;

/// What a batch found. A name or an id that is not in a map was not asked for; one with nothing behind it is not there.
#[derive(Debug, Default)]
pub(super) struct LoadedRows {
    pub(super) now: Timestamp,
    pub(super) rows: BTreeMap<ConnectionName, StoredConnection>,
    pub(super) attempts: BTreeMap<AttemptId, Option<(Attempt, GrantId)>>,
    pub(super) operations: BTreeSet<OperationId>,
    /// The last attempt that spent a refresh token, or may have.
    pub(super) spenders: BTreeMap<Fingerprint, AttemptId>,
    /// Connections outside of the batch that hold a refresh token.
    pub(super) holders: BTreeMap<Fingerprint, ConnectionName>,
}

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct PendingWrites {
    pub(super) rows: BTreeMap<ConnectionName, StoredConnection>,
    /// The names in `rows`, in the order in which they were changed first.
    pub(super) order: Vec<ConnectionName>,
    pub(super) attempts: BTreeMap<AttemptId, (Attempt, GrantId)>,
    /// Attempts that were not loaded, to be closed unless they have an outcome.
    pub(super) closings: BTreeMap<AttemptId, &'static str>,
    pub(super) kept_replies: BTreeMap<AttemptId, (ConnectionName, Vec<u8>)>,
    pub(super) dropped_replies: BTreeSet<AttemptId>,
    pub(super) dropped_replies_of: BTreeSet<ConnectionName>,
    pub(super) operations: Vec<(OperationId, ConnectionName, &'static str)>,
    pub(super) record: Vec<AuditRow>,
}

/// The desk of one batch.
#[derive(Debug, Default)]
pub(super) struct BatchTx {
    pub(super) loaded: LoadedRows,
    changes: RefCell<PendingWrites>,
}

impl BatchTx {
    pub(super) fn new(loaded: LoadedRows) -> Self {
        Self { loaded, changes: RefCell::default() }
    }

    /// Forgets what the calls did, so that they can be run again on more that was loaded.
    pub(super) fn begin_again(&mut self) {
        self.changes = RefCell::default();
    }

    pub(super) fn end(self) -> (LoadedRows, PendingWrites) {
        (self.loaded, self.changes.into_inner())
    }

    fn held<T>(&self, name: &ConnectionName, look: impl Fn(&StoredConnection) -> T) -> Option<T> {
        let changes = self.changes.borrow();
        changes.rows.get(name).or_else(|| self.loaded.rows.get(name)).map(look)
    }
}

impl WriteTx for BatchTx {
    type Error = PostgresError;

    fn now(&self) -> Timestamp {
        self.loaded.now
    }

    fn find(&self, name: &ConnectionName) -> Result<Option<Connection>, PostgresError> {
        Ok(self.held(name, |held| held.row.clone()))
    }

    fn origin(&self, name: &ConnectionName) -> Result<Option<AttemptId>, PostgresError> {
        Ok(self.held(name, |held| held.origin).flatten())
    }

    fn save(
        &self,
        before: Option<&Connection>,
        row: Connection,
        attempt: Option<AttemptId>,
    ) -> Result<(), PostgresError> {
        if before == Some(&row) {
            return Ok(());
        }
        let held = self.origin(&row.name)?;
        // A generation names one token set: either both change or neither does.
        let same = before.is_some_and(|was| was.tokens == row.tokens && was.generation == row.generation);
        let origin = match &row.tokens {
            None => None,
            Some(_) if same => held,
            Some(_) => Some(attempt.ok_or_else(|| StoreError::Inconsistent {
                table: "tokens",
                column: "attempt",
                row: row.name.to_string(),
                what: "a new token set comes from no attempt".into(),
            })?),
        };
        let mut changes = self.changes.borrow_mut();
        if !changes.rows.contains_key(&row.name) {
            changes.order.push(row.name.clone());
        }
        changes.rows.insert(row.name.clone(), StoredConnection { row, origin });
        Ok(())
    }

    fn other_holder(
        &self,
        refresh: Fingerprint,
        name: &ConnectionName,
    ) -> Result<Option<ConnectionName>, PostgresError> {
        let holds = |held: &StoredConnection| {
            let held = held.row.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint);
            held == Some(refresh)
        };
        let changes = self.changes.borrow();
        let names = self.loaded.rows.keys().chain(changes.rows.keys()).filter(|other| *other != name);
        let here = names.into_iter().find(|other| self.held(other, holds) == Some(true)).cloned();
        Ok(here.or_else(|| self.loaded.holders.get(&refresh).cloned()))
    }

    fn attempt(&self, id: AttemptId) -> Result<Option<(Attempt, GrantId)>, PostgresError> {
        if let Some(changed) = self.changes.borrow().attempts.get(&id) {
            return Ok(Some(changed.clone()));
        }
        self.loaded.attempts.get(&id).cloned().ok_or(PostgresError::Unloaded(id))
    }

    fn write(&self, attempt: &Attempt, grant: GrantId) -> Result<(), PostgresError> {
        self.changes.borrow_mut().attempts.insert(attempt.id, (attempt.clone(), grant));
        Ok(())
    }

    fn close(&self, closing: Closing) -> Result<(), PostgresError> {
        match self.attempt(closing.attempt) {
            Ok(Some((mut attempt, grant))) => {
                if matches!(attempt.status, AttemptStatus::Running | AttemptStatus::Interrupted) {
                    attempt.status = AttemptStatus::Interrupted;
                    attempt.completed_at = attempt.completed_at.or(Some(self.now()));
                    attempt.code = attempt.code.or_else(|| Some(closing.code.to_owned()));
                    self.write(&attempt, grant)?;
                }
            }
            Ok(None) => {}
            Err(_) => {
                self.changes.borrow_mut().closings.entry(closing.attempt).or_insert(closing.code);
            }
        }
        Ok(())
    }

    fn spender(&self, refresh: Fingerprint) -> Result<Option<AttemptId>, PostgresError> {
        // No call that shares a batch with this one makes an attempt that spends, or says that one did not.
        Ok(self.loaded.spenders.get(&refresh).copied())
    }

    fn keep_reply(
        &self,
        attempt: AttemptId,
        connection: &ConnectionName,
        reply: &[u8],
    ) -> Result<(), PostgresError> {
        let mut changes = self.changes.borrow_mut();
        changes.kept_replies.insert(attempt, (connection.clone(), reply.to_vec()));
        Ok(())
    }

    fn drop_reply(&self, attempt: AttemptId) -> Result<(), PostgresError> {
        let mut changes = self.changes.borrow_mut();
        changes.kept_replies.remove(&attempt);
        changes.dropped_replies.insert(attempt);
        Ok(())
    }

    fn drop_replies(&self, connection: &ConnectionName) -> Result<(), PostgresError> {
        let mut changes = self.changes.borrow_mut();
        changes.kept_replies.retain(|_, (of, _)| of != connection);
        changes.dropped_replies_of.insert(connection.clone());
        Ok(())
    }

    fn record_operation(
        &self,
        operation: OperationId,
        connection: &ConnectionName,
        act: &'static str,
    ) -> Result<bool, PostgresError> {
        let mut changes = self.changes.borrow_mut();
        let known = self.loaded.operations.contains(&operation)
            || changes.operations.iter().any(|(known, ..)| *known == operation);
        if !known {
            changes.operations.push((operation, connection.clone(), act));
        }
        Ok(!known)
    }

    fn put_on_record(&self, row: AuditRow) -> Result<(), PostgresError> {
        self.changes.borrow_mut().record.push(row);
        Ok(())
    }
}
