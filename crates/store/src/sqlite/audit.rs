//! The port `AuditLog`.

use async_trait::async_trait;
use jeton_core::audit::{AuditFilter, AuditLog, AuditRow};
use jeton_core::keep::ports::StoreError;
use rusqlite::named_params;

use super::connections::capped;
use super::errors::Failure;
use super::writer::Writing;
use super::{SqliteStore, table};
use crate::rows::{self, AUDIT_COLUMNS};

/// Puts an act on record, in the transaction of the act.
pub(super) fn insert(writing: &Writing<'_>, row: &AuditRow) -> Result<(), Failure> {
    let mut insert = writing.conn.prepare_cached(&format!(
        "INSERT INTO audit ({AUDIT_COLUMNS}) VALUES (:id, :at, :actor, :deed, :subject, :details)"
    ))?;
    insert.execute(named_params! {
        ":id": row.id.as_bytes(),
        ":at": row.at.as_micros(),
        ":actor": row.actor.to_string(),
        ":deed": row.deed.as_str(),
        ":subject": row.subject,
        ":details": row.details.to_string(),
    })?;
    Ok(())
}

#[async_trait]
impl AuditLog for SqliteStore {
    async fn audit(&self, filter: AuditFilter, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        let sql = format!(
            "SELECT {AUDIT_COLUMNS} FROM audit
             WHERE (:before IS NULL OR id < :before) AND (:subject IS NULL OR subject = :subject)
             ORDER BY id DESC LIMIT :limit"
        );
        self.readers
            .read(move |conn| {
                let bound = named_params! {
                    ":before": filter.before.as_ref().map(|before| &before.as_bytes()[..]),
                    ":subject": filter.subject,
                    ":limit": capped(limit),
                };
                table::all(conn, &sql, bound, |row| rows::audit_row(row))
            })
            .await
    }
}
