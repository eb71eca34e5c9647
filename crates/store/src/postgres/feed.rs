//! The port `ChangeFeed`; which rows come late is known to `late`.

use async_trait::async_trait;
use jeton_core::keep::connection::Revision;
use jeton_core::keep::ports::{ChangeFeed, ListedConnection, StoreError};
use tokio::time::Instant;
use tokio_postgres::Row;

use super::batch::{Changed, read_change};
use super::connections_table::{self, capped};
use super::errors::PostgresError;
use super::statement::Statement;
use super::{PostgresShared, PostgresStore};
use crate::row_reader::signed;

/// The rows that changed after a revision, in the order of their changes.
pub(super) fn changed_sql() -> String {
    connections_table::select(
        "SELECT * FROM connections WHERE revision > $1 ORDER BY revision LIMIT $2",
        "revision",
    )
}

fn changed_and_late_sql() -> String {
    connections_table::select(
        "(SELECT * FROM connections WHERE revision > $1 ORDER BY revision LIMIT $2)
         UNION ALL (SELECT * FROM connections WHERE revision <= $1 AND name = ANY ($3))",
        "revision",
    )
}

/// All changes above a revision, by name alone.
pub(super) fn names_changed_since(floor: Revision) -> Statement {
    Statement::new("SELECT name, revision FROM connections WHERE revision > $1 ORDER BY revision")
        .number(signed(floor.0))
}

/// The last change that is visible, and whether it is a standby that says so: behind a pooler, or an address that moves, a
/// session may come to one after it was looked at.
pub(super) const HIGHEST: &str = "SELECT max(revision), pg_is_in_recovery() FROM connections";

/// Reads what [`HIGHEST`] found.
///
/// # Errors
/// It is a standby: it may be behind, which is no sign of a store that went back.
pub(super) fn read_highest(rows: &[Row]) -> Result<Revision, PostgresError> {
    let row = rows.first().ok_or(PostgresError::Lost)?;
    if row.try_get(1)? {
        return Err(PostgresError::Standby);
    }
    let highest: Option<i64> = row.try_get(0)?;
    Ok(Revision(highest.unwrap_or(0).unsigned_abs()))
}

/// What an attempt to learn where the store is finds: the last change, and the changes above a revision by name.
///
/// The last change is looked at first, so that no row above it is missing from the rows.
pub(super) async fn look(
    shared: &PostgresShared,
    floor: Revision,
) -> Result<(Revision, Changed), PostgresError> {
    let answers =
        shared.sessions.read_uncounted(&[Statement::new(HIGHEST), names_changed_since(floor)]).await?;
    let [highest, rows] = answers.as_slice() else { return Err(PostgresError::Lost) };
    let rows = rows.iter().map(read_change).collect::<Result<_, _>>()?;
    Ok((read_highest(highest)?, rows))
}

#[async_trait]
impl ChangeFeed for PostgresStore {
    async fn revision(&self) -> Result<Revision, StoreError> {
        let shared = &*self.shared;
        if shared.feed.floor().is_some() {
            let highest = || async { read_highest(&shared.sessions.rows(&Statement::new(HIGHEST)).await?) };
            return shared.retry(highest).await;
        }
        let at = Instant::now();
        let (_, there) = shared.retry(|| look(shared, Revision(0))).await?;
        shared.feed.begin(at, &there);
        Ok(there.last().map_or(Revision(0), |(revision, _)| *revision))
    }

    async fn changed_since(&self, seen: Revision, limit: usize) -> Result<Vec<ListedConnection>, StoreError> {
        let feed = &self.shared.feed;
        if feed.floor().is_none() {
            feed.begin(Instant::now(), &Vec::new());
        }
        let asked = feed.ask(seen, limit);
        let late = &asked.late;
        let rest = capped(limit.saturating_sub(late.len()));
        let ask = if late.is_empty() {
            Statement::new(changed_sql()).number(signed(seen.0)).number(rest)
        } else {
            Statement::new(changed_and_late_sql())
                .number(signed(seen.0))
                .number(rest)
                .texts(late.iter().map(|(_, name)| Some(name.as_str())))
        };
        let rows = connections_table::read_each(&self.rows(&ask).await?)?;
        Ok(feed.hand_in(&asked, rows))
    }

    async fn wait_for_change(&self, seen: Revision) {
        let feed = &self.shared.feed;
        if feed.floor().is_none() {
            feed.begin(Instant::now(), &Vec::new());
            feed.pass_wanted.notify_one();
        }
        feed.wait(seen).await;
    }
}
