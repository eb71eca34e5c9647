//! The port `ServiceTokenStore` over a database. Whoever gives a revision keeps others from writing, so that changes become
//! visible in the order of their revisions; readers do not wait for it.

use async_trait::async_trait;
use jeton_core::access::ports::USES_APART;
use jeton_core::access::{
    Create, CreateAnswer, Revoke, Rotate, RotateAnswer, ServiceToken, ServiceTokenId, ServiceTokenStore,
    TokenHash, TokenRevision,
};
use jeton_core::keep::ports::StoreError;
use jeton_core::time::Timestamp;

use super::database::{Database, SqlTransaction};
use super::records::{self, SERVICE_TOKEN_COLUMNS};
use super::row_reader::SqlRow;
use super::statement::{Statement, values};
use super::store::SqlStore;
use crate::write_tx::WriteTx;

/// The next revision, for a transaction beside which no other changes tokens. No row is ever deleted, so that the largest is
/// the last.
const NEXT_REVISION: &str = "(SELECT coalesce(max(revision), 0) + 1 FROM service_tokens)";

/// The most uses that one transaction writes.
const USES_TOGETHER: usize = 20;

fn by_id(id: ServiceTokenId) -> Statement {
    let sql = format!("SELECT {SERVICE_TOKEN_COLUMNS} FROM service_tokens WHERE id = $1");
    Statement::new(sql, values![id])
}

fn by_hash(hash: TokenHash) -> Statement {
    let sql = format!("SELECT {SERVICE_TOKEN_COLUMNS} FROM service_tokens WHERE hash = $1");
    Statement::new(sql, values![hash])
}

fn read(rows: &[SqlRow]) -> Result<Vec<ServiceToken>, StoreError> {
    rows.iter().map(records::service_token).collect()
}

async fn find<S: SqlTransaction>(tx: &mut S, id: ServiceTokenId) -> Result<Option<ServiceToken>, S::Error> {
    Ok(read(&tx.query(by_id(id)).await?)?.pop())
}

/// The one of that id, which was written before.
async fn found<S: SqlTransaction>(tx: &mut S, id: ServiceTokenId) -> Result<Box<ServiceToken>, S::Error> {
    let lost = || StoreError::Inconsistent {
        table: "service_tokens",
        column: "id",
        row: id.to_string(),
        what: "is not there, though it was written".into(),
    };
    Ok(Box::new(find(tx, id).await?.ok_or_else(lost)?))
}

/// Writes a token, new or changed, under the next revision.
async fn save<S: SqlTransaction>(tx: &mut S, token: &ServiceToken) -> Result<(), S::Error> {
    let fixed = ["service", "hash", "scopes", "notes", "created_at", "last_used_at"];
    let revision = Some(("revision", NEXT_REVISION));
    let parameters = records::service_token_values(token);
    tx.execute(Statement::upsert("service_tokens", "id", SERVICE_TOKEN_COLUMNS, &fixed, revision, parameters))
        .await
}

async fn create<S: SqlTransaction>(tx: &mut S, create: &Create) -> Result<CreateAnswer, S::Error> {
    if let Some(made) = find(tx, create.id).await? {
        return Ok(CreateAnswer::Created(Box::new(made)));
    }
    if let Some(holder) = read(&tx.query(by_hash(create.hash)).await?)?.pop() {
        return Ok(CreateAnswer::Taken(holder.id));
    }
    let token = ServiceToken::new(create.clone(), SqlTransaction::now(tx));
    save(tx, &token).await?;
    tx.write_audit_row(create.to_audit_row(&token)).await?;
    Ok(CreateAnswer::Created(found(tx, create.id).await?))
}

