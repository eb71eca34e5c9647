//! Following what others change: other processes on the same store, and other nodes.

use std::time::Duration;

use jeton_core::keep::connection::Revision;
use jeton_core::keep::ports::{StoreError, revision_of};

use crate::shared::Shared;

/// How many changed rows are read at once.
const PAGE: usize = 500;

/// How long a store that failed is left alone.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a store may be silent before it is asked how far it has come: one that went back in time announces nothing.
const SILENCE: Duration = Duration::from_secs(2);

/// Puts every change after `seen` into memory, until the vault closes.
pub(crate) async fn follow(shared: &Shared, mut seen: Revision) {
    while !shared.is_closing() {
        let changed = tokio::select! {
            () = shared.ports.feed.wait_for_change(seen) => true,
            open = shared.pause(SILENCE) => {
                if !open {
                    return;
                }
                false
            }
        };
        let followed = if changed { changes(shared, seen).await } else { silence(shared, seen).await };
        match followed {
            Ok(revision) => seen = revision,
            Err(error) => {
                tracing::warn!(%error, "changes cannot be followed");
                shared.pause(PAUSE).await;
            }
        }
    }
}

/// Puts what changed after `seen` into memory; answers the last change of it.
async fn changes(shared: &Shared, mut seen: Revision) -> Result<Revision, StoreError> {
    let asked_at = shared.clock.uptime();
    for row in shared.ports.feed.changed_since(seen, PAGE).await? {
        seen = seen.max(revision_of(&row));
        shared.apply_listed(row, asked_at);
    }
    shared.wake.notify_one();
    Ok(seen)
}

/// Nothing was announced: the store is where it was, or a backup is in its place now.
async fn silence(shared: &Shared, seen: Revision) -> Result<Revision, StoreError> {
    let found = shared.ports.feed.revision().await?;
    if found < seen {
        shared.mark_rolled_back(found);
        return Ok(found);
    }
    Ok(seen)
}
