//! Connections with their token sets and orphan replies, loaded in one statement, so that all of them are of one instant.

use std::sync::LazyLock;

use jeton_core::id::{AttemptId, ConnectionName};
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{ListedConnection, StoreError};

use super::records::{self, CONNECTION_COLUMNS};
use super::row_reader::{SqlRow, TOKEN_COLUMNS};
use super::statement::{Statement, Value, values};

static JOINED_COLUMNS: LazyLock<String> = LazyLock::new(|| {
    let of = |table: &str, columns: &str| {
        let columns: Vec<_> = columns.split(", ").map(|column| format!("{table}.{column}")).collect();
        columns.join(", ")
    };
    format!(
        "{}, t.generation, t.attempt, {}, s.attempt, s.grant_id, s.generation, {}",
        of("c", CONNECTION_COLUMNS),
        of("t", TOKEN_COLUMNS),
        of("s", TOKEN_COLUMNS)
    )
});

/// Loads the connections that `chosen` chooses, a SELECT of whole rows. `also` is one more column of them.
pub(crate) fn select(chosen: &str, order: &str, also: Option<&str>, parameters: Vec<Value>) -> Statement {
    let also = also.map_or(String::new(), |column| format!(", c.{column}"));
    let sql = format!(
        "SELECT {}{also} FROM ({chosen}) AS c LEFT JOIN tokens AS t ON t.connection = c.name \
         LEFT JOIN strays AS s ON s.connection = c.name ORDER BY c.{order}, s.attempt",
        *JOINED_COLUMNS
    );
    Statement::new(sql, parameters)
}

/// Loads the connection of that name.
pub(crate) fn by_name(name: &ConnectionName, also: Option<&str>) -> Statement {
    select("SELECT * FROM connections WHERE name = $1", "name", also, values![name])
}

/// Reads what a [`select`] found: one connection after the other, a row for each of its orphan replies.
pub(crate) fn read(rows: &[SqlRow]) -> Result<Vec<Connection>, StoreError> {
    let mut found: Vec<Connection> = Vec::new();
    for row in rows {
        let (mut connection, columns) = records::connection(row)?;
        let mut columns = columns.of("tokens");
        let generation = columns.count_or_null("generation")?;
        columns.skip(1);
        if let Some(generation) = generation {
            if generation != connection.generation.0 {
                return Err(StoreError::Inconsistent {
                    table: "tokens",
                    column: "generation",
                    row: connection.name.to_string(),
                    what: format!("is {generation}, and the connection has {}", connection.generation.0),
                });
            }
            connection.tokens = Some(columns.tokens()?);
        } else {
            columns.skip(TOKEN_COLUMNS.split(", ").count());
        }
        let mut columns = columns.of("strays");
        let attempt = columns.bytes_or_null("attempt", AttemptId::from_bytes)?;
        let orphan = attempt.map(|attempt| records::orphan(attempt, &mut columns)).transpose()?;
        match found.last_mut() {
            Some(last) if last.name == connection.name => last.orphans.extend(orphan),
            _ => {
                connection.orphans.extend(orphan);
                found.push(connection);
            }
        }
    }
    Ok(found)
}

/// Each connection by itself, so that one that cannot be read keeps no other away.
pub(crate) fn read_each(rows: &[SqlRow]) -> Result<Vec<ListedConnection>, StoreError> {
    let mut found = Vec::new();
    for of_one in rows.chunk_by(|one, next| one.0.first() == next.0.first()) {
        let read = read(of_one).map(|rows| rows.into_iter().next());
        if let (Some(row), Some(read)) = (of_one.first(), read.transpose()) {
            found.push(records::listed(row, read)?);
        }
    }
    Ok(found)
}
