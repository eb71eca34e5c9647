//! The port `AuditLog`.

use async_trait::async_trait;
use jeton_core::audit::{AuditFilter, AuditLog, AuditRow};
use jeton_core::keep::ports::{Invite, StoreError};
use jeton_core::time::Timestamp;

use super::PostgresStore;
use super::connections_table::capped;
use super::statement::Statement;
use crate::row_reader::{self, AUDIT_COLUMNS};

/// Puts acts on record, in the transaction of the acts, unless they are there.
pub(super) fn insert(record: &[AuditRow]) -> Statement {
    let written = |row: &AuditRow| [row.actor.to_string(), row.details.to_string()];
    let written: Vec<_> = record.iter().map(written).collect();
    Statement::new(format!(
        "INSERT INTO audit ({AUDIT_COLUMNS}) SELECT * FROM unnest($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING"
    ))
    .blobs(record.iter().map(|row| Some(&row.id.as_bytes()[..])))
    .numbers(record.iter().map(|row| Some(row.at.as_micros())))
    .texts(written.iter().map(|[actor, _]| Some(actor.as_str())))
    .texts(record.iter().map(|row| Some(row.action.as_str())))
    .texts(record.iter().map(|row| Some(row.subject.as_str())))
    .texts(written.iter().map(|[_, details]| Some(details.as_str())))
}

/// Puts a link on record that the same transaction has made. Its instant is that of the database.
pub(super) fn insert_invited(invite: &Invite) -> Statement {
    let row = invite.to_audit_row(Timestamp::default());
    Statement::new(format!(
        "INSERT INTO audit ({AUDIT_COLUMNS}) SELECT id, created_at, $2, $3, $4, $5 FROM consents WHERE id = $1
         ON CONFLICT (id) DO NOTHING"
    ))
    .bytes(&row.id.as_bytes()[..])
    .text(row.actor.to_string().as_str())
    .text(row.action.as_str())
    .text(row.subject.as_str())
    .text(row.details.to_string().as_str())
}

/// The rows of a subject are found by its index, those of all by their ids.
fn list(filter: &AuditFilter, limit: usize) -> Statement {
    let subject = if filter.subject.is_some() { "subject = $2" } else { "$2::text IS NULL" };
    Statement::new(format!(
        "SELECT {AUDIT_COLUMNS} FROM audit WHERE {subject} AND ($1::bytea IS NULL OR id < $1) ORDER BY id DESC LIMIT $3"
    ))
    .bytes(filter.before.as_ref().map(|before| &before.as_bytes()[..]))
    .text(filter.subject.as_deref())
    .number(capped(limit))
}

#[async_trait]
impl AuditLog for PostgresStore {
    async fn list_audit_rows(&self, filter: AuditFilter, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        self.rows(&list(&filter, limit)).await?.iter().map(|row| row_reader::audit_row(row)).collect()
    }
}
