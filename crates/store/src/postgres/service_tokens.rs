//! The port `ServiceTokenStore`. Whoever gives a revision locks the table first, so that changes become visible in the order of
//! their revisions; readers do not wait for it.

use async_trait::async_trait;
use jeton_core::access::ports::USES_APART;
use jeton_core::access::{
    Create, CreateAnswer, Revoke, Rotate, RotateAnswer, ServiceToken, ServiceTokenId, ServiceTokenStore,
    TokenRevision,
};
use jeton_core::keep::ports::StoreError;
use jeton_core::time::Timestamp;
use tokio_postgres::Row;

use super::connections_table::capped;
use super::errors::PostgresError;
use super::statement::Statement;
use super::transaction::{end, locked};
use super::{PostgresShared, PostgresStore, audit};
use crate::row_reader::{self, NEXT_TOKEN_REVISION, SERVICE_TOKEN_COLUMNS, micros, signed};

/// Keeps everybody else from writing to the table until the transaction ends.
const LOCK: &str = "LOCK TABLE service_tokens IN SHARE ROW EXCLUSIVE MODE";

fn read(rows: &[Row]) -> Result<Vec<ServiceToken>, StoreError> {
    rows.iter().map(|row| row_reader::service_token(row)).collect()
}

fn of_id(tokens: &[ServiceToken], id: ServiceTokenId) -> Option<&ServiceToken> {
    tokens.iter().find(|token| token.id == id)
}

/// The one of that id, which was written before.
fn found(tokens: &[ServiceToken], id: ServiceTokenId) -> Result<Box<ServiceToken>, PostgresError> {
    Ok(Box::new(of_id(tokens, id).ok_or_else(|| row_reader::lost_token(id))?.clone()))
}

fn insert(token: &ServiceToken) -> Statement {
    Statement::new(format!(
        "INSERT INTO service_tokens (id, service, hash, scopes, notes, created_at, expires_at, revision)
         VALUES ($1, $2, $3, $4, $5, $6, $7, {NEXT_TOKEN_REVISION}) RETURNING {SERVICE_TOKEN_COLUMNS}"
    ))
    .bytes(&token.id.as_bytes()[..])
    .text(token.service.as_str())
    .bytes(&token.hash.as_bytes()[..])
    .text(token.scopes.to_string().as_str())
    .text(token.notes.as_deref())
    .number(token.created_at.as_micros())
    .number(token.expires_at.map(Timestamp::as_micros))
}

fn replace(old: &ServiceToken) -> Statement {
    Statement::new(format!(
        "UPDATE service_tokens SET expires_at = $2, successor = $3, revision = {NEXT_TOKEN_REVISION} WHERE id = $1
         RETURNING {SERVICE_TOKEN_COLUMNS}"
    ))
    .bytes(&old.id.as_bytes()[..])
    .number(old.expires_at.map(Timestamp::as_micros))
    .bytes(old.successor.as_ref().map(|successor| &successor.as_bytes()[..]))
}

async fn create(shared: &PostgresShared, create: &Create) -> Result<CreateAnswer, PostgresError> {
    let mut session = shared.sessions.acquire().await?;
    let look = Statement::new(format!(
        "SELECT {SERVICE_TOKEN_COLUMNS} FROM service_tokens WHERE id = $1 OR hash = $2"
    ))
    .bytes(&create.id.as_bytes()[..])
    .bytes(&create.hash.as_bytes()[..]);
    let (rows, now) = locked(shared, &mut session, [Statement::new(LOCK), look]).await?;
    let there = read(&rows)?;
    let made = of_id(&there, create.id).cloned();
    if let Some(other) = there.first() {
        end(session, Vec::new()).await?;
        let taken = CreateAnswer::Taken(other.id);
        return Ok(made.map_or(taken, |made| CreateAnswer::Created(Box::new(made))));
    }
    let token = ServiceToken::new(create.clone(), now);
    let statements = vec![insert(&token), audit::insert(&[create.to_audit_row(&token)])];
    let answers = end(session, statements).await?;
    Ok(CreateAnswer::Created(found(&read(&answers.concat())?, create.id)?))
}

