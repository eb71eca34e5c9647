//! The port `ChangeFeed`: this process's changes wake at once, those of others within one look at where the image is
//! kept.

use async_trait::async_trait;
use jeton_core::keep::connection::Revision;
use jeton_core::keep::ports::{ChangeFeed, ListedConnection, StoreError};
use tokio::time::timeout;

use super::image::Image;
use super::{Home, Kept};

#[async_trait]
impl<H: Home> ChangeFeed for Kept<H> {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.read(|image, _| image.revision).await
    }

    async fn changed_since(&self, seen: Revision, limit: usize) -> Result<Vec<ListedConnection>, StoreError> {
        let changed = move |image: &Image, _| {
            let rows = image.connections.values().map(|row| &row.connection);
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
            match H::POLL {
                // Nothing was announced within the time: another process may have changed something all the same.
                Some(poll) => drop(timeout(poll, change).await),
                None => drop(change.await),
            }
        }
    }
}
