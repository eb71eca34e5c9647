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
use super::errors::Failure;
use super::writer::Writing;
use super::{SqliteStore, audit, table};
use crate::rows::{self, Columns, NEXT_TOKEN_REVISION, SERVICE_TOKEN_COLUMNS, signed};

fn find(conn: &rusqlite::Connection, id: ServiceTokenId) -> Result<Option<ServiceToken>, Failure> {
    let sql = format!("SELECT {SERVICE_TOKEN_COLUMNS} FROM service_tokens WHERE id = ?");
    table::first(conn, &sql, params![id.as_bytes()], |row| rows::service_token(row))
}

/// The one of that id, which was written a moment ago.
fn found(conn: &rusqlite::Connection, id: ServiceTokenId) -> Result<ServiceToken, Failure> {
    find(conn, id)?.ok_or_else(|| rows::lost_token(id).into())
}

/// The row with this hash, whoever's it is.
fn holder(conn: &rusqlite::Connection, hash: &TokenHash) -> Result<Option<ServiceTokenId>, Failure> {
    let sql = "SELECT id FROM service_tokens WHERE hash = ?";
    table::first(conn, sql, params![hash.as_bytes()], |row| {
        Columns::new(row, "service_tokens").bytes("id", ServiceTokenId::from_bytes)
    })
}

fn insert(writing: &Writing<'_>, token: &ServiceToken) -> Result<(), Failure> {
    let mut insert = writing.conn.prepare_cached(&format!(
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

fn create(writing: &Writing<'_>, create: &Create) -> Result<CreateAnswer, Failure> {
    if let Some(made) = find(writing.conn, create.id)? {
        return Ok(CreateAnswer::Created(Box::new(made)));
    }
    if let Some(id) = holder(writing.conn, &create.hash)? {
        return Ok(CreateAnswer::Taken(id));
    }
    let token = ServiceToken::new(create.clone(), writing.now);
    insert(writing, &token)?;
    audit::insert(writing, &create.to_audit_row(&token))?;
    Ok(CreateAnswer::Created(Box::new(found(writing.conn, create.id)?)))
}

fn rotate(writing: &Writing<'_>, rotate: &Rotate) -> Result<RotateAnswer, Failure> {
    let Some(before) = find(writing.conn, rotate.of)? else { return Ok(RotateAnswer::Unknown) };
    if before.successor != Some(rotate.id) {
        let (old, new) = match before.rotated(rotate, writing.now) {
            Ok(both) => both,
            Err(over) => return Ok(RotateAnswer::Over(over)),
        };
        insert(writing, &new)?;
        let mut update = writing.conn.prepare_cached(&format!(
            "UPDATE service_tokens SET expires_at = ?, successor = ?, revision = {NEXT_TOKEN_REVISION} WHERE id = ?"
        ))?;
        let successor = old.successor.as_ref().map(ServiceTokenId::as_bytes);
        update.execute(params![old.expires_at.map(Timestamp::as_micros), successor, old.id.as_bytes()])?;
        audit::insert(writing, &rotate.to_audit_row(&old, &new))?;
    }
    let [old, new] = [rotate.of, rotate.id].map(|id| found(writing.conn, id).map(Box::new));
    Ok(RotateAnswer::Rotated { old: old?, new: new? })
}

fn revoke(writing: &Writing<'_>, revoke: &Revoke) -> Result<Option<ServiceToken>, Failure> {
    let mut update = writing.conn.prepare_cached(&format!(
        "UPDATE service_tokens SET revoked_at = ?, revision = {NEXT_TOKEN_REVISION} WHERE id = ? AND revoked_at IS NULL"
    ))?;
    let changed = update.execute(params![writing.now.as_micros(), revoke.id.as_bytes()])? > 0;
    let token = find(writing.conn, revoke.id)?;
    if let Some(revoked) = token.as_ref().filter(|_| changed) {
        audit::insert(writing, &revoke.to_audit_row(revoked, writing.now))?;
    }
    Ok(token)
}

fn touch(writing: &Writing<'_>, used: &[(ServiceTokenId, Timestamp)]) -> Result<(), Failure> {
    let mut update = writing.conn.prepare_cached(
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
        self.write(move |writing| create(writing, &order)).await
    }

    async fn rotate_token(&self, order: Rotate) -> Result<RotateAnswer, StoreError> {
        self.write(move |writing| rotate(writing, &order)).await
    }

    async fn revoke_token(&self, order: Revoke) -> Result<Option<ServiceToken>, StoreError> {
        self.write(move |writing| revoke(writing, &order)).await
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
                table::all(conn, &sql, params![after, capped(limit)], |row| rows::service_token(row))
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
                table::all(conn, &sql, params![signed(seen.0), capped(limit)], |row| rows::service_token(row))
            })
            .await
    }

    async fn touch_tokens(&self, used: Vec<(ServiceTokenId, Timestamp)>) -> Result<(), StoreError> {
        self.write(move |writing| touch(writing, &used)).await
    }
}
