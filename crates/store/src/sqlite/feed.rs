//! The port `ChangeFeed`: this process's commits wake at once, those of others within one poll.

use std::time::Duration;

use async_trait::async_trait;
use jeton_core::clocks::StoreReading;
use jeton_core::id::Revision;
use jeton_core::keep::ports::{ChangeFeed, ListedConnection, StoreError};

use super::store::SqliteStore;
use super::writer::{DIALECT, read_revision};
use crate::changes::wait_for_change;
use crate::sql::statement::values;
use crate::sql::{Database as _, Statement, connection_rows};

/// How often the changes of other processes are looked for while somebody waits for them.
const POLL: Duration = Duration::from_millis(50);

/// The rows that changed after a revision, in the order of their changes.
pub(super) fn changed_since(seen: Revision, limit: usize) -> Statement {
    let chosen = "SELECT * FROM connections WHERE revision > $1 ORDER BY revision LIMIT $2";
    connection_rows::select(chosen, "revision", DIALECT.drift, values![seen.0, limit])
}

#[async_trait]
impl ChangeFeed for SqliteStore {
    async fn clock(&self) -> Result<StoreReading, StoreError> {
        self.database.clock().await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.database.readers.read(|conn| Ok(read_revision(conn)?)).await
    }

    async fn changed_since(&self, seen: Revision, limit: usize) -> Result<Vec<ListedConnection>, StoreError> {
        connection_rows::read_each(&self.database.read(changed_since(seen, limit)).await?)
    }

    async fn wait_for_change(&self, seen: Revision) {
        let known = self.database.shared.revision.subscribe();
        wait_for_change(known, seen, Some(POLL), || self.revision()).await;
    }
}
