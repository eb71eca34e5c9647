//! A transaction of the writer as the courses that all stores share see it.

use jeton_core::audit::AuditRow;
use jeton_core::id::{AttemptId, ConnectionName, GrantId, OperationId};
use jeton_core::keep::attempt::Attempt;
use jeton_core::keep::connection::Connection;
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;

use super::errors::SqliteError;
use super::writer::SqliteTx;
use super::{attempts_table, audit, connections_table};
use crate::rules::Closing;
use crate::write_tx::WriteTx;

impl WriteTx for SqliteTx<'_> {
    type Error = SqliteError;

    fn now(&self) -> Timestamp {
        self.now
    }

    fn find(&self, name: &ConnectionName) -> Result<Option<Connection>, SqliteError> {
        connections_table::find(self.conn, self.drift, name)
    }

    fn origin(&self, name: &ConnectionName) -> Result<Option<AttemptId>, SqliteError> {
        connections_table::origin(self, name)
    }

    fn save(
        &self,
        before: Option<&Connection>,
        row: Connection,
        attempt: Option<AttemptId>,
    ) -> Result<(), SqliteError> {
        connections_table::save(self, before, row, attempt)
    }

    fn other_holder(
        &self,
        refresh: Fingerprint,
        name: &ConnectionName,
    ) -> Result<Option<ConnectionName>, SqliteError> {
        connections_table::other_holder(self.conn, refresh, name)
    }

    fn attempt(&self, id: AttemptId) -> Result<Option<(Attempt, GrantId)>, SqliteError> {
        attempts_table::find(self.conn, self.drift, id)
    }

    fn write(&self, attempt: &Attempt, grant: GrantId) -> Result<(), SqliteError> {
        attempts_table::write(self, attempt, grant)
    }

    fn close(&self, closing: Closing) -> Result<(), SqliteError> {
        attempts_table::close(self, closing)
    }

    fn spender(&self, refresh: Fingerprint) -> Result<Option<AttemptId>, SqliteError> {
        attempts_table::spender(self, refresh)
    }

    fn keep_reply(
        &self,
        attempt: AttemptId,
        connection: &ConnectionName,
        reply: &[u8],
    ) -> Result<(), SqliteError> {
        attempts_table::keep_reply(self, attempt, connection, reply)
    }

    fn drop_reply(&self, attempt: AttemptId) -> Result<(), SqliteError> {
        attempts_table::drop_reply(self, attempt)
    }

    fn drop_replies(&self, connection: &ConnectionName) -> Result<(), SqliteError> {
        attempts_table::drop_replies(self, connection)
    }

    fn record_operation(
        &self,
        operation: OperationId,
        connection: &ConnectionName,
        act: &'static str,
    ) -> Result<bool, SqliteError> {
        attempts_table::record_operation(self, operation, connection, act)
    }

    fn put_on_record(&self, row: AuditRow) -> Result<(), SqliteError> {
        audit::insert(self, &row)
    }
}
