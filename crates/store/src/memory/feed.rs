//! The port `ChangeFeed`: this process's changes wake at once, those of others within one look at where the snapshot is
//! kept.

use async_trait::async_trait;
use jeton_core::keep::connection::Revision;
use jeton_core::keep::ports::{ChangeFeed, ListedConnection, StoreError};
use tokio::time::timeout;

use super::snapshot::Snapshot;
use super::{InMemory, Persistence};

#[async_trait]
impl<P: Persistence> ChangeFeed for InMemory<P> {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.read(|snapshot, _| snapshot.revision).await
    }

    async fn changed_since(&self, seen: Revision, limit: usize) -> Result<Vec<ListedConnection>, StoreError> {
        let changed = move |snapshot: &Snapshot, _| {
            let rows = snapshot.connections.values().map(|row| &row.connection);
            let mut changed: Vec<_> = rows.filter(|row| row.revision > seen).cloned().collect();
            changed.sort_by_key(|row| row.revision);
            changed.truncate(limit);
            changed.into_iter().map(Ok).collect()
        };
        self.read(changed).await
    }

    async fn wait_for_change(&self, seen: Revision) {
        let mut revision = self.shared.revision.subscribe();
        loop {
            if *revision.borrow_and_update() > seen {
                return;
            }
            match self.revision().await {
                Ok(now) if now <= seen => {}
                // News, or trouble: whoever waits gets it by asking what has changed.
                _ => return,
            }
            let change = revision.changed();
            match P::POLL {
                // Nothing was announced within the time: another process may have changed something all the same.
                Some(poll) => drop(timeout(poll, change).await),
                None => drop(change.await),
            }
        }
    }
}
