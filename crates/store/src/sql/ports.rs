//! The ports `ConsentStore`, `NodeStore`, `Maintenance` and `AuditLog` over a database.

use async_trait::async_trait;
use jeton_core::audit::{AuditFilter, AuditLog, AuditRow};
use jeton_core::id::{AttemptId, ConnectionName, InstanceId, NodeId};
use jeton_core::keep::attempt::Attempt;
use jeton_core::keep::consent::{Consent, ConsentOutcome};
use jeton_core::keep::ports::{
    BeginConnect, BeginConnectAnswer, Callback, CallbackAnswer, ChangeFeed, ConsentKey, ConsentStart,
    ConsentStartAnswer, ConsentStore, FailExchange, FoundConsent, Heartbeat, HeartbeatReply, Identity,
    Invite, LiveNode, Maintenance, NodeStore, StoreError,
};
use jeton_core::time::Timestamp;

use super::database::{Database, SqlTransaction};
use super::records::{self, AUDIT_COLUMNS, CONSENT_COLUMNS, LIVE_NODE_COLUMNS};
use super::row_reader::{RowReader, SqlRow};
use super::statement::{Statement, values};
use super::store::SqlStore;
use super::write_tx::{
    attempt_by_id, attempts_by_ids, consent_by_key, lock_connection, lock_store, other_holder_of, setting,
    spender_of,
};
use crate::rules::LAST_GRANT;
use crate::rules::NODES_REMEMBERED;
use crate::{consent_writes, grant_writes};

impl<D: Database> SqlStore<D> {
    /// Consents with the attempts that exchanged their codes.
    async fn with_attempts(&self, rows: &[SqlRow]) -> Result<Vec<FoundConsent>, StoreError> {
        let consents: Vec<Consent> = rows.iter().map(records::consent).collect::<Result<_, _>>()?;
        let attempt_of = |consent: &Consent| match consent.outcome {
            Some(ConsentOutcome::Exchange(attempt)) => Some(attempt),
            _ => None,
        };
        let ids: Vec<AttemptId> = consents.iter().filter_map(attempt_of).collect();
        let attempts: Vec<Attempt> = if ids.is_empty() {
            Vec::new()
        } else {
            let rows = self.database.read(attempts_by_ids(D::Tx::DIALECT, &ids)).await?;
            rows.iter().map(|row| Ok(records::attempt(row)?.0)).collect::<Result<_, StoreError>>()?
        };
        let with_attempt = |consent: Consent| {
            let id = attempt_of(&consent);
            FoundConsent { consent, attempt: attempts.iter().find(|attempt| Some(attempt.id) == id).cloned() }
        };
        Ok(consents.into_iter().map(with_attempt).collect())
    }
}

#[async_trait]
impl<D: Database> ConsentStore for SqlStore<D> {
    async fn invite(&self, invite: Invite) -> Result<Timestamp, StoreError> {
        let first = vec![consent_by_key(ConsentKey::Id(invite.id), D::Tx::DIALECT.for_update)];
        self.database.write(first, invite, |tx, invite| Box::pin(consent_writes::invite(tx, invite))).await
    }

    async fn start_consent(&self, start: ConsentStart) -> Result<ConsentStartAnswer, StoreError> {
        let first = vec![consent_by_key(ConsentKey::Ticket(start.ticket), D::Tx::DIALECT.for_update)];
        self.database.write(first, start, |tx, start| Box::pin(consent_writes::start(tx, start))).await
    }

    async fn record_callback(&self, callback: Callback) -> Result<CallbackAnswer, StoreError> {
        let first = vec![
            consent_by_key(ConsentKey::State(callback.state), D::Tx::DIALECT.for_update),
            lock_store(D::Tx::DIALECT),
            setting(LAST_GRANT),
        ];
        let record = self
            .database
            .write(first, callback, |tx, callback| Box::pin(consent_writes::record_callback(tx, callback)));
        record.await
    }

    async fn begin_connect(&self, begin: BeginConnect) -> Result<BeginConnectAnswer, StoreError> {
        let mut first = vec![lock_store(D::Tx::DIALECT), setting(LAST_GRANT)];
        first.extend(Self::begin_with(&begin.connection, Some(begin.attempt)));
        if begin.single_use {
            first.extend([spender_of(begin.refresh), other_holder_of(begin.refresh, &begin.connection)]);
        }
        self.database.write(first, begin, |tx, begin| Box::pin(grant_writes::begin_connect(tx, begin))).await
    }

