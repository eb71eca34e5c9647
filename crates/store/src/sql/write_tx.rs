//! The writing calls that all stores share, as statements of one transaction.

use jeton_core::audit::AuditRow;
use jeton_core::id::{AttemptId, ConnectionName, GrantId, OperationId};
use jeton_core::keep::attempt::Attempt;
use jeton_core::keep::connection::Connection;
use jeton_core::keep::consent::Consent;
use jeton_core::keep::ports::{ConsentKey, StoreError};
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;

use super::connection_rows;
use super::database::{Dialect, SqlTransaction};
use super::records::{self, ATTEMPT_COLUMNS, AUDIT_COLUMNS, CONNECTION_COLUMNS, CONSENT_COLUMNS};
use super::row_reader::{RowReader, SqlRow, TOKEN_COLUMNS};
use super::statement::{Statement, ToValue as _, Value, values};
use crate::rules::{Closing, LAST_GRANT};
use crate::write_tx::WriteTx;

/// Locks a connection, if it is there.
pub(super) fn lock_connection(dialect: &Dialect, name: &ConnectionName) -> Statement {
    let sql = format!("SELECT name FROM connections WHERE name = $1{}", dialect.for_update);
    Statement::new(sql, values![name])
}

/// The attempt of that id.
pub(super) fn attempt_by_id(dialect: &Dialect, id: AttemptId) -> Statement {
    let columns = with_drift(dialect, ATTEMPT_COLUMNS);
    Statement::new(format!("SELECT {columns} FROM attempts WHERE id = $1"), values![id])
}

/// The attempts of those ids.
pub(super) fn attempts_by_ids(dialect: &Dialect, ids: &[AttemptId]) -> Statement {
    let columns = with_drift(dialect, ATTEMPT_COLUMNS);
    let places: Vec<String> = (1..=ids.len()).map(|number| format!("${number}")).collect();
    let sql = format!("SELECT {columns} FROM attempts WHERE id IN ({})", places.join(", "));
    Statement::new(sql, ids.iter().map(|id| id.to_value()).collect())
}

/// The attempt that brought the token set of a connection.
pub(super) fn origin_of(name: &ConnectionName) -> Statement {
    Statement::new("SELECT attempt FROM tokens WHERE connection = $1", values![name])
}

/// The last attempt, of whatever connection, that spent this refresh token or may have.
pub(super) fn spender_of(refresh: Fingerprint) -> Statement {
    let sql =
        "SELECT id FROM attempts WHERE fingerprint = $1 AND status IN ('running', 'interrupted', 'success')
         ORDER BY id DESC LIMIT 1";
    Statement::new(sql, values![refresh])
}

/// Another connection than `name` that holds this refresh token.
pub(super) fn other_holder_of(refresh: Fingerprint, name: &ConnectionName) -> Statement {
    let sql = "SELECT connection FROM tokens WHERE refresh_fingerprint = $1 AND connection <> $2 LIMIT 1";
    Statement::new(sql, values![refresh, name])
}

/// Whether an operator's command was recorded before.
pub(super) fn operation_by_id(operation: OperationId) -> Statement {
    Statement::new("SELECT id FROM operations WHERE id = $1", values![operation])
}

/// The consent of that key, locked.
pub(super) fn consent_by_key(key: ConsentKey, lock: &str) -> Statement {
    let (column, bytes) = match key {
        ConsentKey::Id(id) => ("id", *id.as_bytes()),
        ConsentKey::Ticket(ticket) => ("ticket", *ticket.as_bytes()),
        ConsentKey::State(state) => ("state", *state.as_bytes()),
    };
    let sql = format!("SELECT {CONSENT_COLUMNS} FROM consents WHERE {column} = $1{lock}");
    Statement::new(sql, values![&bytes[..]])
}

/// Locks the one row of the store, for what all connections share.
pub(super) fn lock_store(dialect: &Dialect) -> Statement {
    Statement::new(format!("SELECT key_check FROM store{}", dialect.for_update), Vec::new())
}

/// The value of a setting.
pub(super) fn setting(name: &str) -> Statement {
    Statement::new("SELECT value FROM settings WHERE name = $1", values![name])
}

/// The columns of a row that kept its drift in earlier versions.
pub(super) fn with_drift(dialect: &Dialect, columns: &str) -> String {
    dialect.drift.map_or(columns.to_owned(), |drift| format!("{columns}, {drift}"))
}

/// Adds to the parameters of such a row that its instants are steady ones.
fn and_no_drift(dialect: &Dialect, mut parameters: Vec<Value>) -> Vec<Value> {
    if dialect.drift.is_some() {
        parameters.extend(values![0_i64]);
    }
    parameters
}

