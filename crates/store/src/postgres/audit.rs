//! The port `AuditLog`.

use async_trait::async_trait;
use jeton_core::audit::{AuditFilter, AuditLog, AuditRow};
use jeton_core::keep::ports::StoreError;

use super::PostgresStore;
use super::statement::Statement;
use super::table::capped;
use crate::rows::{self, AUDIT_COLUMNS};

/// Puts an act on record, in the transaction of the act.
pub(super) fn insert(row: &AuditRow) -> Statement {
    Statement::new(format!("INSERT INTO audit ({AUDIT_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)"))
        .bytes(&row.id.as_bytes()[..])
        .number(row.at.as_micros())
        .text(row.actor.to_string().as_str())
        .text(row.deed.as_str())
        .text(row.subject.as_str())
        .text(row.details.to_string().as_str())
}

#[async_trait]
impl AuditLog for PostgresStore {
    async fn audit(&self, filter: AuditFilter, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        let list = Statement::new(format!(
            "SELECT {AUDIT_COLUMNS} FROM audit
             WHERE ($1::bytea IS NULL OR id < $1) AND ($2::text IS NULL OR subject = $2) ORDER BY id DESC LIMIT $3"
        ))
        .bytes(filter.before.as_ref().map(|before| &before.as_bytes()[..]))
        .text(filter.subject.as_deref())
        .number(capped(limit));
        self.rows(&list).await?.iter().map(|row| rows::audit_row(row)).collect()
    }
}
