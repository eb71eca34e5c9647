//! Following what others change: other processes on the same store, and other nodes.

use std::time::Duration;

use jeton_core::keep::connection::Revision;
use jeton_core::keep::ports::{StoreError, revision_of};

use super::apply::Memory;

/// How many changed rows are read at once.
const PAGE: usize = 500;

/// How long a store that failed is left alone.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a store may be silent before it is asked how far it has come: one that went back in time announces nothing.
const SILENCE: Duration = Duration::from_secs(2);

/// Puts every change after `seen` into memory, until the vault closes.
pub(crate) async fn follow(memory: &Memory, mut seen: Revision) {
    while !memory.lifecycle.is_closing() {
        let changed = tokio::select! {
            () = memory.store.ports.feed.wait_for_change(seen) => true,
            open = memory.lifecycle.pause(SILENCE) => {
                if !open {
                    return;
                }
                false
            }
        };
        let followed = if changed { changes(memory, seen).await } else { silence(memory, seen).await };
        match followed {
            Ok(revision) => seen = revision,
            Err(error) => {
                tracing::warn!(%error, "changes cannot be followed");
                memory.lifecycle.pause(PAUSE).await;
            }
        }
    }
}

/// Puts what changed after `seen` into memory; answers the last change of it.
async fn changes(memory: &Memory, mut seen: Revision) -> Result<Revision, StoreError> {
    let asked_at = memory.node.clock.uptime();
    for row in memory.store.ports.feed.changed_since(seen, PAGE).await? {
        seen = seen.max(revision_of(&row));
        memory.apply_listed(row, asked_at);
    }
    memory.changed.notify_one();
    Ok(seen)
}

/// Nothing was announced: the store is where it was, or a backup is in its place now.
async fn silence(memory: &Memory, seen: Revision) -> Result<Revision, StoreError> {
    let found = memory.store.ports.feed.revision().await?;
    if found < seen {
        memory.store.mark_rolled_back(found);
        return Ok(found);
    }
    Ok(seen)
}