/// The id in the first column of the first row.
fn first_attempt(rows: &[SqlRow], column: &'static str) -> Result<Option<AttemptId>, StoreError> {
    rows.first().map(|row| RowReader::new(row, "attempts").bytes(column, AttemptId::from_bytes)).transpose()
}

impl<S: SqlTransaction> WriteTx for S {
    type Error = S::Error;

    fn now(&self) -> Timestamp {
        SqlTransaction::now(self)
    }

    async fn find(&mut self, name: &ConnectionName) -> Result<Option<Connection>, S::Error> {
        let rows = self.query(connection_rows::by_name(name, S::DIALECT.drift)).await?;
        Ok(connection_rows::read(&rows)?.pop())
    }

    async fn origin(&mut self, name: &ConnectionName) -> Result<Option<AttemptId>, S::Error> {
        Ok(first_attempt(&self.query(origin_of(name)).await?, "attempt")?)
    }

    async fn save(
        &mut self,
        before: Option<&Connection>,
        row: Connection,
        attempt: Option<AttemptId>,
    ) -> Result<(), S::Error> {
        if before == Some(&row) {
            return Ok(());
        }
        if let Some(count) = S::DIALECT.count_revision {
            self.execute(Statement::new(count, Vec::new())).await?;
        }
        let columns = with_drift(S::DIALECT, CONNECTION_COLUMNS);
        let parameters = and_no_drift(S::DIALECT, records::connection_values(&row));
        let revision = Some(("revision", S::DIALECT.next_revision));
        self.execute(Statement::upsert(
            "connections",
            "name",
            &columns,
            &["created_at"],
            revision,
            parameters,
        ))
        .await?;
        self.note_change();
        let tokens_before = before.and_then(|before| before.tokens.as_ref());
        // A generation names one token set: either both change or neither does.
        if tokens_before != row.tokens.as_ref()
            || before.is_none_or(|before| before.generation != row.generation)
        {
            save_tokens(self, &row, tokens_before.is_some(), attempt).await?;
        }
        let orphans_before = before.map_or(&[][..], |before| &before.orphans);
        for gone in orphans_before.iter().filter(|orphan| !row.orphans.contains(orphan)) {
            let wipe = "DELETE FROM strays WHERE attempt = $1";
            self.execute(Statement::new(wipe, values![gone.attempt])).await?;
        }
        for orphan in row.orphans.iter().filter(|orphan| !orphans_before.contains(orphan)) {
            let columns = format!("attempt, connection, grant_id, generation, {TOKEN_COLUMNS}");
            let mut parameters = values![orphan.attempt, &row.name, orphan.grant, orphan.generation.0];
            parameters.extend(records::token_values(&orphan.tokens));
            self.execute(Statement::upsert("strays", "attempt", &columns, &[], None, parameters)).await?;
        }
        Ok(())
    }

    async fn other_holder(
        &mut self,
        refresh: Fingerprint,
        name: &ConnectionName,
    ) -> Result<Option<ConnectionName>, S::Error> {
        let rows = self.query(other_holder_of(refresh, name)).await?;
        let read = |row| RowReader::new(row, "tokens").named("connection", |holder| holder.parse().ok());
        Ok(rows.first().map(read).transpose()?)
    }

    async fn last_grant(&mut self) -> Result<Option<GrantId>, S::Error> {
        let rows = self.query(setting(LAST_GRANT)).await?;
        let read =
            |row| RowReader::new(row, "settings").keyed(&LAST_GRANT).bytes("value", GrantId::from_bytes);
        Ok(rows.first().map(read).transpose()?)
    }

    async fn set_last_grant(&mut self, grant: GrantId) -> Result<(), S::Error> {
        let parameters = values![LAST_GRANT, grant];
        self.execute(Statement::upsert("settings", "name", "name, value", &[], None, parameters)).await
    }

    async fn attempt(&mut self, id: AttemptId) -> Result<Option<(Attempt, GrantId)>, S::Error> {
        let rows = self.query(attempt_by_id(S::DIALECT, id)).await?;
        Ok(rows.first().map(records::attempt).transpose()?)
    }

    async fn write_attempt(&mut self, attempt: &Attempt, grant: GrantId) -> Result<(), S::Error> {
        const FIXED: &[&str] = &[
            "connection",
            "provider",
            "trigger",
            "act",
            "node",
            "generation",
            "fingerprint",
            "recovers",
            "asked_by",
            "old_expires_at",
            "grant_id",
        ];
        let columns = with_drift(S::DIALECT, ATTEMPT_COLUMNS);
        let parameters = and_no_drift(S::DIALECT, records::attempt_values(attempt, grant));
        self.execute(Statement::upsert("attempts", "id", &columns, FIXED, None, parameters)).await
    }

