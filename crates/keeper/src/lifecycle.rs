//! When a vault ends, and what it waits for then.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The closing of a vault, and its tasks.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    closing: CancellationToken,
    /// Refreshes and exchanges: the end waits for them.
    pub(crate) attempts: TaskTracker,
    /// Tasks that run until the vault closes.
    pub(crate) background: TaskTracker,
}

impl Lifecycle {
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Returns once the vault closes.
    pub(crate) async fn closed(&self) {
        self.closing.cancelled().await;
    }

    /// Waits for `pause`; answers whether the vault is still open.
    pub(crate) async fn pause(&self, pause: Duration) -> bool {
        timeout(pause, self.closing.cancelled()).await.is_err()
    }

    /// Closes: no new attempt begins. Waits for `limit` at most until those under way have ended.
    pub(crate) async fn drain(&self, limit: Duration) {
        self.closing.cancel();
        self.attempts.close();
        self.background.close();
        let deadline = Instant::now() + limit;
        if timeout_at(deadline, self.attempts.wait()).await.is_err() {
            tracing::warn!(
                "some refreshes did not end in time; their attempts are recorded and will be recovered"
            );
        }
        // The background tasks hold nothing: they notice the closing at their next step.
        let _ = timeout_at(deadline, self.background.wait()).await;
    }
}
