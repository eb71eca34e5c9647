//! What an opened store and its tasks share, and how work is sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jeton_core::keep::ports::StoreError;
use jeton_core::time::Clock;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address::Address;
use super::change_cursor::ChangeCursor;
use super::errors::PostgresError;
use super::faults::PostgresHooks;
use super::session::Sessions;

/// The first pause before work is sent again; it doubles.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What the store and its tasks share.
pub(super) struct PostgresShared {
    pub(super) address: Address,
    pub(super) sessions: Arc<Sessions>,
    pub(super) cursor: ChangeCursor,
    /// Counts what may concern a follower who waits.
    pub(super) announced: watch::Sender<u64>,
    /// Whether other nodes are still to be told of a change, and what wakes the task that does.
    pub(super) unannounced: AtomicBool,
    pub(super) to_announce: Notify,
    /// Tells our own announcements from those of others.
    pub(super) tag: String,
    pub(super) clock: Option<Arc<dyn Clock>>,
    pub(super) hooks: Arc<dyn PostgresHooks>,
    pub(super) patience: Duration,
    /// How many calls may wait to write.
    pub(super) waiting: Arc<Semaphore>,
    /// How many may write at once.
    pub(super) writers: Semaphore,
    /// Calls that write.
    pub(super) tasks: TaskTracker,
    /// What goes on in the background.
    pub(super) watchers: TaskTracker,
    pub(super) ended: CancellationToken,
}

impl PostgresShared {
    /// Does the work again and again while what stops it may pass.
    pub(super) async fn retry<T, F>(&self, mut work: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, PostgresError>>,
    {
        let deadline = Instant::now() + self.patience;
        let mut pause = FIRST_PAUSE;
        loop {
            let begun = Instant::now();
            match work().await {
                Err(failure) if failure.passes() && Instant::now() + pause < deadline => {
                    tracing::debug!(?failure, "work of the store is sent again");
                    self.invalidate(&failure, begun);
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                done => return done.map_err(|failure| failure.into_store_error(&self.address)),
            }
        }
    }

    /// Work that was begun then has failed so: the connections of that time may all be lost.
    pub(super) fn invalidate(&self, failure: &PostgresError, begun: Instant) {
        if failure.is_of_the_connection() {
            self.sessions.invalidate(begun);
        }
    }

    /// A change was committed here: whoever follows this store or another of the same database is told.
    pub(super) fn announce(&self) {
        self.wake_followers();
        self.unannounced.store(true, Ordering::SeqCst);
        self.to_announce.notify_one();
    }

    /// Whoever waits for a change looks for one.
    pub(super) fn wake_followers(&self) {
        self.announced.send_modify(|count| *count = count.wrapping_add(1));
    }
}
