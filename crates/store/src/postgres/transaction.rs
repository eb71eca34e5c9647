//! Transactions that lock first and decide in a second round trip.

use jeton_core::time::Timestamp;
use tokio_postgres::Row;

use super::PostgresShared;
use super::connections_table;
use super::errors::PostgresError;
use super::session::Session;
use super::statement::Statement;

/// Begins, sends the statements that lock and read, and answers what the last of them found, and the instant after the locks
/// were had.
pub(super) async fn locked(
    shared: &PostgresShared,
    session: &mut Session<'_>,
    locks: impl IntoIterator<Item = Statement>,
) -> Result<(Vec<Row>, Timestamp), PostgresError> {
    let mut statements: Vec<_> = shared.sessions.begin().collect();
    statements.extend(locks);
    statements.push(Statement::new(connections_table::INSTANT));
    let mut answers = session.pipeline(&statements).await?;
    shared.sessions.begun(&answers)?;
    let instant = answers.pop().unwrap_or_default();
    let now = match &shared.clock {
        Some(clock) => clock.now(),
        None => connections_table::instant(&instant)?,
    };
    Ok((answers.pop().unwrap_or_default(), now))
}

/// Writes, ends the transaction and gives the connection back; answers the rows of each statement.
pub(super) async fn end(
    mut session: Session<'_>,
    mut statements: Vec<Statement>,
) -> Result<Vec<Vec<Row>>, PostgresError> {
    statements.push(Statement::new("COMMIT"));
    let mut answers = session.pipeline(&statements).await?;
    session.release();
    answers.pop();
    Ok(answers)
}