    async fn fail_exchange(&self, fail: FailExchange) -> Result<(), StoreError> {
        let lock = format!("SELECT id FROM attempts WHERE id = $1{}", D::Tx::DIALECT.for_update);
        let first = vec![
            lock_connection(D::Tx::DIALECT, &fail.connection),
            Statement::new(lock, values![fail.attempt]),
            attempt_by_id(D::Tx::DIALECT, fail.attempt),
        ];
        self.database.write(first, fail, |tx, fail| Box::pin(consent_writes::fail_exchange(tx, fail))).await
    }

    async fn find_consent(&self, key: ConsentKey) -> Result<Option<FoundConsent>, StoreError> {
        let rows = self.database.read(consent_by_key(key, "")).await?;
        Ok(self.with_attempts(&rows).await?.pop())
    }

    async fn list_latest_consents(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<FoundConsent>, StoreError> {
        let sql = format!(
            "SELECT {CONSENT_COLUMNS} FROM consents WHERE connection > $1 AND NOT EXISTS
                (SELECT 1 FROM consents AS later WHERE later.connection = consents.connection AND later.id > consents.id)
             ORDER BY connection LIMIT $2"
        );
        let parameters = values![after.map_or("", ConnectionName::as_str), limit];
        self.with_attempts(&self.database.read(Statement::new(sql, parameters)).await?).await
    }
}

async fn record_heartbeat<S: SqlTransaction>(
    tx: &mut S,
    heartbeat: &Heartbeat,
) -> Result<HeartbeatReply, S::Error> {
    let now = tx.now();
    let forget = Statement::new("DELETE FROM nodes WHERE seen_at < $1", values![now - NODES_REMEMBERED]);
    tx.execute(forget).await?;
    let tasks = serde_json::to_string(&heartbeat.tasks).expect("names, counts and texts are always JSON");
    let host = serde_json::to_string(&heartbeat.host).expect("texts and numbers are always JSON");
    let columns = "id, name, version, definitions, started_at, seen_at, live_until, tasks, unavailable, host";
    let parameters = values![
        heartbeat.node,
        &heartbeat.name,
        &heartbeat.version,
        &heartbeat.definitions,
        now,
        now,
        now + heartbeat.life,
        &tasks,
        records::unavailable_value(&heartbeat.unavailable, now),
        &host,
    ];
    tx.execute(Statement::upsert("nodes", "id", columns, &["started_at"], None, parameters)).await?;
    let mut others = read_nodes(&tx.query(live_nodes(now)).await?)?;
    others.retain(|other| other.node != heartbeat.node);
    Ok(HeartbeatReply { now, others })
}

/// The nodes that are alive.
pub(crate) fn live_nodes(now: Timestamp) -> Statement {
    let sql = format!("SELECT {LIVE_NODE_COLUMNS} FROM nodes WHERE live_until > $1 ORDER BY id LIMIT 1000");
    Statement::new(sql, values![now])
}

/// Reads what [`live_nodes`] found.
pub(crate) fn read_nodes(rows: &[SqlRow]) -> Result<Vec<LiveNode>, StoreError> {
    rows.iter().map(records::live_node).collect()
}

#[async_trait]
impl<D: Database> NodeStore for SqlStore<D> {
    async fn record_heartbeat(&self, heartbeat: Heartbeat) -> Result<HeartbeatReply, StoreError> {
        let record = self
            .database
            .write(Vec::new(), heartbeat, |tx, heartbeat| Box::pin(record_heartbeat(tx, heartbeat)));
        record.await
    }

