//! Waiting for changes where they become visible in the order of their revisions.

use std::time::Duration;

use jeton_core::id::Revision;
use jeton_core::keep::ports::StoreError;
use tokio::sync::watch;
use tokio::time::timeout;

/// Returns once there is a change after `seen`: at once for one of this process, whose last one `known` tells, and within
/// `poll` for one of another process, which `look` finds. Without `poll` there is no other process.
pub(crate) async fn wait_for_change<F: Future<Output = Result<Revision, StoreError>>>(
    mut known: watch::Receiver<Revision>,
    seen: Revision,
    poll: Option<Duration>,
    look: impl Fn() -> F,
) {
    loop {
        if *known.borrow_and_update() > seen {
            return;
        }
        match look().await {
            Ok(now) if now <= seen => {}
            // News, or trouble: whoever waits gets it by asking what has changed.
            _ => return,
        }
        let change = known.changed();
        // Whether it was announced, or the time is over, or the store is gone: the next turn finds out.
        match poll {
            Some(poll) => drop(timeout(poll, change).await),
            None => drop(change.await),
        }
    }
}

/// Announces the last revision to those who wait. It may be lower than before: a backup was put in the place of the store.
pub(crate) fn announce(known: &watch::Sender<Revision>, revision: Revision) {
    known.send_if_modified(|known| std::mem::replace(known, revision) != revision);
}
