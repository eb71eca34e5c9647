//! A transaction of the writer as the courses that all stores share see it.

use jeton_core::audit::AuditRow;
use jeton_core::id::{AttemptId, ConnectionName, GrantId, OperationId};
use jeton_core::keep::attempt::Attempt;
use jeton_core::keep::connection::Connection;
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;

use super::errors::Failure;
use super::writer::Writing;
use super::{audit, log, table};
use crate::desk::Desk;
use crate::rules::Closing;

impl Desk for Writing<'_> {
    type Failure = Failure;

    fn now(&self) -> Timestamp {
        self.now
    }

    fn find(&self, name: &ConnectionName) -> Result<Option<Connection>, Failure> {
        table::find(self.conn, self.drift, name)
    }

    fn origin(&self, name: &ConnectionName) -> Result<Option<AttemptId>, Failure> {
        table::origin(self, name)
    }

    fn save(
        &self,
        before: Option<&Connection>,
        row: Connection,
        attempt: Option<AttemptId>,
    ) -> Result<(), Failure> {
        table::save(self, before, row, attempt)
    }

    fn other_holder(
        &self,
        refresh: Fingerprint,
        name: &ConnectionName,
    ) -> Result<Option<ConnectionName>, Failure> {
        table::other_holder(self.conn, refresh, name)
    }

    fn attempt(&self, id: AttemptId) -> Result<Option<(Attempt, GrantId)>, Failure> {
        log::find(self.conn, self.drift, id)
    }

    fn write(&self, attempt: &Attempt, grant: GrantId) -> Result<(), Failure> {
        log::write(self, attempt, grant)
    }

    fn close(&self, closing: Closing) -> Result<(), Failure> {
        log::close(self, closing)
    }

    fn spender(&self, refresh: Fingerprint) -> Result<Option<AttemptId>, Failure> {
        log::spender(self, refresh)
    }

    fn keep_reply(
        &self,
        attempt: AttemptId,
        connection: &ConnectionName,
        reply: &[u8],
    ) -> Result<(), Failure> {
        log::keep_reply(self, attempt, connection, reply)
    }

    fn drop_reply(&self, attempt: AttemptId) -> Result<(), Failure> {
        log::drop_reply(self, attempt)
    }

    fn drop_replies(&self, connection: &ConnectionName) -> Result<(), Failure> {
        log::drop_replies(self, connection)
    }

    fn record_operation(
        &self,
        operation: OperationId,
        connection: &ConnectionName,
        act: &'static str,
    ) -> Result<bool, Failure> {
        log::record_operation(self, operation, connection, act)
    }

    fn put_on_record(&self, row: AuditRow) -> Result<(), Failure> {
        audit::insert(self, &row)
    }
}
