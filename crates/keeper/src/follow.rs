//! Following what others change: other processes on the same store, and other nodes.

use std::time::Duration;

use jeton_core::keep::connection::Revision;

use crate::shared::Shared;

/// How many changed rows are read at once.
const PAGE: usize = 500;

/// How long a store that failed is left alone.
const PAUSE: Duration = Duration::from_millis(500);

/// Puts every change after `seen` into memory, until the vault closes.
pub(crate) async fn follow(shared: &Shared, mut seen: Revision) {
    while !shared.is_closing() {
        tokio::select! {
            () = shared.ports.feed.wait_for_change(seen) => {}
            () = shared.closed() => return,
        }
        match shared.ports.feed.changed_since(seen, PAGE).await {
            Ok(rows) => {
                for row in rows {
                    seen = seen.max(row.revision);
                    shared.publish(row);
                }
                shared.stirred.notify_one();
            }
            Err(error) => {
                tracing::warn!(%error, "changes cannot be followed");
                shared.pause(PAUSE).await;
            }
        }
    }
}
