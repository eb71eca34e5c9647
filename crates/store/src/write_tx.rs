//! What the writing calls need of a store, inside one transaction.

use futures_util::FutureExt as _;
use jeton_core::audit::AuditRow;
use jeton_core::id::{AttemptId, ConnectionName, GrantId, OperationId};
use jeton_core::keep::attempt::Attempt;
use jeton_core::keep::connection::Connection;
use jeton_core::keep::consent::Consent;
use jeton_core::keep::ports::{ConsentKey, StoreError};
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;

use crate::rules::Closing;

/// A transaction as [`crate::refresh_writes`], [`crate::grant_writes`] and [`crate::consent_writes`] see it. Nobody else
/// changes what it finds until it ends.
pub(crate) trait WriteTx: Send {
    /// Why a call cannot be done.
    type Error: From<StoreError> + Send;

    /// The instant by the clock of the store.
    fn now(&self) -> Timestamp;

    /// The connection of that name.
    fn find(
        &mut self,
        name: &ConnectionName,
    ) -> impl Future<Output = Result<Option<Connection>, Self::Error>> + Send;

    /// The attempt that brought the token set of a connection.
    fn origin(
        &mut self,
        name: &ConnectionName,
    ) -> impl Future<Output = Result<Option<AttemptId>, Self::Error>> + Send;

    /// Writes what changed between `before` and `row` under the next revision; nothing, when nothing did.
    ///
    /// `attempt` is named as the origin of a token set that is new.
    fn save(
        &mut self,
        before: Option<&Connection>,
        row: Connection,
        attempt: Option<AttemptId>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Another connection than `name` that holds the refresh token of that fingerprint.
    fn other_holder(
        &mut self,
        refresh: Fingerprint,
        name: &ConnectionName,
    ) -> impl Future<Output = Result<Option<ConnectionName>, Self::Error>> + Send;

    /// The grant that was given its place last.
    fn last_grant(&mut self) -> impl Future<Output = Result<Option<GrantId>, Self::Error>> + Send;

    /// Remembers the grant that was given its place last.
    fn set_last_grant(&mut self, grant: GrantId) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The attempt of that id, and the grant that it was made under.
    fn attempt(
        &mut self,
        id: AttemptId,
    ) -> impl Future<Output = Result<Option<(Attempt, GrantId)>, Self::Error>> + Send;

    /// Writes an attempt, new or changed.
    fn write_attempt(
        &mut self,
        attempt: &Attempt,
        grant: GrantId,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Closes an attempt that is under way or open as interrupted. What is known of it stays.
    fn close_attempt(&mut self, closing: Closing) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The last attempt, of whatever connection, that spent this refresh token or may have.
    fn spender(
        &mut self,
        refresh: Fingerprint,
    ) -> impl Future<Output = Result<Option<AttemptId>, Self::Error>> + Send;

    /// Keeps a sealed reply with its attempt.
    fn keep_reply(
        &mut self,
        attempt: AttemptId,
        connection: &ConnectionName,
        reply: &[u8],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Drops the kept reply of an attempt: it was read after all.
    fn drop_reply(&mut self, attempt: AttemptId) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Drops all kept replies of a connection: its grant is given up.
    fn drop_replies(
        &mut self,
        connection: &ConnectionName,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Records an operator's command. Answers whether it is new.
    fn record_operation(
        &mut self,
        operation: OperationId,
        connection: &ConnectionName,
        act: &'static str,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Writes a row of the audit log, unless it is there.
    fn write_audit_row(&mut self, row: AuditRow) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The consent of that key.
    fn find_consent(
        &mut self,
        key: ConsentKey,
    ) -> impl Future<Output = Result<Option<Consent>, Self::Error>> + Send;

    /// Writes a consent, new or changed.
    fn write_consent(&mut self, consent: &Consent) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Forgets the consents whose links lapsed before that instant.
    fn forget_consents(&mut self, before: Timestamp) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// The outcome of a call of a store that never has to wait for an answer.
pub(crate) fn run_ready<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("such a store answers each question at once")
}