    async fn close_attempt(&mut self, closing: Closing) -> Result<(), S::Error> {
        let less_drift = S::DIALECT.drift.map_or(String::new(), |drift| format!(" - {drift}"));
        let sql = format!(
            "UPDATE attempts SET status = 'interrupted', completed_at = coalesce(completed_at, $2{less_drift}),
                code = coalesce(code, $3)
             WHERE id = $1 AND status IN ('running', 'interrupted')"
        );
        let now = SqlTransaction::now(self);
        self.execute(Statement::new(sql, values![closing.attempt, now, closing.code])).await
    }

    async fn spender(&mut self, refresh: Fingerprint) -> Result<Option<AttemptId>, S::Error> {
        Ok(first_attempt(&self.query(spender_of(refresh)).await?, "id")?)
    }

    async fn keep_reply(
        &mut self,
        attempt: AttemptId,
        connection: &ConnectionName,
        reply: &[u8],
    ) -> Result<(), S::Error> {
        let columns = "attempt, connection, reply";
        let parameters = values![attempt, connection, reply];
        self.execute(Statement::upsert("kept_replies", "attempt", columns, &["connection"], None, parameters))
            .await
    }

    async fn drop_reply(&mut self, attempt: AttemptId) -> Result<(), S::Error> {
        self.execute(Statement::new("DELETE FROM kept_replies WHERE attempt = $1", values![attempt])).await
    }

    async fn drop_replies(&mut self, connection: &ConnectionName) -> Result<(), S::Error> {
        let sql = "DELETE FROM kept_replies WHERE connection = $1";
        self.execute(Statement::new(sql, values![connection])).await
    }

    async fn record_operation(
        &mut self,
        operation: OperationId,
        connection: &ConnectionName,
        act: &'static str,
    ) -> Result<bool, S::Error> {
        if !self.query(operation_by_id(operation)).await?.is_empty() {
            return Ok(false);
        }
        let sql = "INSERT INTO operations (id, connection, act, done_at) VALUES ($1, $2, $3, $4)";
        let now = SqlTransaction::now(self);
        self.execute(Statement::new(sql, values![operation, connection, act, now])).await?;
        Ok(true)
    }

    async fn write_audit_row(&mut self, row: AuditRow) -> Result<(), S::Error> {
        let fixed: Vec<&str> = AUDIT_COLUMNS.split(", ").collect();
        let parameters = records::audit_values(&row);
        self.execute(Statement::upsert("audit", "id", AUDIT_COLUMNS, &fixed, None, parameters)).await
    }

    async fn find_consent(&mut self, key: ConsentKey) -> Result<Option<Consent>, S::Error> {
        let rows = self.query(consent_by_key(key, S::DIALECT.for_update)).await?;
        Ok(rows.first().map(records::consent).transpose()?)
    }

    async fn write_consent(&mut self, consent: &Consent) -> Result<(), S::Error> {
        let fixed = ["connection", "provider", "ticket", "created_at", "link_until"];
        let parameters = records::consent_values(consent);
        self.execute(Statement::upsert("consents", "id", CONSENT_COLUMNS, &fixed, None, parameters)).await
    }

    async fn forget_consents(&mut self, until: Timestamp) -> Result<(), S::Error> {
        self.execute(Statement::new("DELETE FROM consents WHERE link_until < $1", values![until])).await
    }
}

/// Puts the token set of a row in the place of the one before, which is overwritten.
async fn save_tokens<S: SqlTransaction>(
    tx: &mut S,
    row: &Connection,
    had_tokens: bool,
    attempt: Option<AttemptId>,
) -> Result<(), S::Error> {
    let Some(tokens) = &row.tokens else {
        if had_tokens {
            tx.execute(Statement::new("DELETE FROM tokens WHERE connection = $1", values![&row.name]))
                .await?;
        }
        return Ok(());
    };
    let attempt = attempt.ok_or_else(|| StoreError::Inconsistent {
        table: "tokens",
        column: "attempt",
        row: row.name.to_string(),
        what: "a new token set comes from no attempt".into(),
    })?;
    let columns = format!("connection, generation, attempt, {TOKEN_COLUMNS}");
    let mut parameters = values![&row.name, row.generation.0, attempt];
    parameters.extend(records::token_values(tokens));
    tx.execute(Statement::upsert("tokens", "connection", &columns, &[], None, parameters)).await
}
