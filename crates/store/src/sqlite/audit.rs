//! The port `AuditLog`.

use async_trait::async_trait;
use jeton_core::audit::{AuditFilter, AuditLog, AuditRow};
use jeton_core::keep::ports::StoreError;
use rusqlite::named_params;

use super::connections::capped;
use super::errors::SqliteError;
use super::writer::SqliteTx;
use super::{SqliteStore, connections_table};
use crate::row_reader::{self, AUDIT_COLUMNS};

/// After every id that jeton makes.
const LAST_ID: &str = "x'ffffffffffffffffffffffffffffffff'";

/// Puts an act on record, in the transaction of the act, unless it is there.
pub(super) fn insert(tx: &SqliteTx<'_>, row: &AuditRow) -> Result<(), SqliteError> {
    let mut insert = tx.conn.prepare_cached(&format!(
        "INSERT INTO audit ({AUDIT_COLUMNS}) VALUES (:id, :at, :actor, :deed, :subject, :details)
         ON CONFLICT (id) DO NOTHING"
    ))?;
    insert.execute(named_params! {
        ":id": row.id.as_bytes(),
        ":at": row.at.as_micros(),
        ":actor": row.actor.to_string(),
        ":deed": row.action.as_str(),
        ":subject": row.subject,
        ":details": row.details.to_string(),
    })?;
    Ok(())
}

/// The rows of a subject are found by its index, those of all by their ids.
fn list_sql(of_one: bool) -> String {
    let subject = if of_one { "subject = :subject" } else { ":subject IS NULL" };
    format!(
        "SELECT {AUDIT_COLUMNS} FROM audit WHERE {subject} AND id < coalesce(:before, {LAST_ID})
         ORDER BY id DESC LIMIT :limit"
    )
}

#[async_trait]
impl AuditLog for SqliteStore {
    async fn list_audit_rows(&self, filter: AuditFilter, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        let sql = list_sql(filter.subject.is_some());
        self.readers
            .read(move |conn| {
                let bound = named_params! {
                    ":before": filter.before.as_ref().map(|before| &before.as_bytes()[..]),
                    ":subject": filter.subject,
                    ":limit": capped(limit),
                };
                connections_table::all(conn, &sql, bound, |row| row_reader::audit_row(row))
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jeton_core::time::Timestamp;

    use super::super::migrate::{MIGRATIONS, migrate};
    use super::*;

    #[test]
    fn the_rows_of_a_subject_and_those_of_all_are_found_by_an_index_and_in_their_order() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        migrate(&conn, std::path::Path::new("x"), MIGRATIONS, Timestamp::default(), Duration::ZERO).unwrap();
        let plan = |of_one| {
            let sql = format!("EXPLAIN QUERY PLAN {}", list_sql(of_one));
            let mut statement = conn.prepare(&sql).unwrap();
            let mut rows = statement.raw_query();
            let mut details = String::new();
            while let Some(row) = rows.next().unwrap() {
                details.push_str(&row.get::<_, String>("detail").unwrap());
                details.push_str("; ");
            }
            details
        };
        let (all, one) = (plan(false), plan(true));
        assert!(all.contains("SEARCH audit USING PRIMARY KEY (id<?)"), "{all}");
        assert!(one.contains("INDEX audit_by_subject (subject=? AND id<?)"), "{one}");
        assert!(!(all + &one).contains("TEMP B-TREE"), "no sorting: {one}");
    }
}
