//! Statements of PostgreSQL and the rows that they find. Statements are never prepared by name, so that a pooler of
//! transactions may stand between, and are sent together, so that a transaction costs round trips and not statements.

use futures_util::future::join_all;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::errors::PostgresError;
use crate::sql::statement::Value;
use crate::sql::{SqlRow, Statement};

/// The most statements that are sent together; the driver sends so many in their order.
const MAX_PIPELINED: usize = 30;

/// Sends the statements in one go, and answers the rows of each. The first error is the one that counts: those after it
/// only say that the transaction is lost.
pub(super) async fn pipeline(
    client: &Client,
    statements: &[Statement],
) -> Result<Vec<Vec<SqlRow>>, PostgresError> {
    debug_assert!(statements.len() <= MAX_PIPELINED, "more would be sent out of order");
    let sent = statements.iter().map(|statement| async move {
        let parameters: Vec<_> = statement.parameters.iter().map(parameter).collect();
        client.query_typed(&statement.sql, &parameters).await
    });
    let answers: Vec<Vec<Row>> = join_all(sent).await.into_iter().collect::<Result<_, _>>()?;
    answers.iter().map(|rows| rows.iter().map(read).collect()).collect()
}

/// A parameter as the driver takes it.
fn parameter(value: &Value) -> (&(dyn ToSql + Sync), Type) {
    match value {
        Value::Number(number) | Value::Instant(number) => (number, Type::INT8),
        Value::Text(text) => (text, Type::TEXT),
        Value::Bytes(bytes) => (bytes, Type::BYTEA),
        Value::Bool(truth) => (truth, Type::BOOL),
    }
}

fn read(row: &Row) -> Result<SqlRow, PostgresError> {
    let cell = |(at, column): (usize, &tokio_postgres::Column)| {
        Ok(match *column.type_() {
            Type::INT8 => Value::Number(row.try_get(at)?),
            Type::BYTEA => Value::Bytes(row.try_get(at)?),
            Type::BOOL => row.try_get::<_, Option<bool>>(at)?.map_or(Value::Number(None), Value::Bool),
            _ => Value::Text(row.try_get(at)?),
        })
    };
    Ok(SqlRow(row.columns().iter().enumerate().map(cell).collect::<Result<_, PostgresError>>()?))
}
