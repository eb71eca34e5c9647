//! Bringing the schema up to date, whoever else is starting at the same time, and telling what stands in the way.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::ports::StoreError;
use tokio::time::{Instant, sleep};

use super::address::Address;
use super::errors::{PostgresError, incomplete_schema, not_whole};
use super::session::{Session, Sessions};
use crate::migration::{AppliedMigration, Migration, log_applied, missing};
use crate::sql::records::{
    ATTEMPT_COLUMNS, AUDIT_COLUMNS, CONNECTION_COLUMNS, CONSENT_COLUMNS, LIVE_NODE_COLUMNS,
    SERVICE_TOKEN_COLUMNS,
};
use crate::sql::row_reader::{RowReader, SqlRow, TOKEN_COLUMNS};
use crate::sql::statement::{Statement, values};

/// The oldest PostgreSQL that is served, as `server_version_num` counts.
const OLDEST: i64 = 140_000;

/// How long a process waits for another one that migrates.
const MIGRATING: Duration = Duration::from_mins(5);

/// Held while a migration is applied, to the end of its transaction: "jeton" in ASCII.
const LOCK: &str = "SELECT pg_try_advisory_xact_lock(456382213998)";

/// What the server says of itself.
pub(super) struct ServerInfo {
    pub(super) version: String,
    pub(super) encrypted: bool,
}

/// Sees that the server can be the store, and is not a standby.
pub(super) async fn check_server(
    sessions: &Arc<Sessions>,
    address: &Address,
) -> Result<ServerInfo, PostgresError> {
    let about = Statement::new(
        "SELECT current_setting('server_version'), current_setting('server_version_num')::bigint,
            pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean, current_schema()::text,
            coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)",
        Vec::new(),
    );
    let rows = sessions.rows(&about).await?;
    let row = rows.first().ok_or(PostgresError::Lost)?;
    let mut columns = RowReader::new(row, "(server)");
    let version = columns.text_or_null("server_version")?.unwrap_or_default();
    let number = columns.count("server_version_num")?;
    if i64::try_from(number).is_ok_and(|number| number < OLDEST) {
        return Err(StoreError::Refused(format!(
            "{} is PostgreSQL {version}, and jeton needs 14 or later: upgrade the server",
            address.shown
        ))
        .into());
    }
    if columns.truth("pg_is_in_recovery")? {
        return Err(PostgresError::Standby);
    }
    if columns.text_or_null("current_schema")?.is_none() {
        return Err(no_schema(address).into());
    }
    Ok(ServerInfo { version, encrypted: columns.truth("ssl")? })
}

fn no_schema(address: &Address) -> StoreError {
    let (place, user) = (&address.shown, address.user());
    StoreError::Refused(format!(
        "the user {user} may use no schema of {place} that is in its search path: as an administrator run `GRANT USAGE, CREATE \
         ON SCHEMA public TO {user}` there, or mend search_path in store.url"
    ))
}

/// The migrations that the database lacks.
pub(super) async fn lacking(
    sessions: &Arc<Sessions>,
    address: &Address,
) -> Result<&'static [Migration], PostgresError> {
    let is_recorded = Statement::new("SELECT to_regclass('jeton_migrations') IS NOT NULL", Vec::new());
    let rows = sessions.rows(&is_recorded).await?;
    let row = rows.first().ok_or(PostgresError::Lost)?;
    let is_recorded = RowReader::new(row, "(server)").truth("jeton_migrations")?;
    let applied = if is_recorded { sessions.rows(&applied()).await? } else { Vec::new() };
    Ok(lacking_after(&applied, address)?)
}

/// Sees that all tables and columns are there. Only the catalogue is read: a lock on a table does not stop a start.
pub(super) async fn check_tables(sessions: &Arc<Sessions>, address: &Address) -> Result<(), PostgresError> {
    let token_set = format!("generation, attempt, {TOKEN_COLUMNS}");
    let tables = [
        ("store", "instance, key_check"),
        ("settings", "name, value"),
        ("connections", CONNECTION_COLUMNS),
        ("tokens", &format!("connection, {token_set}")),
        ("strays", &format!("connection, grant_id, {token_set}")),
        ("attempts", ATTEMPT_COLUMNS),
        ("kept_replies", "attempt, connection, reply"),
        ("operations", "id, connection, act, done_at"),
        ("consents", CONSENT_COLUMNS),
        ("nodes", &format!("{LIVE_NODE_COLUMNS}, live_until")),
        ("service_tokens", SERVICE_TOKEN_COLUMNS),
        ("audit", AUDIT_COLUMNS),
        ("revisions", "last_value"),
    ];
    let wanted = tables.iter().flat_map(|(table, columns)| {
        columns.split(", ").map(move |column| format!("('{table}', '{column}')"))
    });
    let ask = format!(
        "SELECT string_agg(DISTINCT CASE WHEN to_regclass(relation) IS NULL \
         THEN format('relation \"%s\" does not exist', relation) \
         ELSE format('column \"%s\" does not exist', member) END, ', ') AS missing \
         FROM (VALUES {}) AS wanted (relation, member) WHERE NOT EXISTS (SELECT FROM pg_attribute \
         WHERE attrelid = to_regclass(relation) AND attname = member AND NOT attisdropped)",
        wanted.collect::<Vec<_>>().join(", ")
    );
    let rows = sessions.rows(&Statement::new(ask, Vec::new())).await?;
    let row = rows.first().ok_or(PostgresError::Lost)?;
    match RowReader::new(row, "(catalogue)").text_or_null("missing")? {
        None => Ok(()),
        Some(missing) => Err(not_whole(&address.shown, &missing).into()),
    }
}

