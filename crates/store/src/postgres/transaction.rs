//! A transaction: what is known to be needed is sent ahead with its BEGIN, and what is written goes with its COMMIT. So a
//! call costs two round trips.

use jeton_core::time::Timestamp;

use super::errors::PostgresError;
use super::session::Session;
use super::shared::PostgresShared;
use crate::sql::row_reader::RowReader;
use crate::sql::{Dialect, SqlRow, SqlTransaction, Statement};

/// What PostgreSQL says differently.
pub(super) const DIALECT: Dialect = Dialect {
    // It is stable, so that an index can be searched for it.
    now: "coalesce($1, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint)",
    drift: None,
    count_revision: None,
    next_revision: "nextval('revisions')",
    for_update: " FOR UPDATE",
    lock_service_tokens: Some("LOCK TABLE service_tokens IN SHARE ROW EXCLUSIVE MODE"),
};

/// The instant now. A transaction asks after it has its locks, for it may have waited for them.
pub(super) fn instant() -> Statement {
    Statement::new("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint", Vec::new())
}

/// Reads what [`instant`] found.
pub(super) fn read_instant(rows: &[SqlRow]) -> Result<Timestamp, PostgresError> {
    let row = rows.first().ok_or(PostgresError::Lost)?;
    Ok(RowReader::new(row, "(server)").instant("clock_timestamp")?)
}

/// A transaction under READ COMMITTED: each statement sees what was committed before it, so what is read after the locks are
/// had is what nobody else can change.
pub struct PostgresTx {
    session: Session,
    now: Timestamp,
    /// What was sent ahead, and found.
    prefetched: Vec<(Statement, Vec<SqlRow>)>,
    /// What is sent with the next query, or with the COMMIT.
    pending: Vec<Statement>,
    /// Whether a connection was changed.
    pub(super) changed: bool,
}

impl PostgresTx {
    /// Begins, and sends `first`: locks, and queries whose rows are kept until they are asked for.
    pub(super) async fn begin(shared: &PostgresShared, first: &[Statement]) -> Result<Self, PostgresError> {
        let mut session = shared.sessions.acquire().await?;
        let mut statements = shared.sessions.begin();
        let begun = statements.len();
        statements.extend_from_slice(first);
        if shared.clock.is_none() {
            statements.push(instant());
        }
        let mut answers = session.pipeline(&statements).await?;
        shared.sessions.verify_begun(&answers)?;
        let now = match &shared.clock {
            Some(clock) => clock.now(),
            None => read_instant(&answers.pop().unwrap_or_default())?,
        };
        let prefetched = first.iter().cloned().zip(answers.split_off(begun)).collect();
        Ok(Self { session, now, prefetched, pending: Vec::new(), changed: false })
    }

    /// Commits, and gives the connection back.
    pub(super) async fn commit(mut self) -> Result<(), PostgresError> {
        self.pending.push(Statement::new("COMMIT", Vec::new()));
        self.session.pipeline(&self.pending).await?;
        self.session.release();
        Ok(())
    }

    /// Undoes what was sent, and gives the connection back.
    pub(super) async fn roll_back(self) {
        self.session.rollback().await;
    }
}

impl SqlTransaction for PostgresTx {
    type Error = PostgresError;

    const DIALECT: &'static Dialect = &DIALECT;

    fn now(&self) -> Timestamp {
        self.now
    }

    async fn query(&mut self, statement: Statement) -> Result<Vec<SqlRow>, PostgresError> {
        if let Some(at) = self.prefetched.iter().position(|(sent, _)| *sent == statement) {
            return Ok(self.prefetched.swap_remove(at).1);
        }
        let mut statements = std::mem::take(&mut self.pending);
        statements.push(statement);
        let mut answers = self.session.pipeline(&statements).await?;
        Ok(answers.pop().unwrap_or_default())
    }

    async fn execute(&mut self, statement: Statement) -> Result<(), PostgresError> {
        self.pending.push(statement);
        Ok(())
    }

    fn note_change(&mut self) {
        self.changed = true;
    }
}
