//! Bringing the schema up to date, whoever else is starting at the same time, and telling what stands in the way.

use std::time::Duration;

use jeton_core::keep::ports::StoreError;
use tokio::time::{Instant, sleep};
use tokio_postgres::Row;

use super::address::Address;
use super::errors::PostgresError;
use super::schema;
use super::session::{Session, Sessions};
use super::statement::Statement;
use crate::migration::{AppliedMigration, Migration, missing};
use crate::row_reader::RowReader;

/// The migrations of PostgreSQL.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "keep", sql: include_str!("../../migrations/postgres/0001_keep.sql") },
    Migration {
        number: 2,
        name: "consents",
        sql: include_str!("../../migrations/postgres/0002_consents.sql"),
    },
    Migration::elsewhere(3, "steady"),
    Migration { number: 4, name: "nodes", sql: include_str!("../../migrations/postgres/0004_nodes.sql") },
    Migration {
        number: 5,
        name: "service_tokens",
        sql: include_str!("../../migrations/postgres/0005_service_tokens.sql"),
    },
    Migration { number: 6, name: "audit", sql: include_str!("../../migrations/postgres/0006_audit.sql") },
    Migration {
        number: 7,
        name: "audit_by_subject",
        sql: include_str!("../../migrations/postgres/0007_audit_by_subject.sql"),
    },
];

/// The oldest PostgreSQL that is served, as `server_version_num` counts.
const OLDEST: i64 = 140_000;

/// How long a process waits for another one that migrates.
const MIGRATING: Duration = Duration::from_mins(5);

/// Held while a migration is applied, to the end of its transaction: "jeton" in ASCII.
const LOCK: &str = "SELECT pg_try_advisory_xact_lock(456382213998)";

/// What the server says of itself.
pub(super) struct Server {
    pub(super) version: String,
    pub(super) encrypted: bool,
}

/// Sees that the server can be the store, and is not a standby.
pub(super) async fn check_server(sessions: &Sessions, address: &Address) -> Result<Server, PostgresError> {
    let about = Statement::new(
        "SELECT current_setting('server_version'), current_setting('server_version_num')::bigint,
            pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean, current_schema()::text,
            coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)",
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
    Ok(Server { version, encrypted: columns.truth("ssl")? })
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
    sessions: &Sessions,
    address: &Address,
) -> Result<&'static [Migration], PostgresError> {
    let mut before = None;
    loop {
        let found = schema::look(sessions, address.schema).await?;
        let applied =
            if found.recorded { sessions.rows(&Statement::new(APPLIED)).await? } else { Vec::new() };
        let lacking = lacking_after(&applied, address)?;
        let Some(what) = found.contradiction(lacking) else { return Ok(lacking) };
        // Somebody may have migrated between the two looks: then it is not the same the next time.
        if before.as_ref() == Some(&what) {
            return Err(incomplete_schema(address, &what).into());
        }
        before = Some(what);
    }
}

fn incomplete_schema(address: &Address, what: &str) -> StoreError {
    StoreError::Refused(format!(
        "the schema of {} is not whole ({what}): finish the restore that made it, or name an empty database",
        address.shown
    ))
}

const APPLIED: &str = "SELECT number, checksum FROM jeton_migrations ORDER BY number";

fn lacking_after(rows: &[Row], address: &Address) -> Result<&'static [Migration], StoreError> {
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
pub(super) async fn migrate(sessions: &Sessions, address: &Address) -> Result<Vec<Migration>, PostgresError> {
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
                let (number, name) = (migration.number, migration.name);
                tracing::info!(number, name, "the schema of the store is migrated");
                done.push(*migration);
            }
            Ok(MigrationStep::Complete) => {
                session.rollback().await;
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
    sessions: &Sessions,
    address: &Address,
    session: &mut Session<'_>,
) -> Result<MigrationStep, PostgresError> {
    let mut statements: Vec<_> = sessions.begin().collect();
    // A migration may take long; waiting for a lock of its own is still cut short, so that nobody waits behind it.
    statements.push(Statement::new("SELECT set_config('statement_timeout', '10min', true)"));
    statements.push(Statement::new(LOCK));
    let answers = session.pipeline(&statements).await?;
    let locked = answers.last().and_then(|rows| rows.first()).is_some_and(|row| row.get::<_, bool>(0));
    if !locked {
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
    let answers = session.pipeline(&[Statement::new(APPLIED)]).await?;
    let applied = answers.first().map_or(&[][..], Vec::as_slice);
    let Some(next) = lacking_after(applied, address)?.first() else { return Ok(MigrationStep::Complete) };
    session.script(next.sql).await?;
    let record = Statement::new("INSERT INTO jeton_migrations (number, name, checksum) VALUES ($1, $2, $3)")
        .number(i64::from(next.number))
        .text(next.name)
        .text(next.checksum().as_str());
    session.pipeline(&[record, Statement::new("COMMIT")]).await?;
    Ok(MigrationStep::Applied(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_without_gaps() {
        let numbers: Vec<_> = MIGRATIONS.iter().map(|migration| migration.number).collect();
        assert_eq!(numbers, (1..=u32::try_from(MIGRATIONS.len()).unwrap()).collect::<Vec<_>>());
    }
}
