//! The port `ChangeFeed`. Which changes come late is known to `change_cursor`.

use std::time::Duration;

use async_trait::async_trait;
use jeton_core::clocks::StoreReading;
use jeton_core::id::Revision;
use jeton_core::keep::ports::{ChangeFeed, ListedConnection, StoreError, revision_of};
use tokio::time::{Instant, timeout};

use super::change_cursor::VisibleChanges;
use super::errors::PostgresError;
use super::shared::PostgresShared;
use super::store::PostgresStore;
use crate::sql::row_reader::{RowReader, SqlRow};
use crate::sql::statement::{ToValue as _, values};
use crate::sql::{Database as _, Statement, connection_rows};

/// How often what nobody announced is looked for.
const POLL: Duration = Duration::from_secs(2);

/// The same where a pooler keeps announcements from us.
const POLL_BEHIND_A_POOLER: Duration = Duration::from_millis(500);

/// The rows that changed after a revision, in the order of their changes, and those that come late.
pub(super) fn changed_since(seen: Revision, limit: usize, late: &[Revision]) -> Statement {
    let mut chosen = "(SELECT * FROM connections WHERE revision > $1 ORDER BY revision LIMIT $2)".to_owned();
    let mut parameters = values![seen.0, limit.saturating_sub(late.len())];
    if !late.is_empty() {
        let places: Vec<String> = (3..late.len() + 3).map(|number| format!("${number}")).collect();
        let places = places.join(", ");
        chosen = format!("{chosen} UNION ALL (SELECT * FROM connections WHERE revision IN ({places}))");
        parameters.extend(late.iter().map(|revision| revision.0.to_value()));
    }
    connection_rows::select(&chosen, "revision", None, parameters)
}

/// The last change that is visible, and whether it is a standby that says so: behind a pooler, or an address that moves, a
/// session may come to one after it was looked at.
fn highest() -> Statement {
    Statement::new("SELECT max(revision), pg_is_in_recovery() FROM connections", Vec::new())
}

/// Reads what [`highest`] found. A standby may be behind, which is no sign of a store that went back.
fn read_highest(rows: &[SqlRow]) -> Result<Revision, PostgresError> {
    let row = rows.first().ok_or(PostgresError::Lost)?;
    let mut columns = RowReader::new(row, "connections");
    let highest = Revision(columns.count_or_null("revision")?.unwrap_or(0));
    if columns.truth("pg_is_in_recovery")? { Err(PostgresError::Standby) } else { Ok(highest) }
}

fn read_id(rows: &[SqlRow]) -> Result<u64, PostgresError> {
    Ok(RowReader::new(rows.first().ok_or(PostgresError::Lost)?, "(server)").count("transaction")?)
}

/// Looks at what is visible, in the order that [`VisibleChanges`] wants.
async fn look(shared: &PostgresShared) -> Result<VisibleChanges, PostgresError> {
    let floor = shared.cursor.floor().unwrap_or_default();
    let answers = shared
        .sessions
        .read_uncounted(&[
            Statement::new("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint", Vec::new()),
            highest(),
            Statement::new("SELECT revision FROM connections WHERE revision > $1", values![floor.0]),
            Statement::new("SELECT pg_current_xact_id()::text::bigint", Vec::new()),
        ])
        .await?;
    let [oldest, highest, revisions, next] = answers.as_slice() else { return Err(PostgresError::Lost) };
    let read = |row| RowReader::new(row, "connections").count("revision").map(Revision);
    Ok(VisibleChanges {
        oldest_running: read_id(oldest)?,
        highest: read_highest(highest)?,
        above_floor: revisions.iter().map(read).collect::<Result<_, _>>()?,
        next: read_id(next)?,
    })
}

#[async_trait]
impl ChangeFeed for PostgresStore {
    async fn clock(&self) -> Result<StoreReading, StoreError> {
        self.database.clock().await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        let shared = &*self.database.shared;
        if shared.cursor.floor().is_some() {
            let ask = || async { read_highest(&shared.sessions.rows(&highest()).await?) };
            return shared.retry(ask).await;
        }
        let found = shared.retry(|| look(shared)).await?;
        shared.cursor.take(&found, Revision(u64::MAX));
        Ok(found.highest)
    }

    async fn changed_since(&self, seen: Revision, limit: usize) -> Result<Vec<ListedConnection>, StoreError> {
        let shared = &*self.database.shared;
        let missing = shared.cursor.take(&shared.retry(|| look(shared)).await?, seen);
        let late: Vec<Revision> =
            missing.into_iter().take_while(|revision| *revision <= seen).take(limit).collect();
        let rows = connection_rows::read_each(&self.database.read(changed_since(seen, limit, &late)).await?)?;
        // A late row that was changed again meanwhile comes under its new revision.
        shared.cursor.deliver(rows.iter().map(revision_of));
        Ok(rows)
    }

    async fn wait_for_change(&self, seen: Revision) {
        let shared = &*self.database.shared;
        let mut announced = shared.announced.subscribe();
        let poll = if shared.address.pooler { POLL_BEHIND_A_POOLER } else { POLL };
        loop {
            announced.mark_unchanged();
            let begun = Instant::now();
            match look(shared).await {
                Ok(found) => {
                    let news = found.highest > seen;
                    if !shared.cursor.take(&found, seen).is_empty() || news {
                        return;
                    }
                }
                Err(failure) => {
                    shared.invalidate(&failure, begun);
                    tracing::debug!(?failure, "the store could not be looked at for changes");
                }
            }
            // Whether something was announced or the time is over: the next look finds out.
            let _ = timeout(poll, announced.changed()).await;
        }
    }
}
