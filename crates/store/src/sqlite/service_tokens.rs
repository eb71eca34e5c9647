//! The port `ServiceTokenStore`.

use async_trait::async_trait;
use jeton_core::access::ports::USES_APART;
use jeton_core::access::{
    Create, CreateAnswer, Revoke, Rotate, RotateAnswer, ServiceToken, ServiceTokenId, ServiceTokenStore,
    TokenHash, TokenRevision,
};
use jeton_core::keep::ports::StoreError;
use jeton_core::time::Timestamp;
use rusqlite::{named_params, params};

use super::connections::capped;
use super::errors::SqliteError;
use super::writer::SqliteTx;
use super::{SqliteStore, audit, connections_table};
use crate::row_reader::{self, NEXT_TOKEN_REVISION, RowReader, SERVICE_TOKEN_COLUMNS, signed};

fn find(conn: &rusqlite::Connection, id: ServiceTokenId) -> Result<Option<ServiceToken>, SqliteError> {
    let sql = format!("SELECT {SERVICE_TOKEN_COLUMNS} FROM service_tokens WHERE id = ?");
    connections_table::first(conn, &sql, params![id.as_bytes()], |row| row_reader::service_token(row))
}

/// The one of that id, which was written a reading ago.
fn found(conn: &rusqlite::Connection, id: ServiceTokenId) -> Result<ServiceToken, SqliteError> {
    find(conn, id)?.ok_or_else(|| row_reader::lost_token(id).into())
}

/// The row with this hash, whoever's it is.
fn holder(conn: &rusqlite::Connection, hash: &TokenHash) -> Result<Option<ServiceTokenId>, SqliteError> {
    let sql = "SELECT id FROM service_tokens WHERE hash = ?";
    connections_table::first(conn, sql, params![hash.as_bytes()], |row| {
        RowReader::new(row, "service_tokens").bytes("id", ServiceTokenId::from_bytes)
    })
}

fn insert(tx: &SqliteTx<'_>, token: &ServiceToken) -> Result<(), SqliteError> {
    let mut insert = tx.conn.prepare_cached(&format!(
        "INSERT INTO service_tokens (id, service, hash, scopes, notes, created_at, expires_at, revision)
         VALUES (:id, :service, :hash, :scopes, :notes, :created_at, :expires_at, {NEXT_TOKEN_REVISION})"
    ))?;
    insert.execute(named_params! {
        ":id": token.id.as_bytes(),
        ":service": token.service.as_str(),
        ":hash": token.hash.as_bytes(),
        ":scopes": token.scopes.to_string(),
        ":notes": token.notes,
        ":created_at": token.created_at.as_micros(),
        ":expires_at": token.expires_at.map(Timestamp::as_micros),
    })?;
    Ok(())
}

fn create(tx: &SqliteTx<'_>, create: &Create) -> Result<CreateAnswer, SqliteError> {
    if let Some(made) = find(tx.conn, create.id)? {
        return Ok(CreateAnswer::Created(Box::new(made)));
    }
    if let Some(id) = holder(tx.conn, &create.hash)? {
        return Ok(CreateAnswer::Taken(id));
    }
    let token = ServiceToken::new(create.clone(), tx.now);
    insert(tx, &token)?;
    audit::insert(tx, &create.to_audit_row(&token))?;
    Ok(CreateAnswer::Created(Box::new(found(tx.conn, create.id)?)))
}