    async fn forget(&self, node: NodeId) -> Result<(), StoreError> {
        let forget = Statement::new("DELETE FROM nodes WHERE id = $1", values![node]);
        self.database.write(Vec::new(), forget, |tx, forget| Box::pin(tx.execute(forget.clone()))).await
    }
}

/// What makes the store the store of one installation.
pub(crate) fn identity() -> Statement {
    Statement::new("SELECT instance, key_check FROM store", Vec::new())
}

/// Reads what [`identity`] found.
pub(crate) fn read_identity(rows: &[SqlRow]) -> Result<Option<Identity>, StoreError> {
    let Some(row) = rows.first() else {
        let (what, row) = ("is missing".into(), "the only row".into());
        return Err(StoreError::Inconsistent { table: "store", column: "instance", row, what });
    };
    let mut columns = RowReader::new(row, "store").keyed(&"the only row");
    let instance = columns.bytes_or_null("instance", InstanceId::from_bytes)?;
    let key_check = columns.blob_or_null("key_check")?;
    Ok(instance.zip(key_check).map(|(instance, key_check)| Identity { instance, key_check }))
}

fn read_setting(rows: &[SqlRow]) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(rows.first().map(|row| RowReader::new(row, "settings").blob_or_null("value")).transpose()?.flatten())
}

async fn initialise<S: SqlTransaction>(tx: &mut S, wanted: &Identity) -> Result<Identity, S::Error> {
    let take = "UPDATE store SET instance = $1, key_check = $2 WHERE instance IS NULL";
    tx.execute(Statement::new(take, values![wanted.instance, &wanted.key_check])).await?;
    Ok(read_identity(&tx.query(identity()).await?)?.unwrap_or_else(|| wanted.clone()))
}

async fn adopt<S: SqlTransaction>(
    tx: &mut S,
    (instance, record): &(InstanceId, Vec<Statement>),
) -> Result<(), S::Error> {
    let take = "UPDATE store SET instance = $1 WHERE instance IS NOT NULL RETURNING instance";
    if tx.query(Statement::new(take, values![*instance])).await?.is_empty() {
        let text = "the store is new and belongs to nobody: there is nothing to adopt".into();
        return Err(StoreError::Refused(text).into());
    }
    for statement in record {
        tx.execute(statement.clone()).await?;
    }
    Ok(())
}

async fn keep_setting<S: SqlTransaction>(
    tx: &mut S,
    (name, value): &(String, Vec<u8>),
) -> Result<Vec<u8>, S::Error> {
    let fixed = ["name", "value"];
    tx.execute(Statement::upsert("settings", "name", "name, value", &fixed, None, values![name, value]))
        .await?;
    Ok(read_setting(&tx.query(setting(name)).await?)?.unwrap_or_default())
}

#[async_trait]
impl<D: Database> Maintenance for SqlStore<D>
where
    Self: ChangeFeed,
{
    async fn identity(&self) -> Result<Option<Identity>, StoreError> {
        read_identity(&self.database.read(identity()).await?)
    }

    async fn initialise(&self, identity: Identity) -> Result<Identity, StoreError> {
        self.database.write(Vec::new(), identity, |tx, wanted| Box::pin(initialise(tx, wanted))).await
    }

    async fn adopt(&self, instance: InstanceId) -> Result<(), StoreError> {
        let request = (instance, self.database.record_identity().await?);
        self.database.write(Vec::new(), request, |tx, request| Box::pin(adopt(tx, request))).await
    }

    async fn is_copy(&self) -> Result<bool, StoreError> {
        self.database.is_copy().await
    }

    async fn find_setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        read_setting(&self.database.read(setting(name)).await?)
    }

    async fn insert_setting(&self, name: &str, value: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let request = (name.to_owned(), value);
        self.database.write(Vec::new(), request, |tx, request| Box::pin(keep_setting(tx, request))).await
    }
}

/// The rows of a subject are found by its index, those of all by their ids.
pub(crate) fn audit_sql(of_one: bool) -> String {
    let (subject, limit) = if of_one { ("subject = $2 AND ", "$3") } else { ("", "$2") };
    format!("SELECT {AUDIT_COLUMNS} FROM audit WHERE {subject}id < $1 ORDER BY id DESC LIMIT {limit}")
}

#[async_trait]
impl<D: Database> AuditLog for SqlStore<D> {
    async fn list_audit_rows(&self, filter: AuditFilter, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        // After every id that jeton makes.
        let last = [u8::MAX; 17];
        let before = filter.before.as_ref().map_or(&last[..], |before| &before.as_bytes()[..]);
        let mut parameters = values![before];
        parameters.extend(filter.subject.as_ref().map(|subject| values![subject]).into_iter().flatten());
        parameters.extend(values![limit]);
        let rows =
            self.database.read(Statement::new(audit_sql(filter.subject.is_some()), parameters)).await?;
        rows.iter().map(records::audit_row).collect()
    }
}
