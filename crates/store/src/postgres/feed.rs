//! The port `ChangeFeed`; which rows come late is known to `late`.

use async_trait::async_trait;
use jeton_core::keep::connection::{Connection, Revision};
use jeton_core::keep::ports::{ChangeFeed, StoreError};
use tokio::time::Instant;

use super::PostgresStore;
use super::batch::{Changed, read_change};
use super::statement::Statement;
use super::table::{self, capped};
use crate::rows::signed;

/// The rows that changed after a revision, in the order of their changes.
pub(super) fn changed_sql() -> String {
    table::select("SELECT * FROM connections WHERE revision > $1 ORDER BY revision LIMIT $2", "revision")
}

fn changed_and_late_sql() -> String {
    table::select(
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

pub(super) const HIGHEST: &str = "SELECT max(revision) FROM connections";

pub(super) fn read_highest(rows: &[tokio_postgres::Row]) -> Revision {
    let highest = rows.first().and_then(|row| row.try_get::<_, Option<i64>>(0).ok().flatten());
    Revision(highest.unwrap_or(0).unsigned_abs())
}

#[async_trait]
impl ChangeFeed for PostgresStore {
    async fn revision(&self) -> Result<Revision, StoreError> {
        if self.shared.feed.floor().is_some() {
            return Ok(read_highest(&self.rows(&Statement::new(HIGHEST)).await?));
        }
        let at = Instant::now();
        let rows = self.rows(&names_changed_since(Revision(0))).await?;
        let there: Changed = rows.iter().map(read_change).collect::<Result<_, _>>()?;
        self.shared.feed.begin(at, &there);
        Ok(there.last().map_or(Revision(0), |(revision, _)| *revision))
    }

    async fn changed_since(&self, seen: Revision, limit: usize) -> Result<Vec<Connection>, StoreError> {
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
        let rows = table::read_rows(&self.rows(&ask).await?)?;
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