async fn rotate(shared: &PostgresShared, rotate: &Rotate) -> Result<RotateAnswer, PostgresError> {
    let mut session = shared.sessions.acquire().await?;
    let look =
        Statement::new(format!("SELECT {SERVICE_TOKEN_COLUMNS} FROM service_tokens WHERE id = ANY ($1)"))
            .blobs([rotate.of, rotate.id].iter().map(|id| Some(&id.as_bytes()[..])));
    let (rows, now) = locked(shared, &mut session, [Statement::new(LOCK), look]).await?;
    let mut tokens = read(&rows)?;
    let Some(before) = of_id(&tokens, rotate.of) else {
        end(session, Vec::new()).await?;
        return Ok(RotateAnswer::Unknown);
    };
    let mut statements = Vec::new();
    let again = before.successor == Some(rotate.id);
    if !again {
        match before.rotated(rotate, now) {
            Ok((old, new)) => {
                statements.extend([
                    insert(&new),
                    replace(&old),
                    audit::insert(&[rotate.to_audit_row(&old, &new)]),
                ]);
            }
            Err(over) => {
                end(session, Vec::new()).await?;
                return Ok(RotateAnswer::Refused(over));
            }
        }
    }
    let answers = end(session, statements).await?;
    if !again {
        tokens = read(&answers.concat())?;
    }
    Ok(RotateAnswer::Rotated { old: found(&tokens, rotate.of)?, new: found(&tokens, rotate.id)? })
}

async fn revoke(shared: &PostgresShared, revoke: &Revoke) -> Result<Option<ServiceToken>, PostgresError> {
    let mut session = shared.sessions.acquire().await?;
    let look = Statement::new(format!("SELECT {SERVICE_TOKEN_COLUMNS} FROM service_tokens WHERE id = $1"))
        .bytes(&revoke.id.as_bytes()[..]);
    let (rows, now) = locked(shared, &mut session, [Statement::new(LOCK), look]).await?;
    let found = read(&rows)?.pop();
    let Some(token) = found.as_ref().filter(|token| token.revoked_at.is_none()) else {
        end(session, Vec::new()).await?;
        return Ok(found);
    };
    let update = Statement::new(format!(
        "UPDATE service_tokens SET revoked_at = $2, revision = {NEXT_TOKEN_REVISION} WHERE id = $1
         RETURNING {SERVICE_TOKEN_COLUMNS}"
    ))
    .bytes(&revoke.id.as_bytes()[..])
    .number(now.as_micros());
    let answers = end(session, vec![update, audit::insert(&[revoke.to_audit_row(token, now)])]).await?;
    Ok(read(&answers.concat())?.pop())
}

/// Locks the rows in the order of their ids, so that two nodes that note the same tokens never wait for each other.
fn touch(used: &[(ServiceTokenId, Timestamp)]) -> Statement {
    Statement::new(
        "WITH due AS (
            SELECT token.id, used.at FROM service_tokens AS token
            JOIN (SELECT id, max(at) AS at FROM unnest($1, $2) AS one (id, at) GROUP BY id) AS used
                ON used.id = token.id
            WHERE token.last_used_at IS NULL OR token.last_used_at <= used.at - $3
            ORDER BY token.id FOR UPDATE OF token
         )
         UPDATE service_tokens AS token SET last_used_at = due.at FROM due WHERE token.id = due.id",
    )
    .blobs(used.iter().map(|(id, _)| Some(&id.as_bytes()[..])))
    .numbers(used.iter().map(|(_, at)| Some(at.as_micros())))
    .number(micros(USES_APART))
}

#[async_trait]
impl ServiceTokenStore for PostgresStore {
    async fn create_token(&self, order: Create) -> Result<CreateAnswer, StoreError> {
        let (shared, order) = (&*self.shared, &order);
        shared.retry(|| create(shared, order)).await
    }

    async fn rotate_token(&self, order: Rotate) -> Result<RotateAnswer, StoreError> {
        let (shared, order) = (&*self.shared, &order);
        shared.retry(|| rotate(shared, order)).await
    }

    async fn revoke_token(&self, order: Revoke) -> Result<Option<ServiceToken>, StoreError> {
        let (shared, order) = (&*self.shared, &order);
        shared.retry(|| revoke(shared, order)).await
    }

    async fn list_tokens(
        &self,
        after: Option<ServiceTokenId>,
        limit: usize,
    ) -> Result<Vec<ServiceToken>, StoreError> {
        let list = Statement::new(format!(
            "SELECT {SERVICE_TOKEN_COLUMNS} FROM service_tokens WHERE id > $1 ORDER BY id LIMIT $2"
        ));
        let after = after.as_ref().map_or(&[][..], |after| &after.as_bytes()[..]);
        read(&self.rows(&list.bytes(after).number(capped(limit))).await?)
    }

    async fn tokens_changed_since(
        &self,
        seen: TokenRevision,
        limit: usize,
    ) -> Result<Vec<ServiceToken>, StoreError> {
        let changed = Statement::new(format!(
            "SELECT {SERVICE_TOKEN_COLUMNS} FROM service_tokens WHERE revision > $1 ORDER BY revision LIMIT $2"
        ));
        read(&self.rows(&changed.number(signed(seen.0)).number(capped(limit))).await?)
    }

    async fn touch_tokens(&self, used: Vec<(ServiceTokenId, Timestamp)>) -> Result<(), StoreError> {
        self.write_one(touch(&used)).await?;
        Ok(())
    }
}
