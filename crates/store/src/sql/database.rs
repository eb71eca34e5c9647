//! What a database brings to the store over it: its dialect, a way to read, and transactions.

use futures_util::future::BoxFuture;
use jeton_core::clocks::StoreReading;
use jeton_core::keep::ports::StoreError;
use jeton_core::time::Timestamp;

use super::row_reader::SqlRow;
use super::statement::Statement;

/// What the databases say differently.
#[derive(Debug)]
pub struct Dialect {
    /// The instant of a statement that only reads, whose parameter `$1` is [`Database::now_of_reads`].
    pub(crate) now: &'static str,
    /// Where rows of earlier versions keep how far the steady clock was ahead of their instants, the name of that column.
    pub(crate) drift: Option<&'static str>,
    /// What counts the revision of the store up, where that is a statement of its own.
    pub(crate) count_revision: Option<&'static str>,
    /// The revision of a row that is written.
    pub(crate) next_revision: &'static str,
    /// What locks the rows that a SELECT finds, until its transaction ends.
    pub(crate) for_update: &'static str,
    /// What keeps others from writing service tokens until the transaction ends.
    pub(crate) lock_service_tokens: Option<&'static str>,
}

/// A database with the tables of a store.
pub trait Database: Send + Sync + 'static {
    /// Its transactions.
    type Tx: SqlTransaction;

    /// The instant for a statement that only reads, absent where the database's own clock decides.
    fn now_of_reads(&self) -> Option<Timestamp>;

    /// The rows that a statement finds, outside of a transaction.
    fn read(&self, statement: Statement) -> impl Future<Output = Result<Vec<SqlRow>, StoreError>> + Send;

    /// The same, and the instant by the clock of the store.
    fn read_with_now(
        &self,
        statement: Statement,
    ) -> impl Future<Output = Result<(Vec<SqlRow>, Timestamp), StoreError>> + Send;

    /// The instant by the clock of the store.
    fn clock(&self) -> impl Future<Output = Result<StoreReading, StoreError>> + Send;

    /// Runs `work` in a transaction, which is committed unless it fails. It may be run again, and goes on when the caller
    /// stops waiting. `first` are the locks that it needs and the queries that it begins with: a database behind a network
    /// sends them ahead in one go.
    fn write<R: Send + Sync + 'static, T: Send + 'static>(
        &self,
        first: Vec<Statement>,
        request: R,
        work: Work<Self::Tx, R, T>,
    ) -> impl Future<Output = Result<T, StoreError>> + Send;

    /// As [`jeton_core::keep::ports::Maintenance::is_copy`].
    fn is_copy(&self) -> impl Future<Output = Result<bool, StoreError>> + Send {
        std::future::ready(Ok(false))
    }

    /// What records that the database belongs where it is.
    fn record_identity(&self) -> impl Future<Output = Result<Vec<Statement>, StoreError>> + Send {
        std::future::ready(Ok(Vec::new()))
    }
}

/// What is done in a transaction for a request.
pub type Work<X, R, T> =
    for<'t> fn(&'t mut X, &'t R) -> BoxFuture<'t, Result<T, <X as SqlTransaction>::Error>>;

/// A transaction of a [`Database`].
pub trait SqlTransaction: Send + 'static {
    /// Why a statement failed.
    type Error: From<StoreError> + Send + 'static;

    /// What its database says differently.
    const DIALECT: &'static Dialect;

    /// The instant by the clock of the store, after the locks were had.
    fn now(&self) -> Timestamp;

    /// The rows that a statement finds.
    fn query(
        &mut self,
        statement: Statement,
    ) -> impl Future<Output = Result<Vec<SqlRow>, Self::Error>> + Send;

    /// Runs a statement whose rows nobody needs. It may be sent with those that follow it.
    fn execute(&mut self, statement: Statement) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// A connection was changed: whoever follows the store will be woken.
    fn note_change(&mut self) {}
}
