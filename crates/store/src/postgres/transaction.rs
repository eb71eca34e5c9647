//! Transactions that lock first and decide in a second round trip.

use jeton_core::time::Timestamp;
use tokio_postgres::Row;

use super::Shared;
use super::errors::Failure;
use super::session::Session;
use super::statement::Statement;
use super::table;

/// Begins, sends the statements that lock and read, and answers what the last of them found, and the instant after the locks
/// were had.
pub(super) async fn locked(
    shared: &Shared,
    session: &mut Session<'_>,
    locks: impl IntoIterator<Item = Statement>,
) -> Result<(Vec<Row>, Timestamp), Failure> {
    let mut statements: Vec<_> = shared.sessions.begin().collect();
    statements.extend(locks);
    statements.push(Statement::new(table::INSTANT));
    let mut answers = session.together(&statements).await?;
    shared.sessions.begun(&answers)?;
    let instant = answers.pop().unwrap_or_default();
    let now = match &shared.clock {
        Some(clock) => clock.now(),
        None => table::instant(&instant)?,
    };
    Ok((answers.pop().unwrap_or_default(), now))
}

/// Writes, ends the transaction and gives the connection back; answers the rows of each statement.
pub(super) async fn end(
    mut session: Session<'_>,
    mut statements: Vec<Statement>,
) -> Result<Vec<Vec<Row>>, Failure> {
    statements.push(Statement::new("COMMIT"));
    let mut answers = session.together(&statements).await?;
    session.settle();
    answers.pop();
    Ok(answers)
}