fn rotate(tx: &SqliteTx<'_>, rotate: &Rotate) -> Result<RotateAnswer, SqliteError> {
    let Some(before) = find(tx.conn, rotate.of)? else { return Ok(RotateAnswer::Unknown) };
    if before.successor != Some(rotate.id) {
        let (old, new) = match before.rotated(rotate, tx.now) {
            Ok(both) => both,
            Err(over) => return Ok(RotateAnswer::Refused(over)),
        };
        insert(tx, &new)?;
        let mut update = tx.conn.prepare_cached(&format!(
            "UPDATE service_tokens SET expires_at = ?, successor = ?, revision = {NEXT_TOKEN_REVISION} WHERE id = ?"
        ))?;
        let successor = old.successor.as_ref().map(ServiceTokenId::as_bytes);
        update.execute(params![old.expires_at.map(Timestamp::as_micros), successor, old.id.as_bytes()])?;
        audit::insert(tx, &rotate.to_audit_row(&old, &new))?;
    }
    let [old, new] = [rotate.of, rotate.id].map(|id| found(tx.conn, id).map(Box::new));
    Ok(RotateAnswer::Rotated { old: old?, new: new? })
}

fn revoke(tx: &SqliteTx<'_>, revoke: &Revoke) -> Result<Option<ServiceToken>, SqliteError> {
    let mut update = tx.conn.prepare_cached(&format!(
        "UPDATE service_tokens SET revoked_at = ?, revision = {NEXT_TOKEN_REVISION} WHERE id = ? AND revoked_at IS NULL"
    ))?;
    let changed = update.execute(params![tx.now.as_micros(), revoke.id.as_bytes()])? > 0;
    let token = find(tx.conn, revoke.id)?;
    if let Some(revoked) = token.as_ref().filter(|_| changed) {
        audit::insert(tx, &revoke.to_audit_row(revoked, tx.now))?;
    }
    Ok(token)
}

fn touch(tx: &SqliteTx<'_>, used: &[(ServiceTokenId, Timestamp)]) -> Result<(), SqliteError> {
    let mut update = tx.conn.prepare_cached(
        "UPDATE service_tokens SET last_used_at = :at
         WHERE id = :id AND (last_used_at IS NULL OR last_used_at <= :before)",
    )?;
    for (id, at) in used {
        update.execute(named_params! {
            ":id": id.as_bytes(),
            ":at": at.as_micros(),
            ":before": (*at - USES_APART).as_micros(),
        })?;
    }
    Ok(())
}

#[async_trait]
impl ServiceTokenStore for SqliteStore {
    async fn create_token(&self, order: Create) -> Result<CreateAnswer, StoreError> {
        self.write(move |tx| create(tx, &order)).await
    }

    async fn rotate_token(&self, order: Rotate) -> Result<RotateAnswer, StoreError> {
        self.write(move |tx| rotate(tx, &order)).await
    }

    async fn revoke_token(&self, order: Revoke) -> Result<Option<ServiceToken>, StoreError> {
        self.write(move |tx| revoke(tx, &order)).await
    }

    async fn list_tokens(
        &self,
        after: Option<ServiceTokenId>,
        limit: usize,
    ) -> Result<Vec<ServiceToken>, StoreError> {
        let after = after.map_or(Vec::new(), |after| after.as_bytes().to_vec());
        let sql =
            format!("SELECT {SERVICE_TOKEN_COLUMNS} FROM service_tokens WHERE id > ? ORDER BY id LIMIT ?");
        self.readers
            .read(move |conn| {
                connections_table::all(conn, &sql, params![after, capped(limit)], |row| {
                    row_reader::service_token(row)
                })
            })
            .await
    }

    async fn tokens_changed_since(
        &self,
        seen: TokenRevision,
        limit: usize,
    ) -> Result<Vec<ServiceToken>, StoreError> {
        let sql = format!(
            "SELECT {SERVICE_TOKEN_COLUMNS} FROM service_tokens WHERE revision > ? ORDER BY revision LIMIT ?"
        );
        self.readers
            .read(move |conn| {
                connections_table::all(conn, &sql, params![signed(seen.0), capped(limit)], |row| {
                    row_reader::service_token(row)
                })
            })
            .await
    }

    async fn touch_tokens(&self, used: Vec<(ServiceTokenId, Timestamp)>) -> Result<(), StoreError> {
        self.write(move |tx| touch(tx, &used)).await
    }
}
