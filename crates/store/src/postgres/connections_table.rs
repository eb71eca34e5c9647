//! Statements that load connections and attempts.

use std::sync::LazyLock;

use jeton_core::id::AttemptId;
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{ListedConnection, StoreError};
use jeton_core::time::Timestamp;
use tokio_postgres::Row;

use super::statement::Statement;
use crate::row_reader::{self, CONNECTION_COLUMNS, TOKEN_COLUMNS};

/// The most rows that one call answers, whatever it asks for.
const MAX_ROWS: usize = 10_000;

/// A limit as SQL takes it.
pub(super) fn capped(limit: usize) -> i64 {
    i64::try_from(limit.min(MAX_ROWS)).unwrap_or(0)
}

/// The instant of the statement that this stands in, unless the parameter says another. It is stable, so that an index can
/// be searched for it.
pub(super) const STATEMENT_INSTANT: &str =
    "coalesce($1, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint)";

/// The instant now. A transaction asks after it has its locks, for it may have waited for them.
pub(super) const INSTANT: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// Reads what [`INSTANT`] found.
pub(super) fn instant(rows: &[Row]) -> Result<Timestamp, StoreError> {
    let found = rows.first().and_then(|row| row.try_get::<_, i64>(0).ok());
    found.map(Timestamp::from_micros).ok_or_else(|| {
        let (what, row) = ("is missing".into(), "now".into());
        StoreError::Inconsistent { table: "(none)", column: "clock_timestamp", row, what }
    })
}

/// A connection, and the attempt that brought its token set.
#[derive(Clone, Debug)]
pub(super) struct StoredConnection {
    pub(super) row: Connection,
    pub(super) origin: Option<AttemptId>,
}

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

/// Loads the connections that `chosen` chooses, a SELECT of whole rows, with their token sets and strays: in one statement,
/// so that all of them are of one instant.
pub(super) fn select(chosen: &str, order: &str) -> String {
    format!(
        "SELECT {} FROM ({chosen}) AS c LEFT JOIN tokens AS t ON t.connection = c.name \
         LEFT JOIN strays AS s ON s.connection = c.name ORDER BY c.{order}, s.attempt",
        *JOINED_COLUMNS
    )
}

/// Loads the connections of these names.
pub(super) fn by_name<'n>(names: impl Iterator<Item = &'n str>) -> Statement {
    static SQL: LazyLock<String> =
        LazyLock::new(|| select("SELECT * FROM connections WHERE name = ANY ($1)", "name"));
    Statement::new(SQL.as_str()).texts(names.map(Some))
}

/// Reads what a [`select`] found: one connection after the other, a row for each of its strays.
pub(super) fn read(rows: &[Row]) -> Result<Vec<StoredConnection>, StoreError> {
    let mut found: Vec<StoredConnection> = Vec::new();
    for row in rows {
        let (mut connection, columns) = row_reader::connection(row)?;
        let mut columns = columns.of("tokens");
        let generation = columns.count_or_null("generation")?;
        let origin = columns.bytes_or_null("attempt", AttemptId::from_bytes)?;
        if let (Some(generation), Some(_)) = (generation, origin) {
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
        let stray = attempt.map(|attempt| row_reader::stray(attempt, &mut columns)).transpose()?;
        match found.last_mut() {
            Some(last) if last.row.name == connection.name => last.row.orphans.extend(stray),
            _ => {
                connection.orphans.extend(stray);
                found.push(StoredConnection { row: connection, origin });
            }
        }
    }
    Ok(found)
}

/// The connections alone.
pub(super) fn read_rows(rows: &[Row]) -> Result<Vec<Connection>, StoreError> {
    Ok(read(rows)?.into_iter().map(|held| held.row).collect())
}

/// Each connection alone, so that one that cannot be read keeps no other away.
pub(super) fn read_each(rows: &[Row]) -> Result<Vec<ListedConnection>, StoreError> {
    let name = |row: &Row| row.try_get::<_, String>(0).ok();
    let mut found = Vec::new();
    for of_one in rows.chunk_by(|one, next| name(one) == name(next)) {
        let read = read(of_one).map(|held| held.into_iter().map(|held| held.row).next());
        if let (Some(row), Some(read)) = (of_one.first(), read.transpose()) {
            found.push(row_reader::listed(row, read)?);
        }
    }
    Ok(found)
}
