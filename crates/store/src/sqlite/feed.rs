//! The port `ChangeFeed`: this process's commits wake at once, those of others within one poll of the writer.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use jeton_core::keep::connection::Revision;
use jeton_core::keep::ports::{ChangeFeed, ListedConnection, StoreError};

use super::connections::capped;
use super::writer::{SqliteShared, WriterRequest, read_revision};
use super::{SqliteStore, connections_table};
use crate::row_reader::signed;

/// The rows that changed after a revision, in the order of their changes.
pub(super) fn changed_sql() -> String {
    format!(
        "SELECT {} FROM connections WHERE revision > ? ORDER BY revision LIMIT ?",
        connections_table::columns()
    )
}

/// Counts one watcher for as long as it lives.
struct WatcherCount<'s>(&'s SqliteShared);

impl<'s> WatcherCount<'s> {
    fn begin(shared: &'s SqliteShared) -> Self {
        shared.watchers.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for WatcherCount<'_> {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl ChangeFeed for SqliteStore {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.readers.read(|conn| Ok(read_revision(conn)?)).await
    }

    async fn changed_since(&self, seen: Revision, limit: usize) -> Result<Vec<ListedConnection>, StoreError> {
        let parameters = (signed(seen.0), capped(limit));
        let drift = self.shared.clock.read().drift;
        self.readers
            .read(move |conn| connections_table::select(conn, drift, &changed_sql(), parameters))
            .await
    }

    async fn wait_for_change(&self, seen: Revision) {
        let _watching = WatcherCount::begin(&self.shared);
        let mut revision = self.shared.revision.subscribe();
        if *revision.borrow() <= seen {
            // The writer may be at its slow pace. When its queue is full it is busy, and looks with every batch.
            drop(self.order(WriterRequest::Look));
        }
        if revision.wait_for(|now| *now > seen).await.is_err() {
            unreachable!("the sender lives as long as the store, which is borrowed here");
        }
    }
}