async fn rotate<S: SqlTransaction>(tx: &mut S, rotate: &Rotate) -> Result<RotateAnswer, S::Error> {
    let Some(before) = find(tx, rotate.of).await? else { return Ok(RotateAnswer::Unknown) };
    if before.successor != Some(rotate.id) {
        let (old, new) = match before.rotated(rotate, SqlTransaction::now(tx)) {
            Ok(both) => both,
            Err(refusal) => return Ok(RotateAnswer::Refused(refusal)),
        };
        save(tx, &new).await?;
        save(tx, &old).await?;
        tx.write_audit_row(rotate.to_audit_row(&old, &new)).await?;
    }
    Ok(RotateAnswer::Rotated { old: found(tx, rotate.of).await?, new: found(tx, rotate.id).await? })
}

async fn revoke<S: SqlTransaction>(tx: &mut S, revoke: &Revoke) -> Result<Option<ServiceToken>, S::Error> {
    let Some(token) = find(tx, revoke.id).await? else { return Ok(None) };
    if token.revoked_at.is_some() {
        return Ok(Some(token));
    }
    let now = SqlTransaction::now(tx);
    let revoked = ServiceToken { revoked_at: Some(now), ..token };
    save(tx, &revoked).await?;
    tx.write_audit_row(revoke.to_audit_row(&revoked, now)).await?;
    find(tx, revoke.id).await
}

async fn touch<S: SqlTransaction>(
    tx: &mut S,
    used: &Vec<(ServiceTokenId, Timestamp)>,
) -> Result<(), S::Error> {
    for (id, at) in used {
        let sql = "UPDATE service_tokens SET last_used_at = $2
             WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)";
        tx.execute(Statement::new(sql, values![*id, *at, *at - USES_APART])).await?;
    }
    Ok(())
}

/// What a call that gives a revision begins with.
fn locked<D: Database>(then: impl IntoIterator<Item = Statement>) -> Vec<Statement> {
    let lock = D::Tx::DIALECT.lock_service_tokens.map(|lock| Statement::new(lock, Vec::new()));
    lock.into_iter().chain(then).collect()
}

#[async_trait]
impl<D: Database> ServiceTokenStore for SqlStore<D> {
    async fn create_token(&self, request: Create) -> Result<CreateAnswer, StoreError> {
        let first = locked::<D>([by_id(request.id), by_hash(request.hash)]);
        self.database.write(first, request, |tx, request| Box::pin(create(tx, request))).await
    }

    async fn rotate_token(&self, request: Rotate) -> Result<RotateAnswer, StoreError> {
        let first = locked::<D>([by_id(request.of)]);
        self.database.write(first, request, |tx, request| Box::pin(rotate(tx, request))).await
    }

    async fn revoke_token(&self, request: Revoke) -> Result<Option<ServiceToken>, StoreError> {
        let first = locked::<D>([by_id(request.id)]);
        self.database.write(first, request, |tx, request| Box::pin(revoke(tx, request))).await
    }

    async fn list_tokens(
        &self,
        after: Option<ServiceTokenId>,
        limit: usize,
    ) -> Result<Vec<ServiceToken>, StoreError> {
        let sql =
            format!("SELECT {SERVICE_TOKEN_COLUMNS} FROM service_tokens WHERE id > $1 ORDER BY id LIMIT $2");
        let after = after.as_ref().map_or(&[][..], |after| &after.as_bytes()[..]);
        read(&self.database.read(Statement::new(sql, values![after, limit])).await?)
    }

    async fn tokens_changed_since(
        &self,
        seen: TokenRevision,
        limit: usize,
    ) -> Result<Vec<ServiceToken>, StoreError> {
        let sql = format!(
            "SELECT {SERVICE_TOKEN_COLUMNS} FROM service_tokens WHERE revision > $1 ORDER BY revision LIMIT $2"
        );
        read(&self.database.read(Statement::new(sql, values![seen.0, limit])).await?)
    }

    async fn touch_tokens(&self, mut used: Vec<(ServiceTokenId, Timestamp)>) -> Result<(), StoreError> {
        // In the order of their ids, so that two nodes that note the same tokens never wait for each other.
        used.sort_unstable();
        for used in used.chunks(USES_TOGETHER) {
            self.database.write(Vec::new(), used.to_vec(), |tx, used| Box::pin(touch(tx, used))).await?;
        }
        Ok(())
    }
}