fn applied() -> Statement {
    Statement::new("SELECT number, checksum FROM jeton_migrations ORDER BY number", Vec::new())
}

fn lacking_after(rows: &[SqlRow], address: &Address) -> Result<&'static [Migration], StoreError> {
    let applied = rows
        .iter()
        .map(|row| {
            let mut columns = RowReader::new(row, "jeton_migrations");
            let number = u32::try_from(columns.count("number")?).unwrap_or(u32::MAX);
            Ok(AppliedMigration { number, checksum: columns.text_or_null("checksum")?.unwrap_or_default() })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    missing(address.schema, &applied)
        .map_err(|what| StoreError::Refused(format!("the database {} {what}", address.shown)))
}

/// Applies what the database lacks, each migration in a transaction of its own; answers what it applied.
pub(super) async fn migrate(
    sessions: &Arc<Sessions>,
    address: &Address,
) -> Result<Vec<Migration>, PostgresError> {
    let mut done = Vec::new();
    if lacking(sessions, address).await?.is_empty() {
        return Ok(done);
    }
    let deadline = Instant::now() + MIGRATING;
    loop {
        let mut session = sessions.acquire().await?;
        let step = one_step(sessions, address, &mut session).await;
        // A lock of somebody else's is waited for outside of a transaction, where nobody waits behind us.
        let step = step
            .or_else(|failure| if failure.is_a_lock() { Ok(MigrationStep::Locked) } else { Err(failure) });
        match step {
            Ok(MigrationStep::Applied(migration)) => {
                session.release();
                done.push(*migration);
            }
            Ok(MigrationStep::Complete) => {
                session.rollback().await;
                log_applied(&done);
                return Ok(done);
            }
            Ok(MigrationStep::Locked) => {
                session.rollback().await;
                if Instant::now() > deadline {
                    let text = format!(
                        "another process has been migrating {} for minutes, or holds a lock that a migration needs: wait \
                         for it, or look for it in pg_stat_activity",
                        address.shown
                    );
                    return Err(StoreError::Unavailable(text).into());
                }
                sleep(Duration::from_millis(50)).await;
            }
            Err(failure) => {
                session.rollback().await;
                log_applied(&done);
                return Err(failure);
            }
        }
    }
}

enum MigrationStep {
    /// Another process migrates now, or holds a lock that the next migration needs.
    Locked,
    Applied(&'static Migration),
    /// Nothing is lacking any more.
    Complete,
}

/// Begins a transaction, and commits it only with a migration in it.
async fn one_step(
    sessions: &Arc<Sessions>,
    address: &Address,
    session: &mut Session,
) -> Result<MigrationStep, PostgresError> {
    let mut statements = sessions.begin();
    // A migration may take long; waiting for a lock of its own is still cut short, so that nobody waits behind it.
    statements.push(Statement::new("SELECT set_config('statement_timeout', '10min', true)", Vec::new()));
    statements.push(Statement::new(LOCK, Vec::new()));
    let answers = session.pipeline(&statements).await?;
    let row = answers.last().and_then(|rows| rows.first()).ok_or(PostgresError::Lost)?;
    if !RowReader::new(row, "(server)").truth("pg_try_advisory_xact_lock")? {
        return Ok(MigrationStep::Locked);
    }
    session
        .script(
            "CREATE TABLE IF NOT EXISTS jeton_migrations (
                number     bigint PRIMARY KEY,
                name       text NOT NULL,
                checksum   text NOT NULL,
                applied_at timestamptz NOT NULL DEFAULT now()
            )",
        )
        .await?;
    let answers = session.pipeline(&[applied()]).await?;
    let applied = answers.first().map_or(&[][..], Vec::as_slice);
    let Some(next) = lacking_after(applied, address)?.first() else { return Ok(MigrationStep::Complete) };
    session.script(next.sql).await.map_err(|failure| incomplete_schema(failure, address))?;
    let record = Statement::new(
        "INSERT INTO jeton_migrations (number, name, checksum) VALUES ($1, $2, $3)",
        values![next.number, next.name, next.checksum()],
    );
    session.pipeline(&[record, Statement::new("COMMIT", Vec::new())]).await?;
    Ok(MigrationStep::Applied(next))
}
