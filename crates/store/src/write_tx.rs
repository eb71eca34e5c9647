//! What the courses of the writing calls need of a store, inside one transaction.

use jeton_core::audit::AuditRow;
use jeton_core::id::{AttemptId, ConnectionName, GrantId, OperationId};
use jeton_core::keep::attempt::Attempt;
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::StoreError;
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;

use crate::rules::Closing;

/// A transaction as [`crate::refresh_writes`] and [`crate::grant_writes`] see it. Nobody else changes what it finds until it ends.
pub(crate) trait WriteTx {
    /// Why a call cannot be done.
    type Error: From<StoreError>;

    /// The instant by the clock of the store.
    fn now(&self) -> Timestamp;

    /// The connection of that name.
    fn find(&self, name: &ConnectionName) -> Result<Option<Connection>, Self::Error>;

    /// The attempt that brought the token set of a connection.
    fn origin(&self, name: &ConnectionName) -> Result<Option<AttemptId>, Self::Error>;

    /// Writes what changed between `before` and `row` under the next revision; nothing, when nothing did.
    ///
    /// `attempt` is named as the origin of a token set that is new.
    fn save(
        &self,
        before: Option<&Connection>,
        row: Connection,
        attempt: Option<AttemptId>,
    ) -> Result<(), Self::Error>;

    /// Another connection than `name` that holds the refresh token of that fingerprint.
    fn other_holder(
        &self,
        refresh: Fingerprint,
        name: &ConnectionName,
    ) -> Result<Option<ConnectionName>, Self::Error>;

    /// The attempt of that id, and the grant that it was made under.
    fn attempt(&self, id: AttemptId) -> Result<Option<(Attempt, GrantId)>, Self::Error>;

    /// Writes an attempt, new or changed.
    fn write(&self, attempt: &Attempt, grant: GrantId) -> Result<(), Self::Error>;

    /// Closes an attempt that is under way or open as interrupted. What is known of it stays.
    fn close(&self, closing: Closing) -> Result<(), Self::Error>;

    /// The last attempt, of whatever connection, that spent this refresh token or may have.
    fn spender(&self, refresh: Fingerprint) -> Result<Option<AttemptId>, Self::Error>;

    /// Keeps a sealed reply with its attempt.
    fn keep_reply(
        &self,
        attempt: AttemptId,
        connection: &ConnectionName,
        reply: &[u8],
    ) -> Result<(), Self::Error>;

    /// The reply of an attempt was read after all.
    fn drop_reply(&self, attempt: AttemptId) -> Result<(), Self::Error>;

    /// A grant is given up, and with it what its replies held.
    fn drop_replies(&self, connection: &ConnectionName) -> Result<(), Self::Error>;

    /// Records an operator's order. Answers whether it is new.
    fn record_operation(
        &self,
        operation: OperationId,
        connection: &ConnectionName,
        act: &'static str,
    ) -> Result<bool, Self::Error>;

    /// Puts what a person ordered on record, unless it is there.
    fn put_on_record(&self, row: AuditRow) -> Result<(), Self::Error>;
}
