//! A transaction over an image, as the courses that all stores share see it.
//!
//! What it finds it finds at once, and nothing that it writes can fail: the courses learn what is wrong with a call
//! before they write, so that a call that fails has changed nothing.

use std::cell::{Ref, RefCell, RefMut};

use jeton_core::audit::AuditRow;
use jeton_core::id::{AttemptId, ConnectionName, GrantId, OperationId};
use jeton_core::keep::attempt::{Attempt, AttemptStatus};
use jeton_core::keep::connection::{Connection, Revision};
use jeton_core::keep::ports::StoreError;
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;

use super::image::{Entry, Image, Operation, Row};
use crate::desk::Desk;
use crate::rules::Closing;

/// A transaction over an image.
pub(crate) struct Draft<'a> {
    image: RefCell<&'a mut Image>,
    now: Timestamp,
    /// How many rows of the log are kept of each connection.
    attempts: usize,
}

impl<'a> Draft<'a> {
    pub(super) fn new(image: &'a mut Image, now: Timestamp, attempts: usize) -> Self {
        Self { image: RefCell::new(image), now, attempts }
    }

    /// The image, to look at.
    pub(super) fn image(&self) -> Ref<'_, Image> {
        Ref::map(self.image.borrow(), |image| &**image)
    }

    /// The image, to change: it will be kept.
    pub(super) fn change(&self) -> RefMut<'_, Image> {
        let mut image = RefMut::map(self.image.borrow_mut(), |image| &mut **image);
        image.changed = true;
        image
    }
}

impl Desk for Draft<'_> {
    type Failure = StoreError;

    fn now(&self) -> Timestamp {
        self.now
    }

    fn find(&self, name: &ConnectionName) -> Result<Option<Connection>, StoreError> {
        Ok(self.image().find(name).cloned())
    }

    fn origin(&self, name: &ConnectionName) -> Result<Option<AttemptId>, StoreError> {
        Ok(self.image().connections.get(name).and_then(|row| row.origin))
    }

    fn save(
        &self,
        before: Option<&Connection>,
        mut row: Connection,
        attempt: Option<AttemptId>,
    ) -> Result<(), StoreError> {
        if before == Some(&row) {
            return Ok(());
        }
        let mut image = self.change();
        image.revision = Revision(image.revision.0 + 1);
        row.revision = image.revision;
        // A generation names one token set: either both change or neither does.
        let same =
            before.is_some_and(|before| before.generation == row.generation && before.tokens == row.tokens);
        let origin = if same { image.connections.get(&row.name).and_then(|row| row.origin) } else { attempt };
        let origin = origin.filter(|_| row.tokens.is_some());
        image.connections.insert(row.name.clone(), Row { connection: row, origin });
        Ok(())
    }

    fn other_holder(
        &self,
        refresh: Fingerprint,
        name: &ConnectionName,
    ) -> Result<Option<ConnectionName>, StoreError> {
        let holds = |row: &&Row| {
            let tokens = row.connection.tokens.as_ref();
            row.connection.name != *name
                && tokens.is_some_and(|tokens| tokens.refresh_fingerprint == Some(refresh))
        };
        Ok(self.image().connections.values().find(holds).map(|row| row.connection.name.clone()))
    }

    fn attempt(&self, id: AttemptId) -> Result<Option<(Attempt, GrantId)>, StoreError> {
        Ok(self.image().attempts.get(&id).map(|entry| (entry.attempt.clone(), entry.grant)))
    }

    fn write(&self, attempt: &Attempt, grant: GrantId) -> Result<(), StoreError> {
        let mut image = self.change();
        if let Some(entry) = image.attempts.get_mut(&attempt.id) {
            entry.attempt = attempt.clone();
            return Ok(());
        }
        image.attempts.insert(attempt.id, Entry { attempt: attempt.clone(), grant, kept_reply: None });
        image.forget_attempts(&attempt.connection, self.attempts, self.now);
        Ok(())
    }

    fn close(&self, closing: Closing) -> Result<(), StoreError> {
        if let Some(entry) = self.change().attempts.get_mut(&closing.attempt) {
            let attempt = &mut entry.attempt;
            if matches!(attempt.status, AttemptStatus::Running | AttemptStatus::Interrupted) {
                attempt.status = AttemptStatus::Interrupted;
                attempt.completed_at.get_or_insert(self.now);
                attempt.code.get_or_insert_with(|| closing.code.to_owned());
            }
        }
        Ok(())
    }

    fn spender(&self, refresh: Fingerprint) -> Result<Option<AttemptId>, StoreError> {
        let spent = |entry: &&Entry| {
            let may_have = [AttemptStatus::Running, AttemptStatus::Interrupted, AttemptStatus::Success];
            entry.attempt.fingerprint == Some(refresh) && may_have.contains(&entry.attempt.status)
        };
        Ok(self.image().attempts.values().rev().find(spent).map(|entry| entry.attempt.id))
    }

    fn keep_reply(
        &self,
        attempt: AttemptId,
        _connection: &ConnectionName,
        reply: &[u8],
    ) -> Result<(), StoreError> {
        if let Some(entry) = self.change().attempts.get_mut(&attempt) {
            entry.kept_reply = Some(reply.to_vec());
        }
        Ok(())
    }

    fn drop_reply(&self, attempt: AttemptId) -> Result<(), StoreError> {
        if let Some(entry) = self.change().attempts.get_mut(&attempt) {
            entry.kept_reply = None;
        }
        Ok(())
    }

    fn drop_replies(&self, connection: &ConnectionName) -> Result<(), StoreError> {
        let mut image = self.change();
        for entry in image.attempts.values_mut().filter(|entry| entry.attempt.connection == *connection) {
            entry.kept_reply = None;
        }
        Ok(())
    }

    fn record_operation(
        &self,
        operation: OperationId,
        connection: &ConnectionName,
        act: &'static str,
    ) -> Result<bool, StoreError> {
        if self.image().operations.contains_key(&operation) {
            return Ok(false);
        }
        let mut image = self.change();
        let done = Operation { connection: connection.clone(), act: act.to_owned(), done_at: self.now };
        image.operations.insert(operation, done);
        image.forget_operations(connection);
        Ok(true)
    }

    /// An image belongs to one program and has no port to read a record by: as of service tokens, it keeps none.
    fn put_on_record(&self, _row: AuditRow) -> Result<(), StoreError> {
        Ok(())
    }
}
